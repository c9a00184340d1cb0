"""Formulas from runs: the same model at a few other sizes, and the numbers read back as products and sums.

Each probe is a forward of the real class at sizes chosen for reading: every letter is a multiple of a prime
of its own, so a product betrays its factors, and the text is far longer than everything that is added to it,
so a sum comes apart by division. What was read at the first probe must then predict every other probe and the
full run; only then is it attached. A size that no letter moves stays a plain number.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import islice

from tracer.calls import Attr, Call, Slice, Trace
from tracer.formula import Formula
from tracer.shapes import Dim, TensorSpec

Point = Mapping[str, int]
"""Values of the letters in one run; grid letters (f, h, w) stand for F/p_t, H/p, W/p."""


class Reader:
    """Reads numbers as formulas of the letters, given their values in every run."""

    def __init__(self, points: Sequence[Point], letters: Sequence[str], depths: Sequence[str]) -> None:
        self.points = points
        self.letters = letters
        self.depths = depths
        self.primes = {s: largest_prime(points[0][s]) for s in letters}
        self.known: dict[tuple[int, ...], Formula | None] = {}
        self.unread: set[tuple[int, ...]] = set()

    def repeat(self, numbers: tuple[int, ...]) -> Formula | None:
        """A count of equal blocks: the depth field that has these values, or None."""
        for depth in self.depths:
            if all(p[depth] == n for p, n in zip(self.points, numbers, strict=True)):
                return Formula.symbol(depth)
        return None

    def size(self, numbers: tuple[int, ...]) -> Formula | None:
        """The formula that gives these numbers at the points; None for a constant or where none was found."""
        if len(set(numbers)) == 1:
            return None
        if numbers not in self.known:
            self.known[numbers] = next(
                (f for f in islice(self._candidates(numbers[0], 2), 4000) if self._holds(f, numbers)), None
            )
            if self.known[numbers] is None:
                self.unread.add(numbers)
        return self.known[numbers]

    def _holds(self, formula: Formula, numbers: tuple[int, ...]) -> bool:
        try:
            return all(formula.evaluate(p) == n for p, n in zip(self.points, numbers, strict=True))
        except ValueError:
            return False

    def _candidates(self, number: int, depth: int) -> Iterator[Formula]:
        """Formulas that give the number at the first point, the likely ones first."""
        if number == 0:
            yield Formula.constant(0)
            return
        product, rest = self._product(number)
        if abs(rest.numerator) <= 4096 and rest.denominator <= 64:
            yield product * rest
        if depth == 0:
            return
        if rest.denominator == 1 and abs(rest) != 1:
            for inner in self._sums(int(rest), depth):
                yield product * inner
        if product.terms[0][0]:
            yield from self._sums(number, depth)

    def _sums(self, number: int, depth: int) -> Iterator[Formula]:
        for letter in self.letters:
            value = self.points[0][letter]
            times, left = divmod(number, value)
            if left > value // 2:  # the nearer multiple: F·x − x reads as it was meant
                times, left = times + 1, left - value
            if times == 0 or abs(left) == abs(number):
                continue
            for a in islice(self._candidates(times, depth - 1), 3):
                for b in islice(self._candidates(left, depth - 1), 3):
                    yield a * Formula.symbol(letter) + b

    def _product(self, number: int) -> tuple[Formula, Fraction]:
        powers: dict[str, int] = {}
        rest = Fraction(number)
        left = number
        for letter, prime in self.primes.items():
            while left % prime == 0:
                left //= prime
                powers[letter] = powers.get(letter, 0) + 1
                rest /= self.points[0][letter]
        return Formula.of({tuple(sorted(powers.items())): 1}), rest


def largest_prime(n: int) -> int:
    """The largest prime factor; 1 has none and gives 1."""
    largest, d = 1, 2
    while d * d <= n:
        while n % d == 0:
            largest, n = d, n // d
        d += 1
    return max(largest, n)


def attach(trace: Trace, probes: Sequence[Trace], reader: Reader, grid: Mapping[str, Formula]) -> Trace:
    """The trace with a formula on every size that a letter moves.

    `probes` ran at all points of the reader but the last, which is the trace's own. `grid` replaces the grid
    letters by what they stand for. Where a probe took another path through the code, the calls below keep
    plain numbers.
    """
    written: dict[Formula, Formula] = {}

    def final(formula: Formula | None) -> Formula | None:
        if formula is None:
            return None
        if formula not in written:
            written[formula] = formula.substitute(grid)
        return written[formula]

    def dim(dims: Sequence[Dim | None]) -> Dim | None:
        own = dims[-1]
        sizes = [d.size for d in dims if d is not None]
        if own is None or len(sizes) != len(dims):
            return own
        return Dim(own.size, final(reader.size(tuple(sizes))), own.name)

    specs: dict[tuple[tuple[int, ...], ...], TensorSpec] = {}

    def spec(all_: Sequence[TensorSpec]) -> TensorSpec:
        own = all_[-1]
        if len({len(s.shape) for s in all_}) != 1:
            return own
        key = (*(s.sizes for s in all_), (hash(own.dtype),))
        if key not in specs:
            dims = tuple(dim([s.shape[i] for s in all_]) or own.shape[i] for i in range(len(own.shape)))
            specs[key] = TensorSpec(dims, own.dtype)
        return specs[key]

    def named(maps: Sequence[Mapping[str, TensorSpec]]) -> dict[str, TensorSpec]:
        if any(list(m) != list(maps[-1]) for m in maps):
            return dict(maps[-1])
        return {k: spec([m[k] for m in maps]) for k in maps[-1]}

    def attr(values: Sequence[Attr]) -> Attr:
        own = values[-1]
        if any(type(v) is not type(own) for v in values):
            return own
        if isinstance(own, Dim):
            return dim(values)  # type: ignore[arg-type]
        if isinstance(own, Slice):
            return Slice(*(dim([v[i] for v in values]) for i in range(3)))  # type: ignore[index]
        if isinstance(own, tuple) and len({len(v) for v in values}) == 1:  # type: ignore[arg-type]
            return tuple(attr([v[i] for v in values]) for i in range(len(own)))  # type: ignore[index]
        return own

    def visit(calls: Sequence[Call]) -> Call:
        own = calls[-1]
        if len({(c.kind, c.name, c.pattern, len(c.children)) for c in calls}) != 1:
            return own
        return dataclasses.replace(
            own,
            inputs=named([c.inputs for c in calls]),
            outputs=named([c.outputs for c in calls]),
            weights=named([c.weights for c in calls]),
            attrs={k: attr([c.attrs.get(k) for c in calls]) for k in own.attrs},
            children=tuple(visit(group) for group in zip(*(c.children for c in calls), strict=True)),
            repeat_formula=reader.repeat(tuple(c.repeat for c in calls)),
        )

    return dataclasses.replace(trace, root=visit([*(p.root for p in probes), trace.root]))
