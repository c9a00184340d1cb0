"""The claims of the article on HunyuanVideo's L1 about shift functions of its own, and about how a shift is chosen."""

from __future__ import annotations

import inspect

import numpy as np

from claims._l1_runs import derived, near
from claims.claim import UNSAID, Claim, Part

_SHIFT = "Thoughts on the shift function"


def _curve(name: str, t: float) -> float:
    from tracer.probes import schedule

    return float(schedule(name).value(t))


def _end_slope(name: str, end: int) -> float:
    """The slope of a named schedule at t = 0 or t = 1, by small differences."""
    h = 1e-7
    a, b = (1 - h, 1.0) if end else (0.0, h)
    return (_curve(name, b) - _curve(name, a)) / h


def _left_over(end: int) -> float:
    """The slope of g after it was divided by g(1), over the one before."""
    return _end_slope("g-normalised:7", end) / _end_slope("g:7", end)


def _is_cauchy() -> bool:
    """h against torch's Cauchy distribution: s/w · pi · (F(w t) - 1/2) with w² = s² - 1."""
    import torch

    t, w = np.linspace(0, 1, 101), 48**0.5
    law = torch.distributions.Cauchy(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    grown = law.cdf(torch.tensor(w * t)).numpy() - 0.5
    return near([_curve("h:7", x) for x in t], 7 / w * np.pi * grown, 1e-9)


def _steeper_middle() -> bool:
    """The flow shift plus a bump that is flat at both ends and rises at t = 1/2: same ends, steeper there, rising."""
    t = np.linspace(0, 1, 100_001)
    flow = np.array(7 * t / (1 + 6 * t))
    found = flow + 2 * (t * (1 - t)) ** 2 * (t - 0.5)
    slopes, own = np.diff(found) / np.diff(t), np.diff(flow) / np.diff(t)
    ends = near(slopes[[0, -1]], own[[0, -1]], 1e-3) and near(found[[0, -1]], [0, 1], 1e-12)
    return ends and bool(slopes.min() > 0 and slopes[50_000] > own[50_000] + 0.1)


def _middle(name: str) -> float:
    return (_curve(name, 0.5 + 1e-6) - _curve(name, 0.5 - 1e-6)) / 2e-6


def _size_decides() -> bool:
    """Whether the published rules give larger shifts to larger sizes."""
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    from tracer.probes.shifts import opensora_shift

    larger = opensora_shift(720, 1280, 51) > opensora_shift(480, 854, 51)
    return larger and calculate_shift(4096) > calculate_shift(256)


def _frames_decide() -> bool:
    from tracer.probes.shifts import opensora_shift

    return opensora_shift(480, 854, 204) > opensora_shift(480, 854, 51)


def _steps_decide() -> bool:
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    from tracer.probes.shifts import opensora_shift

    rules = (calculate_shift, opensora_shift)
    return any("step" in name for rule in rules for name in inspect.signature(rule).parameters)


FUNCTIONS = (
    Claim(
        "l1/steeper-middle", _SHIFT,
        "Asks for a function with the flow shift's slopes at both ends and a larger slope in between, and expects to "
        "find one.",
        "There are any number of them, as long as what is added is flat at both ends. The hyperbolic secant's shift "
        "(2/π) arctan(s tan(π t/2)) has the same end slopes as well, and lies higher; but at t = 1/2 it is flatter.",
        (
            Part("one with shift 7's end slopes and a larger slope at t = 1/2 exists", True, True, _steeper_middle),
            Part("slopes of the secant's shift of 7 at t = 0 and t = 1", UNSAID, (7.0, 1 / 7),
                 lambda: (_end_slope("sech:7", 0), _end_slope("sech:7", 1)), 1e-4),
            Part("slopes at t = 1/2: flow shift 7, the secant's", UNSAID, (0.4375, 0.28),
                 lambda: (_middle("flow:7"), _middle("sech:7")), 1e-4),
        ),
        "tracer/probes/distributions.py, secant",
    ),
    Claim(
        "l1/g-slope-at-noise", _SHIFT,
        "A derivative of s² / (1 + (s-1) t)³ is 1/s at t = 1.",
        "s² over s³.",
        (
            Part("slope of g at t = 1, s = 7", 1 / 7, 1 / 7, lambda: _end_slope("g:7", 1), 1e-4),
        ),
    ),
    Claim(
        "l1/g-slope-at-clean", _SHIFT,
        "The same derivative is s at t = 0.",
        "It is s² there. A cube below asks for s above to be s at t = 0, and is then 1/s² at t = 1: no power other "
        "than the square has s and 1/s at the ends.",
        (
            Part("slope of g at t = 0, s = 7", 7.0, 49.0, lambda: _end_slope("g:7", 0), 1e-4),
        ),
        "tracer/probes/article.py, article_g",
    ),
    Claim(
        "l1/g-integral", _SHIFT,
        "Its integral is g(t) = s² t (1 + (s-1) t/2) / (1 + (s-1) t)².",
        "Differentiated symbolically, for every s.",
        (
            Part("g is an integral of that derivative", True, True,
                 lambda: derived("s**2*t*(1+(s-1)/2*t)/(1+(s-1)*t)**2", "s**2/(1+(s-1)*t)**3")),
        ),
    ),
    Claim(
        "l1/g-end", _SHIFT,
        "g(0) = 0 and g(1) = (s+1)/2, so g is no shift function.",
        "4 for s = 7.",
        (
            Part("g(0), s = 7", 0.0, 0.0, lambda: _curve("g:7", 0)),
            Part("g(1), s = 7", 4.0, 4.0, lambda: _curve("g:7", 1), 1e-12),
        ),
    ),
    Claim(
        "l1/g-divided", _SHIFT,
        "Dividing g by g(1) lowers the slopes at both ends, the more the larger s is.",
        "To 2/(s+1) of what they were, a quarter at s = 7. At t = 0 what is left, 2 s²/(s+1), is still more than s, "
        "since g began with s² there; only at t = 1 it falls short of the flow shift's.",
        (
            Part("both slopes are lowered, s = 7", True, True, lambda: max(_left_over(0), _left_over(1)) < 1),
            Part("what is left of them at t = 0 and t = 1", UNSAID, (1 / 4, 1 / 4),
                 lambda: (_left_over(0), _left_over(1)), 1e-4),
            Part("slope at t = 0 after the division", UNSAID, 12.25, lambda: _end_slope("g-normalised:7", 0), 1e-4),
        ),
    ),
    Claim(
        "l1/h-slopes", _SHIFT,
        "A derivative like Lorentz's distribution, s / (1 + (s²-1) t²), is s at t = 0 and 1/s at t = 1.",
        "Both ends are right, for every s.",
        (
            Part("slopes of h at t = 0 and t = 1, s = 7", (7.0, 1 / 7), (7.0, 1 / 7),
                 lambda: (_end_slope("h:7", 0), _end_slope("h:7", 1)), 1e-4),
        ),
    ),
    Claim(
        "l1/h-integral", _SHIFT,
        "Its integral is h(t) = s arctan(w t) / w with w² = s² - 1.",
        "Differentiated symbolically, for every s.",
        (
            Part("h is an integral of that derivative", True, True,
                 lambda: derived("s*atan(sqrt(s**2-1)*t)/sqrt(s**2-1)", "s/(1+(s**2-1)*t**2)")),
        ),
    ),
    Claim(
        "l1/h-is-cauchy", _SHIFT,
        "h is a stretched piece of the cumulative function of Lorentz's (Cauchy's) distribution.",
        "The piece from the centre to w, multiplied by π s/w.",
        (
            Part("h agrees with the distribution's cumulative function so stretched, s = 7", True, True, _is_cauchy),
        ),
    ),
    Claim(
        "l1/h-end", _SHIFT,
        "h is put forward as another shift function, after g was turned down for not ending at 1.",
        "h does not end at 1 either, which the article does not say: the value grows with s, from 1 at s = 1 towards "
        "π/2. Divided by it, h is a shift function, with slopes that are smaller by as much.",
        (
            Part("h(0), s = 7", 0.0, 0.0, lambda: _curve("h:7", 0)),
            Part("h(1), s = 7", 1.0, 1.442, lambda: _curve("h:7", 1), 5e-4),
            Part("slopes of h over h(1) at t = 0 and t = 1", UNSAID, (4.854, 0.09905),
                 lambda: (_end_slope("h-normalised:7", 0), _end_slope("h-normalised:7", 1)), 5e-4),
        ),
        "tracer/probes/article.py, article_h",
    ),
    Claim(
        "l1/gentler-end", _SHIFT,
        "Asks whether the slope at the last steps should be somewhat below the largest possible.",
        "A question about the quality of videos.",
        unchecked="It takes people or scores to judge videos of the real model.",
    ),
    Claim(
        "l1/shift-from-size", "Other remarks",
        "Asks whether the shift could be computed from resolution, number of frames and number of steps.",
        "Two rules are in use: Open-Sora's square root of area and latent frames, and FLUX's exponential of a linear "
        "law in the image tokens. Neither looks at the number of steps.",
        (
            Part("the rules give larger shifts to larger pictures", True, True, _size_decides),
            Part("Open-Sora's rule gives larger shifts to longer videos", True, True, _frames_decide),
            Part("one of the rules takes the number of steps", True, False, _steps_decide),
        ),
        "diffusers pipelines/flux/pipeline_flux.py, calculate_shift; Open-Sora v1.2 "
        "opensora/schedulers/rf/rectified_flow.py, timestep_transform",
    ),
    Claim(
        "l1/best-shift", "Other remarks",
        "Wonders whether the best shift could be found, and why the literature on skipping steps does not discuss it.",
        "The lesson on L1 makes one precise question of it, where steps would have to stand to change the prediction "
        "evenly, and finds that no single shift does that well.",
        unchecked="What is best has no agreed measure, and why something is not discussed cannot be measured.",
    ),
)  # fmt: skip
