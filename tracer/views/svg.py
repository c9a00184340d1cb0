"""What the terminal shows, as an SVG: a line of text for each line, in the reader's own font and light or dark setting.

It makes no request (a font from elsewhere would be one), so each line is told how wide it is: columns stand below
each other in whichever monospaced font the reader has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.style import Style
from rich.text import Text

from tracer.drawing import page, safe

SIZE = 13.0
"""Of the font, in pixels."""
COLUMN = 0.602 * SIZE
"""Width of a character: that of the widest of the common monospaced fonts."""
LINE = 18.0
MARGIN = 16.0

_CLASSES = {"cyan": "stage", "green": "shape", "magenta": "share", "yellow": "warn"}
_STYLE = (
    f"text{{font-size:{SIZE:g}px;white-space:pre;fill:var(--ink)}}.soft{{fill:var(--soft)}}.bold{{font-weight:700}}"
    ".italic{font-style:italic}" + "".join(f".{name}{{fill:var(--{name})}}" for name in _CLASSES.values())
)


def render_svg(lines: Sequence[Text], label: str) -> str:
    """The lines of a view as one SVG file; `label` is its title.

    Colours are those of the styles: cyan stages, green shapes, magenta shares, yellow warnings, the rest ink.
    """
    columns = max((cell_len(line.plain.rstrip()) for line in lines), default=0)
    width, height = columns * COLUMN + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    body = (_line(line, MARGIN + (i + 0.75) * LINE) for i, line in enumerate(lines) if line.plain.strip())
    return page(round(width), round(height), label, _STYLE, body)


def _line(line: Text, y: float) -> str:
    shown = line.plain.rstrip()
    indent = len(shown) - len(shown.lstrip())
    spans = "".join(_span(text, names) for text, names in _runs(line, indent, len(shown)))
    x, wide = MARGIN + indent * COLUMN, cell_len(shown[indent:]) * COLUMN
    return f'<text x="{x:.1f}" y="{y:.1f}" textLength="{wide:.1f}" lengthAdjust="spacingAndGlyphs">{spans}</text>'


def _span(text: str, names: tuple[str, ...]) -> str:
    inner = "".join(safe(char) if not char.isspace() else char for char in _plain(text))
    return f'<tspan class="{" ".join(names)}">{inner}</tspan>' if names and text.strip() else inner


def _plain(text: str) -> str:
    """Blanks that no reader of XML folds."""
    return text.replace(" ", "\u00a0")


def _runs(line: Text, start: int, end: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Pieces of a line that look alike, with the classes of their looks."""
    looks: list[Style] = [Style.parse(str(line.style or "")) for _ in line.plain]
    for span in line.spans:
        style = span.style if isinstance(span.style, Style) else Style.parse(span.style)
        for i in range(max(span.start, 0), min(span.end, len(looks))):
            looks[i] += style
    run, names = "", _classes(looks[start]) if start < end else ()
    for i in range(start, end):
        here = names if line.plain[i] == " " else _classes(looks[i])
        if here != names:
            yield run, names
            run, names = "", here
        run += line.plain[i]
    yield run, names


def _classes(style: Style) -> tuple[str, ...]:
    colour = _CLASSES.get(style.color.name) if style.color is not None else None
    dim = "soft" if style.dim and colour is None else None
    return tuple(n for n in (colour, dim, "bold" if style.bold else None, "italic" if style.italic else None) if n)
