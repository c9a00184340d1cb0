"""Formulas as text: written as people write them, and read back."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import gcd
from typing import Any

from tracer.formula import Formula, Monomial, abbreviate, monomial

_ORDER = {s: i for i, s in enumerate(["B", "N", "F", "height", "width", "H", "W", "L", "S", "h", "d", "D"])}


@dataclass(frozen=True)
class Pixels:
    """How latents follow from pixels, so that a formula can be written in frames N, height and width.

    time, space: compression of the VAE. whole: latent frames are filled up to a multiple of this, the temporal
    patch. frames: N of the request; where the division comes out whole there, it is written without floor signs.

    ⌈(⌊(N−1)/time⌋ + 1) / whole⌉ is ⌊(N−1)/(time·whole)⌋ + 1, which is what is written.
    """

    time: int = 4
    space: int = 8
    whole: int = 1
    frames: int | None = None

    def latents(self, frames: int, height: int, width: int) -> dict[str, int]:
        """F, H and W for a video of this size."""
        patches = (frames - 1) // (self.time * self.whole) + 1
        return {"F": patches * self.whole, "H": height // self.space, "W": width // self.space}


def render(
    formula: Formula,
    numbers: Mapping[str, int] | None = None,
    *,
    compact: bool = False,
    pixels: Pixels | None = None,
) -> str:
    """The formula as people write it: `L + F·(H/2)·(W/2)`.

    `numbers` gives symbols to print as their values. A divisor is written under the symbol it divides: the
    patch size under H and W, the temporal patch size under F. Text and video tokens that only occur as their
    sum are written as that sum: `4·B·D·(L+S)²`. `compact` leaves spaces out, for axes in a row:
    `B L+S D`. `pixels` writes F, H and W as frames N, height and width.
    """
    writer = _Writer(numbers or {}, compact, pixels)
    return writer.text(writer.prepared(formula))


_UNDER = {"p": ("H", "W"), "p_t": ("F",)}
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")
_NORMAL = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789")

# symbols that only exist while a formula is written; no letter looks like them
_FRAMES, _VIDEO, _ALL = "frames!", "video!", "all!"


def _rank(symbol: str) -> tuple[int, str]:
    base = {_FRAMES: "F"}.get(symbol, symbol.partition("/")[0])
    return (1000 if symbol == _ALL else _ORDER.get(base, 99), symbol)


class _Writer:
    """Writes one formula. Quotients such as H/p are symbols of their own here."""

    def __init__(self, numbers: Mapping[str, int], compact: bool, pixels: Pixels | None) -> None:
        self.numbers = numbers
        self.compact = compact
        self.spaces = not compact
        self.pixels = pixels
        self.all = Formula.constant(0)  # what _ALL stands for

    def prepared(self, formula: Formula) -> Formula:
        """Divisors under their letters, numbers put in, latents as pixels."""
        total: dict[Monomial, Fraction] = {}
        for m, c in formula.terms:
            powers, coefficient = dict(m), c
            for divisor, overs in _UNDER.items():
                one = self.numbers.get(divisor) == 1
                for over in overs:
                    times = min(powers.get(over, 0), -powers.get(divisor, 0))
                    if times > 0 and not one:
                        powers[over] -= times
                        powers[divisor] += times
                        powers[f"{over}/{divisor}"] = times
            for s in [s for s in powers if s in self.numbers]:
                coefficient *= Fraction(self.numbers[s]) ** powers.pop(s)
            if self.pixels is not None:
                patches = powers.pop("F/p_t", 0)
                coefficient *= self.pixels.whole ** (patches + powers.get("F", 0))
                powers[_FRAMES] = patches + powers.pop("F", 0)
                if "p_t" in self.numbers:
                    coefficient /= self.numbers["p_t"] ** patches
                else:
                    powers["p_t"] = powers.get("p_t", 0) - patches
            m = monomial(powers)
            total[m] = total.get(m, Fraction(0)) + coefficient
        return Formula.of(total)

    def text(self, formula: Formula) -> str:
        """A whole formula: common factors in front, the rest in brackets."""
        formula = self.gathered(formula)
        if len(formula.terms) < 2:
            return self.sum(formula)
        common = _common([m for m, _ in formula.terms])
        sizes = {abs(c) for _, c in formula.terms}
        # 2·D + 2·T is 2·(D + T); 4·D + 24·T stays, its numbers tell what they count
        scale = sizes.pop() if len(sizes) == 1 else Fraction(1, gcd(*(c.denominator for c in sizes)))
        if not common and scale == 1:
            return self.sum(formula)
        rest = formula * Formula.of({tuple((s, -e) for s, e in common): 1 / scale})
        if not common and scale.denominator != 1:
            return f"({self.sum(rest)})/{scale.denominator}" if scale.numerator == 1 else self.sum(formula)
        head, slash, tail = self.product(common, scale), "", ""
        if scale.denominator != 1:
            head, slash, tail = head.rpartition("/")
        return f"{head}·({self.sum(rest)}){slash}{tail}"

    def gathered(self, formula: Formula) -> Formula:
        """The formula with text + video as one symbol, where that makes it shorter."""
        if "L" not in formula.symbols:
            return formula
        video, unit = formula, "S"
        if unit not in formula.symbols:
            unit = _VIDEO
            parts = [
                next((s for s in names if s in formula.symbols), "")
                for names in ((_FRAMES, "F/p_t", "F"), ("H/p", "H"), ("W/p", "W"))
            ]
            if not all(parts):
                return formula
            grid = Formula.of({monomial(dict.fromkeys(parts, 1)): 1})
            video = abbreviate(formula, {_VIDEO: grid})
        else:
            grid = Formula.symbol(unit)
        both, symbol = Formula.symbol(_ALL), Formula.symbol
        best = formula
        for gone, kept in ((unit, "L"), ("L", unit)):
            try:
                candidate = video.substitute({gone: both - symbol(kept)})
            except ValueError:  # a quotient of it: no sum can stand there
                return formula
            worse = any(c < 0 for _, c in candidate.terms) and all(c > 0 for _, c in formula.terms)
            if len(candidate.terms) < len(best.terms) and not worse:
                best = candidate.substitute({_VIDEO: grid})
        self.all = symbol("L") + grid
        return best

    def sum(self, formula: Formula) -> str:
        """Terms in a row: what is added before what is taken off."""
        if not formula.terms:
            return "0"
        large_first = any(dict(m).get(_ALL, 0) and m != ((_ALL, 1),) for m, _ in formula.terms)

        def key(term: tuple[Monomial, Fraction]) -> tuple[Any, ...]:
            m, c = term
            size = sum(abs(e) for _, e in m)
            ranks = sorted(_rank(s) for s, _ in m)
            return (c < 0, -dict(m).get(_ALL, 0), -size if large_first else size, ranks)

        plus, minus = (" + ", " − ") if self.spaces else ("+", "−")
        out = ""
        for m, c in sorted(formula.terms, key=key):
            bare = m == ((_ALL, 1),) and c == 1
            alone = len(formula.terms) == 1 and c == 1
            text = self.sum(self.all) if bare else self.product(m, abs(c), alone=alone)
            out += (minus if c < 0 else plus) + text if out else ("−" if c < 0 else "") + text
        return out

    def product(self, monomial: Monomial, coefficient: Fraction, *, alone: bool = False) -> str:
        """Factors, then divisors."""
        alone = alone and len(monomial) == 1
        ranked = sorted(monomial, key=lambda power: _rank(power[0]))
        words = [self.factor(s, e, alone) for s, e in ranked if e > 0]
        rest = "".join("/" + self.factor(s, -e, False, below=True) for s, e in ranked if e < 0)
        if coefficient.numerator != 1 or not words:
            words.insert(0, str(coefficient.numerator))
        if coefficient.denominator != 1:
            rest += f"/{coefficient.denominator}"
        return "·".join(words) + rest

    def factor(self, symbol: str, power: int, alone: bool, below: bool = False) -> str:
        """A symbol and its power, in brackets where it is a sum or a quotient."""
        text, kind = self.word(symbol)
        if kind == "sum":
            bracket = not alone or power > 1
        else:
            bracket = kind == "quotient" and (power > 1 or below or not (alone or self.compact))
        return (f"({text})" if bracket else text) + (str(power).translate(_SUPERSCRIPT) if power > 1 else "")

    def word(self, symbol: str) -> tuple[str, str]:
        """How a symbol is written, and whether that is a letter, a quotient or a sum."""
        if symbol == _ALL:
            inner = _Writer(self.numbers, self.compact, self.pixels)
            inner.spaces = False  # (L+S)² reads as one thing
            return inner.sum(self.all), "sum"
        if symbol == _FRAMES and self.pixels is not None:
            step = self.pixels.time * self.pixels.whole
            if step == 1:
                return "N", "letter"
            exact = self.pixels.frames is not None and (self.pixels.frames - 1) % step == 0
            return (f"(N−1)/{step}+1" if exact else f"⌊(N−1)/{step}⌋+1"), "sum"
        over, _, under = symbol.partition("/")
        divisor: int | str = self.numbers.get(under, under) if under else 1
        if self.pixels is not None and over in ("H", "W"):
            over = {"H": "height", "W": "width"}[over]
            space = self.pixels.space
            divisor = space * divisor if isinstance(divisor, int) else f"{space}/{divisor}"
        return (over, "letter") if divisor == 1 else (f"{over}/{divisor}", "quotient")


def _common(monomials: list[Monomial]) -> Monomial:
    """What every term has as a factor; the sum of all tokens stays where it is."""
    powers = dict(monomials[0])
    for m in monomials[1:]:
        other = dict(m)
        powers = {s: min(e, other[s]) for s, e in powers.items() if e > 0 and other.get(s, 0) > 0}
    return monomial({s: e for s, e in powers.items() if e > 0 and s != _ALL})


_TOKEN = re.compile(r"\s*(?:([0-9]+)|([A-Za-z_][A-Za-z0-9_]*)|([⁰¹²³⁴⁵⁶⁷⁸⁹]+)|(.))")


def parse(text: str) -> Formula:
    """Read a formula: `L + F*(H/p)*(W/p)`; `·` and `*` multiply, `/` divides by one term, `D²` is a power.

    Raises ValueError for anything else.
    """
    tokens = [(int(n) if n else w or up or c) for n, w, up, c in _TOKEN.findall(text.strip())]
    position = 0

    def peek() -> int | str | None:
        return tokens[position] if position < len(tokens) else None

    def take() -> int | str | None:
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else None

    def atom() -> Formula:
        word = take()
        if word == "(":
            value = total()
            if take() != ")":
                raise ValueError(f"'{text}' has an open bracket")
        elif isinstance(word, int):
            value = Formula.constant(word)
        elif isinstance(word, str) and word.isascii() and word.isidentifier():
            value = Formula.symbol(word)
        elif word is None:
            raise ValueError(f"'{text}' is not a formula: it ends too early")
        else:
            raise ValueError(f"'{text}' is not a formula: '{word}' was not expected")
        ahead = peek()
        if isinstance(ahead, str) and ahead[0] in "⁰¹²³⁴⁵⁶⁷⁸⁹":
            take()
            base, value = value, Formula.constant(1)
            for _ in range(int(ahead.translate(_NORMAL))):
                value = value * base
        return value

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
