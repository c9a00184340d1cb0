"""record(model): what a forward does, seen by module hooks and a torch function mode.

The hooks say where we are; the mode says what happens there; the Python frames between an operation and the
enclosing module's forward are the functions it happened in. Nothing is computed here that can be computed
later from the tree: shapes are noted, calls that repeat are folded on the spot, the rest waits for `trace`.

Limits, one line each:
- work below the torch-function level (custom kernels, `F.multi_head_attention_forward`) is one call;
- a compiled module is one opaque call, because its Python code does not run;
- other threads are not recorded;
- the output of a function is known from where its tensors are used next, not from its return statement.
"""

from __future__ import annotations

import sys
import threading
import weakref
from types import TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.overrides import TorchFunctionMode, resolve_name

from tracer import assemble
from tracer.calls import Trace
from tracer.errors import RecordingError
from tracer.nodes import Node, Specs, freeze
from tracer.scopes import Scopes, call_site, caller

_recording: weakref.WeakSet[nn.Module] = weakref.WeakSet()
_lock = threading.Lock()


class Recorder(TorchFunctionMode):
    """The context manager behind `record`. Not re-entrant; one forward at a time, in one thread."""

    def __init__(self, model: nn.Module, *, calls: int = 1) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise RecordingError(f"record() takes a torch.nn.Module, not {type(model).__name__}.")
        if calls < 1:
            raise RecordingError(f"record() takes calls of at least 1, not {calls}.")
        self.model = model
        self._calls = calls
        self._roots: list[Node] = []
        self._errors: list[str | None] = []
        self._stack: list[Node] = []
        self._specs = Specs()
        self._scopes = Scopes(self._specs)
        self._handles: list[Any] = []
        self._restore: list[tuple[nn.Module, Any]] = []
        self._thread = 0
        self._entered = False
        self._paused = False
        self._outer: BaseException | None = None
        self._intern: dict[Any, int] = {}
        self._producers: list[dict[int, tuple[weakref.ref[torch.Tensor], Node]]] = []  # one per open module
        self._paths: dict[nn.Module, str] = {}
        self._counted: set[int] = set()
        self._deepest: str | None = None
        self._names: dict[Any, str] = {}

    # results

    @property
    def traces(self) -> list[Trace]:
        """One trace per recorded forward, the one that raised included."""
        return [assemble.trace_of(self.model, r, e) for r, e in zip(self._roots, self._errors, strict=True)]

    @property
    def trace(self) -> Trace:
        """The first recorded forward. Raises RecordingError where no forward ran."""
        if not self._roots:
            raise RecordingError(
                f"Nothing was recorded: {type(self.model).__name__} was not called inside the with block."
            )
        return assemble.trace_of(self.model, self._roots[0], self._errors[0])

    # life

    def __enter__(self) -> Self:
        with _lock:
            modules = list(self.model.modules())
            if any(m in _recording for m in modules):
                raise RecordingError(
                    f"{type(self.model).__name__} is being recorded already; leave the other record() first."
                )
            _recording.update(modules)
        self._thread = threading.get_ident()
        try:
            self._attach()
            super().__enter__()
            self._entered = True
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stack:  # an exception that the hooks do not see (KeyboardInterrupt) left the tree open
            self._fail(error)
        if error is not None and self._errors and self._errors[-1]:
            error.add_note(f"tracer: {self._errors[-1]}")
        self._finish()

    def _attach(self) -> None:
        hidden: set[nn.Module] = set()
        for name, module in self.model.named_modules(remove_duplicate=False):
            if module in hidden:
                continue
            if module in self._paths:
                if name not in self._paths[module].split("|"):
                    self._paths[module] += f"|{name}"
                continue
            self._paths[module] = name
            if _is_compiled(module):
                hidden.update(m for m in module.modules() if m is not module)
            inner = module.__dict__.get("_compiled_call_impl")
            if inner is not None:
                hidden.update(m for m in module.modules() if m is not module)
                self._wrap_compiled(module, inner)
                continue
            self._handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True))
            self._handles.append(
                module.register_forward_hook(self._after, with_kwargs=True, always_call=True)
            )

    def _wrap_compiled(self, module: nn.Module, inner: Any) -> None:
        # module.compile() runs the hooks inside the compiled region, so the call is watched from outside
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._before(module, args, kwargs)
            output = None
            try:
                output = inner(*args, **kwargs)
            finally:
                self._after(module, args, kwargs, output)
            return output

        self._restore.append((module, inner))
        module.__dict__["_compiled_call_impl"] = watched

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        for module, inner in self._restore:
            module.__dict__["_compiled_call_impl"] = inner
        self._handles.clear()
        self._restore.clear()
        with _lock:
            for module in self.model.modules():
                _recording.discard(module)
        self._scopes.clear()
        self._producers.clear()

    def _finish(self) -> None:
        """Hooks and mode off; runs again harmlessly."""
        self._resume()
        self._detach()
        if self._entered:
            if torch.overrides._get_current_function_mode() is self:
                super().__exit__(None, None, None)
                self._entered = False
            # else another mode was entered inside and lies on top: our __exit__ will come after its own

    def _pause(self) -> None:
        if not self._paused and torch.overrides._get_current_function_mode() is self:
            super().__exit__(None, None, None)
            self._paused = True

    def _resume(self) -> None:
        if self._paused:
            super().__enter__()
            self._paused = False

    # modules

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() != self._thread or (not self._stack and module is not self.model):
            return
        frame = caller(sys._getframe(1))
        outer = self._stack[-1] if self._stack else None
        if outer is None:
            self._outer = sys.exc_info()[1]
            node = Node("module", type(module).__name__, self._path(module, None), None, call_site(frame))
        else:
            parent = self._scopes.enter(frame, outer)
            path = self._path(module, outer)
            node = Node("module", type(module).__name__, path, parent, self._scopes.site)
        node.module = module
        node.code = type(module)
        if module._parameters:
            node.weights = self._weights(module)
        with torch._C.DisableTorchFunction():
            self._take(node, assemble.bind(type(module), args, kwargs))
        self._stack.append(node)
        self._producers.append({})
        self._scopes.push(module)
        self._deepest = node.path
        if _is_compiled(module) or module.__dict__.get("_compiled_call_impl") is not None:
            node.opaque = "compiled: its operations run as one"
            self._pause()

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if threading.get_ident() != self._thread or not self._stack or self._stack[-1].module is not module:
            return
        self._resume()
        node = self._stack[-1]
        raised = sys.exc_info()[1]
        if output is None and raised is not None and raised is not self._outer:
            self._fail(raised)
            return
        with torch._C.DisableTorchFunction():
            node.outputs = []
            for key, tensor in assemble.tensors(output):
                node.outputs.append((key, self._specs.of(tensor)))
                self._consume(tensor, None)
                if node.parent is not None and node.parent.kind == "function":
                    self._producers[-2][id(tensor)] = (weakref.ref(tensor), node)
        self._close(node)
        if not self._stack:
            self._roots.append(node)
            self._errors.append(None)
            if len(self._roots) >= self._calls:
                self._finish()
            else:
                self._counted.clear()

    def _close(self, node: Node) -> None:
        self._scopes.pop()
        self._stack.pop()
        self._producers.pop()
        parent = node.parent
        freeze(node, self._intern)
        node.module = None
        if parent is not None:
            parent.add(node)

    def _fail(self, error: BaseException | None) -> None:
        """Close every open call; the tree keeps what was seen."""
        where = self._deepest or "the model"
        root = self._stack[0]
        last = root.last()
        while self._stack:
            self._close(self._stack[-1])
        sentence = f"stopped in {where or 'the model itself'}"
        if last is not None:
            met = ", ".join(str(s) for _, s in last.inputs) or "nothing"
            sentence += f"; the last call that finished was {last.name} on {met}"
        if error is not None:
            sentence += f" ({type(error).__name__})"
        self._roots.append(root)
        self._errors.append(sentence)

    def _path(self, module: nn.Module, outer: Node | None) -> str:
        names = self._paths.get(module)
        if names is None:
            return f"({type(module).__name__})"
        if "|" in names and outer is not None:  # a shared module: the name under the running parent
            near = [n for n in names.split("|") if n.rpartition(".")[0] == outer.path]
            if near:
                return "|".join(near)
        return names

    def _weights(self, module: nn.Module) -> list[tuple[str, Spec, bool]]:
        out = []
        for name, parameter in module._parameters.items():
            if parameter is not None:
                new = id(parameter) not in self._counted
                self._counted.add(id(parameter))
                out.append((name, self._specs.of(parameter), new))
        return out

    # operations

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self._stack or threading.get_ident() != self._thread:
            return result
        if isinstance(result, torch.Tensor):
            outputs = [("0", result)]
        elif result is None:
            if getattr(func, "__name__", "") != "__setitem__":
                return result
            outputs = []
        elif isinstance(result, tuple | list):
            outputs = [(str(i), t) for i, t in enumerate(result) if isinstance(t, torch.Tensor)]
            if not outputs:
                return result
        else:
            return result
        self._operation(func, args, kwargs, outputs)
        return result

    def _operation(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: list[tuple[str, torch.Tensor]]
    ) -> None:
        module = self._stack[-1]
        parent = self._scopes.enter(sys._getframe(2), module)
        node = Node("op", self._name(func), module.path, parent, self._scopes.site)
        inputs: list[torch.Tensor] = []
        specs: list[tuple[str, Any]] = []
        attrs: list[tuple[str, Any]] = []
        of = self._specs.of
        position = 0
        for value in args:
            if isinstance(value, torch.Tensor):
                specs.append((str(position), of(value)))
                inputs.append(value)
            elif isinstance(value, list | tuple) and value and isinstance(value[0], torch.Tensor):
                for inner in value:
                    if isinstance(inner, torch.Tensor):
                        specs.append((str(position), of(inner)))
                        inputs.append(inner)
                        position += 1
                position -= 1
            else:
                attrs.append((str(position), assemble.plain(value)))
                if isinstance(value, tuple):  # an index may hold tensors
                    inputs.extend(v for v in value if isinstance(v, torch.Tensor))
            position += 1
        for name, value in kwargs.items():
            if isinstance(value, torch.Tensor):
                specs.append((name, of(value)))
                inputs.append(value)
            elif isinstance(value, list | tuple) and value and isinstance(value[0], torch.Tensor):
                specs.extend((f"{name}.{i}", of(v)) for i, v in enumerate(value))
                inputs.extend(value)
            else:
                attrs.append((name, assemble.plain(value)))
        for tensor in inputs:
            self._consume(tensor, parent)
        if specs:
            node.inputs = specs
        if attrs:
            node.attrs = attrs
        node.outputs = [(name, of(tensor)) for name, tensor in outputs]
        if node.name in _NEW:
            node.fresh = (True,) * len(outputs)
        elif node.name in _VIEWS:
            node.fresh = (False,) * len(outputs)
        else:
            storages = [_storage(t) for t in inputs]
            node.fresh = tuple(_storage(t) not in storages for _, t in outputs)
        if parent.kind == "function":
            for _, tensor in outputs:
                self._producers[-1][id(tensor)] = (weakref.ref(tensor), node)
        parent.add(node)

    def _name(self, func: Any) -> str:
        name = self._names.get(func)
        if name is None:
            name = getattr(func, "__name__", None) or str(func)
            if name in ("__get__", "__set__"):  # a property: resolve_name says which
                name = (resolve_name(func) or name).split(".")[-2]
            self._names[func] = name = name.strip("_") if name.startswith("__") else name
        return name

    # tensors

    def _take(self, node: Node, arguments: list[tuple[str, Any]]) -> None:
        if arguments:
            node.inputs, node.attrs = [], []
        for name, value in arguments:
            if isinstance(value, torch.Tensor):
                node.inputs.append((name, self._specs.of(value)))
                self._consume(value, node.parent)
                continue
            found = assemble.tensors(value, name)
            if found:
                for key, tensor in found:
                    node.inputs.append((key, self._specs.of(tensor)))
                    self._consume(tensor, node.parent)
            elif isinstance(value, bool | int | float | str):
                node.attrs.append((name, assemble.plain(value)))

    def _consume(self, tensor: torch.Tensor, by: Node | None) -> None:
        """A tensor is used: the functions it was made in, which have ended, have it as an output."""
        entry = None
        for level in self._producers:
            if level and id(tensor) in level:
                entry = level[id(tensor)]
        if entry is None or entry[0]() is not tensor:
            return
        maker = entry[1]
        scope = maker.parent
        while scope is not None:
            if scope.kind == "function":
                if self._scopes.is_open(scope, besides_last=by is None):
                    return
                if maker not in scope.exports:
                    scope.exports = [*scope.exports, maker]
            elif not scope.closed and by is not None:
                return
            elif not scope.closed and scope is self._stack[-1]:
                return
            scope = scope.parent


def record(model: nn.Module, *, calls: int = 1) -> Recorder:
    """Record the first forward of a model: `with record(model) as rec: model(x)`, then `rec.trace`.

    Works on any module, with real, meta or fake tensors. `calls` records that many forwards (`rec.traces`);
    after the last one every hook is gone again. An exception in the model passes through unchanged, with a
    note that says where it happened; `rec.trace` then holds what was seen until there.

    Raises RecordingError where the model, or a part of it, is being recorded already.
    """
    return Recorder(model, calls=calls)


def _storage(tensor: torch.Tensor) -> int:
    try:
        return int(tensor.untyped_storage()._cdata)
    except (NotImplementedError, RuntimeError):  # sparse and wrapped tensors have none to show
        return id(tensor)


_NEW = frozenset(
    "linear conv1d conv2d conv3d layer_norm rms_norm group_norm silu gelu relu softmax sigmoid tanh cat stack "
    "scaled_dot_product_attention add sub mul div truediv rsub pow matmul bmm sin cos exp rsqrt sqrt mean sum "
    "neg arange ones zeros empty full".split()
)
_VIEWS = frozenset("view transpose permute unsqueeze chunk split unflatten unbind expand".split())
# the other operations may give a view or not: their storages are compared


def _is_compiled(module: nn.Module) -> bool:
    return type(module).__name__ == "OptimizedModule"

