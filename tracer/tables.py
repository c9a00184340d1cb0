"""The numbers of a trace as two short tables, counts and shapes, over the letters that a reader may change.

Every other letter is put in as its number, so that what is left is small; equal entries are kept once. Plain data:
a page evaluates them with whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

from tracer.calls import Trace
from tracer.formula import Formula, Monomial, monomial
from tracer.shapes import Dim, TensorSpec

LARGEST = 2**53
"""Whole numbers from here on are texts in the data: JSON readers would round them."""


class Tables:
    """Counts and shapes of one trace, each with its place in a table.

    letters: those that may change, in the order in which the terms name them. With none, every count is a number.
    """

    def __init__(self, trace: Trace, letters: Iterable[str] = ()) -> None:
        self.values = trace.values
        self.letters = [s for s in dict.fromkeys(letters) if s in self.values]
        self._letters = frozenset(self.letters)
        self._counts: dict[Formula, int] = {}
        self._shapes: dict[tuple[int, ...], int] = {}
        self._read: dict[tuple[Formula, int], Formula] = {}

    def formula(self, dim: Dim) -> Formula:
        """A number over the letters that may change; where that does not give the number, the number."""
        if dim.formula is None:
            return Formula.constant(dim.size)
        key = (dim.formula, dim.size)
        if key not in self._read:
            plain = Formula.constant(dim.size)
            try:
                short = self._shortened(dim.formula)
                self._read[key] = short if short.evaluate(self.values) == dim.size else plain
            except (ArithmeticError, LookupError, ValueError):  # a trace from elsewhere
                self._read[key] = plain
        return self._read[key]

    def _shortened(self, formula: Formula) -> Formula:
        total: dict[Monomial, Fraction] = {}
        for m, c in formula.terms:
            for s, e in m:
                if s not in self._letters:
                    c *= Fraction(self.values[s]) ** e
            left = monomial({s: e for s, e in m if s in self._letters})
            total[left] = total.get(left, Fraction(0)) + c
        return Formula.of(total)

    def count(self, dim: Dim) -> int:
        """The place of a number in the table of counts."""
        return self._counts.setdefault(self.formula(dim), len(self._counts))

    def shape(self, spec: TensorSpec) -> int:
        """The place of a shape in the table of shapes."""
        axes = []
        for dim in spec.shape:
            formula = self.formula(dim)
            axes.append(-1 - self.count(dim) if formula.symbols else dim.size)
        return self._shapes.setdefault(tuple(axes), len(self._shapes))

    def to_data(self) -> dict[str, Any]:
        """`letters`, `counts` and `shapes`.

        A count is a list of terms `[numerator, denominator, letter, exponent, letter, exponent, ...]`, where a letter
        is its place in `letters`. An axis is its size, or -1 minus the place of its count.
        """
        place = {s: i for i, s in enumerate(self.letters)}

        def term(m: Monomial, c: Fraction) -> list[int | str]:
            return [_whole(c.numerator), _whole(c.denominator), *(n for s, e in m for n in (place[s], e))]

        counts = [[term(m, c) for m, c in f.terms] for f in self._counts]
        return {"letters": self.letters, "counts": counts, "shapes": [[_whole(n) for n in s] for s in self._shapes]}


def _whole(number: int) -> int | str:
    return number if abs(number) < LARGEST else str(number)
