"""Naming how positions along one axis depart from a model's: shifted, stretched, with the endpoint, cropped or not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import pi
from typing import TYPE_CHECKING, Any

from tracer.rope.grids import AXES, Crop, Sizes
from tracer.rope.rope3d import Rope3D
from tracer.rope.scores import score_error, share

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_KNOWN = {180 / pi: "180/π: degrees in place of radians", pi: "π", 2 * pi: "2π"}
TEXT = 16
"""Text tokens that stand beside the video's where a model has them in its sequence."""


@dataclass(frozen=True)
class Misplaced:
    """Positions along one axis that are not the model's. words: what they do, after "positions along the frame";
    runs: them and the model's; effect: a clause about scores.
    """

    axis: str
    code: str
    words: str
    runs: str
    remedy: str
    effect: str = ""


def misplaced(
    i: int, places: Sequence[Floats], grids: Sequence[Sizes], rope: Rope3D, close: float
) -> tuple[Misplaced | None, tuple[Floats, ...]]:
    """What is wrong with positions along axis i, None where they are the model's; and what they are meant to be.

    close: how far a position may be off, in parts of 1 + a twentieth of the longest line.
    """
    import numpy as np

    axis, factor = AXES[i], rope.interpolation.linear[i]
    right = tuple(rope.positions(sizes)[i] / factor for sizes in grids)
    limits = [close * (1 + 0.05 * np.abs(r).max()) for r in right]

    def fits(guess: Sequence[Floats]) -> bool:
        return all(bool((np.abs(g - p) <= limit).all()) for g, p, limit in zip(guess, places, limits, strict=True))

    if fits(right):
        return None, right
    longest = int(np.argmax([len(p) for p in places]))
    worst = int(np.argmax([np.abs(p - r).max() for p, r in zip(places, right, strict=True)]))
    said, should = _run(places[worst]), _run(right[worst])
    versus = f"{said}, and the model's {should} ({'×'.join(map(str, grids[worst]))} tokens)"
    shift = float(np.median(np.concatenate([p - r for p, r in zip(places, right, strict=True)])))
    shift = round(shift * factor, 2) / factor if abs(shift * factor - round(shift * factor, 2)) < close else shift
    if fits([r + shift for r in right]):
        return _shifted(i, shift, rope, versus), tuple(r + shift for r in right)
    rise = [(np.ptp(p), np.ptp(r)) for p, r in zip(places, right, strict=True)]
    by = float(sum(p for p, _ in rise) / sum(r for _, r in rise)) * (
        1 if places[longest][-1] >= places[longest][0] else -1
    )
    short = [n for digits in (1, 2) for n in (round(by, digits), 1 / (round(1 / by, digits) or 1.0))] if by else []
    by = next((n for n in short if abs(n / by - 1) < (1e-5 if close < 0.01 else 1e-3)), by)
    starts = float(np.median([p[0] - by * r[0] for p, r in zip(places, right, strict=True)]))
    for code, words, remedy, rule in _rules(i, rope):
        guess = [np.asarray(rule(sizes)) / factor for sizes in grids]
        if fits(guess):
            return Misplaced(axis, code, words, versus, remedy), tuple(guess)
    for start in (0.0, starts):
        scaled = [start + by * r for r in right]
        if fits(scaled) and by > 0:
            also = f", from {start:.4g}" if abs(start) > close else ""
            known = next((f", which is {words}" for n, words in _KNOWN.items() if abs(by / n - 1) < 1e-4), "")
            how = f"divided by {1 / by:.4g}, as linear interpolation does" if by < 1 else f"multiplied by {by:.4g}"
            how += known
            back = "use positions as they are" if factor == 1 else f"divide positions by {factor:g}, no other number"
            return Misplaced(axis, "scaled", f"are {how}{also}", versus, back), tuple(scaled)
    return Misplaced(axis, "positions", "are others", versus, f"use {rope.grid.words}"), tuple(places)


def _run(places: Floats) -> str:
    said = [f"{round(float(p), 3) + 0.0:g}" for p in (*places[:2], places[-1])]
    return f"{said[0]}, {said[1]}, ..., {said[2]}" if len(places) > 2 else ", ".join(said[:2])


def _shifted(i: int, shift: float, rope: Rope3D, versus: str) -> Misplaced:
    import numpy as np

    axis = AXES[i]
    sizes = (2, 3, 4)
    angles = rope.angles(sizes)
    other = angles.copy()
    part = rope.parts[i]
    other[:, part] += shift * rope.frequencies()[i] * rope.interpolation.linear[i]
    text = TEXT if rope.placement.text != "none" else 0
    rng = np.random.default_rng(0)
    q, k = rng.standard_normal((2, len(angles) + text, rope.head_dim))
    # Text goes last here: where it stands does not change a score.
    both = [rope.laid_out(np.concatenate([a, np.zeros((text, angles.shape[1]))])) for a in (angles, other)]
    plain, moved = ((rope.apply(q, tables), rope.apply(k, tables)) for tables in both)
    error = score_error(plain, moved, video=(0, len(angles)))
    cost = "scores among video tokens stay as they are"
    cost += (
        "; no text stands in the sequence to notice it" if error.text is None else
        f", those between video and text, which is not turned, are off by {share(error.text)} of their root mean square"
    )  # fmt: skip
    first, last = ("less", "add") if shift < 0 else ("more", "take away")
    amount = f"{abs(shift):.4g}"
    words = f"are {amount} {first} than they should be"
    return Misplaced(axis, "shift", words, versus, f"{last} {amount}", cost)


Rule = tuple[str, str, str, Callable[[Sizes], Any]]


def _rules(i: int, rope: Rope3D) -> list[Rule]:
    """Ways to place tokens that are known to be taken for the model's: code, words, remedy, positions at a grid."""
    import numpy as np

    grid = rope.grid
    crop = isinstance(grid, Crop) and i > 0

    def ends(sizes: Sizes) -> tuple[float, float]:
        if isinstance(grid, Crop):
            first, end = grid.region(sizes)
            return (0.0, float(sizes[0])) if i == 0 else (float(first[i - 1]), float(end[i - 1]))
        return grid.first[i], grid.first[i] + sizes[i]

    def own(sizes: Sizes) -> Any:
        return rope.positions(sizes)[i]

    step = "stop·(n - 1)/n is the last position, as linspace(start, stop·(n - 1)/n, n) gives" if crop else (
        "leave the end out: arange(n), or linspace(0, n, n + 1)[:n]")  # fmt: skip
    out: list[Rule] = [
        ("endpoint", "include the end of the range", step, lambda s: np.linspace(*ends(s), s[i])),
        ("flipped", "run backward", "count from the first token", lambda s: own(s)[::-1]),
        ("reversed", "are negative", "change their sign", lambda s: -own(s)),
        ("centred", "are centred on 0", "count from the first token", lambda s: own(s) - own(s).mean()),
        ("unit", "are squeezed into 0 to 1", "use positions in tokens", lambda s: np.linspace(0, 1, s[i])),
        ("unit", "are squeezed into 0 to 1", "use positions in tokens", lambda s: np.arange(s[i]) / s[i]),
        ("unit", "are squeezed into -1 to 1", "use positions in tokens", lambda s: np.linspace(-1, 1, s[i])),
    ]
    if crop:
        base = grid.base if isinstance(grid, Crop) else (1, 1)
        out += [
            ("grid", "are whole numbers", f"spread them over a crop of {base[0]}×{base[1]}",
             lambda s: np.arange(s[i], dtype=float)),
            ("endpoint", "stop one step below the end of the crop", step,
             lambda s: np.linspace(*ends(s), s[i] + 1)[:-1]),
            ("grid", "are spread over the whole base grid, without a crop", "keep the proportions of the request",
             lambda s: np.arange(s[i]) * base[i - 1] / s[i]),
            ("grid", "begin at 0, not where the crop begins", "begin at the first row or column of the crop",
             lambda s: own(s) - own(s)[0]),
            ("grid", "are cropped from a base grid of rows and columns swapped", f"use a base of {base[0]}×{base[1]}",
             lambda s: Crop((base[1], base[0])).positions(s)[i]),
        ]  # fmt: skip
    elif rope.trained is not None:
        n = rope.trained[i]
        out += [
            ("grid", f"are spread over the trained {n}", "use whole numbers",
             lambda s: np.arange(s[i]) * n / s[i]),
            ("grid", f"are spread over the trained {n}", "use whole numbers",
             lambda s: np.linspace(0, n - 1, s[i])),
            ("grid", "are spread over a crop of the trained grid, as CogVideoX 1.0 does", "use whole numbers",
             lambda s: Crop(rope.trained[1:]).positions(s)[i] if rope.trained else own(s)),
        ]  # fmt: skip
    return out
