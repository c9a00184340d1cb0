"""Formulas of an article on the L1 changes of HunyuanVideo, as it gives them: none is a bijection of [0, 1].

g and h were found by choosing a derivative first and integrating it, which leaves their value at t = 1 to chance;
divided by that value they are bijections with other slopes. The linear-quadratic curve was fitted by its slope alone.
"""

from __future__ import annotations

import math

import numpy as np

from tracer.probes.schedules import Array, Schedule, positive, shift_of, written


def _named(letter: str, shift: float, normalised: bool, end: float) -> tuple[str, str | None]:
    name = f"{letter}{'-normalised' if normalised else ''}:{written(shift)}"
    off = not normalised and end != 1
    return (
        name,
        f"{letter}(1) is {end:.6g}, not 1; {letter}-normalised:{written(shift)} divides by it." if off else None,
    )


def article_g(shift: float, normalised: bool = False) -> Schedule:
    """g(t) = s^2 t (1 + (s-1) t/2) / (1 + (s-1) t)^2, the integral of s^2 / (1 + (s-1) t)^3.

    g(1) = (s+1)/2. The slopes are s^2 at t = 0 (not s) and 1/s at t = 1; divided by g(1) they are 2 s^2/(s+1) and
    2/(s (s+1)). Raises BadRequest unless the shift is above 0.
    """
    s = shift_of(shift, "g:7")
    end = (s + 1) / 2
    scale = 1 / end if normalised else 1.0
    name, reason = _named("g", s, normalised, end)

    def curve(t: Array) -> Array:
        d = (1 - t) + s * t
        out: Array = scale * s * (s * t) * (1 + d) / 2 / d**2
        return out

    def gradient(t: Array) -> Array:
        d = (1 - t) + s * t
        out: Array = scale * (s / d) * (s / d) / d
        return out

    def inverted(sigma: Array) -> Array:
        y = sigma * end
        rest = s**2 - 2 * (s - 1) * y  # (s / d)^2
        return np.clip(2 * y / (rest * (s / np.sqrt(rest) + 1)), 0, 1)

    return Schedule(name, curve, gradient, inverted, reason)


def article_h(shift: float, normalised: bool = False) -> Schedule:
    """h(t) = s arctan(w t) / w with w = sqrt(s^2 - 1), the integral of s / (1 + (s^2 - 1) t^2); artanh below s = 1.

    The slopes are s at t = 0 and 1/s at t = 1. h(1) = s arctan(w)/w is above 1 for s > 1 and tends to pi/2; dividing by
    it divides the slopes. Raises BadRequest unless the shift is above 0.
    """
    s = shift_of(shift, "h:7")
    w = math.sqrt(abs(s - 1) * (s + 1))

    def angle(x: Array) -> Array:
        out: Array = x if w < 1e-8 else (np.arctan(w * x) if s > 1 else np.arctanh(w * x)) / w
        return out

    def point(y: Array) -> Array:
        out: Array = y if w < 1e-8 else (np.tan(w * y) if s > 1 else np.tanh(w * y)) / w
        return out

    whole = float(angle(np.asarray(1.0)))
    scale = 1 / whole if normalised else s
    name, reason = _named("h", s, normalised, s * whole)
    return Schedule(
        name,
        lambda t: scale * angle(t),
        lambda t: scale / (1 + (s - 1) * (s + 1) * t**2),
        lambda sigma: np.clip(point(sigma * whole), 0, 1),
        reason,
    )


def article_linear_quadratic(a: float = 1.57) -> Schedule:
    """Progress .2 x for x = 1 - t < 1/2, then .9 ((50 x - 25 + a) / (25 + a))^2 + .1: of 50 steps, 25 are a parabola.

    a was chosen for the slopes to meet at the joint: .004003 of the way a step against .004 (the exact a is 1.56865,
    the smaller root of 1.8 a = .004 (25 + a)^2). The offset .9 (a/(25 + a))^2 is missing there, so that progress
    jumps from .1 to .10314; with b u^2 + .004 u + .1 it would be the linear-quadratic schedule of threshold .1.
    Raises BadRequest unless a is above 0.
    """
    number = positive("a", a, "article-lq:1.57")
    jump = 0.9 * (number / (25 + number)) ** 2

    def curve(t: Array) -> Array:
        x = 1 - t
        bent = 1 - (0.9 * ((50 * x - 25 + number) / (25 + number)) ** 2 + 0.1)
        return np.where(x < 0.5, 1 - 0.2 * x, np.where(t > 0, bent, 0.0))

    def gradient(t: Array) -> Array:
        x = 1 - t
        return np.where(x < 0.5, 0.2, 90 * (50 * x - 25 + number) / (25 + number) ** 2)

    reason = f"it jumps by {jump:.4f} at t = 0.5, from {0.9:g} to {0.9 - jump:.5f}, and never takes the values between."
    return Schedule(f"article-lq:{written(number)}", curve, gradient, None, reason, jump)
