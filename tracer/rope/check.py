"""check_rope(f, like="hunyuanvideo"): which convention a rope of one's own follows, and where it departs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from tracer.errors import BadRequest
from tracer.rope import faults, forms, measure
from tracer.rope.attempts import beyond_turning, lengths_change, own_layout, settle, text_turned, unlike
from tracer.rope.faults import Departure
from tracer.rope.forms import Form, Refused, Rotation
from tracer.rope.grids import Crop, Sizes
from tracer.rope.measure import Pairs, Reading, Seen, Unreadable
from tracer.rope.places import TEXT
from tracer.rope.report import Convention, Positions, RopeReport
from tracer.rope.rope3d import Rope3D
from tracer.rope.scores import ScoreError, score_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Complexes = NDArray[np.complex128]
    Floats = NDArray[np.float64]


def check_rope(
    f: Callable[..., Any], like: str | Rope3D, *, form: str | None = None, text_tokens: int | None = None
) -> RopeReport:
    """Say which rotary convention a function follows, where it departs from a model's, and what that does to scores.

    f is told apart by the names of its arguments:

    - a table builder f(T, H, W) or f(sizes), which returns cos and sin, or complex numbers: S rows of d, or of d/2
      with one number for each pair; axes of size 1 do not matter;
    - an application f(q, k, cos, sin), f(x, cos, sin), f(q, k, freqs_cis) or f(x, freqs_cis), which is handed the
      model's own tables, as (cos, sin) or complex, in the shapes that are usual; q is (B, heads, S, d) or
      (B, S, heads, d), torch float32, or numpy float64 where torch is refused;
    - a whole rotation f(x, T, H, W) or f(q, k, T, H, W), which turns queries and keys of a grid. It tells most.

    A module is checked through a line of adapter:

        check_rope(lambda T, H, W: module(torch.empty(1, 16, T, 2 * H, 2 * W)), like="hunyuanvideo")
        check_rope(lambda x, T, H, W: turn(x, module(torch.empty(1, 16, T, 2 * H, 2 * W))), like="wan")

    like: a name that `rope.published` knows, or a Rope3D. form: 'table', 'apply' or 'rotate', where arguments have
    other names. text_tokens: where f handles a sequence with text: as many tokens stand where the model has its text.
    An argument of f that is called text_tokens, text_len or the like is given that number.

    Nothing random is left behind, and no gradient is taken. Raises UnknownName for `like`, and BadRequest where f
    cannot be told, raises, or gives back something of another shape.
    """
    from tracer.rope.variants import published

    rope = published(like) if isinstance(like, str) else like
    told = forms.understand(f, form)
    try:
        if told.kind == "table":
            return _check_table(f, told, rope)
        return _check_rotation(f, told, rope, _text(told, rope, text_tokens))
    except Refused as error:
        raise BadRequest(f"{error}; check_rope needs {told.words} to work on such a grid.") from error


def _text(form: Form, rope: Rope3D, asked: int | None) -> int:
    if rope.placement.text == "none":
        if asked:
            raise BadRequest(f"text_tokens={asked}: {rope.name} turns a sequence without text; leave text_tokens out.")
        return 0
    if asked is not None and asked < 0:
        raise BadRequest(f"text_tokens={asked}: it is 0 or more, such as 226.")
    return asked if asked is not None else 7 if form.text else 0


def _score_grid(rope: Rope3D) -> Sizes:
    """Where scores are compared: about half the base grid on a crop, so that it is cropped as in use."""
    if isinstance(rope.grid, Crop):
        rows, columns = rope.grid.base
        return 2, max(rows // 2, 3), max(columns // 3, 4)
    return 5, 6, 7


def _check_table(f: Any, form: Form, rope: Rope3D) -> RopeReport:
    grids = measure.probes(rope)
    scored = _score_grid(rope)

    def report(follows: Convention | None, found: list[Departure], error: ScoreError | None) -> RopeReport:
        return RopeReport(form.words, rope.name, "", follows, tuple(found), error, grids)

    try:
        small, *seen, last = (measure.see_table(f, form, rope, sizes) for sizes in (measure.SMALL, *grids, scored))
    except measure.WrongSize as error:
        return report(None, [Departure("table-size", str(error), f"make {rope.head_dim} columns, a row a token")], None)
    width = small.columns.shape[-1]
    if width < rope.head_dim:
        if measure.doubled(small.columns):
            return report(None, [_narrow(width, rope)], None)
        numbers = [s.columns for s in seen]
        follows, found = _read(rope, grids, numbers, None, None, "what the tables are used on")
        columns = _doubled(last.columns, rope.pairs)
        return report(follows, found, _scores(rope, scored, lambda x, _: measure.spun(x, columns, rope.pairs), 0))
    layout = measure.twins(small.columns, rope)
    follows, found = None, [_no_twins(small.columns, rope)]
    if layout is not None:
        numbers = [s.columns[:, [a for a, _ in layout]] for s in seen]
        follows, found = _read(rope, grids, numbers, layout, None, "what the tables are used on")
    pairs = layout or tuple(rope.pairs)
    return report(follows, found, _scores(rope, scored, lambda x, _: measure.spun(x, last.columns, pairs), 0))


def _narrow(width: int, rope: Rope3D) -> Departure:
    return Departure(
        "table-size",
        f"the table has {width} columns in which every angle stands twice, which is for a head of {width}; "
        f"{rope.name} has heads of {rope.head_dim}",
        f"make it for a head of {rope.head_dim}",
    )


def _no_twins(columns: Complexes, rope: Rope3D) -> Departure:
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


def _scores(rope: Rope3D, sizes: Sizes, turn: Callable[[Floats, int], Floats], text: int) -> ScoreError:
    """Scores of random queries and keys. turn: x (L + S, d) and 0 for query, 1 for key. text: L that it turns.

    Without text, some is added that stays as it is, where the model has text in its sequence.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    tokens = sizes[0] * sizes[1] * sizes[2]
    total = rope.placement.length(tokens, text)
    video = rope.placement.video(tokens, text)
    q, k = rng.standard_normal((2, total, rope.head_dim))
    right = [rope.rotate(x, sizes, text=text) for x in (q, k)]
    given = [turn(x, i) for i, x in enumerate((q, k))]
    if rope.placement.text != "none" and not text:
        still = rng.standard_normal((2, TEXT, rope.head_dim))
        right = [np.concatenate([x, s]) for x, s in zip(right, still, strict=True)]
        given = [np.concatenate([x, s]) for x, s in zip(given, still, strict=True)]
    return score_error((right[0], right[1]), (given[0], given[1]), video=video)


def _read(
    rope: Rope3D,
    grids: tuple[Sizes, ...],
    numbers: list[Complexes],
    layout: Pairs | None,
    turned: Pairs | None,
    which: str,
) -> tuple[Convention | None, list[Departure]]:
    """The convention of (S, P) numbers, and what departs in it. layout: of the tables; turned: pairs that mix."""
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
    return _convention(reading, name, which), found


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


def _convention(reading: Reading, pairing: str | None, turned: str) -> Convention:
    import numpy as np

    made = []
    for line in reading.lines:
        longest = max(line.places, key=len)
        step = float(np.median(np.diff(longest)))
        made.append(Positions(line.axis, len(longest), float(longest[0]), step, float(longest[-1])))
    frame, row, column = made
    t, h, w = (line.theta for line in reading.lines)
    direction = "forward" if reading.sign > 0 else "swapped" if reading.quarters == 3 else "backward"
    return Convention(
        pairing, reading.split, (t, h, w), (frame, row, column), reading.order, direction, reading.scale, turned
    )


def _check_rotation(f: Any, form: Form, rope: Rope3D, text: int) -> RopeReport:
    turn, lengths = settle(f, form, rope, text)
    measured, found = turn, []
    grids, scored = measure.probes(rope), _score_grid(rope)
    lengths = lengths if lengths < 0.02 else lengths_change(turn, scored)
    if form.kind == "apply" and lengths > 0.02 and (own := own_layout(turn)) is not None:
        measured = own
        found.append(faults.mixed(own.way.layout, rope.pairing, lengths))
    follows, more = _see(measured, rope, grids, lengths)

    def turned(x: Floats, which: int) -> Floats:
        out: Floats = turn(x[None], x[None], scored)[which][0]
        return out

    error = _scores(rope, scored, turned, text)
    return RopeReport(form.words, rope.name, turn.way.words, follows, (*found, *more), error, grids)


def _see(
    turn: Rotation, rope: Rope3D, grids: tuple[Sizes, ...], lengths: float
) -> tuple[Convention | None, list[Departure]]:
    try:
        pairs = measure.see_pairs(turn, 0)
        keys = measure.see_pairs(turn, 1)
    except Unreadable as error:
        return None, [_lost(str(error), rope)]
    found: list[Departure] = []
    which = 0
    if bool(pairs) != bool(keys):
        which = int(not pairs)
        one, other = ("key", "query") if which else ("query", "key")
        found.append(
            Departure(
                f"{one}-only", f"only the {one} is turned, the {other} is not, so scores depend on where tokens "
                "stand and not on distances", f"turn the {other} with the same tables",
            )
        )  # fmt: skip
    pairs = keys if which else pairs
    if not pairs:
        return None, [_said(measure.still())]
    small, *seen = (measure.see_rotation(turn, which, pairs, sizes) for sizes in (measure.SMALL, *grids))
    if len(found) == 0:
        found += unlike(turn, pairs, keys, grids)
    found += text_turned(seen)
    says = _turned_words(rope, turn.text, any(d.code == "text" for d in found))
    layout = measure.twins(small.columns, rope)
    if layout is None:
        found.append(_no_rotation(small, pairs, rope))
        return None, found
    if not set(pairs) <= set(layout):
        turned, laid = (faults.pairing_of(p, rope) for p in (pairs, layout))
        found.append(faults.mixed(turned, laid, lengths))
    numbers = [s.columns[:, [a for a, _ in layout]] for s in seen]
    follows, more = _read(rope, grids, numbers, layout, pairs, says)
    found += more
    if not found and (strange := beyond_turning(turn, small, pairs)) is not None:
        found.append(_lost(strange, rope))
    return follows, found


def _lost(why: str, rope: Rope3D) -> Departure:
    return Departure(
        "unknown", f"{why}, and no fault known here explains it",
        f"compare with {faults.called(rope)}.rotate on the same vectors",
    )  # fmt: skip


def _no_rotation(small: Seen, pairs: Pairs, rope: Rope3D) -> Departure:
    import numpy as np

    first, second = [a for a, _ in pairs], [b for _, b in pairs]
    if np.abs(small.columns[:, first] - small.columns[:, second].conj()).max() < 1e-3:
        return Departure(
            "sign",
            "both numbers of a pair get the other one with the same sign, which is no rotation and changes lengths",
            "give the sine a minus in one of the two: (a·cos - b·sin, b·cos + a·sin)",
        )
    return _lost("the two columns of a pair turn by angles that are not laid out for any pairing", rope)


def _turned_words(rope: Rope3D, text: int, also: bool) -> str:
    if rope.placement.text == "none":
        return "video, with no text in the sequence"
    if not text:
        return "video; text was not part of what it was given"
    return "video and text" if also else "video, not text"
