"""What can go wrong, said in one sentence: what was given, what is allowed, what to type.

TracerError
├── UnknownName      a model, stage or option nobody knows; carries the nearest names
├── BadRequest       sizes that a checkpoint rejects, shrinks or rounds
├── BadConfig        a folder or config.json that cannot be used
├── Unwritable       an output that cannot be written
├── RecordingError   a recording that cannot start
└── ForwardFailed    the model raised; carries the partial trace
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tracer.calls import Trace


class TracerError(Exception):
    """Base of every error this package raises on purpose."""


class UnknownName(TracerError):
    """A name that is not in a list; the message offers the nearest ones."""

    def __init__(self, kind: str, given: str, allowed: Iterable[str], hint: str = "") -> None:
        names = list(allowed)
        self.given, self.allowed = given, names
        near = difflib.get_close_matches(given.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
        match = next((n for n in names if near and n.lower() == near[0]), None)
        guess = f"did you mean {match}?" if match else f"known are {', '.join(names)}."
        super().__init__(
            f"No {kind} is called '{' '.join(given.split())[:80]}': {guess}" + (f" {hint}" if hint else "")
        )


class BadRequest(TracerError):
    """Sizes that the checkpoint cannot run as asked."""


class BadConfig(TracerError):
    """A folder or file that is not a usable diffusers config."""


class Unwritable(TracerError):
    """An output file that cannot be written."""


class RecordingError(TracerError):
    """A recording that cannot start, because another one is running on the same modules."""


class ForwardFailed(TracerError):
    """The model raised while it was traced; `trace` holds what was seen until then."""

    def __init__(self, message: str, trace: Trace) -> None:
        super().__init__(message)
        self.trace = trace
