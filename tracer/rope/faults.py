"""Naming what departs from a model: a reading beside its rope, one sentence and one remedy for each fault."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from tracer.rope.grids import AXES, Sizes
from tracer.rope.measure import Line, Pairs, Reading, measured_noise, named_pairs, off_by
from tracer.rope.places import Misplaced, misplaced
from tracer.rope.rope3d import PAIRINGS, Rope3D

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Complexes = NDArray[np.complex128]
    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Departure:
    """One way in which a function departs from a model. code: a word for it; remedy: what to do."""

    code: str
    sentence: str
    remedy: str


def called(rope: Rope3D) -> str:
    """How to get at a rope again: by its published name, or as what was given for `like`."""
    from tracer.errors import TracerError
    from tracer.rope.variants import published

    try:
        return f"rope.published('{rope.name}')" if published(rope.name) == rope else "like"
    except TracerError:
        return "like"


def pairing_of(pairs: Pairs, rope: Rope3D, reading: Reading | None = None) -> str | None:
    """The name of a set of pairs, which may lack columns that do not turn; None where it has no name."""
    layouts = dict(named_pairs(rope))
    split = [n for axis, n in reading.split if axis in AXES] if reading else []
    if sum(split) == rope.head_dim and len(split) == 3:
        t, h, w = split
        layouts["half-axis"] = named_pairs(replace(rope, split=(t, h, w)))["half-axis"]
    return next((name for name, known in layouts.items() if set(pairs) <= set(known)), None)


def wrong_pairing(found: str | None, rope: Rope3D, *, table: bool) -> Departure:
    """Columns pair up in another way than the model's weights were trained with."""
    words = PAIRINGS[found] if found else "in a way without a name"
    right = f"{rope.name}'s weights are for {rope.pairing} ones ({PAIRINGS[rope.pairing]})"
    order = rope.permutation(found) if found else []  # type: ignore[arg-type]
    head = ", ".join(map(str, order[:4]))
    tail = (
        f"{', '.join(map(str, order[rope.head_dim // 2 : rope.head_dim // 2 + 2]))}, ..., {order[-1]}" if order else ""
    )
    rows = (
        f"or keep it, and take the rows of the query and key projections (and of the norms on them) within each head "
        f"in the order {called(rope)}.permutation('{found}') = [{head}, ..., {tail}]"
    )
    lay = "lay the tables out" if table else "turn the columns"
    sentence = f"the table is laid out for {found or 'other'} pairs" if table else f"it turns {found or 'other'} pairs"
    return Departure(
        "pairing", f"{sentence} ({words}), and {right}", f"{lay} {rope.pairing}" + (f"; {rows}" if found else "")
    )


def permuted(rope: Rope3D, pairing: str) -> Departure:
    """The remedy of `wrong_pairing` applied backward."""
    return Departure(
        "permutation",
        f"columns are put in the order of {pairing} pairs the wrong way round: what {called(rope)}."
        f"permutation('{pairing}') gives is applied to the result, and its inverse before",
        "take x[..., order] before, and argsort(order) of the result",
    )


def mixed(turned: str | None, laid: str | None, lengths: float) -> Departure:
    """A rotation of one layout with tables of another. lengths: the largest change of a vector's length."""
    return Departure(
        "mixed",
        f"it turns {turned or 'unnamed'} pairs with tables laid out for {laid or 'other'} pairs: the two columns of a "
        "pair then get different angles, which is no rotation, changes lengths of queries and keys by up to "
        f"{100 * lengths:.0f} %, and scores no longer depend on distances alone",
        f"use one layout for both: {turned} tables, or a rotation of {laid} pairs",
    )


def explain(reading: Reading, rope: Rope3D, numbers: list[Complexes]) -> list[Departure]:
    """What departs in a reading of (S, P) numbers at its grids, but for the pairing; empty where nothing does."""
    reading = _whole_turns(reading, rope)
    out = _structure(reading, rope)
    noise = measured_noise(reading, numbers)
    fine = noise < 1e-5
    out += _slow_first(reading)
    departures, lines = _thetas(reading, rope, numbers, 1e-3 if fine else 0.005)
    out += departures
    snapped, wrong = [], []
    for i, line in enumerate(lines):
        if line.pairs:
            fault, places = misplaced(i, line.places, reading.grids, rope, 2e-3 if fine else 0.06)
            wrong += [fault] if fault else []
            line = replace(line, places=places)
        snapped.append(line)
    out += _misplaced(wrong)
    out += _directions(reading, rope)
    return out + _rest(reading, tuple(snapped), numbers, rope, explained=bool(out))


def _whole_turns(reading: Reading, rope: Rope3D) -> Reading:
    """The reading, with pairs that seem still as positions turn them by whole turns given back to their axis."""
    import numpy as np

    axes = list(reading.axes)
    for line, part in zip(reading.lines, rope.parts, strict=True):
        if not line.pairs or line.of != part.stop - part.start:
            continue
        step = float(np.median(np.diff(max(line.places, key=len))))
        for p in range(part.start, min(part.stop, len(axes))):
            turns = step * (line.theta or 1.0) ** (-(p - part.start) / line.of) / (2 * np.pi)
            if axes[p] is None and round(turns) and abs(turns - round(turns)) < 1e-3:
                axes[p] = line.axis
    return replace(reading, axes=tuple(axes))


def _misplaced(wrong: list[Misplaced]) -> list[Departure]:
    """One departure for every way of being misplaced, with all the axes that are."""
    out = []
    for same in dict.fromkeys((m.code, m.words, m.remedy) for m in wrong):
        them = [m for m in wrong if (m.code, m.words, m.remedy) == same]
        axes = " and ".join(", ".join(m.axis for m in them).rsplit(", ", 1))
        runs = "; ".join(m.runs if len(them) == 1 else f"{m.axis} {m.runs}" for m in them)
        effects = "".join(f"; {m.effect}" for m in them[:1] if m.effect)
        code, words, remedy = same
        out.append(Departure(code, f"positions along the {axes} {words}: they run {runs}{effects}", remedy))
    return out


def _structure(reading: Reading, rope: Rope3D) -> list[Departure]:
    out = []
    runs = [(axis, n) for axis, n in reading.split if axis in AXES]
    axes, split = tuple(a for a, _ in runs), tuple(n for _, n in runs)
    if reading.order != AXES and axes == reading.order:
        letters = dict(zip(AXES, "THW", strict=True))
        taken = ", ".join(letters[a] for a in axes)
        out.append(
            Departure(
                "sizes",
                f"sizes (T, H, W) are taken as ({taken}): tokens run {', '.join(axes)}, and the parts of a head turn "
                f"with {', '.join(axes)}, in place of {', '.join(AXES)}",
                f"hand sizes over as ({taken}) where it is called, or exchange them inside",
            )
        )
        axes = AXES
    elif reading.order != AXES:
        said, right = (", ".join(order) for order in (reading.order, AXES))
        out.append(
            Departure(
                "token-order",
                f"tokens run {said} from outermost to innermost; the model's run {right}",
                "flatten the grid of tokens, or permute it before, so that columns are innermost and frames outermost",
            )
        )
    still = sum(axis is None for axis in reading.axes)
    if still:
        out.append(
            Departure(
                "unturned",
                f"{2 * still} of the {rope.head_dim} numbers of a head are not turned; the model turns all",
                f"give every part of {_split(rope.split)} its frequencies",
            )
        )
    if axes != AXES and not (still and set(axes) <= set(AXES) and list(axes) == [a for a in AXES if a in axes]):
        said = ", ".join(f"{n} with the {a}" for a, n in runs[:6]) + (", ..." if len(runs) > 6 else "")
        right = ", ".join(f"{n} with the {a}" for a, n in zip(AXES, rope.split, strict=True))
        out.append(
            Departure(
                "axes",
                f"the parts of a head turn {said}, in this order; the model's turn {right}",
                "join the axes' tables in the order frame, row, column",
            )
        )
    if not still and len(split) == 3 and split != rope.split:
        out.append(
            Departure(
                "split",
                f"the head is split {_split(split)}; the model's split is {_split(rope.split)}",
                f"give frame, row and column {_split(rope.split)} of the {rope.head_dim} numbers of a head",
            )
        )
    return out


def _slow_first(reading: Reading) -> list[Departure]:
    axes = [line.axis for line in reading.lines if line.rising]
    if not axes:
        return []
    return [
        Departure(
            "slow-first",
            f"frequencies along the {' and '.join(', '.join(axes).rsplit(', ', 1))} run from slow to fast; the model's "
            "fall from fast to slow",
            "turn the frequencies of each axis round: theta^(-2k/n) with k from 0 to n/2 - 1",
        )
    ]


def _split(parts: tuple[int, ...]) -> str:
    return "/".join(map(str, parts))


def _same_theta(reading: Reading, i: int, right: float, numbers: list[Complexes]) -> bool:
    """Whether the model's theta explains the numbers of axis i about as well as the measured one does."""
    import numpy as np

    line, lines = reading.lines[i], list(reading.lines)
    rough = grain(numbers)
    grid = int(np.argmax([len(p) for p in line.places]))

    def misses(theta: float | None) -> float:
        lines[i] = replace(line, theta=theta)
        off, angles = off_by(reading, lines, numbers, grid)
        return float((off / tolerance(angles, rough))[:, list(line.pairs)].max())

    off = misses(right)
    return off <= 1 or off < 4 * misses(line.theta)


def _thetas(
    reading: Reading, rope: Rope3D, numbers: list[Complexes], close: float
) -> tuple[list[Departure], list[Line]]:
    """Departures of theta, and the lines with the model's theta where that is what was measured."""
    from math import log

    lines, wrong, whole = [], [], []
    for i, (line, right) in enumerate(zip(reading.lines, rope.thetas(), strict=True)):
        if line.theta is None:
            lines.append(line)
            continue
        near = abs(log(line.theta / right)) < close * max(1.0, log(right))
        if near and _same_theta(reading, i, right, numbers):
            lines.append(replace(line, theta=right))
            continue
        line = replace(line, theta=_round(line.theta, 2e-5 if close < 2e-3 else 0.01))
        lines.append(line)
        wrong.append((line.axis, line.theta or 1.0, right))
        whole.append(abs(log(line.theta or 1.0) - 2 * line.of / rope.head_dim * log(right)) < max(close, 1e-3) * 3)
    if not wrong:
        return [], lines
    some = [line for line in reading.lines if line.theta is not None]
    measured = ", ".join(f"{_figure(t, r)} along the {a}" for a, t, r in wrong)
    same = max(t for _, t, _ in wrong) < min(t for _, t, _ in wrong) * (1 + 4 * close)
    rights = f"{wrong[0][2]:,.5g}" if len({r for *_, r in wrong}) == 1 else ", ".join(f"{r:,.5g}" for *_, r in wrong)
    if all(whole) and len(wrong) == len(some):
        return [
            Departure(
                "exponent",
                f"frequencies are {rights}^(-2k/{rope.head_dim}), with the whole head in the exponent; the model has "
                f"each axis' own part there, {_split(rope.split)}, so that every axis spans fast to slow",
                "divide 2k by the axis' part of the head",
            )
        ], lines
    if same and len(wrong) == len(some):
        said = f"theta is {_figure(wrong[0][1], wrong[0][2])}; the model's is {rights}"
        powers = [log(t) / log(r) for _, t, r in wrong]
        for power, root, taken in ((0.5, "square root", "k/n"), (2.0, "square", "4k/n")):
            if all(abs(p / power - 1) < 2e-3 for p in powers):
                said += f", of which it is the {root}, as an exponent of {taken} in place of 2k/n makes it"
                more = f", or, where it is that already, take 2k/n in the exponent, not {taken}"
                return [Departure("theta", said, f"set theta to {rights}{more}")], lines
        return [Departure("theta", said, f"set theta to {rights}")], lines
    raised = all(t > r for _, t, r in wrong)
    hint = ", raised as ntk interpolation does" if raised else ""
    return [
        Departure(
            "ntk" if raised else "theta",
            f"theta is {measured}{hint}; the model's is {rights}",
            "leave the interpolation out, or load weights that were trained with it" if raised else
            f"set theta to {rights}",
        )
    ], lines  # fmt: skip


def _figure(theta: float, right: float) -> str:
    """A theta with as many digits as tell it from another."""
    few = f"{theta:,.5g}"
    return few if few != f"{right:,.5g}" else f"{theta:,.8g}"


def _round(theta: float, close: float) -> float:
    """The shortest number, or the usual one, that a measured theta is as far as can be told."""
    near = [256.0, *(float(f"{theta:.{digits}e}") for digits in range(3))]
    return next((n for n in near if n > 1 and abs(theta / n - 1) < close), theta)


def _directions(reading: Reading, rope: Rope3D) -> list[Departure]:
    out = []
    if reading.sign < 0 and reading.quarters == 3:
        out.append(
            Departure(
                "swapped",
                "cosines stand where sines belong and sines where cosines belong: every angle is a quarter turn less "
                "what it should be",
                "exchange cos and sin",
            )
        )
    elif reading.sign < 0:
        out.append(
            Departure(
                "direction",
                "pairs turn backward: every angle has the other sign; scores depend on distances with the other sign, "
                "so what comes before and after changes places",
                "change the sign of the sines, or of the rotated half",
            )
        )
    if reading.quarters and not (reading.sign < 0 and reading.quarters == 3):
        out.append(
            Departure(
                "quarter",
                f"every angle has {reading.quarters} quarter turns more than it should",
                "look at which table is the cosine, and at the signs of the rotation",
            )
        )
    return out


def scaled(query: float, key: float, rough: float) -> list[Departure]:
    """A departure where lengths of queries and keys are multiplied. rough: of the values, as `grain` gives it."""
    limit = max(2e-5, 2 * rough)
    if max(abs(query - 1), abs(key - 1)) <= limit:
        return []
    by = query * key
    effect = "which cancel in scores" if abs(by - 1) <= limit else f"so scores are {by:.4g} times what they should be"
    alike = abs(query / key - 1) <= limit
    how = (
        f"lengths are multiplied by {query:.6g}" if alike else
        f"lengths of queries are multiplied by {query:.6g} and those of keys by {key:.6g}"
    )  # fmt: skip
    return [
        Departure(
            "norm", f"{how}, {effect}; a rotation keeps them", "leave the factor out of the tables, or of the rotation"
        )
    ]


def grain(numbers: list[Complexes]) -> float:
    """Rounding that the values themselves show: of bfloat16, float16, or 0 where they are finer."""
    import numpy as np

    values = np.concatenate([part.ravel() for z in numbers for part in (z.real, z.imag)]).astype(np.float32)
    if not (values.view(np.uint32) & 0xFFFF).any():
        return 2.0**-8
    return 2.0**-10 if (np.abs(values.astype(np.float16).astype(np.float32) - values) == 0).all() else 0.0


def tolerance(angles: Any, rough: float) -> Any:
    """How far cos and sin may be off: float32 in positions, frequencies, angles and values, and their own grain."""
    import numpy as np

    return 4e-6 + 3e-7 * np.abs(angles) + rough


def _rest(
    reading: Reading, lines: tuple[Line, ...], numbers: list[Complexes], rope: Rope3D, *, explained: bool
) -> list[Departure]:
    """What the named departures leave unexplained: coarse arithmetic, or something that has no name here."""
    import numpy as np

    rough = grain(numbers)
    worst: tuple[float, Sizes, int, int, float] | None = None
    beyond, growing = False, 0.0
    for grid, sizes in enumerate(reading.grids):
        off, angles = off_by(reading, lines, numbers, grid)
        # What was read off coarse values is itself no finer than they are.
        over = off - tolerance(angles, rough) - (rough * (1 + np.abs(angles)) / 2 if explained else 0.0)
        growing = max(growing, float((np.maximum(off - rough, 0) / (0.1 + np.abs(angles))).max()))
        beyond = beyond or bool((over > 0).any())
        at = np.unravel_index(int(off.argmax()), off.shape)
        if worst is None or off[at] > worst[0]:
            worst = (float(off[at]), sizes, int(at[0]), int(at[1]), float(np.abs(angles).max()))
    if not beyond or worst is None:
        return []
    if growing < 2.0**-7 and worst[4] * growing < 1.5:
        kind = "bfloat16" if growing > 2.0**-9.6 else "float16" if growing > 2.0**-14 else "a coarse float"
        return [
            Departure(
                "precision",
                f"positions, frequencies or angles are computed in {kind}: angles are off by up to {worst[0]:.2g} "
                f"radians, more for larger ones, where float32 gives {3e-7 * worst[4]:.1g}",
                "compute positions, frequencies, angles, cosines and sines in float32 or float64, and cast the tables "
                "afterwards; switch autocast off around it",
            )
        ]
    return [unknown(worst[0], worst[1], worst[2], worst[3], rope, explained=explained)]


def unknown(off: float, sizes: Sizes, token: int, pair: int, rope: Rope3D, *, explained: bool = False) -> Departure:
    """A difference that no fault explains. token, pair: where it is largest."""
    t, rest = divmod(token, sizes[1] * sizes[2])
    h, w = divmod(rest, sizes[2])
    more = "beyond what is named above it differs" if explained else "it differs"
    return Departure(
        "unknown",
        f"{more} by {off:.3g} in cos and sin at token (frame {t}, row {h}, column {w}) of a grid of "
        f"{'×'.join(map(str, sizes))}, pair {pair}, and no fault known here explains it",
        f"compare with {called(rope)}.tables({sizes}) there",
    )
