"""Where tokens stand: positions along frame, row and column for a grid of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from numbers import Integral, Real
from typing import Any

from tracer.errors import BadRequest

Sizes = tuple[int, int, int]
"""Tokens along frame, row and column: (T, H, W)."""

AXES = ("frame", "row", "column")


def whole(values: Any, n: int, least: int) -> bool:
    """Whether this is a row of n whole numbers of at least `least`, numpy's or Python's."""
    return _row(values, n, Integral) and all(v >= least for v in values)


def real(values: Any, n: int) -> bool:
    """Whether this is a row of n finite numbers."""
    return _row(values, n, Real) and all(isfinite(v) for v in values)


def _row(values: Any, n: int, kind: type) -> bool:
    row = isinstance(values, tuple | list) and len(values) == n
    return row and not any(isinstance(v, bool) or not isinstance(v, kind) for v in values)


def as_tuples(made: Any, *names: str) -> None:
    """Make tuples of the lists that a frozen dataclass was given, as configs hold them: a list has no hash."""
    for name in names:
        object.__setattr__(made, name, tuple(getattr(made, name)))


def said(values: Any, mark: str = ", ") -> str:
    """What was given, for a sentence: the values of a row, anything else as it is."""
    return mark.join(map(str, values)) if isinstance(values, tuple | list) else str(values)


def check_grid(sizes: Any) -> None:
    """Raise BadRequest unless there are three counts of at least one token."""
    if hasattr(sizes, "tolist"):
        raise BadRequest(f"a grid given as an array: write it as a tuple, {tuple(sizes.tolist())}.")
    if not whole(sizes, 3, 1):
        raise BadRequest(
            f"a grid of ({said(sizes)}) tokens: it has three whole sizes of at least 1, for frame, row and column, "
            "such as (13, 30, 45)."
        )


@dataclass(frozen=True)
class Whole:
    """Whole numbers on every axis: first, first + 1, ... .

    first: where each axis begins. most: rows of the table that they are sliced from; None where there is no end.
    Raises BadRequest for anything but three of each.
    """

    first: tuple[float, float, float] = (0.0, 0.0, 0.0)
    most: tuple[int | None, int | None, int | None] = (None, None, None)

    def __post_init__(self) -> None:
        if not real(self.first, 3):
            raise BadRequest(
                f"first positions ({said(self.first)}): there are three finite numbers, for frame, row and column."
            )
        rows = isinstance(self.most, tuple | list) and len(self.most) == 3
        if not rows or not all(m is None or whole([m], 1, 1) for m in self.most):
            raise BadRequest(
                f"tables of ({said(self.most)}) rows: there are three, of at least 1 row, or None where one has no end."
            )
        as_tuples(self, "first", "most")

    def positions(self, sizes: Sizes) -> tuple[list[float], list[float], list[float]]:
        """Positions along the three axes. Raises BadRequest beyond the end of a table."""
        check_grid(sizes)
        for axis, n, most in zip(AXES, sizes, self.most, strict=True):
            if most is not None and n > most:
                raise BadRequest(f"{n} positions along the {axis} are beyond the table's {most}; use at most {most}.")
        t, h, w = ([first + i for i in range(n)] for first, n in zip(self.first, sizes, strict=True))
        return t, h, w

    def extent(self, sizes: Sizes) -> tuple[int, int, int]:
        """Positions that the tokens fill along each axis, the last token's included."""
        check_grid(sizes)
        return sizes

    @property
    def words(self) -> str:
        """How positions come about, in a few words."""
        words = "whole numbers"
        if any(self.first):
            words += " from " + ", ".join(f"{a} {f:g}" for a, f in zip(AXES, self.first, strict=True) if f)
        ends = [f"{a} {m:,}" for a, m in zip(AXES, self.most, strict=True) if m is not None]
        return f"{words}, the first of a table ({', '.join(ends)})" if ends else words


WHOLE = Whole()


@dataclass(frozen=True)
class Crop:
    """Rows and columns spread over a crop of a base grid; frames are whole numbers.

    The tokens' grid is scaled, with its proportions, until it fits the base grid, and centred there; positions run
    from its first row or column in equal steps. base: rows and columns of that grid.

    Source: diffusers' pipelines/cogvideo/pipeline_cogvideox.py, get_resize_crop_region_for_grid, and
    models/embeddings.py, get_3d_rotary_pos_embed with grid_type "linspace". Raises BadRequest unless the base grid
    has at least one row and one column.
    """

    base: tuple[int, int]

    def __post_init__(self) -> None:
        if not whole(self.base, 2, 1):
            raise BadRequest(
                f"a base grid of ({said(self.base)}): it has rows and columns, whole numbers of at least 1, such as "
                "(30, 45)."
            )
        as_tuples(self, "base")

    def region(self, sizes: Sizes) -> tuple[tuple[int, int], tuple[int, int]]:
        """First and end (row, column) of the crop; both rounded, so proportions hold to half a row."""
        check_grid(sizes)
        (base_rows, base_columns), (_, rows, columns) = self.base, sizes
        if rows / columns > base_rows / base_columns:
            high, wide = base_rows, round(base_rows / rows * columns)
        else:
            high, wide = round(base_columns / columns * rows), base_columns
        top, left = round((base_rows - high) / 2.0), round((base_columns - wide) / 2.0)
        return (top, left), (top + high, left + wide)

    def positions(self, sizes: Sizes) -> tuple[list[float], list[float], list[float]]:
        """Positions along the three axes. The last one is stop·(n - 1)/n, wherever the crop begins."""
        (top, left), (bottom, right) = self.region(sizes)
        frames, rows, columns = sizes
        return [float(i) for i in range(frames)], _spread(top, bottom, rows), _spread(left, right, columns)

    def extent(self, sizes: Sizes) -> tuple[int, int, int]:
        """Positions that the tokens fill along each axis: rows and columns never more than the base grid has."""
        (top, left), (bottom, right) = self.region(sizes)
        return sizes[0], bottom - top, right - left

    @property
    def words(self) -> str:
        """How positions come about, in a few words."""
        rows, columns = self.base
        return f"frames: whole numbers; rows and columns: spread over a crop of {rows}×{columns}"


def _spread(start: float, stop: float, n: int) -> list[float]:
    last = stop * (n - 1) / n
    return [start + (last - start) * i / (n - 1) if n > 1 else float(start) for i in range(n)]


Grid = Whole | Crop
