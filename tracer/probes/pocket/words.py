"""The word table: prompt text to the vectors a pocket model was trained on.

Every word has one fixed random unit-variance vector; the table lies with the weights. Order and case mean nothing.
A prompt has at most one colour, one shape and one direction; what it leaves out is left to the model.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch

from tracer.errors import BadRequest, UnknownName
from tracer.probes.pocket.clips import COLOURS, DIRECTIONS, SHAPES

CHOICES: dict[str, tuple[str, ...]] = {"colour": tuple(COLOURS), "shape": SHAPES, "direction": tuple(DIRECTIONS)}
FILLERS = ("a", "moving")
WORDS = ("", *(word for words in CHOICES.values() for word in words))
"""Rows of the table. The empty word stands where a prompt says nothing; fillers are read over."""


def table(dim: int, seed: int) -> torch.Tensor:
    """The vectors of `WORDS`, (words, dim), from a seed."""
    return torch.randn(len(WORDS), dim, generator=torch.Generator().manual_seed(seed))


def ids(prompt: str) -> list[int]:
    """Rows of the table for a prompt's colour, shape and direction, 0 where it names none.

    Raises UnknownName for a word outside the table, BadRequest where two words answer the same question.
    """
    given = prompt.lower().replace(",", " ").replace(".", " ").split()
    known = (*FILLERS, *WORDS[1:])
    for word in given:
        if word not in known:
            raise UnknownName("word of the pocket models", word, known, f"All words: {', '.join(known)}.")
    row = []
    for kind, words in CHOICES.items():
        named = sorted({word for word in given if word in words}, key=given.index)
        if len(named) > 1:
            both = " and ".join(named)
            raise BadRequest(f"The prompt '{prompt}' names the {kind}s {both}: give one of {', '.join(words)}.")
        row.append(WORDS.index(named[0]) if named else 0)
    return row


def sentence(choice: Iterable[str]) -> str:
    """The prompt of a (colour, shape, direction)."""
    colour, shape, direction = choice
    return f"a {colour} {shape} moving {direction}"
