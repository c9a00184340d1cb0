"""What the recorder, the whole answer and a probe cost, against the bare run in the same process.

`python -m benchmarks [--rounds N] [checkpoint ...] [probes] [site]` prints a row for each checkpoint: seconds of the
bare meta forward, then ratios to it. Bare and measured runs take turns, and each ratio is the median of its rounds, so
that a busy machine hurts both alike. Memory is the peak of a fresh process that does one or the other. `probes` is
what an L1Probe costs a running pipeline, `site` how long the build and the lessons take. `python -m benchmarks.peers`
compares with other tools.
"""

from __future__ import annotations

import argparse
import gc
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks import probes, site

CHECKPOINTS = ["cogvideox-5b", "hunyuanvideo"]
PROBES, SITE = "probes", "site"


def _bare(name: str) -> Callable[[], Any]:
    """The forward of a checkpoint's model on the meta device, model and inputs built beforehand."""
    from tracer import families
    from tracer.api import letters_of
    from tracer.build import build_model, full_config, ready

    family, checkpoint = families.find(name)
    config = full_config(family.model, checkpoint.config)
    model = build_model(family.model, config, dtype=checkpoint.dtype)
    values = letters_of(family, config, checkpoint.request)

    def run() -> Any:
        with ready(family.inputs(config), values, dtype=checkpoint.dtype) as inputs:
            return model(**inputs, return_dict=False)

    run.model = model  # type: ignore[attr-defined]
    return run


def _seconds(action: Callable[[], Any]) -> float:
    gc.collect()
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def measure(name: str, rounds: int) -> dict[str, float]:
    """Seconds of the bare forward, and ratios to it: of recording, and of the whole default answer."""
    import tracer
    from tracer.views.tree import render_text

    bare = _bare(name)

    def recorded() -> Any:
        with tracer.record(bare.model) as recording:  # type: ignore[attr-defined]
            bare()
        return recording

    def answer() -> Any:
        return render_text(tracer.trace(name))

    times: dict[str, list[float]] = {"bare": [], "record": [], "answer": []}
    for action in (bare, recorded, answer):  # warm up: imports, source files, torch's own caches
        action()
    for _ in range(rounds):
        for label, action in (("bare", bare), ("record", recorded), ("answer", answer)):
            times[label].append(_seconds(action))
    ratios = {k: statistics.median(t / b for t, b in zip(times[k], times["bare"], strict=True)) for k in times}
    return {"bare seconds": statistics.median(times["bare"])} | {k: ratios[k] for k in ("record", "answer")}


def _peak(name: str, what: str) -> float:
    """Peak memory in MiB of a fresh process that runs the bare forward, or gives the whole answer."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--peak", what, name], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def _print_peak(name: str, what: str) -> None:
    if what == "bare":
        _bare(name)()
    else:
        import tracer
        from tracer.views.tree import render_text

        render_text(tracer.trace(name))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("checkpoints", nargs="*", default=[*CHECKPOINTS, PROBES, SITE])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--peak", choices=("bare", "answer"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        _print_peak(args.checkpoints[0], args.peak)
        return
    checkpoints = [name for name in args.checkpoints if name not in (PROBES, SITE)]
    if checkpoints:
        _print_table(checkpoints, args.rounds)
    if PROBES in args.checkpoints:
        probes.report(args.rounds)
    if SITE in args.checkpoints:
        site.report()


def _print_table(checkpoints: list[str], rounds: int) -> None:
    print(f"{'checkpoint':<20}{'bare':>10}{'record':>10}{'answer':>10}{'peak memory':>14}")
    for name in checkpoints:
        found = measure(name, rounds)
        memory = _peak(name, "answer") / _peak(name, "bare")
        print(
            f"{name:<20}{found['bare seconds']:>8.2f} s{found['record']:>9.2f}×{found['answer']:>9.2f}×{memory:>13.2f}×"
        )


if __name__ == "__main__":
    main()
