"""What the three axes of a rope are at a grid of tokens, number by number."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

from tracer.formula import Formula
from tracer.rope.anatomy import Band


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
        return tuple(b.reach / (2 * pi) for b in self.bands)

    def to_json(self) -> dict[str, Any]:
        """The axis as plain data."""
        return {
            "axis": self.name, "tokens": self.tokens, "formula": self.formula.to_json(), "numbers": self.numbers,
            "pairs": [list(p) for p in self.pairs], "positions": list(self.positions), "theta": self.theta,
            "frequencies": [b.frequency for b in self.bands], "wavelengths": list(self.wavelengths),
            "in_video": None if self.in_video is None else list(self.in_video), "turns": list(self.turns),
            "per_token": self.per_token, "similarity": list(self.similarity),
        }  # fmt: skip


@dataclass(frozen=True)
class Plane:
    """Similarities within a frame to one of its tokens: rows[i] + columns[j] - 1 for the token at (i, j).

    Each pair turns along one axis, so a mean over pairs falls into a part for the rows and one for the columns.
    """

    query: tuple[int, int]
    rows: tuple[float, ...]
    columns: tuple[float, ...]
