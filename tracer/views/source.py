"""The model's own source in the terminal: what ran, and in the margin the shapes that each line made.

A bar stands beside lines that ran, a broken one beside those that did not, so that a pipe says it as well as colours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len, chop_cells
from rich.console import Group, RenderableType
from rich.text import Text

from tracer.calls import Trace
from tracer.listings.listing import Line, Listing
from tracer.outline import Options, cautions, title
from tracer.shapes import TensorSpec
from tracer.words import Words, clean, counted, sizes_of

GAP = 2
MOST = 4
"""Shapes of one line that are told."""
_SHARE = 0.42
"""Of the width, the most that the margin takes."""
_NOTE = "▸ "
_JOINT = " | "


def renderable(
    trace: Trace, pages: Sequence[Listing], others: Sequence[str], options: Options | None = None, *, width: int = 100
) -> RenderableType:
    """The functions one below another. others: the names of functions that are not shown."""
    options = options or Options()
    words = Words(trace, pixels=options.pixels)
    numbers = options.show != "formulas"
    margins = {id(line): _margin(line, words, numbers) for page in pages for line in page.lines}
    parts: list[Text] = []
    head, *more = title(trace, options)
    for phrases, style in ((head, "bold"), *((below, "") for below in more)):
        parts += [Text(text, style=style) for text in _packed(phrases, " · ", width)]
    digits = max([3, *(len(str(line.number)) for page in pages for line in page.lines)])
    room = width - digits - 3
    least = max([0, *(cell_len(text) for texts in margins.values() for text in texts)])
    wide = max([0, *(cell_len(_JOINT.join(texts)) for texts in margins.values())])
    wide = min(max(least, min(wide, room // 4)), int(room * _SHARE))
    longest = max([0, *(cell_len(line.text) for page in pages for line in page.lines)])
    code = max(20, min(longest, room - wide - GAP * (wide > 0)))
    for page in pages:
        parts += [Text(""), *_heading(page, width)]
        for line in page.lines:
            parts += _rows(line, margins[id(line)], digits, code, wide)
    parts.append(Text(""))
    for said in _foot(trace, pages, others, options):
        parts += [Text(text, style="dim") for text in _wrapped(said, width, 2)]
    return Group(*(_whole(part) for part in parts))


def _whole(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ignore"
    return text


def _heading(page: Listing, width: int) -> Iterator[Text]:
    yield Text(clean(page.name), style="bold cyan")
    place = f"{clean(page.file)}:{page.first}" if page.first else clean(page.file)
    for line in _packed([place, *page.said], " · ", width):
        yield Text(line, style="dim")
    for line in _wrapped(page.trouble, width, 2) if page.trouble else ():
        yield Text(line, style="yellow")


def _foot(trace: Trace, pages: Sequence[Listing], others: Sequence[str], options: Options) -> Iterator[str]:
    if any(not line.ran for page in pages for line in page.lines):
        yield "│ ran, ┊ did not; beside it what a line made; ×N alone: passes of a loop, or a branch taken N times"
    if others:
        yield "also ran: " + ", ".join(map(clean, others)) + "; --source NAME shows one"
    yield from (line for line in cautions(trace, options) if not line.startswith("holds"))


def _margin(line: Line, words: Words, numbers: bool) -> tuple[str, ...]:
    """What stands beside a line: how often, and the shapes."""
    out = [f"×{line.times:,}"] if line.times is not None else []
    told = [f"{name} {_shape(spec, words, numbers)}".strip() for name, spec in line.made]
    return (*out, *map(clean, counted(told, MOST)))


def _shape(spec: TensorSpec, words: Words, numbers: bool) -> str:
    return sizes_of(spec) if numbers else words.shape(spec)


def _rows(line: Line, margin: Sequence[str], digits: int, code: int, wide: int) -> Iterator[Text]:
    """A line of source with its notes above and its margin beside; both may take several rows."""
    indent = len(line.text) - len(line.text.lstrip())
    for stage, remark in line.remarks:
        said = clean(f"{_NOTE}{stage}: {remark.label}. {remark.why}", 2000)
        for text in _wrapped(said, max(24, code - indent), 2):
            yield Text.assemble(" " * digits, (" ▏ ", "dim"), (" " * indent + text, "cyan"))
    bar = "│" if line.ran else "┊"
    style = " ".join(["dim"] * (not line.ran) + ["italic"] * line.comment)
    left = _wrapped(_visible(line.text), code, indent + 4)
    right = list(_packed(margin, _JOINT, wide)) if margin else []
    for i, (text, beside) in enumerate(zip_longest(left, right, fillvalue="")):
        number = str(line.number) if not i else ""
        row = Text.assemble((f"{number:>{digits}}", "dim"), (f" {bar} ", "dim"), (text, style))
        if beside:
            row.append(" " * (code - cell_len(text) + GAP))
            row.append(beside, style="green")
        row.rstrip()
        yield row
    if line.hidden:
        yield Text(f"{'⋮':>{digits}} {bar} {' ' * indent}… {line.hidden} more lines of text", style="dim")


def _visible(text: str) -> str:
    """Source that cannot steer a terminal."""
    return clean(text.expandtabs(4), 2000)


def _packed(phrases: Sequence[str], joint: str, width: int) -> Iterator[str]:
    """Phrases in a row; a line breaks between two where it can."""
    line = ""
    for phrase in phrases:
        if line and cell_len(line + joint + phrase) > width:
            yield from _wrapped(line, width, 2)
            line = ""
        line += joint * bool(line) + phrase
    yield from _wrapped(line, width, 2)


def _wrapped(text: str, width: int, hang: int) -> list[str]:
    """Lines of a text, broken at blanks; further ones are indented. What stands in front of the text stays."""
    if cell_len(text) <= width:
        return [text]
    hang = min(hang, max(0, width - 16))
    front = text[: len(text) - len(text.lstrip())]
    line, out = front, []
    for word in text.lstrip().split(" "):
        if line.strip() and cell_len(line) + 1 + cell_len(word) > width:
            out.append(line)
            line = " " * hang
        joined = f"{line} {word}" if line.strip() else line + word
        *full, line = chop_cells(joined, width) if cell_len(joined) > width else [joined]
        out += full
    return [*out, line]
