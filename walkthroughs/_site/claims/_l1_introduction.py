"""The claims of the introduction of the article on HunyuanVideo's L1: schedules in use, and TeaCache."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import numpy as np

from claims._l1_runs import derived, euler, falling, near, walk
from claims.claim import UNSAID, Claim, Part

_START = "Introduction"


@cache
def _linear_quadratic() -> Any:
    """Sigmas of diffusers' linear-quadratic schedule, 50 steps, a tenth of the noise in the straight half."""
    from diffusers.pipelines.mochi.pipeline_mochi import linear_quadratic_schedule

    return np.array([*linear_quadratic_schedule(50, 0.1), 0.0])


def _straight_then_bent() -> tuple[bool, bool, bool]:
    steps = -np.diff(_linear_quadratic())
    bend = np.diff(steps[25:])
    grows = bool((np.diff(steps) > -1e-12).all())
    return near(steps[:25], steps[0], 1e-12), near(bend, bend[0], 1e-12) and bool(bend[0] > 0), grows


def _progress(emulated: int) -> float:
    """The way that 25 steps go in a linear run of so many, with diffusers' scheduler."""
    return float(1 - walk(1.0, emulated)[25])


def _follows_flow(shift: float, sigmas: Any, grid: Any) -> bool:
    return near(sigmas, shift * grid / (1 + (shift - 1) * grid), 1e-5)


def _hunyuan_follows() -> bool:
    return _follows_flow(7.0, walk(7.0), np.linspace(1, 0, 51))


def _wan_follows() -> bool:
    from diffusers import UniPCMultistepScheduler

    scheduler = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0)
    scheduler.set_timesteps(50)
    return _follows_flow(5.0, scheduler.sigmas.double().numpy()[:-1], np.linspace(1, 1e-3, 51)[:-1])


def _flux_follows() -> bool:
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    scheduler.set_timesteps(sigmas=np.linspace(1, 1 / 50, 50), mu=1.15)
    return _follows_flow(float(np.exp(1.15)), scheduler.sigmas.double().numpy(), np.linspace(1, 0, 51))


def _slope(end: int, shift: float = 7.0) -> float:
    """The slope of diffusers' shifted sigmas at t = 1 or t = 0, over a thousandth of the way."""
    sigmas = euler(shift, np.array([1, 1 - 1e-3, 1e-3])).sigmas.double().numpy()
    return float(sigmas[0] - sigmas[1] if end else sigmas[2]) / 1e-3


def _at_half() -> tuple[float, ...]:
    """The way gone after half of 50 steps: shift 7, shift 17, linear-quadratic, shift 9."""
    return tuple(float(1 - sigmas[25]) for sigmas in (walk(7.0), walk(17.0), _linear_quadratic(), walk(9.0)))


def _script(t: float) -> float:
    """Progress of the script's curve at t."""
    from tracer.probes import schedule

    return 1 - float(schedule("article-lq:1.57").value(t))


def _script_slope(first: float) -> float:
    """Progress in a step of 50, over a short way from t = first down."""
    h = 1e-7
    return (_script(first - h) - _script(first)) / (50 * h)


def _published_shift() -> float:
    from tracer import families

    family, checkpoint = families.find("hunyuanvideo")
    return float(families.pipeline_of(family, checkpoint).parts["scheduler"].config["shift"])


def _takes_shift(*names: str) -> bool:
    import diffusers

    made = [inspect.signature(getattr(diffusers, name).__init__).parameters for name in names]
    return any("shift" in name for given in made for name in given if name != "use_dynamic_shifting")


def _opensora_shifts() -> tuple[float, float]:
    from tracer.probes.shifts import opensora_shift

    return opensora_shift(480, 854, 51), opensora_shift(720, 1280, 204)


def _reuse_is_a_long_step() -> bool:
    """50 equal steps in which predictions are kept for several, against one step in place of each such group."""
    import torch

    kept = np.cumsum([0, 1, 1, 1, 2, 2, 3, 4, 6, 10])
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(1000, generator=draw)
    predictions = [torch.randn(1000, generator=draw) for _ in kept]
    many, few = euler(1.0), euler(1.0, 1 - kept / 50)
    x = y = start
    for i, t in enumerate(many.timesteps):
        x = many.step(predictions[int(np.searchsorted(kept, i, side="right")) - 1], t, x).prev_sample
    for prediction, t in zip(predictions, few.timesteps, strict=True):
        y = few.step(prediction, t, y).prev_sample
    return near(x, y, 1e-4)


def _thinned() -> Any:
    """The flow shift nearest to 10 of 50 equal steps, thinned more and more."""
    from tracer.probes.spread import nearest_shift

    return nearest_shift(np.linspace(1, 0, 11), 1 - np.cumsum([0, 1, 1, 1, 2, 2, 3, 4, 6, 10, 20]) / 50)


INTRODUCTION = (
    Claim(
        "l1/figure-of-movie-gen", _START,
        "Plots of the change per step in papers, such as Movie Gen's, show that the first steps contribute most and "
        "the late ones little.",
        "What that figure shows is a distance between inputs and outputs of transformer blocks, by the summaries we "
        "could read; it is neither a change of latents nor a change from step to step.",
        source="Polyak et al., Movie Gen (arXiv 2410.13720), as summarised by third parties; not read in full here",
        unchecked="The figure is of an unpublished model of 30 billion parameters.",
    ),
    Claim(
        "l1/linear-quadratic", _START,
        "Movie Gen's schedule is linear over the first half of the steps and quadratic over the second, so that it "
        "goes carefully first and far later.",
        "diffusers has the schedule for Mochi and LTX. The first 25 of 50 steps are equal, from there they grow by "
        "the same amount each time.",
        (
            Part("the first half of the steps are equal, the rest grow evenly, none is shorter than the one before",
                 (True, True, True), (True, True, True), _straight_then_bent),
        ),
        "diffusers pipelines/mochi/pipeline_mochi.py:61-75, linear_quadratic_schedule",
    ),
    Claim(
        "l1/linear-quadratic-250", _START,
        "With steps as short as those of 250 linear ones, the first 25 steps advance by 0.1 of the way.",
        "25 of 250, and a quarter of that with 1000.",
        (
            Part("way that 25 of 250 linear steps go", 0.1, 0.1, lambda: _progress(250), 1e-5),
        ),
    ),
    Claim(
        "l1/linear-quadratic-figure", _START,
        "The paper's drawing of the schedule has the slope of 1000 linear steps in its first half, and is therefore "
        "not the schedule of the text.",
        "The arithmetic is right: 25 of 1000 steps are 0.025 and not 0.1. What the drawing shows we could not see.",
        source="Movie Gen (arXiv 2410.13720); genmo's Mochi uses 0.025 at 50 steps: src/mochi_preview/infer.py",
        unchecked="The drawing itself is not at hand.",
    ),
    Claim(
        "l1/dashed-line", _START,
        "The plotting script marks the level of the linear-quadratic curve after half of its steps with a dashed "
        "line.",
        "The line of the script is a little high. A slip of the plot, which changes nothing in the text.",
        (
            Part("progress after 25 of 50 linear-quadratic steps", 0.11, 0.1,
                 lambda: float(1 - _linear_quadratic()[25]), 1e-6),
        ),
    ),
    Claim(
        "l1/flow-shift", _START,
        "HunyuanVideo and Wan2.1 place their steps with the flow shift that SD3 and FLUX.1 use, s t / (1 + (s-1) t).",
        "All three schedulers of diffusers walk that function. FLUX computes its s from the number of image tokens, "
        "as the exponential of a linear law; it is the same function.",
        (
            Part("HunyuanVideo's scheduler at shift 7 walks that function", True, True, _hunyuan_follows),
            Part("Wan's UniPC at flow shift 5 walks it", True, True, _wan_follows),
            Part("FLUX's dynamic shift walks it, with s = exp(mu)", True, True, _flux_follows),
        ),
        "diffusers schedulers/scheduling_flow_match_euler_discrete.py, set_timesteps and time_shift",
    ),
    Claim(
        "l1/flow-shift-slopes", _START,
        "The derivative is s / (1 + (s-1) t)²: 1/s at the noisy end t = 1, where sampling begins, and s at t = 0.",
        "So the first of N steps is about 1/s and the last about s of an equal step's length.",
        (
            Part("the derivative of the formula, for every s", True, True,
                 lambda: derived("s*t/(1+(s-1)*t)", "s/(1+(s-1)*t)**2")),
            Part("slope of diffusers' sigmas at t = 1, shift 7", 1 / 7, 1 / 7, lambda: _slope(1), 0.01),
            Part("slope of diffusers' sigmas at t = 0, shift 7", 7.0, 7.0, lambda: _slope(0), 0.01),
        ),
    ),
    Claim(
        "l1/careful-start", _START,
        "The flow shift and the linear-quadratic schedule have in common that they start with short steps and end "
        "with long ones.",
        "They do, to different degrees: half of the steps go an eighth of the way at shift 7, an eighteenth at 17 and "
        "a tenth on the linear-quadratic schedule, which is as far as a shift of 9 goes.",
        (
            Part("steps of the flow shift 7 grow from the first to the last", True, True,
                 lambda: falling(np.diff(walk(7.0)))),
            Part("those of the flow shift 17 do", True, True, lambda: falling(np.diff(walk(17.0)))),
            Part("after half of the steps each has gone less than a fifth of the way", True, True,
                 lambda: max(_at_half()) < 0.2),
            Part("way gone by then: shift 7, shift 17, linear-quadratic, shift 9", UNSAID, (1 / 8, 1 / 18, 0.1, 0.1),
                 _at_half, 1e-5),
        ),
    ),
    Claim(
        "l1/script-slope", _START,
        "In the script, a parabola shifted by a = 1.57 continues the straight part of the linear-quadratic curve with "
        "the same slope and reaches the end at step 50.",
        "The slopes meet to one in a thousand; the exact a is 1.56865.",
        (
            Part("slope of the parabola at the joint, in shares of the way a step", 0.004, 0.004003,
                 lambda: _script_slope(0.5), 0.001),
            Part("slope of the straight part", 0.004, 0.004, lambda: _script_slope(0.75), 1e-6),
            Part("progress at the end", 1.0, 1.0, lambda: _script(1e-12), 1e-9),
        ),
    ),
    Claim(
        "l1/script-joint", _START,
        "The plot's legend calls that curve smooth: the two parts meet.",
        "Their slopes meet, their values do not: the parabola begins at its own height above 0.1, since the square of "
        "a was not taken off. The step into the joint is 0.00714 in place of 0.004. With 0.00128 u² + 0.004 u + 0.1, "
        "u steps after the joint, both meet.",
        (
            Part("jump of the curve at the joint", 0.0, 0.00314, lambda: _script(0.5) - _script(0.5 + 1e-12), 0.001),
            Part("length of the step into the joint", UNSAID, 0.00714, lambda: _script(0.5) - _script(0.52), 0.001),
        ),
        "tracer/probes/article.py, article_linear_quadratic",
    ),
    Claim(
        "l1/shift-7", _START,
        "HunyuanVideo's own shift is 7.",
        "The published scheduler config and the default of the original code have 7. The documentation of diffusers "
        "advises 2 to 5 for low and 7 to 12 for high resolutions.",
        (
            Part("shift in this package's copy of the published scheduler config", 7.0, 7.0, _published_shift),
        ),
        "Tencent-Hunyuan/HunyuanVideo hyvideo/config.py:187; diffusers "
        "scripts/convert_hunyuan_video_to_diffusers.py:281",
    ),
    Claim(
        "l1/shift-17", _START,
        "HunyuanVideo is also run with a shift of 17.",
        "Two published uses: HunyuanVideo-I2V without its stability option, and the distilled FastHunyuan with 6 "
        "steps.",
        source="Tencent-Hunyuan/HunyuanVideo-I2V README:231,251,284; https://huggingface.co/FastVideo/FastHunyuan",
        unchecked="A recommendation of READMEs; no code that we run holds it.",
    ),
    Claim(
        "l1/shift-3", _START,
        "SD3 uses a shift of 3.",
        "Its published scheduler config has 3.0.",
        source="scheduler/scheduler_config.json of stabilityai/stable-diffusion-3-medium-diffusers",
        unchecked="The value is in a config on the hub, which is not read here.",
    ),
    Claim(
        "l1/shift-apt", _START,
        "APT uses the same function, with a shift of 1 for images and 12 for videos.",
        "We did not read the paper's text.",
        source="Lin et al., Diffusion Adversarial Post-Training for One-Step Video Generation (arXiv 2501.08316)",
        unchecked="Neither code nor weights are public.",
    ),
    Claim(
        "l1/teacache-rule", _START,
        "TeaCache watches the L1 of each step and skips the next steps while it is small.",
        "In outline so. What it watches is the change of the first block's modulated input (in CogVideoX and Wan of "
        "the time embedding); a polynomial turns that into an expected change, which is added up, and steps are "
        "skipped until the sum passes a threshold.",
        source="ali-vilab/TeaCache TeaCache4HunyuanVideo/teacache_sample_video.py:84-97, at 7c10efc",
        unchecked="TeaCache is not part of diffusers and not installed here.",
    ),
    Claim(
        "l1/teacache-models", _START,
        "The models of the TeaCache paper, Open-Sora, Latte and Open-Sora-Plan, presumably have no flow shift.",
        "Open-Sora 1.2 has one, the square root of area and latent frames, and it is switched on in TeaCache's own "
        "copy. Latte samples with DDIM and Open-Sora-Plan with PNDM or Euler ancestral, which have none.",
        (
            Part("Open-Sora's rule gives a shift other than 1", False, True, lambda: min(_opensora_shifts()) > 1),
            Part("shift for 480×854 and 51 frames, for 720×1280 and 204 frames", UNSAID, (4.843, 14.52),
                 _opensora_shifts, 1e-3),
            Part("Latte's sampler, DDIM, takes a shift", False, False, lambda: _takes_shift("DDIMScheduler")),
            Part("Open-Sora-Plan's samplers take one", False, False,
                 lambda: _takes_shift("PNDMScheduler", "EulerAncestralDiscreteScheduler")),
        ),
        "ali-vilab/TeaCache videosys/schedulers/scheduling_rflow_open_sora.py:47-69 and "
        "videosys/pipelines/open_sora/pipeline_open_sora.py:227, at 7c10efc",
    ),
    Claim(
        "l1/wasted-steps", _START,
        "So these models waste many steps, and TeaCache is of most use to them.",
        "The premise does not hold for Open-Sora, see the claim before.",
        unchecked="What a step is worth would have to be measured on those three models with their weights.",
    ),
    Claim(
        "l1/teacache-and-shift", _START,
        "The TeaCache paper does not say how it goes with HunyuanVideo's shift, and people use it all the same.",
        "Its coefficients were fitted at 50 steps; users report other videos at 25, and "
        "the author advises 50 or a lower threshold.",
        source="https://github.com/ali-vilab/TeaCache/issues/33 and https://github.com/ali-vilab/TeaCache/issues/2",
        unchecked="About the text of a paper and about habits.",
    ),
    Claim(
        "l1/thinned-is-shifted", _START,
        "If TeaCache thins out early steps little and late ones much, it does nearly what the flow shift does.",
        "With Euler's method a prediction that is used again is the same as one longer step. Equal steps thinned more "
        "and more towards the end stand nearly where a flow shift has them: here 10 of 50. "
        "Whether a cache thins like that is another question: change follows a U, which is lowest in the middle. And "
        "TeaCache sends what it kept through the last layer anew, with the timestep of the step.",
        (
            Part("steps that use a prediction again land where one longer step does", True, True,
                 _reuse_is_a_long_step),
            Part("thinned steps lie within 0.01 of a flow shift's", True, True, lambda: _thinned().largest < 0.01),
            Part("that shift", UNSAID, 6.02, lambda: _thinned().shift, 1e-3),
        ),
    ),
)  # fmt: skip
