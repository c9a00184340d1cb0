"""Figures of a 3D rope: its bands, what is alike to it, what stretching does, which columns of a head turn together.

Every number comes from `tracer.rope.anatomy`. Frame, row and column have one colour each, the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.errors import BadRequest, UnknownName, Unwritable
from tracer.files import check_writable
from tracer.plots.clip import clip
from tracer.plots.picture import Picture, blank, drawing, headed, settle
from tracer.plots.rope_drawn import heights, lanes, likeness, stretched, strips
from tracer.plots.rope_text import band_text, pair_text, similarity_text, stretch_text
from tracer.rope import anatomy
from tracer.rope.grids import Sizes
from tracer.rope.rope3d import Rope3D, no_trained_grid

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

MOST_CELLS = 1_000_000
"""Of a plane; larger ones do not help the eye, and do not fit into memory."""


@dataclass(frozen=True)
class _Plan:
    """One figure that is yet to be drawn: height in inches, and what draws it."""

    title: str
    text: str
    height: float
    draw: Callable[[Figure | SubFigure], None]


def bands(rope: Rope3D, sizes: Sizes) -> Picture:
    """How many positions every pair takes for a turn, beside how many the tokens (T, H, W) fill.

    Full dots turn at least once over the grid, half full ones at least half a turn, empty ones less.
    """
    return _picture(_bands(rope, sizes))


def compare(a: Rope3D, b: Rope3D, sizes: Sizes | None = None, other_sizes: Sizes | None = None) -> Picture:
    """The bands of two ropes, one over the other.

    sizes: tokens (T, H, W) for both, or for a where other_sizes are b's; each one's trained grid without it. Raises
    BadRequest where neither is known.
    """
    entries = []
    for rope, other, own in ((a, b, sizes), (b, a, other_sizes or sizes)):
        grid = own or rope.trained or other.trained
        if grid is None:
            raise BadRequest(f"{a.name} and {b.name} name no trained grid; give sizes, such as (13, 30, 45).")
        entries.append((rope, grid))
    text = "\n\n".join(f"{rope.name}, {_grid(grid)}\n{band_text(rope, grid)}" for rope, grid in entries)
    return _picture(_Plan(f"{a.name} over {b.name}: wavelengths", text, 5.6, lambda fig: lanes(fig, entries)))


def similarity(rope: Rope3D, sizes: Sizes, query: Sizes | None = None) -> Picture:
    """How alike a query and keys of the same content are, along each axis and over the query's frame.

    sizes: tokens (T, H, W). query: index of its token; the middle without it. Raises BadRequest for a query outside
    the grid, and for a frame of more than a million tokens.
    """
    return _picture(_similarity(rope, sizes, query))


def stretch(rope: Rope3D, sizes: Sizes) -> Picture:
    """What a grid (T, H, W) beyond the trained one is to a rope: without, with linear, with ntk interpolation.

    Raises BadRequest for a rope that names no trained grid.
    """
    return _picture(_stretch(rope, sizes))


def pairs(a: Rope3D, b: Rope3D | None = None) -> Picture:
    """Which two columns of a head turn together, as arcs over the head; for one rope, or for two to compare."""
    ropes = [a] if b is None else [a, b]
    return _picture(_pairs(ropes))


FIGURES: dict[str, str] = {
    "bands": "wavelengths of every pair, beside the grid's extent",
    "similarity": "how alike places are, along each axis and over a frame",
    "stretch": "what a grid beyond the trained one changes, under no, linear and ntk interpolation",
    "pairs": "which two columns of a head turn together",
    "clip": "pairs as arrows that turn from frame to frame",
}
"""Names that `save` knows -> what each shows."""


def save(
    path: str | Path, rope: Rope3D, sizes: Sizes, figure: str | None = None, unstretched: Rope3D | None = None
) -> None:
    """Write a figure to a file, whole or not at all.

    path: .svg, .png or .pdf for a figure, .gif for the clip. figure: a key of FIGURES; without it one sheet of all
    that stand still (without stretch for a rope that names no trained grid). unstretched: where `rope` is stretched
    already, the rope that it was made of, which stretch starts from. Raises UnknownName, Unwritable and what the
    figure raises.
    """
    path = Path(path)
    if figure is not None and figure not in FIGURES:
        raise UnknownName("figure", figure, FIGURES)
    if path.suffix.lower() == ".gif":
        if figure not in (None, "clip"):
            raise Unwritable(
                f"'{path}': {figure} stands still; a name ends in .svg, .png or .pdf, and .gif is the clip."
            )
        figure = "clip"
    elif path.suffix.lower() not in Picture.kinds:
        raise Unwritable(f"'{path}' does not say which format: a name ends in .svg, .png, .pdf or .gif.")
    check_writable(path)
    _named(figure, rope, sizes, unstretched or rope).save(path)


def sheet(rope: Rope3D, sizes: Sizes, unstretched: Rope3D | None = None) -> Picture:
    """All figures that stand still, one below the other; without stretch for a rope that names no trained grid.

    unstretched: what stretch starts from, where `rope` is stretched already.
    """
    plans = [_bands(rope, sizes), _similarity(rope, sizes, None)]
    plans += [_stretch(unstretched or rope, sizes)] if rope.trained else []
    return _picture(*plans, _pairs([rope]))


def _named(figure: str | None, rope: Rope3D, sizes: Sizes, unstretched: Rope3D) -> Picture:
    if figure is None:
        return sheet(rope, sizes, unstretched)
    if figure == "pairs":
        return pairs(rope)
    if figure == "stretch":
        return stretch(unstretched, sizes)
    drawn: dict[str, Callable[[Rope3D, Sizes], Picture]] = {"bands": bands, "similarity": similarity, "clip": clip}
    return drawn[figure](rope, sizes)


def _picture(*plans: _Plan) -> Picture:
    """One plan as a figure, or several below each other."""
    with drawing():
        figure = blank(sum(plan.height for plan in plans))
        rooms: Any = [figure]
        if len(plans) > 1:
            rooms = figure.subfigures(len(plans), 1, height_ratios=[plan.height for plan in plans], squeeze=True)
        for room, plan in zip(rooms, plans, strict=True):
            headed(room, plan.title)
            plan.draw(room)
        settle(figure)
    titles = [plan.title for plan in plans]
    if len(plans) == 1:
        return Picture(figure, titles[0], plans[0].text)
    return Picture(figure, "; ".join(titles), "\n\n".join(f"{plan.title}\n\n{plan.text}" for plan in plans))


def _grid(sizes: Sizes) -> str:
    return "×".join(str(n) for n in sizes) + " tokens"


def _bands(rope: Rope3D, sizes: Sizes) -> _Plan:
    title = f"{rope.name}: wavelengths over {_grid(sizes)}"
    return _Plan(title, band_text(rope, sizes), 3.5, lambda fig: lanes(fig, [(rope, sizes)]))


def _similarity(rope: Rope3D, sizes: Sizes, query: Sizes | None) -> _Plan:
    at = query or (sizes[0] // 2, sizes[1] // 2, sizes[2] // 2)
    if sizes[1] * sizes[2] > MOST_CELLS:
        raise BadRequest(
            f"a frame of {sizes[1]:,}×{sizes[2]:,} tokens is too large to draw; up to {MOST_CELLS:,} tokens fit."
        )
    lines = anatomy.similarity(rope, sizes, at)
    plane = anatomy.similarity_plane(rope, sizes, at)
    title = f"{rope.name}: what is alike to the query at frame {at[0]}, row {at[1]}, column {at[2]}"

    return _Plan(title, similarity_text(rope, sizes, at), 3.2, lambda fig: likeness(fig, lines, plane, at))


def _stretch(rope: Rope3D, sizes: Sizes) -> _Plan:
    if rope.trained is None:
        raise BadRequest(no_trained_grid(rope.name, "to stretch from"))
    title = f"{rope.name}: from {_grid(rope.trained)} to {_grid(sizes)}"
    return _Plan(title, stretch_text(rope, sizes), 5.6, lambda fig: stretched(fig, rope, sizes))


def _pairs(ropes: Sequence[Rope3D]) -> _Plan:
    alone = f", {ropes[0].pairing}" if len(ropes) == 1 else ""  # of two, each strip says its own
    title = " and ".join(rope.name for rope in ropes) + f"{alone}: which columns turn together"
    text = "\n\n".join(f"{rope.name}\n{pair_text(rope)}" for rope in ropes)
    high = 0.4 + 0.85 * sum(heights(ropes)) + 0.25 * len(ropes)
    return _Plan(title, text, high, lambda fig: strips(fig, ropes))
