"""record_pipeline(pipe): one tree from a pipeline's __call__ to its decoded video.

The root is no module but a running Python function: the pipeline's `__call__` is looked for on the frame stack
at the first operation, and its frame tells from then on what belongs to it. The modules of all components are
watched under the components' names (`transformer.transformer_blocks.0`, `vae.decoder`); `PassScopes` follows
the functions and loops between them. Nothing of the pipeline is changed but for hooks on its modules.

Limits, one line each, beside those of `record`:
- only the first call inside the with block is recorded;
- a call that fails before its first tensor operation leaves nothing to show;
- what the pipeline was given is read at its first operation.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import nn

from tracer.calls import Trace
from tracer.errors import RecordingError
from tracer.nodes import Node
from tracer.passes import PassScopes
from tracer.recorder import Recorder
from tracer.scopes import Scopes, Survey, caller, ended, forget, survey
from tracer.sources import context_at
from tracer.stages import staged

_DENOISERS = ("transformer", "unet")
_TEXT = 40
"""Characters of an argument that is kept: names of settings, not prompts."""


class PipelineRecorder(Recorder):
    """The context manager behind `record_pipeline`. Entered once; one call, in one thread."""

    _advice = "call the pipeline itself"

    def __init__(self, pipe: Any, *, lines: bool = False) -> None:
        self._frame: FrameType | None = None  # of the call, while it is recorded
        self._over = False
        self._contexts: dict[tuple[int, int], str | None] = {}
        super().__init__(pipe, lines=lines)

    def _check(self, model: Any) -> None:
        parts = parts_of(model)
        if not any(name.startswith(_DENOISERS) for name in parts):
            raise RecordingError(
                "record_pipeline() takes a diffusers pipeline with a transformer or a unet, "
                f"not {type(model).__name__}; for a single model there is record()."
            )

    def _new_scopes(self) -> Scopes:
        named = {id(v): k for k, v in vars(self.model).items() if _is_part(k, v)}
        named |= {id(v): k for k, v in self.model.components.items() if _is_part(k, v)}
        self._passes = PassScopes(self._specs, self._equals, {**named, id(self.model): ""})
        return self._passes

    def _survey(self) -> Survey:
        return survey(parts_of(self.model))

    def _trace_of(self, root: Node, error: str | None) -> Trace:
        models = parts_of(self.model).values()
        return staged(self._assembled(models, root, error))

    @property
    def traces(self) -> list[Trace]:
        """The trace of the call, also of one that raised."""
        if self._stack and not self._runs(sys._getframe()):
            self._settle()
        return super().traces

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._stack and error is None:
            self._settle()
        super().__exit__(kind, error, traceback)
        self._frame = None

    # the root

    def _runs(self, frame: FrameType | None) -> bool:
        while frame is not None:
            if frame is self._frame:
                return True
            frame = frame.f_back
        return False

    def _inside(self, frame: FrameType | None) -> bool:
        """Whether a frame runs inside the call; the first that does begins the tree."""
        if self._over or threading.get_ident() != self._thread:
            return False
        if self._stack:
            inside = self._runs(frame)
            if not inside:
                self._settle()
            return inside
        self._frame = self._found(frame)
        if self._frame is None:
            return False
        site = self._scopes.call_site(self._frame.f_back)
        root = Node("function", type(self.model).__name__, "", None, site, self._frame.f_code)
        root.lines = self._scopes.lines.of(self._frame) if self._scopes.lines is not None else None
        self._passes.start(root, self._frame)
        code, local = self._frame.f_code, self._frame.f_locals
        names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
        with torch._C.DisableTorchFunction():
            self._take(root, [(k, v) for k in names if not _is_long(v := local.get(k))])
        forget(local)
        self._stack.append((self.model, root))
        return True

    def _found(self, frame: FrameType | None) -> FrameType | None:
        """The outermost `__call__` of the pipeline among the running frames."""
        found = None
        while frame is not None:
            code = frame.f_code
            if code.co_name == "__call__" and code.co_argcount:
                local = frame.f_locals
                if local.get(code.co_varnames[0]) is self.model:
                    found = frame
                forget(local)
            frame = frame.f_back
        return found

    def _settle(self) -> None:
        """The call is over: close the tree."""
        assert self._frame is not None
        if len(self._stack) > 1 or not ended(self._frame):
            # what is noticed first may be torch.no_grad's own end, while the exception passes through it
            self._fail(sys.exc_info()[1] or (self._failure[0] if self._failure else None), self.model)
            return
        root = self._stack[0][1]
        self._close()
        self._done(root, None)

    def _note_failure(self, error: BaseException, what: str) -> None:
        super()._note_failure(error, what + self._passes.where())

    def _done(self, root: Node, sentence: str | None) -> None:
        self._roots.append(root)
        self._errors.append(sentence)
        self._counted.clear()
        self._over = True
        self._frame = None

    # modules and operations

    def _begin(self, module: nn.Module, args: Any, kwargs: Any, frame: FrameType | None) -> None:
        outer = len(self._stack) <= 1
        if outer and not self._inside(caller(frame)):
            return
        super()._begin(module, args, kwargs, frame)
        if outer and (site := self._stack[-1][1].site) is not None:
            if site not in self._contexts:
                self._contexts[site] = context_at(self._scopes.codes[site[0]], site[1], "cache_context")
            if self._contexts[site] is not None:
                node = self._stack[-1][1]
                node.attrs = [*node.attrs, ("cache_context", self._contexts[site])]

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if len(self._stack) <= 1 and not self._inside(sys._getframe(1)):
            return func(*args, **(kwargs or {}))
        return super().__torch_function__(func, types, args, kwargs)


def parts_of(pipe: Any) -> Mapping[str, nn.Module]:
    """The components of a pipeline that are modules, by name; none of anything else."""
    components = getattr(pipe, "components", None)
    if isinstance(pipe, nn.Module) or not isinstance(components, Mapping):
        return {}
    return {name: part for name, part in components.items() if isinstance(part, nn.Module)}


def _is_part(name: str, value: Any) -> bool:
    plain = isinstance(value, type | str | int | float | tuple | list | dict | torch.Tensor)
    return not (name.startswith("_") or value is None or plain)


def _is_long(value: Any) -> bool:
    return isinstance(value, str) and len(value) > _TEXT


def record_pipeline(pipe: Any, *, lines: bool = False) -> PipelineRecorder:
    """Record the first call of a diffusers pipeline inside the with block; then read `rec.trace`.

    Any pipeline with a transformer or a unet, with real or meta tensors, with its caches and offloading as they
    are. What it computes does not change. The passes of its loops are steps of their own, equal ones folded:
    denoising steps, and the chunks of frames that a VAE takes at a time. An exception passes through unchanged,
    with a note that says where it happened; `rec.trace` then holds what was seen until there. `lines` counts the
    lines that ran; of a call that stands for several, the most that one of them ran each line.

    Raises RecordingError where it is given something else, or where a part is being recorded already.
    """
    return PipelineRecorder(pipe, lines=lines)
