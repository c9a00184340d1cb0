"""Which schedule, and which flow shift, would spread what a log has measured evenly over the steps.

An answer, with its error, to a question that an article on the L1 changes of HunyuanVideo ends with. It is about the
change along the way that was measured: with other steps the model walks a slightly different way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import numpy as np

from tracer.errors import BadRequest
from tracer.probes import spread
from tracer.probes.groups import curves
from tracer.probes.log import ProbeLog
from tracer.probes.schedules import Array, Schedule

AMOUNTS = ("rel_l1", "rel_l1_per_dt")
"""Metrics that say how much changed between one step and the next, so that they can be added up."""


def equal_change(
    log: ProbeLog,
    signal: str = "prediction",
    metric: str = "rel_l1",
    branch: str | None = None,
    run: int | Sequence[int] | None = None,
) -> Schedule:
    """The schedule in whose every step the same amount of the measured change happens.

    signal, metric, branch: as `ProbeLog.curve` takes them; rel_l1 and rel_l1_per_dt give the same. run: one run, or
    several with the same sigmas (seeds), whose mean change is taken; all of the log where it is None.
    Raises BadRequest for metrics that are no amount of change, for schedulers without sigmas, for runs with different
    sigmas, and for what `tracer.probes.spread.equal_change` and `ProbeLog.curve` refuse.
    """
    sigmas, change = _change(log, signal, metric, branch, run)
    return spread.equal_change(sigmas, change, f"equal change of {signal}")


def fit_shift(
    log: ProbeLog,
    signal: str = "prediction",
    metric: str = "rel_l1",
    branch: str | None = None,
    run: int | Sequence[int] | None = None,
    least: str = "rms",
) -> spread.Fit:
    """The flow shift nearest to `equal_change` of the same arguments, with its error in sigma.

    least: which error is to be least, "rms" or "largest". Raises what `equal_change` and
    `tracer.probes.spread.fit_shift` raise.
    """
    return spread.fit_shift(*_change(log, signal, metric, branch, run), least)


_HEADINGS = ("", "steps", "runs", "largest", "at", "least", "at", "even shift", "rms error", "peak", "fitted")


@dataclass(frozen=True)
class Answer:
    """What was measured in runs that differ in their seed alone, and the flow shift that would spread it evenly.

    label: what tells them from the log's other runs. runs: their numbers. steps: of each. largest, least: of the mean
    over the runs, and the steps at which they are. fit: the nearest flow shift; None where there is none, and `why`
    says so. shifts: the smallest and largest shift fitted to a run of its own. peak: the largest share of the change
    that falls on one step, times the steps: 1 is even. peak_fitted: the same if the steps stood as the fit has them.
    """

    label: str
    runs: tuple[int, ...]
    steps: int
    largest: tuple[float, int]
    least: tuple[float, int]
    fit: spread.Fit | None = None
    shifts: tuple[float, float] | None = None
    peak: float | None = None
    peak_fitted: float | None = None
    why: str = ""


def answers(
    log: ProbeLog, signal: str = "prediction", metric: str = "rel_l1", branch: str | None = None
) -> list[Answer]:
    """An Answer for each group of runs that differ in their seed alone, in the order of the log.

    Raises BadRequest for a signal, metric or branch that the log does not have.
    """
    out = []
    for curve in curves(log, signal, metric, branch):
        runs, steps = curve.group.runs, [point[0].step for point in curve.points]
        values = [fmean(row.value for row in point) for point in curve.points]
        high, low = int(np.argmax(values)), int(np.argmin(values))
        told: dict[str, Any] = {
            "label": curve.group.label,
            "runs": runs,
            "steps": curve.steps,
            "largest": (values[high], steps[high]),
            "least": (values[low], steps[low]),
        }
        try:
            told |= _fitted(log, (signal, metric, branch), runs)
        except BadRequest as error:
            told["why"] = str(error)
        out.append(Answer(**told))
    return out


def text(found: Sequence[Answer], title: str = "") -> str:
    """Answers as a table for a terminal, the error of each fit in sigma."""
    rows: list[Sequence[str]] = [_HEADINGS]
    notes: dict[str, None] = {}
    for one in found:
        row = [one.label or "all", str(one.steps), str(len(one.runs))]
        row += [f"{one.largest[0]:.3g}", str(one.largest[1]), f"{one.least[0]:.3g}", str(one.least[1])]
        if one.fit is None or one.shifts is None:
            notes[one.why] = None
            rows.append((*row, "-", "-", "-", "-"))
            continue
        low, high = (f"{shift:.3g}" for shift in one.shifts)
        band = f" ({low} to {high})" if low != high else ""
        row += [f"{one.fit.shift:.3g}{band}", f"{one.fit.rms:.3f}", f"{one.peak:.2f}", f"{one.peak_fitted:.2f}"]
        rows.append(row)
    wide = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(wide[0]), *(cell.rjust(n) for cell, n in zip(row[1:], wide[1:], strict=True))]).rstrip()
        for row in rows
    ]
    return "\n".join([title, *lines, *notes] if title else [*lines, *notes])


def _fitted(log: ProbeLog, choice: tuple[str, str, str | None], runs: tuple[int, ...]) -> dict[str, Any]:
    even = equal_change(log, *choice, run=runs)
    fit = fit_shift(log, *choice, run=runs)
    each = [fit_shift(log, *choice, run=run).shift for run in runs]
    _, change = _change(log, *choice, runs)
    steps = len(change)
    return {
        "fit": fit,
        "shifts": (min(each), max(each)),
        "peak": float(change.max() / change.mean()),
        "peak_fitted": float(-np.diff(even.inverse(fit.schedule.sigmas(steps))).min() * steps),
    }


def _change(
    log: ProbeLog, signal: str, metric: str, branch: str | None, run: int | Sequence[int] | None
) -> tuple[Array, Array]:
    """Sigmas (n + 1,), downward, and the mean change between them (n,)."""
    if metric not in AMOUNTS:
        raise BadRequest(f"{metric} is no amount of change that adds up over steps: take {' or '.join(AMOUNTS)}.")
    chosen = log.filter(signal=signal, branch=branch, run=run)
    runs = chosen.filter(metric=metric).names("run")
    if not runs:
        raise BadRequest(f"This log has no {metric} of {signal}.")
    spans = [chosen.spans(signal, metric, branch, run=number) for number in runs]
    sigmas = np.asarray(spans[0][0])
    for other, _ in spans[1:]:
        if len(other) != len(sigmas) or np.abs(sigmas - other).max() > 1e-5:
            raise BadRequest("The runs walk different sigmas: choose those that differ in their seed alone with run=.")
    if log.runs[runs[0]].get("scheduler_config", {}).get("invert_sigmas"):
        sigmas = 1 - sigmas  # Mochi's scheduler holds the share of the video, not of the noise
    change = np.mean([values for _, values in spans], axis=0)
    return sigmas, change * np.abs(np.diff(sigmas)) if metric == "rel_l1_per_dt" else change
