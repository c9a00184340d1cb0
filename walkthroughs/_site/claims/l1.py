"""The Japanese article on how L1 changes while HunyuanVideo samples."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from claims._l1_curves import CURVES
from claims._l1_functions import FUNCTIONS
from claims._l1_introduction import INTRODUCTION
from claims._l1_laws import LAWS
from claims._l1_runs import PROMPT, change, euler, falling, log, model, near, size, steps_of, walk, watched
from claims.claim import UNSAID, Article, Claim, Part

ARTICLE = Article(
    key="l1",
    title="HunyuanvideoのL1推移",
    author="nishiha",
    url="https://qiita.com/nishiha/items/908e3950d941a06a10cc",
    about="How much each sampling step of HunyuanVideo changes, what that depends on, and which functions could place "
    "the steps.",
    right="It asked the questions that this project's L1 lesson is built on, found out for itself that the latents "
    "only show the schedule, warned that guidance_scale does no classifier-free guidance, and published fifty measured "
    "rows of the real model.",
)

_CALLBACK = "The callback of diffusers"
_AGAIN = "Reconsidered"
_SUMMARY = "Summary"


# the callback


def _offered() -> bool:
    from diffusers import HunyuanVideoPipeline

    return bool({"latent_model_input", "noise_pred"} & set(HunyuanVideoPipeline._callback_tensor_inputs))


def _needs_editing() -> bool:
    """Whether a run without an edited pipeline fails to hand over the tensors of all its steps."""
    seen = watched(20, 7.0)
    return any(len(seen[name]) != 20 for name in ("latent_model_input", "noise_pred", "neg_noise_pred", "latents"))


def _in_bfloat16(steps: int, shift: float) -> Callable[[], float]:
    """What a difference of bfloat16 latents says of the first step, over what the step changes; random numbers."""

    def measure() -> float:
        import torch

        scheduler = euler(shift, steps=steps)
        draw = torch.Generator().manual_seed(0)
        latents, prediction = (torch.randn(400_000, generator=draw) for _ in range(2))
        latents, prediction = latents.bfloat16(), (1.5 * prediction).bfloat16()
        after = scheduler.step(prediction, scheduler.timesteps[0], latents).prev_sample
        dt = float(scheduler.sigmas[0] - scheduler.sigmas[1])
        assert shift < 17 or (after == latents).float().mean() > 0.5  # most do not move at all
        return size(after.float() - latents.float()) / (dt * size(prediction))

    return measure


def _ratio_to_dt() -> list[float]:
    """Change of the latents over dt times the prediction's size, for every step."""
    seen, sigmas = watched(20, 7.0), walk(7.0, 20)
    moved = [size(b - a) for a, b in zip(seen["latent_model_input"], seen["latents"], strict=True)]
    expected = [d * size(v) for d, v in zip(-np.diff(sigmas), seen["noise_pred"], strict=True)]
    return [float(m / e) for m, e in zip(moved, expected, strict=True)]


def _euler_step() -> bool:
    import torch

    seen, sigmas = watched(20, 7.0), walk(7.0, 20)
    made = [x + (b - a) * v for x, v, a, b in zip(
        seen["latent_model_input"], seen["noise_pred"], sigmas[:-1], sigmas[1:], strict=True)]  # fmt: skip
    return all(torch.allclose(m, after, atol=1e-5) for m, after in zip(made, seen["latents"], strict=True))


def _relative_follows() -> bool:
    """Whether relative L1 over dt varies less than twofold."""
    per_dt = change(log(20, 7.0), "latents") / steps_of(log(20, 7.0))
    return bool(per_dt.max() < 2 * per_dt.min())


def _last_steps(*cases: tuple[int, float]) -> list[float]:
    return [float(-np.diff(walk(shift, steps))[-1]) for steps, shift in cases]


def _first_is_largest(shift: float, cfg: float) -> bool:
    return int(change(log(20, shift, cfg=cfg), "latents").argmax()) == 0


def _table_first() -> tuple[float, float]:
    """The relative change of the first step in the article's rows, dt mean|v|/mean|x|, and over the next largest."""
    from tracer.probes import reference

    rows = reference.measured()
    moved = [row.cfg / row.latent_in / len(rows) for row in rows]
    return moved[0], moved[0] / max(moved[1:])


_FIRST = (
    Claim(
        "l1/callback", _CALLBACK,
        "latent_model_input and the predictions cannot be asked for in callback_on_step_end, so the source of the "
        "pipeline had to be changed.",
        "The list of what may be asked for is an attribute, and setting it on the pipeline's instance is enough: the "
        "pipeline looks the names up among its own variables. Only the conditional prediction is overwritten by the "
        "guided one there, as the article's second patch takes care of; it follows from the other two, and a hook on "
        "the transformer sees it.",
        (
            Part("the pipeline offers latent_model_input or noise_pred", False, False, _offered),
            Part("its source has to be changed to get them", True, False, _needs_editing),
        ),
        "diffusers pipelines/hunyuan_video/pipeline_hunyuan_video.py:171 and 709",
    ),
    Claim(
        "l1/bfloat16-latents", _CALLBACK,
        "Measures the change of the latents as the difference of what the callback is handed, with a bfloat16 model.",
        "The scheduler rounds the latents to the prediction's dtype. At 20 steps and shift 7 that costs a hundredth. "
        "Where steps are short it costs more: in the first of 50 at shift 17 more than half of the numbers do not "
        "move at all. Prediction times dt, in float32, does not suffer from it.",
        (
            Part("measured over true change, first of 20 steps, shift 7", 1.0, 0.99, _in_bfloat16(20, 7.0), 0.02),
            Part("measured over true change, first of 50 steps, shift 17", 1.0, 0.643, _in_bfloat16(50, 17.0), 0.02),
        ),
        "diffusers schedulers/scheduling_flow_match_euler_discrete.py:524-526",
    ),
    Claim(
        "l1/descending", _CALLBACK,
        "Timesteps go down from 1000, so plots show 1000 minus the timestep.",
        "A timestep is 1000 sigma.",
        (
            Part("first timestep, and whether they fall", (1000.0, True), (1000.0, True),
                 lambda: (float(euler(7.0).timesteps[0]), falling(euler(7.0).timesteps.numpy()))),
        ),
    ),
    Claim(
        "l1/first-not-largest", _CALLBACK,
        "In the first experiment, without guidance, the first step's change of the latents is not the largest.",
        "Nor is it in the pocket model. At shift 7 the first step is by far the shortest.",
        (
            Part("the first change is the largest: pocket model, shift 7, no guidance", False, False,
                 lambda: _first_is_largest(7.0, 1.0)),
        ),
    ),
    Claim(
        "l1/first-expected", _CALLBACK,
        "The first change of the latents ought to be the largest, by the curves of the papers.",
        "In the article's own fifty rows it is: there shift is 1 and guidance is on, and the first guided prediction "
        "is much larger than all others. With shift 7 the last steps are the largest whatever the model does. The "
        "papers' curves are of predictions and blocks, not of latents.",
        (
            Part("it is the largest in the fifty rows, shift 1, guidance 6", True, True,
                 lambda: _table_first()[1] > 1),
            Part("relative change of the first step there, and over the largest of the others", UNSAID,
                 (0.0875, 1.864), _table_first, 1e-3),
            Part("it is the largest at shift 7, guidance 6: pocket model", True, False,
                 lambda: _first_is_largest(7.0, 6.0)),
        ),
    ),
    Claim(
        "l1/latents-follow-dt", _CALLBACK,
        "The change of the latents is proportional to the change of the timestep.",
        "Exactly so for Euler's method: mean|Δx| = dt mean|v|. What is left of the relative change is mean|v|/mean|x|, "
        "which varies less than twofold where dt varies far more.",
        (
            Part("mean|Δx| over dt mean|v|: smallest and largest of 20 steps, pocket model", (1.0, 1.0), (1.0, 1.0),
                 lambda: (min(_ratio_to_dt()), max(_ratio_to_dt())), 1e-4),
            Part("relative change over dt varies less than twofold", True, True, _relative_follows),
            Part("longest over shortest dt of that run", UNSAID, 36.1,
                 lambda: float(steps_of(log(20, 7.0)).max() / steps_of(log(20, 7.0)).min()), 0.01),
        ),
    ),
    Claim(
        "l1/why-proportional", _SUMMARY,
        "That is because sampling goes a first-order Euler step, the model's slope times the change of the timestep.",
        "Every step of the run is that sum, to rounding.",
        (
            Part("x + (σ' - σ) v is what the scheduler returns, all 20 steps", True, True, _euler_step),
        ),
    ),
    Claim(
        "l1/late-steps-grow", _CALLBACK,
        "The higher the shift, the more the timestep changes in the late steps.",
        "The last step goes s/(N+s-1) of the way.",
        (
            Part("last of 50 steps at shift 1, 7 and 17", (1 / 50, 7 / 56, 17 / 66), (0.02, 0.125, 0.25758),
                 lambda: _last_steps((50, 1.0), (50, 7.0), (50, 17.0)), 1e-4),
        ),
    ),
    Claim(
        "l1/steps-shrink", _CALLBACK,
        "The more steps there are, the less the timestep changes in each.",
        "The same formula, here at shift 7.",
        (
            Part("the last step is shorter with 20 than with 10, and with 50 than with 20", True, True,
                 lambda: falling(_last_steps((10, 7.0), (20, 7.0), (50, 7.0)))),
        ),
    ),
)  # fmt: skip


# reconsidered


def _formula() -> float:
    import torch

    from tracer.probes.metrics import rel_l1

    return float(rel_l1(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([1.0, 1.0, 2.0])))


def _same_as_teacache() -> bool:
    """Whether the relative change of the latents is that of the first block's modulated input."""
    of = log(20, 7.0)
    ratio = change(of, "latents")[:-1] / change(of, "modulated")  # a step's change of latents is what the next one sees
    assert ratio.min() < 1 / 3
    return near(ratio, 1, 0.5)


def _forwards(**options: float) -> int:
    """Forwards of the transformer in each step of a short run."""
    from tracer.probes import L1Probe

    pocket, given = model(), {"num_frames": 1, "height": 64, "width": 64, "num_inference_steps": 2}
    told: list[float] = []
    hook = pocket.pipe.transformer.register_forward_pre_hook(
        lambda module, args, kwargs: told.append(float(kwargs["guidance"][0])), with_kwargs=True
    )
    try:
        with L1Probe(pocket.pipe) as probe:
            pocket.pipe(**pocket.embeds(PROMPT), **given, output_type="latent", **options)
    finally:
        hook.remove()
    assert told[0] == 1000 * options.get("guidance_scale", 6.0)
    return int(probe.log.runs[0]["forwards_per_step"])


def _guided() -> bool:
    import torch

    seen = watched(20, 7.0)
    made = [u + 6.0 * (c - u) for u, c in zip(seen["neg_noise_pred"], seen["cond"], strict=True)]
    return all(map(torch.equal, made, seen["noise_pred"]))


def _chain() -> float:
    from tracer.probes import reference

    rows = reference.measured()
    return max(abs(a.latents - b.latent_in) for a, b in pairwise(rows))


def _timesteps() -> bool:
    from tracer.probes import reference

    return all(row.timestep == 1000 - 20 * row.step for row in reference.measured())


def _noise() -> float:
    """The first entry of the latents' column, over mean|x| of fresh normal noise."""
    import torch

    from tracer.probes import reference

    assert all(identity.holds for identity in reference.identities())
    return reference.measured()[0].latent_in / size(torch.randn(1_000_000, generator=torch.Generator().manual_seed(0)))


def _first_changes() -> tuple[float, ...]:
    """The least that a column's tensor can have changed in the first step: the change of its size, relative."""
    from tracer.probes import reference

    a, b = reference.measured()[:2]
    return tuple(abs(getattr(b, c) / getattr(a, c) - 1) for c in ("cond", "cfg", "latent_in"))


_AGAIN_CLAIMS = (
    Claim(
        "l1/teacache-l1", _AGAIN,
        "The L1 computed there follows TeaCache's, whose exact definition is not clear.",
        "The formula is TeaCache's: the mean of the change over the mean before, between consecutive steps. The tensor "
        "is not; TeaCache looks at the first block's modulated input, never at latents. In the pocket model the two "
        "differ severalfold. The article's guess that no difference might be meant does not hold.",
        (
            Part("mean|a-b|/mean|b| of (1, 3, 5) after (1, 1, 2)", 1.25, 1.25, _formula, 1e-6),
            Part("the latents' curve is that of TeaCache's tensor, within a half", True, False, _same_as_teacache),
        ),
        "ali-vilab/TeaCache TeaCache4HunyuanVideo/teacache_sample_video.py:84-97, at 7c10efc",
    ),
    Claim(
        "l1/guidance-scale", _AGAIN,
        "guidance_scale of diffusers' HunyuanVideo does no classifier-free guidance: there is no unconditional pass. "
        "It takes true_cfg_scale.",
        "guidance_scale is a number, times 1000, that the transformer is told as it is told the timestep. The true one "
        "takes a negative prompt as well, which the article's call has.",
        (
            Part("passes per step with guidance_scale=6", 1, 1, lambda: _forwards(guidance_scale=6.0)),
            Part("passes per step with true_cfg_scale=6 and a negative prompt", 2, 2,
                 lambda: _forwards(true_cfg_scale=6.0, guidance_scale=1.0)),
        ),
        "diffusers pipelines/hunyuan_video/pipeline_hunyuan_video.py, do_true_cfg and guidance",
    ),
    Claim(
        "l1/guided-prediction", _AGAIN,
        "What the scheduler gets is the unconditional prediction plus true_cfg_scale times the difference of the two.",
        "To the last bit.",
        (
            Part("uncond + 6 (cond - uncond) is the prediction that step is given, all 20 steps", True, True, _guided),
        ),
    ),
    Claim(
        "l1/table-columns", _AGAIN,
        "The fifty rows hold mean|x| of four tensors; latents after a step are the model's input of the next.",
        "The columns are sizes, not changes. Most of the table follows from that: the latents' column is noise and "
        "data mixed by sigma to 1.3 %, and the predictions keep their size from step 2 to 46. The model itself shows "
        "in the first step and in the last few.",
        (
            Part("largest distance between latents and the next input", 0.0, 0.0, _chain),
            Part("timesteps are 1000 - 20 i", True, True, _timesteps),
            Part("first input over the size of normal noise", 1.0, 1.0, _noise, 0.004),
        ),
        "tracer/probes/reference.py, identities",
    ),
    Claim(
        "l1/early-change", _AGAIN,
        "What changes much in the early steps seems to be the conditional or the guided prediction.",
        "Two sizes bound the change between them from below. So the real model's predictions change by about a half at "
        "least in the first step, while the latents hardly do.",
        (
            Part("both predictions change more than the latents' size does", True, True,
                 lambda: min(_first_changes()[:2]) > 10 * _first_changes()[2]),
            Part("least change of conditional and guided prediction; change of the latents' size", UNSAID,
                 (0.4436, 0.5964, 0.0147), _first_changes, 2e-3),
        ),
    ),
)  # fmt: skip


CLAIMS = (*INTRODUCTION, *_FIRST, *_AGAIN_CLAIMS, *CURVES, *FUNCTIONS, *LAWS)
