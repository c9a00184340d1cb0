"""`--diff OTHER`: two traces, and what differs between them."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.cli.common import FILE_WIDTH, console, either, format_of, hand_out, status
from tracer.cli.loading import SIZES, check_pair, is_file, other_side, said
from tracer.errors import BadRequest
from tracer.files import check_writable
from tracer.words import clean

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.diffs.diff import Diff

_TOGETHER = ("model", "place", "pipeline", "stage", "diff", "exit_code", "format", "output", *SIZES)
"""Arguments that a comparison has an answer to; all others are views of one trace."""
_KINDS = {".txt": "tree", ".json": "json", ".md": "markdown"}


def compare(
    parser: argparse.ArgumentParser, args: argparse.Namespace, check: Callable[[argparse.Namespace], None],
    trace: Callable[[argparse.Namespace], Trace],
) -> int:  # fmt: skip
    """Show what differs; returns the exit code. `check` refuses a side before any work, `trace` makes it."""
    others = [k for k, v in vars(args).items() if said(v) and k not in _TOGETHER]
    if others:
        raise BadRequest(f"--diff and --{others[0].replace('_', '-')} are two views; give one of them.")
    if args.format not in (None, *_KINDS.values()):
        raise BadRequest(f"--diff has no format '{args.format}': it is {either(list(_KINDS.values()))}.")
    kind = format_of(args.output, args.format, _KINDS)
    other = other_side(parser, args)
    for side in (args, other):
        check(side)
    if args.output:
        check_writable(Path(args.output))
    with status("tracing"):
        old, new = (trace(argparse.Namespace(**{**vars(side), "stage": None})) for side in (args, other))
    check_pair(old, new)
    stages = dict.fromkeys([*old.stages(), *new.stages()])
    if args.stage is not None and args.stage not in stages:
        raise BadRequest(f"Neither side has a stage '{args.stage}'; their stages are {', '.join(map(clean, stages))}.")
    d = old.diff(new)
    _show(d, args, other, kind)
    return int(args.exit_code and not d.equal)


def _show(d: Diff, args: argparse.Namespace, other: argparse.Namespace, kind: str) -> None:
    from tracer.views.diff import render_markdown, render_text, renderable

    sides = _sides(d, args, other)
    if kind == "json":
        hand_out(json.dumps(d.to_json()) + "\n", args.output)
    elif kind == "markdown":
        hand_out(render_markdown(d, args.stage, sides=sides), args.output)
    elif args.output:
        hand_out(render_text(d, args.stage, width=FILE_WIDTH, sides=sides), args.output)
    else:
        out = console()
        if not out.is_terminal:
            hand_out(render_text(d, args.stage, width=out.width, sides=sides), None)
            return
        out.print(renderable(d, args.stage, width=out.width, sides=sides))
        if args.stage is None and not d.equal:
            _hint(out, d, args)


def _sides(d: Diff, args: argparse.Namespace, other: argparse.Namespace) -> tuple[str, str]:
    """What to call the sides: by what tells the traces apart, else by what was typed."""
    from tracer.diffs.facts import UNTOLD, names

    told = names(d)
    if told != UNTOLD:
        return told
    typed = [str(a.model or a.place) for a in (args, other)]
    words = [Path(t).name if is_file(t) else t for t in typed]
    return (clean(words[0], 60), clean(words[1], 60)) if words[0] != words[1] else UNTOLD


def _hint(out: Any, d: Diff, args: argparse.Namespace) -> None:
    from rich.text import Text

    from tracer.diffs.outline import groups

    differing = [g.stage for g in groups(d) if g.sign != "=" and g.stage != "other"]
    name = f"--from {shlex.quote(args.place)}" if args.place else shlex.quote(args.model)
    stage = f"--stage {clean(differing[0])} | " if differing else ""
    text = (
        f"more: trace-shapes {name}{' --pipeline' * args.pipeline} --diff {shlex.quote(args.diff)} {stage}--format json"
    )
    out.print(Text(clean(text, 400), style="dim"))
