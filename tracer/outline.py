"""What of a trace is shown, in which order and words: rows for every view. Reads a trace, renders nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from tracer.calls import Call, Source, Trace, require_stage
from tracer.formula import Formula
from tracer.notes import PIPELINE_STAGES, shown
from tracer.overview import SETTINGS, is_pipeline, overview
from tracer.shapes import Dim, TensorSpec
from tracer.words import MOST, Words, amount, clean, counted, label_of, percent, sizes_of

Show = Literal["both", "numbers", "formulas"]

QUIET = frozenset(
    (
        "to",
        "float",
        "getitem",
        "dropout",
        "contiguous",
        "type_as",
        "bool",
        "half",
        "bfloat16",
        "type",
        "detach",
        "clone",
    )
)
"""Operations that move or cast and say little; `--ops` shows them."""

DEEPEST = 3
"""Dots in the path of a component's parts that a stage of a pipeline shows: `vae.decoder.up_blocks.0`."""

SCREEN = 40
"""Rows of a call tree whose depth nobody asked for."""


@dataclass(frozen=True)
class Options:
    """What to show. The default is the walkthrough: one row for each brief remark.

    depth: the call tree down to this many levels instead. stage: every call of one stage. ops: all
    operations, the quiet ones too. notes: the reasons under the rows. pixels: formulas in frames, height and
    width of the video.
    """

    depth: int | None = None
    stage: str | None = None
    ops: bool = False
    show: Show = "both"
    notes: bool = False
    pixels: bool = False

    def walk(self, trace: Trace) -> bool:
        """Whether the rows are those of the walkthrough, rather than calls one below another."""
        return self.plain and not is_pipeline(trace) and any(c.remark for c in trace.walk())

    @property
    def plain(self) -> bool:
        """Whether nothing was asked for but the default."""
        return self.depth is None and self.stage is None and not self.ops


@dataclass(frozen=True)
class Row:
    """One line of a view.

    level: how far inside, prefix and hang: its tree lines, and those of its further lines. stage: where one
    begins. above: the module and file that this and the next rows are in. shapes and sizes: one text for
    each tensor, equal neighbours counted, results after an arrow where the view shows inputs too. share: part
    of the forward's FLOPs, None for next to nothing. grounds: config fields that come into the shape here,
    and the place in the source.
    """

    level: int
    label: str
    shapes: tuple[str, ...]
    sizes: tuple[str, ...]
    share: float | None
    call: Call
    prefix: str = ""
    hang: str = ""
    stage: str = ""
    above: str = ""
    grounds: str = ""

    @property
    def why(self) -> str:
        """The reason a note gives."""
        return clean(self.call.remark.why, 2000) if self.call.remark else ""

    @property
    def source(self) -> Source | None:
        """Where the call is made."""
        return self.call.source

    @property
    def important(self) -> bool:
        """Whether the row stands for whole blocks."""
        return self.call.repeat > 1 or self.call.stage == "block"


# rows


def rows(trace: Trace, options: Options) -> list[Row]:
    """The rows of a view, top to bottom. Raises UnknownName for a stage that the trace does not have."""
    found = _rows(trace, options)
    if not is_pipeline(trace) or all(row.shapes == row.sizes for row in found):
        return found
    # only the transformer of a pipeline has formulas: what is the same twice is said once
    return [replace(row, shapes=("",) * len(row.sizes)) if row.shapes == row.sizes else row for row in found]


def _rows(trace: Trace, options: Options) -> list[Row]:
    words = Words(trace, pixels=options.pixels)
    if options.stage is not None:
        require_stage(trace, options.stage)
        return _with_places(_with_lines(list(_stage_rows(trace, words, options.stage, options.ops))))
    if options.walk(trace):
        return _with_stages(list(_walk_rows(trace, words, options.notes)))
    if options.plain and is_pipeline(trace):
        found = [_row(trace, words, n.call, n.level, n.times, n.label) for n in overview(trace, words)]
        return _with_lines([replace(row, shapes=_few(row, row.shapes), sizes=_few(row, row.sizes)) for row in found])
    if options.depth is not None or options.ops:
        depth = math.inf if options.depth is None else options.depth
        return _with_lines(list(_tree_rows(trace, words, depth, options.ops)))
    for depth in (4, 3, 2):
        found = list(_tree_rows(trace, words, depth, ops=False))
        if len(found) <= SCREEN:
            return _with_lines(found)
    return _with_lines(list(_tree_rows(trace, words, 1, ops=False)))


def _few(row: Row, texts: tuple[str, ...]) -> tuple[str, ...]:
    """The first results of many; nothing for what gave none."""
    if not row.call.outputs:
        return ()
    return texts if len(texts) <= 3 else (f"{texts[0]}, …",)


def _row(
    trace: Trace, words: Words, call: Call, level: int, times: int, label: str, inputs: bool = False, most: int = MOST,
) -> Row:  # fmt: skip
    total = trace.root.cost.flops.size
    share = call.cost.flops.size * times * call.repeat / total if total else 0.0
    results = shown(call)
    shapes = counted([words.shape(s) for s in results], most)
    sizes = counted([sizes_of(s) for s in results], most)
    given = list(call.inputs.values())
    if inputs and call.outputs and {s.sizes for s in given} != {s.sizes for s in results}:
        before = counted([words.shape(s) for s in given], most), counted([sizes_of(s) for s in given], most)
        shapes, sizes = (
            (*old, *(f"→ {text}" for text in new)) for old, new in zip(before, (shapes, sizes), strict=True)
        )
    return Row(level, label, shapes, sizes, share if share >= 0.0005 else None, call, grounds=_grounds(trace, call))


def _grounds(trace: Trace, call: Call) -> str:
    """What the shape stands on: `time_embed_dim = 512 · cogvideox_transformer_3d.py:417`."""

    def symbols(specs: Iterable[TensorSpec]) -> set[str]:
        return {s for spec in specs for d in spec.shape if d.formula is not None for s in d.formula.symbols}

    new = symbols(call.outputs.values()) - symbols(call.inputs.values()) if call.outputs else set()
    new |= call.repeat_formula.symbols if call.repeat_formula is not None else set()
    fields = [f"{s.field} = {s.value}" for s in trace.header.legend if s.field and s.symbol in new]
    place = [str(call.source).rpartition("/")[2]] if call.source else []
    return clean(" · ".join([*fields, *place]))


def _walk_rows(trace: Trace, words: Words, notes: bool) -> Iterator[Row]:
    def visit(call: Call, level: int, times: int) -> Iterator[Row]:
        row = None
        if call.remark is not None and (call.remark.brief or notes):
            label = clean(call.remark.label) + (f" ×{call.repeat}" if call.repeat > 1 else "")
            row = _row(trace, words, call, level, times, label)
        opens = row is not None and row.important
        if row is not None and opens:
            yield row
        for child in call.children:
            yield from visit(child, level + opens, times * call.repeat)
        if row is not None and not opens:
            yield row

    yield from visit(trace.root, 0, 1)


def _quiet(child: Call, parent: Call) -> bool:
    if child.kind != "op":
        return False
    only = parent.kind == "module" and len(parent.children) == 1  # Linear with its one linear inside
    return only or (child.name in QUIET and not child.remark)


def _tree_rows(trace: Trace, words: Words, depth: float, ops: bool) -> Iterator[Row]:
    def visit(call: Call, level: int, times: int, last: bool) -> Iterator[Row]:
        yield _row(trace, words, call, level, times, label_of(call, words))
        for child in call.children:
            stopped = last and child is call.children[-1]  # where a forward stopped is shown, however deep
            if (ops or stopped or not _quiet(child, call)) and (level < depth or last):
                yield from visit(child, level + 1, times * call.repeat, stopped)

    yield from visit(trace.root, 0, 1, trace.header.error is not None)


def _stage_rows(trace: Trace, words: Words, stage: str, ops: bool) -> Iterator[Row]:
    parts = stage in PIPELINE_STAGES and not ops  # a whole encoder or decoder: its parts, not every operation in them

    most = 2 if parts else MOST  # a decoder's caches are dozens

    def inside(call: Call, level: int, times: int) -> Iterator[Row]:
        yield _row(trace, words, call, level, times, label_of(call, words), inputs=True, most=most)
        for child in call.children:
            if stage == "block":
                if not _quiet(child, call):
                    yield _row(
                        trace,
                        words,
                        child,
                        level + 1,
                        times * call.repeat,
                        label_of(child, words),
                        inputs=True,
                    )
            elif child.stage in (None, stage) and not (parts and _deep(child)):
                yield from inside(child, level + 1, times * call.repeat)

    def visit(call: Call, times: int) -> Iterator[Row]:
        if call.stage == stage:
            yield from inside(call, 0, times)
            return
        for child in call.children:
            yield from visit(child, times * call.repeat)

    yield from visit(trace.root, 1)


def _deep(call: Call) -> bool:
    """Whether a call is inside the blocks of a component, seen from the pipeline, or in a stand-in for one."""
    if call.source is not None and call.source.file.startswith("tracer/"):
        return True
    return call.path.count(".") > (DEEPEST if call.kind == "module" else 0)


def _with_lines(found: list[Row]) -> list[Row]:
    """Tree lines for nested rows; the outermost level has none."""
    out: list[Row] = []
    more: list[bool] = []  # whether a later row follows at each level, seen from below
    for row in reversed(found):
        level = row.level
        more = more[: level + 1] + [False] * (level + 1 - len(more))
        bars = "".join("│  " if m else "   " for m in more[1:level])
        prefix = bars + ("├─ " if more[level] else "└─ ") if level else ""
        hang = bars + ("│  " if more[level] else "   ") if level else ""
        if out and out[-1].level > level:
            hang += "│  "
        more[level] = True
        out.append(replace(row, prefix=prefix, hang=hang))
    return out[::-1]


def _with_stages(found: list[Row]) -> list[Row]:
    """The stage on the first of its rows; bars where rows are inside a block."""
    out: list[Row] = []
    before = None
    for row in found:
        here = (row.level, row.call.stage)
        bars = "│ " * row.level
        stage = clean(row.call.stage or "", 60) if here != before else ""
        out.append(replace(row, stage=stage, prefix=bars, hang=bars))
        before = here
    return out


def _with_places(found: list[Row]) -> list[Row]:
    """The module and file above the first row that is in them."""
    out: list[Row] = []
    place = file = None
    for row in found:
        here = clean(row.call.source.file) if row.call.source else "file not known"
        if row.level:
            above = here if here != file else ""
        else:
            inside = row.call.pattern
            if row.call.kind == "module":
                inside = inside.rpartition(".")[0]
            inside = clean(inside) or "the whole model"
            above = f"{inside} · {here}" if (inside, here) != (place, file) else ""
            place = inside
        file = here
        out.append(replace(row, above=above))
    return out


# head and foot


def title(trace: Trace, options: Options | None = None) -> list[tuple[str, ...]]:
    """The head of every view, as lines of phrases: what ran, at which sizes, what the letters are."""
    h = trace.header
    words = Words(trace, pixels=bool(options and options.pixels))
    first = [h.checkpoint or "", h.model, f"{h.params:,} parameters" if h.params else ""]
    first += [f"{h.buffers:,} numbers in stored buffers" if h.buffers else ""]
    first += [f"diffusers {h.versions['diffusers']}" if h.family and "diffusers" in h.versions else ""]
    sized = {"frames", "height", "width"} <= h.request.keys()
    said = ("num_frames", "video_length", "height", "width") if sized else ()
    settings = [k for k in trace.root.attrs if k in SETTINGS and k not in said] if is_pipeline(trace) else []
    video = [f"{k} {words.attr(trace.root.attrs[k])}" for k in settings]
    model: list[str] = []
    if sized:
        n, height, width = (h.request[k] for k in ("frames", "height", "width"))
        moves = "F" in trace.values
        if words.pixels:
            video += [f"frames N = {n}"] * moves + [f"height = {height}", f"width = {width} pixels"]
        else:
            video.append(f"{n} frame{'s' * (n > 1)} of " * moves + f"{height}×{width} pixels")
    for s in sorted(h.legend, key=lambda s: s.formula is None):
        if s.number:
            continue
        formula = s.formula or (Formula.symbol(s.symbol) if words.pixels and s.symbol in "FHW" else None)
        text = f" = {words.written(formula, but=s.symbol)}" if formula is not None else ""
        phrase = (
            f"{s.name.replace('_', ' ')} {s.symbol}{text}{' =' * bool(text)} {s.value}{' (fixed)' if s.fixed else ''}"
        )
        (video if s.symbol in "BFHWL" else model).append(phrase)
    run = [f"in {h.dtype}" if h.dtype else ""]
    return [tuple(clean(text) for text in line if text) for line in (first, video + model + run) if any(line)]


def growth(trace: Trace, letter: str, factor: int = 2) -> float | None:
    """How many times the FLOPs grow when a letter is multiplied; None without formulas, or where it is fixed."""
    formula = trace.root.cost.flops.formula
    if formula is None or not any(s.symbol == letter and not s.fixed for s in trace.header.legend):
        return None
    more = {**trace.values, letter: trace.values[letter] * factor}
    return formula.evaluate(more) / trace.root.cost.flops.size


def _of_what(trace: Trace) -> str:
    """What the costs of a trace are of."""
    if not is_pipeline(trace):
        return "a forward"
    steps = trace.root.attrs.get("num_inference_steps")
    return f"a call of {steps.size} steps" if isinstance(steps, Dim) else "a call"


def summary(trace: Trace, options: Options | None = None) -> list[str]:
    """The foot of every view: totals, attention's share and growth; of one stage, what it takes."""
    from tracer.cost import attention_share

    cost = trace.root.cost
    if options and options.stage and options.stage != "block":
        part = trace.stage_costs().get(options.stage)
        if part is None or not cost.bytes.size:
            return []
        counts = []
        if part.flops.size:
            share = percent(part.flops.size / cost.flops.size)
            counts.append(f"{amount(part.flops.size, 'FLOP')} ({share} of {_of_what(trace).replace('a ', 'the ', 1)})")
        counts += [f"{part.params.size:,} parameters"] if part.params.size else []
        counts += [f"{amount(part.bytes.size, 'B')} of activations"] if part.bytes.size else []
        counts += [] if part.flops.size else ["no matrix product, convolution or attention"]
        return ["the stage takes " + ", ".join(counts)]
    parts = []
    if cost.flops.size:
        parts.append(f"{amount(cost.flops.size, 'FLOP')} {_of_what(trace)}")
        parts.append(f"{percent(float(attention_share(trace.root)))} attention")
        twice = growth(trace, "F")
        if twice is not None:
            parts.append(f"×{twice:.1f} for twice the latent frames")
    written = f"{amount(cost.bytes.size, 'B')} of activations" if cost.bytes.size else ""
    line = "; ".join(text for text in (", ".join(parts), written) if text)
    return [line] if line else []


def cautions(trace: Trace, options: Options | None = None) -> list[str]:
    """Constraints, with their reasons where reasons are asked for; then warnings, each a line."""
    h = trace.header
    if options is None or options.notes:
        lines = [f"holds while {c}" for c in h.constraints]
    else:
        lines = ["holds while " + " · ".join(c.partition(": ")[0] for c in h.constraints)] if h.constraints else []
    lines += ["taken for granted: " + " · ".join(h.assumptions)] if h.assumptions else []
    lines += [f"note: {w}" for w in h.warnings]
    return [clean(line, 1000) for line in lines + ([h.error] if h.error else [])]
