"""A 3D rotary position embedding, described by data: frequencies, angles, tables, rotation and its inverse.

A head of d numbers is cut into pairs. A pair belongs to one axis (frame, row or column) and is turned in its plane by
position · frequency. Within an axis of n numbers the k-th pair turns at theta^(-2k/n) radians for each position, so
every axis has its own range from fast to slow. The product of a turned query with a turned key then depends on the
difference of their positions alone.

Sources: Su et al., RoFormer (arXiv 2104.09864), equations 14 to 16, for one axis; the code named at each variant for
how the axes share a head. Tables are computed in float64.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from tracer.errors import BadRequest
from tracer.rope.arrays import as_like, inverse_order, is_array, is_torch, join, single
from tracer.rope.grids import AXES, WHOLE, Grid, Sizes, as_tuples, check_grid, real, said, whole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

Array = TypeVar("Array")
"""A numpy array or a torch tensor."""

Pairing = Literal["interleaved", "half", "half-axis"]
PAIRINGS: dict[str, str] = {
    "interleaved": "neighbours: (0, 1), (2, 3), ...",
    "half": "across the halves of the head: (0, d/2), (1, d/2 + 1), ...",
    "half-axis": "across the halves of each axis' part",
}
Laid = Literal["whole", "axes", "angles"]
LAID: tuple[Laid, ...] = ("whole", "axes", "angles")
Stretching = Literal["none", "linear", "ntk"]
KINDS: tuple[Stretching, ...] = ("none", "linear", "ntk")


@dataclass(frozen=True)
class Interpolation:
    """How a rope is fitted to more positions than it was trained on: a factor for frame, row and column.

    linear: positions are divided by it (Chen et al., arXiv 2306.15595). ntk: theta is multiplied by
    factor^(n/(n - 2)) for an axis of n numbers, so that the slowest pair is slowed by the factor and the fastest
    stays (the `theta_rescale_factor` of HunyuanVideo's modules/posemb_layers.py, after the "NTK-aware" proposal).
    Raises BadRequest unless there are three finite factors above 0.
    """

    linear: tuple[float, float, float] = (1.0, 1.0, 1.0)
    ntk: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def __post_init__(self) -> None:
        for factors in (self.linear, self.ntk):
            if not real(factors, 3) or min(factors) <= 0:
                raise BadRequest(
                    f"interpolation factors ({said(factors)}): there are three, above 0, for frame, row and column."
                )
        as_tuples(self, "linear", "ntk")

    @property
    def words(self) -> str:
        """What is done, in a few words."""
        by = ((name, " × ".join(f"{f:g}" for f in getattr(self, name))) for name in ("linear", "ntk"))
        return ", ".join(f"{name} {words}" for name, words in by if words != "1 × 1 × 1") or "none"


@dataclass(frozen=True)
class Placement:
    """Which tokens of the attended sequence are turned.

    text: where the text's tokens stand: 'before' or 'after' the video's, or 'none' where they are not in that
    sequence (cross-attention). turned: 'video', or 'all' where text tokens go through the rotation at position 0,
    which leaves them as they are. Raises BadRequest for other words.
    """

    text: Literal["before", "after", "none"] = "none"
    turned: Literal["video", "all"] = "video"

    def __post_init__(self) -> None:
        for field, words in (("text", ("before", "after", "none")), ("turned", ("video", "all"))):
            given = getattr(self, field)
            if given not in words:
                raise BadRequest(
                    f"a placement with {field} {given!r}: {field} is {', '.join(words[:-1])} or {words[-1]}."
                )

    def video(self, video: int, text: int) -> tuple[int, int]:
        """First and end index of the video's tokens in the sequence."""
        first = text if self.text == "before" else 0
        return first, first + video

    def length(self, video: int, text: int) -> int:
        """Tokens of the sequence."""
        return video + (text if self.text != "none" else 0)


def six_way(head_dim: int) -> tuple[int, int, int]:
    """D - 4·(d//6), 2·(d//6), 2·(d//6): rows and columns get a third each, rounded down to pairs; frames the rest."""
    sixth = head_dim // 6
    return head_dim - 4 * sixth, 2 * sixth, 2 * sixth


def quarter(head_dim: int) -> tuple[int, int, int]:
    """d//4, 3·(d//8), 3·(d//8). Raises BadRequest for a head that is no multiple of 16.

    From other heads it makes parts that are odd, or that do not add up to the head.
    """
    if head_dim % 16:
        near = head_dim // 16 * 16
        use = f"{near} or {near + 16}" if near else "16"
        raise BadRequest(
            f"a head of {head_dim} numbers cannot be split as d//4, 3·(d//8), 3·(d//8) into even parts that fill it: "
            f"it must be a multiple of 16; use {use}."
        )
    return head_dim // 4, 3 * (head_dim // 8), 3 * (head_dim // 8)


@dataclass(frozen=True)
class NoRope:
    """Why a model has no rope that can be described here, as a clause that follows its name."""

    reason: str
    placement: Placement | None = None
    """Which tokens it turns, where it turns some."""


@dataclass(frozen=True)
class Rope3D:
    """A 3D rotary position embedding.

    split: numbers of a head for frame, row and column. pairing: which two numbers of a head turn together, a key of
    PAIRINGS. grid: where tokens stand. masked: a coordinate with this value leaves its token as it is; None where no
    value does. trained: the token grid of the published request. axes: tokens along the three axes, as formulas of
    the model's letters. laid: what the published code keeps: 'whole' tables (S, d), tables of all 'axes', each
    (n, numbers of the axis), where tokens are looked up, or 'angles' (T, H, W, d). dtype: of these; computed: of the
    angles there. source: the code that does this. remark: what else is to be known.

    Raises BadRequest for a split that is not three even numbers of at least 2, for a theta of at most 1, for an
    unknown pairing or layout, and for a grid, interpolation, placement, masked value or trained grid of another kind.
    """

    name: str
    split: tuple[int, int, int]
    theta: float = 10000.0
    pairing: Pairing = "interleaved"
    grid: Grid = WHOLE
    interpolation: Interpolation = Interpolation()
    placement: Placement = Placement()
    masked: float | None = None
    trained: Sizes | None = None
    axes: tuple[str, str, str] = ("F", "H/p", "W/p")
    laid: Laid = "whole"
    dtype: str = "float32"
    computed: str = "float32"
    source: str = ""
    remark: str = ""

    def __post_init__(self) -> None:
        given = said(self.split, "/")
        if not whole(self.split, 3, 2):
            raise BadRequest(
                f"a split of {given}: a head is split in three parts of at least 2 whole numbers, for frame, row and "
                "column, such as 16/24/24."
            )
        as_tuples(self, "split")
        for axis, n in zip(AXES, self.split, strict=True):
            if n % 2:
                raise BadRequest(
                    f"a split of {given}: the {axis}'s {n} numbers do not make pairs; each part must be even, such "
                    "as 16/24/24."
                )
        if not real([self.theta], 1) or self.theta <= 1:
            raise BadRequest(f"a theta of {self.theta}: it must be a finite number above 1, such as 10000 or 256.")
        if self.pairing not in list(PAIRINGS):
            raise BadRequest(f"'{self.pairing}' is no pairing; it is {', '.join(PAIRINGS)}.")
        if self.laid not in LAID:
            raise BadRequest(f"tables laid {self.laid!r}: it is {', '.join(LAID)}.")
        kinds: dict[str, tuple[Any, str]] = {
            "grid": (Grid, "Whole() or Crop((30, 45))"),
            "interpolation": (Interpolation, "Interpolation(linear=(2, 1, 1))"),
            "placement": (Placement, "Placement('before')"),
        }
        for field, (kind, example) in kinds.items():
            value = getattr(self, field)
            if not isinstance(value, kind):
                raise BadRequest(f"a rope with {value!r} for its {field}: it takes one such as {example}.")
        if self.masked is not None and not real([self.masked], 1):
            raise BadRequest(f"a masked coordinate of {self.masked!r}: it is a finite number such as -1, or None.")
        if self.trained is not None:
            check_grid(self.trained)
            as_tuples(self, "trained")

    @property
    def head_dim(self) -> int:
        """Numbers of a head, d."""
        return sum(self.split)

    @property
    def parts(self) -> tuple[slice, slice, slice]:
        """Pairs of each axis, as slices of the d/2 pairs in the order frame, row, column."""
        t, h, w = (n // 2 for n in self.split)
        return slice(0, t), slice(t, t + h), slice(t + h, t + h + w)

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The two columns of each pair, in the order frame, row, column, each from fast to slow."""
        if self.pairing == "interleaved":
            return [(2 * j, 2 * j + 1) for j in range(self.head_dim // 2)]
        if self.pairing == "half":
            return [(j, j + self.head_dim // 2) for j in range(self.head_dim // 2)]
        starts = accumulate(self.split[:-1], initial=0)
        return [(s + k, s + k + n // 2) for s, n in zip(starts, self.split, strict=True) for k in range(n // 2)]

    def thetas(self) -> tuple[float, float, float]:
        """Theta of each axis, after interpolation. Raises BadRequest for ntk on a part of two numbers."""
        t, h, w = (self._raised(n, f) for n, f in zip(self.split, self.interpolation.ntk, strict=True))
        return t, h, w

    def _raised(self, n: int, factor: float) -> float:
        if factor == 1:
            return self.theta
        if n < 4:
            raise BadRequest(
                f"ntk interpolation of a split of {said(self.split, '/')}: a part of 2 numbers has one pair, "
                "which no theta slows; use linear."
            )
        return float(self.theta * factor ** (n / (n - 2)))

    def frequencies(self) -> tuple[Floats, Floats, Floats]:
        """Radians for each whole position, of every pair: three arrays (n/2,), from fast to slow."""
        import numpy as np

        t, h, w = (
            theta ** (-np.arange(0, n, 2, dtype=np.float64) / n) / f
            for theta, n, f in zip(self.thetas(), self.split, self.interpolation.linear, strict=True)
        )
        return t, h, w

    def wavelengths(self) -> tuple[Floats, Floats, Floats]:
        """Positions for one whole turn of every pair: three arrays (n/2,), from short to long."""
        import numpy as np

        t, h, w = (2 * np.pi / f for f in self.frequencies())
        return t, h, w

    def positions(self, sizes: Sizes) -> tuple[Floats, Floats, Floats]:
        """Where tokens stand along the three axes, before interpolation: arrays (T,), (H,), (W,)."""
        import numpy as np

        t, h, w = (np.asarray(p, dtype=np.float64) for p in self.grid.positions(sizes))
        return t, h, w

    def coordinates(self, sizes: Sizes) -> Floats:
        """(frame, row, column) of every token, frames outermost: (S, 3) with S = T·H·W."""
        import numpy as np

        return np.stack(np.meshgrid(*self.positions(sizes), indexing="ij"), axis=-1).reshape(-1, 3)

    def angles(self, sizes: Sizes) -> Floats:
        """Radians by which every pair of every token turns: (S, d/2)."""
        return self._turns(self.coordinates(sizes))

    def at(self, coordinates: Any) -> Floats:
        """Radians at given coordinates (..., 3): (..., d/2).

        A token with a coordinate of `masked` has angles of 0, so that rotation leaves it as it is.
        """
        import numpy as np

        places = np.asarray(coordinates, dtype=np.float64)
        if places.shape[-1:] != (3,):
            raise BadRequest(f"coordinates of shape {places.shape}: the last axis holds frame, row and column.")
        angles = self._turns(places)
        if self.masked is not None:
            angles[(places == self.masked).any(axis=-1)] = 0.0
        return angles

    def _turns(self, places: Floats) -> Floats:
        import numpy as np

        return np.concatenate([places[..., i, None] * f for i, f in enumerate(self.frequencies())], axis=-1)

    def tables(self, sizes: Sizes, *, like: Any = None) -> tuple[Any, Any]:
        """Cosines and sines for every token and column, (S, d) each, laid out by the pairing.

        like: a torch tensor or numpy array whose library, device and floating dtype the tables take; numpy float64
        without it.
        """
        return self.laid_out(self.angles(sizes), like=like)

    def laid_out(self, angles: Floats, *, like: Any = None) -> tuple[Any, Any]:
        """Cosines and sines of angles (..., d/2), each at both columns of its pair: (..., d)."""
        import numpy as np

        owner = np.argsort([a for a, _ in self.pairs] + [b for _, b in self.pairs]) % len(self.pairs)
        cos, sin = np.cos(angles)[..., owner], np.sin(angles)[..., owner]
        return (cos, sin) if like is None else (as_like(cos, like), as_like(sin, like))

    def apply(self, x: Array, tables: tuple[Any, Any], *, axis: int = -2, inverse: bool = False) -> Array:
        """Turn every pair of x by the angle of its token.

        x: (..., S, d), numpy or torch, with tokens along `axis`. tables: cosines and sines as `tables` lays them
        out, (S, d) or any shape that goes with x's. inverse: turn back. The result has x's shape and dtype; it is
        computed in the tables' where that is wider, so 61 MB of bfloat16 with tables of their own take 1.3 GB for a
        moment and seconds on a CPU: it is exact and not fast. Raises BadRequest for shapes that do not go together,
        and for anything but arrays and tensors.
        """
        if not isinstance(tables, tuple | list) or len(tables) != 2 or not all(map(is_array, tables)):
            raise BadRequest("tables are two arrays, cosines and sines, as rope.tables(sizes) gives them.")
        cos, sin = tables
        values: Any = x
        axis = self._token_axis(values, axis)
        if is_torch(x) and not is_torch(cos):
            cos, sin = (as_like(table, single(x)) for table in (cos, sin))
        elif is_torch(cos) and not is_torch(x):
            cos, sin = (table.detach().cpu().double().numpy() for table in (cos, sin))
        if cos.shape != sin.shape or cos.shape[-1:] != (self.head_dim,):
            raise BadRequest(
                f"tables of shapes {tuple(cos.shape)} and {tuple(sin.shape)} for a head of {self.head_dim} numbers: "
                f"both have a column for each number, as (S, {self.head_dim})."
            )
        if cos.ndim == 2:
            if values.ndim == 1:
                raise BadRequest(
                    f"tables of {cos.shape[0]:,} tokens do not fit a single vector: take one token's rows, of shape "
                    f"({self.head_dim},)."
                )
            if cos.shape[0] != values.shape[axis]:
                raise BadRequest(
                    f"tables of {cos.shape[0]:,} tokens do not fit an array of shape {tuple(values.shape)}, which has "
                    f"{values.shape[axis]:,} along axis {axis}; `axis` says where its tokens are."
                )
            rows = tuple(values.shape[axis] if i == axis else 1 for i in range(values.ndim - 1))
            cos, sin = (table.reshape(*rows, self.head_dim) for table in (cos, sin))
        axes = zip(cos.shape[::-1], values.shape[::-1], strict=False)
        if cos.ndim > values.ndim or any(n not in (1, m) for n, m in axes):
            raise BadRequest(
                f"tables of shape {tuple(cos.shape)} do not go with an array of shape {tuple(values.shape)}: each of "
                f"their axes has its size or 1, or they are (S, {self.head_dim})."
            )
        first, second = [a for a, _ in self.pairs], [b for _, b in self.pairs]
        sin = -sin if inverse else sin
        a, b = values[..., first], values[..., second]
        pair = a * cos[..., first] - b * sin[..., first], a * sin[..., second] + b * cos[..., second]
        turned = join(pair, -1)[..., inverse_order([*first, *second])]
        out: Array = turned.to(values.dtype) if is_torch(x) else turned.astype(values.dtype)
        return out

    def _token_axis(self, values: Any, axis: int) -> int:
        """The axis of the tokens, counted from 0, of an array that this rope can turn."""
        if not is_array(values):
            raise BadRequest(f"a {type(values).__name__} cannot be turned: it must be a numpy array or a torch tensor.")
        shape = tuple(values.shape)
        if shape[-1:] != (self.head_dim,):
            raise BadRequest(
                f"an array of shape {shape}: its last axis holds the numbers of a head, and a split of "
                f"{said(self.split, '/')} is for {self.head_dim}."
            )
        if len(shape) > 1 and (not -len(shape) <= axis < len(shape) or axis % len(shape) == len(shape) - 1):
            raise BadRequest(
                f"axis {axis} of an array of shape {shape} holds no tokens: it is one from 0 to {len(shape) - 2}."
            )
        if not (values.is_floating_point() if is_torch(values) else values.dtype.kind == "f"):
            raise BadRequest(f"an array of {values.dtype} cannot be turned: it must hold floating-point numbers.")
        return axis % len(shape)

    def rotate(self, x: Array, sizes: Sizes, *, text: int = 0, axis: int = -2, inverse: bool = False) -> Array:
        """Turn the video's tokens of an attended sequence x (..., L + S, d), and no others.

        text: L, tokens of text in the sequence; their place is the placement's, and with 'none' they are not in it.
        Raises BadRequest for another length.
        """
        values: Any = x
        axis = self._token_axis(values, axis)
        if values.ndim == 1:
            raise BadRequest(f"an array of shape {tuple(values.shape)} has no axis of tokens: it is (S, d) at least.")
        if not whole([text], 1, 0):
            raise BadRequest(f"{text} tokens of text: it must be a whole number from 0.")
        angles = self.angles(sizes)
        expected = self.placement.length(len(angles), text)
        if values.shape[axis] != expected:
            apart = self.placement.text == "none"
            beside = "alone (text is not in the sequence of this placement)" if apart else f"with {text} of text"
            raise BadRequest(
                f"a sequence of {values.shape[axis]:,} tokens: a grid of {'×'.join(map(str, sizes))} {beside} makes "
                f"{expected:,}."
            )
        first, end = self.placement.video(len(angles), text)
        before, video, after = (
            values[(slice(None),) * axis + (part,)] for part in (slice(first), slice(first, end), slice(end, None))
        )
        turned = self.apply(video, self.laid_out(angles), axis=axis, inverse=inverse)
        out: Array = join((before, turned, after), axis)
        return out

    def permutation(self, pairing: Pairing) -> list[int]:
        """Columns of a head in the order that another pairing expects.

        Take the rows of the query and key projections, and of the norms on them, in this order within each head,
        and weights trained with this rope's pairing work under the other one: x[..., permutation].
        """
        other = replace(self, pairing=pairing)
        order = [0] * self.head_dim
        for mine, theirs in zip(self.pairs, other.pairs, strict=True):
            order[theirs[0]], order[theirs[1]] = mine
        return order

    def stretched(self, kind: Stretching, sizes: Sizes) -> Rope3D:
        """This rope fitted to a grid beyond the trained one, on top of its own interpolation.

        The factor of an axis is the ratio of the positions that both fill, and never below 1. On a crop rows and
        columns fill no more than the base grid, so only frames are stretched. Raises BadRequest without a trained
        grid, and for another kind than none, linear and ntk.
        """
        if kind not in KINDS:
            raise BadRequest(f"{kind!r} is no interpolation; it is {', '.join(KINDS)}.")
        if self.trained is None:
            raise BadRequest(no_trained_grid(self.name, "to stretch from"))
        now, then = self.grid.extent(sizes), self.grid.extent(self.trained)
        if kind == "none":
            return self
        own = getattr(self.interpolation, kind)
        t, h, w = (f * max(1.0, n / m) for f, n, m in zip(own, now, then, strict=True))
        return replace(self, interpolation=replace(self.interpolation, **{kind: (t, h, w)}))


def no_trained_grid(name: str, use: str) -> str:
    """What is said to those who ask a rope without a trained grid for more."""
    return (
        f"{name} names no trained grid {use}; wan and cogvideox-sat do, and Rope3D(trained=(13, 30, 45)) gives one to "
        "a rope of your own."
    )
