"""trace-shapes MODEL: how tensors flow through a video diffusion transformer, in one screen."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.cli.common import (
    FILE_WIDTH,
    Parser,
    check_largest,
    console,
    format_of,
    hand_out,
    kind_of,
    run,
    status,
    whole,
)  # fmt: skip
from tracer.cli.comparing import compare
from tracer.cli.loading import check_file, is_file, read_trace, reading
from tracer.cli.writing import SUFFIXES, check_kind, written
from tracer.errors import BadRequest, ForwardFailed, TracerError, UnknownName
from tracer.files import check_writable

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.compare import Comparison
    from tracer.outline import Options

_EPILOG = """\
examples:
  trace-shapes cogvideox                       the family's default checkpoint, published size
  trace-shapes cogvideox1.5-5b --frames 161    another checkpoint, another length
  trace-shapes hunyuanvideo --stage rope       one stage, every operation in it
  trace-shapes hunyuanvideo --depth 3          the call tree, three levels deep
  trace-shapes cogvideox --notes               why each shape is what it is
  trace-shapes cogvideox --pipeline            from the prompt to the video: encoders, steps, VAE
  trace-shapes cogvideox --source              the model's own source, with shapes in its margin
  trace-shapes cogvideox --costs               which stage takes how much, and how it grows
  trace-shapes cogvideox-2b --diff cogvideox-5b
                                               what differs between two checkpoints
  trace-shapes cogvideox --frames 33 --diff "cogvideox --frames 17"
                                               or two requests; or two traces: a.json --diff b.json
  trace-shapes hunyuanvideo --diagram -o flow.svg
                                               the stages as a flow, with shapes on the arrows
  trace-shapes cogvideox -o shapes.md          tables to paste; .csv has every call, .svg the tree
  trace-shapes cogvideox -o page.html          a page to explore: fields recompute every number
  trace-shapes cogvideox --format json | jq .  the whole trace as data
  trace-shapes --from ./my-finetune            a local diffusers folder or config.json
"""


def parser() -> Parser:
    """The command line; building it imports nothing heavy."""
    p = Parser(
        prog="trace-shapes",
        description="Trace how tensors flow through a published video diffusion transformer: every shape\n"
        "with its number, its formula and its reason. Runs the real diffusers class at real size,\n"
        "without weights or a GPU.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="family, checkpoint or hub id (--list shows them), or a trace that -o FILE.json wrote",
    )
    size = p.add_argument_group("request (default: the checkpoint's published one)")
    size.add_argument("--frames", type=whole, metavar="N", help="video frames")
    size.add_argument("--height", type=whole, metavar="PX", help="rows of pixels")
    size.add_argument("--width", type=whole, metavar="PX", help="columns of pixels")
    size.add_argument("--batch", type=whole, metavar="B", help="samples in one forward; guidance doubles it")
    size.add_argument("--text-tokens", type=whole, metavar="L", help="length of the text sequence")
    size.add_argument("--dtype", metavar="DTYPE", help="bfloat16, float16 or float32")
    size.add_argument("--from", dest="place", metavar="PATH", help="a diffusers folder or config.json instead of MODEL")
    what = p.add_argument_group("what to show")
    what.add_argument("--stage", metavar="STAGE", help="every call of one stage, with its source lines")
    what.add_argument("--depth", type=whole, metavar="N", help="the call tree, N levels deep")
    what.add_argument("--ops", action="store_true", help="all operations, casts and slices too")
    what.add_argument("--notes", action="store_true", help="the reason under each row")
    which = what.add_mutually_exclusive_group()
    which.add_argument("--numbers", action="store_true", help="numbers only")
    which.add_argument("--formulas", action="store_true", help="formulas only")
    what.add_argument("--pixels", action="store_true", help="formulas in frames N, height and width of the video")
    what.add_argument("--pipeline", action="store_true", help="the whole pipeline: text encoders, steps, VAE")
    what.add_argument("--steps", type=whole, metavar="N", help="denoising steps of the pipeline (default: 2)")
    what.add_argument("--diagram", action="store_true", help="the stages as a flow: mermaid text, or -o FILE.svg")
    what.add_argument("--costs", action="store_true", help="FLOPs, parameters and bytes of each stage, with formulas")
    what.add_argument(
        "--source", nargs="?", const="", metavar="NAME",
        help="the source that ran, shapes in its margin; NAME: of one function, class, module or stage",
    )  # fmt: skip
    what.add_argument("--torchinfo", action="store_true", help="torchinfo's table of the same model beside it")
    two = p.add_argument_group("comparing")
    two.add_argument(
        "--diff",
        metavar="OTHER",
        help="what differs from MODEL to OTHER: a model or trace file, options "
        'in quotes: --diff "cogvideox --frames 17"',
    )
    two.add_argument("--exit-code", action="store_true", help="leave with 1 where they differ")
    out = p.add_argument_group("output")
    out.add_argument(
        "--format",
        type=kind_of(*SUFFIXES.values()),
        metavar="FORMAT",
        help="tree (default), json, html, markdown, csv, svg, mermaid",
    )
    out.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write to FILE, whose ending decides: .txt .json .html .md .csv .svg .mmd",
    )
    out.add_argument("--list", action="store_true", help="the checkpoints, and leave")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run(parser(), argv, _run, _print_partial)


def _print_partial(error: TracerError) -> None:
    """What was seen before a forward stopped, with where it stopped at the end."""
    if not isinstance(error, ForwardFailed):
        return
    from tracer.views.tree import render_text

    print(f"\nSeen until there:\n{render_text(error.trace, width=console().width)}", end="", file=sys.stderr)


def _run(args: argparse.Namespace) -> int | None:
    if args.list:
        from tracer.cli.listing import print_list

        print_list()
        return None
    with reading(args.model, args.diff):
        return _answer(args)


def _answer(args: argparse.Namespace) -> int | None:
    if args.diff is not None:
        return compare(parser(), args, _check, lambda side: _trace(side)[0])
    if args.exit_code:
        raise BadRequest("--exit-code is for --diff; give both.")
    kind = format_of(args.output, args.format, SUFFIXES)
    _check(args)
    check_kind(args, kind)
    if args.output:
        check_writable(Path(args.output))
    with status("tracing"):
        trace, table = _trace(args)
    if kind != "tree" or args.diagram:
        text = written(trace, args, kind, _options(args), lambda: _lines(trace, args, table))
    elif args.output:
        text = _text(trace, args, table)
    else:
        _show(trace, args, table)
        return None
    hand_out(text, args.output)
    return None


def _check(args: argparse.Namespace) -> None:
    """Everything that can be refused before torch is imported, which takes seconds."""
    from tracer import families
    from tracer.configs import DTYPES, check_sizes, read_config
    from tracer.notes import STAGES

    if args.model is None and args.place is None:
        if args.source:
            raise BadRequest(f"--source {args.source} has no MODEL: type trace-shapes {args.source} --source.")
        raise BadRequest("no MODEL is given: type trace-shapes cogvideox; trace-shapes --list shows them all.")
    if args.model is not None and args.place is not None:
        raise BadRequest(f"MODEL '{args.model}' and --from '{args.place}' are two models; give one of them.")
    if is_file(args.model):
        check_file(args)
    elif args.model is not None:
        families.find(args.model)
    else:
        read_config(args.place)
    asked = {name: getattr(args, name) for name in ("frames", "height", "width", "batch", "text_tokens")}
    check_sizes(asked)
    check_largest(asked)
    if args.depth is not None and args.depth < 0:
        raise BadRequest(f"--depth {args.depth} is not possible: it is a whole number from 0 on.")
    _check_pipeline(args)
    if args.dtype is not None and args.dtype not in DTYPES:
        raise UnknownName("dtype", args.dtype, DTYPES)
    if args.stage is not None and args.stage not in STAGES:
        raise UnknownName("stage", args.stage, STAGES)
    if args.stage is not None and args.depth is not None:
        raise BadRequest("--stage and --depth are two views; give one of them.")
    views = {"--stage": args.stage, "--depth": args.depth, "--notes": args.notes or None, "--ops": args.ops or None}
    others = [option for option, given in views.items() if given is not None]
    if args.costs and others:
        raise BadRequest(f"--costs and {others[0]} are two views; give one of them.")
    if args.source is not None:
        _check_source(args, others)


def _check_source(args: argparse.Namespace, others: Sequence[str]) -> None:
    """What the annotated source has no room for."""
    taken = [*others, *["--costs"] * args.costs, *["--torchinfo"] * args.torchinfo]
    if "--notes" in taken:
        raise BadRequest("--source has the notes beside the lines already; leave --notes out.")
    if "--stage" in taken:
        raise BadRequest(f"--source and --stage are two views; --source {args.stage} shows the source of that stage.")
    if taken:
        raise BadRequest(f"--source and {taken[0]} are two views; give one of them.")
    if args.pixels and not args.formulas:
        raise BadRequest("--source shows numbers; --pixels needs --formulas beside it.")


def _check_pipeline(args: argparse.Namespace) -> None:
    """What a whole pipeline has no answer to, or alone has an answer to."""
    from tracer import families
    from tracer.components import check_steps

    if not args.pipeline:
        if args.steps is not None:
            raise BadRequest(f"--steps {args.steps} is for --pipeline; give both.")
        return
    if args.place is not None:
        raise BadRequest("--pipeline takes a MODEL, not --from: a config says nothing of encoders and VAE.")
    if args.text_tokens is not None:
        raise BadRequest("--pipeline and --text-tokens exclude each other: the pipeline sets the length of its text.")
    if args.torchinfo or args.pixels:
        option = "--torchinfo" if args.torchinfo else "--pixels"
        raise BadRequest(f"--pipeline and {option} exclude each other: {option} is for the transformer alone.")
    check_steps(2 if args.steps is None else args.steps)
    families.pipeline_of(*families.find(args.model))


def _trace(args: argparse.Namespace) -> tuple[Trace, Comparison | None]:
    if is_file(args.model):
        result = read_trace(args.model)
        _require_stage(result, args)
        return result, None
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from tracer.api import trace

    counting: dict[str, Any] = {"lines": True} if args.source is not None else {}
    if args.pipeline:
        from tracer.whole import trace_pipeline

        result = trace_pipeline(
            args.model, frames=args.frames, height=args.height, width=args.width, batch=args.batch or 1,
            steps=args.steps or 2, dtype=args.dtype, **counting,
        )  # fmt: skip
        _require_stage(result, args)
        return result, None
    result = trace(
        args.model or "", frames=args.frames, height=args.height, width=args.width, batch=args.batch,
        text_tokens=args.text_tokens, dtype=args.dtype, config=args.place, **counting,
    )  # fmt: skip
    _require_stage(result, args)
    if not args.torchinfo:
        return result, None
    from tracer.compare import torchinfo_table

    return result, torchinfo_table(result)


def _require_stage(trace: Trace, args: argparse.Namespace) -> None:
    stages = trace.stages()
    if args.stage is not None and args.stage not in stages:
        name = args.model or args.place
        raise BadRequest(f"{name} has no stage '{args.stage}'; its stages are {', '.join(stages)}.")


def _options(args: argparse.Namespace) -> Options:
    from tracer.outline import Options

    return Options(
        depth=args.depth, stage=args.stage, ops=args.ops, notes=args.notes, pixels=args.pixels,
        show="numbers" if args.numbers else "formulas" if args.formulas else "both",
    )  # fmt: skip


def _view(trace: Trace, args: argparse.Namespace, table: Comparison | None, total: int) -> Any:
    """What is printed: the trace, and torchinfo's table beside it where both fit."""
    from tracer.views.tree import beside, renderable

    if args.costs:
        from tracer.views import costs

        return costs.renderable(trace, total)
    if args.source is not None:
        from tracer.listings.installed import Reader
        from tracer.listings.listed import listings
        from tracer.views import source

        pages, names = listings(trace, Reader(trace.header.sources), args.source)
        return source.renderable(trace, pages, names, _options(args), width=total)
    if table is None:
        return renderable(trace, _options(args), width=total)
    room = total - 3 - max(map(len, table.table))
    width = min(room, 100) if room >= 80 else total
    return beside(renderable(trace, _options(args), width=width), width, table.table, table.remarks, total)


def _text(trace: Trace, args: argparse.Namespace, table: Comparison | None) -> str:
    from tracer.views.tree import plain

    return plain(_view(trace, args, table, FILE_WIDTH), FILE_WIDTH * 10)


def _lines(trace: Trace, args: argparse.Namespace, table: Comparison | None) -> list[Any]:
    from tracer.views.tree import plain_lines

    return plain_lines(_view(trace, args, table, FILE_WIDTH), FILE_WIDTH * (10 if table else 1))


def _show(trace: Trace, args: argparse.Namespace, table: Comparison | None) -> None:
    from rich.text import Text

    out = console()
    view = _view(trace, args, table, out.width)
    out.print(view, soft_wrap=table is not None)
    if out.is_terminal and args.stage is None and args.source is None:
        name = f"--from {shlex.quote(args.place)}" if args.place else shlex.quote(args.model)
        name += " --pipeline" * args.pipeline
        out.print(
            Text(
                f"more: trace-shapes {name} --notes | --stage {_pick(trace)} | --depth 3 | --format json",
                style="dim",
            )
        )


def _pick(trace: Trace) -> str:
    """A stage worth looking at."""
    found = trace.stages()
    return next((s for s in ("rope", "attention") if s in found), found[0] if found else "STAGE")


if __name__ == "__main__":
    sys.exit(main())
