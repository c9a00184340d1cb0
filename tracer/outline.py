"""What of a trace is shown, in which order and words: rows for every view. Reads a trace, renders nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Literal

from tracer.calls import TENSOR, Attr, Call, Slice, Trace, require_stage
from tracer.formula import abbreviate, render
from tracer.notes import shown
from tracer.shapes import Dim, TensorSpec

Show = Literal["both", "numbers", "formulas"]

QUIET = frozenset("to float getitem dropout contiguous type_as bool half bfloat16 type detach clone".split())
"""Operations that move or cast and say little; `--ops` shows them."""


@dataclass(frozen=True)
class Options:
    """What to show. The default is the walkthrough: one row for each brief remark.

    depth: the call tree down to this many levels of modules instead. stage: every call of one stage. ops: all
    operations, the quiet ones too. notes: the reasons under the rows. pixels: formulas in frames, height and
    width of the video.
    """

    depth: int | None = None
    stage: str | None = None
    ops: bool = False
    show: Show = "both"
    notes: bool = False
    pixels: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a view.

    level: how far inside, prefix: its tree lines. share: part of the forward's FLOPs, None for next to
    nothing. shapes and sizes: one text for each result, equal neighbours counted.
    """

    level: int
    prefix: str
    stage: str
    label: str
    shapes: tuple[str, ...]
    sizes: tuple[str, ...]
    share: float | None
    why: str
    source: str
    call: Call


class Words:
    """Formulas and counts of one trace as text."""

    def __init__(self, trace: Trace, *, pixels: bool = False) -> None:
        self.short = {} if pixels else trace.short
        self.hidden = {k: v for k, v in trace.short.items() if k == "D"}
        self.numbers = {s.symbol: s.value for s in trace.header.legend if s.number}
        self.pixels = pixels

    def formula(self, dim: Dim) -> str:
        """The formula of a number, or the number."""
        if dim.formula is None:
            return str(dim.size)
        short = self.hidden if self.pixels else self.short
        inner = {k: v for k, v in self.numbers.items() if k not in ("p", "p_t")}  # those stay under H, W and F
        return render(abbreviate(dim.formula.substitute(inner), short), self.numbers)

    def axis(self, dim: Dim) -> str:
        """The formula of an axis, without spaces."""
        return self.formula(dim).replace(" ", "")

    def shape(self, spec: TensorSpec) -> str:
        """All axes of a tensor."""
        return " ".join(self.axis(d) for d in spec.shape) or "·"

    def attr(self, value: Attr) -> str:
        """An argument as the source has it, with formulas for numbers."""
        if isinstance(value, Dim):
            return self.axis(value)
        if isinstance(value, Slice):
            start, stop = (self.axis(v) if v is not None else "" for v in value[:2])
            return f"{start}:{stop}" + (f":{self.axis(value.step)}" if value.step is not None else "")
        if isinstance(value, tuple):
            return ", ".join(self.attr(v) for v in value)
        return "_" if value == TENSOR else f"{value:g}" if isinstance(value, float) else str(value)


def counted(texts: Sequence[str]) -> tuple[str, ...]:
    """Equal neighbours as one: 'B D ×6'."""
    out = []
    for text, group in groupby(texts):
        n = len(list(group))
        out.append(f"{text} ×{n}" if n > 1 else text)
    return tuple(out)


def rows(trace: Trace, options: Options) -> list[Row]:
    """The rows of a view, top to bottom. Raises UnknownName for a stage that the trace does not have."""
    if options.stage is not None:
        require_stage(trace, options.stage)
        found = list(_stage_rows(trace, options))
    elif options.depth is not None or options.ops or not any(c.remark for c in trace.walk()):
        found = list(_tree_rows(trace, options))
    else:
        found = list(_walk_rows(trace, options))
    return _with_lines(found)


def _row(trace: Trace, words: Words, call: Call, level: int, times: int, label: str) -> Row:
    total = trace.root.cost.flops.size
    share = call.cost.flops.size * times * call.repeat / total if total else 0.0
    results = shown(call)
    return Row(
        level, "", call.stage or "", label,
        counted([words.shape(s) for s in results]),
        counted([" ".join(map(str, s.sizes)) or "·" for s in results]),
        share if share >= 0.0005 else None,
        call.remark.why if call.remark else "",
        str(call.source or ""),
        call,
    )  # fmt: skip


def _walk_rows(trace: Trace, options: Options) -> Iterator[Row]:
    words = Words(trace, pixels=options.pixels)

    def visit(call: Call, level: int, times: int) -> Iterator[Row]:
        wanted = call.remark is not None and (call.remark.brief or options.notes)
        is_block = call.repeat > 1 or call.stage == "block"
        row = None
        if wanted and call.remark is not None:
            label = call.remark.label + (f" ×{call.repeat}" if call.repeat > 1 else "")
            row = _row(trace, words, call, level, times, label)
        if row is not None and is_block:
            yield row
        inner = level + 1 if row is not None and is_block else level
        for child in call.children:
            yield from visit(child, inner, times * call.repeat)
        if row is not None and not is_block:
            yield row

    yield from visit(trace.root, 0, 1)


def _tree_rows(trace: Trace, options: Options) -> Iterator[Row]:
    words = Words(trace, pixels=options.pixels)
    depth = options.depth if options.depth is not None else math.inf

    def visit(call: Call, level: int, modules: int, times: int) -> Iterator[Row]:
        yield _row(trace, words, call, level, times, label_of(call, words))
        for child in call.children:
            if child.kind == "op" and not options.ops and child.name in QUIET and not child.remark:
                continue
            if child.kind == "op" and not options.ops and call.kind == "module" and len(call.children) == 1:
                continue  # Linear with its one linear inside
            if modules + 1 <= depth:
                yield from visit(child, level + 1, modules + 1, times * call.repeat)

    yield from visit(trace.root, 0, 0, 1)


def _stage_rows(trace: Trace, options: Options) -> Iterator[Row]:
    words = Words(trace, pixels=options.pixels)

    def inside(call: Call, level: int, times: int) -> Iterator[Row]:
        yield _row(trace, words, call, level, times, label_of(call, words))
        for child in call.children:
            if child.stage in (None, options.stage):
                yield from inside(child, level + 1, times * call.repeat)

    def visit(call: Call, times: int) -> Iterator[Row]:
        if call.stage == options.stage and call.stage == "block":
            yield _row(trace, words, call, 0, times, label_of(call, words))
        elif call.stage == options.stage:
            yield from (replace(r, stage=options.stage or "") for r in inside(call, 0, times))
            return
        for child in call.children:
            yield from visit(child, times * call.repeat)

    yield from visit(trace.root, 1)


def label_of(call: Call, words: Words) -> str:
    """A call as a line of a tree: `attn1 Attention`, `split L, S`, `getitem [:, :, L:]`."""
    times = f" ×{call.repeat}" if call.repeat > 1 else ""
    if call.kind == "module":
        last = call.path.rpartition(".")[2]
        if call.repeat > 1 and last.isdigit():
            last = f"{call.path.split('.')[-2]}.*" if "." in call.path else "*"
        return f"{last} {call.name}{times}".strip()
    if call.kind == "function":
        return f"{call.name}(){times}"
    arguments = [(k, v) for k, v in call.attrs.items() if k not in ("device", "layout", "inplace", "training", "p")]
    if call.name in ("getitem", "setitem"):
        index = words.attr(arguments[0][1]) if arguments else ""
        text = f"{next(iter(call.inputs), '')}[{index}]" + (" =" if call.name == "setitem" else "")
    else:
        text = call.name + " " + ", ".join(
            words.attr(v) if k.isdigit() else f"{k}={words.attr(v)}" for k, v in arguments if v is not None
        )  # fmt: skip
    names = [n for n in call.outputs if not n[:1].isdigit()]
    return text.strip() + (" → " + ", ".join(names) if names else "") + times


def _with_lines(found: list[Row]) -> list[Row]:
    """Tree lines for nested rows; the outermost level has none."""
    out = []
    for i, row in enumerate(found):
        prefix = ""
        for level in range(1, row.level + 1):
            later = next((r.level for r in found[i + 1 :] if r.level <= level), -1)
            more = later == level
            prefix += ("├─ " if more else "└─ ") if level == row.level else ("│  " if more else "   ")
        out.append(replace(row, prefix=prefix))
    return out


_UNITS = ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def amount(value: float, unit: str) -> str:
    """A count with three digits and a unit: 664 TFLOP."""
    for size, letter in _UNITS:
        if value >= size:
            scaled = value / size
            digits = 0 if scaled >= 100 else 1 if scaled >= 10 else 2
            return f"{scaled:.{digits}f} {letter}{unit}"
    return f"{value:g} {unit}"


def percent(share: float) -> str:
    """A share: '49 %', '0.3 %'."""
    return f"{share:.0%}".replace("%", " %") if share >= 0.1 else f"{share:.1%}".replace("%", " %")


def title(trace: Trace) -> list[str]:
    """The head of every view: what ran, at which sizes, what the letters are."""
    h = trace.header
    name = f"{h.checkpoint} · " if h.checkpoint else ""
    versions = " ".join(f"{k} {v}" for k, v in h.versions.items() if k == "diffusers")
    first = f"{name}{h.model} · {h.params:,} parameters"
    if h.buffers:
        first += f" + {h.buffers:,} in stored buffers"
    out = [first + (f" · {h.dtype}" if h.dtype else "") + (f" · {versions}" if versions else "")]
    if h.request:
        r = h.request
        fixed = {s.symbol for s in h.legend if s.fixed}
        letters = " · ".join(
            f"{s.symbol} {s.value}" + (" fixed" if s.symbol in fixed else "") for s in h.legend if s.symbol in "BFHWL"
        )
        out.append(f"{r['frames']} frames of {r['height']}×{r['width']} → {letters}")
    words = Words(trace)
    plain = {k: v for k, v in words.short.items() if k == "D"}
    parts = []
    for s in h.legend:
        if s.formula is not None:
            text = render(abbreviate(s.formula, {k: v for k, v in plain.items() if k != s.symbol}), words.numbers)
            parts.append(f"{s.symbol} = {text} = {s.value} {s.meaning}")
    others = [f"{s.symbol} {s.value}" for s in h.legend
              if s.formula is None and not s.number and s.symbol not in "BFHWL"]  # fmt: skip
    if parts:
        out.append(" · ".join(reversed(parts)))
    if others:
        out.append(" · ".join(others))
    return out


def growth(trace: Trace, letter: str, factor: int = 2) -> float | None:
    """How many times the FLOPs of the forward grow when a letter is multiplied; None without formulas."""
    formula = trace.root.cost.flops.formula
    if formula is None or letter not in trace.values:
        return None
    more = {**trace.values, letter: trace.values[letter] * factor}
    return formula.evaluate(more) / trace.root.cost.flops.size


def summary(trace: Trace) -> list[str]:
    """The foot of every view: totals, attention's share and growth, constraints, warnings."""
    from tracer.cost import attention_share

    cost = trace.root.cost
    out = []
    if cost.flops.size:
        line = f"{amount(cost.flops.size, 'FLOP')} a forward, {percent(float(attention_share(trace.root)))} of it attention"
        twice = growth(trace, "F")
        if twice is not None:
            line += f"; twice the latent frames take {twice:.1f} times as much"
        out.append(line)
    out.append(f"{amount(cost.bytes.size, 'B')} of activations written, views apart")
    return out


def cautions(trace: Trace) -> list[str]:
    """Constraints and warnings, each a line."""
    h = trace.header
    return [f"holds while {c}" for c in h.constraints] + [f"note: {w}" for w in h.warnings] + (
        [f"stopped: {h.error}"] if h.error else []
    )  # fmt: skip


