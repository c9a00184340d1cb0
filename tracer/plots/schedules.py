"""Schedules beside each other: where the steps of a sampler stand, how large they are, and what is wrong with some."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np

from tracer.errors import BadRequest
from tracer.plots.looks import MOST, Look, looks
from tracer.plots.picture import Picture, blank, drawing, headed, settle
from tracer.probes.named import Placed, Row, schedule, table
from tracer.probes.schedules import Schedule

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 1001
"""Points of a curve over t."""
_HIGHEST = 1.5
"""Sigmas above it are cut off: they are of curves that are no schedule."""
_DOTTED = 60
"""Steps up to which each has a dot."""
_LINE, _WIDE = 0.17, 112
"""Inches of a line of words below the figure, and its characters."""


def compare(schedules: Sequence[str | Placed], steps: int) -> Picture:
    """Sigma against t, and the size of each of N steps, of several schedules.

    schedules: by name, "flow:7", or as they are; CogVideoX's "snr:3" too, whose table is shown at t = row / rows. What
    is no bijection of [0, 1] is drawn thin with crosses, a jump as a circle with its size, and the reason stands below.
    Raises BadRequest for no schedule, for more than 16, for steps below 1 or too few for a schedule, and UnknownName.
    """
    found = [schedule(one) if isinstance(one, str) else one for one in schedules]
    if not found:
        raise BadRequest(f"There is nothing to compare: give up to {MOST} schedules, such as linear and flow:7.")
    own = [one.for_steps(steps) if isinstance(one, Schedule) else one for one in found]
    rows = table(found, steps)
    look = looks([{"schedule": row.name} for row in rows])
    reasons = [line for row in rows if row.reason for line in wrap(f"{row.name}: {row.reason}", _WIDE)]
    title = f"Schedules: the noise that is left, and what a step takes of it, at {rows[0].steps} steps"
    with drawing():
        figure = blank(3.4 + 0.19 * -(-len(rows) // 4) + _LINE * len(reasons))
        headed(figure, title)
        heights = [2.9, 0.1 + 0.19 * -(-len(rows) // 4) + _LINE * len(reasons)]
        grid = figure.add_gridspec(2, 2, height_ratios=heights)
        left, right = (figure.add_subplot(grid[0, i], label=name) for i, name in enumerate(("values", "sizes")))
        handles = [_values(left, one, row, each) for one, row, each in zip(own, rows, look, strict=True)]
        for one, row, each in zip(found, rows, look, strict=True):
            _sizes(right, one, row, each)
        _frame(left, right, steps)
        room = figure.add_subplot(grid[1, :], label="key")
        room.set_axis_off()
        names = [row.name + ("" if row.reason is None else ", no bijection") for row in rows]
        room.legend(handles, names, loc="upper left", bbox_to_anchor=(-0.02, 1.0), ncols=4, handlelength=3.2,
                    borderaxespad=0, columnspacing=1.2)  # fmt: skip
        room.text(-0.015, 0, "\n".join(reasons), va="bottom", fontsize=8.5, linespacing=1.25, transform=room.transAxes)
        settle(figure)
    return Picture(figure, title, _text(rows))


def jumps(one: Schedule) -> list[tuple[float, float, float]]:
    """Where a schedule jumps within [0, 1]: (t, sigma below it, sigma above it), downward jumps as seen from t = 1.

    Found by halving: a jump stays as large as it was, however near the two points are.
    """
    if not one.jump:
        return []
    low, high = np.linspace(0, 1, _POINTS)[:-1], np.linspace(0, 1, _POINTS)[1:]
    for _ in range(45):
        middle = (low + high) / 2
        below = np.abs(one.value(middle) - one.value(low)) >= np.abs(one.value(high) - one.value(middle))
        low, high = np.where(below, low, middle), np.where(below, middle, high)
    under, over = one.value(low), one.value(high)
    places = np.flatnonzero(np.abs(over - under) > 0.5 * one.jump)
    return [(float(high[i]), float(under[i]), float(over[i])) for i in places]


def _values(axes: Axes, one: Placed, row: Row, look: Look) -> Any:
    if not isinstance(one, Schedule):
        count = one.train_steps
        (line,) = axes.plot(np.arange(count + 1) / count, np.append(0.0, one.levels), gid=row.name, **look)
        return line
    t = np.linspace(0, 1, _POINTS)
    sigma = one.value(t)
    places = jumps(one)
    for at, under, over in places:
        nearest = int(np.clip(np.searchsorted(t, at), 1, len(t) - 1))
        t, sigma = np.insert(t, nearest, at), np.insert(sigma, nearest, np.nan)
        axes.plot([at, at], [under, over], "o", color=look["color"], fillstyle="none", markersize=7,
                  gid=f"{row.name}: jump")  # fmt: skip
    if places:
        at, under, over = places[0]
        side, way = ("right", -1) if at < 0.25 else ("left", 1)  # towards the middle
        axes.annotate(f"jump {abs(over - under):.3g}", (at, over), xytext=(7 * way, 5), textcoords="offset points",
                      fontsize=8.5, color=look["color"], ha=side)  # fmt: skip
    (line,) = axes.plot(t, sigma, gid=row.name, **_marked(row, len(t) // 12) | look)
    return line


def _sizes(axes: Axes, one: Placed, row: Row, look: Look) -> None:
    sigmas = one.values(row.steps) if isinstance(one, Schedule) else one.sigmas(row.steps)
    dots: dict[str, Any] = {} if row.steps > _DOTTED or row.reason else {"marker": "o", "markersize": 2.8}
    axes.plot(np.arange(row.steps), sigmas[:-1] - sigmas[1:], gid=row.name,
              **dots | _marked(row, max(1, row.steps // 12)) | look)  # fmt: skip


def _marked(row: Row, every: int) -> dict[str, Any]:
    """How a line looks that is no schedule."""
    if row.reason is None:
        return {}
    return {"marker": "x", "markersize": 4.5, "markevery": every, "linewidth": 0.9, "alpha": 0.8}


def _frame(left: Axes, right: Axes, steps: int) -> None:
    from matplotlib.ticker import MaxNLocator

    left.set_xlim(1.02, -0.02)
    top = max(1.0, *(float(np.nanmax(line.get_ydata())) for line in left.lines))
    left.set_ylim(-0.03, 1.03 if top <= 1 + 1e-9 else min(top, _HIGHEST) + 0.03)
    left.set_xlabel("t, from noise to clean")
    left.set_ylabel("sigma")
    right.set_xlabel(f"step of {steps}")
    right.set_ylabel("sigma that the step takes (log scale)")
    right.xaxis.set_major_locator(MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True))
    right.set_yscale("log", nonpositive="mask")
    right.set_xlim(-0.02 * steps - 0.1, steps - 1 + 0.02 * steps + 0.1)
    right.tick_params(axis="y", which="minor", left=False, labelleft=False)
    right.yaxis.set_major_formatter(lambda value, at: f"{value:g}")


def _text(rows: Sequence[Row]) -> str:
    """For each schedule its steps in numbers, and what is wrong with it."""
    out = []
    for row in rows:
        quarters = ", ".join(f"{value:.3g}" for value in row.quarters)
        out.append(f"{row.name}: sigma {quarters} after 1/4, 1/2, 3/4 of {row.steps} steps")
        tenth = "" if row.steps_to_tenth is None else f"; .9 after {row.steps_to_tenth:.3g} steps"
        out.append(f"       steps: first {row.first:.3g}, largest {row.largest:.3g}, last {row.last:.3g}{tenth}")
        if row.slope_clean is not None and row.slope_noise is not None:
            out.append(f"       slope at t = 1 (noise) {row.slope_noise:.3g}, at t = 0 {row.slope_clean:.3g}")
        if row.reason:
            out += wrap(row.reason, 80, initial_indent=" " * 7, subsequent_indent=" " * 7)
    return "\n".join(out)
