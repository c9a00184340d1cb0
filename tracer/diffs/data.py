"""A diff as plain data for other programs: heads, facts, totals, stages, and each call that is not the same."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tracer.calls import Cost, Header, Symbol, Trace
from tracer.diffs.diff import Diff, Pair
from tracer.shapes import Dim, TensorSpec
from tracer.words import Words

DIFF_VERSION = 1


def diff_to_json(d: Diff) -> dict[str, Any]:
    """`{"diff": 1, "equal", "old", "new", "versions", "facts", "totals", "counts", "stages", "calls"}`.

    Of a pair of values the first is the old one; null where a side has none. Formulas are written as in the views.
    calls: in the order of the runs; "numbers" marks those whose numbers alone moved, by the same formulas.
    """
    words = Words(d.old), Words(d.new)
    return {
        "diff": DIFF_VERSION,
        "equal": d.equal,
        "old": _head(d.old.header),
        "new": _head(d.new.header),
        "versions": {k: list(pair) for k, pair in d.versions.items()},
        "facts": [
            {"topic": f.topic, "name": f.name, "old": _plain(f.old, words[0]), "new": _plain(f.new, words[1])}
            for f in d.facts
        ],
        "totals": {
            part: [getattr(t.root.cost, part).size for t in (d.old, d.new)] for part in ("flops", "params", "bytes")
        } | {"calls": [_calls(t) for t in (d.old, d.new)]},
        "counts": dict(d.counts),
        "stages": [{"stage": s.stage, "old": _cost(s.old), "new": _cost(s.new)} for s in d.stages],
        "calls": list(_rows(d.root, words)),
    }  # fmt: skip


def _head(h: Header) -> dict[str, Any]:
    return {"model": h.model, "checkpoint": h.checkpoint, "dtype": h.dtype, "request": dict(h.request),
            "versions": dict(h.versions)}  # fmt: skip


def _calls(trace: Trace) -> int:
    return sum(1 for _ in trace.walk())


def _cost(cost: Cost | None) -> dict[str, int] | None:
    return None if cost is None else {"flops": cost.flops.size, "params": cost.params.size, "bytes": cost.bytes.size}


def _rows(pair: Pair, words: tuple[Words, Words]) -> Iterator[dict[str, Any]]:
    if pair.status != "same":
        sides = pair.old, pair.new
        row: dict[str, Any] = {
            "status": pair.status,
            "stage": pair.stage,
            "kind": pair.call.kind,
            "path": [c and c.path for c in sides],
            "name": [c and c.name for c in sides],
            "repeat": [c and c.repeat for c in sides],
        }
        if pair.old is None or pair.new is None:
            row["outputs"] = {k: _plain(v, words[pair.old is None]) for k, v in pair.call.outputs.items()}
            row["calls"] = sum(1 for _ in pair.call.walk())
            row["cost"] = _cost(pair.call.all_cost)
        else:
            row["changes"] = [
                {"part": c.part, "name": c.name, "old": _plain(c.old, words[0]), "new": _plain(c.new, words[1]),
                 "follows": c.follows}
                for c in pair.changes
            ]  # fmt: skip
        yield row
    for child in pair.children:
        yield from _rows(child, words)


def _plain(value: Any, words: Words) -> Any:
    """Any part of a trace as JSON has it: tensors and sizes with their formulas as text."""
    if isinstance(value, TensorSpec):
        return {"shape": words.shape(value), "sizes": list(value.sizes), "dtype": value.dtype}
    if isinstance(value, Dim):
        formula = {"formula": words.written(value.formula)} if value.formula is not None else {}
        return {"size": value.size, **formula}
    if isinstance(value, Symbol):
        formula = {"formula": words.written(value.formula, but=value.symbol)} if value.formula is not None else {}
        return {"name": value.name, "value": value.value, **formula}
    if isinstance(value, tuple | list):
        return [_plain(v, words) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v, words) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)
