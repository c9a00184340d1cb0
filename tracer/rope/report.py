"""What check_rope found: the convention a function follows, its departures, and how to read them in a terminal."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from tracer.rope.faults import Departure
from tracer.rope.grids import AXES, Sizes
from tracer.rope.measure import Reading
from tracer.rope.rope3d import PAIRINGS
from tracer.rope.scores import ScoreError, said_of, share


@dataclass(frozen=True)
class Positions:
    """Where tokens stand along an axis of `tokens` tokens: the first, the step to the next, the last, in units in
    which the axis' fastest pair turns by one radian.
    """

    axis: str
    tokens: int
    start: float
    step: float
    last: float


@dataclass(frozen=True)
class Convention:
    """A rotary convention as it was measured.

    pairing: a key of PAIRINGS, 'unnamed', or None where a table has one number for each pair and so says nothing of
    columns. split: (axis, numbers of a head) in the order of the head, None for those that do
    not turn. theta: for frame, row and column; None where
    an axis has one pair only. order: axes of the tokens from outermost to innermost. direction: 'forward',
    'backward' or 'swapped'. scale: what lengths are multiplied by.
    """

    pairing: str | None
    split: tuple[tuple[str | None, int], ...]
    theta: tuple[float | None, float | None, float | None]
    positions: tuple[Positions, Positions, Positions]
    order: tuple[str, str, str]
    direction: str
    scale: float
    turned: str

    @property
    def rows(self) -> list[tuple[str, str]]:
        """(what, how) in the order to be shown."""
        pairing = self.pairing or "not said by a table with one number for each pair"
        runs = [f"{n} {axis or 'unturned'}" for axis, n in self.split[:6]] + ["..."] * (len(self.split) > 6)
        known = [(a, f"{t:,.5g}") for a, t in zip(AXES, self.theta, strict=True) if t is not None]
        theta = known[0][1] if len({t for _, t in known}) == 1 else ", ".join(f"{a} {t}" for a, t in known)
        places = "; ".join(
            f"{p.axis} {', '.join([_figure(p.start), _figure(p.start + p.step), '...', _figure(p.last)])}"
            for p in self.positions
        )
        return [
            ("pairing", f"{pairing}: {PAIRINGS[pairing]}" if pairing in PAIRINGS else pairing),
            ("split", " + ".join(runs)),
            ("theta", theta or "one pair for each axis: none to be seen"),
            ("positions", places),
            ("tokens", f"{', '.join(self.order)}, from outermost to innermost; turned: {self.turned}"),
            ("direction", self.direction + (f", lengths × {self.scale:.4g}" if abs(self.scale - 1) > 1e-4 else "")),
        ]


def convention(reading: Reading, pairing: str | None, turned: str) -> Convention:
    """A reading as a convention. pairing: of its columns; turned: which tokens are."""
    import numpy as np

    made = []
    for line in reading.lines:
        longest = max(line.places, key=len)
        step = float(np.median(np.diff(longest)))
        made.append(Positions(line.axis, len(longest), float(longest[0]), step, float(longest[-1])))
    frame, row, column = made
    t, h, w = (line.theta for line in reading.lines)
    direction = "forward" if reading.sign > 0 else "swapped" if reading.quarters == 3 else "backward"
    return Convention(
        pairing, reading.split, (t, h, w), (frame, row, column), reading.order, direction, reading.scale, turned
    )


@dataclass(frozen=True)
class Scores:
    """How far attention scores of random queries and keys are off, on so many tokens drawn from a grid."""

    error: ScoreError
    tokens: int
    grid: Sizes

    def __str__(self) -> str:
        text = "" if self.error.text is None else f", video with text {share(self.error.text)}"
        return f"video with video {share(self.error.video)}{text} {said_of(self.tokens, self.grid)}"


@dataclass(frozen=True)
class RopeReport:
    """What `check_rope` found. name: the function as it was called; handed: the shapes it took.

    follows: the measured convention, None where none could be read. departures: what differs from the model, empty
    where nothing does. scores: how far attention scores are off, None where there is nothing to turn them with.
    grids: token grids that the convention was read from.
    """

    name: str
    model: str
    handed: str
    follows: Convention | None
    departures: tuple[Departure, ...]
    scores: Scores | None
    grids: tuple[Sizes, ...]

    @property
    def score_error(self) -> ScoreError | None:
        """The errors of `scores`."""
        return self.scores.error if self.scores else None

    @property
    def ok(self) -> bool:
        """Whether nothing departs from the model."""
        return not self.departures

    @property
    def codes(self) -> tuple[str, ...]:
        """A word for each departure."""
        return tuple(d.code for d in self.departures)

    def __str__(self) -> str:
        count = len(self.departures)
        verdict = "nothing departs" if not count else f"{count} departure{'s' if count > 1 else ''}"
        out = [f"{self.name} beside {self.model}: {verdict}"]
        if self.handed:
            out.append(f"  handed     {self.handed}")
        out += [_wrapped(f"  {what:<10} ", how) for what, how in (self.follows.rows if self.follows else ())]
        for i, departure in enumerate(self.departures, 1):
            out += ["", _wrapped(f"{i}. ", f"{departure.code}: {departure.sentence}.")]
            out.append(_wrapped("   fix: ", f"{departure.remedy}."))
        if self.scores is not None:
            out += ["", _wrapped("scores off by: ", f"{self.scores}")]
        return "\n".join(out)


def _figure(position: float) -> str:
    return f"{round(position, 4) + 0.0:.5g}"


def _wrapped(first: str, text: str) -> str:
    return textwrap.fill(
        text, 100, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
