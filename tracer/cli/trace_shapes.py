"""trace-shapes MODEL: how tensors flow through a video diffusion transformer, in one screen."""

from __future__ import annotations

import argparse
import difflib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from tracer.errors import ForwardFailed, TracerError, Unwritable

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.outline import Options

_EPILOG = """\
examples:
  trace-shapes cogvideox                       the family's default checkpoint, published size
  trace-shapes cogvideox1.5-5b --frames 161    another checkpoint, another length
  trace-shapes hunyuanvideo --stage rope       one stage, every operation in it
  trace-shapes hunyuanvideo --depth 3          the call tree, three levels deep
  trace-shapes cogvideox --notes               why each shape is what it is
  trace-shapes cogvideox --format json | jq .  the whole trace as data
  trace-shapes --from ./my-finetune            a local diffusers folder or config.json
"""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and leaves with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"trace-shapes: {message.removeprefix('argument ')}\n")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number.") from None


def parser() -> argparse.ArgumentParser:
    """The command line; building it imports nothing heavy."""
    p = _Parser(
        prog="trace-shapes",
        description="Trace how tensors flow through a published video diffusion transformer: every shape with its "
        "number, its formula and its reason. Runs the real diffusers class at real size, without weights or a GPU.",
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
    what.add_argument("--torchinfo", action="store_true", help="torchinfo's table of the same model beside it")
    out = p.add_argument_group("output")
    out.add_argument("--format", choices=("tree", "json"), metavar="FORMAT", help="tree (default) or json")
    out.add_argument("-o", "--output", metavar="FILE", help="write to FILE; .txt or .json decides the format")
    out.add_argument("--list", action="store_true", help="the checkpoints, and leave")
    return p


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    p = parser()
    args, unknown = p.parse_known_args(argv)
    try:
        if unknown:
            _refuse(p, unknown[0])
        if args.list:
            _print_list()
            return 0
        return _run(args)
    except TracerError as error:
        print(f"trace-shapes: {error}", file=sys.stderr)
        if isinstance(error, ForwardFailed):
            from tracer.views.tree import render_text

            print(f"\nSeen until there:\n{render_text(error.trace)}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader has seen enough: `trace-shapes ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130


def _refuse(p: argparse.ArgumentParser, given: str) -> NoReturn:
    options = [o for a in p._actions for o in a.option_strings]
    near = difflib.get_close_matches(given.partition("=")[0], options, n=1)
    if given.startswith("-"):
        hint = f"did you mean {near[0]}?" if near else "trace-shapes --help lists them all."
        p.error(f"no option is called '{given}': {hint}")
    p.error(f"one MODEL at a time, '{given}' is one too many.")


def _run(args: argparse.Namespace) -> int:
    from tracer.errors import BadRequest

    kind = _format(args)
    if args.model is None and args.place is None:
        raise BadRequest("which model? Type trace-shapes cogvideox; trace-shapes --list shows them all.")
    if args.model is not None and args.place is not None:
        raise BadRequest(f"MODEL '{args.model}' and --from '{args.place}' are two models; give one of them.")
    if args.depth is not None and args.depth < 0:
        raise BadRequest(f"--depth {args.depth} is not possible: it is a whole number from 0 on.")
    if args.model is not None:
        from tracer import families

        families.find(args.model)  # a misspelt name is answered before torch is imported
    with _status("tracing"):
        trace, table = _trace(args)
    if args.output:
        _write(Path(args.output), _text(trace, args, kind, table, width=100))
    elif kind == "json":
        print(_text(trace, args, kind, table, width=100))
    else:
        _show(trace, args, table)
    return 0


def _trace(args: argparse.Namespace) -> tuple[Trace, str | None]:
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from tracer.api import trace

    result = trace(
        args.model or "", frames=args.frames, height=args.height, width=args.width, batch=args.batch,
        text_tokens=args.text_tokens, dtype=args.dtype, config=args.place,
    )  # fmt: skip
    table = None
    if args.torchinfo:
        from tracer.compare import torchinfo_table

        table = torchinfo_table(result)
    if args.stage is not None:
        from tracer.calls import require_stage

        require_stage(result, args.stage)
    return result, table


def _options(args: argparse.Namespace) -> Options:
    from tracer.outline import Options

    return Options(
        depth=args.depth, stage=args.stage, ops=args.ops, notes=args.notes, pixels=args.pixels,
        show="numbers" if args.numbers else "formulas" if args.formulas else "both",
    )  # fmt: skip


def _format(args: argparse.Namespace) -> str:
    suffixes = {".json": "json", ".txt": "tree"}
    if args.output:
        suffix = Path(args.output).suffix
        if args.format is None and suffix not in suffixes:
            raise Unwritable(
                f"'{args.output}' does not say which format: a name ends in .txt or .json, or --format tells."
            )
        return str(args.format or suffixes[suffix])
    return args.format or "tree"


def _text(trace: Trace, args: argparse.Namespace, kind: str, table: str | None, width: int) -> str:
    if kind == "json":
        return json.dumps(trace.to_json(), ensure_ascii=False)
    from tracer.views.tree import render_text

    return render_text(trace, _options(args), width=width) + (f"\n{table}\n" if table else "")


def _show(trace: Trace, args: argparse.Namespace, table: str | None) -> None:
    from rich.console import Console
    from rich.text import Text

    from tracer.views.tree import beside, renderable

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120  # a pipe has no width of its own: wide enough that nothing wraps
    view = renderable(trace, _options(args), width=console.width)
    console.print(beside(view, table, console.width) if table else view)
    if console.is_terminal:
        console.print(Text(_read_on(trace), style="dim"))


def _read_on(trace: Trace) -> str:
    name = trace.header.checkpoint
    return f"\nmore: trace-shapes {name} --notes | --stage rope | --depth 3 | --ops | --format json · all: --list"


def _status(words: str) -> Any:
    if not sys.stderr.isatty():
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(words)


def _write(path: Path, text: str) -> None:
    """Whole or not at all: to a temporary file beside it, then renamed."""
    import tempfile

    if path.is_dir():
        raise Unwritable(f"'{path}' is a folder; -o takes a file name.")
    try:
        with tempfile.NamedTemporaryFile(
            "w", encoding="utf-8", dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            try:
                file.write(text if text.endswith("\n") else text + "\n")
                file.flush()
                umask = os.umask(0)
                os.umask(umask)
                temporary.chmod(0o666 & ~umask)
                temporary.replace(path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise Unwritable(f"'{path}' cannot be written: {error.strerror or error}.") from None


def _print_list() -> None:
    from rich.console import Console
    from rich.table import Table

    from tracer.families import all_families

    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 120
    wide = console.width >= 110
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    columns = [("checkpoint", False), ("parameters", True), ("frames", True), ("height×width", True), ("text", True)]
    for heading, right in [*columns, ("config", False), *([("hub id", False)] if wide else [])]:
        table.add_column(heading, justify="right" if right else "left", no_wrap=heading != "hub id", overflow="fold")
    for family in all_families():
        for i, c in enumerate(family.checkpoints):
            r = c.request
            cells = [c.name, f"{c.params:,}", str(r.frames), f"{r.height}×{r.width}", str(r.text_tokens), c.confidence]
            table.add_row(*cells, *([c.hub] if wide else []), style="bold" if i == 0 else "")
    console.print(table)
    console.print()
    for family in all_families():
        console.print(f"{family.name} alone means {family.checkpoints[0].name}: {family.summary}")


if __name__ == "__main__":
    sys.exit(main())
