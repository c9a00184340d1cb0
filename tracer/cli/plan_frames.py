"""plan-frames MODEL [N]: what a pipeline really makes of N frames, and what each step then costs."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tracer.cli.common import (
    FILE_WIDTH,
    LARGEST,
    Parser,
    check_largest,
    console,
    format_of,
    hand_out,
    kind_of,
    run,
    status,
    whole,
)
from tracer.errors import BadRequest
from tracer.files import check_writable

if TYPE_CHECKING:
    from tracer.planning import Answer

_EPILOG = """\
examples:
  plan-frames cogvideox 50                     49 come out: which rule takes one, what 49 and 56 cost
  plan-frames hunyuanvideo                     the published length and its neighbours
  plan-frames framepack 91                     sections of 33 frames, and more than was asked for
  plan-frames gamecraft --actions 5            clip by clip, with seconds
  plan-frames gamecraft --chunk 17             where the published code has its 33 written out
  plan-frames wan 80 --format json | jq .plan  as data
"""


def parser() -> Parser:
    """The command line; building it imports nothing heavy."""
    p = Parser(
        prog="plan-frames",
        description="Say what a published pipeline really makes of N frames: latent frames, tokens, frames\n"
        "returned, the nearest counts that come out as asked, the rules behind them, and the cost\n"
        "of one forward of the transformer.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("model", nargs="?", metavar="MODEL", help="family, checkpoint or hub id")
    p.add_argument("frames", nargs="?", type=whole, metavar="N", help="video frames; default: the published count")
    size = p.add_argument_group("request (default: the checkpoint's published one)")
    size.add_argument("--height", type=whole, metavar="PX", help="rows of pixels")
    size.add_argument("--width", type=whole, metavar="PX", help="columns of pixels")
    size.add_argument("--chunk", type=whole, metavar="FRAMES", help="frames of a clip, where a video is made in clips")
    size.add_argument("--actions", type=whole, metavar="K", help="length in actions instead of N, for gamecraft")
    out = p.add_argument_group("output")
    out.add_argument("--format", type=kind_of("table", "json"), metavar="FORMAT", help="table (default) or json")
    out.add_argument("-o", "--output", metavar="FILE", help="write to FILE; .txt or .json decides the format")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run(parser(), argv, _run)


def _run(args: argparse.Namespace) -> None:
    kind = format_of(args.output, args.format, {".txt": "table", ".json": "json"})
    if args.model is None:
        raise BadRequest("no MODEL is given: type plan-frames cogvideox 50; trace-shapes --list shows them all.")
    _check(args)
    if args.output:
        check_writable(Path(args.output))
    with status("planning"):
        answer = _answer(args)
    if kind == "json":
        text = json.dumps(answer.to_json()) + "\n"
    elif args.output:
        text = _text(answer)
    else:
        _show(answer)
        return
    hand_out(text, args.output)


def _check(args: argparse.Namespace) -> None:
    """Everything that can be refused before torch is imported, which takes seconds."""
    from tracer.configs import check_sizes
    from tracer.planning import check

    _, rule = check(args.model, args.frames, args.actions, args.chunk)
    sizes = {name: getattr(args, name) for name in ("height", "width", "chunk", "actions")}
    check_sizes(sizes)
    check_largest(sizes)
    n = args.frames if args.actions is None else args.actions * (rule.chunk or 0)
    if n is not None and n > LARGEST:
        raise BadRequest(f"N {n} is too large: up to {LARGEST:,} frames can be planned.")


def _answer(args: argparse.Namespace) -> Answer:
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from tracer.planning import Planner

    planner = Planner(args.model, height=args.height, width=args.width, chunk=args.chunk)
    return planner.answer(args.frames, actions=args.actions)


def _text(answer: Answer) -> str:
    from tracer.views.frames import renderable
    from tracer.views.tree import plain

    return plain(renderable(answer, FILE_WIDTH), FILE_WIDTH)


def _show(answer: Answer) -> None:
    from tracer.views.frames import renderable

    out = console()
    out.print(renderable(answer, out.width))


if __name__ == "__main__":
    sys.exit(main())
