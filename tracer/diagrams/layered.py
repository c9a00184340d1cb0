"""A small layered layout for directed graphs: rows from top to bottom, few crossings, straight lines where they can be.

Every arrow goes from a row to a later one. An arrow over several rows gets a point in each row between, which takes
part in the layout like a box. The order in a row follows the middle of the neighbours; the places are those nearest to
the neighbours at which nothing overlaps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 24


@dataclass(eq=False, slots=True)
class Spot:
    """Something with a place: a box, a label on an arrow, or a point that an arrow goes through.

    x is its middle, y its top, both in pixels once it is laid out. firm: how hard it pulls at what it is tied to, and
    stays in its place. chain: the points of its arrow, which want to stand below each other.
    """

    row: int
    width: float
    height: float = 0.0
    firm: float = 1.0
    x: float = 0.0
    y: float = 0.0
    above: list[Spot] = field(default_factory=list)
    below: list[Spot] = field(default_factory=list)
    chain: list[Spot] = field(default_factory=list)


def tie(upper: Spot, lower: Spot) -> None:
    """An arrow between two spots of neighbouring rows."""
    upper.below.append(lower)
    lower.above.append(upper)


def place(spots: Iterable[Spot], gap: float = 18.0) -> list[list[Spot]]:
    """Rows of spots with their x, at least `gap` apart, the leftmost edge at 0. Rows are what `Spot.row` says."""
    spots = list(spots)
    rows: list[list[Spot]] = [[] for _ in range(max((s.row for s in spots), default=-1) + 1)]
    for spot in spots:
        rows[spot.row].append(spot)
    best, least = [list(row) for row in rows], _crossings(rows)
    for sweep in range(SWEEPS):
        _order(rows, down=sweep % 2 == 0)
        _swap(rows)
        crossings = _crossings(rows)
        if crossings < least:
            best, least = [list(row) for row in rows], crossings
    for row in best:
        _settle(row, [0.0] * len(row), gap)
    for sweep in range(SWEEPS):
        for row in best if sweep % 2 == 0 else reversed(best):
            _settle(row, [_wanted(spot, sweep) for spot in row], gap)
    for spot in spots:
        spot.firm = 40.0 if len(spot.chain) > 1 else spot.firm
    for _ in range(2 * SWEEPS):
        for row in best:
            _settle(row, [_straight(spot) for spot in row], gap)
    left = min((s.x - s.width / 2 for s in spots), default=0.0)
    for spot in spots:
        spot.x -= left
    return best


def _order(rows: Sequence[list[Spot]], *, down: bool) -> None:
    for row in rows if down else reversed(rows):
        position = {id(s): i for other in rows for i, s in enumerate(other)}

        def middle(spot: Spot, position: dict[int, int] = position) -> float:
            near = spot.above if down else spot.below
            places = [position[id(s)] for s in near] or [position[id(spot)]]
            return sum(places) / len(places)

        row.sort(key=middle)


def _swap(rows: Sequence[list[Spot]]) -> None:
    """Change the places of neighbours wherever their arrows cross less that way."""
    for number, row in enumerate(rows):
        around = [rows[i] for i in (number - 1, number + 1) if 0 <= i < len(rows)]
        position = {id(s): i for other in around for i, s in enumerate(other)}
        for i in range(len(row) - 1):
            a, b = row[i], row[i + 1]
            now = then = 0
            for ends in ((a.above, b.above), (a.below, b.below)):
                here, there = ([position[id(s)] for s in near] for near in ends)
                now += sum(x > y for x in here for y in there)
                then += sum(y > x for x in here for y in there)
            if then < now:
                row[i], row[i + 1] = b, a


def _crossings(rows: Sequence[Sequence[Spot]]) -> int:
    count = 0
    for upper, lower in pairwise(rows):
        position = {id(s): i for i, s in enumerate(lower)}
        ends = [[position[id(s)] for s in spot.below if id(s) in position] for spot in upper]
        flat: list[int] = []
        for here in ends:
            count += sum(1 for e in here for f in flat if f > e)
            flat += here
    return count


def _wanted(spot: Spot, sweep: int) -> float:
    """Where the neighbours would have a spot: those before it in one sweep, all of them in the last ones."""
    near = (spot.above if sweep % 2 == 0 else spot.below) if sweep < SWEEPS - 6 else spot.above + spot.below
    near = near or spot.above or spot.below
    weight = sum(s.firm for s in near)
    return sum(s.x * s.firm for s in near) / weight if near else spot.x


def _straight(spot: Spot) -> float:
    """Where a spot wants to be once all have found about their places: an arrow's points below each other."""
    if len(spot.chain) > 1:
        return sum(s.x for s in spot.chain) / len(spot.chain)
    return _wanted(spot, SWEEPS)


def _settle(row: Sequence[Spot], wanted: Sequence[float], gap: float) -> None:
    """The places nearest to the wanted ones (least squares) at which nothing overlaps; what is too near is one."""
    offsets, total = [], 0.0
    for i, spot in enumerate(row):
        total += (row[i - 1].width + spot.width) / 2 + gap if i else 0.0
        offsets.append(total)
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for spot, want, offset in zip(row, wanted, offsets, strict=True):
        pools.append((want - offset, spot.firm, 1))
        while len(pools) > 1 and pools[-2][0] >= pools[-1][0]:
            (a, wa, na), (b, wb, nb) = pools[-2:]
            pools[-2:] = [((a * wa + b * wb) / (wa + wb), wa + wb, na + nb)]
    places = [mean for mean, _, n in pools for _ in range(n)]
    for spot, x, offset in zip(row, places, offsets, strict=True):
        spot.x = x + offset
