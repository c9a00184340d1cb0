"""What one run of a pipeline gave: values as they come, kept on the device, read when the log is asked for.

A run is one pass through the scheduler's timesteps. Tensors are kept for as long as something is compared with them:
one copy of each signal and branch of the step before and, where that metric is asked for, one of the last computed
step. Everything else that stays are numbers, as 0-dim tensors that are stacked and moved to the host once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tracer.probes.log import Row
from tracer.probes.metrics import changes, euler_change, mean_abs, per_dt, rel_l1, rounding_bound, wide
from tracer.probes.provenance import digest

PREDICTION_DT = "prediction*dt"
DIFFERENCE = "difference"


class Chosen(NamedTuple):
    """What is measured: names, the threshold of the last computed step, the axis of the latents' channels."""

    signals: tuple[str, ...]
    metrics: tuple[str, ...]
    threshold: float
    channels: int


class Forward:
    """One forward of a transformer: which one, its cache context, its output, and what was seen inside."""

    __slots__ = ("context", "dtypes", "inside", "output", "start", "transformer")

    def __init__(self, transformer: str, context: str) -> None:
        self.transformer = transformer
        self.context = context
        self.output: Tensor | None = None
        self.inside: dict[str, Tensor] = {}
        self.dtypes: dict[str, torch.dtype] = {}  # of the activations, where what is kept of them is wider
        self.start: Tensor | None = None  # the first block's input, until the last block's output

    def tensors(self) -> list[Tensor]:
        """What is kept of it."""
        return [*self.inside.values(), *([] if self.start is None else [self.start])]


class Given(NamedTuple):
    """What the scheduler's step is called with, the values that its change of the latents may spoil taken already."""

    prediction: Tensor
    timestep: Any
    sample: Tensor
    size: Tensor | None


class _Step(NamedTuple):
    timestep: Any
    sigma: Any
    dt: Any
    guidance: float | None


class _Entry(NamedTuple):
    step: int
    signal: str
    branch: str
    metric: str
    method: str
    dtype: str
    bound: Tensor | None
    value: Tensor


@contextlib.contextmanager
def unseen() -> Iterator[None]:
    """Measure without gradients, and without a recorder taking it for work of the pipeline."""
    with torch.no_grad(), torch._C.DisableTorchFunction():
        yield


@dataclass
class Run:
    """The steps of one run.

    `frame` is that of the pipeline's call while it runs, `timesteps` the scheduler's tensor of that name.
    """

    chosen: Chosen
    frame: Any
    scheduler: Any
    timesteps: Any
    provenance: dict[str, Any]
    embeds: Any = None  # of the prompt, where there is no text
    closed: bool = False
    complete: bool = False
    bytes: int = 0
    peak_bytes: int = 0
    forwards: list[Forward] = field(default_factory=list)
    _counts: list[int] = field(default_factory=list)
    _models: list[str] = field(default_factory=list)
    _steps: list[_Step] = field(default_factory=list)
    _entries: list[_Entry] = field(default_factory=list)
    _before: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _last: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    _model: str | None = None
    _sigma: Any = None  # of the step before
    _moved: tuple[list[_Step], list[tuple[_Entry, float | None, float]]] | None = None

    # the scheduler's step

    def given(self, prediction: Tensor, timestep: Any, sample: Tensor, keep: bool) -> Given:
        """What the step is about to use; `keep` copies the latents, for a difference to what comes of them."""
        wanted = "latents" in self.chosen.signals
        size = mean_abs(sample) if wanted and "mean_abs" in self.chosen.metrics else None
        return Given(prediction, timestep, sample.detach().clone() if wanted and keep else sample, size)

    def weigh(self) -> None:
        """Note what is kept now, if it is the most so far."""
        kept = [*self._before.values(), *self._last.values()]
        self.peak_bytes = max(self.peak_bytes, _bytes([*kept, *(t for f in self.forwards for t in f.tensors())]))

    def step(self, given: Given, after: Tensor, euler: bool, guidance: Any) -> None:
        """The scheduler has made a step: measure it, and let go of what nobody compares with any more."""
        sigma, dt = self._sigmas()
        branches = self._branches(given.sample.shape[0])
        guided = "uncond" in branches
        self._steps.append(_Step(given.timestep, sigma, dt, guidance if guided else 1.0))
        self._counts.append(len(self.forwards))
        now: dict[tuple[str, str], Tensor] = {}
        dtypes: dict[str, torch.dtype] = {}
        if "prediction" in self.chosen.signals:
            for branch, (forward, half) in branches.items():
                assert forward.output is not None
                now["prediction", branch] = _part(forward.output, half).clone()
            now["prediction", "combined"] = given.prediction.detach().clone()
        for branch, (forward, half) in branches.items():
            dtypes |= forward.dtypes
            for signal, tensor in forward.inside.items():
                now[signal, branch] = _part(tensor, half)
        self._switch(branches)
        between = None if sigma is None or self._sigma is None else sigma - self._sigma
        self._latents(given, after, dt, euler)
        self._after(after)
        kept = [*self._before.values(), *self._last.values()]
        self.peak_bytes = max(self.peak_bytes, _bytes([*kept, *now.values()]))
        for key, tensor in now.items():
            self._compare(key, tensor, between, dtypes.get(key[0], tensor.dtype))
        self._before = now
        self.bytes = max(self.bytes, _bytes([*now.values(), *self._last.values()]))
        self._sigma = sigma
        self.forwards = []
        # the scheduler has come to its end; where it does not say, the run ends with the call or the next run
        total = None if self.timesteps is None else len(self.timesteps)
        if total and total in (len(self._steps), getattr(self.scheduler, "step_index", None)):
            self.close(complete=True)

    def _sigmas(self) -> tuple[Any, Any]:
        """Sigma and dt of the step just made, where the scheduler has them; dt has the sign that Euler gives it."""
        sigmas = getattr(self.scheduler, "sigmas", None)
        after = getattr(self.scheduler, "step_index", None)
        if sigmas is None or after is None or not 1 <= after < len(sigmas):
            return None, None
        return sigmas[after - 1], sigmas[after] - sigmas[after - 1]

    def _branches(self, samples: int) -> dict[str, tuple[Forward, int | None]]:
        """Which forward, and which half of its samples, gave each branch."""
        out: dict[str, tuple[Forward, int | None]] = {}
        for forward in self.forwards:
            if forward.output is None:
                continue
            if forward.output.shape[0] == 2 * samples:
                out.setdefault("uncond", (forward, 0))
                out.setdefault("cond", (forward, 1))
            elif forward.context.removeprefix("pred_").startswith("uncond"):
                out.setdefault("uncond", (forward, None))
            elif "cond" in forward.context or "cond" not in out:
                out.setdefault("cond", (forward, None))
            elif not forward.context:
                out.setdefault("uncond", (forward, None))
        return dict(sorted(out.items()))

    def _switch(self, branches: dict[str, tuple[Forward, int | None]]) -> None:
        """Another transformer goes on: what was inside the one before is nothing to compare with."""
        model = next((forward.transformer for forward, _ in branches.values()), None)
        if model != self._model:
            for table in (self._before, self._last):
                for key in [k for k in table if k[0] != "prediction"]:
                    del table[key]
        self._model = model
        self._models.append(model or "")

    # metrics

    def _latents(self, given: Given, after: Tensor, dt: Any, euler: bool) -> None:
        signals, metrics = self.chosen.signals, self.chosen.metrics
        dtype = _name(after.dtype)
        if "latents" not in signals:
            return
        if given.size is not None:
            self._note("latents", "", "mean_abs", given.size, given.sample.dtype)
        bound = None
        if euler and dt is not None:
            method, change = PREDICTION_DT, euler_change(given.prediction, dt)
            end = given.sample + change
        else:
            method, end = DIFFERENCE, after
            change = wide(after) - given.sample
            bound = rounding_bound(after, given.sample) if after.is_floating_point() else None
        for metric, value in changes(metrics, end, given.sample, change, dt, self.chosen.channels).items():
            limit = {"rel_l1": bound, "rel_l1_per_dt": None if bound is None or dt is None else per_dt(bound, dt)}
            self._entries.append(
                _Entry(len(self._steps) - 1, "latents", "", metric, method, dtype, limit.get(metric), value)
            )

    def _after(self, after: Tensor) -> None:
        if "latents_after" in self.chosen.signals and "mean_abs" in self.chosen.metrics:
            self._note("latents_after", "", "mean_abs", mean_abs(after), after.dtype)

    def _compare(self, key: tuple[str, str], tensor: Tensor, dt: Any, dtype: torch.dtype) -> None:
        signal, branch = key
        metrics = self.chosen.metrics
        dim = self.chosen.channels if signal == "prediction" else -1
        if "mean_abs" in metrics:
            self._note(signal, branch, "mean_abs", mean_abs(tensor), dtype)
        before = self._before.get(key)
        if before is not None and before.shape == tensor.shape:
            change = wide(tensor) - before
            for metric, value in changes(metrics, tensor, before, change, dt, dim).items():
                self._note(signal, branch, metric, value, dtype)
        if "rel_l1_computed" in metrics:
            last = self._last.get(key)
            if last is None or last.shape != tensor.shape:
                self._last[key] = tensor.clone()
                return
            value = rel_l1(tensor, last)
            self._note(signal, branch, "rel_l1_computed", value, dtype)
            # decided on the device: asking whether it is over the threshold would wait for it
            torch.where(value > self.chosen.threshold, tensor, last, out=last)

    def _note(self, signal: str, branch: str, metric: str, value: Tensor, dtype: torch.dtype) -> None:
        self._entries.append(_Entry(len(self._steps) - 1, signal, branch, metric, "", _name(dtype), None, value))

    # results

    def close(self, *, complete: bool = False) -> None:
        """No more steps: let go of all tensors but the numbers."""
        self.closed, self.complete = True, self.complete or complete
        if self.embeds is not None:
            if self.embeds.device.type != "meta":
                self.provenance["prompt_embeds_sha256"] = digest(self.embeds)
            self.embeds = None
        self.frame = self.scheduler = self.timesteps = self._sigma = None
        self._before, self._last, self.forwards = {}, {}, []

    @property
    def steps(self) -> int:
        """How many steps were made."""
        return len(self._steps)

    def told(self) -> dict[str, Any]:
        """Where the values come from, as JSON has it."""
        counts = sorted(set(self._counts))
        told = self.provenance | {
            "steps": self.steps,
            "complete": self.complete,
            "forwards_per_step": counts[0] if len(counts) == 1 else list(self._counts),
            "bytes": self.bytes,
        }
        if len(set(self._models)) > 1:
            told["transformer_of_step"] = list(self._models)
        sigmas = [(step.sigma, step.dt) for step in self._read()[0]]
        if sigmas and all(dt is not None for _, dt in sigmas):
            told["sigmas"] = [*(sigma for sigma, _ in sigmas), sum(sigmas[-1])]
        return told

    def rows(self, number: int) -> list[Row]:
        """The run's values, as rows of a log that counts this run by that number."""
        steps, values = self._read()
        return [
            Row(
                number, e.step, steps[e.step].timestep, steps[e.step].sigma, steps[e.step].dt, steps[e.step].guidance,
                e.signal, e.branch, e.metric, e.method, e.dtype, bound, value,
            )
            for e, bound, value in values
        ]  # fmt: skip

    def _read(self) -> tuple[list[_Step], list[tuple[_Entry, float | None, float]]]:
        """All numbers, moved from the device at the first asking after the end of the run."""
        if self._moved is None or not self.closed:
            scalars = [x for s in self._steps for x in s[:3]] + [x for e in self._entries for x in (e.bound, e.value)]
            numbers = iter(_numbers(scalars))
            steps = [_Step(next(numbers), next(numbers), next(numbers), s.guidance) for s in self._steps]
            values = []
            for entry in self._entries:
                bound, value = next(numbers), next(numbers)
                assert value is not None
                values.append((entry, bound, value))
            self._moved = steps, values
        return self._moved


def _part(tensor: Tensor, half: int | None) -> Tensor:
    """The samples of one branch: half of them in a forward of both branches, where the tensor has them all."""
    if half is None or tensor.shape[0] % 2:
        return tensor
    return tensor.chunk(2)[half]


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _bytes(tensors: Iterable[Tensor]) -> int:
    """What tensors take together, a shared storage once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def _numbers(values: list[Any]) -> list[float | None]:
    """0-dim tensors and plain numbers as floats; one move to the host for each device and dtype."""
    kinds: dict[tuple[torch.device, torch.dtype], list[int]] = {}
    out: list[float | None] = []
    for i, value in enumerate(values):
        if isinstance(value, Tensor):
            kinds.setdefault((value.device, value.dtype), []).append(i)
            out.append(None)
        else:
            out.append(None if value is None else float(value))
    for places in kinds.values():
        moved = torch.stack([values[i].reshape(-1)[0] for i in places]).cpu().tolist()
        for i, number in zip(places, moved, strict=True):
            out[i] = float(number)
    return out
