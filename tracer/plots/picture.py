"""What every figure shares: a title, its numbers as text, colours for light and dark pages, files that are whole.

A figure is drawn once, in the colours of LIGHT, and goes to a file like that. On a page the same colours become CSS
variables, so that one drawing suits a light and a dark page; lines and text take the page's own colour.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from tracer.errors import BadRequest, Unwritable
from tracer.files import check_writable, write

if TYPE_CHECKING:
    from matplotlib.figure import Figure, SubFigure

    from tracer.plots.vector import Moves

WIDTH = 7.5
"""Inches of every figure; 540 units of its SVG."""
INK = "#1f2328"
HEAT = "#8f5fd6"
"""Of heat maps, from clear to full: it stands out from white and from a dark page alike."""

Palette = Mapping[str, str]

LIGHT: Palette = {"frame": "#0064ad", "row": "#b34a00", "column": "#00755a", "heat": "#7a45c4"}
DARK: Palette = {"frame": "#5fb8f0", "row": "#ff9d5c", "column": "#3fcf9f", "heat": "#c3a1f5"}
EITHER: Palette = {"frame": "#0072b2", "row": "#d55e00", "column": "#009e73", "heat": HEAT}
"""For pages that do not say which they are. Blue, vermilion and green of Okabe and Ito's palette for all kinds of
colour vision; the other two are these, darker and lighter.
"""

_STYLE: dict[str, Any] = {
    "figure.facecolor": "white", "axes.facecolor": "none", "savefig.facecolor": "auto",
    "font.family": ["DejaVu Sans"], "font.size": 9.5, "text.parse_math": False, "text.color": INK,
    "axes.labelcolor": INK, "axes.edgecolor": INK, "axes.titlecolor": INK, "xtick.color": INK, "ytick.color": INK,
    "axes.labelsize": 9.5, "axes.titlesize": 10, "xtick.labelsize": 9, "ytick.labelsize": 9, "axes.linewidth": 0.8,
    "figure.titlesize": 10.5, "figure.titleweight": "bold", "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 1.7, "lines.markersize": 5.5, "legend.frameon": False, "legend.fontsize": 9,
    "svg.fonttype": "none", "svg.hashsalt": "tracer", "pdf.fonttype": 42,
}  # fmt: skip

_THEMES = {"default": ("true", LIGHT), "slate": ("false", DARK)}
STYLE = ".tracer-picture{overflow-x:auto}" + "".join(
    f"[data-md-color-scheme={scheme}] .tracer-picture,[data-jp-theme-light={light}] .tracer-picture{{"
    + "".join(f"--v-{name}:{colour};" for name, colour in palette.items())
    + "}"
    for scheme, (light, palette) in _THEMES.items()
)
"""Colours where the page says that it is light or dark: the site's theme and JupyterLab's."""


def need_matplotlib() -> None:
    """Raise BadRequest where matplotlib is missing."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise BadRequest(
            "Figures need matplotlib, which is not installed: pip install -e '.[figures]' in the clone."
        ) from None


@contextmanager
def drawing() -> Iterator[None]:
    """The settings of matplotlib while something is drawn: always the same, whatever the user's file says."""
    need_matplotlib()
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        settings: Any = matplotlib.rcParams  # which keys there are depends on the version
        settings.update(_STYLE)
        yield


def blank(height: float) -> Figure:
    """An empty figure of WIDTH and a height in inches, without pyplot and its global state."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.05, wspace=0.02, hspace=0.03)
    return Figure(figsize=(WIDTH, height), layout=layout)


def headed(figure: Figure | SubFigure, title: str) -> None:
    """Write a title at the left of a figure's top."""
    figure.suptitle(title, x=0.01, ha="left")


def settle(figure: Figure) -> None:
    """Place everything, and let it stay: each time that a layout is made it comes out a little different."""
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    figure.set_layout_engine("none")


@dataclass(frozen=True)
class Picture:
    """A figure with its title and its numbers as text; shows itself in notebooks and on pages.

    figure: a matplotlib Figure, to read from or to change. title: one line. text: what it shows, in numbers. moves:
    parts of its SVG that are in motion.
    """

    figure: Figure
    title: str
    text: str
    moves: Moves | None = None

    kinds: ClassVar[tuple[str, ...]] = (".svg", ".png", ".pdf")

    def __str__(self) -> str:
        return f"{self.title}\n\n{self.text}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self.html()}

    def html(self) -> str:
        """A box with the figure as SVG, which scrolls by itself where the page is narrow; no script."""
        name = escape(self.title, quote=True)
        return (
            f'<div class="tracer-picture" tabindex="0" role="group" aria-label="{name}">'
            f"<style>{STYLE}</style>{self.svg(page=True)}</div>"
        )

    def svg(self, *, page: bool = False) -> str:
        """The figure as SVG with text as text, the same bytes each time.

        page: for the inside of an HTML page: no background, colours that follow the page, ids of its own.
        """
        from tracer.plots.vector import tidy

        return tidy(self.drawn("svg", background=not page), self, page=page)

    def drawn(self, kind: str, *, background: bool = True) -> bytes:
        """What matplotlib makes of the figure: svg, png or pdf, without a date."""
        out = io.BytesIO()
        dates: dict[str, dict[str, Any]] = {
            "svg": {"Date": None}, "png": {"Software": None}, "pdf": {"CreationDate": None}
        }  # fmt: skip
        with drawing():
            self.figure.patch.set_visible(background)
            self.figure.savefig(out, format=kind, dpi=200 if kind == "png" else 72, metadata=dates[kind])
        return out.getvalue()

    def save(self, path: str | Path) -> None:
        """Write a file, on a light background; the suffix is one of `kinds`.

        Whole or not at all. Raises Unwritable.
        """
        path = Path(path)
        kind = path.suffix.lower()
        if kind not in self.kinds:
            ends = ", ".join(self.kinds[:-1])
            raise Unwritable(f"'{path}' does not say which format: a name ends in {ends} or {self.kinds[-1]}.")
        check_writable(path)
        write(path, self.data(kind))

    def data(self, kind: str) -> bytes:
        """What `save` writes for a suffix."""
        return self.svg().encode() if kind == ".svg" else self.drawn(kind[1:])
