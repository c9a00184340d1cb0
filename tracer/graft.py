"""What is known of a model, set onto its calls inside a pipeline: formulas, stages and notes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from typing import Any

from tracer.calls import Attr, Call, Cost, Slice, Trace
from tracer.shapes import Dim, TensorSpec


def graft(whole: Trace, model: Trace, path: str) -> tuple[Trace, list[str]]:
    """The trace of a pipeline, with what another trace says of one component.

    path: the component's name. A size gets its formula only where both traces have the same number, in the same place
    of the same call; the formulas of the other trace have been verified on those numbers. Returns the paths of calls,
    too, that the other trace has not.
    """
    missed: list[str] = []

    def visit(call: Call) -> Call:
        if call.kind == "module" and call.path == path:
            return _onto(call, model.root, len(path) + 1, missed)
        children = tuple(visit(c) for c in call.children)
        same = all(a is b for a, b in zip(children, call.children, strict=True))
        return call if same else dataclasses.replace(call, children=children)

    return dataclasses.replace(whole, root=visit(whole.root)), list(dict.fromkeys(missed))


def _onto(call: Call, known: Call, start: int, missed: list[str]) -> Call:
    """A call with the formulas, stage and remark of its fellow, and so for everything below it."""
    children: list[Call] = []
    for child, fellow in _pairs(call.children, known.children, start):
        if fellow is None:
            missed.append(child.path)
        children.append(child if fellow is None else _onto(child, fellow, start, missed))
    return dataclasses.replace(
        call,
        inputs=_specs(call.inputs, known.inputs),
        outputs=_specs(call.outputs, known.outputs),
        attrs={k: _attr(v, known.attrs.get(k)) for k, v in call.attrs.items()},
        weights=_specs(call.weights, known.weights),
        cost=Cost(*(_dim(getattr(call.cost, f.name), getattr(known.cost, f.name)) for f in dataclasses.fields(Cost))),
        children=tuple(children),
        repeat_formula=known.repeat_formula if call.repeat == known.repeat else None,
        stage=known.stage,
        remark=known.remark,
    )


def _pairs(calls: Sequence[Call], known: Sequence[Call], start: int) -> Iterator[tuple[Call, Call | None]]:
    """Each call with its fellow: the same kind, name and path, in the same order."""
    ours = [(c.kind, c.name, c.path[start:], c.repeat) for c in calls]
    theirs = [(c.kind, c.name, c.path, c.repeat) for c in known]
    if ours == theirs:
        yield from zip(calls, known, strict=True)
        return
    fellows: dict[int, int] = {}
    for block in SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks():
        fellows |= {block.a + i: block.b + i for i in range(block.size)}
    for i, call in enumerate(calls):
        yield call, known[fellows[i]] if i in fellows else None


def _dim(dim: Dim, known: Dim) -> Dim:
    return known if dim.size == known.size else dim


def _specs(specs: Mapping[str, TensorSpec], known: Mapping[str, TensorSpec]) -> dict[str, TensorSpec]:
    return {k: _spec(v, known[k]) if k in known else v for k, v in specs.items()}


def _spec(spec: TensorSpec, known: TensorSpec) -> TensorSpec:
    return dataclasses.replace(spec, shape=known.shape) if spec.sizes == known.sizes else spec


def _attr(value: Attr, known: Any) -> Attr:
    if isinstance(value, Dim) and isinstance(known, Dim):
        return _dim(value, known)
    if (
        isinstance(value, tuple)
        and isinstance(known, tuple)
        and type(value) is type(known)
        and len(value) == len(known)
    ):
        parts: list[Any] = [_attr(v, k) for v, k in zip(value, known, strict=True)]
        return Slice(*parts) if isinstance(value, Slice) else tuple(parts)
    return value
