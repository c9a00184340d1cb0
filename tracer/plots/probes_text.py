"""The numbers of a ProbeLog's figures as terminal text, in lines of at most 80 columns where labels are short."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from textwrap import wrap

from tracer.probes.groups import Curve


def panel_text(shown: Sequence[Curve]) -> str:
    """For each curve its runs, its largest and least value with their place, and all values; medians over runs."""
    out = []
    for curve in shown:
        values = [median(row.value for row in point) for point in curve.points]
        runs = len(curve.group.runs)
        label = f"{curve.group.label}: " if curve.group.label else ""
        out.append(f"{label}{curve.steps} steps" + (f", median of {runs} runs" if runs > 1 else ""))
        high, low = max(range(len(values)), key=values.__getitem__), min(range(len(values)), key=values.__getitem__)
        out.append(f"       largest {values[high]:.3g} at {_place(curve, high)}, "
                   f"least {values[low]:.3g} at {_place(curve, low)}")  # fmt: skip
        said = " ".join(f"{value:.3g}" for value in values)
        first = curve.points[0][0].step
        out += wrap(f"from step {first}: {said}", 80, initial_indent=" " * 7, subsequent_indent=" " * 7)
    return "\n".join(out)


def _place(curve: Curve, at: int) -> str:
    row = curve.points[at][0]
    return f"step {row.step}" + ("" if row.timestep is None else f" (timestep {row.timestep:.4g})")
