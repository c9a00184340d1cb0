"""Weights that were trained with one rope, run under another: how far their attention scores move."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

from tracer.rope.grids import Sizes
from tracer.rope.rope3d import Rope3D
from tracer.rope.scores import ScoreError, score_error

DRAWN = 512
"""Tokens that scores are compared on."""


@dataclass(frozen=True)
class Moved:
    """How far scores move when weights that were trained with one rope run under another.

    error: on random queries and keys of some video tokens of a grid. permuted: the same when the rows of the query
    and key projections are put in the order of the other's pairing; None where the pairing is the same.
    """

    grid: Sizes
    tokens: int
    error: ScoreError
    permuted: ScoreError | None

    def to_json(self) -> dict[str, Any]:
        """The numbers as plain data."""
        return {
            "grid": list(self.grid), "tokens": self.tokens, "error": vars(self.error),
            "permuted": None if self.permuted is None else vars(self.permuted),
        }  # fmt: skip


def moved(own: Rope3D, other: Rope3D, sizes: Sizes, seed: int = 0) -> Moved | None:
    """Scores of weights trained with `own` under `other`, on tokens drawn from a grid; None for unequal heads."""
    import numpy as np

    if own.head_dim != other.head_dim:
        return None
    random = np.random.default_rng(seed)
    drawn = random.choice(prod(sizes), size=min(DRAWN, prod(sizes)), replace=False)
    q, k = random.standard_normal((2, len(drawn), own.head_dim))
    tokens = np.unravel_index(drawn, sizes)

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
    return Moved(sizes, len(drawn), error, permuted)
