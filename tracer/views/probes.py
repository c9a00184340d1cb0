"""What a sweep of probes came to, as a table: a row for each setting, and what the columns mean."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from tracer.probes.summary import Curve, Summary

_DISPENSABLE = (
    "spread", "latents\nlast", "at", "latents\nfirst", "follows\ndt", "cond\nlast", "cond\nfirst", "latents\nlargest",
    "cond\nlargest",
)  # fmt: skip
"""Columns that a narrow terminal goes without, in that order."""
_MEANINGS = {
    "cond\nleast": "cond: relative L1 of the conditional prediction to the step before, mean over runs",
    "at": "at: where its least value is, as a share of the steps",
    "left": "left, right: its largest value in the first and in the last fifth over its least: the arms of the U",
    "spread": "spread: how far runs differ from their mean",
    "latents\nlargest": "latents: what a step changes in them, relative L1",
    "follows\ndt": "follows dt: correlation of that with the change of sigma, where steps differ",
    "nearest\nshift": "nearest shift: the flow shift nearest to a schedule that spreads the change of cond evenly, "
    "± its rms error in sigma",
}


def renderable(settings: list[Summary], width: int = 100) -> RenderableType:
    """The settings for a terminal of that width."""
    parts: list[RenderableType] = [_title(settings), *_fixed(settings, width), Text("")]
    table, headings = _table(settings, width)
    parts += [table, Text("")]
    for heading, meaning in _MEANINGS.items():
        if heading in headings:
            parts += [Text(line, style="dim") for line in textwrap.wrap(meaning, width, subsequent_indent="  ")]
    return Group(*parts)


def _title(settings: list[Summary]) -> Text:
    runs = sum(s.runs for s in settings)
    counts = f"{_counted(len(settings), 'setting')}, {_counted(runs, 'run')}"
    return Text.assemble((settings[0].cell.model, "bold"), f" · {counts}")


_ASKED: dict[str, Callable[[Summary], str]] = {
    "schedule": lambda s: s.cell.placing,
    "sampler": lambda s: s.cell.sampler or "own",
    "frames": lambda s: "" if s.frames is None else str(s.frames),
    "size": lambda s: "" if s.height is None else f"{s.height}×{s.width}",
    "guidance": lambda s: "varies" if s.guidance is None else f"{s.guidance:g}" if s.guided else "none",
}
"""Settings that are a column where they differ, and part of one line where they do not."""


def _fixed(settings: list[Summary], width: int) -> list[Text]:
    words = [f"steps {settings[0].cell.steps}"] if len({s.cell.steps for s in settings}) == 1 else []
    for name, say in _ASKED.items():
        cells = {say(s) for s in settings}
        if len(cells) == 1 and cells != {""} and name != "guidance":
            words.append(f"{name} {cells.pop()}")
    lines = [" · ".join(words)] if words else []
    lines += dict.fromkeys(map(_guidance, settings))
    return [Text(part) for line in lines for part in textwrap.wrap(line, width, subsequent_indent="  ")]


def _guidance(setting: Summary) -> str:
    """What kind of guidance there was, and what it costs: the two kinds are easily taken for each other."""
    count, told = setting.forwards, setting.cell.embedded
    each = "forwards differ between steps" if isinstance(count, list) else f"{_counted(count, 'forward')} a step"
    if setting.guided:
        scale = "of a scale that changes" if setting.guidance is None else f"{setting.guidance:g}"
        both = ", of two samples: uncond and cond" if setting.samples == 2 else ", cond and uncond"
        line = f"classifier-free guidance {scale}: {each}{'' if isinstance(count, list) else both}"
    else:
        line = f"no classifier-free guidance: {each}"
    return line + (f"; embedded guidance {told:g}, a number that the transformer is told" if told is not None else "")


def _table(settings: list[Summary], width: int) -> tuple[Table, list[str]]:
    columns = [("steps", [str(s.cell.steps) for s in settings])]
    columns += [(name, [say(s) for s in settings]) for name, say in _ASKED.items()]
    columns = [c for c in columns if len(set(c[1])) > 1]
    columns.append(("forwards", [_forwards(s) for s in settings]))
    for heading, say in _MEASURED.items():
        cells = [say(s) for s in settings]
        if any(cells):
            columns.append((heading, [cell or "–" for cell in cells]))
    gap = 2
    for name in _DISPENSABLE:
        wide = sum(
            max(cell_len(part) for cell in (h, *cells) for part in cell.split("\n")) + gap for h, cells in columns
        )
        if wide - gap > width:
            columns = [(h, cells) for h, cells in columns if h != name]
    table = Table(box=None, padding=(0, gap, 0, 0), pad_edge=False)
    for heading, _ in columns:
        left = heading in ("schedule", "sampler")
        table.add_column(heading, justify="left" if left else "right", no_wrap=True, vertical="bottom")
    for i in range(len(settings)):
        table.add_row(*(cells[i] for _, cells in columns))
    return table, [heading for heading, _ in columns]


def _forwards(setting: Summary) -> str:
    if isinstance(setting.forwards, list):
        low, high = min(setting.forwards), max(setting.forwards)
        return f"{low}-{high}"
    return f"{setting.forwards} of 2" if setting.samples == 2 else str(setting.forwards)


def _of(signal: str, value: str) -> Callable[[Summary], str]:
    def say(setting: Summary) -> str:
        curve: Curve | None = getattr(setting, signal)
        return "" if curve is None else _number(getattr(curve, value))

    return say


def _times(side: str) -> Callable[[Summary], str]:
    def say(setting: Summary) -> str:
        arm = None if setting.cond is None else getattr(setting.cond, side)
        return "" if arm is None else f"{arm:.1f}×"

    return say


_MEASURED: dict[str, Callable[[Summary], str]] = {
    "cond\nfirst": _of("cond", "first"),
    "cond\nlargest": _of("cond", "largest"),
    "cond\nleast": _of("cond", "least"),
    "at": lambda s: "" if s.cond is None else f"{s.cond.least_at:.2f}",
    "cond\nlast": _of("cond", "last"),
    "left": _times("left"),
    "right": _times("right"),
    "spread": lambda s: "" if s.cond is None or s.runs == 1 else f"{s.cond.spread:.0%}",
    "latents\nfirst": _of("latents", "first"),
    "latents\nlargest": _of("latents", "largest"),
    "latents\nlast": _of("latents", "last"),
    "follows\ndt": lambda s: "" if s.follows_dt is None else f"{s.follows_dt:.2f}",
    "nearest\nshift": lambda s: "" if s.fit is None else f"{s.fit.shift:.3g} ± {s.fit.rms:.3f}",
}


def _number(value: float) -> str:
    return f"{value:.4f}" if value < 1e3 else f"{value:.3g}"


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"
