"""The trace in the terminal: one screen by default, numbers and formulas side by side."""

from __future__ import annotations

import io

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracer.calls import Trace
from tracer.notes import STAGES
from tracer.outline import Options, Row, cautions, percent, rows, summary, title


def renderable(trace: Trace, options: Options | None = None, *, width: int = 100) -> RenderableType:
    """The trace as something rich can print at a width. Raises UnknownName for an unknown stage."""
    options = options or Options()
    head = title(trace)
    parts: list[RenderableType] = [Text(head[0], style="bold")]
    parts += [Text(line, style="dim" if i > 1 else "") for i, line in enumerate(head[1:], 1)]
    parts.append(Text(""))
    found = rows(trace, options)
    parts.append(_explained(found, options) if options.notes else _table(found, options, width))
    parts.append(Text(""))
    parts += [Text(line) for line in summary(trace)]
    parts += [Text(line, style="yellow" if line.startswith(("note", "stopped")) else "dim") for line in cautions(trace)]
    return Group(*parts)


def render_text(trace: Trace, options: Options | None = None, *, width: int = 100) -> str:
    """The trace as plain text, without colours or trailing blanks."""
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False)
    console.print(renderable(trace, options, width=width))
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _table(found: list[Row], options: Options, width: int) -> Table:
    walk = options.depth is None and options.stage is None and not options.ops
    wide = width >= 100
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False, pad_edge=False)
    shares = any(r.share is not None for r in found)
    if walk:
        table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    if options.show != "numbers":
        table.add_column(style="green", overflow="fold")
    if options.show != "formulas":
        table.add_column(overflow="fold")
    if shares:
        table.add_column(justify="right", no_wrap=True, style="magenta")
    if not walk and wide:
        table.add_column(style="dim", overflow="fold")
    before = None
    for row in found:
        here = (row.level, row.stage)
        stage = row.stage if here != before else ""
        before = here
        bold = "bold" if row.call.repeat > 1 or row.stage == "block" else ""
        cells: list[RenderableType] = []
        if walk:
            cells.append(Text("│ " * row.level + stage, style="cyan"))
            cells.append(Text(row.label, style=bold))
        else:
            cells.append(_hanging(row.prefix, row.label, bold))
        if options.show != "numbers":
            cells.append(Text("\n".join(row.shapes)))
        if options.show != "formulas":
            cells.append(Text("\n".join(row.sizes)))
        if shares:
            cells.append(Text(percent(row.share) if row.share is not None else ""))
        if not walk and wide:
            cells.append(Text(row.source.rpartition("/")[2]))
        table.add_row(*cells)
    return table


def _explained(found: list[Row], options: Options) -> RenderableType:
    """Every row with its reason under it."""
    parts: list[RenderableType] = []
    before = None
    for row in found:
        if row.stage and (row.level, row.stage) != before:
            before = (row.level, row.stage)
            line = f"{row.stage}: {STAGES[row.stage]}" if row.stage in STAGES else row.stage
            parts.append(Padding(Text(line, style="bold cyan"), (1, 0, 0, 2 * row.level)))
        text = Text(row.label, style="bold")
        if options.show != "numbers":
            text.append("   " + " | ".join(row.shapes), style="not bold green")
        if options.show != "formulas":
            text.append("   " + " | ".join(row.sizes), style="not bold")
        if row.share is not None:
            text.append("   " + percent(row.share), style="not bold magenta")
        parts.append(Padding(text, (0, 0, 0, 2 * row.level + 2)))
        if row.why:
            parts.append(Padding(Text(row.why, style="dim"), (0, 0, 0, 2 * row.level + 6)))
    return Group(*parts)


def _hanging(prefix: str, label: str, style: str) -> RenderableType:
    if not prefix:
        return Text(label, style=style)
    grid = Table.grid(padding=0)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(prefix, style="dim"), Text(label, style=style))
    return Padding(grid, 0)


def beside(view: RenderableType, other: str, width: int) -> RenderableType:
    """Another tool's table to the right of the view, or below it where both do not fit."""
    text = Text(other, no_wrap=True, overflow="ignore")
    other_width = max((len(line) for line in other.splitlines()), default=0)
    if width < 96 + 3 + other_width:
        return Group(view, Text(""), text)
    grid = Table.grid(padding=(0, 3, 0, 0))
    grid.add_column(width=width - other_width - 3)
    grid.add_column(no_wrap=True)
    grid.add_row(view, text)
    return grid
