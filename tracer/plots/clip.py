"""Pairs of a head as arrows that turn while a token moves along an axis: for pages, for files, as a film."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import cos, degrees, pi, sin
from typing import TYPE_CHECKING, Any, ClassVar

from tracer.errors import BadRequest, UnknownName
from tracer.plots.picture import INK, LIGHT, Picture, blank, drawing, headed, settle
from tracer.plots.vector import Moves
from tracer.rope import anatomy, said
from tracer.rope.grids import AXES, Sizes
from tracer.rope.rope3d import Rope3D

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

SHOWN = 6
"""Pairs of a clip, from the fastest to the slowest."""
LONGEST = 600
"""Positions of a clip."""
TICK = 0.4
"""Seconds for one position; less where the whole would take more than LENGTH."""
LENGTH = 5.0


def _still(step: int) -> Sequence[Line2D]:
    """Nothing moves."""
    return ()


@dataclass(frozen=True)
class Clip(Picture):
    """A picture that moves: arrows at the first position on paper, turning on a page and in a .gif.

    steps: positions. turn: sets the figure to one of them, and returns what moves.
    """

    steps: int = 1
    turn: Callable[[int], Sequence[Line2D]] = _still

    kinds: ClassVar[tuple[str, ...]] = (".svg", ".png", ".pdf", ".gif")

    def data(self, kind: str) -> bytes:
        """What `save` writes for a suffix."""
        return self.film() if kind == ".gif" else super().data(kind)

    def film(self) -> bytes:
        """A GIF with one picture for each position, which begins again after a pause."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        pictures = []
        with drawing():
            canvas: Any = FigureCanvasAgg(self.figure)
            self.figure.patch.set_visible(True)
            canvas.draw()  # all but what moves
            still = canvas.copy_from_bbox(self.figure.bbox)
            for step in range(self.steps):
                canvas.restore_region(still)
                for part in self.turn(step):
                    self.figure.draw_artist(part)
                size = canvas.get_width_height()
                pictures.append(Image.frombytes("RGBA", size, bytes(canvas.buffer_rgba())).convert("RGB"))
            self.turn(0)
        tick = round(1000 * _seconds(self.steps) / self.steps)
        out = io.BytesIO()
        pictures[0].save(
            out, format="GIF", save_all=True, append_images=pictures[1:], loop=0,
            duration=[tick] * (self.steps - 1) + [1500],
        )  # fmt: skip
        return out.getvalue()


def clip(rope: Rope3D, sizes: Sizes, axis: str = "frame") -> Clip:
    """How some pairs of an axis, fast to slow, turn from position to position of a grid (T, H, W).

    Dots are where a pair stands at each position; the arrow goes from one to the next. Raises UnknownName for an
    axis that is not frame, row or column, BadRequest for more than LONGEST positions.
    """
    if axis not in AXES:
        raise UnknownName("axis", axis, AXES)
    which = AXES.index(axis)
    steps = sizes[which]
    if steps > LONGEST:
        raise BadRequest(f"a clip of {steps:,} positions: at most {LONGEST} can be shown.")
    own = [band for band in anatomy.bands(rope, sizes) if band.axis == axis]
    count = min(SHOWN, len(own))
    chosen = [own[round(i * (len(own) - 1) / max(1, count - 1))] for i in range(count)]
    places = rope.positions(sizes)[which].tolist()
    angles = [[place * band.frequency for place in places] for band in chosen]
    title = f"{rope.name}: pairs of the {axis} axis over {steps} position{'s' * (steps > 1)}"
    text = "\n".join(
        f"pair {band.index}: a turn in {said.figure(band.wavelength)} positions; "
        f"{(way[-1] - way[0]) / (2 * pi):.3g} turns here, from {way[0]:.3g} to {way[-1]:.3g} radians"
        for band, way in zip(chosen, angles, strict=True)
    )
    with drawing():
        figure = blank(2.5)
        headed(figure, title)
        arrows, now = _stage(figure, axis, chosen, angles, places)
        settle(figure)
        figure.draw_without_rendering()  # circles find their place when they are drawn

    def turn(step: int) -> list[Line2D]:
        for arrow, way in zip(arrows, angles, strict=True):
            arrow.set_data([0.0, cos(way[step])], [0.0, sin(way[step])])
        now.set_xdata([places[step]])
        return [*arrows, now]

    return Clip(figure, title, text, _moves(figure, arrows, now, angles, places), steps, turn)


def _seconds(steps: int) -> float:
    return min(TICK * steps, LENGTH)


def _stage(
    figure: Figure, axis: str, chosen: list[anatomy.Band], angles: list[list[float]], places: list[float]
) -> tuple[list[Line2D], Line2D]:
    """Circles in a row with their arrows, and a time line below."""
    from matplotlib.patches import Arc, Circle

    colour, arrows = LIGHT[axis], []
    rooms = figure.subplot_mosaic(
        [[str(i) for i in range(len(chosen))], ["now"] * len(chosen)], height_ratios=(5, 1)
    )  # fmt: skip
    for i, (band, way) in enumerate(zip(chosen, angles, strict=True)):
        axes = rooms[str(i)]
        first, last = degrees(way[0]), degrees(min(way[-1], way[0] + 2 * pi))
        axes.add_patch(Circle((0, 0), 1, fill=False, edgecolor=INK, linewidth=0.8, alpha=0.35))
        axes.add_patch(Arc((0, 0), 2, 2, theta1=first, theta2=last, edgecolor=colour, linewidth=5, alpha=0.25))
        axes.plot([cos(a) for a in way], [sin(a) for a in way], "o", color=colour, markersize=3.5, gid=f"places {i}")
        arrows += axes.plot(
            [0.0, cos(way[0])], [0.0, sin(way[0])], "-o", color=colour, linewidth=2.4, markersize=7.5, markevery=[1],
            gid=f"arrow {i}", solid_capstyle="round", animated=True,
        )  # fmt: skip
        axes.set_aspect("equal")
        axes.set_xlim(-1.25, 1.25)
        axes.set_ylim(-1.25, 1.25)
        axes.set_axis_off()
        axes.set_title(f"pair {band.index}", color=colour)
        axes.text(0, -1.35, f"a turn in\n{said.figure(band.wavelength)} positions", ha="center", va="top", fontsize=8.5)
    line = rooms["now"]
    line.plot(places, [0.0] * len(places), "|", color=INK, markersize=6, markeredgewidth=0.9)
    (now,) = line.plot([places[0]], [0.0], "o", color=colour, markersize=8, gid="now", animated=True)
    line.set_ylim(-1, 1)
    line.set_yticks([])
    if len(places) == 1:
        line.set_xticks(places)
    line.spines[["left", "bottom"]].set_visible(False)
    line.tick_params(axis="x", length=0, pad=-1)
    line.set_xlabel(f"position along the {axis} axis")
    return arrows, now


def _moves(
    figure: Figure, arrows: list[Line2D], now: Line2D, angles: list[list[float]], places: list[float]
) -> Moves | None:
    """Where the arrows turn about and the time line's mark goes, in units of the SVG, whose y runs down."""
    if len(places) < 2:
        return None
    high = figure.get_figheight() * 72
    wide = figure.get_figwidth() * 72

    def spot(line: Line2D, x: float, y: float) -> tuple[float, float]:
        across, up = figure.transFigure.inverted().transform(line.axes.transData.transform((x, y)))  # type: ignore[union-attr]
        return across * wide, (1 - up) * high

    styles = {}
    for arrow, way in zip(arrows, angles, strict=True):
        x, y = spot(arrow, 0.0, 0.0)
        styles[str(arrow.get_gid())] = f"--turn:{way[0] - way[-1]:.4f}rad;transform-origin:{x:.2f}px {y:.2f}px"
    way_x = spot(now, places[-1], 0.0)[0] - spot(now, places[0], 0.0)[0]
    styles["now"] = f"--by:{way_x:.2f}px"
    return Moves(styles, len(places), _seconds(len(places)))
