"""Schedules from measured change: the one that spreads it evenly over the steps, and the nearest flow shift."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tracer.errors import BadRequest
from tracer.probes.schedules import Array, Schedule, written
from tracer.probes.shifts import flow

REACH = 1e4
"""Shifts are looked for between 1 / REACH and REACH."""


def _measured(sigmas: npt.ArrayLike, change: npt.ArrayLike) -> tuple[Array, Array]:
    """Edges from 0 to 1 upward and the change in each interval, ends filled in."""
    edges, amounts = np.asarray(sigmas, dtype=np.float64), np.asarray(change, dtype=np.float64)
    if edges.ndim != 1 or amounts.ndim != 1 or len(edges) != len(amounts) + 1 or not len(amounts):
        raise BadRequest(
            f"sigmas of shape {edges.shape} and change of shape {amounts.shape} do not belong together: change i is "
            "what happened from sigma i to sigma i + 1, so there is one sigma more."
        )
    if edges[0] > edges[-1]:
        edges, amounts = edges[::-1], amounts[::-1]
    if not (np.diff(edges) > 0).all() or edges[0] < 0 or edges[-1] > 1:
        raise BadRequest("the sigmas are no grid: they lie in [0, 1] and each is below (or each above) the one before.")
    bad = np.flatnonzero(~(np.isfinite(amounts) & (amounts > 0)))
    if len(bad):
        raise BadRequest(
            f"a measured change of {written(amounts[bad[0]])} cannot be spread: each is a finite number above 0, or "
            "the schedule would jump over its step."
        )
    density = amounts / np.diff(edges)
    if edges[0] > 0:
        edges, amounts = np.append(0.0, edges), np.append(density[0] * edges[0], amounts)
    if edges[-1] < 1:
        amounts, edges = np.append(amounts, density[-1] * (1 - edges[-1])), np.append(edges, 1.0)
    return edges, amounts


def equal_change(sigmas: npt.ArrayLike, change: npt.ArrayLike, name: str = "equal-change") -> Schedule:
    """The schedule in whose every step the same amount of the measured change happens.

    sigmas: shape (n + 1,), the noise levels of the run, downward as a sampler walks or upward. change: shape (n,), what
    changed from sigma i to sigma i + 1, in any unit. Below and above the measured sigmas the density of the nearest
    interval goes on. Change is taken to add up: half an interval holds half its change.

    The schedule is the inverse of the cumulated change, straight between the measured sigmas. A smooth monotone curve
    would look better there, but it would place change where none was measured; straight lines keep every interval's
    amount exactly, and both the curve and its inverse are exact and monotone for any data.
    Raises BadRequest for shapes and sigmas that are no grid, and for a change that is not a finite number above 0.
    """
    edges, amounts = _measured(sigmas, change)
    passed = np.append(0.0, np.cumsum(amounts / amounts.max()))
    passed /= passed[-1]
    slopes = np.diff(edges) / np.diff(passed)

    def gradient(t: Array) -> Array:
        out: Array = slopes[np.minimum(np.searchsorted(passed, t, side="right"), len(slopes)) - 1]
        return out

    return Schedule(
        name, lambda t: np.interp(t, passed, edges), gradient, lambda sigma: np.interp(sigma, edges, passed)
    )


@dataclass(frozen=True)
class Fit:
    """The flow shift nearest to something. rms, largest: its error in sigma, root mean square and largest."""

    shift: float
    rms: float
    largest: float

    @property
    def schedule(self) -> Schedule:
        """The flow shift as a schedule, under a name that people can read."""
        return replace(flow(self.shift), name=f"nearest shift {self.shift:.3g}")


def nearest_shift(t: npt.ArrayLike, sigmas: npt.ArrayLike, least: str = "rms") -> Fit:
    """The flow shift with the least error in sigma at the points (t, sigma), each point with equal weight.

    t, sigmas: equal shapes, within [0, 1]. least: which error is to be least, "rms" or "largest". Looked for between
    1e-4 and 1e4, in ln s: a coarse scan, then golden sections. Raises BadRequest for unequal shapes, no points, values
    outside [0, 1], and another error.
    """
    if least not in ("rms", "largest"):
        raise BadRequest(f"the error '{least}' is unknown: it is rms or largest.")
    points, levels = np.atleast_1d(np.asarray(t, dtype=np.float64)), np.atleast_1d(np.asarray(sigmas, dtype=np.float64))
    inside = ((points >= 0) & (points <= 1)).all() and ((levels >= 0) & (levels <= 1)).all()
    if points.shape != levels.shape or not points.size or not inside:
        raise BadRequest("a shift is fitted to points (t, sigma) within [0, 1]: as many t as sigmas, and at least one.")

    def error(log_shift: float) -> Array:
        return flow(math.exp(log_shift)).value(points) - levels

    def loss(log_shift: float) -> float:
        return float(np.mean(error(log_shift) ** 2) if least == "rms" else np.abs(error(log_shift)).max())

    scan = np.linspace(-math.log(REACH), math.log(REACH), 93)
    best = int(np.argmin([loss(x) for x in scan]))
    low, high = float(scan[max(best - 1, 0)]), float(scan[min(best + 1, len(scan) - 1)])
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        left, right = high - golden * (high - low), low + golden * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    found = (low + high) / 2
    miss = error(found)
    return Fit(math.exp(found), math.sqrt(float(np.mean(miss**2))), float(np.abs(miss).max()))


def fit_shift(sigmas: npt.ArrayLike, change: npt.ArrayLike, least: str = "rms", points: int = 1001) -> Fit:
    """The flow shift nearest to the schedule that spreads the measured change evenly, with its error in sigma.

    sigmas, change: as `equal_change` takes them. least: which error is to be least, "rms" or "largest". points: how
    many equally spaced t are compared, both ends included. Raises what `equal_change` and `nearest_shift` raise.
    """
    t = np.linspace(0, 1, points)
    return nearest_shift(t, equal_change(sigmas, change).value(t), least)
