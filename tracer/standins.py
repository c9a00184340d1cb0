"""Stand-ins for what a pipeline reads from vocabulary files: tokenizers and picture processors, by their layout.

What a text says changes no shape, how many tokens it has does. A stand-in tokenizer gives a prompt that many ids,
with the template's and the special tokens around them where the real one has them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from tracer.components import Layout, Picture

WORD = "·"
"""Stands for one token of a prompt."""


def prompt(tokens: int, *, quoted: bool = False) -> str:
    """A prompt of so many tokens."""
    words = " ".join([WORD] * tokens)
    return f'"{words}"' if quoted else words


class Batch(dict[str, Any]):
    """What a tokenizer or a picture processor returns: a dict whose keys are attributes too."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, *where: Any, **how: Any) -> Batch:
        """With every tensor moved or cast."""
        return Batch({k: v.to(*where, **how) for k, v in self.items()})


class Tokenizer:
    """Stands in for a tokenizer: ids of the right number and places."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.model_max_length = layout.longest

    def __call__(self, text: str | list[str], padding: Any = False, max_length: int | None = None, **_: Any) -> Batch:
        """Ids and mask (texts, length): max_length where padded to it, else the longest."""
        layout = self.layout
        rows = []
        for one in [text] if isinstance(text, str) else text:
            runs = (*layout.before, (layout.word, one.count(WORD)), *layout.after)
            rows.append([number for number, count in runs for _ in range(count)])
        most = max_length or layout.longest
        if padding == "max_length":
            rows = [_cut(row, most, layout) for row in rows]
            length = most
        else:
            length = max(map(len, rows))
        ids = [row + [layout.pad] * (length - len(row)) for row in rows]
        mask = [[1] * len(row) + [0] * (length - len(row)) for row in rows]
        # as arrays: a trace keeps lists of numbers, and these are long
        return Batch(input_ids=torch.as_tensor(np.array(ids)), attention_mask=torch.as_tensor(np.array(mask)))

    def apply_chat_template(self, conversations: list[list[dict[str, str]]], **options: Any) -> Batch:
        """Ids and mask of conversations; what the last one says is the prompt, the rest is the layout's."""
        return self([turns[-1]["content"] for turns in conversations], **options)

    def convert_tokens_to_ids(self, token: str) -> int:
        """The id of a special token."""
        return self.layout.special[token]

    def batch_decode(self, ids: Any, **_: Any) -> list[str]:
        """Nothing to read."""
        return [WORD] * len(ids)


def _cut(row: list[int], most: int, layout: Layout) -> list[int]:
    end = sum(count for _, count in layout.after) if layout.keeps_end else 0
    return row if len(row) <= most else row[: most - end] + row[len(row) - end :]


class PictureProcessor:
    """Stands in for an image processor: pixels of the size that the encoder takes."""

    def __init__(self, picture: Picture) -> None:
        self.size = picture.side

    def __call__(self, images: Any = None, **_: Any) -> Batch:
        """Pixels (pictures, 3, side, side)."""
        count = len(images) if isinstance(images, list | torch.Tensor) else 1
        return Batch(pixel_values=torch.zeros(count, 3, self.size, self.size))

    preprocess = __call__
