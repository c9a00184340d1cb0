"""record(model): what a forward does, seen by module hooks and a torch function mode.

The hooks say where we are; the mode says what happens there; the Python frames between an operation and the
enclosing module's forward are the functions it happened in. Nothing is computed here that can be computed
later from the tree: shapes are noted, calls that repeat are folded on the spot, the rest waits for `trace`.

Limits, one line each:
- work below the torch-function level (custom kernels, `F.multi_head_attention_forward`) is one call;
- a compiled or scripted module is one opaque call, because its Python code does not run;
- a compiled function is not seen at all, nor is a model called from inside compiled code;
- other threads are not recorded;
- a function in which no operation happens is no row;
- a function that returns anything but names, calls and tuples or dicts of them has no outputs.
"""

from __future__ import annotations

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from types import FrameType, TracebackType
from typing import Any, Self

import torch
from torch import nn
from torch.compiler import is_compiling
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

from tracer import assemble
from tracer.calls import Trace
from tracer.errors import RecordingError
from tracer.lines import Lines
from tracer.modes import pull, push, unhook
from tracer.nodes import Equals, Functions, Named, Node, Spec, Specs, Symbolic, storage, tensors
from tracer.scopes import Scopes, Survey, call_frame, caller, is_raising, survey

_SEQUENCES = (tuple, list)
_NUMBERS = (bool, int, float, str, torch.SymInt)
_recording: set[int] = set()
_lock = threading.Lock()


class Recorder(TorchFunctionMode):
    """The context manager behind `record`. Entered once; one forward at a time, in one thread."""

    def __init__(self, model: Any, *, calls: int = 1, lines: bool = False) -> None:
        super().__init__()
        self._check(model)
        if calls < 1:
            raise RecordingError(f"record() takes calls of at least 1, not {calls}.")
        self.model = model
        self._calls = calls
        self._thread = 0
        # what was seen
        self._roots: list[Node] = []
        self._errors: list[str | None] = []
        self._traces: list[Trace] = []
        # what is going on
        self._stack: list[tuple[Any, Node]] = []
        self._specs = Specs()
        self._equals = Equals(self._specs)
        self._scopes = self._new_scopes()
        self._equals.lines = lines
        if lines:
            self._scopes.lines = Lines(self._scopes.is_model, self._scopes.begun)
        self._failure: tuple[BaseException, str] | None = None
        self._counted: set[int] = set()
        self._functions = Functions()
        self._queries: set[Any] = set()  # functions that gave no tensor: asking for a shape, a dtype, a device
        self._parameters: dict[type, assemble.Parameters] = {}
        # what has to be undone
        self._modules: dict[int, nn.Module] = {}
        self._paths: dict[int, str] = {}
        self._opaque: dict[int, str] = {}
        self._hook: int = RemovableHandle(OrderedDict()).id  # no other hook has it
        self._restore: list[tuple[nn.Module, Any]] = []
        self._above: list[Any] | None = None  # while paused: the modes that lay on top of this one

    # results

    @property
    def traces(self) -> list[Trace]:
        """One trace per recorded forward, the one that raised included."""
        for i in range(len(self._traces), len(self._roots)):
            self._traces.append(self._trace_of(self._roots[i], self._errors[i]))
        return list(self._traces)

    @property
    def trace(self) -> Trace:
        """The first recorded forward. Raises RecordingError where no forward ran."""
        traces = self.traces
        if not traces:
            raise RecordingError(
                f"Nothing was recorded: {type(self.model).__name__} was not called inside the with block and "
                f"in its thread; {self._advice}."
            )
        return traces[0]

    # what another kind of root does in another way

    _advice = "call the model itself, not its forward and not a compiled copy"

    def _check(self, model: Any) -> None:
        if not isinstance(model, nn.Module):
            raise RecordingError(f"record() takes a torch.nn.Module, not {type(model).__name__}.")

    def _new_scopes(self) -> Scopes:
        return Scopes(self._specs, self._equals)

    def _survey(self) -> Survey:
        return survey({"": self.model})

    def _trace_of(self, root: Node, error: str | None) -> Trace:
        return self._assembled([self.model], root, error)

    def _assembled(self, models: Iterable[nn.Module], root: Node, error: str | None) -> Trace:
        return assemble.trace_of(type(self.model).__name__, models, root, self._scopes.codes, error, self._scopes.lines)

    # life

    def __enter__(self) -> Self:
        if self._thread:
            raise RecordingError("This record() was used before; call record() again.")
        paths, modules, opaque = self._survey()
        with _lock:
            if not _recording.isdisjoint(modules):
                raise RecordingError(
                    f"{type(self.model).__name__} is being recorded already; leave the other record() first."
                )
            _recording.update(modules)
        self._thread = threading.get_ident()
        self._paths, self._modules, self._opaque = paths, modules, opaque
        try:
            self._attach()
            push(self)
            if self._scopes.lines is not None:
                self._scopes.lines.start()
        except BaseException:
            self._detach()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stack:  # KeyboardInterrupt and its like pass by the hooks and leave the tree open
            self._fail(error, self._stack[0][0])
        self._finish()
        if isinstance(self.model, nn.Module):
            unhook(self.model, self._hook)  # they stay on it while a failure passes by

    def _attach(self) -> None:
        # what register_forward_hook does, under one id for all modules: its handles would be ten objects a
        # module, enough to set off the garbage collector in the middle of the forward
        before, after, hook = self._before, self._after, self._hook
        for number in self._paths:  # others are inside a compiled or scripted module
            module = self._modules[number]
            compiled = module.__dict__.get("_compiled_call_impl")
            if compiled is not None:
                self._watch(module, compiled)
                continue
            module._forward_pre_hooks[hook] = before
            module._forward_pre_hooks_with_kwargs[hook] = True
            module._forward_hooks[hook] = after
            module._forward_hooks_with_kwargs[hook] = True
            module._forward_hooks_always_called[hook] = True

    def _watch(self, module: nn.Module, compiled: Any) -> None:
        # after module.compile() hooks run inside the compiled region, so the call is watched from outside
        def watched(*args: Any, **kwargs: Any) -> Any:
            if not is_compiling():
                self._begin(module, args, kwargs, sys._getframe())
            try:
                output = compiled(*args, **kwargs)
            except Exception as error:
                self._leave(module, None, error)
                raise
            self._leave(module, output, None)
            return output

        self._restore.append((module, compiled))
        module.__dict__["_compiled_call_impl"] = watched

    def _finish(self, *, failed: bool = False) -> None:
        """Hooks, mode and counting off; runs again harmlessly."""
        if self._scopes.lines is not None:
            self._scopes.lines.stop()
        self._resume()
        self._detach(but=self.model if failed else None)
        self._failure = None
        pull(self)

    def _detach(self, but: Any = None) -> None:
        for module in self._modules.values():
            if module is not but:  # torch is walking over the model's hooks, and would lose the exception
                unhook(module, self._hook)
        for module, compiled in self._restore:
            module.__dict__["_compiled_call_impl"] = compiled
        self._restore.clear()
        with _lock:
            _recording.difference_update(self._modules)
        self._modules = {}
        self._scopes.clear()

    def _pause(self) -> None:
        if self._above is None:
            self._above = pull(self)

    def _resume(self) -> None:
        if self._above is not None:
            above, self._above = self._above, None
            push(self, *above)

    # modules

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not is_compiling():
            self._begin(module, args, kwargs, call_frame(sys._getframe(1)))

    def _after(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if not is_compiling():
            self._leave(module, output, sys.exc_info()[1] if is_raising(sys._getframe(1)) else None)

    def _begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType | None) -> None:
        if threading.get_ident() != self._thread:
            return
        kind = type(module)
        if self._stack:
            parent = self._scopes.enter(caller(frame)) or self._stack[-1][1]
            path = self._path(module, self._stack[-1][1].path)
            node = Node("module", kind.__name__, path, parent, self._scopes.site, kind)
            parent.children.append(node)
        elif module is self.model and len(self._roots) < self._calls:
            node = Node("module", kind.__name__, "", None, self._scopes.call_site(caller(frame)), kind)
        else:
            return
        with torch._C.DisableTorchFunction():
            if module._parameters:
                node.weights = self._weights(module)
            if kind not in self._parameters:
                self._parameters[kind] = assemble.parameters_of(kind)
            self._take(node, assemble.bind(self._parameters[kind], args, kwargs))
        self._stack.append((module, node))
        self._scopes.push(node, module, frame)
        if self._opaque and id(module) in self._opaque:
            node.opaque = self._opaque[id(module)]
            self._pause()

    def _leave(self, module: nn.Module, output: Any, error: BaseException | None) -> None:
        if threading.get_ident() != self._thread or not self._stack:
            return
        if self._stack[-1][0] is not module:
            if all(m is not module for m, _ in self._stack):
                return  # another hook raised before ours saw the call begin
            while self._stack[-1][0] is not module:  # left without a word, by a caught KeyboardInterrupt
                self._close()
        self._resume()
        if error is not None:
            self._fail(error, module)
            return
        self._failure = None
        node = self._stack[-1][1]
        with torch._C.DisableTorchFunction():
            node.outputs = self._specs.found(output)
        self._close()
        if not self._stack:
            self._done(node, None)

    def _close(self) -> None:
        self._scopes.pop()
        self._equals.close(self._stack.pop()[1])

    def _done(self, root: Node, sentence: str | None) -> None:
        self._roots.append(root)
        self._errors.append(sentence)
        self._counted.clear()
        if len(self._roots) >= self._calls:
            self._finish(failed=sentence is not None)

    def _fail(self, error: BaseException | None, module: Any) -> None:
        """Close calls up to that of a module that an exception leaves; the tree keeps what was seen."""
        root = self._stack[0][1]
        if self._failure is None or self._failure[0] is not error:
            last = root.last()
            after = f" after {last.name} on {_listed(s for _, s in last.inputs)}" if last is not None else ""
            self._note_failure(error or RuntimeError(), after)
        while True:
            left, node = self._stack[-1]
            node.opaque = f"raised {type(error).__name__}" if error is not None else "was left"
            self._close()
            if left is module:
                break
        if not self._stack:
            assert self._failure is not None
            sentence = self._failure[1]
            if error is not None:
                error.add_note(f"tracer: {sentence}")
            self._done(root, sentence)

    def _note_failure(self, error: BaseException, what: str) -> None:
        path = self._stack[-1][1].path
        self._failure = (error, f"stopped in {path or type(self.model).__name__}{what}")

    def _path(self, module: nn.Module, parent: str) -> str:
        names = self._paths.get(id(module))
        if names is None:
            return f"({type(module).__name__})"
        if "|" in names:  # a shared module: its names under the running parent
            near = [n for n in names.split("|") if n.rpartition(".")[0] == parent]
            return "|".join(near) or names
        return names

    def _weights(self, module: nn.Module) -> list[tuple[str, Spec, bool]]:
        out = []
        for name, parameter in module._parameters.items():
            if parameter is not None:
                new = id(parameter) not in self._counted
                self._counted.add(id(parameter))
                out.append((name, self._specs.of(parameter), new))
        return out

    def _take(self, node: Node, arguments: list[tuple[str, Any]]) -> None:
        inputs: Named = []
        attrs: list[tuple[str, Any]] = []
        for name, value in arguments:
            if isinstance(value, torch.Tensor):
                inputs.append((name, self._specs.of(value)))
            elif isinstance(value, _NUMBERS):
                attrs.append((name, self._specs.plain(value)))
            elif value is not None:
                inputs += self._specs.found(value, name)
        node.inputs, node.attrs = inputs, attrs

    # operations

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        lines = self._scopes.lines
        call = func if lines is None else partial(lines.without, func)
        if not self._stack or is_compiling() or threading.get_ident() != self._thread:
            return func(*args, **kwargs)
        if func in self._queries:
            result = call(*args, **kwargs)
            if isinstance(result, torch.Tensor):  # not always a query, then
                self._queries.discard(func)
                self._record(func, args, kwargs, result, *self._read(func, args, kwargs, sys._getframe(1)))
            return result
        # read first: the call may change its arguments, and frames that have ended hold on to memory
        parent, key = self._read(func, args, kwargs, sys._getframe(1))
        if parent is None:
            return func(*args, **kwargs)
        try:
            result = call(*args, **kwargs)
        except BaseException as error:
            met = _listed(_specs_in(self._specs.joined(key)))
            self._note_failure(error, f" at {self._functions.learn(func).name} on {met}")
            raise
        self._record(func, args, kwargs, result, parent, key)
        return result

    def _read(
        self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], frame: FrameType
    ) -> tuple[Node | None, list[Any]]:
        """What an operation goes under, None if nowhere, and what it is known by but for its results."""
        parent = self._scopes.enter(frame)
        plain = self._specs.plain
        key: list[Any] = [func, self._scopes.site]
        for value in args:
            if isinstance(value, torch.Tensor):
                key += (value.shape, value.dtype)
            else:
                key.append(plain(value))
        if kwargs:
            key += [(name, plain(value)) for name, value in kwargs.items()]
        return parent, key

    def _record(
        self,
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        parent: Node | None,
        key: list[Any],
    ) -> None:
        if parent is None:
            return
        function = self._functions.get(func) or self._functions.learn(func)
        if isinstance(result, torch.Tensor):
            outputs = [result]
            key += (result.shape, result.dtype)
        elif isinstance(result, _SEQUENCES):
            outputs = [t for t in result if isinstance(t, torch.Tensor)]
            if not outputs:
                self._queries.add(func)
                return
            key.append(tuple(self._specs.found(result)))
        elif result is None and function.name == "setitem":
            outputs = []
        else:
            self._queries.add(func)
            return
        fresh = function.fresh
        if fresh is None or (kwargs and ("out" in kwargs or kwargs.get("inplace"))):
            given = [storage(v) for v in args if isinstance(v, torch.Tensor)]
            if kwargs or not given:
                given += [storage(t) for _, t in tensors((args, kwargs))]
            key.append(tuple([storage(t) not in given for t in outputs]))
        else:
            key.append(fresh)
        try:
            op = self._equals.op(tuple(key))
        except TypeError:  # symbolic sizes do not hash, their texts do
            key = [Symbolic(k) if type(k) is torch.Size else k for k in key]
            op = self._equals.op(tuple(key))
        if op is None:
            op = self._equals.learn(function.name, key, len(args), len(kwargs))
        parent.children.append(op)


def record(model: nn.Module, *, calls: int = 1, lines: bool = False) -> Recorder:
    """Record the first forward that a model runs inside the with block; then read `rec.trace`.

    Works on any module, with real, meta or fake tensors. `calls` records that many forwards (`rec.traces`);
    after the last one every hook is gone again. An exception in the model passes through unchanged, with a
    note that says where it happened; `rec.trace` then holds what was seen until there. `lines` counts the lines
    that ran, with Python's `sys.settrace`; calls have them as `lines`.

    Raises RecordingError where the model, or a part of it, is being recorded already.
    """
    return Recorder(model, calls=calls, lines=lines)


def _specs_in(key: Iterable[Any]) -> Iterable[Spec]:
    for value in key:
        if isinstance(value, Spec):
            yield value
        elif isinstance(value, tuple):
            yield from _specs_in(value)


def _listed(specs: Iterable[Spec]) -> str:
    return ", ".join(map(str, specs)) or "no tensors"
