"""Traces as JSON, both ways. What is empty is left out; `trace.schema.json` describes the result."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from tracer.calls import SCHEMA_VERSION, Attr, Call, Cost, Header, Remark, Slice, Source, Symbol, Trace
from tracer.errors import BadConfig
from tracer.formula import Formula
from tracer.shapes import ZERO, Dim, TensorSpec


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """The whole trace as plain data."""
    h = trace.header
    header = _kept(
        model=h.model, checkpoint=h.checkpoint, family=h.family, dtype=h.dtype, request=dict(h.request),
        versions=dict(h.versions), config={k: _plain(v) for k, v in h.config.items()},
        legend=[_symbol_to_json(s) for s in h.legend], constraints=list(h.constraints),
        warnings=list(h.warnings), params=h.params, buffers=h.buffers, source=h.source, error=h.error,
    )  # fmt: skip
    return {"schema": SCHEMA_VERSION, "header": header, "root": _call_to_json(trace.root)}


def trace_from_json(data: Mapping[str, Any]) -> Trace:
    """The inverse; raises BadConfig for another schema version or a missing part."""
    version = data.get("schema")
    if version != SCHEMA_VERSION:
        raise BadConfig(
            f"This is not a trace this version reads: its schema is {version!r}, {SCHEMA_VERSION} is expected."
        )
    try:
        h = dict(data["header"])
        h["legend"] = tuple(_symbol_from_json(s) for s in h.get("legend", ()))
        for key in ("constraints", "warnings"):
            h[key] = tuple(h.get(key, ()))
        return Trace(Header(**h), _call_from_json(data["root"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadConfig(f"This is not a whole trace: {type(error).__name__} at {error}.") from None


def _kept(**parts: Any) -> dict[str, Any]:
    return {k: v for k, v in parts.items() if v not in (None, (), [], {}, 0) or v is False}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def _symbol_to_json(s: Symbol) -> dict[str, Any]:
    data = {"symbol": s.symbol, "name": s.name, "value": s.value, "meaning": s.meaning}
    formula = s.formula.to_json() if s.formula is not None else None
    return data | _kept(formula=formula, field=s.field, fixed=s.fixed, number=s.number or None)


def _symbol_from_json(data: Mapping[str, Any]) -> Symbol:
    formula = Formula.from_json(data["formula"]) if "formula" in data else None
    return Symbol(**{**data, "formula": formula})


def _call_to_json(c: Call) -> dict[str, Any]:
    cost = _kept(
        flops=_count(c.cost.flops), params=_count(c.cost.params), bytes=_count(c.cost.bytes)
    )  # fmt: skip
    return {"kind": c.kind, "path": c.path, "name": c.name} | _kept(
        inputs={k: v.to_json() for k, v in c.inputs.items()},
        outputs={k: v.to_json() for k, v in c.outputs.items()},
        attrs={k: _attr_to_json(v) for k, v in c.attrs.items()},
        weights={k: v.to_json() for k, v in c.weights.items()},
        fresh=list(c.fresh),
        source=_source_to_json(c.source),
        defined=_source_to_json(c.defined),
        cost=cost,
        repeat=c.repeat if c.repeat != 1 else None,
        repeat_formula=c.repeat_formula.to_json() if c.repeat_formula is not None else None,
        stage=c.stage,
        remark=dataclasses.asdict(c.remark) if c.remark is not None else None,
        opaque=c.opaque,
        lines={str(k): v for k, v in c.lines.items()} if c.lines is not None else None,
        children=[_call_to_json(child) for child in c.children],
    )


def _call_from_json(d: Mapping[str, Any]) -> Call:
    cost = {k: Dim.from_json(v) for k, v in d.get("cost", {}).items()}
    return Call(
        kind=d["kind"], path=d["path"], name=d["name"],
        inputs={k: TensorSpec.from_json(v) for k, v in d.get("inputs", {}).items()},
        outputs={k: TensorSpec.from_json(v) for k, v in d.get("outputs", {}).items()},
        attrs={k: _attr_from_json(v) for k, v in d.get("attrs", {}).items()},
        weights={k: TensorSpec.from_json(v) for k, v in d.get("weights", {}).items()},
        fresh=tuple(d.get("fresh", ())),
        source=Source(**d["source"]) if "source" in d else None,
        defined=Source(**d["defined"]) if "defined" in d else None,
        cost=Cost(**cost),
        children=tuple(_call_from_json(c) for c in d.get("children", ())),
        repeat=d.get("repeat", 1),
        repeat_formula=Formula.from_json(d["repeat_formula"]) if "repeat_formula" in d else None,
        stage=d.get("stage"),
        remark=Remark(**d["remark"]) if "remark" in d else None,
        opaque=d.get("opaque"),
        lines={int(k): v for k, v in d["lines"].items()} if "lines" in d else None,
    )  # fmt: skip


def _count(dim: Dim) -> Any:
    return dim.to_json() if dim != ZERO else None


def _source_to_json(s: Source | None) -> dict[str, Any] | None:
    return {"file": s.file, "line": s.line, "function": s.function} if s else None


def _attr_to_json(value: Attr) -> Any:
    if isinstance(value, Dim):
        return {"dim": value.to_json()}
    if isinstance(value, Slice):
        return {"slice": [part.to_json() if part is not None else None for part in value]}
    if isinstance(value, tuple):
        return [_attr_to_json(v) for v in value]
    if isinstance(value, float) and not -1e308 < value < 1e308:
        return {"float": str(value)}  # JSON has no infinity
    return value


def _attr_from_json(value: Any) -> Attr:
    if isinstance(value, Mapping):
        if "dim" in value:
            return Dim.from_json(value["dim"])
        if "float" in value:
            return float(value["float"])
        return Slice(*(Dim.from_json(part) if part is not None else None for part in value["slice"]))
    if isinstance(value, list):
        return tuple(_attr_from_json(v) for v in value)
    return value
