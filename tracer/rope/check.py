"""check_rope(f, like="hunyuanvideo"): which convention a rope of one's own follows, and where it departs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Any

from tracer.errors import BadRequest
from tracer.rope import attempts, faults, forms, measure
from tracer.rope.attempts import lost
from tracer.rope.faults import Departure
from tracer.rope.forms import Form, Refused, Rotation, Tables, WrongSize
from tracer.rope.grids import Sizes, whole
from tracer.rope.measure import SMALL, Pairs, Seen, Unreadable
from tracer.rope.places import TEXT
from tracer.rope.report import Convention, RopeReport, Scores, convention
from tracer.rope.rope3d import Rope3D
from tracer.rope.scores import drawn, score_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Complexes = NDArray[np.complex128]
    Floats = NDArray[np.float64]

_MOST = 200_000
"""Tokens, times heads, of the largest grid that f is called with."""


def check_rope(
    f: Callable[..., Any],
    like: str | Rope3D,
    *,
    form: str | None = None,
    text_tokens: int | None = None,
    heads: int | None = None,
) -> RopeReport:
    """Say which rotary convention a function follows, where it departs from a model's, and what that does to scores.

    f is told apart by the names of its arguments:

    - a table builder f(T, H, W) or f(sizes), which returns cos and sin, or complex numbers: S rows of d, or of d/2
      with one number for each pair; axes of size 1 do not matter. Also f(coordinates), which is handed (frame, row,
      column) of S tokens, (S, 3);
    - an application f(q, k, cos, sin), f(x, cos, sin), f(q, k, freqs_cis) or f(x, freqs_cis), which is handed the
      model's own tables, as (cos, sin) or complex, in the shapes that are usual; q is (B, heads, S, d) or
      (B, S, heads, d), torch float32, or numpy float64 where torch is refused;
    - a whole rotation f(x, T, H, W) or f(q, k, T, H, W), which turns queries and keys of a grid. It tells most.

    A module is checked through a line of adapter:

        check_rope(lambda T, H, W: module(torch.empty(1, 16, T, 2 * H, 2 * W)), like="hunyuanvideo")
        check_rope(lambda x, T, H, W: turn(x, module(torch.empty(1, 16, T, 2 * H, 2 * W))), like="wan")

    like: a name that `rope.published` knows, or a Rope3D. form: 'table', 'positions', 'apply' or 'rotate', where
    arguments have other names. text_tokens: where f handles a sequence with text: as many tokens stand where the model
    has its text. An argument of f that is called text_tokens, text_len or the like is given that number. heads: as
    many as f asks for in q and k; any number without it.

    f is called on small grids and once on the trained one, with fewer frames where that has more than 200,000 tokens
    times heads. Nothing random is left behind, and no gradient is taken. Raises UnknownName for `like`, and BadRequest
    where f cannot be told, raises, or gives back something of another shape.
    """
    from tracer.rope.variants import published

    asked: Any = like
    if not isinstance(asked, str | Rope3D):
        given = asked.__name__ if isinstance(asked, type) else f"a {type(asked).__name__}"
        raise BadRequest(f"like is {given}: it is a name, such as 'hunyuanvideo', or a Rope3D.")
    rope = published(like) if isinstance(like, str) else like
    told = forms.understand(f, form)
    if heads is not None and not whole([heads], 1, 1):
        raise BadRequest(f"heads={heads!r}: it is a whole number of at least 1, such as 24.")
    text = _text(told, rope, text_tokens)
    try:
        if told.kind in ("table", "positions"):
            return _check_table(f, told, rope)
        return _check_rotation(f, told, rope, text, heads)
    except Refused as error:
        raise BadRequest(f"{error}; check_rope needs {told.words} to work on such a grid.") from error


def _text(form: Form, rope: Rope3D, asked: int | None) -> int:
    if asked is not None and not whole([asked], 1, 0):
        raise BadRequest(f"text_tokens={asked!r}: it is a whole number of at least 0, such as 226.")
    if asked and form.kind in ("table", "positions"):
        raise BadRequest(f"text_tokens={asked}: a table builder has no text; leave text_tokens out.")
    if rope.placement.text == "none":
        if asked:
            raise BadRequest(f"text_tokens={asked}: {rope.name} turns a sequence without text; leave text_tokens out.")
        return 0
    return asked if asked is not None else 7 if form.text else 0


def _trained(rope: Rope3D, heads: int = 1) -> Sizes:
    """Where scores are compared: the trained grid, with fewer frames where it is too large to hand over."""
    frames, rows, columns = rope.trained or measure.USUAL
    while frames > 1 and frames * rows * columns * heads > _MOST:
        frames = (frames + 1) // 2
    return frames, rows, columns


def _check_table(f: Any, form: Form, rope: Rope3D) -> RopeReport:
    import numpy as np

    grids, scored = measure.probes(rope), _trained(rope)
    tokens, q, k = drawn(scored, rope.head_dim)

    def report(follows: Convention | None, found: list[Departure], error: Scores | None) -> RopeReport:
        return RopeReport(form.words, rope.name, "", follows, tuple(found), error, grids)

    try:
        table = forms.tables(f, form, rope, SMALL)
        small = table(SMALL)
        steady = attempts.unsteady(lambda: table(SMALL))
        seen = [table(sizes) for sizes in grids]
        last = table(scored, tokens)
    except WrongSize as error:
        return report(None, [Departure("table-size", str(error), error.remedy)], None)
    width = small.shape[-1]
    layout: Pairs | None = None
    if width == rope.head_dim:
        layout = measure.twins(small, rope)
    elif measure.doubled(small):
        return report(None, [_narrow(width, rope)], None)
    picked = [a for a, _ in layout] if layout else list(range(width))
    if steady:
        follows, found = None, steady
    elif width == rope.head_dim and layout is None:
        follows, found = None, [_no_twins(small, rope)]
    else:
        numbers = [s[:, picked] for s in seen]
        follows, found = _read(rope, grids, numbers, layout, None, "what the tables are used on")
        found += _elsewhere(lambda sizes: table(sizes)[:, picked], rope, follows, found, numbers)
        if form.kind == "positions":
            found += _masked(table, picked, rope)
    columns = last if width == rope.head_dim else _doubled(last, rope.pairs)
    pairs = (layout or rope.pairs) if width == rope.head_dim else rope.pairs
    angles = rope.angles(scored)[tokens]
    text = TEXT if rope.placement.text != "none" else 0
    still = np.random.default_rng(1).standard_normal((2, text, rope.head_dim))
    right = [rope.apply(x, rope.laid_out(angles)) for x in (q, k)]
    given = [measure.spun(x, columns, pairs) for x in (q, k)]
    scores = _scores(_with(right, still), _with(given, still), len(tokens), scored)
    found = _guarded(found, scores, seen, rope)
    return report(follows, steady or attempts.unsteady(lambda: table(SMALL)) or found, scores)


def _scores(right: list[Floats], given: list[Floats], n: int, grid: Sizes) -> Scores:
    """Errors of scores of n drawn tokens of a grid. right, given: query and key, of the video and then the text."""
    error = score_error((right[0], right[1]), (given[0], given[1]), (0, n))
    alone = score_error((right[0][:n], right[1][:n]), (given[0][:n], given[1][:n]))
    return Scores(replace(error, video=alone.video), n, grid)


def _with(two: Any, still: Floats) -> list[Floats]:
    """Query and key with tokens that stay as they are after them."""
    import numpy as np

    return [np.concatenate([x, s]) for x, s in zip(two, still, strict=True)]


def _guarded(found: list[Departure], scores: Scores, numbers: list[Complexes], rope: Rope3D) -> list[Departure]:
    """Departures, or where there are none an unknown one if scores are off by more than rounding."""
    import numpy as np

    if found:
        return found
    turned = float(np.abs(rope.angles((scores.grid[0], 1, 1))).max() + np.abs(rope.angles((1, *scores.grid[1:]))).max())
    limit = 1e-5 + 1e-6 * turned + 2 * faults.grain(numbers)
    off = max(scores.error.video, scores.error.text or 0.0)
    if off <= limit:
        return []
    grid = "×".join(map(str, scores.grid))
    return [lost(f"scores are off on a grid of {grid} by more than rounding ({limit:.1g})", rope)]


def _elsewhere(
    columns: Callable[[Sizes], Complexes],
    rope: Rope3D,
    follows: Convention | None,
    found: list[Departure],
    numbers: list[Complexes],
) -> list[Departure]:
    """Departures that grids of equally many tokens show: tables of one that serve another."""
    if follows is None or sum(axis is not None for axis, _ in follows.split) < 2:
        return []
    more = attempts.cached(columns)
    if more or found:
        return more
    return attempts.off_elsewhere(columns, rope, faults.grain(numbers))


def _masked(table: Tables, picked: list[int], rope: Rope3D) -> list[Departure]:
    """A departure where coordinates of -1 get other angles than the model's."""
    import numpy as np

    places = rope.coordinates(SMALL)
    places[1] = -1.0
    right = np.exp(1j * rope.at(places)[1])
    off = np.abs(table.at(places)[1, picked] - right).max()
    if off < 0.01:
        return []
    does = "leaves it as it is" if np.abs(right - 1).max() < 1e-9 else "turns it as any other"
    return [
        Departure(
            "mask",
            f"a token with coordinates of -1 gets cosines and sines off by up to {off:.3g}; {rope.name} {does}",
            "give a masked token cosines of 1 and sines of 0" if "leaves" in does else
            "mask no token: -1 is a position",
        )
    ]  # fmt: skip


def _narrow(width: int, rope: Rope3D) -> Departure:
    return Departure(
        "table-size",
        f"the table has {width} columns in which every angle stands twice, which is for a head of {width}; "
        f"{rope.name} has heads of {rope.head_dim}",
        f"make it for a head of {rope.head_dim}",
    )


def _no_twins(columns: Complexes, rope: Rope3D) -> Departure:
    import numpy as np

    off = float(np.abs(columns - _doubled(np.exp(1j * rope.angles(SMALL)), rope.pairs)).max())
    if off < 0.1:
        return lost(f"cos and sin scatter round the model's by up to {off:.3g}, each number by itself", rope)
    return Departure(
        "layout",
        f"the {rope.head_dim} columns of the table do not hold the same numbers in twos, so the columns of a pair "
        "would turn by different angles",
        f"lay every angle out at both columns of its pair, as {faults.called(rope)}.laid_out does",
    )


def _doubled(columns: Complexes, pairs: Any) -> Complexes:
    import numpy as np

    out = np.zeros((len(columns), 2 * columns.shape[1]), dtype=np.complex128)
    for side in (0, 1):
        out[:, [pair[side] for pair in pairs]] = columns
    return out


def _read(
    rope: Rope3D,
    grids: tuple[Sizes, ...],
    numbers: list[Complexes],
    layout: Pairs | None,
    turned: Pairs | None,
    which: str,
    key: float | None = None,
) -> tuple[Convention | None, list[Departure]]:
    """The convention of (S, P) numbers, and what departs in it.

    layout: of the tables; turned: pairs that mix. key: what lengths of keys are multiplied by, where the numbers are
    those of queries.
    """
    import numpy as np

    found: list[Departure] = []
    pairs = layout if turned is None else turned
    expected = [np.exp(1j * rope.angles(sizes)) for sizes in grids]
    rough = faults.grain(numbers)
    off = [
        np.abs(z - e) - faults.tolerance(rope.angles(s), rough)
        for z, e, s in zip(numbers, expected, grids, strict=True)
    ]
    agrees = max(float(o.max()) for o in off) <= 0
    try:
        reading = measure.read(grids, numbers, rope)
    except Unreadable as error:
        if not agrees:
            found.append(_unreadable(error, rope, grids, off))
        return None, found
    if pairs is not None:
        name = faults.pairing_of(pairs, rope, reading)
        if not set(pairs) <= set(rope.pairs):
            found.append(faults.wrong_pairing(name, rope, table=turned is None))
        name = name or "unnamed"
    else:
        name = None
    if not agrees:
        found += faults.explain(reading, rope, numbers)
    found += faults.scaled(reading.scale, reading.scale if key is None else key, rough)
    return convention(reading, name, which), found


def _said(error: Unreadable) -> Departure:
    return Departure(error.code, str(error), error.remedy)


def _unreadable(error: Unreadable, rope: Rope3D, grids: tuple[Sizes, ...], off: list[Floats]) -> Departure:
    import numpy as np

    if error.code:
        return _said(error)
    worst = int(np.argmax([o.max() for o in off]))
    token, pair = np.unravel_index(int(off[worst].argmax()), off[worst].shape)
    plain = faults.unknown(float(off[worst].max()), grids[worst], int(token), int(pair), rope)
    return replace(plain, sentence=f"{error}; {plain.sentence}")


def _check_rotation(f: Any, form: Form, rope: Rope3D, text: int, heads: int | None) -> RopeReport:
    import numpy as np

    turn, lengths = attempts.settle(f, form, rope, text, heads)
    measured, found = turn, []
    grids, scored = measure.probes(rope), _trained(rope, heads or 1)
    follows: Convention | None = None
    numbers: list[Complexes] = []
    stop = attempts.unsteady(lambda: attempts.both(turn)) or attempts.heads_apart(turn)
    if form.kind == "apply" and lengths > 0.02 and not stop and (own := attempts.own_layout(turn)) is not None:
        measured = own
        found.append(faults.mixed(own.way.layout, rope.pairing, lengths))
    if not stop:
        measured, side = attempts.text_side(measured)
        follows, more, numbers = _see(measured, rope, grids, lengths)
        if follows is None or follows.pairing == "unnamed":
            more = attempts.backward(turn) or more
        found += side + more

    tokens, q, k = drawn(scored, rope.head_dim)
    first, end = rope.placement.video(prod(scored), text)
    places = np.concatenate([tokens + first, np.delete(np.arange(turn.length(scored)), np.s_[first:end])])
    # The other tokens hold random numbers too, a short run of them again and again.
    run = np.random.default_rng(1).standard_normal((2, 1021, rope.head_dim))
    filled = run[:, np.arange(turn.length(scored)) % 1021]
    for x, some in zip(filled, (q, k), strict=True):
        x[first + tokens] = some
    filled = attempts.coarse(filled)
    given = [x[0][places] for x in turn(filled[:1], filled[1:], scored)]
    turned = rope.laid_out(rope.angles(scored)[tokens])
    n = len(tokens)
    right = [rope.apply(x[places[:n]], turned) for x in filled]
    still = np.stack([x[places[n:]] for x in filled])
    if rope.placement.text != "none" and not text:
        still = run[:, :TEXT]
        given = _with(given, still)
    scores = _scores(_with(right, still), given, n, scored)
    found = stop or attempts.unsteady(lambda: attempts.both(turn)) or _guarded(found, scores, numbers, rope)
    return RopeReport(form.words, rope.name, turn.way.words, follows, tuple(found), scores, grids)


def _see(
    turn: Rotation, rope: Rope3D, grids: tuple[Sizes, ...], lengths: float
) -> tuple[Convention | None, list[Departure], list[Complexes]]:
    """The convention of a rotation, what departs in it, and the numbers that were measured."""
    import numpy as np

    try:
        both = measure.see_pairs(turn, 0), measure.see_pairs(turn, 1)
    except Unreadable as error:
        return None, [lost(str(error), rope)], []
    found: list[Departure] = []
    which = 0
    if bool(both[0]) != bool(both[1]):
        which = int(not both[0])
        one, other = ("key", "query") if which else ("query", "key")
        found.append(
            Departure(
                f"{one}-only", f"only the {one} is turned, the {other} is not, so scores depend on where tokens "
                "stand and not on distances", f"turn the {other} with the same tables",
            )
        )  # fmt: skip
    pairs = both[which]
    smalls = measure.see_rotation(turn, 0, both[0], SMALL), measure.see_rotation(turn, 1, both[1], SMALL)
    small = smalls[which]
    if not pairs:
        return None, [_said(measure.still(small.columns))], []
    seen = [measure.see_rotation(turn, which, pairs, sizes) for sizes in grids]
    alike = "k" not in turn.form.takes
    keys = seen if alike else [measure.see_rotation(turn, 1, both[1], sizes) for sizes in grids]
    scale, key = (float(np.median(np.abs(np.concatenate([s.columns for s in them])))) for them in (seen, keys))
    if not found and min(scale, key) > 1e-3:
        apart = max(float(np.abs(s.columns / scale - t.columns / key).max()) for s, t in zip(seen, keys, strict=True))
        found += attempts.unlike(apart if both[0] == both[1] else 2.0)
    texts = attempts.text_turned(seen, scale, "") or (
        [] if alike or both[0] != both[1] else attempts.text_turned(keys, key, "of the key ")
    )
    found += texts
    says = _turned_words(rope, turn.text, bool(texts))
    layout = measure.twins(small.columns, rope)
    if layout is None:
        found.append(_no_rotation(small, pairs, rope))
        return None, found, []
    if not set(pairs) <= set(layout):
        turned, laid = (faults.pairing_of(p, rope) for p in (pairs, layout))
        found.append(faults.mixed(turned, laid, lengths))
    picked = [a for a, _ in layout]
    numbers = [s.columns[:, picked] for s in seen]
    follows, more = _read(rope, grids, numbers, layout, pairs, says, key if both[0] and both[1] else None)
    found += more
    if min(scale, key) > 1e-3:
        rough = faults.grain(numbers) * max(1.0, scale, key)
        found += attempts.beyond_turning(turn, smalls, both, (scale, key), rough)
    found += _elsewhere(
        lambda sizes: measure.see_rotation(turn, which, pairs, sizes).columns[:, picked], rope, follows, found, numbers
    )
    return follows, found, numbers


def _no_rotation(small: Seen, pairs: Pairs, rope: Rope3D) -> Departure:
    import numpy as np

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    if np.abs(small.columns[:, first] - small.columns[:, second].conj()).max() < 1e-3:
        return Departure(
            "sign",
            "both numbers of a pair get the other one with the same sign, which is no rotation and changes lengths",
            "give the sine a minus in one of the two: (a·cos - b·sin, b·cos + a·sin)",
        )
    return lost("the two columns of a pair turn by angles that are not laid out for any pairing", rope)


def _turned_words(rope: Rope3D, text: int, also: bool) -> str:
    if rope.placement.text == "none":
        return "video, with no text in the sequence"
    if not text:
        return "video; text was not part of what it was given"
    return "video and text" if also else "video, not text"
