"""The calls of a trace as CSV (RFC 4180), for spreadsheets and data frames: one row for each call, in run order.

`flops`, `parameters` and `bytes` are those of the call alone, without what is below it, in the whole run: each
column adds up to the total of the trace, and its sum over the rows of a stage is the cost of that stage.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping

from tracer.calls import Call, Trace
from tracer.shapes import TensorSpec
from tracer.words import Words, clean, sizes_of

COLUMNS = (
    "level", "path", "stage", "kind", "name", "repeat", "times", "inputs", "outputs", "formulas", "flops",
    "parameters", "bytes", "source",
)  # fmt: skip
"""level: how far inside. repeat: equal calls in a row that this one stands for. times: how often in the whole run."""

_STEERS = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def render_csv(trace: Trace) -> str:
    """Head and rows, each ended by CR LF. Text that a spreadsheet would take for a formula begins with `'`."""
    out = io.StringIO(newline="")
    table = csv.writer(out, lineterminator="\r\n")
    table.writerow(COLUMNS)
    words = Words(trace)
    for row in _rows(trace, words):
        table.writerow([inert(cell) if isinstance(cell, str) else cell for cell in row])
    return out.getvalue()


def inert(text: str) -> str:
    """Text that no spreadsheet runs: `=cmd()` becomes `'=cmd()`."""
    return f"'{text}" if text.lstrip(" ").startswith(_STEERS) else text


def _rows(trace: Trace, words: Words) -> Iterator[list[str | int]]:
    def visit(call: Call, level: int, times: int, owned: int, stage: str) -> Iterator[list[str | int]]:
        stage, times = call.stage or stage, times * call.repeat
        owned = owned if call.kind == "step" else owned * call.repeat  # the passes of a loop share their parameters
        flops, params, written = (c.size for c in (call.cost.flops, call.cost.params, call.cost.bytes))
        for child in call.children:
            cost = child.all_cost
            flops, params, written = flops - cost.flops.size, params - cost.params.size, written - cost.bytes.size
        yield [
            level, clean(call.path), clean(stage), call.kind, clean(call.name), call.repeat, times,
            _tensors(call.inputs), _tensors(call.outputs), _formulas(call.outputs, words), flops * times,
            params * owned, written * times, clean(str(call.source)) if call.source else "",
        ]  # fmt: skip
        for child in call.children:
            yield from visit(child, level + 1, times, owned, stage)

    yield from visit(trace.root, 0, 1, 1, "")


def _tensors(specs: Mapping[str, TensorSpec]) -> str:
    """`hidden_states 2 17550 3072 bfloat16; temb 2 512 bfloat16`."""
    return "; ".join(f"{clean(key)} {sizes_of(spec)} {clean(spec.dtype)}" for key, spec in specs.items())


def _formulas(specs: Mapping[str, TensorSpec], words: Words) -> str:
    """`hidden_states B S D; temb B T`; nothing where no size has a formula."""
    if all(dim.formula is None for spec in specs.values() for dim in spec.shape):
        return ""
    return "; ".join(f"{clean(key)} {words.shape(spec)}" for key, spec in specs.items())
