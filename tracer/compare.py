"""torchinfo on the same model and inputs, so that a reader sees what a table of modules leaves out."""

from __future__ import annotations

import contextlib
import io
import warnings
from dataclasses import dataclass

from tracer.calls import Trace
from tracer.errors import BadRequest
from tracer.words import amount

MISSES = (
    "not in torchinfo's table: operations that are no modules (concat, split, rope, attention, gates), "
    "second results, arguments passed by name, formulas, and the work of attention."
)


@dataclass(frozen=True)
class Comparison:
    """The table of torchinfo, line by line, and sentences that set its counts beside ours."""

    table: tuple[str, ...]
    remarks: tuple[str, ...]


def torchinfo_table(trace: Trace, *, depth: int = 2) -> Comparison:
    """The table of torchinfo for the model of a trace. Raises BadRequest for a trace of no known family.

    Runs of equal blocks are one line of its table here, with how many lines there were.
    """
    import torchinfo

    from tracer import families
    from tracer.build import build_model, ready

    h = trace.header
    if h.family is None:
        raise BadRequest("torchinfo's table is made for traces of a known family; this trace is of none.")
    family = families.family(h.family)
    dtype = h.dtype or "bfloat16"
    model = build_model(family.model, h.config, dtype=dtype)
    run = ready(family.inputs(h.config), trace.values, dtype=dtype)
    with run as inputs, warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        statistics = torchinfo.summary(
            model, input_data={**inputs, "return_dict": False}, depth=depth, verbose=0, device="meta",
            col_names=("output_size", "num_params"), row_settings=("var_names",), col_width=24,
        )  # fmt: skip
    theirs, ours = 2 * statistics.total_mult_adds, trace.root.cost.flops.size
    times = f": {ours / theirs:,.0f} times as much" if theirs and ours else ""
    work = f"torchinfo {amount(theirs, 'FLOP')} (twice its mult-adds), here {amount(ours, 'FLOP')}"
    return Comparison(
        ("torchinfo, the same forward:", *_folded(str(statistics).splitlines())),
        (
            f"parameters: torchinfo {statistics.total_params:,}, here {h.params:,}",
            f"work: {work}{times}",
            MISSES,
        ),
    )


def _folded(lines: list[str]) -> list[str]:
    """A row of equal blocks, which differ in their number only, as the first, the last and a count."""
    out: list[str] = []
    run: list[str] = []

    def key(line: str) -> str:
        head, _, rest = line.partition("(")
        number, _, tail = rest.partition(")")
        return f"{head}{tail.strip()}" if number.isdigit() else ""

    def flush() -> None:
        if len(run) > 3:
            indent = run[0][: len(run[0]) - len(run[0].lstrip("│├└─ "))]
            out.extend([run[0], f"{indent}… {len(run) - 2} more like it", run[-1]])
        else:
            out.extend(run)
        run.clear()

    for line in map(str.rstrip, lines):
        if not run or not key(line) or key(line) != key(run[0]):
            flush()
        run.append(line)
    flush()
    return out
