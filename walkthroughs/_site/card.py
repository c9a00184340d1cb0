"""The picture that other sites show beside a link to this one: a PNG of our own drawing, made at build."""

from __future__ import annotations

import io

from front import briefly, stages
from stored import stored

SIZE = (1200, 630)
"""Pixels; what the sites that show such pictures ask for."""


def card(title: str, about: str, checkpoint: str = "cogvideox-5b") -> bytes:
    """A PNG with the site's title and the first stages of a checkpoint's walk."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from tracer.drawing import DARK
    from tracer.outline import Options, rows

    dpi = 100
    figure = Figure(figsize=(SIZE[0] / dpi, SIZE[1] / dpi), dpi=dpi, facecolor=DARK["page"])
    FigureCanvasAgg(figure)

    def write(x: float, y: float, text: str, colour: str, size: float, **more: str) -> None:
        figure.text(x / SIZE[0], 1 - y / SIZE[1], text, color=DARK[colour], fontsize=size, va="baseline", **more)

    write(60, 98, title, "ink", 31, fontweight="bold")
    write(60, 146, about, "soft", 17.5)
    at = 214
    for name, members in stages(rows(stored(checkpoint), Options())):
        row = members[-1]
        write(60 + 36 * row.level, at, name, "ink" if row.important else "stage", 17, family="monospace")
        write(430, at, briefly(row.shapes), "shape", 17, family="monospace")
        write(1140, at, briefly(row.sizes), "soft", 17, family="monospace", ha="right")
        at += 36
        if at > SIZE[1] - 24:
            break
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()
