"""What a pipeline, its running call, its scheduler and its modules hand around, read without diffusers."""

from __future__ import annotations

import inspect
from types import FrameType
from typing import Any

from torch import Tensor, nn

from tracer.errors import RecordingError
from tracer.pipelines import parts_of
from tracer.probes.signals import Where, where
from tracer.scopes import forget

_EULER = "FlowMatchEulerDiscreteScheduler"
_SCALES = ("current_guidance_scale", "true_cfg_scale")
"""What a pipeline's loop calls the scale of true CFG, where `guidance_scale` of the pipeline is something else."""


def modules_of(pipe: Any) -> dict[str, nn.Module]:
    """The modules of a pipeline, or of a plain object that has a transformer for an attribute, by name."""
    if isinstance(pipe, nn.Module):
        return {}
    found = dict(parts_of(pipe))
    return found or {k: v for k, v in getattr(pipe, "__dict__", {}).items() if isinstance(v, nn.Module)}


def place_of(model: nn.Module) -> Where | None:
    """Where a transformer has its signals, also one that is wrapped by torch.compile; None if that is not known."""
    return where(type(getattr(model, "_orig_mod", model)))


def blocks_of(model: nn.Module, place: Where) -> list[nn.Module]:
    """All blocks, in the order in which they run. Raises AttributeError where the model is built otherwise."""
    return [block for path in place.blocks for block in model.get_submodule(path).children()]


def step_of(pipe: Any) -> inspect.Signature:
    """How the step of the pipeline's scheduler is called: with `model_output` and `sample` among its arguments.

    Where a subclass passes on whatever it is given, it is called as its base is. Raises RecordingError for a pipeline
    whose scheduler makes no steps that can be read.
    """
    scheduler = getattr(pipe, "scheduler", None)
    step = getattr(scheduler, "step", None)
    if not callable(step) or not hasattr(scheduler, "__dict__"):
        raise RecordingError(f"{type(pipe).__name__} has no scheduler with a step, so there are no steps to record.")
    bases = [vars(base)["step"].__get__(scheduler) for base in type(scheduler).__mro__ if "step" in vars(base)]
    for signature in map(inspect.signature, [step, *bases]):
        if {"model_output", "sample"} <= signature.parameters.keys():
            return signature
    raise RecordingError(f"{type(scheduler).__name__}.step takes no model_output and sample, so a step cannot be read.")


def is_euler(scheduler: Any) -> bool:
    """Whether a step adds prediction times dt and nothing else; a subclass with a step of its own may do more."""
    owner = next((base for base in type(scheduler).__mro__ if "step" in vars(base)), None)
    stochastic = getattr(getattr(scheduler, "config", None), "stochastic_sampling", False)
    return owner is not None and owner.__name__ == _EULER and not stochastic


def call_of(pipe: Any, frame: FrameType | None, known: FrameType | None) -> FrameType | None:
    """The innermost `__call__` of the pipeline that is running; `known` is one that was found before."""
    while frame is not None and frame is not known:
        code = frame.f_code
        if code.co_name == "__call__" and code.co_argcount:
            local = frame.f_locals
            mine = local.get(code.co_varnames[0]) is pipe
            forget(local)
            if mine:
                break
        frame = frame.f_back
    return frame


def guidance_in(frame: FrameType | None, pipe: Any) -> float | None:
    """The scale of classifier-free guidance in the running step, which may be another one in the next."""
    scale = None
    if frame is not None:
        local = frame.f_locals
        scale = next((local[name] for name in _SCALES if name in local), None)
        forget(local)
    if scale is None:
        guide = pipe if hasattr(pipe, "guidance_scale") else getattr(pipe, "guider", None)
        scale = getattr(guide, "guidance_scale", None)
    return float(scale) if isinstance(scale, int | float) else None


def video_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """The video's tokens that a block or an attention is called with."""
    tensor = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
    assert isinstance(tensor, Tensor)
    return tensor


def first_of(output: Any) -> Tensor:
    """The tensor that a module gives, or the first of several."""
    while not isinstance(output, Tensor):
        output = output[0]
    return output
