"""trace-shapes MODEL: how tensors flow through a video diffusion transformer, in one screen."""

from __future__ import annotations

import argparse
import difflib
import errno
import io
import json
import os
import shlex
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tracer.errors import BadRequest, ForwardFailed, TracerError, UnknownName, Unwritable

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.compare import Comparison
    from tracer.outline import Options

LARGEST = 1_000_000
"""Of one size of a request; far beyond any video, and far below what torch cannot count."""
FILE_WIDTH = 100
PIPE_WIDTH = 120
"""A pipe has no width of its own; at this one nothing of any checkpoint wraps."""

_EPILOG = """\
examples:
  trace-shapes cogvideox                       the family's default checkpoint, published size
  trace-shapes cogvideox1.5-5b --frames 161    another checkpoint, another length
  trace-shapes hunyuanvideo --stage rope       one stage, every operation in it
  trace-shapes hunyuanvideo --depth 3          the call tree, three levels deep
  trace-shapes cogvideox --notes               why each shape is what it is
  trace-shapes cogvideox --costs               which stage takes how much, and how it grows
  trace-shapes cogvideox --format json | jq .  the whole trace as data
  trace-shapes --from ./my-finetune            a local diffusers folder or config.json
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and leaves with 2."""

    def error(self, message: str) -> NoReturn:
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"trace-shapes: {message.removeprefix('argument ')}{end}\n")


def _whole(text: str) -> int:
    try:
        return int(text[:20])
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, such as 49") from None


def _kind(text: str) -> str:
    if text not in ("tree", "json"):
        raise argparse.ArgumentTypeError(f"'{text}' is no format; it is tree or json")
    return text


def parser() -> argparse.ArgumentParser:
    """The command line; building it imports nothing heavy."""
    p = _Parser(
        prog="trace-shapes",
        description="Trace how tensors flow through a published video diffusion transformer: every shape\n"
        "with its number, its formula and its reason. Runs the real diffusers class at real size,\n"
        "without weights or a GPU.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    p.add_argument("model", nargs="?", metavar="MODEL", help="family, checkpoint or hub id; --list shows them")
    size = p.add_argument_group("request (default: the checkpoint's published one)")
    size.add_argument("--frames", type=_whole, metavar="N", help="video frames")
    size.add_argument("--height", type=_whole, metavar="PX", help="rows of pixels")
    size.add_argument("--width", type=_whole, metavar="PX", help="columns of pixels")
    size.add_argument("--batch", type=_whole, metavar="B", help="samples in one forward; guidance doubles it")
    size.add_argument("--text-tokens", type=_whole, metavar="L", help="length of the text sequence")
    size.add_argument("--dtype", metavar="DTYPE", help="bfloat16, float16 or float32")
    size.add_argument("--from", dest="place", metavar="PATH", help="a diffusers folder or config.json instead of MODEL")
    what = p.add_argument_group("what to show")
    what.add_argument("--stage", metavar="STAGE", help="every call of one stage, with its source lines")
    what.add_argument("--depth", type=_whole, metavar="N", help="the call tree, N levels deep")
    what.add_argument("--ops", action="store_true", help="all operations, casts and slices too")
    what.add_argument("--notes", action="store_true", help="the reason under each row")
    which = what.add_mutually_exclusive_group()
    which.add_argument("--numbers", action="store_true", help="numbers only")
    which.add_argument("--formulas", action="store_true", help="formulas only")
    what.add_argument("--pixels", action="store_true", help="formulas in frames N, height and width of the video")
    what.add_argument("--costs", action="store_true", help="FLOPs, parameters and bytes of each stage, with formulas")
    what.add_argument("--torchinfo", action="store_true", help="torchinfo's table of the same model beside it")
    out = p.add_argument_group("output")
    out.add_argument("--format", type=_kind, metavar="FORMAT", help="tree (default) or json")
    out.add_argument("-o", "--output", metavar="FILE", help="write to FILE; .txt or .json decides the format")
    out.add_argument("--list", action="store_true", help="the checkpoints, and leave")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without · or × still gets its answer
    p = parser()
    args, unknown = p.parse_known_args(argv)
    try:
        if unknown:
            _refuse(p, unknown[0])
        if args.list:
            _print_list()
        else:
            _run(args)
        sys.stdout.flush()
    except TracerError as error:
        print(f"trace-shapes: {error}", file=sys.stderr)
        if isinstance(error, ForwardFailed):
            _print_partial(error.trace)
        return 2
    except BrokenPipeError:  # the reader has seen enough: `trace-shapes ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk behind `>`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"trace-shapes: the output cannot be written: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _print_partial(trace: Trace) -> None:
    """What was seen before a forward stopped, with where it stopped at the end."""
    from tracer.views.tree import render_text

    console = _console()
    print(f"\nSeen until there:\n{render_text(trace, width=console.width)}", end="", file=sys.stderr)


def _refuse(p: argparse.ArgumentParser, given: str) -> NoReturn:
    options = [o for a in p._actions for o in a.option_strings]
    near = difflib.get_close_matches(given.partition("=")[0], options, n=1)
    if given.startswith("-"):
        hint = f"did you mean {near[0]}?" if near else "trace-shapes --help lists them all."
        p.error(f"no option is called '{given}': {hint}")
    p.error(f"one MODEL at a time, '{given}' is one too many.")


def _run(args: argparse.Namespace) -> None:
    kind = _format(args)
    if args.model is None and args.place is None:
        raise BadRequest("no MODEL is given: type trace-shapes cogvideox; trace-shapes --list shows them all.")
    if args.model is not None and args.place is not None:
        raise BadRequest(f"MODEL '{args.model}' and --from '{args.place}' are two models; give one of them.")
    _check(args)
    if args.output:
        _writable(Path(args.output))
    with _status("tracing"):
        trace, table = _trace(args)
    if kind == "json":
        text = json.dumps(trace.to_json()) + "\n"  # ASCII: any terminal and any file name can take it
    elif args.output:
        text = _text(trace, args, table)
    else:
        _show(trace, args, table)
        return
    if args.output:
        _write(Path(args.output), text)
    else:
        sys.stdout.write(text)


def _check(args: argparse.Namespace) -> None:
    """Everything that can be refused before torch is imported, which takes seconds."""
    from tracer import families
    from tracer.configs import DTYPES, check_sizes, read_config
    from tracer.notes import STAGES

    if args.model is not None:
        families.find(args.model)
    else:
        read_config(args.place)
    asked = {name: getattr(args, name) for name in ("frames", "height", "width", "batch", "text_tokens")}
    check_sizes(asked)
    for name, value in asked.items():
        if value is not None and value > LARGEST:
            option = f"--{name.replace('_', '-')}"
            raise BadRequest(f"{option} {value} is too large: sizes up to {LARGEST:,} can be traced.")
    if args.depth is not None and args.depth < 0:
        raise BadRequest(f"--depth {args.depth} is not possible: it is a whole number from 0 on.")
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


def _trace(args: argparse.Namespace) -> tuple[Trace, Comparison | None]:
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from tracer.api import trace

    result = trace(
        args.model or "", frames=args.frames, height=args.height, width=args.width, batch=args.batch,
        text_tokens=args.text_tokens, dtype=args.dtype, config=args.place,
    )  # fmt: skip
    stages = result.stages()
    if args.stage is not None and args.stage not in stages:
        name = args.model or args.place
        raise BadRequest(f"{name} has no stage '{args.stage}'; its stages are {', '.join(stages)}.")
    if not args.torchinfo:
        return result, None
    from tracer.compare import torchinfo_table

    return result, torchinfo_table(result)


def _options(args: argparse.Namespace) -> Options:
    from tracer.outline import Options

    return Options(
        depth=args.depth, stage=args.stage, ops=args.ops, notes=args.notes, pixels=args.pixels,
        show="numbers" if args.numbers else "formulas" if args.formulas else "both",
    )  # fmt: skip


def _format(args: argparse.Namespace) -> str:
    suffixes = {".json": "json", ".txt": "tree"}
    if args.output is None:
        return args.format or "tree"
    suffix = Path(args.output).suffix
    if args.format is None and suffix not in suffixes:
        raise Unwritable(f"'{args.output}' does not say which format: a name ends in .txt or .json, or --format tells.")
    if args.format is not None and suffixes.get(suffix, args.format) != args.format:
        raise Unwritable(f"'{args.output}' and --format {args.format} are two formats; leave one of them out.")
    return str(args.format or suffixes[suffix])


def _view(trace: Trace, args: argparse.Namespace, table: Comparison | None, total: int) -> Any:
    """What is printed: the trace, and torchinfo's table beside it where both fit."""
    from tracer.views.tree import beside, renderable

    if args.costs:
        from tracer.views import costs

        return costs.renderable(trace, total)
    if table is None:
        return renderable(trace, _options(args), width=total)
    room = total - 3 - max(map(len, table.table))
    width = min(room, 100) if room >= 80 else total
    return beside(renderable(trace, _options(args), width=width), width, table.table, table.remarks, total)


def _text(trace: Trace, args: argparse.Namespace, table: Comparison | None) -> str:
    from tracer.views.tree import plain

    return plain(_view(trace, args, table, FILE_WIDTH), FILE_WIDTH * 10)


def _console() -> Any:
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # main answers it; rich would leave with 1

    console = Quiet(highlight=False)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = PIPE_WIDTH
    return console


def _show(trace: Trace, args: argparse.Namespace, table: Comparison | None) -> None:
    from rich.text import Text

    console = _console()
    view = _view(trace, args, table, console.width)
    console.print(view, soft_wrap=table is not None)
    if console.is_terminal and args.stage is None:
        name = f"--from {shlex.quote(args.place)}" if args.place else args.model
        console.print(
            Text(
                f"more: trace-shapes {name} --notes | --stage {_pick(trace)} | --depth 3 | --format json",
                style="dim",
            )
        )


def _pick(trace: Trace) -> str:
    """A stage worth looking at."""
    found = trace.stages()
    return next((s for s in ("rope", "attention") if s in found), found[0] if found else "STAGE")


def _status(words: str) -> Any:
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(words)


def _writable(path: Path) -> None:
    """Refuse an output that cannot be written before the work is done."""
    if path.is_dir():
        raise Unwritable(f"'{path}' is a folder; -o takes a file name.")
    if not path.parent.is_dir():
        raise Unwritable(f"'{path}' cannot be written: there is no folder '{path.parent}'.")


def _write(path: Path, text: str) -> None:
    """Whole or not at all: to a temporary file beside it, then renamed. Devices and pipes are written to."""
    import tempfile

    data = text.encode("utf-8", "backslashreplace")
    try:
        if path.exists() and not path.is_file():
            path.write_bytes(data)
            return
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        real = path.resolve()  # a link stays a link
        with tempfile.NamedTemporaryFile("wb", dir=real.parent, prefix=f".{real.name[:40]}.", delete=False) as file:
            temporary = Path(file.name)
            try:
                file.write(data)
                file.close()
                umask = os.umask(0)
                os.umask(umask)
                temporary.chmod(real.stat().st_mode & 0o777 if real.exists() else 0o666 & ~umask)
                temporary.replace(real)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Unwritable(f"'{path}' cannot be written: {error.strerror or error}.") from None


def _print_list() -> None:
    from rich.table import Table

    from tracer.families import all_families

    console = _console()
    if console.width < 80:
        for family in all_families():
            for c in family.checkpoints:
                r = c.request
                console.print(c.name, style="bold")
                console.print(f"    {c.params:,} parameters, {c.confidence} config", soft_wrap=True)
                console.print(f"    {r.frames} frames of {r.height}×{r.width}, {r.text_tokens} text tokens")
        _print_defaults(console)
        return
    wide = console.width >= 110
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    columns = [
        ("checkpoint", False),
        ("parameters", True),
        ("frames", True),
        ("height×width", True),
        ("text", True),
    ]
    for heading, right in [*columns, ("config", False), *([("hub id", False)] if wide else [])]:
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "hub id", overflow="fold")
    for family in all_families():
        for i, c in enumerate(family.checkpoints):
            r = c.request
            cells = [
                c.name,
                f"{c.params:,}",
                str(r.frames),
                f"{r.height}×{r.width}",
                str(r.text_tokens),
                c.confidence,
            ]
            table.add_row(*cells, *([c.hub] if wide else []), style="bold" if i == 0 else "")
    console.print(table)
    _print_defaults(console)


def _print_defaults(console: Any) -> None:
    from tracer.families import all_families

    console.print()
    for family in all_families():
        console.print(f"{family.name} alone means {family.checkpoints[0].name}: {family.summary}")


if __name__ == "__main__":
    sys.exit(main())
