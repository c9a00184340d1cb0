"""The numbers of a rope's figures as terminal text, in lines of at most 80 columns where names are short."""

from __future__ import annotations

from collections.abc import Iterable
from math import pi
from textwrap import wrap

from tracer.rope import anatomy
from tracer.rope.grids import AXES, Sizes
from tracer.rope.rope3d import Rope3D
from tracer.rope.said import figure


def band_text(rope: Rope3D, sizes: Sizes) -> str:
    """For each axis: positions, pairs that turn, and every wavelength in positions."""
    every = anatomy.bands(rope, sizes)
    out = []
    for axis in AXES:
        own = [band for band in every if band.axis == axis]
        kinds = [band.kind for band in own]
        out.append(
            f"{axis:<7}{positions_of(own[0].reach / own[0].frequency)}; {len(own)} pairs: "
            f"{kinds.count('whole')} turn at least once, {kinds.count('less')} less than half a turn"
        )
        out += _row("wavelengths", [band.wavelength for band in own])
    return "\n".join(out)


def similarity_text(rope: Rope3D, sizes: Sizes, query: Sizes) -> str:
    """The mean cosine along each axis, from the first key to the last, and the least of the query's frame."""
    lines = anatomy.similarity(rope, sizes, query)
    plane = anatomy.similarity_plane(rope, sizes, query)
    out = []
    for axis, line, at in zip(AXES, lines, query, strict=True):
        out.append(f"{axis:<7}mean cosine of keys {-at} to {len(line) - 1 - at} from the query")
        out += _row("", line.tolist(), most=40)
    out.append(
        f"frame {query[0]}: {plane.min():.3g} to {plane.max():.3g} over {plane.shape[0]}×{plane.shape[1]} tokens"
    )
    return "\n".join(out)


def stretch_text(rope: Rope3D, sizes: Sizes) -> str:
    """For each axis and interpolation: the finest step, pairs with unseen angles, turns of every pair."""
    found = anatomy.stretches(rope, sizes)
    every = anatomy.bands(rope, sizes)
    out = []
    for i, axis in enumerate(AXES):
        own = [n for n, band in enumerate(every) if band.axis == axis]
        out.append(f"{axis:<7}turns over the trained grid")
        out += _row("", [found[0].trained[n] / (2 * pi) for n in own])
        for one in found:
            out.append(
                f"  {one.kind:<7}finest step ×{one.finest[i]:.3g}; {one.unseen[i]} of {len(own)} pairs see new angles"
            )
            out += _row("", [one.reach[n] / (2 * pi) for n in own])
    return "\n".join(out)


def pair_text(rope: Rope3D) -> str:
    """The columns of every pair, by axis."""
    every = anatomy.bands(rope, (1, 1, 1))
    out = []
    for axis in AXES:
        said = ", ".join("{}-{}".format(*band.columns) for band in every if band.axis == axis)
        out += wrap(f"{axis:<7}{said}", 80, subsequent_indent=" " * 7, break_on_hyphens=False)
    return "\n".join(out)


def positions_of(extent: float) -> str:
    """So many positions: one is not several."""
    return f"{extent:g} position{'s' * (round(extent, 9) != 1)}"


def _row(name: str, values: Iterable[float], most: int = 200) -> list[str]:
    """Numbers to three digits, in lines; the first of them where there are many."""
    numbers = list(values)
    said = [figure(value) for value in numbers[:most]]
    said += [f"… {len(numbers) - most:,} more"] * (len(numbers) > most)
    return wrap(f"{name} {' '.join(said)}".strip(), 80, initial_indent=" " * 7, subsequent_indent=" " * 7)
