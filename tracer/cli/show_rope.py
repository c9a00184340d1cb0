"""show-rope MODEL: how a model turns its queries and keys by position, to look at, change and compare."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
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
)
from tracer.errors import BadRequest, UnknownName
from tracer.files import check_writable

if TYPE_CHECKING:
    from tracer.rope.grids import Sizes
    from tracer.rope.showing import Compared, Shown

_EPILOG = """\
examples:
  show-rope cogvideox                          split, wavelengths, tables, which tokens turn
  show-rope hunyuanvideo --frames 257          beyond the published length: none, linear, ntk
  show-rope wan --variant half                 one thing changed, and how far scores then move
  show-rope --compare wan wan:half             two side by side; NAME:CHANGE is a name with a change
  show-rope cogvideox --turns                  pairs turning from frame to frame, as arrows
  show-rope sat-pnp --grid 8 30 45             a variant without a model takes tokens
  show-rope cogvideox -o rope.svg              figures; .gif is a clip of the pairs
  show-rope cogvideox --format json | jq .axes everything as data
"""
_PICTURES = (".svg", ".png", ".pdf", ".gif")
_SUFFIXES = {".txt": "table", ".json": "json", **dict.fromkeys(_PICTURES, "picture")}
_FIGURES = ("bands", "similarity", "stretch", "pairs", "clip")
_FIGURES_OF_TWO = ("bands", "pairs")
_SIZES = ("frames", "height", "width", "text_tokens")
_MOST = 10_000
"""Tokens along one axis: all of them are laid out."""


def parser() -> Parser:
    """The command line; building it imports nothing heavy."""
    p = Parser(
        prog="show-rope",
        description="Show a published 3D rotary position embedding: how a head is split over frame, row and\n"
        "column, which numbers turn together and how fast, the tables with their formulas, which\n"
        "tokens turn, and what lies beyond the trained grid.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("model", nargs="?", metavar="MODEL", help="family, checkpoint, hub id or plain variant; see --list")
    p.add_argument(
        "--variant", metavar="NAME", action="append",
        help="one thing changed: half, six-way, ntk, ...; --list has them all; once for each change",
    )  # fmt: skip
    p.add_argument("--compare", nargs=2, metavar=("A", "B"), help="two ropes side by side instead of MODEL")
    size = p.add_argument_group("request (default: the checkpoint's published one)")
    size.add_argument("--frames", type=whole, metavar="N", help="video frames")
    size.add_argument("--height", type=whole, metavar="PX", help="rows of pixels")
    size.add_argument("--width", type=whole, metavar="PX", help="columns of pixels")
    size.add_argument("--text-tokens", type=whole, metavar="L", help="length of the text sequence")
    size.add_argument("--grid", type=whole, nargs=3, metavar=("T", "H", "W"), help="tokens, for a plain variant")
    what = p.add_argument_group("what to show")
    what.add_argument("--turns", action="store_true", help="arrows of pairs over the frames")
    what.add_argument("--plane", action="store_true", help="similarity over rows and columns of a frame")
    out = p.add_argument_group("output")
    out.add_argument("--format", type=kind_of("table", "json"), metavar="FORMAT", help="table (default) or json")
    out.add_argument(
        "-o", "--output", metavar="FILE", help="write to FILE: .txt or .json; .svg, .png, .pdf for figures; .gif a clip"
    )
    out.add_argument("--figure", metavar="NAME", help=f"one figure of the file: {', '.join(_FIGURES)}")
    out.add_argument("--list", action="store_true", help="ropes and changes by name, and leave")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run(parser(), argv, _run)


def _run(args: argparse.Namespace) -> None:
    if args.list:
        _check_alone(args)
        _print_list()
        return
    kind = format_of(args.output, args.format, _SUFFIXES)
    _check(args, kind)
    if args.output:
        check_writable(Path(args.output))
    with status("looking"):
        answer = _answer(args)
        if kind == "picture":
            _draw(answer, args)
            return
    if kind == "json":
        text = json.dumps(answer.to_json()) + "\n"
    elif args.output:
        from tracer.views.tree import plain

        text = plain(_view(answer, args, FILE_WIDTH), FILE_WIDTH)
    else:
        _show(answer, args)
        return
    hand_out(text, args.output)


def _check_alone(args: argparse.Namespace) -> None:
    """Refuse what --list would ignore."""
    for name, value in vars(args).items():
        if name != "list" and value not in (None, False):
            other = f"MODEL '{value}'" if name == "model" else f"--{name.replace('_', '-')}"
            raise BadRequest(f"--list shows all names as text and takes nothing else; leave {other} out.")


def _check(args: argparse.Namespace, kind: str) -> None:
    """Everything that can be refused before torch is imported, which takes seconds."""
    from tracer.rope.asking import check, chosen

    if args.model is None and args.compare is None:
        raise BadRequest("no MODEL is given: type show-rope cogvideox; show-rope --list shows them all.")
    if args.compare is not None:
        if args.variant:
            change = args.variant[0]
            raise BadRequest(
                f"--compare takes changes with the names, as in wan:{change}; leave --variant {change} out."
            )
        given = {f"MODEL '{args.model}'": args.model, "--turns": args.turns, "--plane": args.plane}
        other = next((name for name, value in given.items() if value), None)
        if other:
            raise BadRequest(f"--compare takes two ropes and shows them whole; leave {other} out.")
    if args.figure is not None and args.figure not in _FIGURES:
        raise UnknownName("figure", args.figure, _FIGURES)
    if args.compare is not None and args.figure not in (None, *_FIGURES_OF_TWO):
        raise BadRequest(
            f"--figure {args.figure} is of one rope; --compare takes {' or '.join(_FIGURES_OF_TWO)}, or no --figure."
        )
    if args.compare is not None and kind == "picture" and Path(args.output).suffix.lower() == ".gif":
        raise BadRequest(f"'{args.output}' is for a clip of one rope; --compare takes a file .svg, .png or .pdf.")
    if kind != "table" and (args.turns or args.plane):
        option, figure = ("--turns", "clip") if args.turns else ("--plane", "similarity")
        use = "its numbers are among the data" if kind == "json" else f"--figure {figure} draws it"
        raise BadRequest(f"{option} is for text; leave it out, {use}.")
    if args.figure is not None and kind != "picture":
        raise BadRequest(f"--figure {args.figure} goes into a picture; add -o FILE ending in {' or '.join(_PICTURES)}.")
    asked = {name: getattr(args, name) for name in _SIZES}
    for model in args.compare or [args.model]:
        check(chosen(model, args.variant)[0], asked, args.grid)
    check_largest(asked)
    for n in args.grid or ():
        if n > _MOST:
            raise BadRequest(f"--grid {n} is too large: up to {_MOST:,} tokens along an axis can be shown.")


def _answer(args: argparse.Namespace) -> Shown | Compared:
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from tracer.rope.showing import compare_ropes, show_rope

    grid: Sizes | None = tuple(args.grid) if args.grid else None
    asked: dict[str, Any] = {name: getattr(args, name) for name in _SIZES}
    if args.compare:
        first, second = (show_rope(name, grid=grid, **asked) for name in args.compare)
        return compare_ropes(first, second)
    return show_rope(args.model, variant=args.variant, grid=grid, **asked)


def _draw(answer: Shown | Compared, args: argparse.Namespace) -> None:
    from tracer.plots.rope import compare, pairs, save
    from tracer.rope.showing import Shown

    if isinstance(answer, Shown):
        save(args.output, answer.rope, answer.sizes, figure=args.figure, unstretched=answer.unstretched)
        return
    a, b = answer.first, answer.second
    drawn = pairs(a.rope, b.rope) if args.figure == "pairs" else compare(a.rope, b.rope, a.sizes, b.sizes)
    drawn.save(args.output)


def _view(answer: Shown | Compared, args: argparse.Namespace, width: int) -> Any:
    from tracer.rope.showing import Shown
    from tracer.views.rope import compared, renderable

    if isinstance(answer, Shown):
        return renderable(answer, width, turns=args.turns, plane=args.plane)
    return compared(answer, width)


def _show(answer: Shown | Compared, args: argparse.Namespace) -> None:
    from rich.text import Text

    out = console()
    out.print(_view(answer, args, out.width))
    if out.is_terminal and args.compare is None and not args.turns and not args.plane:
        more = f"more: show-rope {args.model} --turns | --plane | --variant half | -o rope.svg | --format json"
        out.print(Text(more, style="dim"))


def _print_list() -> None:
    """Families with a rope and their checkpoints, plain variants, and what --variant takes."""
    from rich.text import Text

    from tracer.rope.asking import models
    from tracer.rope.variants import CHANGES, PLAIN

    out = console()
    with status("looking"):
        turning = models()
    plain = {name: what for name, (what, _) in PLAIN.items()}
    groups = {
        "models (a family alone means its first checkpoint)": {f: ", ".join(names) for f, names in turning.items()},
        "plain variants, without a model": plain,
        "changes for --variant": CHANGES,
    }
    wide = max(len(name) for group in groups.values() for name in group) + 2
    for i, (title, group) in enumerate(groups.items()):
        if i:
            out.print()
        out.print(Text(title, style="bold"))
        for name, what in group.items():
            for j, line in enumerate(textwrap.wrap(what, max(20, out.width - wide))):
                out.print(Text((name if j == 0 else "").ljust(wide) + line))


if __name__ == "__main__":
    sys.exit(main())
