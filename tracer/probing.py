"""Where to probe: values of the letters from which their names can be read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tracer.derive import largest_prime
from tracer.families.base import Letter
from tracer.formula import Formula

_LONG = (8_000_017, 8_000_033, 8_000_051)
"""Text lengths: primes far above every sum of the other letters, and yet a mask of L×L can be counted."""

_PRIMES = (11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97, 101, 103, 107)
"""From eleven on, so that the 2s, 3s and 5s of the code itself stay apart."""


def points(letters: Sequence[Letter], depths: Sequence[str]) -> list[dict[str, int]]:
    """Three sets of values for all letters; every value is its letter's multiple times a prime of its own.

    Depths are 1 but for one that is 2, a different one at each point, so that counts can be told apart.
    """
    out = []
    for k, long in enumerate(_LONG):
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
        point["H"], point["W"] = point["y"] * point["p"], point["x"] * point["p"]
        point["F"] = point["f"] * point.get("p_t", 1)
        for i, depth in enumerate(depths):
            point[depth] = 2 if i == k else 1
        out.append(point)
    return out


def _fit(point: dict[str, int], whole: Letter) -> None:
    """Make a letter the sum of its parts, moving the last part until the sum has a prime of its own."""
    taken = {largest_prime(v) for s, v in point.items() if s != whole.symbol}
    last = whole.total[-1]
    while True:
        point[whole.symbol] = sum(point[s] for s in whole.total)
        if largest_prime(point[whole.symbol]) not in taken | {largest_prime(point[last])}:
            return
        point[last] += 2 * point[last] // largest_prime(point[last])


def with_grid(values: Mapping[str, int]) -> dict[str, int]:
    """Values with the grid letters f, y, x: frames, rows and columns of patches."""
    p = values["p"]
    return {
        **values,
        "f": values["F"] // values.get("p_t", 1),
        "y": values["H"] // p,
        "x": values["W"] // p,
    }


def grid_formulas(values: Mapping[str, int]) -> dict[str, Formula]:
    """What the grid letters stand for: f = F/p_t, y = H/p, x = W/p."""
    symbol = Formula.symbol
    frames = symbol("F") / symbol("p_t") if "p_t" in values else symbol("F")
    return {"f": frames, "y": symbol("H") / symbol("p"), "x": symbol("W") / symbol("p")}
