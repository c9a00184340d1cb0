"""Schedule: where the steps of a sampler stand on the way from noise to video.

A schedule is a function f of [0, 1] with t = 1 noise and t = 0 the clean video. A sampler of N steps walks the grid
t = 1 - i/N and sees the noise levels sigma = f(t); numbers on both axes are shares of the way, without unit. A flow
matching scheduler's timestep is 1000 sigma. Only a bijection of [0, 1] can be sampled with; the other functions can be
looked at, and say why they are none.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.errors import BadRequest

Array = npt.NDArray[np.float64]
Curve = Callable[[Array], Array]


def written(number: float) -> str:
    """A number as people type it: 7, not 7.0; every digit that tells it from its neighbours."""
    return repr(float(number)).removesuffix(".0")


def step_count(steps: Any) -> int:
    """Steps as an int. Raises BadRequest unless they are a whole number from 1 on."""
    try:
        count = operator.index(steps)
    except TypeError:
        count = 0
    if count < 1 or isinstance(steps, bool):
        raise BadRequest(f"{steps} steps cannot be sampled: steps are a whole number from 1 on, such as 50.")
    return count


def finite(what: str, given: Any, example: str) -> float:
    """A finite number as float. Raises BadRequest for anything else."""
    try:
        number = float(given)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or isinstance(given, bool):
        raise BadRequest(f"{what} {given} makes no schedule: it is a finite number, as in {example}.")
    return number


def positive(what: str, given: Any, example: str) -> float:
    """A finite number above 0 as float. Raises BadRequest for anything else."""
    number = finite(what, given, example)
    if number <= 0:
        raise BadRequest(f"{what} {written(number)} makes no schedule: it is a number above 0, as in {example}.")
    return number


def shift_of(given: Any, example: str) -> float:
    """A shift as float. Raises BadRequest unless it is a number above 0, and for those beyond 1e-15 and 1e15."""
    shift = positive("shift", given, example)
    if not 1e-15 <= shift <= 1e15:
        raise BadRequest(f"shift {written(shift)} makes no schedule: it lies between 1e-15 and 1e15, as in {example}.")
    return shift


def step_grid(steps: Any) -> Array:
    """The grid 1 - i/N for i = 0..N, with both ends: what HunyuanVideo's, FLUX's and LTX's pipelines begin from.

    Shape (N + 1,). Raises BadRequest for steps below 1.
    """
    count = step_count(steps)
    return 1.0 - np.arange(count + 1, dtype=np.float64) / count


def _inside(what: str, given: Any) -> Array:
    values = np.asarray(given, dtype=np.float64)
    outside = ~((values >= 0) & (values <= 1))
    if outside.any():
        raise BadRequest(f"{what} {written(values[outside].flat[0])} is outside a schedule: it lies in [0, 1].")
    return values


HANDED = "handed_schedule"
"""Attribute of a scheduler that was given a schedule: its name, which no config tells."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A function of [0, 1] that places the steps of a sampler; t = 1 is noise, t = 0 is clean.

    name: as `tracer.probes.named.schedule` reads it, parameters included. curve, gradient, inverted: sigma of t, its
    derivative, t of sigma, each on float64 arrays within [0, 1]; `value`, `derivative` and `inverse` are the ways in.
    reason: why it is no bijection of [0, 1], a sentence; None where it is one. jump: the largest jump of sigma within
    [0, 1]. members: for schedules that depend on the number of steps, the schedule of N steps.
    """

    name: str
    curve: Curve = field(repr=False)
    gradient: Curve = field(repr=False)
    inverted: Curve | None = field(default=None, repr=False)
    reason: str | None = None
    jump: float = 0.0
    members: Callable[[int], Schedule] | None = field(default=None, repr=False)

    @property
    def valid(self) -> bool:
        """Whether it is a bijection of [0, 1]; `reason` says why not."""
        return self.reason is None

    @property
    def slopes(self) -> tuple[float, float]:
        """The derivative at t = 0 (the last, clean steps) and at t = 1 (the first steps); may be inf."""
        return float(self.derivative(0.0)), float(self.derivative(1.0))

    def value(self, t: npt.ArrayLike) -> Array:
        """Sigma at t, elementwise, in the shape of t. Raises BadRequest for t outside [0, 1]."""
        out: Array = self.curve(_inside("t", t))[()]
        return out

    def derivative(self, t: npt.ArrayLike) -> Array:
        """The slope d sigma / dt at t, elementwise, in the shape of t. Raises BadRequest for t outside [0, 1]."""
        out: Array = self.gradient(_inside("t", t))[()]
        return out

    def inverse(self, sigma: npt.ArrayLike) -> Array:
        """The t at which sigma is reached, elementwise. Raises BadRequest outside [0, 1] and for no bijection."""
        self.require()
        assert self.inverted is not None, self.name
        out: Array = self.inverted(_inside("sigma", sigma))[()]
        return out

    def require(self) -> None:
        """Raise BadRequest with the reason unless this is a bijection of [0, 1]."""
        if self.reason is not None:
            raise BadRequest(f"{self.name} cannot place the steps of a sampler: {self.reason}")

    def for_steps(self, steps: Any) -> Schedule:
        """The schedule that N steps follow: this one, or its member for N. Raises BadRequest for steps below 1."""
        count = step_count(steps)
        return self.members(count) if self.members else self

    def values(self, steps: Any) -> Array:
        """Sigma on the grid 1 - i/N for i = 0..N, shape (N + 1,), also where it is no bijection.

        Raises BadRequest for steps below 1.
        """
        return np.atleast_1d(self.for_steps(steps).value(step_grid(steps)))

    def sigmas(self, steps: Any) -> Array:
        """The N sigmas that a sampler uses, from 1 down, and the 0 that it ends on: shape (N + 1,).

        Raises BadRequest for steps below 1 and where it is no bijection.
        """
        self.for_steps(steps).require()
        return self.values(steps)
