"""What each stage costs: FLOPs with their formula, parameters, activations, and how the work grows."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tracer.calls import Trace
from tracer.outline import title
from tracer.words import Words, amount, percent


def renderable(trace: Trace, width: int = 100) -> RenderableType:
    """A row for each stage, the dearest first, and the total; the formulas follow, a line each."""
    words = Words(trace)
    costs = trace.stage_costs()
    total = trace.root.cost
    order = sorted(costs, key=lambda s: costs[s].flops.size, reverse=True)
    table = Table(box=None, padding=(0, 2 if width >= 90 else 1, 0, 0), pad_edge=False)
    table.add_column("stage", style="cyan", no_wrap=True)
    for heading in ("FLOPs", "share", "F×2", "parameters", "activations"):
        table.add_column(heading, justify="right", no_wrap=True)
    longer = {**trace.values, "F": 2 * trace.values.get("F", 1)}
    for stage in [*order, "total"]:
        cost = total if stage == "total" else costs[stage]
        flops = cost.flops
        grows = ""
        if flops.size and flops.formula is not None and "F" in trace.values:
            grows = f"×{flops.formula.evaluate(longer) / flops.size:.2f}"
        table.add_row(
            stage,
            amount(flops.size, "FLOP") if flops.size else "",
            percent(flops.size / total.flops.size) if flops.size >= 0.0005 * total.flops.size > 0 else "",
            grows,
            f"{cost.params.size:,}" if cost.params.size else "",
            amount(cost.bytes.size, "B") if cost.bytes.size else "",
            style="bold" if stage == "total" else "",
        )
    lines: list[RenderableType] = [Text(" · ".join(line)) for line in title(trace)]
    lines += [Text(""), table, Text("")]
    lines.append(Text("A multiply-add is two FLOPs; elementwise work is not counted. Activations are what is written."))
    if "F" in trace.values:
        lines.append(Text("F×2: how many times the FLOPs become when the latent frames double."))
    dear = [s for s in order if costs[s].flops.formula is not None and costs[s].flops.size]
    if dear:
        lines.append(Text("\nFLOPs as formulas", style="bold"))
    for stage in dear:
        formula = costs[stage].flops.formula
        assert formula is not None
        lines.append(Text.assemble((f"{stage}  ", "cyan"), words.written(formula)))
    return Group(*lines)
