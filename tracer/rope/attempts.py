"""Finding the shapes that a function takes, and what else a rotation can do wrong: keys, text, mixing tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracer.rope.faults import Departure
from tracer.rope.forms import Form, Refused, Rotation, ways
from tracer.rope.grids import Sizes
from tracer.rope.measure import SMALL, Pairs, Seen, see_rotation, spun
from tracer.rope.rope3d import PAIRINGS, Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_KEPT = 0.02
"""Lengths that change by less are kept: half a float's rounding is below."""


def settle(f: Any, form: Form, rope: Rope3D, text: int) -> tuple[Rotation, float]:
    """The first way to call f that works and keeps lengths, or else that works; and how far lengths change in it.

    Raises Refused with what the first way met, where none works.
    """
    refused: Refused | None = None
    worked: tuple[Rotation, float] | None = None
    for way in ways(form, rope):
        turn = Rotation(f, form, way, rope, text)
        try:
            lengths = lengths_change(turn)
        except Refused as error:
            refused = refused or error
            continue
        if lengths < _KEPT:
            return turn, lengths
        worked = worked or (turn, lengths)
    if worked is None:
        raise refused or Refused("neither torch nor numpy is installed")
    return worked


def _random(turn: Rotation, sizes: Sizes = SMALL) -> tuple[Floats, Floats]:
    """Queries and keys of three heads, the same each time."""
    import numpy as np

    rng = np.random.default_rng(1)
    q, k = rng.standard_normal((2, 3, turn.length(sizes), turn.rope.head_dim))
    return q, k


def lengths_change(turn: Rotation, sizes: Sizes = SMALL) -> float:
    """The largest relative change of a vector's length."""
    import numpy as np

    before = _random(turn, sizes)
    after = turn(*before, sizes)
    norm = np.linalg.norm
    return max(float(np.abs(norm(b, axis=-1) / norm(a, axis=-1) - 1).max()) for a, b in zip(before, after, strict=True))


def own_layout(turn: Rotation) -> Rotation | None:
    """The same call with tables of the layout that f keeps lengths with; None where no layout does."""
    for layout in PAIRINGS:
        other = replace(turn, way=replace(turn.way, layout=layout))
        if lengths_change(other) < _KEPT:
            return other
    return None


def unlike(turn: Rotation, pairs: Pairs, keys: Pairs, grids: tuple[Sizes, ...]) -> list[Departure]:
    """A departure where queries and keys are turned differently."""
    import numpy as np

    if "k" not in turn.form.takes:
        return []
    apart = 2.0
    if pairs == keys:
        both = [[see_rotation(turn, i, pairs, sizes).columns for i in (0, 1)] for sizes in grids]
        apart = max(float(np.abs(q - k).max()) for q, k in both)
    if apart < 1e-4:
        return []
    return [
        Departure(
            "key",
            f"keys are turned otherwise than queries (cos and sin differ by up to {apart:.3g}), so scores "
            "are those of other distances; what follows is read from queries",
            "turn both with the same tables and the same function",
        )
    ]


def text_turned(seen: list[Seen]) -> list[Departure]:
    """A departure where text tokens do not come out as they went in."""
    import numpy as np

    off = max((float(np.abs(s.text - 1).max()) for s in seen if s.text is not None and len(s.text)), default=0.0)
    if off < 1e-4:
        return []
    return [
        Departure(
            "text",
            f"text tokens are turned too (cos and sin by up to {off:.3g}); the model leaves them as they are",
            "turn the video's tokens only, and put them back beside the text",
        )
    ]


def beyond_turning(turn: Rotation, small: Seen, pairs: Pairs) -> str | None:
    """A clause where f does more to random vectors than turn each token by itself."""
    import numpy as np

    first, end = turn.rope.placement.video(small.sizes[0] * small.sizes[1] * small.sizes[2], turn.text)
    q, k = _random(turn)
    turned = turn(q, k, SMALL)[0][:, first:end]
    off = float(np.abs(turned - spun(q[:, first:end], small.columns, pairs)).max())
    return None if off < 0.05 else f"tokens or heads are mixed: random vectors come out otherwise by up to {off:.3g}"
