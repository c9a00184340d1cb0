"""The checkpoints that can be traced, for --list."""

from __future__ import annotations

from tracer.cli.common import console
from tracer.families import all_families
from tracer.families.base import Checkpoint, Family


def print_list() -> None:
    """Print every checkpoint: a table where it fits, three lines each where it does not."""
    out = console()
    if out.width >= 80:
        _print_table(out.width >= 110)
    else:
        for family in all_families():
            for c in family.checkpoints:
                r = c.request
                out.print(c.name, style="bold")
                out.print(f"    {c.params:,} parameters, {c.confidence} config", soft_wrap=True)
                out.print(f"    {_frames(family, c)} of {r.height}×{r.width}, {r.text_tokens} text tokens")
    out.print()
    for family in all_families():
        out.print(f"{family.name} alone means {family.checkpoints[0].name}: {family.summary}")


def _frames(family: Family, checkpoint: Checkpoint) -> str:
    return f"{checkpoint.request.frames} frames" if family.video else "one image"


def _print_table(wide: bool) -> None:
    from rich.table import Table

    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    columns = {"checkpoint": "left", "parameters": "right", "frames": "right", "height×width": "right", "text": "right"}
    for heading, side in (columns | {"config": "left"} | ({"hub id": "left"} if wide else {})).items():
        table.add_column(
            heading, justify="right" if side == "right" else "left", no_wrap=heading != "hub id", overflow="fold"
        )
    for family in all_families():
        for i, c in enumerate(family.checkpoints):
            r = c.request
            frames = str(r.frames) if family.video else "image"
            cells = [c.name, f"{c.params:,}", frames, f"{r.height}×{r.width}", str(r.text_tokens), c.confidence]
            table.add_row(*cells, *([c.hub] if wide else []), style="bold" if i == 0 else "")
    console().print(table)
