"""Samplers by name, which of them a pipeline takes, and a scheduler of that kind for one run. No diffusers import."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tracer.errors import BadRequest, UnknownName
from tracer.probes.handover import hand_to

FLOW, ALPHAS = "flow", "alphas"
"""What a sampler walks on: sigmas of flow matching, or CogVideoX's grid of alphas."""


@dataclass(frozen=True)
class Sampler:
    """A diffusers scheduler class, what it walks on, what its config needs, and why it is refused, if it is."""

    scheduler: str
    walks: str
    changes: dict[str, Any] = field(default_factory=dict)
    refused: str = ""


SAMPLERS = {
    "euler": Sampler("FlowMatchEulerDiscreteScheduler", FLOW),
    "unipc": Sampler(
        "UniPCMultistepScheduler", FLOW, {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
    ),
    "lcm": Sampler("FlowMatchLCMScheduler", FLOW),
    "heun": Sampler(
        "FlowMatchHeunDiscreteScheduler", FLOW, refused="its set_timesteps takes no sigmas, and half of its forwards "
        "are no steps"
    ),
    "ddim": Sampler("CogVideoXDDIMScheduler", ALPHAS),
    "dpm": Sampler("CogVideoXDPMScheduler", ALPHAS),
}  # fmt: skip


def walks_on(scheduler: Any) -> str:
    """What a scheduler walks on: `FLOW`, `ALPHAS`, or nothing where it is neither."""
    config = scheduler.config
    if "snr_shift_scale" in config:
        return ALPHAS
    flow = type(scheduler).__name__.startswith("FlowMatch") or config.get("use_flow_sigmas")
    return FLOW if flow else ""


def working(scheduler: Any) -> list[str]:
    """The samplers that can take the place of a pipeline's scheduler."""
    kind = walks_on(scheduler)
    return [name for name, sampler in SAMPLERS.items() if sampler.walks == kind and not sampler.refused]


def check_sampler(name: str) -> None:
    """Raise UnknownName for a sampler that nobody knows."""
    if name not in SAMPLERS:
        raise UnknownName("sampler", name, SAMPLERS)


def scheduler_for(model: str, scheduler: Any, sampler: str | None, schedule: str | None, library: Any) -> Any:
    """A new scheduler for one run in place of a pipeline's own; the own one where nothing else is asked for.

    model: what the sentences call it. library: the module that has the scheduler classes. Raises UnknownName for a
    sampler that is not known, BadRequest for one that the model does not take and what `hand_to` refuses.
    """
    if sampler is not None:
        scheduler = _sampling(model, scheduler, sampler, library)
    if schedule is None:
        return scheduler
    kind = walks_on(scheduler)
    name, _, scale = schedule.partition(":")
    if name == "flow" and kind == ALPHAS:
        predicts = scheduler.config.get("prediction_type", "").removesuffix("_prediction")
        raise BadRequest(
            f"--shift {scale} moves the sigmas of flow matching, and {model} has none: it predicts {predicts} and its "
            f"{type(scheduler).__name__} walks a grid of alphas, which --snr-shift 3 shifts."
        )
    if name == "snr" and kind == FLOW:
        raise BadRequest(
            f"--snr-shift {scale} shifts a grid of alphas, and {model} has none: its {type(scheduler).__name__} walks "
            "the sigmas of flow matching, which --shift 7 moves."
        )
    return hand_to(scheduler, schedule)


def _sampling(model: str, scheduler: Any, name: str, library: Any) -> Any:
    check_sampler(name)
    sampler, works = SAMPLERS[name], working(scheduler)
    if name not in works:
        walks = {FLOW: "walks sigmas of flow matching", ALPHAS: "walks CogVideoX's grid of alphas"}
        why = sampler.refused or f"it {walks[sampler.walks]}, and {type(scheduler).__name__} does not"
        those = f"those that work are {', '.join(works)}." if works else "leave --sampler out."
        raise BadRequest(f"{model} does not take the sampler {name}: {why}; {those}")
    made = getattr(library, sampler.scheduler)
    config = dict(scheduler.config)
    shift = {"flow_shift": config["shift"]} if name == "unipc" and "shift" in config else {}
    if name != "unipc" and "flow_shift" in config:
        shift = {"shift": config["flow_shift"]}
    return made.from_config(config, **sampler.changes | shift)
