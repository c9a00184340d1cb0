"""What every command does alike: refuse in one sentence, know its width, write files whole, leave quietly."""

from __future__ import annotations

import argparse
import difflib
import io
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

from tracer import files
from tracer.errors import BadRequest, TracerError, Unwritable

LARGEST = 1_000_000
"""Of one size of a request; far beyond any video, and far below what torch cannot count."""
FILE_WIDTH = 100
PIPE_WIDTH = 120
"""A pipe has no width of its own; at this one nothing of any checkpoint wraps."""


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one sentence and leaves with 2."""

    def error(self, message: str) -> NoReturn:
        """One line on stderr, exit code 2."""
        end = "" if message.endswith((".", "?")) else "."
        self.exit(2, f"{self.prog}: {message.removeprefix('argument ')}{end}\n")

    def refuse(self, given: str) -> NoReturn:
        """Leave over a word that no option or place takes."""
        options = [o for a in self._actions for o in a.option_strings]
        near = difflib.get_close_matches(given.partition("=")[0], options, n=1)
        if given.startswith("-"):
            hint = f"did you mean {near[0]}?" if near else f"{self.prog} --help lists them all."
            self.error(f"no option is called '{given}': {hint}")
        self.error(f"one MODEL at a time, '{given}' is one too many.")


def whole(text: str) -> int:
    """A whole number, as argparse's `type`."""
    try:
        return int(text[:20])
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, such as 49") from None


def either(names: Sequence[str]) -> str:
    """`tree or json`; `tree, json or html`."""
    return " or ".join([*([", ".join(names[:-1])] if names[:-1] else []), names[-1]])


def kind_of(*kinds: str) -> Callable[[str], str]:
    """One of some formats, as argparse's `type`."""

    def kind(text: str) -> str:
        if text not in kinds:
            raise argparse.ArgumentTypeError(f"'{text}' is no format; it is {either(kinds)}")
        return text

    return kind


def run(
    parser: Parser, argv: Sequence[str] | None, work: Callable[[argparse.Namespace], int | None],
    told: Callable[[TracerError], None] = lambda error: None,
) -> int:  # fmt: skip
    """Do the work that the command line asks for, and return the exit code: the work's own, 0 where it has none.

    Errors are one sentence on stderr; `told` may add to it.
    """
    code: int | None = 0
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal without · or × still gets its answer
    try:
        args, unknown = parser.parse_known_args(argv)
        if unknown:
            parser.refuse(unknown[0])
        code = work(args)
        sys.stdout.flush()
    except TracerError as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        told(error)
        return 2
    except BrokenPipeError:  # the reader has seen enough: `... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:  # a full disk behind `>`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"{parser.prog}: the output cannot be written: {error.strerror or error}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return code or 0


def check_largest(asked: Mapping[str, int | None]) -> None:
    """Raise BadRequest for a size beyond LARGEST; the names are those of the options."""
    for name, value in asked.items():
        if value is not None and value > LARGEST:
            option = f"--{name.replace('_', '-')}"
            raise BadRequest(f"{option} {value} is too large: sizes up to {LARGEST:,} can be traced.")


def format_of(output: str | None, given: str | None, suffixes: Mapping[str, str]) -> str:
    """The format that a file name or --format asks for; the first of `suffixes` where neither does.

    Raises Unwritable where the two disagree or a file name says nothing.
    """
    if output is None:
        return given or next(iter(suffixes.values()))
    suffix = Path(output).suffix.lower()
    if given is None and suffix not in suffixes:
        names = either(list(suffixes))
        raise Unwritable(f"'{output}' does not say which format: a name ends in {names}, or --format tells.")
    if given is not None and suffixes.get(suffix, given) != given:
        raise Unwritable(f"'{output}' and --format {given} are two formats; leave one of them out.")
    return given or suffixes[suffix]


def console() -> Any:
    """A rich console on stdout: the terminal's width, or COLUMNS, or PIPE_WIDTH in a pipe."""
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # run answers it; rich would leave with 1

    out = Quiet(highlight=False)
    if not out.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        out.width = PIPE_WIDTH
    return out


def status(words: str) -> Any:
    """A context that says on stderr what is being done, where a person looks on."""
    if not sys.stderr.isatty() or os.environ.get("TERM") in ("dumb", "unknown"):
        return nullcontext()
    from rich.console import Console

    return Console(stderr=True).status(words)


def hand_out(text: str, output: str | None) -> None:
    """Write an answer to the file that was asked for, or to stdout."""
    if output:
        write(Path(output), text)
    else:
        sys.stdout.write(text)


def write(path: Path, text: str) -> None:
    """Whole or not at all; signs that UTF-8 cannot hold are escaped."""
    files.write(path, text.encode("utf-8", "backslashreplace"))
