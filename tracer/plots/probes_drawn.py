"""How the panels of a ProbeLog's figures are drawn; `tracer.plots.probes` says which."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.plots.looks import Look, looks
from tracer.plots.picture import INK
from tracer.probes.groups import Curve
from tracer.probes.log import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

METRICS = {
    "mean_abs": "mean|x|",
    "rel_l1": "relative L1",
    "rel_l1_per_dt": "relative L1 per dt",
    "magnitude_ratio": "magnitude ratio",
    "cosine": "cosine",
    "rel_l1_computed": "relative L1 to the last computed",
}
"""How metrics are called on an axis."""
PER_DT = {"rel_l1": "rel_l1_per_dt"}
"""The same per dt."""
BANDS = {
    "range": ("least to largest", (0.0, 0.5, 1.0)),
    "quartiles": ("between the quartiles", (0.25, 0.5, 0.75)),
}
"""How a band is said, and the quantiles of its lower edge, its line and its upper edge."""

_WIDE = 30
"""Largest over least value, from which an axis over sigma is logarithmic."""
_DOTTED = 30
"""Points of a curve up to which each has a dot."""
_REFERENCE: Look = {"color": INK, "linestyle": "-", "linewidth": 1.0}


@dataclass(frozen=True)
class Panel:
    """One panel. name: the label of its axes. across: where a row stands. said: the words at its two axes."""

    name: str
    across: Callable[[Row, Curve], float | None]
    said: tuple[str, str]
    ends: tuple[float, float] | None = None
    logarithmic: bool = False


def panels_of(shown: Sequence[Curve], slopes: Sequence[Curve]) -> list[Panel]:
    """The panels that the curves have values for, the article's three first."""
    rows = [row for curve in shown for point in curve.points for row in point]
    size = METRICS[rows[0].metric]
    share = (0.0, 1.0)
    out = [Panel("steps", _share, ("step / steps", size), share)]
    if any(row.timestep is not None for row in rows):
        out.append(Panel("timesteps", _done, ("1000 - timestep", size), (0, 1000)))
        out.append(Panel("schedule", _share, ("step / steps", "1000 - timestep"), share))
    if any(row.sigma is not None for row in rows):
        out.append(_over_sigma("sigma", rows))
    if slopes:
        out.append(_over_sigma("per dt", [row for curve in slopes for point in curve.points for row in point]))
    return out


def _over_sigma(name: str, rows: Sequence[Row]) -> Panel:
    values = [row.value for row in rows if isfinite(row.value)]
    wide = bool(values) and min(values) > 0 and max(values) > _WIDE * min(values)
    said = METRICS[rows[0].metric] + (" (log scale)" if wide else "")
    sigmas = [row.sigma for row in rows if row.sigma is not None]
    ends = (max(1.0, *sigmas), 0.0)
    down = sigmas[0] >= sigmas[-1]  # Mochi's scheduler counts upward; time goes to the right here
    return Panel(name, _sigma, ("sigma", said), ends if down else ends[::-1], wide)


def draw(
    figure: Figure, panels: Sequence[Panel], curves: tuple[Sequence[Curve], Sequence[Curve], Sequence[Curve]],
    band: str, heights: Sequence[float],
) -> None:  # fmt: skip
    """The panels two by two, and the key: left of a last one, or below where there is one height more than rows.

    curves: those of the metric, those of the metric per dt, and those to lay over them.
    """
    shown, slopes, over = curves
    named = [
        (curve.group.label or _counted(len(curve.group.runs)), look)
        for curve, look in zip(shown, looks([c.group.settings for c in shown]), strict=True)
    ]
    of_run = {number: pair for curve, pair in zip(shown, named, strict=True) for number in curve.group.runs}
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    handles: dict[str, Any] = {}
    beside = len(panels) % 2 == 1 and len(heights) == -(-len(panels) // 2)
    shade = 0.22 if len(shown) < 5 else 0.1
    for i, panel in enumerate(panels):
        alone = i == len(panels) - 1 and beside
        axes = figure.add_subplot(grid[i // 2, 1 if alone else i % 2], label=panel.name)
        for curve in slopes if panel.name == "per dt" else shown:
            name, look = of_run[curve.group.runs[0]]
            line = _curve(axes, panel, curve, (name, look, shade), band)
            handles.setdefault(name, line)
        for curve in over:
            handles[curve.group.label] = _curve(axes, panel, curve, (curve.group.label, _REFERENCE, 0), band)
        _frame(axes, panel)
    room = figure.add_subplot(grid[-1, 0] if beside else grid[-1, :], label="key")
    room.set_axis_off()
    said = band_said(shown, band)
    if len(handles) > 1 or said:
        room.legend(
            list(handles.values()), list(handles), loc="upper left", bbox_to_anchor=(-0.02, 1.04), borderaxespad=0,
            ncols=1 if beside else 2, title=said or None, alignment="left", handlelength=3.2,
            title_fontsize=9,
        )  # fmt: skip


def band_said(shown: Sequence[Curve], band: str) -> str:
    """What line and band are, "" where every curve is of one run."""
    counts = {len(curve.group.runs) for curve in shown}
    if counts == {1}:
        return ""
    each = f"{max(counts)} runs each" if len(counts) == 1 else f"{min(counts)} to {max(counts)} runs each"
    return f"{each}: median, band {BANDS[band][0]}"


def _curve(axes: Axes, panel: Panel, curve: Curve, named: tuple[str, Look, float], band: str) -> Any:
    name, look, shade = named
    if panel.name == "schedule":
        x: Sequence[Any] = [step / curve.steps for step, _ in curve.grid]
        (line,) = axes.plot(x, [1000 - timestep for _, timestep in curve.grid], gid=name, **_dots(len(x)) | look)
        return line
    points = [(panel.across(point[0], curve), [row.value for row in point]) for point in curve.points]
    known = [(across, values) for across, values in points if across is not None]
    if not known:
        return None
    x = [across for across, _ in known]
    low, middle, high = (np.array([_quantile(v, q) for _, v in known]) for q in BANDS[band][1])
    if any(len(values) > 1 for _, values in known):
        axes.fill_between(x, low, high, color=look["color"], alpha=shade, linewidth=0, gid=f"{name}: band")
    (line,) = axes.plot(x, middle, gid=name, **_dots(len(x)) | look)
    return line


def _quantile(values: Sequence[float], q: float) -> float:
    """Of one run its value as it is; inf and nan, which a ratio may be, are no error."""
    with np.errstate(invalid="ignore"):
        return values[0] if len(values) == 1 else float(np.quantile(values, q))


def _dots(count: int) -> dict[str, Any]:
    few = count <= _DOTTED
    return {"marker": "o" if few else "", "markersize": 3.2, "linewidth": 1.2 if few else 1.5}


def _frame(axes: Axes, panel: Panel) -> None:
    axes.set_xlabel(panel.said[0])
    axes.set_ylabel(panel.said[1])
    if panel.ends is not None:
        start, end = panel.ends
        axes.set_xlim(start - 0.02 * (end - start), end + 0.02 * (end - start))
    if panel.name == "schedule":
        axes.set_ylim(-20, 1020)
    if panel.logarithmic:
        axes.set_yscale("log")
        axes.tick_params(axis="y", which="minor", left=False, labelleft=False)
        axes.yaxis.set_major_formatter(lambda value, at: f"{value:g}")


def _share(row: Row, curve: Curve) -> float:
    return row.step / curve.steps


def _done(row: Row, curve: Curve) -> float | None:
    return None if row.timestep is None else 1000 - row.timestep


def _sigma(row: Row, curve: Curve) -> float | None:
    return row.sigma


def _counted(runs: int) -> str:
    """What a curve is called that there is no other to tell from."""
    return "one run" if runs == 1 else f"mean of {runs} runs"
