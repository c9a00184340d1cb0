"""What is said of a rope in words: numbers as people read them, and one line for each fact. Text alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracer.rope.rope3d import PAIRINGS
from tracer.words import amount

if TYPE_CHECKING:
    from tracer.formula import Formula
    from tracer.rope.anatomy import Axis
    from tracer.rope.showing import Shown


def figure(value: float) -> str:
    """A number with three digits or more: 6.28, 136, 54,410."""
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def span(values: Sequence[float]) -> str:
    """First and last of a row."""
    return figure(values[0]) if len(values) == 1 else f"{figure(values[0])} … {figure(values[-1])}"


def times(values: Sequence[float]) -> str:
    """13 × 30 × 45."""
    return " × ".join(figure(v) for v in values)


def asked(shown: Shown) -> str:
    """The request in pixels; empty without a model."""
    r = shown.request
    if r is None or shown.family is None:
        return ""
    frames = f"{r.frames:,} frame{'s' * (r.frames != 1)}" if shown.family.video else "an image"
    return f"{frames} {'at' if shown.family.video else 'of'} {r.height}×{r.width}"


def latents(shown: Shown) -> str:
    """The letters of the request with their numbers; those that not every model has with what they count."""
    words = {"F": "", "H": "", "W": "", "L": "", **shown.beside, **dict.fromkeys(shown.ahead, "history tokens")}
    said = ((f"{x} {shown.values[x]:,}", word) for x, word in words.items() if x in shown.values)
    return " · ".join(f"{number} ({word})" if word else number for number, word in said)


def tokens(shown: Shown) -> str:
    """S as a formula and a number."""
    return f"S = {shown.written(shown.video, short=False)} = {times(shown.sizes)} = {_number(shown, shown.video)}"


def one_token(shown: Shown) -> str:
    """What a token stands for; empty without a model."""
    t, h, w = (axis.per_token for axis in shown.axes)
    if h is None or w is None:
        return ""
    frames = f"{figure(t)} frame{'s' * (t != 1)} × " if t is not None else ""
    return f"{frames}{figure(h)} × {figure(w)} pixels"


def wavelengths_in_video(axis: Axis) -> str:
    """Shortest and longest wavelength in frames or pixels; empty without a model."""
    if axis.in_video is None:
        return ""
    return f"{span(axis.in_video)} {'frames' if axis.name == 'frame' else 'px'}"


def first_and_last_pair(axis: Axis) -> str:
    """The columns of the fastest and the slowest pair."""
    (a, b), (c, d) = axis.pairs[0], axis.pairs[-1]
    return f"({a}, {b})" + (f" … ({c}, {d})" if len(axis.pairs) > 1 else "")


def pairing(shown: Shown) -> str:
    """Which columns turn together."""
    return f"{shown.rope.pairing}, {PAIRINGS[shown.rope.pairing]}"


def positions(shown: Shown) -> str:
    """Where tokens stand, and which stand nowhere."""
    masked = shown.rope.masked
    aside = "" if masked is None else f"; a token with a coordinate of {masked:g} stays as it is"
    return shown.rope.grid.words + aside


def tables(shown: Shown) -> str:
    """What the published code keeps: shapes and dtype."""
    rope = shown.rope
    computed = "" if rope.computed == rope.dtype else f", computed in {rope.computed}"
    if rope.laid == "axes":
        each = ", ".join(f"({axis.tokens:,}, {axis.numbers})" for axis in shown.axes)
        return f"cos and sin for each axis, {each} {rope.dtype}{computed}, looked up by place"
    if rope.laid == "angles":
        each = ", ".join(f"{n:,}" for n in (*shown.sizes, rope.head_dim))
        return f"none of cos and sin; angles, ({each}) {rope.dtype}{computed}"
    number = _number(shown, shown.rows)
    sizes = f"({number}, {rope.head_dim})" if number else f"({shown.written(shown.rows)}, {rope.head_dim})"
    return f"cos and sin, each ({shown.written(shown.rows)}, d) = {sizes} {rope.dtype}{computed}"


def memory(shown: Shown) -> str:
    """Bytes of the tables, three ways; first as they are kept where that is none of them."""
    held = shown.memory
    if held is None:
        return "depends on L; --text-tokens gives it"
    kept = "" if shown.rope.laid == "whole" else f"{amount(held.kept, 'B')} as the code keeps them · "
    return kept + (
        f"{amount(held.whole, 'B')} whole · {amount(held.halved, 'B')} with each angle once · "
        f"{amount(held.axes, 'B')} as a table for each axis"
    )


def rotated(shown: Shown) -> str:
    """Which tokens of the attended sequence turn."""
    place, text = shown.rope.placement, shown.text
    before, after = ([text], []) if place.text == "before" else ([], [text])
    interval = f"[{_row(shown, shown.history, *before)}, {_row(shown, shown.history, *before, shown.video)})"
    numbers = [_number(shown, index) for index in shown.turned]
    said = f"tokens {interval}" + (f" = [{numbers[0]}, {numbers[1]})" if all(numbers) else "")
    if place.text == "none":
        return f"{said}, the whole sequence; text is reached by cross-attention, without angles"
    length = _number(shown, shown.length)
    said += f" of {_row(shown, shown.history, *before, shown.video, *after)}" + (f" = {length}" if length else "")
    if shown.ahead:
        said += f"; the history, [0, {shown.written(shown.history)}), turns as well"
    if place.turned == "all":
        if shown.rope.masked is not None:
            value = f"{shown.rope.masked:g}"
            return f"{said}; text goes through the rotation too; with a coordinate of {value} it comes out as it was"
        return f"{said}; text goes through the rotation too, at position 0, and comes out as it was"
    others = [f"{name} ({letter})" for letter, name in shown.beside.items()]
    kinds = ", ".join(["text (L)", *others]) if others else "text"
    return f"{said}; {kinds} {'stay as they are' if others else 'stays as it is'}"


def _row(shown: Shown, *parts: Formula) -> str:
    """Counts of tokens in the order of the sequence, as a sum."""
    return "+".join(shown.written(part) for part in parts if part.terms) or "0"


def trained(shown: Shown) -> str:
    """The trained grid and its request."""
    if shown.rope.trained is None:
        return ""
    checkpoint = shown.known.checkpoint
    grid = "×".join(map(str, shown.rope.trained)) + " tokens"
    if checkpoint is None or shown.family is None or shown.known.config is None:
        return grid
    r = shown.family.adapt(shown.known.config, checkpoint.request)
    frames = f"{r.frames} frames at " if shown.family.video else ""
    return f"{grid} ({frames}{r.height}×{r.width})"


def _number(shown: Shown, formula: Formula) -> str:
    value = shown.number(formula)
    return "" if value is None else f"{value:,}"


def compared(shown: Shown) -> list[tuple[str, str]]:
    """The facts that two ropes are compared by, one line each."""
    rope = shown.rope
    rows = [
        ("request", asked(shown)),
        ("tokens", tokens(shown)),
        ("one token", one_token(shown)),
        ("head", f"{rope.head_dim} numbers"),
        ("split", "/".join(map(str, rope.split))),
        ("theta", " / ".join(dict.fromkeys(figure(axis.theta) for axis in shown.axes))),
        ("pairing", pairing(shown)),
        ("positions", positions(shown)),
        ("interpolation", rope.interpolation.words),
    ]
    for axis in shown.axes:
        video = wavelengths_in_video(axis)
        rows.append((f"{axis.name} waves", span(axis.wavelengths) + (f" = {video}" if video else "")))
        rows.append((f"{axis.name} turns", span(axis.turns)))
    return [*rows, ("rotated", rotated(shown)), ("tables", tables(shown)), ("memory", memory(shown)),
            ("remark", rope.remark)]  # fmt: skip
