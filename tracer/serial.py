"""Traces as JSON, both ways. What is empty is left out; `trace.schema.json` describes the result."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from tracer.calls import SCHEMA_VERSION, Attr, Call, Cost, Header, Kind, Remark, Slice, Source, Symbol, Trace
from tracer.errors import BadConfig
from tracer.formula import Formula
from tracer.shapes import ZERO, Dim, TensorSpec


def trace_to_json(trace: Trace) -> dict[str, Any]:
    """The whole trace as plain data."""
    h = trace.header
    header = _kept(
        model=h.model,
        checkpoint=h.checkpoint,
        family=h.family,
        dtype=h.dtype,
        request=dict(h.request) or None,
        versions=dict(h.versions) or None,
        config={k: _plain(v) for k, v in h.config.items()} or None,
        legend=[_symbol_to_json(s) for s in h.legend] or None,
        constraints=list(h.constraints) or None,
        warnings=list(h.warnings) or None,
        params=h.params or None,
        buffers=h.buffers or None,
        source=h.source,
        error=h.error,
        assumptions=list(h.assumptions) or None,
        compression=list(h.compression) if h.compression else None,
        sources=dict(h.sources) or None,
    )
    return {"schema": SCHEMA_VERSION, "header": header, "root": _call_to_json(trace.root)}


def trace_from_json(data: Mapping[str, Any]) -> Trace:
    """The inverse; raises BadConfig for another schema version or a missing part."""
    version = data.get("schema")
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise BadConfig(
            f"This is not a trace this version reads: its schema is {str(version)[:60]!r}, "
            f"{SCHEMA_VERSION} is expected."
        )
    try:
        _only(data, ("schema", "header", "root"))
        h = dict(data["header"])
        h["legend"] = tuple(_symbol_from_json(s) for s in h.get("legend", ()))
        for key in ("constraints", "warnings", "assumptions"):
            h[key] = tuple(h.get(key, ()))
        if "compression" in h:
            frames, pixels = h["compression"]
            h["compression"] = (frames, pixels)
        _only(h, [f.name for f in dataclasses.fields(Header)])
        return Trace(Header(**h), _call_from_json(data["root"]))
    except KeyError as error:
        raise BadConfig(f"This is not a whole trace: {str(error)[:60]} is missing.") from None
    except RecursionError:
        raise BadConfig("This is not a trace: its calls are nested too deep.") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise BadConfig(f"This is not a whole trace: {str(error)[:200].rstrip('.')}.") from None


def _only(data: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse parts that nobody reads: they would be lost on the way."""
    unknown = sorted(set(data) - set(known))
    if unknown:
        raise ValueError(f"it has a part '{unknown[0]}' that nobody knows")


def _kept(**parts: Any) -> dict[str, Any]:
    return {k: v for k, v in parts.items() if v is not None}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)  # JSON has no infinity
    return value if isinstance(value, str | int | float | bool | type(None)) else str(value)


def _symbol_to_json(s: Symbol) -> dict[str, Any]:
    data = {"symbol": s.symbol, "name": s.name, "value": s.value, "meaning": s.meaning}
    formula = s.formula.to_json() if s.formula is not None else None
    return data | _kept(formula=formula, field=s.field, fixed=s.fixed, number=s.number or None)


def _symbol_from_json(data: Mapping[str, Any]) -> Symbol:
    _only(data, [f.name for f in dataclasses.fields(Symbol)])
    return Symbol(**{**data, "formula": _formula(data.get("formula"))})


def _call_to_json(c: Call) -> dict[str, Any]:
    cost = _kept(
        flops=_count(c.cost.flops), params=_count(c.cost.params), bytes=_count(c.cost.bytes)
    )  # fmt: skip
    return {"kind": c.kind, "path": c.path, "name": c.name} | _kept(
        inputs={k: v.to_json() for k, v in c.inputs.items()} or None,
        outputs={k: v.to_json() for k, v in c.outputs.items()} or None,
        attrs={k: _attr_to_json(v) for k, v in c.attrs.items()} or None,
        weights={k: v.to_json() for k, v in c.weights.items()} or None,
        fresh=list(c.fresh) or None,
        source=_source_to_json(c.source),
        defined=_source_to_json(c.defined),
        cost=cost or None,
        repeat=c.repeat if c.repeat != 1 else None,
        repeat_formula=c.repeat_formula.to_json() if c.repeat_formula is not None else None,
        stage=c.stage,
        remark=dataclasses.asdict(c.remark) if c.remark is not None else None,
        opaque=c.opaque,
        lines={str(k): v for k, v in c.lines.items()} if c.lines is not None else None,
        children=[_call_to_json(child) for child in c.children] or None,
    )


def _call_from_json(d: Mapping[str, Any]) -> Call:
    _only(d, _CALL_PARTS)
    if d["kind"] not in get_args(Kind):
        raise ValueError(f"'{str(d['kind'])[:60]}' is no kind of call")
    return Call(
        kind=d["kind"], path=_text(d["path"]), name=_text(d["name"]),
        inputs=_specs(d, "inputs"),
        outputs=_specs(d, "outputs"),
        attrs={k: _attr_from_json(v) for k, v in d.get("attrs", {}).items()},
        weights=_specs(d, "weights"),
        fresh=tuple(d.get("fresh", ())),
        source=Source(**d["source"]) if "source" in d else None,
        defined=Source(**d["defined"]) if "defined" in d else None,
        cost=Cost(**{k: _dim(v) for k, v in d.get("cost", {}).items()}),
        children=tuple(_call_from_json(c) for c in d.get("children", ())),
        repeat=_number(d.get("repeat", 1)),
        repeat_formula=_formula(d.get("repeat_formula")),
        stage=d.get("stage"),
        remark=Remark(**d["remark"]) if "remark" in d else None,
        opaque=d.get("opaque"),
        lines={int(k): _number(v) for k, v in d["lines"].items()} if "lines" in d else None,
    )  # fmt: skip


_CALL_PARTS = frozenset(f.name for f in dataclasses.fields(Call))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a text is expected, not {type(value).__name__}")
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"a whole number is expected, not {type(value).__name__}")
    return value


def _formula(data: Any) -> Formula | None:
    if data is None:
        return None
    for coefficient, powers in data:
        for exponent in ({} | powers).values():
            _number(exponent)
        if not isinstance(coefficient, int | str):
            raise TypeError(f"a coefficient is a whole number or 'a/b', not {type(coefficient).__name__}")
    return Formula.from_json(data)


def _dim(data: Any) -> Dim:
    if not isinstance(data, Mapping):
        return Dim(_number(data))
    _only(data, ("size", "formula", "name"))
    return Dim(_number(data["size"]), _formula(data.get("formula")), data.get("name"))


def _specs(d: Mapping[str, Any], part: str) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(tuple(map(_dim, spec["shape"])), _text(spec["dtype"]))
        for name, spec in d.get(part, {}).items()
    }


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
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}  # JSON has no infinity
    return value


def _attr_from_json(value: Any) -> Attr:
    match value:
        case {"dim": dim}:
            return _dim(dim)
        case {"float": text}:
            return float(text)
        case {"slice": [start, stop, step]}:
            return Slice(*(_dim(part) if part is not None else None for part in (start, stop, step)))
        case list():
            return tuple(_attr_from_json(v) for v in value)
        case str() | float() | bool() | None:
            return value
        case int():  # a tool in between may have written 1.0 as 1; whole numbers are dims
            return float(value)
    raise ValueError(f"{str(value)[:60]!r} is no argument")
