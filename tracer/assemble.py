"""From the recorder's nodes to the frozen tree: names, places, sizes, parameters."""

from __future__ import annotations

import dataclasses
import inspect
import re
from types import CodeType
from typing import Any

import torch
from torch import nn

from tracer.calls import TENSOR, Attr, Call, Header, Slice, Source, Trace
from tracer.cost import with_costs
from tracer.nodes import Node, Spec
from tracer.scopes import code_of
from tracer.shapes import Dim, Shape, TensorSpec
from tracer.sources import class_line, function_line, names_at, relative

_parameters: dict[type, list[tuple[str, bool]] | None] = {}


def bind(kind: type[nn.Module], args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[tuple[str, Any]]:
    """The arguments of a forward by parameter name."""
    if kind not in _parameters:
        try:
            parameters = list(inspect.signature(kind.forward).parameters.values())[1:]
            _parameters[kind] = [(p.name, p.kind is p.VAR_POSITIONAL) for p in parameters]
        except (TypeError, ValueError):
            _parameters[kind] = None
    names = _parameters[kind]
    out: list[tuple[str, Any]] = []
    for i, value in enumerate(args):
        if names and i < len(names) and not names[i][1]:
            out.append((names[i][0], value))
        else:
            out.append((str(i), value))
    out.extend(kwargs.items())
    return out


def tensors(value: Any, name: str = "") -> list[tuple[str, torch.Tensor]]:
    """Every tensor in a value: a tensor, or tuples, lists, dicts and dataclasses of them, keyed by place."""
    if isinstance(value, torch.Tensor):
        return [(name or "0", value)]
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    else:
        return []
    out: list[tuple[str, torch.Tensor]] = []
    for key, inner in items:
        out.extend(tensors(inner, f"{name}.{key}" if name else str(key)))
    return out


_ATOMS = frozenset({type(None), bool, int, float, str})


def plain(value: Any) -> Any:
    """An argument as hashable data; tensors become a placeholder, unknown objects their type's name."""
    if type(value) in _ATOMS:
        return value
    if isinstance(value, torch.SymInt):
        return value
    if isinstance(value, slice):
        return ("slice", plain(value.start), plain(value.stop), plain(value.step))
    if value is Ellipsis:
        return "..."
    if isinstance(value, list | tuple):
        return tuple(plain(v) for v in value)
    if isinstance(value, torch.Tensor):
        return TENSOR
    if isinstance(value, torch.dtype | torch.device | torch.layout | torch.memory_format):
        return str(value).removeprefix("torch.")
    return f"<{type(value).__name__}>"


def trace_of(model: nn.Module, root: Node, error: str | None) -> Trace:
    """The frozen trace of one recorded forward."""
    import diffusers

    parameters = {id(p): p for p in model.parameters()}
    kept = {name for module in model.modules() for name in module._non_persistent_buffers_set}
    buffers = {id(b): b for n, b in model.named_buffers() if n.rpartition(".")[2] not in kept}
    header = Header(
        model=type(model).__name__,
        versions={"torch": str(torch.__version__).partition("+")[0], "diffusers": diffusers.__version__},
        params=sum(p.numel() for p in parameters.values()),
        buffers=sum(b.numel() for b in buffers.values()),
        error=error,
    )
    return with_costs(Trace(header, _Builder().call(root)))


class _Builder:
    """Turns nodes into calls; equal specs become the same object."""

    def __init__(self) -> None:
        self.specs: dict[Spec, TensorSpec] = {}

    def spec(self, spec: Spec) -> TensorSpec:
        known = self.specs.get(spec)
        if known is None:
            known = self.specs[spec] = TensorSpec(shape(spec.shape), spec.dtype)
        return known

    def call(self, node: Node) -> Call:
        source, targets, operands = None, [], []
        if node.site is not None:
            code, (_, instruction, line) = code_of(node.site), node.site
            source = Source(relative(code.co_filename), line, code.co_qualname)
            targets, operands = names_at(code, instruction)
        defined = None
        if isinstance(node.code, CodeType):
            defined = function_line(node.code)
        elif node.code is not None:
            defined = class_line(node.code)
        inputs = node.inputs
        if node.kind == "op":
            inputs = _named(inputs, operands)
        outputs = _titled(node.outputs, targets)
        weights = {name: self.spec(spec) for name, spec, first in node.weights if first}
        return Call(
            kind=node.kind, path=node.path, name=node.name,  # type: ignore[arg-type]
            inputs={k: self.spec(s) for k, s in inputs},
            outputs={k: self.spec(s) for k, s in outputs},
            attrs={k: attr(v) for k, v in node.attrs},
            weights=weights,
            fresh=tuple(node.fresh),
            source=source, defined=defined,
            children=tuple(self.call(c) for c in node.children),
            repeat=node.repeat,
            opaque=node.opaque,
        )  # fmt: skip


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
    if not all(k.isdigit() for k, _ in outputs):
        return outputs
    if len(targets) == len(outputs) and len(set(targets)) == len(targets):
        return [(t, s) for t, (_, s) in zip(targets, outputs, strict=True)]
    if len(targets) == 1 and len(outputs) > 1:
        return [(f"{targets[0]}.{k}", s) for k, s in outputs]
    return outputs


def shape(sizes: tuple[Any, ...]) -> Shape:
    """Sizes as Dims; a symbolic size keeps its expression as formula."""
    return tuple(size(s) for s in sizes)


def size(value: Any) -> Dim:
    """One size; torch's symbolic integers are read by `tracer.symbolic`."""
    if isinstance(value, torch.SymInt):
        from tracer.symbolic import dim_of

        return dim_of(value)
    return Dim(int(value))


def attr(value: Any) -> Attr:
    """An argument as it is kept in a call."""
    if isinstance(value, bool) or value is None or isinstance(value, float | str):
        return re.sub(r"^cpu$|^meta$", "device", value) if isinstance(value, str) else value
    if isinstance(value, int | torch.SymInt):
        return size(value)
    if isinstance(value, tuple) and len(value) == 4 and value[0] == "slice":
        start, stop, step = (None if v is None else size(v) if isinstance(v, int | torch.SymInt) else None
                             for v in value[1:])  # fmt: skip
        return Slice(start, stop, step)
    if isinstance(value, tuple):
        return tuple(attr(v) for v in value)
    return str(value)
