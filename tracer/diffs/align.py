"""Two sequences beside each other: which element of one is which of the other, in order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import SequenceMatcher
from itertools import pairwise
from typing import Any, TypeVar

T = TypeVar("T")
LARGEST = 1_000_000
"""Pairs that are weighed; longer sequences are aligned by equal keys alone."""


def align(
    old: Sequence[T], new: Sequence[T], score: Callable[[T, T], int], key: Callable[[T], Any]
) -> list[tuple[T | None, T | None]]:
    """Pairs in order, with None where one side has no fellow: first those of the old side, then those of the new.

    The pairs have the highest sum of scores of all alignments that keep the order (Needleman-Wunsch, gaps are free);
    a score of 0 forbids a pair. Keys have an order, equal ones make sure pairs. Of alignments with the same score it
    is always the same one, whichever side is called old: what comes first by its content is taken for the old side.
    """
    a, b = [key(x) for x in old], [key(x) for x in new]
    if a == b and all(score(x, y) > 0 for x, y in zip(old, new, strict=True)):
        return list(zip(old, new, strict=True))
    if a != b:
        later = b < a
    else:
        one, other = repr(old), repr(new)
        if one == other:
            return list(zip(old, new, strict=True))
        later = other < one
    match = _best if len(old) * len(new) <= LARGEST else _equal
    if later:
        matches = [(i, j) for j, i in match(new, old, b, a, lambda y, x: score(x, y))]
    else:
        matches = match(old, new, a, b, score)
    out: list[tuple[T | None, T | None]] = []
    for (i, j), (k, m) in pairwise([(-1, -1), *matches, (len(old), len(new))]):
        out += [(x, None) for x in old[i + 1 : k]]
        out += [(None, y) for y in new[j + 1 : m]]
        if k < len(old):
            out.append((old[k], new[m]))
    return out


def _best(
    old: Sequence[T], new: Sequence[T], a: Sequence[Any], b: Sequence[Any], score: Callable[[T, T], int]
) -> list[tuple[int, int]]:
    scores = [[score(x, y) for y in new] for x in old]
    best = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for i in reversed(range(len(old))):
        row, below, here = best[i], best[i + 1], scores[i]
        for j in reversed(range(len(new))):
            both = below[j + 1] + here[j] if here[j] else 0
            row[j] = max(both, below[j], row[j + 1])
    out = []
    i = j = 0
    while i < len(old) and j < len(new):
        if scores[i][j] and best[i][j] == best[i + 1][j + 1] + scores[i][j]:
            out.append((i, j))
            i, j = i + 1, j + 1
        elif best[i + 1][j] > best[i][j + 1] or (best[i + 1][j] == best[i][j + 1] and a[i] <= b[j]):
            i += 1
        else:
            j += 1
    return out


def _equal(
    old: Sequence[T], new: Sequence[T], a: Sequence[Any], b: Sequence[Any], score: Callable[[T, T], int]
) -> list[tuple[int, int]]:
    blocks = SequenceMatcher(None, a, b, autojunk=False).get_matching_blocks()
    pairs = [(m.a + n, m.b + n) for m in blocks for n in range(m.size)]
    return [(i, j) for i, j in pairs if score(old[i], new[j])]
