"""Formulas of sizes: sums of products of named quantities, exact and free of any math library.

A formula is a polynomial with rational coefficients whose exponents may be negative, because a patch grid
divides: the video tokens are F·H·W·p⁻²·p_t⁻¹. It holds wherever the divisions come out whole, and the
places where they must are kept beside it as constraints of the checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

Monomial = tuple[tuple[str, int], ...]
"""Symbols with their exponents, sorted by symbol; exponents are never zero."""


def monomial(powers: Mapping[str, int]) -> Monomial:
    """Symbols with their exponents, sorted, zeros left out."""
    return tuple(sorted((s, e) for s, e in powers.items() if e))


@dataclass(frozen=True)
class Formula:
    """A sum of monomials with rational coefficients.

    Compare with `==`: two formulas are equal when they are the same polynomial.
    """

    terms: tuple[tuple[Monomial, Fraction], ...]

    # building

    @staticmethod
    def of(terms: Mapping[Monomial, Fraction | int]) -> Formula:
        """A formula from its terms; zero coefficients are dropped."""
        return Formula(tuple(sorted((m, Fraction(c)) for m, c in terms.items() if c)))

    @staticmethod
    def constant(value: int | Fraction) -> Formula:
        """A formula without symbols."""
        return Formula.of({(): Fraction(value)})

    @staticmethod
    def symbol(name: str) -> Formula:
        """A formula that is one symbol."""
        return Formula((((((name, 1),)), Fraction(1)),))

    def __add__(self, other: Formula | int) -> Formula:
        total = dict(self.terms)
        for m, c in _formula(other).terms:
            total[m] = total.get(m, Fraction(0)) + c
        return Formula.of(total)

    def __sub__(self, other: Formula | int) -> Formula:
        return self + _formula(other) * -1

    def __mul__(self, other: Formula | int | Fraction) -> Formula:
        total: dict[Monomial, Fraction] = {}
        for m1, c1 in self.terms:
            for m2, c2 in _formula(other).terms:
                powers = dict(m1)
                for s, e in m2:
                    powers[s] = powers.get(s, 0) + e
                m = monomial(powers)
                total[m] = total.get(m, Fraction(0)) + c1 * c2
        return Formula.of(total)

    def __truediv__(self, other: Formula | int) -> Formula:
        """Division by a single term; a sum as divisor raises ValueError."""
        divisor = _formula(other)
        if len(divisor.terms) != 1:
            raise ValueError(f"a formula can be divided by one term, not by {divisor}")
        m, c = divisor.terms[0]
        return self * Formula.of({tuple((s, -e) for s, e in m): 1 / c})

    # asking

    @cached_property
    def _hash(self) -> int:
        return hash(self.terms)

    def __hash__(self) -> int:  # kept, because fractions hash slowly and formulas are looked up often
        return self._hash

    @cached_property
    def symbols(self) -> frozenset[str]:
        """Every symbol in it."""
        return frozenset(s for m, _ in self.terms for s, _ in m)

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number at these values.

        Raises KeyError for a symbol without a value, ValueError where the result is no whole number.
        """
        whole, broken = 0, Fraction(0)
        for m, c in self.terms:
            above, below = c.numerator, c.denominator
            for s, e in m:
                if e > 0:
                    above *= values[s] ** e
                else:
                    below *= values[s] ** -e
            if below == 0:
                raise ValueError(f"{self} divides by zero at {dict(values)}")
            if above % below == 0:
                whole += above // below
            else:
                broken += Fraction(above, below)
        if broken.denominator != 1:
            raise ValueError(f"{self} is {whole + broken} at {dict(values)}, not a whole number")
        return whole + int(broken)

    def substitute(self, values: Mapping[str, Formula | int]) -> Formula:
        """The formula with symbols replaced; a symbol with a negative exponent takes single terms only."""
        total = Formula.constant(0)
        for m, c in self.terms:
            term = Formula.constant(c)
            for s, e in m:
                base = _formula(values.get(s, Formula.symbol(s)))
                for _ in range(abs(e)):
                    term = term * base if e > 0 else term / base
            total = total + term
        return total

    # showing

    def __str__(self) -> str:
        from tracer.notation import render

        return render(self)

    def to_json(self) -> list[list[Any]]:
        """`[[coefficient, {symbol: exponent}], ...]`; a coefficient is a whole number or a string 'a/b'."""
        return [[int(c) if c.denominator == 1 else str(c), dict(m)] for m, c in self.terms]

    @staticmethod
    def from_json(data: Iterable[Iterable[Any]]) -> Formula:
        """The inverse of `to_json`."""
        return Formula.of({monomial(m): Fraction(c) for c, m in data})


def _formula(value: Formula | int | Fraction) -> Formula:
    return value if isinstance(value, Formula) else Formula.constant(value)


def abbreviate(formula: Formula, short: Mapping[str, Formula]) -> Formula:
    """Put short names for the single-term formulas in `short`, as often as each fits: h·d becomes D."""
    total = Formula.constant(0)
    for m, c in formula.terms:
        powers, coefficient = dict(m), c
        for name, what in short.items():
            if len(what.terms) != 1:
                continue
            part, unit = what.terms[0]
            times = min((powers.get(s, 0) // e if powers.get(s, 0) * e > 0 else 0) for s, e in part)
            if times > 0:
                for s, e in part:
                    powers[s] -= e * times
                powers[name] = powers.get(name, 0) + times
                coefficient /= unit**times
        total = total + Formula.of({monomial(powers): coefficient})
    return total
