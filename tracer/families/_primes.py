"""Numbers for probes of families whose letters depend on each other."""

from __future__ import annotations

from collections.abc import Iterable


def apart(number: int, others: Iterable[int]) -> bool:
    """Whether a number is a prime that divides none of the others, so that a product betrays it."""
    prime = number > 1 and all(number % n for n in range(2, int(number**0.5) + 1))
    return prime and all(other % number for other in others)
