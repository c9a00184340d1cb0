"""Where we are: the modules of a model, and the Python frames between an operation and its module's forward."""

from __future__ import annotations

import ast
import contextlib
import inspect
import opcode
import os
from collections.abc import Mapping
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import torch
from torch import nn

from tracer.lines import Lines
from tracer.nodes import Equals, Named, Node, Op, Site, Specs
from tracer.sources import place_of, position_at, returned_at

_CALL_IMPL = nn.Module._call_impl.__code__
_CALLED = nn.Module._wrapped_call_impl.__code__
_APPLY = nn.Module._apply.__code__  # what .to() of a module does
_HERE = Path(__file__).parent
_OWN = tuple(
    str(_HERE / f"{name}.py")
    for name in ("recorder", "pipelines", "scopes", "passes", "nodes", "lines", "probes/attach", "probes/watched")
)
_TORCH = str(Path(torch.__file__).parent / "_")[:-1]  # with the separator: torchvision is no part of torch
_TORCH_MODULES = (str(Path(_TORCH, "nn", "modules")), str(Path(_TORCH, "ao")))
_MODULE = nn.Module._call_impl.__code__.co_filename
_STDLIB = str(Path(contextlib.__file__).parent / "_")[:-1]
_HOOKS = str(Path("diffusers", "hooks", "hooks.py"))  # calls a module's forward as torch does
_MOVERS = tuple(str(Path("diffusers", "hooks", f"{name}.py")) for name in ("group_offloading", "layerwise_casting"))
MOVES = 2
_ANONYMOUS = frozenset({"<listcomp>", "<genexpr>", "<dictcomp>", "<setcomp>", "<lambda>", "__torch_function__"})
_RETURNS = frozenset(opcode.opmap[name] for name in ("RETURN_VALUE", "RETURN_CONST") if name in opcode.opmap)
_SUSPENDING = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR


class _Level:
    """One running module: its call in torch's own code, its forward, and the functions open in it."""

    __slots__ = ("base", "code", "forward", "node", "open")

    def __init__(self, node: Node, base: FrameType | None, code: CodeType | None) -> None:
        self.node = node
        self.base = base
        self.code = code
        self.forward: FrameType | None = None  # not known before its first operation
        self.open: list[tuple[FrameType, Node]] = []


class Scopes:
    """For every running module, the functions that are open in it, outermost first.

    Frames are held while their function is open, so that a new call of the same function cannot be taken for
    the old one; they are let go before the next operation outside of it, at the latest when the module ends.
    What a function returned is read from its frame then: its `return` says which names or calls it gave back.
    """

    def __init__(self, specs: Specs, equals: Equals) -> None:
        self._specs = specs
        self._equals = equals
        self._levels: list[_Level] = []
        self._forwards: dict[type, CodeType | None] = {}
        self._inner: dict[int, int] = {}
        self._returns: dict[Site, ast.expr | None] = {}
        self.codes: dict[int, CodeType] = {}  # every code object met, so that its id stays its own
        self.site: Site | None = None
        self.lines: Lines | None = None  # where lines are counted

    def push(self, node: Node, module: nn.Module | None, frame: FrameType | None) -> None:
        """A module starts; `frame` is that of the call in torch's own code."""
        kind = type(module)
        if kind not in self._forwards:
            forward = getattr(kind, "forward", None)
            function = inspect.unwrap(forward) if callable(forward) else None
            self._forwards[kind] = getattr(function, "__code__", None)
        self._levels.append(_Level(node, frame, self._forwards[kind]))

    def pop(self) -> None:
        """The innermost module ends."""
        level = self._levels.pop()
        if level.open:
            self._end(level, 0)

    def clear(self) -> None:
        """Let go of every frame."""
        self._levels.clear()
        self.site = None

    def enter(self, frame: FrameType | None) -> Node | None:
        """Open and close functions to match the running frames; returns the node that new calls go under.

        Sets `site` to the place of the call. None for what only moves weights about.
        """
        level = self._levels[-1]
        base = level.base
        inner = self._inner
        while frame is not None:
            known = inner.get(id(frame.f_code))
            if known is None:
                known = self._is_inner(frame.f_code)
            if not known:
                break
            if known == MOVES:
                self.site = None
                return None
            frame = frame.f_back if frame is not base else None
        if frame is None:
            self.site = None
            return level.node
        self.site = (id(frame.f_code), frame.f_lasti)
        if frame is level.forward:  # by far the commonest: the operation stands in the forward itself
            if level.open:
                self._end(level, 0)
            return level.node
        if level.open and level.open[-1][0] is frame:
            return level.open[-1][1]
        inside = self._inside(frame, level)
        if inside is None:
            return None
        keep = 0
        while keep < len(level.open) and keep < len(inside) and level.open[keep][0] is inside[keep]:
            keep += 1
        if keep < len(level.open):
            self._end(level, keep)
        parent = level.open[-1][1] if level.open else level.node
        for running in inside[keep:]:
            parent = self._function(running, level.node.path, parent)
            level.open.append((running, parent))
        return parent

    def begun(self, code: CodeType, counts: dict[int, int]) -> bool:
        """A function starts; where it is a module's forward, its counts are the module's."""
        level = self._levels[-1] if self._levels else None
        if level is None or level.code is not code or level.node.lines is not None:
            return False
        level.node.lines = counts
        return True

    def is_model(self, code: CodeType) -> bool:
        """Whether a code object is the model's own, or its pipeline's."""
        return not self._is_inner(code)

    def call_site(self, frame: FrameType | None) -> Site | None:
        """The nearest place outside torch's own plumbing."""
        while frame is not None and self._is_inner(frame.f_code):
            frame = frame.f_back
        return (id(frame.f_code), frame.f_lasti) if frame is not None else None

    def _is_inner(self, code: CodeType) -> int:
        """Whether a frame is no row: 0 if it is one."""
        known = self._inner.get(id(code))
        if known is None:
            known = self._inner[id(code)] = MOVES if _is_mover(code) else int(_is_plumbing(code))
            self.codes[id(code)] = code
        return known

    def _inside(self, frame: FrameType | None, level: _Level) -> list[FrameType] | None:
        """The functions running between the module's forward and a frame, outermost first.

        None for what weights are moved about by, around the forward.
        """
        moves = False
        inside: list[FrameType] = []
        forward: FrameType | None = None
        outermost = frame
        depth = 0
        while frame is not None and frame is not level.base:
            if frame is level.forward:
                forward, depth = frame, len(inside)
                break
            code = frame.f_code
            if code is level.code:  # the outermost forward counts: an inner one is a recursion
                forward, depth = frame, len(inside)
            known = self._is_inner(code)
            if not known:
                outermost = frame
                if is_function(code):
                    inside.append(frame)
            moves = moves or known == MOVES
            frame = frame.f_back
        if forward is not None:
            level.forward = forward
            inside = inside[:depth]  # wrappers around the forward are no scopes
        elif moves:
            return None
        elif inside and inside[-1] is outermost:
            inside.pop()  # a forward put in the place of the class's own
        inside.reverse()
        return inside

    def _function(self, frame: FrameType, path: str, parent: Node) -> Node:
        code = frame.f_code
        local = frame.f_locals
        owner = local.get("self")
        name = code.co_name
        if name == "__call__" and owner is not None:
            name = type(owner).__name__
        node = Node("function", name, path, parent, self.call_site(frame.f_back), code)
        node.lines = self.lines.of(frame) if self.lines is not None else None
        with torch._C.DisableTorchFunction():
            node.inputs = [
                found
                for argument in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
                for found in self._given(local.get(argument), argument)
            ]
        forget(local)
        parent.children.append(node)
        return node

    def _given(self, value: Any, name: str) -> Named:
        if isinstance(value, torch.Tensor | tuple | list):
            return self._specs.found(value, name)
        return []

    def _end(self, level: _Level, keep: int) -> None:
        """Close functions from the innermost on until `keep` are left open."""
        while len(level.open) > keep:
            self.finish(*level.open.pop())

    def finish(self, frame: FrameType, node: Node) -> None:
        """A function has ended: note what it returned."""
        parent = node.parent
        node.outputs = self.returned(frame, node)
        self._equals.close(node)
        if not node.children and parent is not None:  # it only asked for sizes and the like
            parent.children.remove(node)

    def returned(self, frame: FrameType, node: Node) -> Named:
        """The tensors that a function gave back, where its source says which."""
        site = (id(frame.f_code), frame.f_lasti)
        if site not in self._returns:
            self._returns[site] = returned_at(frame.f_code, frame.f_lasti) if ended(frame) else None
        expression = self._returns[site]
        if expression is None:
            return []
        local = frame.f_locals
        with torch._C.DisableTorchFunction():
            found = self._value(expression, "", local, node, frame.f_code)
        forget(local)
        return found

    def _value(self, expression: ast.expr, key: str, local: dict[str, Any], node: Node, code: CodeType) -> Named:
        """The tensors in a returned expression: names are local variables, calls are children of the node."""
        match expression:
            case ast.Name(id=name):
                return self._specs.found(local.get(name), key)
            case ast.NamedExpr(value=value):
                return self._value(value, key, local, node, code)
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                keyed = [(str(i), part) for i, part in enumerate(parts)]
            case ast.Dict(keys=names, values=parts):
                keyed = [(str(n.value), p) for n, p in zip(names, parts, strict=True) if isinstance(n, ast.Constant)]
            case ast.IfExp(body=body, orelse=orelse):
                either = [self._value(e, key, local, node, code) for e in (body, orelse)]
                either = [e for i, e in enumerate(either) if e and e not in either[:i]]
                return either[0] if len(either) == 1 else []
            case _:
                made = _made_at(expression, node, code)
                if made is not None:
                    return [(_joined(key, k, made.outputs), spec) for k, spec in made.outputs]
                keyed = _packed(expression)
        return [
            found
            for name, part in keyed
            for found in self._value(part, f"{key}.{name}" if key else name, local, node, code)
        ]


def _made_at(expression: ast.expr, node: Node, code: CodeType) -> Node | Op | None:
    """The child that computed an expression."""
    wanted = place_of(expression)
    for child in reversed(node.children):
        site = child.site
        if site is not None and site[0] == id(code) and position_at(code, site[1]) == wanted:
            return child
    return None


def _joined(key: str, inner: str, outputs: Named) -> str:
    if not key:
        return inner
    return key if len(outputs) == 1 and inner == "0" else f"{key}.{inner}"


def _packed(expression: ast.expr) -> list[tuple[str, ast.expr]]:
    """The parts of what only packs: tuple(...), list(...), or the constructor of an output class."""
    match expression:
        case ast.Call(func=ast.Name(id="tuple" | "list"), args=[part]):
            return [("", part)]
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name), args=parts, keywords=named):
            if name[:1].isupper():
                keyed = [(str(i), part) for i, part in enumerate(parts)]
                return keyed + [(k.arg, k.value) for k in named if k.arg]
    return []


def ended(frame: FrameType) -> bool:
    """Whether a function that runs no more has returned; an exception ends elsewhere."""
    return frame.f_code.co_code[frame.f_lasti] in _RETURNS


def forget(local: Any) -> None:
    """Empty the variables that a frame gave out."""
    # until Python 3.12 a frame keeps the dict it gave out, and with it tensors that the function lets go of
    if type(local) is dict:
        local.clear()


def is_function(code: CodeType) -> bool:
    """Whether a frame is a row of its own: comprehensions, generators, lambdas and class bodies are not."""
    flags = code.co_flags
    return bool(flags & inspect.CO_OPTIMIZED) and not flags & _SUSPENDING and code.co_name not in _ANONYMOUS


def _is_plumbing(code: CodeType) -> bool:
    """Whether a frame belongs to torch, the standard library or the recorder, not to the model."""
    file = code.co_filename
    if code.co_name == "__torch_function__" or file.startswith(_OWN) or file.endswith(_HOOKS):
        return True
    if file.startswith(_TORCH):
        return not file.startswith(_TORCH_MODULES) or file == _MODULE
    return file.startswith(_STDLIB) and "-packages" not in file


def _is_mover(code: CodeType) -> bool:
    """Whether a frame moves or casts weights, as the offloading of diffusers and accelerate does."""
    if code is _APPLY:
        return True
    return code.co_filename.endswith(_MOVERS) or f"{os.sep}accelerate{os.sep}" in code.co_filename


def call_frame(frame: FrameType | None) -> FrameType | None:
    """The frame of torch's `Module._call_impl` in whose hook we are."""
    while frame is not None and frame.f_code is not _CALL_IMPL:
        frame = frame.f_back
    return frame


def caller(frame: FrameType | None) -> FrameType | None:
    """The frame that called the module in whose hook we are."""
    while frame is not None and frame.f_code is not _CALLED:
        frame = frame.f_back
    return frame.f_back if frame is not None else None


def is_raising(frame: FrameType) -> bool:
    """Whether a forward hook runs because of an exception: torch then calls it from `_call_impl` itself."""
    return frame.f_code is _CALL_IMPL


Survey = tuple[dict[int, str], dict[int, nn.Module], dict[int, str]]


def survey(models: Mapping[str, nn.Module]) -> Survey:
    """Paths of the modules that can be seen (`a|b` for shared ones), all modules, why some are opaque.

    The models come with what their paths begin with.
    """
    paths: dict[int, str] = {}
    modules: dict[int, nn.Module] = {}
    opaque: dict[int, str] = {}
    above: set[int] = set()

    def visit(module: nn.Module, path: str, hidden: bool) -> None:
        number = id(module)
        if number in above:  # a module that holds its own parent
            return
        above.add(number)
        modules[number] = module
        if not hidden:
            if number in paths:
                paths[number] += f"|{path}"
            else:
                paths[number] = path
                why = _why_opaque(module)
                if why:
                    opaque[number] = why
        below = hidden or number in opaque
        for name, child in module._modules.items():
            if child is not None and not (below and id(child) in modules):
                visit(child, f"{path}.{name}" if path else name, below)
        above.discard(number)

    for name, model in models.items():
        visit(model, name, False)
    return paths, modules, opaque


def _why_opaque(module: nn.Module) -> str | None:
    if isinstance(module, torch.jit.ScriptModule):
        return "scripted: its operations run as one"
    if type(module).__name__ == "OptimizedModule" or module.__dict__.get("_compiled_call_impl") is not None:
        return "compiled: its operations run as one"
    return None
