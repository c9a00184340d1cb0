"""The same models through every tool: does it run, what does it cost, what does its output let a reader see.

`python -m benchmarks.peers [-o FILE] [--rounds N] [--keep FOLDER] [tool ...]` writes JSON: benchmarks/peers.json where
nothing else is said. Each tool gets a fresh process with one thread and without network, in which bare and measured
runs take turns. A time is the median of ratios to the bare forward beside it, in CPU time of the process.
Tools and --models named on the command line are measured anew, and the rest of the file stays. The page of the site is
made from the file alone. `--again FOLDER` puts changed questions to the outputs that --keep kept.

    pip install -c constraints.txt -e ".[bench]"
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import gc
import io
import json
import logging
import os
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.peers.criteria import QUESTIONS, judge
from benchmarks.peers.reading import Output, symbols_of
from benchmarks.peers.subjects import FULL, SUBJECTS, Facts, attention_lines, opened, shapes_of
from benchmarks.peers.tools import TOOLS

FILE = Path(__file__).resolve().parents[1] / "peers.json"
ROUNDS = 3
ENOUGH = 10
"""Seconds after which a tool gets no further round."""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def _sentence(error: BaseException) -> str:
    """The first sentence of an error, short, without paths."""
    from tracer.build import first_line

    return " ".join(word for word in first_line(error).split() if not word.startswith("/"))[:200]


def _ratios(run: Any, bare: Any, rounds: int) -> tuple[float, float, int, Any]:
    """Median seconds of the bare forward, median ratio to it, rounds, and the last result.

    Seconds are the process's own, which what else the machine does hardly moves.
    """
    seconds, spent, result = [], [], None
    for i in range(rounds + 1):
        result = None
        gc.collect()
        start = time.process_time()
        bare()
        middle = time.process_time()
        if i == 0:
            continue  # the first forward loads; the tool's first call counts, as it is what a user waits for
        with contextlib.redirect_stdout(io.StringIO()):
            result = run()
        seconds.append(middle - start)
        spent.append(time.process_time() - middle)
        if sum(spent) > ENOUGH:
            break
    ratios = [mine / bare for mine, bare in zip(spent, seconds, strict=True)]
    return statistics.median(seconds), statistics.median(ratios), len(spent), result


def measure(name: str, subject_name: str, rounds: int, keep: Path | None) -> dict[str, Any]:
    """One tool on one model, in this process."""
    tool = TOOLS[name]
    with opened(subject_name) as subject:
        with attention_lines() as lines:
            subject.model(**subject.inputs)
        facts = dataclasses.replace(subject.facts, lines=tuple(sorted(lines)))
        entry: dict[str, Any] = {"tool": name, "model": subject_name, "call": tool.call}
        try:
            bare, ratio, done, result = _ratios(
                lambda: tool.run(subject), lambda: subject.model(**subject.inputs), rounds
            )
            with contextlib.redirect_stdout(io.StringIO()):
                given = tool.give(result)
        except Exception as error:  # whatever a tool says to a model that it does not take
            return entry | {"ran": False, "error": type(error).__name__, "says": _sentence(error)}
        entry |= {
            "ran": True, "bare seconds": round(bare, 4), "ratio": round(ratio, 2), "rounds": done,
            "lines": {label: len(text.splitlines()) for label, text in given.outputs.items()},
            "parameters": given.params, "flops": given.flops, "flops by hand": facts.flops,
        }  # fmt: skip
        if keep:
            for label, text in given.outputs.items():
                _kept(keep, name, subject_name, label).write_text(text, encoding="utf-8")
        if subject_name in FULL:
            outputs = [
                Output(label, text, symbols_of(text, shapes_of(subject.inputs)))
                for label, text in given.outputs.items()
            ]
            entry["shows"] = judge(outputs, facts)
        else:
            entry["also"] = {what: _tried(test, result, subject) for what, test in tool.extras.items()}
    return entry


def _kept(folder: Path, tool: str, subject: str, label: str) -> Path:
    return folder / f"{tool}-{subject}-{label}.txt".replace(" ", "_")


def ask_again(path: Path, folder: Path) -> None:
    """The questions as they are now, put to outputs that --keep kept; nothing is measured."""
    data = json.loads(path.read_text(encoding="utf-8"))
    for name in FULL:
        with opened(name) as subject, attention_lines() as lines:
            subject.model(**subject.inputs)
        facts, sizes = dataclasses.replace(subject.facts, lines=tuple(sorted(lines))), shapes_of(subject.inputs)
        for entry in data["results"]:
            if entry["model"] == name and entry["ran"]:
                texts = {x: _kept(folder, entry["tool"], name, x).read_text(encoding="utf-8") for x in entry["lines"]}
                entry["shows"] = judge([Output(x, t, symbols_of(t, sizes)) for x, t in texts.items()], facts)
    data["questions"] = questions()
    _write(path, data)


def _tried(test: Any, result: Any, subject: Any) -> bool | str:
    try:
        return bool(test(result, subject))
    except Exception as error:
        return f"{type(error).__name__}: {_sentence(error)}"


def facts_as_data(facts: Facts) -> dict[str, Any]:
    """What was looked for, for the page and for who repeats it."""
    return {"joined": facts.joined, "symbols": dict(facts.symbols), "flops by hand": facts.flops}


def versions() -> dict[str, str]:
    """Versions of everything that was measured."""
    packages = ("torch", "diffusers", "torchinfo", "torchlens", "torchview", "annotated-video-dit")
    return {"python": ".".join(map(str, sys.version_info[:3]))} | {p: version(p).partition("+")[0] for p in packages}


def _in_a_process(tool: str, models: Sequence[str], rounds: int, keep: Path | None) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "benchmarks.peers", "--one", tool, "--rounds", str(rounds), "--models", *models]
    done = subprocess.run(
        command + (["--keep", str(keep)] if keep else []), capture_output=True, text=True,
        env=os.environ | ENVIRONMENT, cwd=FILE.parents[1],
    )  # fmt: skip
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [""])[-1]
        raise SystemExit(f"{tool} ended its process with exit code {done.returncode}: {last[:200]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure, and write the file."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__.split("\n")[0])
    parser.add_argument("tools", nargs="*", help=f"of {', '.join(TOOLS)}; all where none is named")
    parser.add_argument("-o", "--output", type=Path, default=FILE)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keep", type=Path, help="a folder for the outputs themselves")
    parser.add_argument("--models", nargs="*", choices=SUBJECTS, default=SUBJECTS, help="to measure; all by default")
    parser.add_argument("--again", type=Path, metavar="FOLDER", help="ask kept outputs again, and measure nothing")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        print(json.dumps([measure(args.one, subject, args.rounds, args.keep) for subject in args.models]))
        return
    if args.again:
        ask_again(args.output, args.again)
        return
    if unknown := [name for name in args.tools if name not in TOOLS]:
        parser.error(f"no tool is called '{unknown[0]}'; there are {', '.join(TOOLS)}.")
    if args.keep:
        args.keep.mkdir(parents=True, exist_ok=True)
    wanted = args.tools or list(TOOLS)
    kept = json.loads(args.output.read_text(encoding="utf-8"))["results"] if args.output.exists() else []
    results = {(entry["tool"], entry["model"]): entry for entry in kept}
    models = {}
    for subject in FULL:
        with opened(subject) as found:
            models[subject] = facts_as_data(found.facts)
    for tool in wanted:
        for entry in _in_a_process(tool, args.models, args.rounds, args.keep):
            subject = entry["model"]
            results[tool, subject] = entry
            said = f"{entry['ratio']:.1f}×" if entry["ran"] else f"{entry['error']}: {entry['says']}"
            print(f"{tool:<26}{subject:<18}{said}", flush=True)
        _save(args.output, args.rounds, models, results)


def _save(path: Path, rounds: int, models: Any, results: Any) -> None:
    data = {
        "date": datetime.date.today().isoformat(), "rounds": rounds, "versions": versions(), "models": models,
        "questions": questions(),
        "results": [results[tool, subject] for tool in TOOLS for subject in SUBJECTS if (tool, subject) in results],
    }  # fmt: skip
    _write(path, data)


def questions() -> dict[str, dict[str, str]]:
    """What is asked, for the page."""
    return {key: {"title": title, "asks": ask.__doc__ or ""} for key, (title, ask) in QUESTIONS.items()}


def _write(path: Path, data: Any) -> None:
    from tracer.files import write

    write(path, (json.dumps(data, indent=1, ensure_ascii=False) + "\n").encode())


if __name__ == "__main__":
    main()
