"""The trace in the terminal: one screen by default, numbers and formulas side by side.

A shape may be broken between two axes, never inside one; where the columns do not fit beside each other,
they are put below each other.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from rich.cells import cell_len, chop_cells
from rich.console import Console, Group, RenderableType
from rich.text import Text

from tracer.calls import Trace
from tracer.notes import STAGES
from tracer.outline import SCREEN, Options, Row, cautions, rows, summary, title
from tracer.words import clean, percent

GAP = "  "


@dataclass(frozen=True)
class _Column:
    """One column: its texts, row by row.

    joint: the texts of a row stand for its tensors, each beside its fellow in the next joint column. tree:
    the tree lines are drawn in it. fixed: it is never broken.
    """

    name: str
    style: str
    texts: Sequence[tuple[str, ...]]
    joint: bool = False
    right: bool = False
    fixed: bool = False
    tree: bool = False


def renderable(trace: Trace, options: Options | None = None, *, width: int = 100) -> RenderableType:
    """The trace as something rich can print at a width. Raises UnknownName for an unknown stage."""
    options = options or Options()
    found = rows(trace, options)
    head, *more = title(trace, options)
    parts = [
        *_lines(_phrases(head, width), "bold"),
        *_lines(line for phrases in more for line in _phrases(phrases, width)),
        Text(""),
    ]
    if options.stage is not None:
        about = f"{options.stage}: {STAGES[options.stage]}" if options.stage in STAGES else clean(options.stage)
        parts += [*_lines(_wrap(about, width), "bold cyan"), Text("")]
    parts += [*_table(trace, found, options, width), Text("")]
    for line in summary(trace, options):
        parts += _lines(_wrap(line, width, 2))
    for line in cautions(trace, options):
        parts += _lines(_wrap(line, width, 2), "yellow" if not line.startswith("holds") else "dim")
    if options.stage is not None:
        others = [s for s in trace.stages() if s != options.stage]
        parts += _lines(_wrap("other stages: " + ", ".join(map(clean, others)), width, 2), "dim")
    return Group(*parts)


def render_text(trace: Trace, options: Options | None = None, *, width: int = 100) -> str:
    """The trace as plain text, without colours or trailing blanks."""
    return plain(renderable(trace, options, width=width), width)


def plain(view: RenderableType, width: int) -> str:
    """What rich can print, as plain text."""
    out = io.StringIO()
    console = Console(
        file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False, force_jupyter=False
    )
    console.print(view)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def beside(
    view: RenderableType, width: int, table: Sequence[str], remarks: Sequence[str], total: int
) -> RenderableType:
    """Another tool's table to the right of a view of this width, or below it where both do not fit."""
    other = max(map(cell_len, table), default=0)
    if width + 3 + other > total:
        lines = [Text(line, no_wrap=True, overflow="ignore") for line in table]
        return Group(view, Text(""), *lines, *_lines(line for text in remarks for line in _wrap(text, total, 2)))
    left = plain_lines(view, width)
    joined = []
    for i in range(max(len(left), len(table))):
        line = left[i].copy() if i < len(left) else Text("")
        line.append(" " * (width + 3 - line.cell_len))
        joined.append(line.append(table[i] if i < len(table) else ""))
    return Group(*joined, Text(""), *_lines(line for text in remarks for line in _wrap(text, total, 2)))


def plain_lines(view: RenderableType, width: int) -> list[Text]:
    """The lines of a view, with their styles."""
    console = Console(width=width, file=io.StringIO(), legacy_windows=False, force_jupyter=False)
    lines = console.render_lines(view, console.options.update(width=width), pad=False)
    return [Text.assemble(*((s.text, s.style or "") for s in line)) for line in lines]


# breaking lines


@lru_cache(maxsize=4096)
def _wrap(text: str, width: int, indent: int = 0) -> tuple[str, ...]:
    """Lines of a text, broken at blanks only; a word wider than the line is broken as a last resort."""
    width = max(width, 1)
    out: list[str] = []
    line = ""
    for word in text.split(" "):
        if line and cell_len(line) + 1 + cell_len(word) <= width:
            line += " " + word
            continue
        if line:
            out.append(line)
        pad = " " * min(indent, width - 1) if out else ""
        pieces = (
            [pad + word] if cell_len(pad + word) <= width else [pad + p for p in chop_cells(word, width - len(pad))]
        )
        out += pieces[:-1]
        line = pieces[-1] if pieces else pad
    return (*out, line)


def _phrases(phrases: Sequence[str], width: int) -> Iterable[str]:
    """Phrases in a row with dots between them; a line breaks between two phrases where it can."""
    line = ""
    for phrase in phrases:
        if line and cell_len(line) + 3 + cell_len(phrase) > width:
            yield from _wrap(line, width, 2)
            line = ""
        line += (" · " if line else "") + phrase
    yield from _wrap(line, width, 2)


def _lines(lines: Iterable[str], style: str = "") -> list[Text]:
    return [Text(line, style=style, no_wrap=True, overflow="ignore") for line in lines]


def _widest_word(text: str) -> int:
    return max(cell_len(word) + (2 if i else 0) for i, word in enumerate(text.split(" ")))  # further lines are indented


# the table


def _table(trace: Trace, found: list[Row], options: Options, width: int) -> list[Text]:
    walk = options.walk(trace)
    headings = walk and options.notes  # the stages as lines of their own
    stages = walk and not headings
    formulas = any(d.formula is not None for c in trace.walk() for s in c.outputs.values() for d in s.shape)
    columns = []
    if stages:
        columns.append(_Column("stage", "cyan", [(r.stage,) for r in found], fixed=True, tree=True))
    columns.append(_Column("call", "", [(r.label,) for r in found], tree=not stages))
    if options.show != "numbers" and (formulas or options.show == "formulas"):
        columns.append(_Column("formula", "green", [r.shapes for r in found], joint=True))
    if options.show != "formulas":
        columns.append(_Column("numbers", "", [r.sizes for r in found], joint=True))
    if any(r.share is not None for r in found):
        shares = [(percent(r.share) if r.share is not None else "",) for r in found]
        columns.append(_Column("FLOPs", "magenta", shares, right=True, fixed=True))
    if options.stage is not None:
        columns.append(_Column("line", "dim", [(str(r.source.line) if r.source else "",) for r in found], fixed=True))
    widths, lines = _widths(columns, found, width)
    if widths is None and stages:
        columns = [replace(c, tree=c.name == "call") for c in columns[1:]]
        headings = True
        widths, lines = _widths(columns, found, width)
    if not walk and options.stage is None:
        more = [*columns, _Column("source", "dim", _sources(found), fixed=True)]
        wider, same = _widths(more, found, width)
        if wider is not None and same <= lines + len(found) // 8:  # only where it takes little room from the rest
            columns, widths = more, wider
    out: list[Text] = []
    if widths is not None:

        def lines_of(trial: list[int]) -> int:
            packed = _packed(columns, trial)
            return sum(len(_beside(packed, trial, i, row)) for i, row in enumerate(found))

        if len(found) <= 2 * SCREEN:  # a long view gains nothing from a few lines less
            widths = min([widths, *_roomier(columns, widths, width)], key=lines_of)
        columns = _packed(columns, widths)
        out += _beside([replace(c, texts=[(c.name,)]) for c in columns], widths, 0, None)
    for i, row in enumerate(found):
        out += _above(row, width, headings, options.notes)
        out += _below(columns, i, row, width) if widths is None else _beside(columns, widths, i, row)
        if options.notes and row.why:
            bars = Text(row.hang + "    ", style="dim")
            room = width - bars.cell_len
            for text, style in ((row.why, ""), (row.grounds, "dim")):
                wrapped = _wrap(text, room if room > 20 else width) if text else ()
                out += [bars.copy().append(line, style=style) for line in wrapped]
    return out


def _roomier(columns: list[_Column], widths: list[int], width: int) -> list[list[int]]:
    """Other widths to try: with room for two results on one line, taken from where the next column has most."""
    wanted = [
        max([w, *(sum(map(cell_len, t[:2])) + 3 for t in c.texts if len(t) > 1 and t[-1][:1] != "→")]) if c.joint else w
        for c, w in zip(columns, widths, strict=True)
    ]
    missing = sum(wanted) + len(GAP) * (len(columns) - 1) - width
    if missing <= 0:
        return [wanted]
    least = [max((_widest_word(t) for ts in c.texts for t in ts), default=0) for c in columns]
    return [
        [w - missing if k == i else w for i, w in enumerate(wanted)]
        for k, c in enumerate(columns)
        if c.joint and wanted[k] - missing >= least[k]
    ]


def _packed(columns: list[_Column], widths: list[int]) -> list[_Column]:
    """The columns with several results on one line where they fit, so that the view stays short."""
    limits = [w for c, w in zip(columns, widths, strict=True) if c.joint]
    packed: list[list[tuple[str, ...]]] = [[] for _ in limits]
    for tensors in zip(*(c.texts for c in columns if c.joint), strict=True):
        lines: list[tuple[str, ...]] = []
        for tensor in zip(*tensors, strict=True):
            pairs = zip(lines[-1], tensor, strict=True) if lines else ()
            joined = tuple(f"{old} | {new}" if old or new else "" for old, new in pairs)
            fits = joined and all(cell_len(t) <= w for t, w in zip(joined, limits, strict=True))
            if fits and not any(text.startswith(("→", "…")) for text in (*tensor, *lines[-1])):
                lines[-1] = joined
            else:
                lines.append(tensor)
        for k, texts in enumerate(packed):
            texts.append(tuple(line[k] for line in lines))
    done = iter(packed)
    return [replace(c, texts=next(done)) if c.joint else c for c in columns]


def _sources(found: list[Row]) -> list[tuple[str]]:
    """File and line, the file only where it is another one than in the row above."""
    out = []
    before = ""
    for row in found:
        if not row.level:  # the root is called by whoever traces it
            out.append(("",))
            continue
        file = clean(row.source.file.rpartition("/")[2]) if row.source else ""
        out.append((f"{file if file != before else ''}:{row.source.line}" if row.source else "",))
        before = file
    return out


def _above(row: Row, width: int, headings: bool, spaced: bool) -> list[Text]:
    """What stands over a row: the place of the calls, or the stage that begins."""
    if row.above:
        lines = _wrap(row.above, max(20, width - len(row.hang)), 2)
        bars = row.hang if row.level else ""
        return [Text("")] * (not row.level) + [Text(bars).append(line, style="dim italic") for line in lines]
    if headings and row.stage:
        about = f"{row.stage}: {STAGES[row.stage]}" if spaced and row.stage in STAGES else row.stage
        return [Text("")] * spaced + _lines(_wrap(row.prefix + about, width, 2), "bold cyan" if spaced else "cyan")
    return []


def _split(column: _Column, i: int, row: Row | None, width: int) -> list[tuple[str, ...]]:
    """The lines of one cell, text by text; those of the first column leave room for the tree."""
    room = width - cell_len(row.hang) if row is not None and column.tree else width
    return [_wrap(text, room, 2) for text in column.texts[i]]


def _widths(columns: list[_Column], found: list[Row], width: int) -> tuple[list[int] | None, int]:
    """Widths that fit, and how many lines they cost: few. None where the columns do not fit side by side."""

    def extents(c: _Column, texts: Sequence[str], row: Row) -> tuple[int, int]:
        tree = cell_len(row.hang) if c.tree else 0
        widest = max(map(cell_len, texts), default=0)
        least = widest if c.fixed else max((_widest_word(t) for t in texts), default=0)
        return tree + widest, tree + (min(least, 36) if c.name == "call" else least)

    both = [[extents(c, texts, row) for texts, row in zip(c.texts, found, strict=True)] for c in columns]
    widths = [max([len(c.name), *(w for w, _ in pairs)]) for c, pairs in zip(columns, both, strict=True)]
    least = [max([len(c.name), *(n for _, n in pairs)]) for c, pairs in zip(columns, both, strict=True)]
    room = width - len(GAP) * (len(columns) - 1)
    if sum(least) > room:
        return None, 0

    @cache
    def heights(k: int, w: int) -> list[list[int]]:
        return [[len(t) for t in _split(columns[k], i, row, w)] for i, row in enumerate(found)]

    def total(trial: list[int]) -> int:
        tables = [heights(k, w) for k, w in enumerate(trial)]
        joint = [table for c, table in zip(columns, tables, strict=True) if c.joint]
        alone = [table for c, table in zip(columns, tables, strict=True) if not c.joint]
        return sum(
            max([sum(map(max, zip(*(t[i] for t in joint), strict=True))), *(sum(t[i]) for t in alone)])
            for i in range(len(found))
        )

    while sum(widths) > room:
        step = min(sum(widths) - room, 3)
        trials = []
        for k in range(len(columns)):
            if widths[k] > least[k]:
                trial = [*widths]
                trial[k] = max(least[k], widths[k] - step)
                trials.append((total(trial), -widths[k], trial))
        widths = min(trials)[2]
    return widths, total(widths)


def _beside(columns: list[_Column], widths: list[int], i: int, row: Row | None) -> list[Text]:
    """The lines of one row, or of the headings, with the columns beside each other."""
    cells = [_split(c, i, row, w) for c, w in zip(columns, widths, strict=True)]
    joint = [cell for c, cell in zip(columns, cells, strict=True) if c.joint]
    heights = [max(map(len, tensor)) for tensor in zip(*joint, strict=True)]
    flat = [
        [line for text, h in zip(cell, heights, strict=True) for line in (*text, *[""] * (h - len(text)))]
        if c.joint else [line for text in cell for line in text]
        for c, cell in zip(columns, cells, strict=True)
    ]  # fmt: skip
    out = []
    for n in range(max(map(len, flat))):
        line = Text(no_wrap=True, overflow="ignore")
        for c, w, texts in zip(columns, widths, flat, strict=True):
            text = texts[n] if n < len(texts) else ""
            tree = (row.prefix if n == 0 else row.hang) if row is not None and c.tree else ""
            space = " " * (w - cell_len(tree) - cell_len(text))
            line.append((GAP if line else "") + tree, style="dim")
            style = "dim" if row is None else "bold" if c.name == "call" and row.important else c.style
            line.append(space + text if c.right else text + space, style=style)
        line.rstrip()
        out.append(line)
    return out


def _below(columns: list[_Column], i: int, row: Row, width: int) -> list[Text]:
    """The lines of one row with the columns below each other, where the terminal is narrow."""
    out = []
    by_name = {c.name: c for c in columns}
    aside = [f"{n} {t}" for n in ("FLOPs", "line") if n in by_name for t in by_name[n].texts[i] if t]
    first = " · ".join([row.label, *aside])
    room = max(20, width - cell_len(row.hang))
    for n, line in enumerate(_wrap(first, room, 2)):
        style = "bold" if row.important else ""
        out.append(Text(row.prefix if n == 0 else row.hang, style="dim").append(line, style=f"not dim {style}"))
    joint = [c for c in columns if c.joint]
    for texts in zip(*(c.texts[i] for c in joint), strict=True):
        for c, text in zip(joint, texts, strict=True):
            bars = Text(row.hang + "    ", style="dim")
            lines = _wrap(text, max(20, width - bars.cell_len), 2)
            out += [bars.copy().append(line, style=f"not dim {c.style}") for line in lines]
    return out
