"""What N frames become, as a table: the plan, its neighbours, the clips, and the rules that were at work."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracer.frame_steps import Clip, Line, counted
from tracer.frames import Plan
from tracer.words import amount

if TYPE_CHECKING:
    from tracer.planning import Answer

MOST_CLIPS = 12
"""Clips that get a row each; of more, equal ones share a row."""
_DISPENSABLE = ("written", "FLOPs", "rope", "runs", "latent")
"""Columns that a narrow terminal goes without, in that order."""


def renderable(answer: Answer, width: int = 100) -> RenderableType:
    """The answer for a terminal of that width."""
    plan, rule = answer.plan, answer.rule
    table = _clips(plan.clips, rule.fps, width) if plan.clips else _table(answer, width)
    headings = [str(column.header) for column in table.columns]
    parts: list[RenderableType] = [_title(answer, width), _summary(plan, width), Text(""), table, Text("")]
    parts += [*_notes(answer, headings, width), Text("")]
    parts.append(Text.assemble(("Why", "bold"), (f"  places in {rule.origin}", "dim")))
    parts += _lines(plan.lines, width)
    if plan.breaks:
        parts.append(Text(f"\nWhat --chunk {rule.chunk} breaks in the published code", style="bold"))
        parts += _lines(plan.breaks, width)
    return Group(*parts)


def _title(answer: Answer, width: int) -> Text:
    plan, request, vae = answer.plan, answer.request, answer.rule.vae
    name = answer.checkpoint.name
    rest = f" · {counted(plan.asked, 'frame')} at {request.height}×{request.width}"
    rest += f" · VAE {vae.spatial}×{vae.spatial} in space, {vae.temporal} in time"
    text = _wrapped(name + rest, width)
    text.stylize("bold", 0, len(name))
    return text


def _summary(plan: Plan, width: int) -> Text:
    times = "" if plan.runs == 1 else " at most" if plan.clips else " at a time"
    seen = f", {plan.seen} in the transformer{times}" if plan.seen != plan.latents else ""
    clips = f"{counted(plan.runs, 'clip')} of " if plan.clips else ""
    latents = f"{clips}{counted(plan.latents, 'latent frame')}{seen}"
    way = f"{plan.asked:,} asked → {latents} → {counted(plan.tokens, 'token')} → {_returned(plan)}"
    text = _wrapped(way, width)
    text.stylize("green" if plan.exact else "yellow", text.plain.rindex("→") + 1)
    return text


def _returned(plan: Plan) -> str:
    if plan.frames is None:
        return "fails"
    return f"{plan.frames:,} returned, {_difference(plan)}"


def _difference(plan: Plan) -> str:
    if plan.frames is None:
        return "fails"
    parts = [f"{plan.gained:,} more" if plan.gained > 0 else f"{-plan.gained:,} fewer"] if plan.gained else []
    parts += [f"{plan.blank} grey"] if plan.blank else []
    return ", ".join(parts) or "as asked"


def _table(answer: Answer, width: int) -> Table:
    plans = answer.near
    columns = [
        ("N", [f"{'→ ' if p.asked == answer.plan.asked else ''}{p.asked:,}" for p in plans]),
        ("latent", [f"{p.latents:,}" for p in plans]),
        ("seen", [f"{p.seen:,}" for p in plans] if any(p.seen != p.latents for p in plans) else []),
        ("rope", [f"{p.rope:,}" for p in plans if p.rope is not None]),
        ("runs", [f"{p.runs:,}" for p in plans] if any(p.runs > 1 for p in plans) else []),
        ("tokens", [f"{p.tokens:,}" for p in plans]),
        ("returned", ["" if p.frames is None else f"{p.frames:,}" for p in plans]),
        ("", [_difference(p) for p in plans]),
        ("FLOPs", [amount(p.flops, "FLOP") if p.flops else "" for p in plans]),
        ("written", [amount(p.written, "B") if p.written else "" for p in plans]),
    ]
    table, shown = _columns([(name, cells) for name, cells in columns if any(cells)], width)
    for i, plan in enumerate(plans):
        here = plan.asked == answer.plan.asked
        table.add_row(*(cells[i] for _, cells in shown), style="bold" if here else "" if plan.exact else "dim")
    return table


def _columns(columns: list[tuple[str, list[str]]], width: int) -> tuple[Table, list[tuple[str, list[str]]]]:
    """A table with headings for the columns that fit, and those columns; the dispensable go first."""
    gap = 2 if width >= 90 else 1
    for name in _DISPENSABLE:
        wide = sum(max(map(cell_len, (heading, *cells))) + gap for heading, cells in columns) - gap
        if wide > width:
            columns = [(heading, cells) for heading, cells in columns if heading != name]
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    for heading, _ in columns:
        table.add_column(heading, justify="left" if heading in ("", "after") else "right", no_wrap=True)
    return table, columns


def _clips(clips: tuple[Clip, ...], fps: tuple[int, ...], width: int) -> Table:
    rows = []
    total, number = 0, 0
    for clip in _spread(clips):
        first, number, total = number + 1, number + clip.times, total + clip.frames * clip.times
        which = str(number) if clip.times == 1 else f"{first}-{number}"
        counts = (clip.count, clip.rope_count, clip.latents)
        cells = [which, clip.name.removeprefix("after "), *map(str, counts), f"{clip.tokens:,}", f"{total:,}"]
        flops = amount(clip.flops, "FLOP") if clip.flops else ""
        rows.append([*cells, *(f"{total / f:.2f} s" for f in fps), flops])
    names = ("clip", "after", "told", "rope", "latent", "tokens", "total", *(f"{f} fps" for f in fps), "FLOPs")
    table, shown = _columns(
        [(name, list(cells)) for name, cells in zip(names, zip(*rows, strict=True), strict=True) if any(cells)], width
    )
    for row in zip(*(cells for _, cells in shown), strict=True):
        table.add_row(*row)
    return table


def _spread(clips: tuple[Clip, ...]) -> Iterator[Clip]:
    few = sum(clip.times for clip in clips) <= MOST_CLIPS
    for clip in clips:
        yield from [replace(clip, times=1)] * clip.times if few else [clip]


def _notes(answer: Answer, headings: list[str], width: int) -> list[Text]:
    plan, request, checkpoint = answer.plan, answer.request, answer.checkpoint
    out = []
    near = [f"{n:,} {where}" for n, where in ((plan.below, "below"), (plan.above, "above")) if n is not None]
    if plan.instead:
        offers = " or ".join(f"{n:,} to get {get:,}" for n, get in plan.instead)
        out.append(_wrapped(f"No count near {plan.asked:,} comes out as asked: ask {offers}.", width))
    elif near:
        also = "Also" if plan.exact else "Nearest that come out"
        out.append(_wrapped(f"{also} as asked: {', '.join(near)}.", width))
    told = "told, rope: the counts that the code is told for latent frames and positions. " if plan.clips else ""
    if "FLOPs" in headings:
        told += f"FLOPs{' and bytes written' if 'written' in headings else ''} are of one forward of the transformer, "
        told += f"batch {request.batch}, {checkpoint.dtype}; it has {checkpoint.params:,} parameters."
    out += [_wrapped(text, width, style="dim") for text in (told, answer.trouble) if text]
    return out


def _lines(lines: tuple[Line, ...], width: int) -> list[RenderableType]:
    """A sentence and its place: on one line where both fit, else below each other."""
    out: list[RenderableType] = []
    for line in lines:
        if len(line.text) + len(line.source) + 4 <= width:
            out.append(Text.assemble("  ", line.text, "  ", (line.source, "dim")))
        else:
            out += [_wrapped(line.text, width, "  "), _place(line.source)]
    return out


def _place(source: str) -> Text:
    """A place stays whole on any terminal, so that it can be copied."""
    return Text(f"    {source}", style="dim", no_wrap=True, overflow="ignore")


def _wrapped(text: str, width: int, indent: str = "", style: str = "") -> Text:
    """A paragraph without blanks at the ends of its lines."""
    lines = textwrap.wrap(text, max(20, width), initial_indent=indent, subsequent_indent=indent)
    return Text("\n".join(lines), style=style)
