"""A claim of an article, what is held to be so, and how it is found out.

A claim has parts. Each part is one statement: the value that the article gives (`said`), the value that we hold to be
so (`true`), and a function that finds it out (`measure`). The verdict is not typed in; it follows from comparing what
was measured with what was said, and a check fails when the measurement is not what we hold to be so. A part may also
be something that the article is silent about (`said=UNSAID`): it is measured and shown, and has no say in the verdict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, get_args

Verdict = Literal["confirmed", "half right", "wrong", "not checkable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


class Silence(Enum):
    """What an article says of something that it does not speak of."""

    UNSAID = "unsaid"


UNSAID = Silence.UNSAID


class CheckFailed(Exception):
    """A measurement that is not what the ledger holds to be so; the message says which, and both values."""


@dataclass(frozen=True)
class Article:
    """One of the articles. right: in a sentence, what a reader owes it. author, url: None where none is known."""

    key: str
    title: str
    author: str | None
    url: str | None
    about: str
    right: str


@dataclass(frozen=True)
class Part:
    """One statement: `what` is spoken of, what the article `said`, what is `true`, and how to `measure` it.

    Values are plain: numbers, strings, booleans, None, or tuples of them; `said` may be UNSAID. within: how far
    measured numbers may lie from the given ones, relative to them; 0 asks for equality.
    """

    what: str
    said: Any
    true: Any
    measure: Callable[[], Any]
    within: float = 0.0


@dataclass(frozen=True)
class Claim:
    """Something an article says, in our words.

    id: article key and a short name, as in 'frames/latents-of-34'; it is the anchor on the page and never changes.
    place: where in the article. why: one to three sentences: what is so and why, whatever the verdict.
    source: file and line, paper or page that `why` rests on; empty where the measurement says it all.
    unchecked: why nothing can be measured, for claims without parts on what the article says.
    """

    id: str
    place: str
    says: str
    why: str
    parts: tuple[Part, ...] = ()
    source: str = ""
    unchecked: str = ""

    def __post_init__(self) -> None:
        if any(part.said is not UNSAID for part in self.parts) == bool(self.unchecked):
            raise ValueError(f"{self.id}: a claim has parts that are measured, or a reason why there are none.")

    @property
    def article(self) -> str:
        """The key of its article."""
        return self.id.partition("/")[0]


@dataclass(frozen=True)
class Finding:
    """A claim with what was measured for each of its parts."""

    claim: Claim
    measured: tuple[Any, ...]
    verdict: Verdict


def check(claim: Claim) -> Finding:
    """Measures every part. Raises CheckFailed where a measurement breaks off, or is not what is held to be so."""
    return judge(claim, measure(claim))


def measure(claim: Claim) -> list[Any]:
    """What is measured for each part. Raises CheckFailed where that breaks off."""
    return [_value(claim, part) for part in claim.parts]


def _value(claim: Claim, part: Part) -> Any:
    try:
        return part.measure()
    except Exception as problem:  # a check may run any code of any model
        raise CheckFailed(
            f"{claim.id}: {part.what}: cannot be measured. {type(problem).__name__}: {problem}"
        ) from problem


def judge(claim: Claim, measured: Sequence[Any]) -> Finding:
    """The finding that measurements lead to. Raises CheckFailed, as `check` does."""
    for part, value in zip(claim.parts, measured, strict=True):
        if not same(value, part.true, part.within):
            raise CheckFailed(f"{claim.id}: {part.what}: held to be {part.true!r}, measured {value!r}.")
    spoken = [(part, value) for part, value in zip(claim.parts, measured, strict=True) if part.said is not UNSAID]
    right = [same(value, part.said, part.within) for part, value in spoken]
    return Finding(claim, tuple(measured), verdict_of(right))


def verdict_of(right: Sequence[bool]) -> Verdict:
    """The verdict on a claim whose parts are right or not."""
    if not right:
        return "not checkable"
    return "confirmed" if all(right) else "half right" if any(right) else "wrong"


def same(a: Any, b: Any, within: float = 0.0) -> bool:
    """Whether two plain values are equal, numbers up to a relative distance."""
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y, within) for x, y in zip(a, b, strict=True))
    numbers = [isinstance(v, int | float) and not isinstance(v, bool) for v in (a, b)]
    if all(numbers):
        return math.isclose(a, b, rel_tol=within, abs_tol=0.0) if within else a == b
    return type(a) is type(b) and bool(a == b)


def by_id(claims: Iterable[Claim]) -> dict[str, Claim]:
    """Claims by their ids. Raises ValueError where two share one."""
    out: dict[str, Claim] = {}
    for claim in claims:
        if claim.id in out:
            raise ValueError(f"Two claims are called {claim.id}.")
        out[claim.id] = claim
    return out
