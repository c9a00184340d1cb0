"""What the runs of one setting have in common: a mean curve over prompts and seeds, said in a few numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from tracer.errors import BadRequest
from tracer.probes.cells import Cell
from tracer.probes.log import ProbeLog
from tracer.probes.spread import Fit, fit_shift

METRIC = "rel_l1"
_ARMS = 5
"""Values a curve needs before its first fifth is one."""


@dataclass(frozen=True)
class Curve:
    """Relative L1 over the steps, mean over runs.

    first, last, least, largest: values. least_at: the step of the smallest, as a share of the steps. left, right: the
    largest value of the first and of the last fifth, over the smallest: the arms of the U, 1 where there is none, None
    for curves of fewer than five values. spread: standard deviation over runs divided by the mean, mean over steps.
    """

    first: float
    last: float
    least: float
    least_at: float
    largest: float
    left: float | None
    right: float | None
    spread: float


@dataclass(frozen=True)
class Summary:
    """One setting.

    cell: its settings. runs: how many prompts times seeds. forwards: of the transformer in a step, a list where they
    differ between steps. samples: in each forward, for one video: 2 where both branches go together. guided: whether
    there was an unconditional prediction. guidance: the scale, None where it differs between steps. cond, latents:
    their relative L1, None where it was not measured. follows_dt: correlation of the latents' with |dt|. fit: the flow
    shift nearest to the schedule that spreads the change of the conditional prediction evenly. Both are None where
    the sampler has no sigmas, or steps are too few.
    """

    cell: Cell
    frames: int | None
    height: int | None
    width: int | None
    runs: int
    forwards: int | list[int]
    samples: int
    guided: bool
    guidance: float | None
    cond: Curve | None
    latents: Curve | None
    follows_dt: float | None
    fit: Fit | None

    def told(self) -> dict[str, Any]:
        """As JSON has it; what is no finite number is None."""
        finite: dict[str, Any] = _finite(asdict(self))
        return finite | {"cell": self.cell.told()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(held) for key, held in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def summaries(cells: Sequence[Cell], logs: Iterable[ProbeLog]) -> list[Summary]:
    """A summary of each setting, in the order of its first cell; every log is that of one run."""
    groups: dict[Cell, list[ProbeLog]] = {}
    for cell, log in zip(cells, logs, strict=True):
        groups.setdefault(cell.setting, []).append(log)
    return [_summary(setting, runs) for setting, runs in groups.items()]


def _summary(setting: Cell, logs: list[ProbeLog]) -> Summary:
    (told,) = logs[0].runs.values()
    scales = logs[0].names("guidance")
    guided = scales != [1.0] or "uncond" in logs[0].names("branch")
    given = told.get("arguments", {})
    cond, latents = _values(logs, "prediction", "cond"), _values(logs, "latents", "")
    return Summary(
        cell=setting,
        frames=given.get("num_frames", setting.frames),
        height=given.get("height", setting.height),
        width=given.get("width", setting.width),
        runs=len(logs),
        forwards=told["forwards_per_step"],
        samples=2 if guided and told["forwards_per_step"] == 1 else 1,
        guided=guided,
        guidance=scales[0] if len(scales) == 1 else None,
        cond=None if cond is None else _curve(cond, setting.steps),
        latents=None if latents is None else _curve(latents, setting.steps),
        follows_dt=_follows(logs[0], latents),
        fit=_fit(logs[0], cond),
    )


def _values(logs: list[ProbeLog], signal: str, branch: str) -> Any:
    """Relative L1, shape (runs, values), or None."""
    rows = [
        [r.value for r in log if (r.signal, r.branch, r.metric) == (signal, branch, METRIC)] for log in logs
    ]  # fmt: skip
    return np.array(rows) if rows[0] and len({len(row) for row in rows}) == 1 else None


def _curve(values: Any, steps: int) -> Curve:
    mean = values.mean(axis=0)
    fifth, low, at = (len(mean) + 1) // 5, float(mean.min()), int(mean.argmin())
    arms = len(mean) >= _ARMS and low > 0
    first = steps - len(mean)  # the step of the first value
    return Curve(
        first=float(mean[0]),
        last=float(mean[-1]),
        least=low,
        least_at=(at + first) / max(steps - 1, 1),
        largest=float(mean.max()),
        left=float(mean[:fifth].max()) / low if arms else None,
        right=float(mean[-fifth:].max()) / low if arms else None,
        spread=float((values.std(axis=0) / mean).mean()) if low > 0 else 0.0,
    )


def _follows(log: ProbeLog, values: Any) -> float | None:
    dts = [row.dt for row in log if (row.signal, row.metric) == ("latents", METRIC)]
    if values is None or len(dts) < 3 or any(dt is None for dt in dts):
        return None
    moved, sizes = values.mean(axis=0), np.abs(np.array(dts, dtype=float))
    if sizes.std() < 1e-4 * sizes.mean():  # equal steps: nothing to follow
        return None
    return float(np.corrcoef(moved, sizes)[0, 1])


def _fit(log: ProbeLog, values: Any) -> Fit | None:
    if values is None or values.shape[1] < _ARMS:
        return None
    try:
        sigmas, _ = log.spans("prediction", METRIC, "cond")
        return fit_shift(sigmas, values.mean(axis=0))
    except BadRequest:  # no sigmas, or a step in which nothing changed
        return None
