"""From the recorder's nodes to the frozen tree: names, places, sizes, parameters."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from types import CodeType
from typing import Any

import torch
from torch import nn

from tracer.calls import TENSOR, Attr, Call, Header, Slice, Source, Trace
from tracer.cost import with_costs
from tracer.lines import Lines
from tracer.nodes import Node, Op, Place, Spec, Symbolic, Varied, bare
from tracer.shapes import Dim, TensorSpec
from tracer.sources import class_line, function_line, line_at, names_at, relative

Parameters = list[tuple[str, bool]]
"""Of a forward: its parameters' names, and whether they gather positional arguments."""


def parameters_of(kind: type[nn.Module]) -> Parameters:
    """The parameters of a module class's forward; none where it has no Python signature."""
    try:
        found = list(inspect.signature(kind.forward).parameters.values())[1:]
    except (TypeError, ValueError, AttributeError):
        return []
    return [(p.name, p.kind is p.VAR_POSITIONAL) for p in found]


def bind(parameters: Parameters, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The arguments of a forward by parameter name."""
    out: list[tuple[str, Any]] = []
    for i, value in enumerate(args):
        named = i < len(parameters) and not parameters[i][1]
        out.append((parameters[i][0] if named else str(i), value))
    out.extend(kwargs.items())
    return out


def trace_of(
    name: str, models: Iterable[nn.Module], root: Node, codes: Mapping[int, CodeType], error: str | None,
    lines: Lines | None = None,
) -> Trace:  # fmt: skip
    """The frozen trace of one recorded call, made of these models. `codes` are the code objects behind the sites."""
    modules = list({id(m): m for model in models for m in model.modules()}.values())
    parameters = {id(p): p for m in modules for p in m._parameters.values() if p is not None}
    buffers = {id(b): b for module in modules for n, b in module._buffers.items()
               if b is not None and n not in module._non_persistent_buffers_set}  # fmt: skip
    header = Header(
        model=name,
        versions=_versions("torch", "diffusers"),
        params=sum(p.numel() for p in parameters.values()),
        buffers=sum(b.numel() for b in buffers.values()),
        error=error,
        warnings=tuple(lines.remarks) if lines is not None else (),
        sources=lines.sources() if lines is not None else {},
    )
    return with_costs(Trace(header, _Builder(codes).module(root)))


def _versions(*packages: str) -> dict[str, str]:
    """The versions of those that are loaded; none is loaded to ask."""
    out: dict[str, str] = {}
    for package in packages:
        if package in sys.modules:
            try:
                out[package] = version(package).partition("+")[0]
            except PackageNotFoundError:  # run from a source folder
                out[package] = str(getattr(sys.modules[package], "__version__", "unknown"))
    return out


class _Builder:
    """Turns nodes into calls; equal specs and equal operations become the same objects."""

    def __init__(self, codes: Mapping[int, CodeType]) -> None:
        self.codes = codes
        self.specs: dict[Spec, TensorSpec] = {}

    def spec(self, spec: Spec) -> TensorSpec:
        known = self.specs.get(spec)
        if known is None:
            known = self.specs[spec] = TensorSpec(tuple(size(s) for s in spec.shape), spec.dtype)
        return known

    def place(self, call: Node | Op) -> tuple[Source | None, list[str], list[str | None]]:
        """Where a call stands, what its results are called, and what it is made from."""
        if call.site is None:
            return None, [], []
        code, instruction = self.codes[call.site[0]], call.site[1]
        source = Source(relative(code.co_filename), line_at(code, instruction), code.co_qualname)
        return source, *names_at(code, instruction)

    def op(self, op: Op, path: str) -> Call:
        source, targets, operands = self.place(op)
        return Call(
            kind="op", path=path, name=op.name,
            inputs={k: self.spec(s) for k, s in _named(op.inputs, operands)},
            outputs={k: self.spec(s) for k, s in _titled(op.outputs, targets)},
            attrs={k: attr(v) for k, v in op.attrs},
            fresh=op.fresh,
            source=source,
        )  # fmt: skip

    def module(self, node: Node) -> Call:
        source, targets, _ = self.place(node)
        return Call(
            kind=node.kind, path=node.path, name=node.name,
            inputs={k: self.spec(s) for k, s in node.inputs},
            outputs={k: self.spec(s) for k, s in _titled(node.outputs, targets)},
            attrs={k: attr(v) for k, v in node.attrs},
            weights={name: self.spec(spec) for name, spec, first in node.weights if first},
            source=source,
            defined=_defined(node),
            children=tuple(
                [self.op(c, node.path) if isinstance(c, Op) else self.module(c) for c in node.children]
            ),
            repeat=node.repeat,
            opaque=node.opaque,
            lines=dict(sorted(node.lines.items())) if node.lines is not None else None,
        )  # fmt: skip


def _defined(node: Node) -> Source | None:
    if node.kind == "step":
        return None
    return function_line(node.code) if isinstance(node.code, CodeType) else class_line(node.code)


def _named(inputs: list[tuple[str, Spec]], operands: list[str | None]) -> list[tuple[str, Spec]]:
    positional = [i for i, (k, _) in enumerate(inputs) if k.isdigit()]
    names = [operands[int(inputs[i][0])] if int(inputs[i][0]) < len(operands) else None for i in positional]
    keep = {k for k, _ in inputs if not k.isdigit()}
    out = list(inputs)
    for i, name in zip(positional, names, strict=True):
        if name and names.count(name) == 1 and name not in keep:
            out[i] = (name, inputs[i][1])
    return out


def _titled(outputs: list[tuple[str, Spec]], targets: list[str]) -> list[tuple[str, Spec]]:
    """Outputs under the names they are assigned to: `a, b = f()` names '0' and '1', `x = f()` only '0'."""
    places = [k.partition(".") for k, _ in outputs]
    if not targets or len(set(targets)) != len(targets) or not all(p[0].isdecimal() for p in places):
        return outputs
    if len(targets) == 1:
        alone = len(outputs) == 1 and outputs[0][0] == "0"
        return [(targets[0] if alone else f"{targets[0]}.{k}", s) for k, s in outputs]
    if any(int(first) >= len(targets) for first, _, _ in places):
        return outputs
    return [
        (targets[int(first)] + dot + rest, s)
        for (first, dot, rest), (_, s) in zip(places, outputs, strict=True)
    ]  # fmt: skip


def size(value: Any) -> Dim:
    """One size; torch's symbolic integers are read by `tracer.symbolic`, which is loaded only for them."""
    if isinstance(value, torch.SymInt):
        from tracer.symbolic import dim_of

        return dim_of(value)
    return Dim(int(value))


def attr(value: Any) -> Attr:
    """An argument as it is kept in a call."""
    value = bare(value)
    if isinstance(value, Varied):
        return _range(value)
    if isinstance(value, Symbolic):
        return size(value.value) if isinstance(value.value, torch.SymInt) else value.text
    if isinstance(value, Spec):
        return TENSOR
    if isinstance(value, torch.dtype):
        return str(value).removeprefix("torch.")
    if isinstance(value, Place):
        return Slice(*(size(bound) if bound is not None else None for bound in map(_whole, value)))
    if isinstance(value, tuple):
        return tuple(attr(v) for v in value)
    if isinstance(value, bool) or value is None or isinstance(value, float | str):
        return value
    return size(value)


def _whole(bound: Any) -> Any:
    bound = bound.value if isinstance(bound, Symbolic) else bare(bound)
    return bound if isinstance(bound, int | torch.SymInt) else None


def _range(varied: Varied) -> str:
    """The values of a number that changes from pass to pass: `0:3, 3:5 … 11:13`."""
    texts = [_plain(v) for v in varied]
    return ", ".join(texts) if len(texts) <= 3 else f"{texts[0]}, {texts[1]} … {texts[-1]}"


def _plain(value: Any) -> str:
    value = bare(value)
    if isinstance(value, Place):
        start, stop, step = (_plain(v) if v is not None else "" for v in value)
        return f"{start}:{stop}" + f":{step}" * bool(step)
    if isinstance(value, tuple):
        return "(" + ", ".join(map(_plain, value)) + ")"
    return "_" if isinstance(value, Spec) else f"{value:.6g}" if isinstance(value, float) else str(value)
