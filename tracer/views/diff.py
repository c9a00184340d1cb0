"""Two traces beside each other in the terminal and as Markdown: the answer first, then where it is so."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tracer.diffs.diff import Diff
from tracer.diffs.facts import Said, calls_of, facts, names, remarks, title, verdict
from tracer.diffs.outline import Group as Calls
from tracer.diffs.outline import Row, Sizes, Tensors, groups, sizes
from tracer.notes import STAGES
from tracer.words import amount, clean

STYLES = {"+": "green", "-": "red", "~": "yellow", "=": "dim"}
WIDE = 200
"""Columns of the calls in Markdown, where nothing should wrap."""
NOTABLE = 0.01
"""Share of a side's FLOPs from which on an unchanged stage has a line of its own."""


def renderable(
    d: Diff, stage: str | None = None, *, width: int = 100, sides: tuple[str, str] | None = None
) -> RenderableType:
    """The diff as something rich can print at a width; of one stage, every call."""
    sides = sides or names(d)
    head, *more = title(d, sides)
    parts: list[RenderableType] = [Text(" · ".join(head), style="bold")]
    parts += [Text(" · ".join(line)) for line in more]
    parts += [Text(""), *(Text(line, style="bold" * d.equal) for line in verdict(d))]
    told = facts(d)
    if stage is None and told:
        parts += [Text(""), _facts(told, sides)]
    if not d.equal:
        found = groups(d, stage)
        if stage is not None:
            about = f"{stage}: {STAGES[stage]}" if stage in STAGES else clean(stage)
            parts += [Text(""), Text(about, style="bold cyan")]
        parts += [Text(""), *_calls(found, d, width, whole=stage is not None)]
        if stage is None:
            parts += _sizes(*sizes(d), width)
            parts += _remarks(remarks(d, sides))
    return Group(*parts)


def render_text(d: Diff, stage: str | None = None, *, width: int = 100, sides: tuple[str, str] | None = None) -> str:
    """The diff as plain text, without colours or trailing blanks."""
    return _plain(renderable(d, stage, width=width, sides=sides), width)


def _plain(view: RenderableType, width: int) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, color_system=None, force_terminal=False, legacy_windows=False,
                      force_jupyter=False)  # fmt: skip
    console.print(view)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines()) + "\n"


def _facts(told: list[Said], sides: tuple[str, str]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("", overflow="fold")
    for side in sides:
        table.add_column(Text(side), justify="right", overflow="fold")
    table.add_column("", justify="right", no_wrap=True, style="dim")
    for i, said in enumerate(told):
        if i and told[i - 1].about != said.about:
            table.add_row()
        table.add_row(Text(said.label), Text(said.old), Text(said.new), said.ratio)
    return table


# calls


def _calls(found: list[Calls], d: Diff, width: int, *, whole: bool) -> Iterator[RenderableType]:
    total = d.old.root.cost.flops.size, d.new.root.cost.flops.size
    rows = [row for group in found for row in group.rows]
    shape = max((cell_len(t) for r in rows for pair in _tensor_lines(r.old, r.new) for t in pair[:1]), default=0)
    most = max(24, width * 2 // 5) if shape else width // 2
    label = min(max([cell_len(_name(r).plain) for r in rows], default=0) + 2, most)
    shape = min(shape, (width - label) // 2)
    for quiet, run in groupby(found, lambda g: _quiet(g, total) and not whole):
        if quiet:
            yield from _quiet_lines(list(run))
            continue
        for group in run:
            yield _heading(group)
            indent = 2 + 2 * group.level
            for row in group.rows:
                if row.label == group.title and not row.new.sizes:  # the heading has named it
                    yield Padding(_details(row), (0, 0, 0, indent))
                else:
                    yield Padding(_row(row, label, shape), (0, 0, 0, indent))
            if group.hidden:
                text = f"… {calls_of(group.hidden)} more: arithmetic, casts, slices, or told elsewhere"
                yield Padding(Text(text, style="dim"), (0, 0, 0, indent + 2))


def _quiet(group: Calls, total: tuple[int, int]) -> bool:
    """Whether a group has nothing to tell but its name."""
    old, new = group.flops
    dear = any(n >= NOTABLE * t > 0 for n, t in zip(group.flops, total, strict=True))
    return group.sign == "=" and not group.title and not (dear and abs(new - old) >= NOTABLE * old)


def _quiet_lines(run: list[Calls]) -> Iterator[RenderableType]:
    for level, some in groupby(run, lambda g: g.level):
        inside = list(some)
        kept = sum(g.kept for g in inside)
        if kept:
            stages = ", ".join(dict.fromkeys(_stage(g) for g in inside if g.kept))
            yield _hanging(Text("= " + "│ " * level), Text(f"{stages}  {calls_of(kept)} the same"), "dim")


def _stage(group: Calls) -> str:
    return clean(group.stage, 60) if group.stage != "other" else "other calls"


def _hanging(start: Text, rest: Text, style: str = "") -> RenderableType:
    """A line whose further lines begin where its text began."""
    grid = Table.grid()
    grid.add_column(width=start.cell_len)
    grid.add_column(overflow="fold")
    grid.add_row(start, rest, style=style)
    return grid


def _heading(group: Calls) -> RenderableType:
    sign = group.sign
    start = Text.assemble((f"{sign} ", STYLES[sign]), ("│ " * group.level, "dim"))
    text = Text(_stage(group), style="dim" if sign == "=" else "cyan")
    if group.title:
        text.append(f"  {group.title}", style="bold")
    tail = []
    tail += _moved(group.flops, "FLOP") + _moved(group.params, "parameters")
    if group.kept:
        tail.append(f"{calls_of(group.kept)} the same")
    line = Text.assemble(text, ("  " + " · ".join(tail), "dim")) if tail else text
    return _hanging(start, line)


def _moved(pair: tuple[int, int], unit: str) -> list[str]:
    """Old and new count, the unit once where it is the same; nothing where both read alike."""
    old, new = (amount(n, unit) if unit == "FLOP" else f"{n:,} {unit}" for n in pair)
    if old == new:
        return []
    if not all(pair):
        return [new if pair[1] else old]
    number, _, rest = old.partition(" ")
    return [f"{number if rest == new.partition(' ')[2] else old} → {new}"]


def _name(row: Row) -> Text:
    times = f" {row.times} times" if row.times > 1 else ""
    return Text.assemble((f"{row.sign} ", STYLES[row.sign]), row.label, (times, "dim"))


def _row(row: Row, label: int, shape: int) -> RenderableType:
    grid = Table.grid(padding=(0, 2, 0, 0), expand=False)
    grid.add_column(width=label, overflow="fold")
    grid.add_column(width=shape, overflow="fold")
    grid.add_column(overflow="fold")
    name = _name(row)
    lines = list(_tensor_lines(row.old, row.new))
    for i, (shapes, numbers) in enumerate(lines or [("", "")]):
        grid.add_row(name if i == 0 else "", Text(shapes, style="green" * bool(shapes)), Text(numbers))
    if not row.details:
        return grid
    return Group(grid, _details(row))


def _details(row: Row) -> RenderableType:
    return Group(*(Padding(Text(text, style="dim"), (0, 0, 0, 4)) for text in row.details))


def _tensor_lines(old: Tensors, new: Tensors) -> Iterator[tuple[str, str]]:
    """Formula and numbers; both sides where both are there, the formula once where it is the same."""
    a, b = (" | ".join(t.shapes) for t in (old, new))
    m, n = (" | ".join(t.sizes) for t in (old, new))
    if not m or not n or (a, m) == (b, n):
        yield a or b, m or n
    elif a == b:
        yield a, f"{m} → {n}"
    else:
        yield a, m
        yield f"→ {b}", "" if m == n else f"→ {n}"


def _sizes(found: list[Sizes], more: int, width: int) -> Iterator[RenderableType]:
    if not found:
        return
    yield Text("")
    yield Text("the same formulas with other numbers" if any(s.formula for s in found) else "other numbers",
               style="bold")  # fmt: skip
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    formulas = any(s.formula for s in found)
    if formulas:
        table.add_column(style="green", overflow="fold", max_width=width // 3)
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    table.add_column(style="dim", justify="right", no_wrap=True)
    for s in found:
        table.add_row(*[Text(s.formula)] * formulas, Text(s.old), Text(f"→ {s.new}"), calls_of(s.calls))
    yield table
    if more:
        yield Text(f"… {more} more shapes; a stage that is asked for has them all", style="dim")


def _remarks(lines: Sequence[str]) -> Iterable[RenderableType]:
    return [Text(""), *(Text(line, style="dim") for line in lines)] if lines else []


# Markdown


def render_markdown(d: Diff, stage: str | None = None, *, sides: tuple[str, str] | None = None) -> str:
    """The diff as Markdown: sentences, the table of facts, and the calls as a block that colours + and -."""
    sides = sides or names(d)
    head, *more = title(d, sides)
    told = facts(d) if stage is None else []
    out = [f"## {_escaped(' · '.join(head))}", *(_escaped(" · ".join(line)) for line in more)]
    out += [_escaped(" ".join(verdict(d)))]
    if told:
        rows = [("", *sides, ""), *((s.label, s.old, s.new, s.ratio) for s in told)]
        lines = [f"| {' | '.join(map(_escaped, row))} |" for row in rows]
        out.append("\n".join([lines[0], "|:---|---:|---:|---:|", *lines[1:]]))
    if not d.equal:
        shapes = _sizes(*sizes(d), WIDE) if stage is None else []
        text = _plain(Group(*_calls(groups(d, stage), d, WIDE, whole=stage is not None), *shapes), WIDE).strip("\n")
        fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text)), default=0))
        out.append(f"{fence}diff\n{text}\n{fence}")
    out += [_escaped(line) for line in remarks(d, sides)]
    return "\n\n".join(out) + "\n"


def _escaped(text: str) -> str:
    """Text that is nothing but text in Markdown: no marks, tags, cells or links."""
    return re.sub(r"([\\`*_\[\]<>#|~&])", r"\\\1", text).replace("://", ":\\/\\/")
