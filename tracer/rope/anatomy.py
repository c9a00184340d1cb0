"""What there is to see in a rope: its bands, how alike places are to it, what stretching does, what tables weigh."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, prod
from typing import TYPE_CHECKING, Any, Literal

from tracer.errors import BadRequest
from tracer.formula import Formula
from tracer.rope.grids import AXES, Sizes
from tracer.rope.rope3d import KINDS, Interpolation, Rope3D, no_trained_grid
from tracer.shapes import DTYPE_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


Kind = Literal["whole", "half", "less"]
"""Of a pair: whether it turns so far over the positions that the tokens fill."""


@dataclass(frozen=True)
class Band:
    """One pair: its axis, its place from fast (0) to slow within it, its two columns of a head.

    frequency: radians for one position. wavelength: positions for a whole turn. step: radians between neighbouring
    tokens. reach: radians over all positions that the tokens fill; turns: the same in whole turns.
    """

    axis: str
    index: int
    columns: tuple[int, int]
    frequency: float
    wavelength: float
    step: float
    reach: float

    @property
    def turns(self) -> float:
        """Whole turns over all positions that the tokens fill."""
        return self.reach / (2 * pi)

    @property
    def kind(self) -> Kind:
        """Whether it turns a whole turn or more over them, half a turn or more, or less."""
        return "whole" if self.turns >= 1 else "half" if self.turns >= 0.5 else "less"


def bands(rope: Rope3D, sizes: Sizes) -> tuple[Band, ...]:
    """Every pair of a head on a grid of tokens, in the order frame, row, column, each from fast to slow."""
    out = []
    pairs = iter(rope.pairs)
    axes = zip(AXES, rope.frequencies(), rope.positions(sizes), rope.grid.extent(sizes), strict=True)
    for axis, frequencies, places, extent in axes:
        step = float(places[1] - places[0]) if len(places) > 1 else 0.0
        for k, frequency in enumerate(frequencies.tolist()):
            wavelength = 2 * pi / frequency
            out.append(Band(axis, k, next(pairs), frequency, wavelength, step * frequency, extent * frequency))
    return tuple(out)


def similarity(rope: Rope3D, sizes: Sizes, query: Sizes) -> tuple[Floats, Floats, Floats]:
    """How alike a query and keys of the same content are along the three lines through the query's token.

    query: index of its token along frame, row and column. Returns arrays (T,), (H,), (W,), 1 at the query itself: the
    mean over all pairs of cos(angle of query - angle of key), which is q·k/|q|² for vectors with equal weight on
    every pair. Raises BadRequest for a query outside the grid.
    """
    _check_query(sizes, query)
    out = []
    for places, at, frequencies in zip(rope.positions(sizes), query, rope.frequencies(), strict=True):
        out.append(_mean_cosine(places - places[at], frequencies, rope.head_dim // 2))
    t, h, w = out
    return t, h, w


def relative_similarity(rope: Rope3D, sizes: Sizes) -> tuple[Floats, Floats, Floats]:
    """The same by distance: keys that stand 0, 1, 2, ... tokens from the query along frame, row or column.

    Which token the query is does not matter, because scores depend on differences of positions alone and tokens
    stand in equal steps.
    """
    return similarity(rope, sizes, (0, 0, 0))


@dataclass(frozen=True)
class Plane:
    """Similarities within a frame to one of its tokens, (row, column): a part for rows and one for columns.

    Each pair turns along one axis, so a mean over pairs falls into the two.
    """

    query: tuple[int, int]
    rows: tuple[float, ...]
    columns: tuple[float, ...]

    def values(self) -> Floats:
        """Of every token: (H, W)."""
        import numpy as np

        out: Floats = np.add.outer(self.rows, self.columns) - 1.0
        return out


def plane(rope: Rope3D, sizes: Sizes, query: Sizes) -> Plane:
    """Similarity of a query with all tokens of its frame. Raises BadRequest for a query outside the grid."""
    _, rows, columns = similarity(rope, sizes, query)
    return Plane((query[1], query[2]), tuple(rows.tolist()), tuple(columns.tolist()))


def similarity_plane(rope: Rope3D, sizes: Sizes, query: Sizes) -> Floats:
    """The same as numbers for all rows and columns: (H, W). Raises what `plane` does."""
    return plane(rope, sizes, query).values()


def _mean_cosine(differences: Floats, frequencies: Floats, pairs: int) -> Floats:
    """Pairs of the other axes do not turn along this line: their cosine is 1."""
    import numpy as np

    own = np.cos(differences[:, None] * frequencies).sum(axis=-1)
    still = pairs - len(frequencies)
    out: Floats = (own + still) / pairs
    return out


def _check_query(sizes: Sizes, query: Sizes) -> None:
    if any(not 0 <= at < n for at, n in zip(query, sizes, strict=True)):
        given, grid = ", ".join(map(str, query)), "×".join(map(str, sizes))
        raise BadRequest(
            f"a query at token ({given}) is outside the grid of {grid}; each index runs from 0 to its size less one."
        )


@dataclass(frozen=True)
class Axis:
    """What one axis is to a rope at a grid of tokens.

    formula: of its tokens. numbers: of a head. pairs: their columns. positions: of the tokens, before interpolation.
    theta: after interpolation. bands: its pairs from fast to slow. per_token: video frames, or rows or columns of
    pixels, of one token; None without a model, and for the frames of an image. similarity: of a query and keys of the
    same content that stand 0, 1, 2, ... tokens apart along this axis.
    """

    name: str
    formula: Formula
    tokens: int
    numbers: int
    pairs: tuple[tuple[int, int], ...]
    positions: tuple[float, ...]
    theta: float
    bands: tuple[Band, ...]
    per_token: float | None
    similarity: tuple[float, ...]

    @property
    def step(self) -> float:
        """Positions between neighbouring tokens; 1 where there is one token."""
        return self.positions[1] - self.positions[0] if self.tokens > 1 else 1.0

    @property
    def wavelengths(self) -> tuple[float, ...]:
        """Positions for a whole turn of each pair."""
        return tuple(b.wavelength for b in self.bands)

    @property
    def in_video(self) -> tuple[float, ...] | None:
        """Video frames or pixels for a whole turn of each pair."""
        if self.per_token is None:
            return None
        return tuple(w / self.step * self.per_token for w in self.wavelengths)

    @property
    def turns(self) -> tuple[float, ...]:
        """Whole turns of each pair over all positions that the tokens fill."""
        return tuple(b.turns for b in self.bands)

    def to_json(self) -> dict[str, Any]:
        """The axis as plain data."""
        return {
            "axis": self.name, "tokens": self.tokens, "formula": self.formula.to_json(), "numbers": self.numbers,
            "pairs": [list(p) for p in self.pairs], "positions": list(self.positions), "theta": self.theta,
            "frequencies": [b.frequency for b in self.bands], "wavelengths": list(self.wavelengths),
            "in_video": None if self.in_video is None else list(self.in_video), "turns": list(self.turns),
            "per_token": self.per_token, "similarity": list(self.similarity),
        }  # fmt: skip


_ROUNDING = 1e-12


@dataclass(frozen=True)
class Stretch:
    """One way to go from the trained grid to another one.

    interpolation: what the rope then does. finest: for each axis, how far its fastest pair turns neighbouring tokens
    apart, over the same in training. unseen: for each axis, pairs that see relative angles which training had not:
    pairs that turned by less than half a turn over the trained grid, and turn by more now. (Differences of positions
    have both signs, so half a turn each way is the whole circle.) fresh: for each axis, the share of the circle that
    is new, in the mean of its pairs. reach: of each pair, in radians; trained: the same on the trained grid.
    """

    kind: str
    interpolation: Interpolation
    finest: tuple[float, ...]
    unseen: tuple[int, ...]
    fresh: tuple[float, ...]
    reach: tuple[float, ...]
    trained: tuple[float, ...]


def stretches(rope: Rope3D, sizes: Sizes) -> tuple[Stretch, ...]:
    """What a grid of tokens is to a rope without, with linear and with ntk interpolation, beside the trained grid.

    Raises BadRequest for a rope that names no trained grid.
    """
    if rope.trained is None:
        raise BadRequest(no_trained_grid(rope.name, "to stretch from"))
    then = bands(rope, rope.trained)
    out = []
    for kind in KINDS:
        fitted = rope.stretched(kind, sizes)
        now = bands(fitted, sizes)
        finest, unseen, fresh = [], [], []
        for axis in AXES:
            both = [(a, b) for a, b in zip(then, now, strict=True) if a.axis == axis]
            first, last = both[0]
            finest.append(last.step / first.step if first.step and last.step else 1.0)
            more = [(min(b.reach, pi) - min(a.reach, pi)) / pi for a, b in both]
            new = [m for m in more if m > _ROUNDING]
            unseen.append(len(new))
            fresh.append(sum(new) / len(more))
        out.append(
            Stretch(
                kind, fitted.interpolation, tuple(finest),
                tuple(unseen), tuple(fresh), tuple(b.reach for b in now), tuple(b.reach for b in then),
            )
        )  # fmt: skip
    return tuple(out)


@dataclass(frozen=True)
class Memory:
    """Bytes of a rope's tables: as the published code keeps them, and in other layouts.

    kept: in the code's own layout. whole: two tables (S, d), as most code hands them to attention. halved: two tables
    (S, d/2), each angle once. axes: two tables (n, numbers/2) for each axis, from which the others are broadcast.
    Where text goes through the rotation too, it has rows of whole and halved.
    """

    kept: int
    whole: int
    halved: int
    axes: int


def memory(rope: Rope3D, sizes: Sizes, *, rows: int | None = None) -> Memory:
    """Bytes of a rope's tables on a grid of tokens, in its published dtype.

    rows: of the whole tables, where they are more than the S of the grid: L + S where text has rows.
    """
    width = DTYPE_BYTES[rope.dtype]
    whole = 2 * (prod(sizes) if rows is None else rows) * rope.head_dim * width
    axes = 2 * sum(n * part // 2 for n, part in zip(sizes, rope.split, strict=True)) * width
    kept = {"whole": whole, "axes": 2 * axes, "angles": prod(sizes) * rope.head_dim * width}
    return Memory(kept[rope.laid], whole, whole // 2, axes)
