"""What the claims on HunyuanVideo's L1 are measured with: the pocket model in diffusers' pipeline, and its scheduler.

Runs are short, of one seed, and made once.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]

PROMPT = "a red disc moving left"
GUIDANCE = 6.0
"""The article's true_cfg_scale."""


@cache
def model() -> Any:
    """The pocket HunyuanVideo."""
    from tracer.probes import pocket

    return pocket.load("pocket-hunyuanvideo")


@cache
def log(
    steps: int, shift: float, *, cfg: float = GUIDANCE, prompt: str = PROMPT, unipc: bool = False, **size: int
) -> Any:
    """The probe's log of one run, of Euler or of UniPC; size takes seed, frames, height and width."""
    from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

    from tracer.probes import L1Probe

    flow: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction", "flow_shift": shift}
    pocket = model()
    own = pocket.pipe.scheduler
    pocket.pipe.scheduler = UniPCMultistepScheduler(**flow) if unipc else FlowMatchEulerDiscreteScheduler(shift=shift)
    try:
        with L1Probe(pocket.pipe, signals=("latents", "prediction", "modulated")) as probe:
            pocket(prompt, steps=steps, cfg=cfg, output_type="latent", **size)
    finally:
        pocket.pipe.scheduler = own
    return probe.log


def change(of: Any, signal: str = "prediction") -> Floats:
    """Relative L1 of a log's conditional prediction, or of another signal, step by step."""
    branch = None if signal == "latents" else "cond"
    return np.array(of.curve(signal, branch=branch)[1])


def steps_of(of: Any) -> Floats:
    """How far each step of a log goes down in sigma."""
    return -np.diff(of.runs[0]["sigmas"])


@cache
def watched(steps: int, shift: float) -> dict[str, list[torch.Tensor]]:
    """Every tensor of a guided run that the article wanted, by the pipeline's own callback and names.

    The pipeline is not edited: the list of what may be asked for is set on the instance.
    """
    from diffusers import FlowMatchEulerDiscreteScheduler as Euler

    pocket = model()
    asked = ["latent_model_input", "neg_noise_pred", "noise_pred", "latents"]
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in [*asked, "cond"]}

    def keep(pipe: Any, step: int, timestep: Any, given: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        for name in asked:
            seen[name].append(given[name].clone())
        return {}

    outputs: list[torch.Tensor] = []
    hook = pocket.pipe.transformer.register_forward_hook(lambda module, given, out: outputs.append(out[0]))
    own = pocket.pipe.scheduler
    pocket.pipe.scheduler = Euler.from_config(own.config, shift=shift)
    pocket.pipe._callback_tensor_inputs = asked
    try:
        pocket(
            PROMPT, steps=steps, cfg=GUIDANCE, output_type="latent",
            callback_on_step_end=keep, callback_on_step_end_tensor_inputs=asked,
        )  # fmt: skip
    finally:
        hook.remove()
        pocket.pipe.scheduler = own
        del pocket.pipe._callback_tensor_inputs
    seen["cond"] = outputs[::2]
    return seen


def size(a: torch.Tensor) -> float:
    """mean|a|."""
    return float(a.float().abs().mean())


def euler(shift: float, grid: Floats | None = None, steps: int = 50) -> Any:
    """diffusers' scheduler with a shift, on the grid that HunyuanVideo's pipeline hands it, or on another."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1] if grid is None else grid)
    return scheduler


def walk(shift: float, steps: int = 50) -> Floats:
    """The sigmas of that scheduler, from 1 to 0."""
    return euler(shift, steps=steps).sigmas.double().numpy()


def falling(values: Any) -> bool:
    """Whether each value is below the one before."""
    return bool((np.diff(values) < 0).all())


def near(a: Any, b: Any, by: float) -> bool:
    """Whether two arrays agree to a given distance."""
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() <= by)


def derived(text: str, gradient: str) -> bool:
    """Whether a formula in t and s has that derivative in t, for every shift s."""
    import sympy

    s, t = sympy.symbols("s t", positive=True)
    curve, slope = (sympy.sympify(formula, locals={"s": s, "t": t}) for formula in (text, gradient))
    return bool(sympy.simplify(sympy.diff(curve, t) - slope) == 0)
