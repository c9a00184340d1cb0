"""How far attention scores move when queries and keys are turned one way in place of another."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from tracer.rope.grids import Sizes
from tracer.rope.rope3d import Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoreError:
    """Differences of q·k/√d, over the root mean square of the scores they should be.

    video: root mean square over pairs of video tokens. text: over pairs of one video and one text token, None without
    text. largest: the largest of all. For independent random queries and keys, unrelated rotations give about √2.
    """

    video: float
    text: float | None
    largest: float


def score_error(
    right: tuple[Floats, Floats], given: tuple[Floats, Floats], video: tuple[int, int] | None = None
) -> ScoreError:
    """Compare the scores of two rotated (query, key), each (S, d).

    video: first and end index of the video's tokens; the others are text. All are video without it.
    """
    import numpy as np

    (q, k), (other_q, other_k) = right, given
    scores = q @ k.T / np.sqrt(q.shape[-1])
    off = other_q @ other_k.T / np.sqrt(q.shape[-1]) - scores
    first, end = video or (0, len(q))
    inside = np.zeros(len(q), dtype=bool)
    inside[first:end] = True
    scale = _rms(scores)
    both, mixed = inside[:, None] & inside, inside[:, None] ^ inside
    text = _rms(off[mixed]) / scale if mixed.any() else None
    return ScoreError(_rms(off[both]) / scale, text, float(np.abs(off).max()) / scale)


def _rms(values: Floats) -> float:
    import numpy as np

    return float(np.sqrt(np.mean(np.square(values))))


DRAWN = 512
"""Tokens of a grid that scores are compared on."""


def drawn(sizes: Sizes, head_dim: int, seed: int = 0) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Some tokens of a grid, as indices with frames outermost (n,), and a random query and key for each: (n, d)."""
    import numpy as np

    random = np.random.default_rng(seed)
    tokens = random.choice(prod(sizes), size=min(DRAWN, prod(sizes)), replace=False)
    q, k = random.standard_normal((2, len(tokens), head_dim))
    return tokens, q, k


def share(off: float) -> str:
    """An error of scores, in parts of what they are; below 5e-7 it is rounding."""
    return "0" if off < 5e-7 else f"{off:.2f}" if off >= 0.1 else f"{off:.2g}"


def said_of(tokens: int, sizes: Sizes) -> str:
    """What an error of scores is a share of, and where it was measured, to follow the number."""
    return (
        f"of their root mean square (√2 is unrelated), on {tokens} tokens of {'×'.join(map(str, sizes))}, random "
        "queries and keys"
    )


@dataclass(frozen=True)
class Moved:
    """How far scores move when weights that were trained with one rope run under another.

    error: on random queries and keys of some video tokens of a grid. permuted: the same when the rows of the query
    and key projections are put in the order of the other's pairing; None where the pairing is the same. alike: whether
    both turn the same pairs of these tokens by the same angles.
    """

    grid: Sizes
    tokens: int
    error: ScoreError
    permuted: ScoreError | None
    alike: bool

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "grid": list(self.grid), "tokens": self.tokens, "error": vars(self.error),
            "permuted": None if self.permuted is None else vars(self.permuted), "alike": self.alike,
        }  # fmt: skip


def moved(own: Rope3D, other: Rope3D, sizes: Sizes, seed: int = 0) -> Moved | None:
    """Scores of weights trained with `own` under `other`, on tokens drawn from a grid; None for unequal heads."""
    import numpy as np

    if own.head_dim != other.head_dim:
        return None
    some, q, k = drawn(sizes, own.head_dim, seed)
    tokens = np.unravel_index(some, sizes)

    def tables(rope: Rope3D) -> Any:
        places = zip(rope.positions(sizes), tokens, strict=True)
        return rope.laid_out(rope.at(np.stack([along[index] for along, index in places], axis=-1)))

    mine, theirs = tables(own), tables(other)
    right = own.apply(q, mine), own.apply(k, mine)
    error = score_error(right, (other.apply(q, theirs), other.apply(k, theirs)))
    permuted = None
    if own.pairing != other.pairing and own.split == other.split:
        order = own.permutation(other.pairing)
        permuted = score_error(right, (other.apply(q[:, order], theirs), other.apply(k[:, order], theirs)))
    alike = own.pairs == other.pairs and all(map(np.array_equal, mine, theirs))
    return Moved(sizes, len(some), error, permuted, alike)
