"""Which functions are running: the Python frames between an operation and its module's forward."""

from __future__ import annotations

import inspect
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

from tracer.nodes import Node, Site, Specs

_CALL_IMPL = nn.Module._call_impl.__code__
_CALLED = nn.Module._wrapped_call_impl.__code__
_TORCH_INNER = (
    "torch/overrides.py", "torch/nn/functional.py", "torch/functional.py", "torch/_tensor.py",
    "torch/_jit_internal.py", "torch/nn/modules/module.py", "torch/utils/_contextlib.py",
    "torch/utils/checkpoint.py", "torch/utils/_device.py", "torch/_compile.py", "torch/_dynamo/",
)  # fmt: skip
_OWN = ("tracer/recorder.py", "tracer/scopes.py")
_ANONYMOUS = ("<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>", "<module>")

_inner: dict[int, tuple[bool, CodeType]] = {}  # by id, because code objects hash slowly; kept, so ids stay


def _is_inner(code: CodeType) -> bool:
    known = _inner.get(id(code))
    if known is None:
        file = code.co_filename.replace("\\", "/")
        inner = any(part in file for part in _TORCH_INNER) or file.endswith(_OWN)
        known = _inner[id(code)] = (inner, code)
    return known[0]


def code_of(site: Site) -> CodeType:
    """The code object behind a site."""
    return _inner[site[0]][1]


def caller(frame: FrameType | None) -> FrameType | None:
    """The frame that called the module in whose hook we are."""
    while frame is not None and frame.f_code is not _CALLED:
        frame = frame.f_back
    return frame.f_back if frame is not None else None


_forwards: dict[type, CodeType | None] = {}


def _forward_code(module: nn.Module) -> CodeType | None:
    kind = type(module)
    if kind not in _forwards:
        function = inspect.unwrap(kind.forward)
        _forwards[kind] = getattr(function, "__code__", None)
    return _forwards[kind]


class Scopes:
    """For every running module, the functions that are open in it, outermost first.

    Frames are held while their function is open, so that a new call of the same function cannot be taken
    for the old one; they are let go at the next operation outside of it, at the latest when the module ends.
    """

    def __init__(self, specs: Specs) -> None:
        self._specs = specs
        self._open: list[list[tuple[FrameType, Node]]] = []
        self._forward: list[CodeType | None] = []
        self.site: Site | None = None

    def push(self, module: nn.Module) -> None:
        """A module starts."""
        self._open.append([])
        self._forward.append(_forward_code(module))

    def pop(self) -> None:
        """The innermost module ends."""
        self._open.pop()
        self._forward.pop()

    def clear(self) -> None:
        """Let go of everything."""
        self._open.clear()
        self._forward.clear()
        self.site = None

    def is_open(self, scope: Node, *, besides_last: bool = False) -> bool:
        """Whether a function is still running, as far as has been seen; the innermost module's may be left out."""
        levels = self._open[:-1] if besides_last else self._open
        return any(node is scope for level in levels for _, node in level)

    def enter(self, frame: FrameType | None, module: Node) -> Node:
        """Open and close functions to match the running frames; returns the node that new calls go under.

        Sets `site` to the place of the call.
        """
        while frame is not None and _is_inner(frame.f_code):
            if frame.f_code is _CALL_IMPL:
                frame = None
                break
            frame = frame.f_back
        if frame is None:
            self.site = None
            return module
        code = frame.f_code
        self.site = (id(code), frame.f_lasti, frame.f_lineno)
        level = self._open[-1]
        forward = self._forward[-1]
        if code is forward:  # by far the commonest: the operation stands in the forward itself
            if level:
                level.clear()
            return module
        inside = [] if code.co_name in _ANONYMOUS else [frame]
        deepest = 0
        up = frame.f_back
        while up is not None and up.f_code is not _CALL_IMPL:
            if up.f_code is forward:
                deepest = len(inside)
                forward = None  # only the innermost forward counts: wrappers around it are no scopes
            elif not _is_inner(up.f_code) and up.f_code.co_name not in _ANONYMOUS:
                inside.append(up)
            up = up.f_back
        inside = inside[: deepest if forward is None else -1]
        inside.reverse()
        keep = 0
        while keep < len(level) and keep < len(inside) and level[keep][0] is inside[keep]:
            keep += 1
        del level[keep:]
        parent = level[-1][1] if level else module
        for running in inside[keep:]:
            node = self._function(running, module.path, parent)
            parent.add(node)
            level.append((running, node))
            parent = node
        return parent

    def _function(self, frame: FrameType, path: str, parent: Node) -> Node:
        code = frame.f_code
        local = frame.f_locals
        owner = local.get("self")
        name = code.co_name
        if name == "__call__" and owner is not None:
            name = type(owner).__name__
        node = Node("function", name, path, parent, call_site(frame.f_back))
        node.code = code
        node.inputs = []
        with torch._C.DisableTorchFunction():
            for argument in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]:
                value: Any = local.get(argument)
                if isinstance(value, torch.Tensor):
                    node.inputs.append((argument, self._specs.of(value)))
                elif isinstance(value, tuple | list):
                    node.inputs.extend(
                        (f"{argument}.{i}", self._specs.of(v))
                        for i, v in enumerate(value) if isinstance(v, torch.Tensor)
                    )  # fmt: skip
        return node


def call_site(frame: FrameType | None) -> Site | None:
    """The nearest place outside torch's own plumbing."""
    while frame is not None and _is_inner(frame.f_code):
        frame = frame.f_back
    return (id(frame.f_code), frame.f_lasti, frame.f_lineno) if frame is not None else None
