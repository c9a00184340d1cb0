"""Schedules from distributions: F(F^-1(t) + delta), a walk along a distribution that starts delta further on.

Any distribution with a density on the whole line gives a bijection of [0, 1]; delta = 0 gives t, shifts add up, and
-delta undoes delta. What differs is the tails: the logistic law has the slopes e^delta and e^-delta at the ends, the
hyperbolic secant e^(pi delta / 2) and its inverse, the normal law infinity and 0; laws whose density falls as a power
of x (Student, Cauchy, softsign) have slope 1 at both ends. Laws without such a density (uniform, sign) give none.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

from tracer.errors import BadRequest, UnknownName
from tracer.probes.schedules import Array, Schedule, finite, shift_of, written
from tracer.probes.shifts import flow

Moved = Callable[[Array, float], Array]

LIMIT = 20.0
"""The farthest delta; the ends of a schedule are then flat to 8 digits and more."""


def _normal(t: Array, delta: float) -> Array:
    z = _normal_quantile(t) + delta
    return np.array([0.5 * math.erfc(-x / math.sqrt(2)) for x in z.flat], dtype=np.float64).reshape(z.shape)


def _normal_quantile(t: Array) -> Array:
    ends = {0.0: -math.inf, 1.0: math.inf}
    found = [ends[p] if p in ends else NormalDist().inv_cdf(p) for p in t.flat]
    return np.array(found, dtype=np.float64).reshape(t.shape)


def _normal_slope(t: Array, delta: float) -> Array:
    if delta == 0:
        return np.ones_like(t)
    with np.errstate(over="ignore"):
        out: Array = np.exp(-delta * (_normal_quantile(t) + delta / 2))
    return out


def _student_parts(t: Array, delta: float) -> tuple[Array, Array, Array]:
    """The root m of 2 t (1 - t), and x + delta and sqrt(2 + (x + delta)^2) times m: finite at both ends."""
    m = np.sqrt(2 * t * (1 - t))
    y = 2 * t - 1 + delta * m
    return m, y, np.sqrt(2 * m**2 + y**2)


def _student(t: Array, delta: float) -> Array:
    m, y, r = _student_parts(t, delta)
    tail = m**2 / (r * (r + np.abs(y)))  # the smaller of F and 1 - F, without cancellation
    return np.where(y < 0, tail, 1 - tail)


def _student_slope(t: Array, delta: float) -> Array:
    out: Array = _student_parts(t, delta)[2] ** -3
    return out


def _secant(t: Array, s: float) -> Array:
    sine, cosine = np.sin(math.pi / 2 * t), np.sin(math.pi / 2 * (1 - t))  # exactly 0 at their ends
    out: Array = np.arctan2(s * sine, cosine) / (math.pi / 2)
    return out


def _secant_slope(t: Array, s: float) -> Array:
    out: Array = s / (np.sin(math.pi / 2 * (1 - t)) ** 2 + (s * np.sin(math.pi / 2 * t)) ** 2)
    return out


def _cauchy_parts(t: Array, delta: float) -> tuple[Array, Array]:
    sine = np.sin(math.pi * np.minimum(t, 1 - t))  # exactly 0 at both ends
    return sine, np.cos(math.pi * t) - delta * sine


def _cauchy(t: Array, delta: float) -> Array:
    out: Array = np.arctan2(*_cauchy_parts(t, delta)) / math.pi
    return out


def _cauchy_slope(t: Array, delta: float) -> Array:
    sine, rest = _cauchy_parts(t, delta)
    return 1 / (sine**2 + rest**2)


def _softsign_tail(t: Array, delta: float) -> tuple[Array, Array]:
    """The point x + delta, and the smaller of F and 1 - F there."""
    with np.errstate(divide="ignore", over="ignore"):
        x = np.where(t < 0.5, 1 - 0.5 / t, 0.5 / (1 - t) - 1) + delta
    return x, 0.5 / (1 + np.abs(x))


def _softsign(t: Array, delta: float) -> Array:
    x, tail = _softsign_tail(t, delta)
    return np.where(x < 0, tail, 1 - tail)


def _softsign_slope(t: Array, delta: float) -> Array:
    before, (_, after) = np.minimum(t, 1 - t), _softsign_tail(t, delta)
    end = before < 1e-300
    out: Array = np.where(end, 1.0, after / np.where(end, 1.0, before)) ** 2
    return out


LAWS: dict[str, tuple[Moved, Moved]] = {
    "normal": (_normal, _normal_slope),
    "t2": (_student, _student_slope),
    "cauchy": (_cauchy, _cauchy_slope),
    "softsign": (_softsign, _softsign_slope),
}
"""F(F^-1(t) + delta) and its derivative in t, of the laws that have a density on the whole line."""


def uniform(delta: float) -> Schedule:
    """The uniform law on [-1, 1]: t + delta/2, cut off at 0 and 1, so no bijection unless delta = 0.

    F is (1 + hardtanh x) / 2, which is not torch's hardsigmoid (slope 1/6). Raises BadRequest for no finite delta.
    """
    d = finite("delta", delta, "uniform:1")
    reason = None
    if d:
        end, value = (0, min(1, d / 2)) if d > 0 else (1, max(0, 1 + d / 2))
        reason = (
            f"it is {written(value)} at t = {end}, not {end}, and stays at {1 - end} over "
            f"{written(min(1, abs(d) / 2))} of the way, so that it has no inverse."
        )
    return Schedule(
        f"uniform:{written(d)}",
        lambda t: np.clip(t + d / 2, 0, 1),
        lambda t: np.where((t + d / 2 >= 0) & (t + d / 2 <= 1), 1.0, 0.0),
        None if d else lambda sigma: sigma + 0.0,
        reason,
    )


def sign(delta: float) -> Schedule:
    """The law with all weight at 0, F = (1 + sgn x) / 2: the same value for all t in (0, 1), so no bijection.

    That value is F(delta): 1 above 0, 0 below, 1/2 at 0. The ends stay 0 and 1; the derivative there is inf where the
    value jumps. Raises BadRequest for no finite delta.
    """
    d = finite("delta", delta, "sign:1")
    level = 0.5 * (1 + np.sign(d))

    def curve(t: Array) -> Array:
        return np.where(t == 0, 0.0, np.where(t == 1, 1.0, level))

    def gradient(t: Array) -> Array:
        jumps = ((t == 0) & (level > 0)) | ((t == 1) & (level < 1))
        return np.where(jumps, math.inf, 0.0)

    jump = max(level, 1 - level)
    reason = (
        f"it is {written(level)} for all t between 0 and 1, with a jump of {written(jump)}, so that it has no inverse."
    )
    return Schedule(f"sign:{written(d)}", curve, gradient, None, reason, jump)


def by_distribution(law: str, delta: float) -> Schedule:
    """F(F^-1(t) + delta) for a law: logistic, normal, t2, sech, cauchy, softsign, uniform or sign.

    delta: in units of x, in which the laws are F = 1/(1 + e^-x); the standard normal; Student's t with two degrees,
    (1 + x/sqrt(2 + x^2))/2; the hyperbolic secant, (2/pi) arctan e^(pi x/2) = (1 + (2/pi) gd(pi x/2))/2; the standard
    Cauchy, 1/2 + arctan(x)/pi; and (1 + x/(1 + |x|))/2. Logistic with delta = ln s is the flow shift s; the secant with
    delta = (2/pi) ln s has its end slopes s and 1/s. A law with another scale c takes c delta: x/sqrt(1 + x^2) is t2 at
    sqrt(2) delta. Raises UnknownName for another law, BadRequest for a delta that is no finite number or beyond 20.
    """
    if law == "uniform":
        return uniform(delta)
    if law == "sign":
        return sign(delta)
    if law not in (*LAWS, "logistic", "sech"):
        raise UnknownName("distribution", law, ["logistic", "sech", *LAWS, "uniform", "sign"])
    d = finite("delta", delta, f"{law}:1")
    if abs(d) > LIMIT:
        raise BadRequest(
            f"delta {written(d)} makes no schedule: it lies between -{LIMIT:g} and {LIMIT:g}, as in {law}:1."
        )
    if law == "logistic":
        return flow(math.exp(d), f"logistic:{written(d)}")
    if law == "sech":
        return secant(math.exp(math.pi / 2 * d))
    moved, slope = LAWS[law]
    return Schedule(f"{law}:{written(d)}", lambda t: moved(t, d), lambda t: slope(t, d), lambda sigma: moved(sigma, -d))


def secant(shift: float) -> Schedule:
    """The hyperbolic secant's schedule with the end slopes s and 1/s of the flow shift s: (2/pi) arctan(s tan(pi t/2)).

    Its delta is (2/pi) ln s. Between the ends it is further from t than f_s (.910 against .875 at t = .5 for s = 7).
    Raises BadRequest unless the shift is above 0.
    """
    s = shift_of(shift, "sech:7")
    return Schedule(
        f"sech:{written(s)}",
        lambda t: _secant(t, s),
        lambda t: _secant_slope(t, s),
        lambda sigma: _secant(sigma, 1 / s),
    )
