"""probe-l1 MODEL: what each denoising step changes, over a grid of steps, schedules, sizes and seeds."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracer.cli.common import LARGEST, Parser, console, kind_of, run, whole
from tracer.errors import BadRequest

if TYPE_CHECKING:
    from tracer.probes.engines import Engine
    from tracer.probes.sweep import Result, Sweep

_EPILOG = """\
examples:
  probe-l1 pocket-hunyuanvideo --steps 10,20,50 --shift 1,7,17 --cfg 6 --seeds 4 --out runs
  probe-l1 pocket-hunyuanvideo --frames 1,9,17 --height 96,128 --width 96,192 --out sizes
  probe-l1 pocket-hunyuanvideo --sampler euler,unipc,lcm --schedule linear,sech:7,lq:0.1 --out samplers
  probe-l1 pocket-cogvideox --snr-shift 1,3 --sampler ddim,dpm --out cogvideox
  probe-l1 --pipeline DIR --dtype bfloat16 --device cuda --offload model --prompts FILE --out real
  probe-l1 pocket-hunyuanvideo --seeds 64 --engine ray --out many   on a cluster: ray start --head
A sweep that was stopped goes on when its command is typed again.
"""
_PROMPT = {"": "a red ball rolls to the left over green grass", "pocket-": "a red disc moving left"}
"""By the beginning of the model's name; the longest that fits."""


def several(kind: Callable[[str], Any], such: str) -> Callable[[str], tuple[Any, ...]]:
    """A list with commas, as argparse's `type`; equal entries once."""

    def read(text: str) -> tuple[Any, ...]:
        try:
            found = tuple(dict.fromkeys(kind(part.strip()) for part in text.split(",")))
        except ValueError:
            raise argparse.ArgumentTypeError(f"'{text[:60]}' is not a list such as {such}") from None
        return found

    return read


def names(text: str) -> tuple[str, ...]:
    """A list of names, as argparse's `type`; a comma before a number belongs to the name, as in lq:0.1,0.75."""
    found = [part.strip() for part in re.split(r",(?=\s*[A-Za-z])", text)]
    if not all(found):
        raise argparse.ArgumentTypeError(f"'{text[:60]}' has an empty name")
    return tuple(dict.fromkeys(found))


def number(text: str) -> float:
    """A number, as argparse's `type`."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text[:60]}' is not a number, such as 6") from None


def parser() -> Parser:
    """The command line; building it imports nothing heavy."""
    p = Parser(
        prog="probe-l1",
        description="Run a pipeline over a grid of settings and record what each denoising step changes: relative L1\n"
        "of latents and predictions, without touching the pipeline's source. Lists have commas; every\n"
        "combination is a setting, and each is run for every prompt and seed.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    integers, numbers = several(_int, "10,20,50"), several(float, "1,7,17")
    p.add_argument("model", nargs="?", metavar="MODEL", help="pocket-hunyuanvideo or pocket-cogvideox")
    grid = p.add_argument_group("grid (default: what the model has)")
    grid.add_argument("--steps", type=integers, metavar="N,..", default=(20,), help="of the sampler; default: 20")
    grid.add_argument("--shift", type=numbers, metavar="S,..", default=(), help="flow shifts, for flow matching")
    grid.add_argument("--snr-shift", type=numbers, metavar="C,..", default=(), help="for CogVideoX's grid of alphas")
    grid.add_argument("--schedule", type=names, metavar="NAME,..", default=(), help="linear, sech:7, lq:0.025, ...")
    grid.add_argument("--sampler", type=names, metavar="NAME,..", default=(), help="euler, unipc, lcm; ddim, dpm")
    grid.add_argument("--frames", type=integers, metavar="N,..", default=(), help="video frames")
    grid.add_argument("--height", type=integers, metavar="PX,..", default=(), help="rows of pixels")
    grid.add_argument("--width", type=integers, metavar="PX,..", default=(), help="columns, in pairs with --height")
    grid.add_argument("--cfg", type=numbers, metavar="G,..", default=(), help="classifier-free guidance; 1 is none")
    grid.add_argument("--seeds", type=whole, metavar="N", default=1, help="seeds from 0 on; default: 1")
    what = p.add_argument_group("run")
    what.add_argument(
        "--embedded-guidance", type=number, metavar="G", help="told to the transformer; no second forward"
    )
    what.add_argument("--prompts", metavar="FILE", help="one prompt a line")
    what.add_argument("--negative", metavar="TEXT", default="", help="negative prompt; default: an empty one")
    what.add_argument("--signals", type=names, metavar="NAME,..", help="what to record; all: everything")
    what.add_argument("--metrics", type=names, metavar="NAME,..", help="what of it; all: everything")
    real = p.add_argument_group("another model")
    real.add_argument("--pipeline", metavar="DIR", help="folder of save_pretrained, or a hub id, instead of MODEL")
    real.add_argument("--dtype", metavar="TYPE", help="bfloat16, float16 or float32 (default)")
    real.add_argument("--device", metavar="NAME", default="cpu", help="cpu (default), cuda, ...")
    real.add_argument("--offload", metavar="HOW", help="model or sequential: weights wait in the host's memory")
    where = p.add_argument_group("where it runs")
    where.add_argument("--engine", metavar="NAME", default="local", help="local (default): processes; ray: a cluster")
    where.add_argument("--address", metavar="HOST:PORT", help="of the Ray cluster's head; default: this machine's")
    where.add_argument("--workers", type=whole, metavar="N", help="cells at once; default: cores, or GPUs")
    out = p.add_argument_group("output")
    out.add_argument("--out", metavar="DIR", help="folder for cells, log.parquet and figures")
    out.add_argument("--format", type=kind_of("table", "json"), default="table", metavar="FORMAT", help="table or json")
    return p


def _int(text: str) -> int:
    return int(text[:20])


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    return run(parser(), argv, _run)


def _run(args: argparse.Namespace) -> None:
    sweep, out = _asked(args), Path(args.out or "")
    sweep.check()
    engine = _engine(args)
    from tracer.probes.sweep import run_sweep

    with redirect_stdout(sys.stderr), _progress() as (told, said):  # Ray says on stdout when a node dies
        result = run_sweep(sweep, out, engine, told, said)
        missing = _draw(result, out)
    if missing:
        print(f"probe-l1: {missing}", file=sys.stderr)
    if args.format == "json":
        print(json.dumps({"model": sweep.model, "settings": [s.told() for s in result.settings]}))
        return
    from tracer.views.probes import renderable

    page = console()
    page.print(renderable(result.settings, page.width))
    if page.is_terminal:
        page.print(f"\nin {out}: log.parquet, cells/{'' if missing else ', figures/'}", style="dim")


def _asked(args: argparse.Namespace) -> Sweep:
    """The sweep of a command line. Raises BadRequest; loads no torch."""
    from tracer.probes.models import POCKETS, check_pocket
    from tracer.probes.shifts import flow
    from tracer.probes.signals import SIGNALS
    from tracer.probes.snr_shift import SnrShift
    from tracer.probes.sweep import Sweep, paired, read_prompts

    if args.model is None and args.pipeline is None:
        raise BadRequest("no MODEL is given: type probe-l1 pocket-hunyuanvideo --out runs, or --pipeline DIR.")
    if args.model is not None and args.pipeline is not None:
        raise BadRequest(f"--pipeline {args.pipeline} and MODEL '{args.model}' are two models; leave one of them out.")
    if args.out is None:
        raise BadRequest("no folder is given for what is recorded: add --out runs.")
    model = args.model or args.pipeline
    if args.model is None and model.startswith(POCKETS):
        model = f"./{model}"  # a folder of such a name
    if args.model is not None:
        check_pocket(model)
        given = {"--dtype": args.dtype, "--offload": args.offload}
        extra = next((f"{option} {value}" for option, value in given.items() if value is not None), None)
        if extra:
            raise BadRequest(f"{extra} is for --pipeline; {model} is small and float32.")
    if args.offload not in (None, "model", "sequential"):
        raise BadRequest(f"--offload {args.offload} is not possible: it is model or sequential.")
    if args.offload and args.device == "cpu":
        raise BadRequest(
            f"--offload {args.offload} keeps weights off a device, and --device is cpu; add --device cuda."
        )
    for name in ("steps", "frames", "height", "width"):
        for value in getattr(args, name):
            if value > LARGEST:
                raise BadRequest(f"--{name} {value} is too large: up to {LARGEST:,} can be run.")
    schedules = [flow(s).name for s in args.shift] + [SnrShift(c).name for c in args.snr_shift] + [*args.schedule]
    start = max((key for key in _PROMPT if model.startswith(key)), key=len)
    return Sweep(
        model=model,
        steps=args.steps,
        schedules=tuple(dict.fromkeys(schedules)) or (None,),
        samplers=args.sampler or (None,),
        sizes=paired(args.frames, [*args.height], [*args.width]),
        cfgs=args.cfg or (None,),
        embedded=args.embedded_guidance,
        prompts=read_prompts(args.prompts) if args.prompts is not None else (_PROMPT[start],),
        negative=args.negative,
        seeds=args.seeds,
        signals=tuple(SIGNALS) if args.signals == ("all",) else args.signals,
        metrics="all" if args.metrics == ("all",) else args.metrics,
        dtype=args.dtype,
        device=args.device,
        offload=args.offload,
    )


def _engine(args: argparse.Namespace) -> Engine:
    from tracer.probes.engines import Local, OnRay

    if args.workers is not None and args.workers < 1:
        raise BadRequest(f"--workers {args.workers} is not possible: it is a whole number from 1 on.")
    if args.engine == "ray":
        return OnRay(args.address, args.workers)
    if args.engine != "local":
        raise BadRequest(f"--engine {args.engine} is not possible: it is local or ray.")
    if args.address is not None:
        raise BadRequest(f"--address {args.address} is of a Ray cluster; add --engine ray.")
    return Local(args.workers)


@contextmanager
def _progress() -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """Callables for counts and sentences: a bar on stderr where a person looks on; sentences always."""

    def said(sentence: str) -> None:
        print(f"probe-l1: {sentence}", file=sys.stderr)

    if not sys.stderr.isatty():
        yield (lambda done, total: None), said
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("probing", total=None)
        yield (lambda done, total: bar.update(task, completed=done, total=total)), bar.console.print


def _draw(result: Result, out: Path) -> str:
    """Figures into the folder; where that cannot be, the sentence that says why."""
    from tracer.plots.picture import need_matplotlib

    try:
        need_matplotlib()
    except BadRequest as error:
        return f"no figures: {error}"
    from tracer.plots.probes import save_all

    try:
        save_all(result.log, out / "figures")
    except BadRequest as error:
        return f"no figures: {error}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
