"""Traces from files, and the second trace of a comparison: what `--diff` and a MODEL that is a file ask for."""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tracer.calls import SCHEMA_VERSION, Trace
from tracer.errors import BadConfig, BadRequest
from tracer.words import clean

LARGEST_FILE = 256 * 2**20
"""Bytes of a trace file; the largest trace of a published pipeline has 4 MB."""
DEEPEST = 400
"""Levels of JSON inside each other; the deepest published trace has 50."""
LARGEST_NUMBER, LARGEST_POWER = 10**30, 16
"""Beyond any count, and beyond any exponent of a formula."""

SIZES = ("frames", "height", "width", "batch", "text_tokens", "dtype", "steps")
"""Options that say how a model is run, and that the second side takes over unless it says otherwise."""


def is_file(model: str | None) -> bool:
    """Whether MODEL is a trace in a file rather than the name of a checkpoint."""
    if model is None:
        return False
    try:
        return model.lower().endswith(".json") or (Path(model).exists() and not Path(model).is_dir())
    except (OSError, ValueError):  # no name of a file at all
        return False


def said(value: Any) -> bool:
    """Whether an option was typed: it is neither missing nor a flag that is off. A 0 was typed."""
    return value is not None and value is not False


def check_file(args: argparse.Namespace) -> None:
    """Refuse what only a run can answer: a trace in a file is as it is."""
    given = [f"--{name.replace('_', '-')}" for name in (*SIZES, "pipeline", "torchinfo") if said(getattr(args, name))]
    if given:
        raise BadRequest(f"'{clean(args.model)}' is a trace that was made before; {given[0]} cannot change it.")
    if not Path(args.model).exists():
        raise BadRequest(f"There is no file '{clean(args.model)}'; trace-shapes MODEL -o FILE.json writes one.")


def read_trace(model: str) -> Trace:
    """The trace that `-o FILE.json` wrote. Raises BadConfig for anything else, in one sentence."""
    name = f"'{clean(model)}'"
    try:
        with Path(model).open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise BadConfig(f"{name} cannot be read: {error.strerror or error}.") from None
    if len(data) > LARGEST_FILE:
        raise BadConfig(f"{name} is no trace: it has more than {LARGEST_FILE // 2**20} MB.")
    try:
        text = data.decode("utf-8-sig")
        tree = json.loads(text)
    except UnicodeDecodeError:
        raise BadConfig(f"{name} is no trace: it is not text in UTF-8.") from None
    except json.JSONDecodeError as error:
        short = bool(text.strip()) and (error.pos >= len(text.rstrip()) - 1 or "Unterminated" in error.msg)
        why = "it ends in the middle" if short else f"it is not JSON (line {error.lineno}, column {error.colno})"
        raise BadConfig(f"{name} is no whole trace: {why}.") from None
    except RecursionError:
        raise BadConfig(f"{name} is no trace: it is nested too deep.") from None
    except ValueError:  # a number of thousands of digits
        raise BadConfig(f"{name} is no trace: it has a number beyond all sizes.") from None
    _check_tree(name, tree)
    try:
        return Trace.from_json(tree)
    except BadConfig as error:
        raise BadConfig(f"{name}{clean(str(error), 300).removeprefix('This')}") from None


def _check_tree(name: str, tree: Any) -> None:
    """Refuse what is plainly something else, and what no view could take: depth and numbers without end."""
    if isinstance(tree, dict) and "schema" not in tree:
        if "_class_name" in tree:
            raise BadConfig(f"{name} is a config, not a trace: type --from {name}.")
        if "diff" in tree:
            raise BadConfig(f"{name} is a diff, not a trace; a diff is made anew from its two traces.")
        raise BadConfig(f"{name} is no trace: it has no schema version, {SCHEMA_VERSION} is expected.")
    level, depth = [tree], 0
    while level:
        depth += 1
        if depth > DEEPEST:
            raise BadConfig(f"{name} is no trace: it is nested too deep.")
        inner: list[Any] = []
        for node in level:
            if isinstance(node, dict):
                inner += node.values()
                for key in ("formula", "repeat_formula"):
                    if not _small(node.get(key)):
                        raise BadConfig(f"{name} is no trace: a formula has a power beyond {LARGEST_POWER}.")
            elif isinstance(node, list):
                inner += node
            elif isinstance(node, int) and abs(node) > LARGEST_NUMBER:
                raise BadConfig(f"{name} is no trace: it has a number beyond all sizes.")
        level = inner


def _small(formula: Any) -> bool:
    """Whether all exponents of a formula are of a size that can be computed."""
    terms = formula if isinstance(formula, list) else []
    powers = [t[1] for t in terms if isinstance(t, list) and len(t) == 2 and isinstance(t[1], dict)]
    return all(abs(e) <= LARGEST_POWER for p in powers for e in p.values() if isinstance(e, int))


@contextmanager
def reading(*models: str | None) -> Iterator[None]:
    """Inside, a file whose parts do not fit together is refused in a sentence: a view trusts its trace."""
    files = [m for m in models if is_file(m)]
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        if not files:
            raise
        names = " or ".join(f"'{clean(m or '')}'" for m in files)
        raise BadConfig(f"{names} is no whole trace: its parts do not fit together ({type(error).__name__}).") from None


# the second side


def other_side(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.Namespace:
    """What `--diff OTHER` asks for, as the command line of a trace of its own.

    OTHER is a MODEL, or a MODEL with options in quotes; without a MODEL it is the first one. Options that say how the
    first model is run hold for the other too, unless OTHER has its own.
    """
    try:
        words = shlex.split(args.diff)
    except ValueError:
        raise BadRequest(f"--diff '{clean(args.diff)}' has a quote that does not end.") from None
    if len(words) > 1 and Path(args.diff).is_file():  # blanks in the name of a file
        words = [args.diff]
    if not words:
        raise BadRequest(
            '--diff takes a MODEL or a trace file, with options in quotes: --diff "cogvideox --frames 17".'
        )
    other, unknown = parser.parse_known_args(words)
    given = [k for k, v in vars(other).items() if said(v) and k not in (*SIZES, "model", "place", "pipeline")]
    if unknown or given:
        word = clean(unknown[0]) if unknown else f"--{given[0].replace('_', '-')}"
        allowed = ", ".join(f"--{name.replace('_', '-')}" for name in SIZES)
        raise BadRequest(f"'{word}' has no place inside --diff: it takes a MODEL and {allowed}, --from, --pipeline.")
    if other.model is None and other.place is None:
        other.model, other.place = args.model, args.place
    if not is_file(other.model) and not is_file(args.model):
        for name in (*SIZES, "pipeline"):
            mine = getattr(other, name)
            setattr(other, name, mine if said(mine) else getattr(args, name))
    return other


def check_pair(old: Trace, new: Trace) -> None:
    """Refuse to compare a pipeline with a model alone."""
    kinds = [t.root.kind == "function" for t in (old, new)]
    if kinds[0] != kinds[1]:
        raise BadRequest("One trace is of a whole pipeline, the other of a model alone: give --pipeline for both.")
