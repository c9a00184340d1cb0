"""What our own SVGs share: two palettes, text that is safe in XML, and the page around a drawing.

A drawing asks for nothing outside itself: fonts are those of the reader, colours follow the reader's light or dark
setting, text is text and can be selected.
"""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

from tracer.words import clean

LIGHT = {
    "page": "#ffffff", "ink": "#1f2328", "soft": "#57606a", "line": "#d0d7de", "box": "#f6f8fa", "stage": "#0b5cad",
    "shape": "#116329", "share": "#8250df", "warn": "#7d4e00", "flow": "#6e7781", "group": "#f0f6ff", "rim": "#54aeff",
}  # fmt: skip
"""Colours on a light page, by what they are for; each text colour has a contrast of at least 4.5 to page and box."""

DARK = {
    "page": "#0d1117", "ink": "#e6edf3", "soft": "#9aa4ae", "line": "#3d444d", "box": "#161b22", "stage": "#79c0ff",
    "shape": "#7ee787", "share": "#d2a8ff", "warn": "#e3b341", "flow": "#8b949e", "group": "#0c1a2b", "rim": "#1f6feb",
}  # fmt: skip
"""The same on a dark page."""

MONO = "ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace"


def safe(text: str, limit: int = 1000) -> str:
    """Text for XML: no markup, no control or direction signs, not without end."""
    return escape(clean(text, limit), {'"': "&quot;", "'": "&#39;"})


def colours(palette: dict[str, str]) -> str:
    """CSS variables of a palette."""
    return "".join(f"--{name}:{value};" for name, value in palette.items())


def page(width: float, height: float, label: str, style: str, body: Iterable[str]) -> str:
    """A whole SVG file of a size in pixels; `label` is its title, `style` its CSS beside the palettes."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:g}" height="{height:g}" '
        f'viewBox="0 0 {width:g} {height:g}" font-family="{MONO}">',
        f"<title>{safe(label)}</title>",
        f"<style>svg{{color-scheme:light dark;{colours(LIGHT)}}}"
        f"@media(prefers-color-scheme:dark){{svg{{{colours(DARK)}}}}}.page{{fill:var(--page)}}{style}</style>",
        f'<rect class="page" width="{width:g}" height="{height:g}" rx="6"/>',
    ]
    return "\n".join([*parts, *body, "</svg>"]) + "\n"
