"""Formulas of sizes: sums of products of named quantities, exact and free of any math library.

A formula is a polynomial with rational coefficients whose exponents may be negative, because a patch grid
divides: the video tokens are F·H·W·p⁻²·p_t⁻¹. It holds wherever the divisions come out whole, and the
places where they must are kept beside it as constraints of the checkpoint.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

Monomial = tuple[tuple[str, int], ...]
"""Symbols with their exponents, sorted by symbol; exponents are never zero."""

_ORDER = {s: i for i, s in enumerate(["B", "N", "F", "height", "width", "H", "W", "S", "L", "h", "d", "D"])}


def _monomial(powers: Mapping[str, int]) -> Monomial:
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
                m = _monomial(powers)
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
    def symbols(self) -> frozenset[str]:
        """Every symbol in it."""
        return frozenset(s for m, _ in self.terms for s, _ in m)

    def evaluate(self, values: Mapping[str, int]) -> int:
        """The number at these values.

        Raises KeyError for a symbol without a value, ValueError where the result is no whole number.
        """
        total = Fraction(0)
        for m, c in self.terms:
            product = c
            for s, e in m:
                product *= Fraction(values[s]) ** e
            total += product
        if total.denominator != 1:
            raise ValueError(f"{self} is {total} at {dict(values)}, not a whole number")
        return int(total)

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

    def degree(self, symbol: str) -> int:
        """The highest exponent of a symbol, 0 where it does not occur."""
        return max((dict(m).get(symbol, 0) for m, _ in self.terms), default=0)

    # showing

    def __str__(self) -> str:
        return render(self)

    def to_json(self) -> list[list[Any]]:
        """`[[coefficient, {symbol: exponent}], ...]`; a coefficient is a whole number or a string 'a/b'."""
        return [[int(c) if c.denominator == 1 else str(c), dict(m)] for m, c in self.terms]

    @staticmethod
    def from_json(data: Iterable[Iterable[Any]]) -> Formula:
        """The inverse of `to_json`."""
        return Formula.of({_monomial(m): Fraction(c) for c, m in data})


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
        total = total + Formula.of({_monomial(powers): coefficient})
    return total


def render(formula: Formula, numbers: Mapping[str, int] | None = None) -> str:
    """The formula as people write it: `L + F·(H/2)·(W/2)`.

    `numbers` gives symbols to print as their values. A divisor is written under the symbol it divides: the
    patch size under H and W, the temporal patch size under F.
    """
    numbers = numbers or {}
    if not formula.terms:
        return "0"
    terms = sorted(formula.terms, key=lambda t: (sum(abs(e) for _, e in t[0]), [_rank(s) for s, _ in t[0]]))
    if len(terms) > 1:  # a common factor in front, the rest in brackets
        common = _common(terms)
        if common:
            rest = formula / Formula.of({common: 1})
            for power in (2, 3):
                root = _root(rest, power)
                if root is not None:
                    mark = "²" if power == 2 else "³"
                    return f"{_product(common, Fraction(root[1]), numbers)}·({render(root[0], numbers)}){mark}"
            return f"{_product(common, Fraction(1), numbers)}·({render(rest, numbers)})"
    out = ""
    for m, c in terms:
        text = _product(m, abs(c), numbers)
        out += (" − " if c < 0 else " + ") + text if out else ("−" if c < 0 else "") + text
    return out


def _rank(symbol: str) -> tuple[int, str]:
    return (_ORDER.get(symbol, 99), symbol)


def _common(terms: list[tuple[Monomial, Fraction]]) -> Monomial:
    powers = dict(terms[0][0])
    for m, _ in terms[1:]:
        other = dict(m)
        powers = {s: min(e, other[s]) for s, e in powers.items() if e > 0 and other.get(s, 0) > 0}
    return _monomial(powers)


def _root(formula: Formula, power: int) -> tuple[Formula, int] | None:
    """`(r, c)` with c·r^power == formula, for a sum r of single symbols; None where there is none."""
    pure = [(m, c) for m, c in formula.terms if all(e % power == 0 for _, e in m)]
    if len(pure) < 2:
        return None
    c = pure[0][1]
    root = Formula.of({_monomial({s: e // power for s, e in m}): 1 for m, _ in pure})
    product = Formula.constant(c)
    for _ in range(power):
        product = product * root
    return (root, int(c)) if product == formula and c.denominator == 1 else None


_UNDER = {"p": ("H", "W"), "p_t": ("F",)}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


def _product(monomial: Monomial, coefficient: Fraction, numbers: Mapping[str, int]) -> str:
    above = {s: e for s, e in monomial if e > 0}
    below = {s: -e for s, e in monomial if e < 0}
    pieces: list[tuple[tuple[int, str], str]] = []
    for divisor in list(below):
        for over in _UNDER.get(divisor, ()):
            while above.get(over) and below.get(divisor):
                above[over] -= 1
                below[divisor] -= 1
                value = str(numbers.get(divisor, divisor))
                pieces.append((_rank(over), over if value == "1" else f"({over}/{value})"))
    for s, e in above.items():
        if e and s in numbers:
            coefficient *= Fraction(numbers[s]) ** e
        elif e:
            pieces.append((_rank(s), s + (str(e).translate(_SUPERSCRIPT) if e > 1 else "")))
    rest = ""
    for s, e in below.items():
        if e and s in numbers:
            coefficient /= Fraction(numbers[s]) ** e
        elif e:
            rest += f"/{s}" + (str(e).translate(_SUPERSCRIPT) if e > 1 else "")
    words = [text for _, text in sorted(pieces)]
    if len(words) == 1 and words[0].startswith("(") and coefficient == 1 and not rest:
        return words[0][1:-1]
    if coefficient.numerator != 1 or not words:
        words.insert(0, str(coefficient.numerator))
    text = "·".join(words)
    if coefficient.denominator != 1:
        rest += f"/{coefficient.denominator}"
    return text + rest


_TOKEN = re.compile(r"\s*(?:(\d+)|([A-Za-z_]\w*)|(.))")


def parse(text: str) -> Formula:
    """Read a formula: `L + F*(H/p)*(W/p)`; `·` and `*` multiply, `/` divides by one term.

    Raises ValueError for anything else.
    """
    tokens = [(int(n) if n else w or c) for n, w, c in _TOKEN.findall(text.strip())]
    position = 0

    def peek() -> int | str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> int | str | None:
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else None

    def atom() -> Formula:
        token = take()
        if token == "(":
            inner = total()
            if take() != ")":
                raise ValueError(f"'{text}' has an open bracket")
            return inner
        if isinstance(token, int):
            return Formula.constant(token)
        if isinstance(token, str) and token.isidentifier():
            return Formula.symbol(token)
        raise ValueError(f"'{text}' is not a formula: '{token}' was not expected")

    def product() -> Formula:
        value = atom()
        while peek() in ("*", "·", "/"):
            value = value / atom() if take() == "/" else value * atom()
        return value

    def total() -> Formula:
        value = product() if peek() not in ("-", "−") else Formula.constant(0)
        while peek() in ("+", "-", "−"):
            value = value + product() if take() == "+" else value - product()
        return value

    result = total()
    if position != len(tokens):
        raise ValueError(f"'{text}' is not a formula: '{tokens[position]}' was not expected")
    return result
