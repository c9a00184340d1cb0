"""Formulas from runs: the same model at a few other sizes, and the numbers read back as products and sums.

Each probe is a forward of the real class at sizes chosen for reading: every letter is a multiple of a prime
of its own, so a product betrays its factors, and the text is far longer than everything that is added to it,
so a sum comes apart by division. What was read at one probe must then predict every other probe and
the full run; only then is it attached. A size that no letter moves stays a plain number. Costs are computed
from the sizes, and must give what they are in every run, too: a sum takes a size without formula for a
constant, so where a size below could not be read, the cost is left without formula itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import chain, islice, zip_longest
from typing import Any

from tracer.calls import Attr, Call, Cost, Slice, Trace
from tracer.cost import total_cost
from tracer.formula import Formula
from tracer.shapes import Dim, TensorSpec

Point = Mapping[str, int]
"""Values of the letters in one run; grid letters (f, h, w) stand for F/p_t, H/p, W/p."""


class Reader:
    """Reads numbers as formulas of the letters, given their values in every run.

    sums: formulas that are tried first; slices from the end are their negatives.
    """

    def __init__(
        self, points: Sequence[Point], letters: Sequence[str], depths: Sequence[str], sums: Sequence[Formula] = ()
    ) -> None:
        self.points = points
        self.letters = letters
        self.depths = depths
        self.sums = [*sums, *(formula * -1 for formula in sums)]
        self.primes = [{s: largest_prime(point[s]) for s in letters} for point in points[:-1]]
        self.known: dict[tuple[int, ...], Formula | None] = {}
        self.unread: set[tuple[int, ...]] = set()  # sizes that move, and that nothing here explains
        self.strayed: list[str] = []  # paths where a probe did something else than the full run

    def repeat(self, numbers: tuple[int, ...]) -> Formula | None:
        """A count of equal blocks: a depth field, or as many less (the last block may be another one); or None."""
        for depth in self.depths:
            apart = {p[depth] - n for p, n in zip(self.points, numbers, strict=True)}
            if len(apart) == 1:
                return Formula.symbol(depth) - Formula.constant(*apart)
        return None

    def size(self, numbers: tuple[int, ...]) -> Formula | None:
        """The formula that gives these numbers at the points; None for a constant or where none was found."""
        if len(set(numbers)) == 1:
            return None
        if numbers not in self.known:
            self.known[numbers] = self._read(numbers)
            if self.known[numbers] is None:
                self.unread.add(numbers)
        return self.known[numbers]

    def _read(self, numbers: tuple[int, ...]) -> Formula | None:
        """The first formula that holds everywhere; each probe is read in turn.

        At one probe a factor may look like another letter's (a letter that is 59 less one is 2 times 29), not
        at all of them.
        """
        for formula in self.sums:
            if self.holds(formula, numbers):
                return formula
        for times in (1, 2):  # twice the number, for half of a sum
            for base in range(len(self.primes)):
                for formula in islice(self._candidates(base, times * numbers[base], 2), 4000):
                    if self.holds(formula / times, numbers):
                        return formula / times
        return None

    def holds(self, formula: Formula, numbers: tuple[int, ...]) -> bool:
        """Whether the formula gives these numbers at the points."""
        try:
            return all(formula.evaluate(p) == n for p, n in zip(self.points, numbers, strict=True))
        except ValueError:  # a division that does not come out whole
            return False

    def _candidates(self, base: int, number: int, depth: int) -> Iterator[Formula]:
        """Formulas that give the number at one point, the likely ones first."""
        if number == 0:
            yield Formula.constant(0)
            return
        product = self._product(base, number)
        factors = [product, *(product / Formula.symbol(s) for s, _ in product.terms[0][0]), Formula.constant(1)]
        ways = []
        for factor in dict.fromkeys(factors):  # a prime that is there by accident must not hide the rest
            rest = Fraction(number, factor.evaluate(self.points[base]))
            small = abs(rest.numerator) <= 4096 and rest.denominator <= 64
            whole = rest.denominator == 1 and abs(rest) != 1 and depth > 0
            sums = map(factor.__mul__, self._sums(base, int(rest), depth)) if whole else iter(())
            ways.append(chain([factor * rest] if small else [], sums))
        yield from (f for row in zip_longest(*ways) for f in row if f is not None)

    def _sums(self, base: int, number: int, depth: int) -> Iterator[Formula]:
        """The number as a multiple of one letter and what is left, those with a small number in them first."""
        ways = []
        for letter in self.letters:
            value = self.points[base][letter]
            times, left = divmod(number, value)
            if left > value // 2:  # the nearer multiple: F·x − x reads as it was meant
                times, left = times + 1, left - value
            if times and left and abs(left) != abs(number):
                ways.append((letter, times, left))
        ways.sort(key=lambda way: sorted((abs(way[1]), abs(way[2]))))
        for letter, times, left in ways:
            for a in islice(self._candidates(base, times, depth - 1), 8):
                for b in islice(self._candidates(base, left, depth - 1), 8):
                    yield a * Formula.symbol(letter) + b

    def _product(self, base: int, number: int) -> Formula:
        """The letters whose primes divide the number."""
        powers: dict[str, int] = {}
        for letter, prime in self.primes[base].items():
            while prime > 1 and number % prime == 0:
                number //= prime
                powers[letter] = powers.get(letter, 0) + 1
        return Formula.of({tuple(sorted(powers.items())): 1})


def largest_prime(n: int) -> int:
    """The largest prime factor; 1 has none and gives 1."""
    largest, d = 1, 2
    while d * d <= n:
        while n % d == 0:
            largest, n = d, n // d
        d += 1
    return max(largest, n)


def attach(trace: Trace, probes: Sequence[Trace], reader: Reader, grid: Mapping[str, Formula]) -> Trace:
    """The trace with a formula on every size, count and cost that a letter moves.

    `probes` ran at all points of the reader but the last, which is the trace's own; all carry their costs. `grid`
    replaces the grid letters by what they stand for. Where a probe took another path through the code, the calls
    below keep plain numbers, and the reader's `strayed` has the path.
    """
    attacher = _Attacher(reader, grid)
    root = attacher.visit([*(p.root for p in probes), trace.root])
    return dataclasses.replace(trace, root=root)


class _Attacher:
    """Walks the same call through all runs at once; the last is the one that gets the formulas."""

    def __init__(self, reader: Reader, grid: Mapping[str, Formula]) -> None:
        self.reader = reader
        self.grid = grid
        self.written: dict[Formula, Formula] = {}
        self.dims: dict[tuple[int, ...], Formula | None] = {}
        self.specs: dict[tuple[int, ...], TensorSpec] = {}
        self.costs: dict[tuple[Formula, tuple[int, ...]], bool] = {}
        self.kept: list[TensorSpec] = []  # so that the ids in `specs` stay theirs

    def visit(self, calls: Sequence[Call]) -> Call:
        own = calls[-1]
        alike = all(c.name == own.name and c.kind == own.kind for c in calls)
        if not alike or any(c.path != own.path and c.pattern != own.pattern for c in calls):
            self.reader.strayed.append(own.path)
            return own
        if len({len(c.children) for c in calls}) == 1:
            children = tuple(self.visit(group) for group in zip(*(c.children for c in calls), strict=True))
        else:
            self.reader.strayed.append(own.path)
            children = own.children
        seen = dataclasses.replace(
            own,
            inputs=self.named([c.inputs for c in calls]),
            outputs=self.named([c.outputs for c in calls]),
            weights=self.named([c.weights for c in calls]),
            attrs={k: self.attr([c.attrs.get(k) for c in calls]) for k in own.attrs} if own.attrs else own.attrs,
            children=children,
            repeat_formula=self.reader.repeat(tuple(c.repeat for c in calls)),
        )
        return dataclasses.replace(seen, cost=self.checked(total_cost(seen), [c.cost for c in calls]))

    def checked(self, cost: Cost, seen: Sequence[Cost]) -> Cost:
        """The cost with the formulas that give what every run counted."""
        return Cost(
            self.proved(cost.flops, tuple(c.flops.size for c in seen)),
            self.proved(cost.params, tuple(c.params.size for c in seen)),
            self.proved(cost.bytes, tuple(c.bytes.size for c in seen)),
        )

    def proved(self, dim: Dim, numbers: tuple[int, ...]) -> Dim:
        if dim.formula is None:
            return Dim(numbers[-1])
        key = (dim.formula, numbers)
        if key not in self.costs:
            self.costs[key] = self.reader.holds(dim.formula, numbers)
        return dim if self.costs[key] else Dim(numbers[-1])

    def dim(self, dims: Sequence[Dim | None]) -> Dim | None:
        own = dims[-1]
        numbers = tuple(d.size for d in dims if d is not None)
        if own is None or len(numbers) != len(dims):
            return own
        if numbers not in self.dims:
            formula = self.reader.size(numbers)
            self.dims[numbers] = formula.substitute(self.grid) if formula is not None else None
        return Dim(own.size, self.dims[numbers], own.name)

    def spec(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        own = specs[-1]
        key = tuple(map(id, specs))  # equal specs of one run are mostly one object
        if key not in self.specs:
            if len({len(s.shape) for s in specs}) == 1:
                dims = tuple(self.dim([s.shape[i] for s in specs]) or d for i, d in enumerate(own.shape))
                own = TensorSpec(dims, own.dtype)
            self.specs[key] = own
            self.kept.extend(specs)
        return self.specs[key]

    def named(self, maps: Sequence[Mapping[str, TensorSpec]]) -> Mapping[str, TensorSpec]:
        own = maps[-1]
        if not own or any(list(m) != list(own) for m in maps):
            return own
        return {k: self.spec([m[k] for m in maps]) for k in own}

    def attr(self, values: Sequence[Any]) -> Attr:
        own: Attr = values[-1]
        if any(type(v) is not type(own) for v in values):
            return own
        if isinstance(own, Dim):
            return self.dim(values)
        if isinstance(own, Slice):
            return Slice(*(self.dim([v[i] for v in values]) for i in range(3)))
        if isinstance(own, tuple) and len({len(v) for v in values}) == 1:
            return tuple(self.attr([v[i] for v in values]) for i in range(len(own)))
        return own
