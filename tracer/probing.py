"""Where to probe: values of the letters from which their names can be read back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

from tracer.derive import largest_prime
from tracer.families.base import Letter
from tracer.formula import Formula

NOTHING: Mapping[str, Sequence[int]] = MappingProxyType({})

_LONG = (8_000_017, 8_000_033, 8_000_051)
"""Text lengths: primes far above every sum of the other letters, and yet a mask of L×L can be counted."""

_SHORTER = ((2_000_003, 2_000_029, 2_000_039), (250_007, 250_013, 250_027))
"""For models that read a mask of B×L, which is then there in memory."""

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107)
"""From eleven on, so that the 2s, 3s and 5s of the code itself stay apart."""


def points(
    letters: Sequence[Letter], depths: Sequence[str], limited: Mapping[str, Sequence[int]] = NOTHING,
    fit: Callable[[dict[str, int]], None] = lambda point: None, most: int | None = None,
) -> list[dict[str, int]]:  # fmt: skip
    """Three sets of values for all letters; every value is its letter's multiple times a prime of its own.

    limited: letters that only these values work for, taken in turn. fit: makes letters agree with each other. most:
    how large B·L may be, where it matters.
    Depths are 1 but for one that is 2, a different one at each point, so that counts can be told apart.
    """
    out = []
    batch = max(limited.get("B", (1,)))
    lengths = next((ls for ls in (_LONG, *_SHORTER) if most is None or batch * max(ls) <= most), _SHORTER[-1])
    for k, long in enumerate(lengths):
        primes = iter(_PRIMES[k:] + _PRIMES[:k])
        point: dict[str, int] = {}
        for x in letters:  # the patch sizes come first: they become kernels, and small ones are quicker
            point[x.symbol] = x.multiple * next(primes)
        for grid in ("f", "y", "x", "B"):
            point[grid] = next(primes)
        for x in letters:
            if x.total:
                _fit(point, x)
        point["L"] = long
        point |= {s: some[k % len(some)] for s, some in limited.items()}
        fit(point)
        for grid, letter, patch in (("f", "F", "p_t"), ("y", "H", "p"), ("x", "W", "p")):
            size = point.get(patch, 1)
            if letter in limited:
                point[grid] = point[letter] // size
            point[letter] = point[grid] * size
        for i, depth in enumerate(depths):
            point[depth] = 2 if i == k else 1
        out.append(point)
    return out


def _fit(point: dict[str, int], whole: Letter) -> None:
    """Make a letter the sum of its parts, moving the last part until both have primes of their own."""
    last = whole.total[-1]
    taken = {largest_prime(v) for s, v in point.items() if s not in (whole.symbol, last)}
    step = 2 * point[last] // largest_prime(point[last])
    while True:
        point[whole.symbol] = sum(point[s] for s in whole.total)
        primes = {largest_prime(point[last]), largest_prime(point[whole.symbol])}
        if len(primes) == 2 and not primes & taken:
            return
        point[last] += step


def with_grid(values: Mapping[str, int]) -> dict[str, int]:
    """Values with the grid letters f, y, x: frames, rows and columns of patches."""
    p = values.get("p", 1)
    return {
        **values,
        "f": values["F"] // values.get("p_t", 1),
        "y": values["H"] // p,
        "x": values["W"] // p,
    }


def grid_formulas(values: Mapping[str, int]) -> dict[str, Formula]:
    """What the grid letters stand for: f = F/p_t, y = H/p, x = W/p."""

    def over(letter: str, patch: str) -> Formula:
        return Formula.symbol(letter) / Formula.symbol(patch) if patch in values else Formula.symbol(letter)

    return {"f": over("F", "p_t"), "y": over("H", "p"), "x": over("W", "p")}
