"""Pictures of a rope in characters: bands on a scale, sparklines, arrows of turning pairs, a shaded plane."""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, log10, pi
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracer.rope.anatomy import Axis, Band, Kind, Plane

_SIGNS: dict[Kind, str] = {"whole": "●", "half": "◐", "less": "○"}
MARKS = {_SIGNS["whole"]: "a turn or more in the grid", _SIGNS["half"]: "half to one", _SIGNS["less"]: "less"}
"""Of a pair, by how far it turns over all positions of its axis."""
END = "│"
"""Where a pair's wavelength is the length of the grid."""
_BARS = "▁▂▃▄▅▆▇█"
_SHADES = " ·░▒▓█"
_ARROWS = "→↗↑↖←↙↓↘"


def mark(band: Band) -> str:
    """The sign of a pair."""
    return _SIGNS[band.kind]


class Scale:
    """Wavelengths in positions on a logarithmic scale of some columns, wide enough for all of some axes."""

    def __init__(self, axes: Sequence[Axis], columns: int) -> None:
        shown = [w for axis in axes for w in (*axis.wavelengths, _length(axis))]
        self.columns = columns
        self.low, self.high = log10(min(shown)), log10(max(shown))

    def column(self, wavelength: float) -> int:
        """Where a wavelength stands."""
        return round((log10(wavelength) - self.low) / (self.high - self.low or 1) * (self.columns - 1))

    def line(self, axis: Axis) -> str:
        """One sign for each pair, and the end of the grid; where signs fall together, the faster pair's stays."""
        cells = [" "] * self.columns
        cells[self.column(_length(axis))] = END
        for band in reversed(axis.bands):
            cells[self.column(band.wavelength)] = mark(band)
        return "".join(cells)

    def ticks(self) -> str:
        """The powers of ten, each ending below its column or at the margin."""
        cells = [" "] * self.columns
        for power in range(floor(self.low) + 1, floor(self.high) + 1):
            text, at = f"{10**power:,}", self.column(10**power)
            start = max(0, min(at - len(text) // 2, self.columns - len(text)))
            if all(c == " " for c in cells[max(0, start - 1) : start + len(text) + 1]):
                cells[start : start + len(text)] = text
        return "".join(cells).rstrip()


def _length(axis: Axis) -> float:
    """Positions that the tokens fill."""
    return axis.bands[0].reach / axis.bands[0].frequency


def counts(axis: Axis) -> str:
    """How many pairs have which sign."""
    signs = [mark(band) for band in axis.bands]
    return "  ".join(f"{signs.count(sign):>2} {sign}" for sign in MARKS)


def sparkline(values: Sequence[float], low: float, room: int) -> str:
    """Values from `low` to 1 as bars, one each, or the mean of neighbours where there are more than fit."""
    n = min(len(values), room)
    cut = [values[i * len(values) // n : (i + 1) * len(values) // n] for i in range(n)]
    return "".join(_of(_BARS, (sum(part) / len(part) - low) / ((1 - low) or 1)) for part in cut)


def _of(signs: str, share: float) -> str:
    return signs[max(0, min(len(signs) - 1, floor(share * len(signs))))]


def arrow(angle: float) -> str:
    """A pair that was turned by so many radians, to an eighth of a turn; counted anticlockwise from →."""
    return _ARROWS[round(angle / (pi / 4)) % 8]


def spread(count: int, most: int) -> list[int]:
    """Indices of at most so many out of a row, first and last among them."""
    if count <= most:
        return list(range(count))
    return sorted({round(i * (count - 1) / (most - 1)) for i in range(most)})


def shaded(plane: Plane, room: tuple[int, int]) -> tuple[list[str], float, tuple[int, int]]:
    """Rows of a plane of similarities as shades, two characters a token where that fits; the lowest value; the steps.

    room: rows and characters there are. Of a larger plane every second token is shown, or every third, ...: the steps
    along rows and columns.
    """
    values = plane.values()
    low = float(values.min())
    wide = 2 if 2 * len(plane.columns) <= room[1] else 1
    across = -(-len(plane.columns) * wide // room[1])
    down = max(-(-len(plane.rows) // room[0]), round(2 * across / wide))
    first = plane.query[0] % down, plane.query[1] % across  # so that the query's own token is among those shown
    lines = [
        "".join(_of(_SHADES, (value - low) / ((1 - low) or 1)) * wide for value in row)
        for row in values[first[0] :: down, first[1] :: across].tolist()
    ]
    return lines, low, (down, across)
