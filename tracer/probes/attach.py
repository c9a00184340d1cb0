"""L1Probe(pipe): what each denoising step changes, recorded from a running pipeline that nobody edits.

    with L1Probe(pipe) as probe:
        pipe(...)
    probe.log

Hooks on the transformers see what they are given, give, and hold inside; the scheduler's `step`, watched on the
instance, sees the combined prediction and the latents on both sides; `cache_context` tells which branch a forward is.
What the pipeline computes does not change, and everything is as it was when the with block is left, however it is.

Limits, one line each:
- two forwards a step in a pipeline that names no cache contexts are taken as conditional first, then unconditional;
- a forward of twice the samples is taken as unconditional first, then conditional, as diffusers concatenates them;
- a transformer replaced inside the block is not seen: its latents and combined predictions are, from `step`;
- inside a compiled transformer or block nothing is seen, its output is;
- where a cache is enabled, blocks give what the cache makes of them: the first one, too, in a step that is skipped;
- other threads are not recorded.
"""

from __future__ import annotations

import functools
import inspect
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Any, Self

from torch import Tensor, nn

from tracer.errors import BadRequest, RecordingError
from tracer.probes import provenance
from tracer.probes.log import ProbeLog
from tracer.probes.metrics import DEFAULT_METRICS, METRICS, wide
from tracer.probes.reading import (
    blocks_of,
    call_of,
    first_of,
    guidance_in,
    is_euler,
    modules_of,
    place_of,
    step_of,
    video_in,
)
from tracer.probes.run import Chosen, Forward, Run, unseen
from tracer.probes.signals import DEFAULT_SIGNALS, INSIDE, SIGNALS, Where, chosen, unknown
from tracer.probes.watched import Watched, put
from tracer.scopes import survey

_watched: set[int] = set()
_lock = threading.Lock()


class L1Probe:
    """The context manager. Entered once; any number of runs inside, in one thread.

    Args:
        pipe: a diffusers pipeline, or anything with `scheduler`, `components` and a transformer among them.
        signals: names of `SIGNALS`, or 'all'; by default latents and predictions.
        metrics: names of `METRICS`, or 'all'; by default those that do with one copy.
        threshold: rel_l1 over which a first-block cache would compute a step, for `rel_l1_computed`; diffusers'
            FirstBlockCacheConfig has 0.05.
        where: where the signals are inside a transformer of your own.

    Raises UnknownName for a signal or metric that is not known, BadRequest where a signal cannot be had from this
    transformer, RecordingError for a pipeline without transformer or scheduler, or one that is probed already.
    """

    def __init__(
        self,
        pipe: Any,
        *,
        signals: Iterable[str] | str | None = None,
        metrics: Iterable[str] | str | None = None,
        threshold: float = 0.05,
        where: Where | None = None,
    ) -> None:
        self.pipe = pipe
        self._models = {k: v for k, v in modules_of(pipe).items() if k.startswith("transformer")}
        if not self._models:
            raise RecordingError(
                f"L1Probe takes a pipeline with a transformer among its components, not {type(pipe).__name__}."
            )
        step_of(pipe)
        self._places = {name: where or place_of(model) for name, model in self._models.items()}
        names = chosen("signal", signals, SIGNALS, DEFAULT_SIGNALS)
        self._inside = tuple(name for name in names if name in INSIDE)
        for name, model in self._models.items():
            if self._inside and self._places[name] is None:
                raise unknown(type(model), self._inside)
        self._check_inside()
        if not threshold >= 0:
            raise BadRequest(f"The threshold is 0 or more, not {threshold}.")
        channels = next((p.channels for p in self._places.values() if p is not None), 1)
        self._chosen = Chosen(names, chosen("metric", metrics, METRICS, DEFAULT_METRICS), threshold, channels)
        # what was seen
        self._runs: list[Run] = []
        # what is going on
        self._thread = 0
        self._undo: ExitStack | None = None
        self._scheduler: Any = None
        self._unwatch: ExitStack | None = None
        self._signature: inspect.Signature | None = None
        self._contexts: dict[str, str] = {}
        self._forwards: dict[str, Forward] = {}

    # results

    @property
    def log(self) -> ProbeLog:
        """What was recorded, also of a run that stopped. Raises RecordingError where no step was made."""
        runs = [run for run in self._runs if run.steps]
        if not runs:
            raise RecordingError(
                f"Nothing was recorded: {type(self.pipe).__name__} made no step inside the with block and in its "
                "thread; call the pipeline itself there."
            )
        rows = [row for number, run in enumerate(runs) for row in run.rows(number)]
        return ProbeLog(rows, {number: run.told() for number, run in enumerate(runs)})

    @property
    def bytes(self) -> int:
        """The most that copies took between two steps: the step before of each signal, and the last computed one."""
        return max((run.bytes for run in self._runs), default=0)

    @property
    def peak_bytes(self) -> int:
        """The most that copies took at once: those between the steps, and what the running step has collected."""
        return max((run.peak_bytes for run in self._runs), default=0)

    # life

    def __enter__(self) -> Self:
        if self._thread:
            raise RecordingError("This L1Probe was entered before; make another one for another with block.")
        mine = {id(model) for model in self._models.values()}
        with _lock:
            if not _watched.isdisjoint(mine):
                raise RecordingError(
                    f"{type(self.pipe).__name__} is being probed already; leave the other L1Probe first."
                )
            _watched.update(mine)
        self._thread = threading.get_ident()
        with ExitStack() as undo:
            undo.callback(_release, mine)
            undo.callback(self._leave)
            for name, model in self._models.items():
                self._attach(name, model, undo)
            self._watch()
            self._undo = undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._undo is not None
        self._undo.close()

    def _leave(self) -> None:
        if self._unwatch is not None:
            self._unwatch.close()
        self._scheduler = self._unwatch = None
        self._forwards.clear()
        for run in self._runs:
            run.close()

    # what is attached

    def _attach(self, name: str, model: nn.Module, undo: ExitStack) -> None:
        compiled = model.__dict__.get("_compiled_call_impl")
        if compiled is None:
            undo.callback(model.register_forward_pre_hook(functools.partial(self._before, name)).remove)
            undo.callback(model.register_forward_hook(functools.partial(self._after, name)).remove)
        else:  # after model.compile() hooks would run inside the compiled region: watched from outside
            around = functools.partial(self._compiled, name, compiled)
            put(model, "_compiled_call_impl", around, undo)
        if hasattr(model, "cache_context"):
            watched = Watched(model, "cache_context", functools.partial(self._context, name))
            put(model, "cache_context", watched, undo)
        place = self._places[name]
        if not self._inside or place is None:
            return

        def on(module: nn.Module, *, before: Callable[..., None] | None = None, after: Any = None) -> None:
            if before is not None:
                hook = functools.partial(before, name)
                undo.callback(module.register_forward_pre_hook(hook, with_kwargs=True).remove)
            if after is not None:
                undo.callback(module.register_forward_hook(functools.partial(after, name), with_kwargs=True).remove)

        blocks = blocks_of(model, place)
        if "modulated" in self._inside:
            on(blocks[0].get_submodule(place.attention), before=self._modulated)
        if "time_embedding" in self._inside:
            on(model.get_submodule(place.time), after=self._time)
        if "residual_first" in self._inside or "residual_all" in self._inside:
            on(blocks[0], before=self._enters)
        if "residual_first" in self._inside:
            on(blocks[0], after=functools.partial(self._residual, "residual_first"))
        if "residual_all" in self._inside:
            on(blocks[-1], after=functools.partial(self._residual, "residual_all"))

    def _check_inside(self) -> None:
        if not self._inside:
            return
        for name, model in self._models.items():
            place = self._places[name]
            assert place is not None
            try:
                blocks = blocks_of(model, place)
                seen = [model, *blocks, blocks[0].get_submodule(place.attention), model.get_submodule(place.time)]
            except (AttributeError, IndexError) as error:
                raise BadRequest(
                    f"{type(model).__name__} is not built as {place} says: {error}; give L1Probe(where=Where(...))."
                ) from error
            opaque = survey({"": model})[2]
            if any(id(module) in opaque for module in seen) or type(model).__name__ == "OptimizedModule":
                raise BadRequest(
                    f"{type(model).__name__} is compiled, and nothing inside can be seen then: take the compilation "
                    "off, or choose signals among latents, latents_after, prediction."
                )

    # the scheduler

    def _watch(self) -> None:
        """Watch the scheduler that the pipeline has now; the one before is left as it was."""
        scheduler = getattr(self.pipe, "scheduler", None)
        if scheduler is self._scheduler:
            return
        self._signature = step_of(self.pipe)
        if self._unwatch is not None:
            self._unwatch.close()
        self._unwatch, self._scheduler = ExitStack(), scheduler
        watched = Watched(scheduler, "step", self._step)
        put(scheduler, "step", watched, self._unwatch)

    def _step(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if threading.get_ident() != self._thread or self._signature is None:
            return original(*args, **kwargs)
        try:
            given = self._signature.bind(*args, **kwargs).arguments
        except TypeError:
            return original(*args, **kwargs)  # which says it better
        prediction, sample = given["model_output"], given["sample"]
        with unseen():
            run = self._running(sys._getframe(1))
            euler = is_euler(self._scheduler) and given.get("per_token_timesteps") is None
            taken = run.given(prediction, given.get("timestep"), sample, keep=not euler)
        result = original(*args, **kwargs)
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        with unseen():
            run.step(taken, after, euler, guidance_in(run.frame, self.pipe))
        return result

    # runs

    def _running(self, frame: FrameType | None) -> Run:
        """The run that goes on, or a new one."""
        self._watch()
        run = self._runs[-1] if self._runs and not self._runs[-1].closed else None
        frame = call_of(self.pipe, frame, None if run is None else run.frame)
        timesteps = getattr(self._scheduler, "timesteps", None)
        if run is not None and run.frame is frame and run.scheduler is self._scheduler and run.timesteps is timesteps:
            return run
        if run is not None:
            run.close()
        about = provenance.of(self.pipe, self._models, self._scheduler, frame, self._chosen)
        self._runs.append(Run(self._chosen, frame, self._scheduler, timesteps, about, provenance.embeds(frame)))
        return self._runs[-1]

    # forwards

    def _context(self, name: str, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        given = args[0] if args else kwargs.get("name", "")
        self._contexts[name] = str(given)
        return original(*args, **kwargs)

    def _before(self, name: str, module: nn.Module, args: Any) -> None:
        if threading.get_ident() != self._thread:
            return
        with unseen():
            run = self._running(sys._getframe(1))
        self._forwards[name] = Forward(name, self._contexts.pop(name, ""))
        run.forwards.append(self._forwards[name])

    def _after(self, name: str, module: nn.Module, args: Any, output: Any) -> None:
        forward = self._going(name)
        if forward is not None:
            del self._forwards[name]
            with unseen():
                forward.output = first_of(output).detach()
            forward.start = None

    def _compiled(self, name: str, compiled: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._before(name, self._models[name], args)
        output = compiled(*args, **kwargs)
        self._after(name, self._models[name], args, output)
        return output

    def _going(self, name: str) -> Forward | None:
        """The forward of that transformer that goes on in the probe's thread."""
        return self._forwards.get(name) if threading.get_ident() == self._thread else None

    # inside a forward

    def _modulated(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._keep(name, "modulated", video_in(args, kwargs))

    def _time(self, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        self._keep(name, "time_embedding", first_of(output))

    def _keep(self, name: str, signal: str, tensor: Tensor) -> None:
        forward = self._going(name)
        if forward is not None:
            with unseen():
                forward.inside[signal] = tensor.clone()

    def _enters(self, name: str, module: nn.Module, args: Any, kwargs: Any) -> None:
        forward = self._going(name)
        if forward is not None:
            with unseen():
                forward.start = video_in(args, kwargs).clone()

    def _residual(self, signal: str, name: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        forward, place = self._going(name), self._places[name]
        if forward is None or forward.start is None or place is None:
            return
        end = output[place.video] if isinstance(output, tuple) else output
        with unseen():
            forward.inside[signal] = wide(end) - forward.start
            forward.dtypes[signal] = end.dtype
            self._runs[-1].weigh()
            if signal == "residual_all" or "residual_all" not in self._inside:
                forward.start = None


def _release(mine: set[int]) -> None:
    with _lock:
        _watched.difference_update(mine)
