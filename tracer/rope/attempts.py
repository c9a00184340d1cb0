"""Finding the shapes that a function takes, and what else it can do wrong: keys, heads, text, tokens, calls apart."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any, cast

from tracer.rope.faults import Departure, called, grain, permuted, tolerance
from tracer.rope.forms import Form, Refused, Rotation, ways
from tracer.rope.grids import Sizes
from tracer.rope.measure import SMALL, Pairs, Seen, spun
from tracer.rope.rope3d import PAIRINGS, Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Complexes = NDArray[np.complex128]

_KEPT = 0.02
"""Lengths that change by less are kept: half a float's rounding is below."""
_OTHER: Sizes = (4, 6, 2)
"""As many tokens as SMALL, along other axes."""
_LOUD = (1.0, 16.0, 0.0625)
"""Sizes of the vectors in three heads: a rotation is in proportion to what comes in."""


def settle(f: Any, form: Form, rope: Rope3D, text: int, heads: int | None) -> tuple[Rotation, float]:
    """The first way to call f that works and keeps lengths, or else that works; and how far lengths change in it.

    Raises Refused with what the first way met, where none works.
    """
    refused: Refused | None = None
    worked: tuple[Rotation, float] | None = None
    for way in ways(form, rope):
        turn = Rotation(f, form, way, rope, text, heads)
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
    q, k = coarse(rng.standard_normal((2, 3, turn.length(sizes), turn.rope.head_dim)))
    return q, k


def coarse(x: Floats) -> Floats:
    """What bfloat16 holds of these numbers: the rounding of what comes in is then nothing that f does wrong."""
    import numpy as np

    kept: Floats = (x.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32).astype(np.float64)
    return kept


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


def unsteady(again: Callable[[], Any]) -> list[Departure]:
    """A departure where the same call gives different answers."""
    import numpy as np

    first = again()
    off = max(float(np.abs(again() - first).max()) for _ in range(8))
    if off <= 1e-5 * max(1.0, float(np.abs(first).max())):
        return []
    return [
        Departure(
            "unsteady",
            f"calls with the same input give different answers, apart by up to {off:.2g}; nothing else can be measured",
            "leave out what is random or counts its calls, such as dropout: put a module in eval()",
        )
    ]


def both(turn: Rotation) -> Any:
    """Turned queries and keys of three heads, in one array."""
    import numpy as np

    return np.stack(turn(*_random(turn), SMALL))


def cached(columns: Callable[[Sizes], Complexes]) -> list[Departure]:
    """A departure where a grid gets what belongs to another one with as many tokens."""
    import numpy as np

    first, other, again = columns(SMALL), columns(_OTHER), columns(SMALL)
    if np.abs(first - again).max() > 1e-5 or np.abs(first - other).max() < 1e-5:
        one, two = ("×".join(map(str, sizes)) for sizes in (SMALL, _OTHER))
        return [
            Departure(
                "cache",
                f"what a grid of {two} gets depends on the call before: after {one}, which has as many tokens, the "
                "tables of one serve the other",
                "remember tables by T, H and W, not by the number of tokens",
            )
        ]
    return []


def heads_apart(turn: Rotation) -> list[Departure]:
    """A departure where what stands in one head comes out in another."""
    import numpy as np

    if turn.heads == 1:
        return []
    vectors = [x.copy() for x in _random(turn)]
    for x in vectors:
        x[[0, 2]] = 0.0
    out = []
    for name, given, turned in zip(("query", "key"), vectors, turn(vectors[0], vectors[1], SMALL), strict=True):
        size = np.sqrt((turned**2).sum(axis=(1, 2)) / (given[1] ** 2).sum())
        if size[[0, 2]].max() > 0.1:
            what = "change places" if size[1] < 0.1 else "are mixed"
            out.append((name, what))
    if not out:
        return []
    names, what = " and the ".join(name for name, _ in out), out[0][1]
    return [
        Departure(
            "heads", f"heads of the {names} {what}: what stands in one comes out in another",
            "turn each head by itself; look at the order of axes before and after",
        )
    ]  # fmt: skip


def unlike(apart: float) -> list[Departure]:
    """A departure where keys are turned otherwise than queries. apart: cos and sin, without their factors."""
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


def text_side(turn: Rotation) -> tuple[Rotation, list[Departure]]:
    """The rotation with the text where f has it, and a departure where the model has it on the other side."""
    import numpy as np

    side = turn.rope.placement.text
    if not turn.text or side == "none":
        return turn, []
    q, k = _random(turn)
    kept = np.abs(turn(q, k, SMALL)[0] - q).max(axis=(0, 2)) < 0.05
    first, last = bool(kept[: turn.text].all()), bool(kept[-turn.text :].all())
    if first == last or first == (side == "before"):
        return turn, []
    other = "after" if side == "before" else "before"
    placement = replace(turn.rope.placement, text=cast(Any, other))
    return replace(turn, rope=replace(turn.rope, placement=placement)), [
        Departure(
            "text-side",
            f"text stands {other} the video in what it turns; {turn.rope.name} has it {side} the video, so {turn.text} "
            "tokens of text are turned and as many of the video are not",
            f"put the text's tokens {side} the video's, or turn the others",
        )
    ]


def text_turned(seen: list[Seen], scale: float, name: str) -> list[Departure]:
    """A departure where text tokens do not come out as they went in, but for a factor that the video has too."""
    import numpy as np

    parts = [s.text for s in seen if s.text is not None and len(s.text)]
    if not parts or max(float(np.abs(p - scale).max()) for p in parts) < max(1e-4 * scale, 2 * grain(parts)):
        return []
    off = max(float(np.abs(p - 1).max()) for p in parts)
    if off < 1e-4:
        return []
    return [
        Departure(
            "text",
            f"text tokens {name}are turned too (cos and sin by up to {off:.3g}); the model leaves them as they are",
            "turn the video's tokens only, and put them back beside the text",
        )
    ]


def beyond_turning(
    turn: Rotation, columns: tuple[Seen, Seen], pairs: tuple[Pairs, Pairs], scales: tuple[float, float], rough: float
) -> list[Departure]:
    """What f does to unlike queries and keys that unit vectors do not show.

    columns and pairs: as they were measured on SMALL, for queries and keys; scales: their factors.
    """
    import numpy as np

    first, end = turn.rope.placement.video(prod(SMALL), turn.text)
    loud = np.array(_LOUD)[:, None, None]
    given = [x * loud for x in _random(turn)]
    turned = turn(given[0], given[1], SMALL)
    meant = [[spun(x[:, first:end], columns[i].columns, pairs[i]) for i in (0, 1)] for x in given]
    limit = 1e-3 + 12 * rough
    names = ("query", "key")

    def off(i: int, right: Floats) -> Any:
        """The largest difference of the turned i, in parts of its vectors' size, for each head."""
        return np.abs((turned[i][:, first:end] - right) / loud).max(axis=(1, 2))

    out: list[Departure] = []
    texts: dict[str, list[Any]] = {}
    for i, name in enumerate(names):
        still = columns[i].text
        if still is not None and np.abs(still - scales[i]).max() <= limit:
            texts[name] = [np.delete(x / loud, range(first, end), axis=1) for x in (given[i], turned[i] / scales[i])]
        wrong = off(i, meant[i][i])
        if wrong.max() <= limit:
            continue
        other = names[1 - i]
        if off(i, meant[1 - i][i]).max() <= limit or off(i, meant[1 - i][1 - i]).max() <= limit:
            out.append(
                Departure(
                    "key" if i else "query",
                    f"the returned {name} is the turned {other}, so scores are those of {other} with {other}",
                    f"turn the {name} itself, and return it in its place",
                )
            )
            continue
        quiet = wrong[[0, 2]].max() <= limit < wrong[1]
        why = (
            "vectors 16 times as large do not come out 16 times as large, as where values are cut off" if quiet else
            "tokens or heads are mixed, or values are changed otherwise"
        )  # fmt: skip
        out.append(
            lost(f"the {name} of random vectors comes out otherwise, by up to {wrong.max():.3g}: {why}", turn.rope)
        )
    if [d.code for d in out] == ["query", "key"]:
        said = "the turned key is returned as the query and the turned query as the key"
        out = [Departure("key", said, "return the query first")]
    return [*_text_moved(texts, limit), *out]


def _text_moved(texts: dict[str, list[Any]], limit: float) -> list[Departure]:
    """A departure where text tokens, before and after, of the query or key come out otherwise."""
    import numpy as np

    off = {name: float(np.abs(after - before).max()) for name, (before, after) in texts.items()}
    off = {name: most for name, most in off.items() if most > limit}
    if not off:
        return []

    def moved(before: Any, after: Any) -> bool:
        nearest = [np.abs(before - after[:, [i]]).max(axis=(0, 2)).min() for i in range(after.shape[1])]
        return bool(max(nearest) <= limit)

    how = (
        "in another order" if all(moved(*texts[name]) for name in off) else f"changed, by up to {max(off.values()):.3g}"
    )
    return [
        Departure(
            "text", f"text tokens of the {' and the '.join(off)} come out {how}; the model leaves them as they are",
            "put them back beside the video as they came in",
        )
    ]  # fmt: skip


def backward(turn: Rotation) -> list[Departure]:
    """A departure where a permutation of columns and its inverse were exchanged."""
    import numpy as np

    rope = turn.rope
    q, k = _random(turn)
    right = rope.rotate(q, SMALL, text=turn.text)
    for pairing in PAIRINGS:
        order = rope.permutation(cast(Any, pairing))
        back = np.argsort(order)
        if pairing != rope.pairing and list(back) != list(order):
            given = [x[..., order][..., order] for x in (q, k)]
            turned = turn(given[0], given[1], SMALL)[0][..., back][..., back]
            if np.abs(turned - right).max() < 0.05:
                return [permuted(rope, pairing)]
    return []


def off_elsewhere(columns: Callable[[Sizes], Complexes], rope: Rope3D, rough: float) -> list[Departure]:
    """A departure where (S, P) numbers at a grid that was not measured are not the model's."""
    import numpy as np

    angles = rope.angles(_OTHER)
    off = float((np.abs(columns(_OTHER) - np.exp(1j * angles)) - tolerance(angles, rough)).max())
    grid = "×".join(map(str, _OTHER))
    return [lost(f"on a grid of {grid} cos and sin differ by {off:.3g}", rope)] if off > 0 else []


def lost(why: str, rope: Rope3D) -> Departure:
    """Something that is wrong and has no name here. why: a clause."""
    return Departure(
        "unknown", f"{why}, and no fault known here explains it",
        f"compare with {called(rope)}.rotate on the same vectors",
    )  # fmt: skip
