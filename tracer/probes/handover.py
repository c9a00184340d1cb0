"""Giving a schedule to a diffusers scheduler, so that a pipeline walks exactly its sigmas.

A flow matching scheduler shifts whatever sigmas it is given, and the pipelines give their own: neither knows of the
other. Here the scheduler is made anew without any shift, and its set_timesteps answers with the schedule's sigmas,
whatever a pipeline asks for besides the number of steps. Schedulers are known by what they do, not by their class:
after the hand-over the sigmas are read back, and one that changed them is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import MethodType
from typing import Any

import numpy as np

from tracer.errors import BadRequest
from tracer.probes.named import Placed
from tracer.probes.named import schedule as named
from tracer.probes.schedules import HANDED, Array, Schedule, step_count
from tracer.probes.shifts import flow
from tracer.probes.snr_shift import SnrShift

PLAIN: dict[str, Any] = {
    "shift": 1.0,
    "flow_shift": 1.0,
    "use_dynamic_shifting": False,
    "shift_terminal": None,
    "use_karras_sigmas": False,
    "use_exponential_sigmas": False,
    "use_beta_sigmas": False,
    "final_sigmas_type": "zero",
}
"""Config fields that would move sigmas, at the value that leaves them alone."""

WORKING = "FlowMatchEulerDiscreteScheduler, FlowMatchLCMScheduler and UniPCMultistepScheduler with use_flow_sigmas"

CLOSE = 2e-6
"""How far a scheduler's sigmas may be from the schedule's: UniPC takes 1e-6 off the first, and all are float32."""


def _refused(scheduler: Any, why: str) -> BadRequest:
    return BadRequest(f"{type(scheduler).__name__} cannot be given a schedule: {why} Those that can are {WORKING}.")


def _remade(scheduler: Any, changes: dict[str, Any]) -> Any:
    # as keywords: a config says which fields were left at their default, and from_config drops those from it
    return type(scheduler).from_config(scheduler.config, **{k: v for k, v in changes.items() if k in scheduler.config})


def _host(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu() if hasattr(tensor, "detach") else tensor, dtype=np.float64)


def _check(scheduler: Any, wanted: Array) -> None:
    """Raise BadRequest unless the scheduler's sigmas are those of flow matching, and the ones wanted."""
    config = scheduler.config
    levels = _host(scheduler.sigmas)
    train = config.get("num_train_timesteps", 1000)
    clock = _host(scheduler.timesteps) / train
    wanted = 1 - wanted if config.get("invert_sigmas") else wanted
    if levels.shape != wanted.shape or np.abs(levels - wanted).max() > CLOSE:
        raise _refused(scheduler, "it changes the sigmas that it is given.")
    if clock.shape != wanted[:-1].shape or np.abs(clock - wanted[:-1]).max() > 1 / train + CLOSE:
        raise _refused(scheduler, "its timesteps are not those of flow matching, 1000 sigma.")


def _asked(given: dict[str, Any]) -> int:
    """The number of steps that a caller of set_timesteps means: said, or the length of sigmas or timesteps."""
    lengths = [len(given[key]) for key in ("sigmas", "timesteps") if given.get(key) is not None]
    return step_count(
        given["num_inference_steps"] if given.get("num_inference_steps") is not None else max(lengths, default=None)
    )


def _following(scheduler: Any, schedule: Schedule) -> Any:
    """The scheduler made anew, with a set_timesteps of its own that answers with the schedule."""

    def answer(new: Any, given: dict[str, Any]) -> None:
        sigmas = schedule.sigmas(_asked(given))
        if len(np.unique(sigmas.astype(np.float32))) < len(sigmas):
            raise BadRequest(
                f"{schedule.name} at {len(sigmas) - 1} steps has sigmas that float32 cannot tell apart: take fewer "
                "steps or a milder schedule."
            )
        type(new).set_timesteps(new, device=given.get("device"), sigmas=sigmas[:-1])

    return _answering(_remade(scheduler, PLAIN), answer)


def _answering(new: Any, answer: Callable[[Any, dict[str, Any]], None]) -> Any:
    """The scheduler with an `answer` in place of set_timesteps, under the same signature."""
    signature = inspect.signature(type(new).set_timesteps)

    def set_timesteps(*args: Any, **named_args: Any) -> None:
        answer(args[0], signature.bind(*args, **named_args).arguments)

    set_timesteps.__signature__ = signature  # type: ignore[attr-defined]  # pipelines look for "sigmas" in it
    new.set_timesteps = MethodType(set_timesteps, new)  # bound, so that a deep copy is bound to the copy
    return new


def hand_to(scheduler: Any, schedule: str | Placed, steps: int | None = None) -> Any:
    """A new scheduler of the same class and config that walks the schedule; the one given stays as it is.

    scheduler: a diffusers scheduler that takes flow sigmas, or one of CogVideoX for an `SnrShift`. schedule: by name or
    as it is. steps: set at once, so that `sigmas` and `timesteps` can be read; whoever calls set_timesteps later says
    the number of steps anew, and sigmas, timesteps and mu that come along (pipelines pass their own) are not used. Its
    sigmas are the schedule's in float32, not shifted again; UniPC takes 1e-6 off the first, a scheduler with
    invert_sigmas (Mochi) holds 1 - sigma.

    Raises BadRequest for a schedule that is no bijection, for steps below 1, for a scheduler that takes no sigmas,
    changes them or means others than flow matching's, and for a grid of alphas and a scheduler that do not belong
    together.
    """
    found = named(schedule) if isinstance(schedule, str) else schedule
    if isinstance(found, SnrShift):
        return _hand_grid(scheduler, found, steps)
    if not found.members:  # whose reason depends on the number of steps
        found.require()
    if not hasattr(scheduler, "set_timesteps") or not hasattr(type(scheduler), "from_config"):
        raise BadRequest(f"a {type(scheduler).__name__} is no scheduler: it has no set_timesteps and from_config.")
    if "snr_shift_scale" in scheduler.config:
        raise _refused(
            scheduler, "its noise levels are rows of a grid of alphas; shift those with snr:3 (--snr-shift 3)."
        )
    if "sigmas" not in inspect.signature(type(scheduler).set_timesteps).parameters:
        raise _refused(scheduler, "its set_timesteps takes no sigmas.")
    _try(scheduler)
    new = _following(scheduler, found)
    setattr(new, HANDED, found.name)
    if steps is not None:
        new.set_timesteps(steps)
    return new


def _try(scheduler: Any) -> None:
    """Raise BadRequest unless a scheduler like this one keeps a few sigmas as they are."""
    trial = flow(3)
    new = _following(scheduler, trial)
    try:
        new.set_timesteps(4)
    except (TypeError, ValueError) as error:
        raise _refused(scheduler, f"it does not take them ({str(error).split('. ')[0].rstrip('.')}).") from error
    _check(new, trial.sigmas(4))


def _hand_grid(scheduler: Any, grid: SnrShift, steps: int | None) -> Any:
    config = getattr(scheduler, "config", {})
    if "snr_shift_scale" not in config:
        raise BadRequest(
            f"{type(scheduler).__name__} has no grid of alphas to shift: {grid.name} is for CogVideoXDDIMScheduler and "
            "CogVideoXDPMScheduler; give this one flow:7, say."
        )
    new = _remade(
        scheduler,
        {
            "snr_shift_scale": grid.scale,
            "rescale_betas_zero_snr": grid.zero_snr,
            "timestep_spacing": "trailing",
            "num_train_timesteps": grid.train_steps,
            "beta_schedule": "scaled_linear",
            "beta_start": grid.beta_start,
            "beta_end": grid.beta_end,
            "trained_betas": None,
        },
    )
    if np.abs(_host(new.alphas_cumprod) - grid.alphas).max() > CLOSE:
        raise BadRequest(f"{type(scheduler).__name__} makes another grid of alphas than {grid.name}.")

    def answer(self: Any, given: dict[str, Any]) -> None:
        rows = grid.timesteps(_asked(given))
        type(self).set_timesteps(self, len(rows), device=given.get("device"))
        if len(self.timesteps) != len(rows):  # rounding in its arange: 61 steps get a 62nd at timestep -1, all noise
            raise BadRequest(
                f"{type(self).__name__} makes {len(self.timesteps)} timesteps of {len(rows)} steps, the last "
                f"{int(self.timesteps[-1])}: take another number of steps, such as {len(rows) - 1}."
            )

    setattr(_answering(new, answer), HANDED, grid.name)
    if steps is not None:
        new.set_timesteps(steps)
    return new


@contextmanager
def using(pipe: Any, schedule: str | Placed) -> Iterator[Any]:
    """Let a pipeline walk a schedule within a `with` block, at any number of steps.

    pipe: anything with a scheduler, which is replaced by `hand_to`'s new one and put back at the end, also after an
    exception. Yields the new scheduler. Raises BadRequest for a pipeline without a scheduler and what `hand_to` raises,
    before anything is changed.
    """
    before = getattr(pipe, "scheduler", None)
    if before is None:
        raise BadRequest(f"{type(pipe).__name__} has no scheduler to give a schedule to.")
    new = hand_to(before, schedule)
    pipe.scheduler = new
    try:
        yield new
    finally:
        pipe.scheduler = before
