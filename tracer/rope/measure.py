"""Reading a convention from what a function does: which columns turn together, along which axis, how fast, from where.

Every column i of a head has a complex number for each token, cos + i·sin: a table's own columns, or what a rotation
does to unit vectors. Columns that carry the same numbers are one pair's layout; columns that mix are one pair's
rotation. From the numbers follow the axis that moves a pair, its frequency, and the positions along that axis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, permutations
from math import pi, prod
from typing import TYPE_CHECKING, Any

from tracer.rope.forms import Rotation
from tracer.rope.grids import AXES, Crop, Sizes, Whole
from tracer.rope.rope3d import Pairing, Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complexes = NDArray[np.complex128]

Pairs = tuple[tuple[int, int], ...]
SMALL: Sizes = (2, 4, 6)
"""Where columns are told apart: every axis moves, no two are alike, and all are even, as some code asks."""

USUAL: Sizes = (21, 30, 52)
"""A grid of the usual size, for ropes that name none."""


def probes(rope: Rope3D) -> tuple[Sizes, ...]:
    """Token grids to measure at: one long line along each axis, no two with as many tokens.

    On a crop: the base grid, the base grid turned by a quarter, and about half of it with more frames.
    """
    frames, rows, columns = rope.trained or USUAL
    if isinstance(rope.grid, Crop):
        rows, columns = rope.grid.base
        return (2, rows, columns), (3, columns, rows), (max(frames, 4), rows // 2 + 1, columns // 2 + 1)
    most = rope.grid.most if isinstance(rope.grid, Whole) else (None, None, None)
    frames, rows, columns = (
        n if end is None else min(n, end)
        for n, end in zip((max(frames, 17), max(rows, 18), max(columns, 20)), most, strict=True)
    )
    rows, columns = rows // 2 * 2, columns // 2 * 2
    columns -= 2 * (columns == rows)
    return (frames - (frames in (rows, columns)), 2, 4), (2, rows, 4), (2, 4, columns)


class Unreadable(Exception):
    """What was seen follows no rule that can be read; the message is a clause. code, remedy: where it has a name."""

    def __init__(self, message: str, code: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.code, self.remedy = code, remedy


def still(numbers: Any) -> Unreadable:
    """What is said where nothing turns. numbers: cos + i·sin, all of them."""
    import numpy as np

    values = np.asarray(numbers)
    if np.abs(values).max() < 1e-3:
        return Unreadable(
            "every cosine and sine is 0, so queries and keys vanish", "zeros", "fill the tables, and return what was "
            "turned",
        )  # fmt: skip
    if np.abs(values - 1).max() < 1e-3:
        return Unreadable(
            "nothing is turned: every cosine is 1 and every sine 0", "unturned",
            "give the angles their positions, and return what was turned, not what came in",
        )  # fmt: skip
    if np.abs(values.imag).max() < 1e-9:
        return Unreadable(
            "no two columns turn together: each number is only multiplied, as by a cosine, and the sines are missing",
            "unturned", "add the other number of the pair times the sine: (a·cos - b·sin, b·cos + a·sin)",
        )  # fmt: skip
    return Unreadable("every token is turned alike, so scores do not depend on where tokens stand", "unturned",
                      "give the angles their positions")  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """cos + i·sin at a grid. columns: (S, n), n = d, or d/2 where each pair has one number; text: (L, n)."""

    sizes: Sizes
    columns: Complexes
    text: Complexes | None = None


def see_pairs(turn: Rotation, which: int, sizes: Sizes = SMALL) -> Pairs:
    """Columns that a rotation mixes, found with unit vectors. Raises Unreadable where one mixes with several.

    which: 0 for the query, 1 for the key.
    """
    import numpy as np

    d = turn.rope.head_dim
    unit = np.broadcast_to(np.eye(d)[:, None, :], (d, turn.length(sizes), d)).copy()
    mixed = np.abs(turn(unit, unit, sizes)[which]).max(axis=1)
    np.fill_diagonal(mixed, 0.0)
    linked = (mixed + mixed.T) > 1e-9
    partners = linked.sum(axis=1)
    if partners.max() > 1:
        column = int(partners.argmax())
        others = ", ".join(str(c) for c in np.flatnonzero(linked[column])[:4])
        raise Unreadable(f"column {column} is mixed with more than one other ({others})")
    return tuple((a, int(linked[a].argmax())) for a in range(d) if partners[a] and a < linked[a].argmax())


def see_rotation(turn: Rotation, which: int, pairs: Pairs, sizes: Sizes) -> Seen:
    """What a rotation does to the two columns of each pair at every token."""
    import numpy as np

    d, rope = turn.rope.head_dim, turn.rope
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    unit = np.zeros((2, turn.length(sizes), d))
    unit[0] = 1.0
    unit[0][:, second] = 0.0
    unit[1][:, second] = 1.0
    one, two = turn(unit, unit, sizes)[which]
    columns = one.astype(np.complex128)
    columns[:, first] = one[:, first] - 1j * two[:, first]
    columns[:, second] = two[:, second] + 1j * one[:, second]
    start, end = rope.placement.video(prod(sizes), turn.text)
    return Seen(sizes, columns[start:end], np.concatenate([columns[:start], columns[end:]]) if turn.text else None)


def named_pairs(rope: Rope3D) -> dict[str, Pairs]:
    """The layouts that have names, for a head of this rope."""
    others: tuple[Pairing, ...] = ("interleaved", "half", "half-axis")
    kept = [rope.pairing, *(p for p in others if p != rope.pairing)]
    return {p: tuple(sorted(replace(rope, pairing=p).pairs)) for p in kept}


def doubled(columns: Complexes) -> bool:
    """Whether neighbours, or the two halves, of columns (S, n) hold the same numbers."""
    import numpy as np

    if columns.shape[-1] % 2:
        return False
    neighbours, halves = columns[:, 0::2] - columns[:, 1::2], np.subtract(*np.split(columns, 2, axis=1))
    return bool(min(np.abs(neighbours).max(), np.abs(halves).max()) < 1e-6)


def twins(columns: Complexes, rope: Rope3D) -> Pairs | None:
    """Columns of (S, d) that hold the same numbers; None where they do not come in twos."""
    import numpy as np

    for pairs in named_pairs(rope).values():
        first, second = [a for a, _ in pairs], [b for _, b in pairs]
        if np.abs(columns[:, first] - columns[:, second]).max() <= 1e-6 * max(1.0, float(np.abs(columns).max())):
            return pairs
    apart = np.abs(columns.T[:, None, :] - columns.T[None, :, :]).max(axis=-1)
    np.fill_diagonal(apart, np.inf)
    nearest = apart.argmin(axis=1)
    mutual = all(nearest[b] == a and apart[a, b] <= 1e-6 for a, b in enumerate(nearest))
    return tuple((a, int(b)) for a, b in enumerate(nearest) if a < b) if mutual else None


def spun(x: Floats, columns: Complexes, pairs: Any) -> Floats:
    """Turn x (..., S, d) by cos + i·sin of every column (S, d); columns in no pair are multiplied."""
    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    cos, sin = columns.real, columns.imag
    out: Floats = x * cos
    out[..., first] -= x[..., second] * sin[:, first]
    out[..., second] += x[..., first] * sin[:, second]
    return out


@dataclass(frozen=True)
class Line:
    """One axis as it was read. pairs: which of the pairs it moves, in the order of the head.

    theta: of the frequencies theta^(-k/n), None for one pair; steps: k of each pair; of: n, pairs of a whole axis.
    places: for each grid the positions along it, as radians of the pair with k = 0, whose frequency is 1.
    """

    axis: str
    pairs: tuple[int, ...]
    theta: float | None
    places: tuple[Floats, ...]
    steps: tuple[int, ...]
    of: int

    @property
    def frequencies(self) -> Floats:
        """Relative to the pair with k = 0."""
        import numpy as np

        out: Floats = (self.theta or 1.0) ** (-np.array(self.steps) / max(self.of, 1))
        return out

    @property
    def rising(self) -> bool:
        """Whether frequencies run from slow to fast."""
        return len(self.steps) > 1 and self.steps[0] > self.steps[-1]


@dataclass(frozen=True)
class Reading:
    """A convention with its numbers. axes: what moves each pair, in the order of the head; None for nothing.

    order: axes from outermost to innermost of the tokens. sign: -1 where angles fall with positions. quarters: turns
    by a quarter that are added to every angle. scale: length of a turned vector over that of the vector.
    """

    grids: tuple[Sizes, ...]
    order: tuple[str, str, str]
    axes: tuple[str | None, ...]
    lines: tuple[Line, Line, Line]
    sign: int
    quarters: int
    scale: float

    @property
    def split(self) -> tuple[tuple[str | None, int], ...]:
        """(axis, numbers of a head), in the order of the head; None for numbers that do not turn."""
        return tuple((axis, 2 * len(list(run))) for axis, run in groupby(self.axes))

    def angles(self, grid: int, lines: Sequence[Line] | None = None) -> Floats:
        """Radians that the reading gives at one of its grids, frames outermost, before sign and quarters: (S, P)."""
        import numpy as np

        sizes = self.grids[grid]
        out = np.zeros((*sizes, len(self.axes)))
        for i, line in enumerate(lines or self.lines):
            shape = [1, 1, 1, len(line.pairs)]
            shape[i] = sizes[i]
            out[..., list(line.pairs)] += (line.places[grid][:, None] * line.frequencies).reshape(shape)
        return out.reshape(-1, len(self.axes))


def read(grids: Sequence[Sizes], numbers: Sequence[Complexes], expected: Rope3D) -> Reading:
    """Read a convention from cos + i·sin of every pair, (S, P) at each grid. Raises Unreadable."""
    import numpy as np

    lengths = np.abs(np.concatenate(list(numbers)))
    scale = float(np.median(lengths))
    if lengths.max() < 1e-3:
        raise still(lengths)
    if np.abs(lengths - scale).max() > 0.02 * max(scale, 1e-3):
        raise Unreadable(
            f"cos² + sin² is no constant (between {lengths.min() ** 2:.3g} and {lengths.max() ** 2:.3g}), so lengths "
            "of queries and keys change"
        )
    order, axes = _order(grids, numbers)
    cubes = [in_order(z, sizes, order) / scale for z, sizes in zip(numbers, grids, strict=True)]
    steps: dict[int, float] = {}
    around: dict[int, float] = {}
    lines: list[tuple[tuple[int, ...], list[Any]]] = []
    for i in range(3):
        own = tuple(p for p, axis in enumerate(axes) if axis == i)
        along = [cube.mean(axis=tuple(j for j in range(3) if j != i))[:, list(own)] for cube in cubes]
        longest = max(along, key=len)
        turns = longest[1:] * longest[:-1].conj()
        total = np.angle(turns).sum(axis=0)
        around.update(zip(own, np.angle(turns.sum(axis=0)).tolist(), strict=True))
        steps.update(zip(own, (total / (len(longest) - 1)).tolist(), strict=True))
        lines.append((own, along))
    if not steps:
        raise still(np.concatenate(list(numbers)))
    # Only the slowest pair of an axis is sure not to go round between two tokens.
    idle = frozenset(p for p, axis in enumerate(axes) if axis is None)
    sign = -1 if all(steps[own[-1]] < 0 for own, _ in lines if own) else 1
    names = tuple(None if axis is None else AXES[axis] for axis in axes)
    outer, middle, inner = (AXES[i] for i in order)

    def turned_by(quarters: int) -> Reading:
        """The reading under the guess that every angle has so many quarter turns more."""
        made = []
        for axis, (own, along) in zip(AXES, lines, strict=True):
            undone = [(z.conj() if sign < 0 else z) * (-1j) ** quarters for z in along]
            both = [[sign * of[p] for p in own] for of in (steps, around)]
            made.append(_line(axis, own, np.array(both), undone, expected, grids, idle))
        t, h, w = made
        return Reading(tuple(grids), (outer, middle, inner), names, (t, h, w), sign, quarters, scale)

    # Positions that fit pairs of all speeds at once leave nothing over; under another guess they cannot.
    plain = turned_by(0)
    left = measured_noise(plain, numbers)
    if left < 1e-4:
        return plain
    others = {quarters: turned_by(quarters) for quarters in (1, 2, 3)}
    noises = {quarters: measured_noise(reading, numbers) for quarters, reading in others.items()}
    best = min(noises, key=noises.__getitem__)
    return plain if left < 3 * noises[best] else others[best]


def off_by(reading: Reading, lines: Sequence[Line], numbers: Sequence[Complexes], grid: int) -> tuple[Floats, Floats]:
    """How far numbers at one of the grids are from what lines say, and the angles that they say: (S, P) each."""
    import numpy as np

    angles = reading.angles(grid, lines)
    z = np.exp(1j * angles) * 1j**reading.quarters
    order = [AXES.index(axis) for axis in reading.order]
    seen = in_order(numbers[grid], reading.grids[grid], order).reshape(z.shape) / reading.scale
    return np.abs((z.conj() if reading.sign < 0 else z) - seen), angles


def measured_noise(reading: Reading, numbers: Sequence[Complexes]) -> float:
    """How far numbers are from their own reading, relative to 1 + angle."""
    import numpy as np

    both = [off_by(reading, reading.lines, numbers, g) for g in range(len(reading.grids))]
    return max(float((off / (1 + np.abs(angles))).max()) for off, angles in both)


def in_order(numbers: Complexes, sizes: Sizes, order: Sequence[int]) -> Complexes:
    """Numbers (S, P) of tokens that run in that order of axes, as (T, H, W, P)."""
    shaped = numbers.reshape(*(sizes[i] for i in order), numbers.shape[-1])
    return shaped.transpose(*(list(order).index(i) for i in range(3)), 3)


def _order(grids: Sequence[Sizes], numbers: Sequence[Complexes]) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """The order of tokens in which every pair moves along one axis, and which axis that is."""
    import numpy as np

    for order in permutations(range(3)):
        moved = np.zeros((3, numbers[0].shape[-1]))
        for sizes, z in zip(grids, numbers, strict=True):
            cube = in_order(z, sizes, order)
            for i in range(3):
                moved[i] = np.maximum(moved[i], np.abs(cube - cube.take([0], axis=i)).max(axis=(0, 1, 2)))
        most = moved.max(axis=0)
        moving = moved > np.maximum(1e-9, 0.01 * most)
        if moving.sum(axis=0).max() <= 1:
            return order, tuple(int(m.argmax()) if m.any() else None for m in moving.T)
    turns = [z[1:] * z[:-1].conj() for z in numbers]
    if all(np.abs(turn - turn[:1]).max() < 0.02 for turn in turns):
        raise Unreadable(
            "tokens are counted one after another, in one dimension, so every pair turns with frame, row and column",
            "flat", "give every token its frame, row and column, and each of them its part of the head",
        )  # fmt: skip
    raise Unreadable("pairs turn along more than one axis, in whatever order tokens are taken")


def _line(
    axis: str,
    own: tuple[int, ...],
    steps: Floats,
    along: list[Complexes],
    expected: Rope3D,
    grids: Sequence[Sizes],
    idle: frozenset[int],
) -> Line:
    import numpy as np

    if not own:
        return Line(axis, (), None, tuple(np.zeros(len(z)) for z in along), (), 0)
    i = AXES.index(axis)
    if len(own) == 1:
        k, of, fall, stride = np.zeros(1), 1, 0.0, 1.0
    else:
        k, of, fall, stride = _ladder(axis, own, steps, expected, idle)
    frequencies = np.exp(fall * k)
    slow_first = np.argsort(-k)
    factor = expected.interpolation.linear[i]
    places = []
    for z, sizes in zip(along, grids, strict=True):
        phases = np.angle(z)
        # Slow pairs say roughly where a token is, faster ones then exactly. One pair alone cannot count its turns:
        # it takes the nearest to the model's.
        near = expected.positions(sizes)[i] / factor * stride
        slowest = slow_first[0]
        at = phases[:, slowest] / frequencies[slowest]
        whole = 2 * pi / frequencies[slowest]
        at = at + whole * np.round((near - at) / whole) if len(own) == 1 or whole < 2 * np.ptp(near) + 7 else at
        for j in slow_first[1:]:
            behind = phases[:, j] - frequencies[j] * at
            at = at + (behind - 2 * pi * np.round(behind / (2 * pi))) / frequencies[j]
        places.append(at)
    theta = float(np.exp(-fall * of)) if len(own) > 1 else None
    return Line(axis, own, theta, tuple(places), tuple(int(n) for n in k), of)


def _ladder(
    axis: str, own: tuple[int, ...], means: Floats, expected: Rope3D, idle: frozenset[int]
) -> tuple[Floats, int, float, float]:
    """The k of each pair, how many make a whole axis, log of frequency for each k, and how far apart positions are.

    means: of the angles from one token to the next, of each pair: by adding them up, and on the circle, which is sure
    near half a turn. idle: pairs that do not turn. Raises Unreadable.
    """
    import numpy as np

    i, count = AXES.index(axis), len(own)
    part, theta = expected.parts[i], expected.thetas()[i]
    steps, around = means
    size = part.stop - part.start
    plain, inside = np.arange(count, dtype=np.float64), np.array(own, dtype=np.float64) - part.start

    def fitted(k: Floats, rise: Floats) -> tuple[float, float, float]:
        logs = np.log(np.abs(rise))
        fall, offset = np.polyfit(k, logs, 1)
        return float(fall), float(offset), float(np.abs(logs - fall * k - offset).max())

    # Positions that are far apart turn fast pairs more than half round between two tokens: then the slow ones say how
    # many turns to add, with the ratio that they show, or the model's.
    ratios = [around[-2] / around[-1], theta ** (1 / size)] if around[-1] else []
    tries = [steps, *(_unwound(around, ratio) for ratio in ratios if ratio > 0)]
    rises = [t for t in tries if t[-1] and (t / t[-1]).min() > 0]
    for rise in rises:
        # The first pair is fitted along with the others: its own step would carry its rounding to all of them.
        fall, offset, off = fitted(plain, rise)
        if off > 0.03:
            continue
        k, of = plain, count
        if fall > 0.02:  # from slow to fast
            k = plain[::-1]
            fall, offset, _ = fitted(k, rise)
        elif count < size and {*own} | idle >= {*range(part.start, part.stop)} >= {*own}:
            # Some of the model's own pairs may turn as the model's do, and the others not at all.
            some = fitted(inside, rise)
            if some[2] < 0.03 and abs(-some[0] * size - np.log(theta)) < 0.01 * max(1.0, np.log(theta)):
                k, of, (fall, offset, _) = inside, size, some
        return k, of, fall, 1.0 if rise is steps else float(np.exp(offset)) * expected.interpolation.linear[i]
    if not rises:
        raise Unreadable(f"some pairs of the {axis} turn forward and some backward")
    raise Unreadable(f"frequencies along the {axis} do not fall by one ratio from pair to pair")


def _unwound(steps: Floats, ratio: float) -> Floats:
    """Steps with the whole turns that those slower by that ratio say were lost, slowest last."""
    import numpy as np

    out = steps.copy()
    for j in range(len(out) - 2, -1, -1):
        if j < len(out) - 2:
            ratio = abs(out[j + 1] / out[-1]) ** (1 / (len(out) - 2 - j))
        out[j] += 2 * pi * np.round((out[j + 1] * ratio - out[j]) / (2 * pi))
    return out
