"""Schedules that models are published with: linear, flow shift, linear-quadratic, and shifts that follow the size."""

from __future__ import annotations

import math

import numpy as np

from tracer.errors import BadRequest
from tracer.probes.schedules import Array, Schedule, finite, positive, shift_of, step_count, written


def linear() -> Schedule:
    """Sigma = t: equal steps."""
    return Schedule("linear", lambda t: t + 0.0, np.ones_like, lambda sigma: sigma + 0.0)


def flow(shift: float, name: str | None = None) -> Schedule:
    """The flow shift f_s(t) = s t / (1 + (s - 1) t), slopes s at t = 0 and 1/s at t = 1.

    Odds sigma / (1 - sigma) are s times those of t, so that f_s(f_r) = f_sr and f_1/s undoes f_s. Source: Esser et al.,
    Scaling Rectified Flow Transformers (arXiv 2403.03206), where timesteps are shifted by resolution; diffusers
    schedulers/scheduling_flow_match_euler_discrete.py. Raises BadRequest unless the shift is above 0.
    """
    s = shift_of(shift, "flow:7")

    def curve(t: Array) -> Array:
        return s * t / ((1 - t) + s * t)  # this way round both ends are exact for every s

    def gradient(t: Array) -> Array:
        out: Array = s / ((1 - t) + s * t) ** 2
        return out

    return Schedule(name or f"flow:{written(s)}", curve, gradient, lambda sigma: sigma / (sigma + s * (1 - sigma)))


def _linear_quadratic(name: str, threshold: float, knee: float) -> Schedule:
    """Progress p = 1 - sigma rises straight to `threshold` at x = 1 - t = `knee`, then as a parabola to 1, smoothly."""
    first = threshold / knee
    rest = 1 - knee
    bend = (1 - threshold - first * rest) / rest**2
    last = first + 2 * bend * rest
    reason = None
    if last < 0:
        reason = (
            f"its parabola would pass 1 and turn back, the slope at its end is {last:.3g}; "
            f"lower the threshold {threshold:.3g}."
        )

    def curve(t: Array) -> Array:
        x = 1 - t
        u = np.maximum(x - knee, 0)
        return np.where(t > 0, 1 - (first * x + bend * u**2), 0.0)

    def gradient(t: Array) -> Array:
        out: Array = first + 2 * bend * np.maximum(1 - t - knee, 0)
        return out

    def inverted(sigma: Array) -> Array:
        p = 1 - sigma
        more = np.maximum(p - threshold, 0)
        u = 2 * more / (first + np.sqrt(np.maximum(first**2 + 4 * bend * more, 0)))
        out: Array = np.clip(1 - np.where(p < threshold, p / first, knee + u), 0, 1)
        return out

    return Schedule(name, curve, gradient, inverted, reason)


def linear_quadratic(threshold: float = 0.025, share: float = 0.5) -> Schedule:
    """The linear-quadratic schedule of genmo's Mochi and of LTX: straight down to 1 - threshold, then a parabola.

    threshold: the noise that the straight part removes, diffusers' threshold_noise. share: which part of the steps is
    straight; of N steps it is floor(N share), so that an odd N has its knee before the middle. One step is a straight
    line. The threshold does not follow N: .025 is 1000 emulated steps at N = 50, and 600 at N = 30. Source: genmo's
    src/mochi_preview/infer.py; diffusers pipelines/mochi/pipeline_mochi.py and pipelines/ltx/pipeline_ltx_condition.py.
    Raises BadRequest unless both lie between 0 and 1, and for so few steps that none is straight (one step aside).
    """
    numbers = {"threshold": finite("threshold", threshold, "lq:0.025"), "share": finite("share", share, "lq:0.1,0.75")}
    for what, number in numbers.items():
        if not 0 < number < 1:
            raise BadRequest(f"{what} {written(number)} makes no schedule: it lies between 0 and 1, as in lq:0.025.")
    th, part = numbers.values()
    name = f"lq:{written(th)}" + (f",{written(part)}" if part != 0.5 else "")

    def members(steps: int) -> Schedule:
        straight = math.floor(steps * part + 1e-9)  # .7 of 10 is 7, not 6
        if steps == 1:
            return linear()
        if not straight:
            raise BadRequest(f"{name} has no straight step among {steps}: take at least {math.ceil(1 / part)} steps.")
        return _linear_quadratic(name, th, straight / steps)

    whole = _linear_quadratic(name, th, part)
    return Schedule(name, whole.curve, whole.gradient, whole.inverted, whole.reason, members=members)


def movie_gen(emulated: int = 250, steps: int = 50) -> Schedule:
    """MovieGen's linear-quadratic schedule: N // 2 steps as short as those of an emulated linear run, then a parabola.

    emulated: steps of that run. Movie Gen (arXiv 2410.13720) takes 50 steps and compares them to 250 linear ones; 1000
    is what genmo's threshold .025 comes to at 50. steps: for which N the curve is, as `value` shows it; `sigmas(N)`
    takes the curve of its own N. The threshold is (N // 2) / emulated. Raises BadRequest unless both are whole numbers
    from 1 on and N // 2 < emulated.
    """
    count, default = step_count(emulated), step_count(steps)
    name = f"moviegen:{count}" + (f",{default}" if default != 50 else "")

    def members(n: int) -> Schedule:
        if n // 2 >= count:
            raise BadRequest(f"{name} cannot be walked in {n} steps: take fewer than {2 * count}.")
        return _linear_quadratic(name, n // 2 / count, n // 2 / n) if n > 1 else linear()

    whole = members(default)
    return Schedule(name, whole.curve, whole.gradient, whole.inverted, whole.reason, members=members)


def flux_mu(
    tokens: float, base_tokens: float = 256, max_tokens: float = 4096, base_shift: float = 0.5, max_shift: float = 1.15
) -> float:
    """FLUX's mu: linear in the image tokens of one sample, through (256, .5) and (4096, 1.15), and on beyond both.

    Source: diffusers pipelines/flux/pipeline_flux.py, calculate_shift; LTX uses it with .95 and 2.05. Raises BadRequest
    for tokens that are no number above 0, and for two equal counts of tokens.
    """
    count = positive("image tokens", tokens, "flux:4096")
    if base_tokens == max_tokens:
        raise BadRequest(f"mu needs two counts of tokens to lie between, not {written(base_tokens)} twice.")
    return base_shift + (max_shift - base_shift) / (max_tokens - base_tokens) * (count - base_tokens)


def flux(tokens: float, kind: str = "exponential", **ends: float) -> Schedule:
    """FLUX's dynamic shift at a number of image tokens: f_s with s = exp(mu), or s = mu where kind is "linear".

    ends: as `flux_mu` takes them. Source: diffusers schedulers/scheduling_flow_match_euler_discrete.py, time_shift.
    Raises BadRequest for another kind, for tokens that `flux_mu` refuses, and for a linear mu that is not above 0.
    """
    mu = flux_mu(tokens, **ends)
    if kind not in ("exponential", "linear"):
        raise BadRequest(f"time shift '{kind}' is unknown: it is exponential or linear.")
    name = f"{'flux' if kind == 'exponential' else 'flux-linear'}:{written(tokens)}"
    return flow(math.exp(min(mu, 700)) if kind == "exponential" else positive("mu", mu, "flux-linear:4096"), name)


def opensora_shift(height: int, width: int, frames: int) -> float:
    """Open-Sora 1.2's shift: sqrt(height width / 512^2) sqrt(latent frames), sizes in pixels and frames.

    Latent frames are frames // 17 * 5, and 1 for a single image. Source: Open-Sora v1.2
    opensora/schedulers/rf/rectified_flow.py, timestep_transform. Raises BadRequest for sizes below 1 and for 2 to 16
    frames, which have no latent frame by that rule.
    """
    area = positive("height", height, "opensora:480x854x51") * positive("width", width, "opensora:480x854x51")
    count = step_count(frames)
    latent = 1 if count == 1 else count // 17 * 5
    if not latent:
        raise BadRequest(f"{count} frames have no latent frame in Open-Sora's rule: take 1, or 17 and more.")
    return math.sqrt(area / 512**2) * math.sqrt(latent)


def opensora(height: int, width: int, frames: int) -> Schedule:
    """Open-Sora 1.2's schedule: the flow shift that `opensora_shift` gives for a size. Raises what that raises."""
    return flow(opensora_shift(height, width, frames), f"opensora:{height}x{width}x{frames}")
