"""What else could be asked of a traced model: the rule of its family, read off value by value, kept as data.

A family says in Python what a request in pixels becomes and what is wrong with it. A page without Python needs both
as data. So the family is asked at every value of every size: what it answers (letters, sentences with numbers)
repeats with a period and grows evenly within it, and a few lines tell it all. The lines are read back and compared
with every answer, and sizes that do not go their own ways are found by asking at random settings: a size that cannot
be told this way is fixed, with the reason.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tracer import families
from tracer.calls import Header, Trace
from tracer.errors import UnknownName
from tracer.families.base import Family, Request
from tracer.overview import is_pipeline

SIZES = {"frames": "F", "height": "H", "width": "W", "batch": "B", "text_tokens": "L"}
"""Sizes of a request, and the letter that each of them moves first."""

MOST = {"frames": 1025, "height": 4096, "width": 4096, "batch": 64, "text_tokens": 1024}
"""How far a size is read; further where the request itself is."""

PERIODS = (1, 2, 4, 8, 16, 32, 64, *range(3, 61))
FEW = 600
"""Lines of a size; one that needs more has no rule that could be told."""
TRIALS = 60
"""Random settings at which the lines are compared with the family."""

_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")


@dataclass(frozen=True)
class Outcome:
    """What one value of a size makes: letters, and sentences that refuse it (errors) or warn (warnings)."""

    letters: Mapping[str, int]
    errors: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Line:
    """Values of one remainder from a quotient on: which sentences, and the numbers in them.

    start: the first quotient. texts: places in the setting's list of texts. numbers: the letters, then what stands
    in the sentences, each as (number at start, growth from one quotient to the next).
    """

    start: int
    texts: tuple[int, ...]
    numbers: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Setting:
    """One size of a request, and what each of its values makes.

    name: as in Request. value: of the traced request. most: the largest value that was read; the least is 1. fixed:
    why it cannot be changed, None where it can. letters: those it moves. period, lines: for each remainder of the
    period, what its values make. texts: 'error' or 'warning' with a sentence, `#` for a number and `##` for one with
    commas. steps: values worth a step of a slider: those without a sentence; where there is one at most, those
    without an error.
    """

    name: str
    value: int
    most: int
    fixed: str | None = None
    letters: tuple[str, ...] = ()
    period: int = 1
    lines: tuple[tuple[Line, ...], ...] = ()
    texts: tuple[tuple[str, str], ...] = ()
    steps: tuple[int, ...] = ()

    def at(self, value: int) -> Outcome:
        """What a value makes. Raises ValueError for one that was not read."""
        if not 1 <= value <= self.most or self.fixed:
            raise ValueError(f"{self.name} {value} was not read")
        quotient, remainder = divmod(value, self.period)
        line = next(x for x in reversed(self.lines[remainder]) if x.start <= quotient)
        numbers = [a + b * (quotient - line.start) for a, b in line.numbers]
        letters = dict(zip(self.letters, numbers, strict=False))
        rest = iter(numbers[len(self.letters) :])
        said: dict[str, list[str]] = {"error": [], "warning": []}
        for kind, text in (self.texts[i] for i in line.texts):
            said[kind].append(re.sub("##?", lambda m: f"{next(rest):{',' * (len(m[0]) - 1)}}", text))
        return Outcome(letters, tuple(said["error"]), tuple(said["warning"]))


def settings_of(trace: Trace) -> tuple[Setting, ...]:
    """The sizes of a trace's request and what each can be; nothing where no formula moves with them.

    That is so for pipelines, for traces without formulas and for models of no known family.
    """
    h = trace.header
    if is_pipeline(trace) or h.family is None or h.error is not None or trace.root.cost.flops.formula is None:
        return ()
    try:
        return _Asked(h, families.family(h.family)).settings()
    except (UnknownName, ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
        return ()  # a trace from elsewhere: its config is not what the family expects


class _Asked:
    """A family at one config, asked about requests near one request."""

    def __init__(self, header: Header, family: Family) -> None:
        self.header, self.family, self.config = header, family, header.config
        self.real = Request(**header.request)
        self.sizes = family.sizes(self.config, self.real)
        known = {s.symbol: s.value for s in header.legend}
        if any(known.get(s, n) != n for s, n in self.sizes.items()):
            raise ValueError("this trace is of another version of the family")

    def settings(self) -> tuple[Setting, ...]:
        """Every size that the model has, read where it can be changed."""
        names = [n for n in SIZES if n != "frames" or self.family.video]
        fixed = {n: reason for n in names if (reason := self._fixed(n)) is not None}
        pairs = [n for n in ("height", "width") if n not in fixed]
        if len(pairs) == 2 and self._entangled(*pairs):
            fixed |= dict.fromkeys(pairs, "height and width are set together in this model; trace another size anew")
        found = [Setting(n, getattr(self.real, n), 0, fixed=fixed[n]) if n in fixed else self._read(n) for n in names]
        if self._agree(found, lambda s: range(1, s.most + 1)):
            return tuple(found)
        found = [s if s.fixed or s.name not in pairs else self._strict(s) for s in found]
        if not self._agree(found, lambda s: range(1, s.most + 1)):
            raise ValueError("the sizes of this model do not go their own ways")
        return tuple(found)

    def _fixed(self, name: str) -> str | None:
        """Why a size cannot be changed."""
        letter = SIZES[name]
        symbol = next((s for s in self.header.legend if s.symbol == letter), None)
        if symbol is not None and symbol.fixed:
            return symbol.fixed
        some = self.family.limited(self.config).get(letter)
        if some is not None and (self.sizes[letter] not in some or len(set(some)) == 1):
            return next((c for c in self.header.constraints if c.startswith(f"{letter} ")), None) or (
                f"the formulas are for {letter} = {self.sizes[letter]}"
            )
        return None

    def _entangled(self, one: str, other: str) -> bool:
        """Whether a letter moves with both sizes."""
        step = 16 * self.family.compression[1]

        def moved(name: str) -> set[str]:
            more = [replace(self.real, **{name: getattr(self.real, name) + step * k}) for k in (1, 2, 5)]
            return {s for r in more for s, n in self.family.sizes(self.config, r).items() if n != self.sizes[s]}

        return bool(moved(one) & moved(other))

    def _ask(self, request: Request) -> Outcome:
        found = self.family.check(self.config, request)
        return Outcome(self.family.sizes(self.config, request), tuple(found.errors), tuple(found.warnings))

    def _read(self, name: str) -> Setting:
        """One size, every value of it asked with the others as they are."""
        value = getattr(self.real, name)
        most = max(MOST[name], 2 * value)
        answers = [self._ask(replace(self.real, **{name: n})) for n in range(1, most + 1)]
        letters = tuple(s for s, n in self.sizes.items() if any(a.letters[s] != n for a in answers))
        here = self._ask(self.real)
        others = {  # what the request itself says whatever this size is: another size's sentence
            text for text in (*here.errors, *here.warnings) if all(text in (*a.errors, *a.warnings) for a in answers)
        }
        own = [
            Outcome(
                {s: a.letters[s] for s in letters},
                tuple(e for e in a.errors if e not in others),
                tuple(w for w in a.warnings if w not in others),
            )
            for a in answers
        ]
        return told(Setting(name, value, most, letters=letters), own)

    def _strict(self, setting: Setting) -> Setting:
        """The setting without the values that come out otherwise than asked, in a way that another size decides."""
        own = [setting.at(n) for n in range(1, setting.most + 1)]
        clean = [n for n, o in enumerate(own, start=1) if not o.errors and not o.warnings]
        if not clean:
            raise ValueError(f"no {setting.name} comes out as asked")

        def refused(n: int, old: Outcome) -> Outcome:
            if old.errors or not old.warnings:
                return old
            below = max((c for c in clean if c < n), default=0)
            above = min((c for c in clean if c > n), default=0)
            near = " or ".join(str(c) for c in (below, above) if c)
            return Outcome(old.letters, (f"--{setting.name} {n} does not come out as asked; use {near}.",))

        return told(setting, [refused(n, o) for n, o in enumerate(own, start=1)])

    def _agree(self, found: Sequence[Setting], values: Callable[[Setting], range]) -> bool:
        """Whether the settings together say what the family says, at random settings."""
        pick = random.Random(0)  # noqa: S311 (settings to try, no secret)
        moving = [s for s in found if not s.fixed]
        for trial in range(TRIALS):
            chosen = {s.name: pick.choice(s.steps if trial % 2 or pick.random() < 0.5 else values(s)) for s in moving}
            truth = self._ask(replace(self.real, **chosen))
            parts = [s.at(chosen[s.name]) for s in moving]
            letters = self.sizes | {s: n for part in parts for s, n in part.letters.items()}
            errors = {e for part in parts for e in part.errors}
            warnings = {w for part in parts for w in part.warnings}
            refused = any(" does not come out as asked; use " in e for e in errors)  # by the page alone
            if letters != truth.letters or (not refused and errors != set(truth.errors)):
                return False
            if not errors and not warnings >= set(truth.warnings) - set(self._ask(self.real).warnings):
                return False
        return True


# answers as lines


def told(setting: Setting, own: Sequence[Outcome]) -> Setting:
    """A setting with lines for these answers at 1, 2, 3, ...; raises ValueError where they follow no rule."""
    texts: dict[tuple[str, str], int] = {}
    parsed = [_parsed(o, texts) for o in own]
    best, lines = 0, None
    for period in PERIODS:
        tried = _lines(parsed, period, FEW if lines is None else sum(map(len, lines)))
        if tried is not None:
            best, lines = period, tried
    if lines is None:
        raise ValueError(f"{setting.name} follows no rule that repeats")
    clean = [n for n, o in enumerate(own, start=1) if not o.errors and not o.warnings]
    steps = clean if len(clean) > 1 else [n for n, o in enumerate(own, start=1) if not o.errors]
    told = replace(setting, period=best, lines=lines, texts=tuple(texts), steps=tuple(steps))
    if any(told.at(n) != o for n, o in enumerate(own, start=1)):
        raise ValueError(f"{setting.name} is not told by its lines")
    return told


_Parsed = tuple[tuple[int, ...], tuple[int, ...]]


def _parsed(outcome: Outcome, texts: dict[tuple[str, str], int]) -> _Parsed:
    """Which texts, and all the numbers: letters first."""
    keys, numbers = [], list(outcome.letters.values())
    for kind, said in (("error", outcome.errors), ("warning", outcome.warnings)):
        for sentence in said:
            if "#" in sentence:
                raise ValueError("a sentence with the sign that stands for numbers")
            numbers += [int(m.replace(",", "")) for m in _NUMBER.findall(sentence)]
            text = (kind, _NUMBER.sub(lambda m: "##" if "," in m[0] else "#", sentence))
            keys.append(texts.setdefault(text, len(texts)))
    return tuple(keys), tuple(numbers)


def _lines(parsed: Sequence[_Parsed], period: int, fewer: int) -> tuple[tuple[Line, ...], ...] | None:
    """Lines for each remainder; None where it takes as many as `fewer`, or more."""
    out: list[tuple[Line, ...]] = []
    count = 0
    for remainder in range(period):
        own: list[Line] = []
        for quotient, (keys, numbers) in enumerate(parsed[remainder - 1 :: period] if remainder else (), start=0):
            _grow(own, quotient, keys, numbers)
            if count + len(own) >= fewer:
                return None
        if not remainder:
            for quotient, (keys, numbers) in enumerate(parsed[period - 1 :: period], start=1):
                _grow(own, quotient, keys, numbers)
                if count + len(own) >= fewer:
                    return None
        count += len(own)
        out.append(tuple(own))
    return tuple(out)


def _grow(own: list[Line], quotient: int, keys: tuple[int, ...], numbers: tuple[int, ...]) -> None:
    """One more answer: on the last line where it fits, else on a new one."""
    if own and own[-1].texts == keys and len(own[-1].numbers) == len(numbers):
        last, ahead = own[-1], quotient - own[-1].start
        if ahead == 1:
            grown = tuple((a, n - a) for (a, _), n in zip(last.numbers, numbers, strict=True))
            own[-1] = Line(last.start, keys, grown)
            return
        if all(a + b * ahead == n for (a, b), n in zip(last.numbers, numbers, strict=True)):
            return
    own.append(Line(quotient, keys, tuple((n, 0) for n in numbers)))


def to_data(setting: Setting) -> dict[str, Any]:
    """The setting as plain data, for JSON."""
    if setting.fixed:
        return {"name": setting.name, "value": setting.value, "fixed": setting.fixed}
    return {
        "name": setting.name, "value": setting.value, "most": setting.most, "letters": setting.letters,
        "period": setting.period, "texts": setting.texts,
        "lines": [[[x.start, x.texts, x.numbers] for x in lines] for lines in setting.lines],
    }  # fmt: skip
