"""torchinfo on the same model and inputs, so that a reader sees what a table of modules leaves out."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

from tracer import families
from tracer.build import build_inputs, build_model
from tracer.calls import Trace
from tracer.outline import amount


def torchinfo_table(trace: Trace, *, depth: int = 2) -> str:
    """torchinfo's own table for the model of a trace, with a foot that compares its counts with ours."""
    import torch
    import torchinfo

    h = trace.header
    family = families.family(h.family or "")
    model = build_model(family.model, h.config, dtype=h.dtype or "bfloat16")
    inputs: dict[str, Any] = build_inputs(family.inputs(h.config), trace.values, dtype=h.dtype or "bfloat16")
    with torch.no_grad(), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        statistics = torchinfo.summary(
            model, input_data={**inputs, "return_dict": False}, depth=depth, verbose=0, device="meta",
            col_names=("output_size", "num_params"), row_settings=("var_names",), col_width=24,
        )  # fmt: skip
    counted = 2 * statistics.total_mult_adds
    ours = trace.root.cost.flops.size
    lines = [
        "torchinfo, the same forward:",
        str(statistics),
        f"parameters: torchinfo {statistics.total_params:,}, here {h.params:,}",
        f"work: torchinfo {amount(counted, 'FLOP')} (twice its mult-adds), here {amount(ours, 'FLOP')}"
        + (f": {ours / counted:,.0f} times as much" if counted else ""),
        "not in its table: operations that are no modules (concat, split, rope, attention), second outputs, "
        "arguments passed by name, formulas.",
    ]
    return "\n".join(lines)
