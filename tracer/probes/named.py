"""Schedules by name, "flow:7" or "linear", and the table that compares them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tracer.errors import BadRequest, UnknownName
from tracer.probes.article import article_g, article_h, article_linear_quadratic
from tracer.probes.distributions import by_distribution, secant
from tracer.probes.schedules import Array, Schedule
from tracer.probes.shifts import flow, flux, linear, linear_quadratic, movie_gen, opensora
from tracer.probes.snr_shift import SnrShift

Placed = Schedule | SnrShift
"""What places the steps of a sampler."""


@dataclass(frozen=True)
class Entry:
    """A named schedule.

    example: how it is typed. kinds: the types of its parameters, the first `needed` of them always given. sign: what
    stands between two parameters.
    """

    example: str
    make: Callable[..., Placed]
    kinds: tuple[type, ...] = (float,)
    needed: int = 1
    sign: str = ","


def _law(law: str) -> Entry:
    return Entry(f"{law}:1", lambda delta: by_distribution(law, delta))


ENTRIES: dict[str, Entry] = {
    "linear": Entry("linear", linear, (), 0),
    "flow": Entry("flow:7", flow),
    "sech": Entry("sech:7", secant),
    **{law: _law(law) for law in ("logistic", "normal", "t2", "cauchy", "softsign", "uniform", "sign")},
    "lq": Entry("lq:0.025", linear_quadratic, (float, float), 0),
    "moviegen": Entry("moviegen:250", movie_gen, (int, int), 0),
    "article-lq": Entry("article-lq:1.57", article_linear_quadratic, needed=0),
    "g": Entry("g:7", article_g),
    "g-normalised": Entry("g-normalised:7", lambda shift: article_g(shift, normalised=True)),
    "h": Entry("h:7", article_h),
    "h-normalised": Entry("h-normalised:7", lambda shift: article_h(shift, normalised=True)),
    "flux": Entry("flux:4096", flux),
    "flux-linear": Entry("flux-linear:4096", lambda tokens: flux(tokens, "linear")),
    "opensora": Entry("opensora:480x854x51", opensora, (int, int, int), 3, "x"),
    "snr": Entry("snr:3", SnrShift, needed=0),
}


def names() -> list[str]:
    """How each named schedule is typed, with an example of its parameters: "flow:7", "linear", ..."""
    return [entry.example for entry in ENTRIES.values()]


def schedule(text: str) -> Placed:
    """The schedule that a text names: a name and, after a colon, its parameters: "flow:7", "opensora:480x854x51".

    flow, sech, g, h take a shift s; logistic, normal, t2, cauchy, softsign, uniform, sign a delta; lq a threshold and
    the share of straight steps; moviegen the emulated steps; flux the image tokens; opensora height, width and frames;
    snr CogVideoX's snr_shift_scale. Raises UnknownName for a name that is none of them, and BadRequest for parameters
    that are missing, too many, no numbers, or that the schedule refuses.
    """
    name, colon, rest = str(text).strip().partition(":")
    entry = ENTRIES.get(name)
    if entry is None:
        raise UnknownName("schedule", str(text).strip(), names() if colon else list(ENTRIES))
    given = [part.strip() for part in rest.split(entry.sign)] if colon else []
    if not entry.needed <= len(given) <= len(entry.kinds):
        raise BadRequest(f"{text} is not how this schedule is typed: it is {entry.example}.")
    try:
        parameters = [kind(part) for kind, part in zip(entry.kinds, given, strict=False)]
    except ValueError:
        raise BadRequest(f"{text} is not how this schedule is typed: it is {entry.example}.") from None
    return entry.make(*parameters)


@dataclass(frozen=True)
class Row:
    """One schedule at N steps, all in shares of the way.

    name: as typed. reason: why it cannot be sampled with, None where it can. quarters: sigma after 1/4, 1/2 and 3/4 of
    the steps. slope_clean, slope_noise: d sigma / dt at t = 0 and t = 1, None for a grid. first, last, largest: changes
    of sigma in one step, downward. steps_to_tenth: steps until sigma is .9, linear within a step; None where it is not
    reached. jump: the largest jump within [0, 1].
    """

    name: str
    steps: int
    reason: str | None
    quarters: tuple[float, float, float]
    slope_clean: float | None
    slope_noise: float | None
    first: float
    last: float
    largest: float
    steps_to_tenth: float | None
    jump: float


def _steps_to(sigmas: Array, level: float) -> float | None:
    low = np.flatnonzero(sigmas <= level)
    if not len(low):
        return None
    i = int(low[0])
    return float(i - 1 + (sigmas[i - 1] - level) / (sigmas[i - 1] - sigmas[i])) if i else 0.0


def table(schedules: Sequence[str | Placed], steps: int) -> list[Row]:
    """A row for each schedule, by name or as it is, at N steps; also for those that cannot be sampled with.

    Raises UnknownName and BadRequest for names and steps that `schedule` and `Schedule.values` refuse.
    """
    rows = []
    for given in schedules:
        found = schedule(given) if isinstance(given, str) else given
        one = found.for_steps(steps) if isinstance(found, Schedule) else None
        sigmas = found.values(steps) if isinstance(found, Schedule) else found.sigmas(steps)
        at = np.interp(np.array([0.25, 0.5, 0.75]) * steps, np.arange(steps + 1), sigmas)
        dt = sigmas[:-1] - sigmas[1:]
        rows.append(
            Row(
                name=found.name,
                steps=steps,
                reason=one.reason if one else None,
                quarters=(float(at[0]), float(at[1]), float(at[2])),
                slope_clean=one.slopes[0] if one else None,
                slope_noise=one.slopes[1] if one else None,
                first=float(dt[0]),
                last=float(dt[-1]),
                largest=float(dt.max()),
                steps_to_tenth=_steps_to(sigmas, 0.9),
                jump=one.jump if one else 0.0,
            )
        )
    return rows
