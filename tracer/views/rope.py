"""A rope in the terminal: its axes and tables, then its bands, similarities and stretching in characters."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.text import Text

from tracer.rope import said
from tracer.rope.scores import said_of, share
from tracer.rope.signs import END, MARKS, Scale, arrow, counts, shaded, sparkline, spread
from tracer.rope.variants import CHANGES

if TYPE_CHECKING:
    from tracer.rope.anatomy import Axis, Stretch
    from tracer.rope.scores import Moved
    from tracer.rope.showing import Compared, Shown

_LABEL = 15
"""Columns of what a line is about."""
_NARROWEST = 10
"""Columns that a picture has on any terminal."""
_COLOURS = {"frame": "cyan", "row": "green", "column": "magenta"}
_FIRST = 5
"""Columns of the first table of axes where there are two: what a pair is, before how it turns."""
_MOST_PAIRS, _MOST_ROWS = 12, 24
"""Pairs whose arrows are shown, and rows of the plane."""


def renderable(shown: Shown, width: int = 100, *, turns: bool = False, plane: bool = False) -> RenderableType:
    """A rope for a terminal of that width; turns and plane: these pictures in place of the others."""
    parts: list[RenderableType] = [*_head(shown, width), Text("")]
    if turns:
        parts += [*_turns(shown, width), Text("")]
    if plane:
        parts += [*_plane(shown, width), Text("")]
    if not turns and not plane:
        parts += [*_axes(shown, width), Text(""), *_facts(shown, width), Text("")]
        parts += [*_bands([("", shown)], width), Text(""), *_similarity(shown, width), Text("")]
        parts += [*_trained(shown, width), Text("")]
    return Group(*parts[:-1])


def compared(both: Compared, width: int = 100) -> RenderableType:
    """Two ropes side by side: what differs in bold, what is equal in one paragraph."""
    names = (both.first.rope.name, both.second.rope.name)
    sides = (said.compared(both.first), said.compared(both.second))
    same = [f"{label} {a}" for (label, a), (_, b) in zip(*sides, strict=True) if a == b and a]
    parts: list[RenderableType] = [*_beside("", names, width, "bold underline")]
    for (label, a), (_, b) in zip(*sides, strict=True):
        if a != b:
            parts += _beside(label, (a or "-", b or "-"), width, "bold")
    parts.append(Text(""))
    if same:
        parts += [*_paragraph("equal", "; ".join(same) + ".", width, "dim"), Text("")]
    parts += [*_bands(list(zip(names, (both.first, both.second), strict=True)), width), Text("")]
    parts += _moved(both.moved, names, width)
    sources = [shown.rope.source for shown in (both.first, both.second)]
    if sources[0] == sources[1]:
        parts += _paragraph("code", sources[0], width, "dim")
    else:
        parts += [
            x for two in zip(names, sources, strict=True) for x in _paragraph("code", ": ".join(two), width, "dim")
        ]
    for name, shown in zip(names, (both.first, both.second), strict=True):
        parts += [_wrapped(f"! {name}: {warning}", width, "yellow") for warning in shown.warnings]
    return Group(*parts)


def _beside(label: str, cells: tuple[str, str], width: int, style: str) -> list[Text]:
    """A fact of two ropes, each in its column."""
    room = max(_NARROWEST, (width - _LABEL - 1) // 2)
    left, right = (textwrap.wrap(cell, room, break_on_hyphens=False) for cell in cells)
    out = []
    for i, (a, b) in enumerate(zip_longest(left, right, fillvalue="")):
        text = Text((label if i == 0 else "").ljust(_LABEL - 1), "dim").append(a, f"not dim {style}")
        text.append(" " * (room + 2 - cell_len(a))).append(b, f"not dim {style}")
        text.rstrip()
        out.append(text)
    return out


def _head(shown: Shown, width: int) -> list[Text]:
    family = shown.family
    rest = f" · {family.title} · {family.model}" if family else f" · {shown.known.what or 'a rope of your own'}"
    title = _wrapped(shown.name + rest, width)
    title.stylize("bold", 0, len(shown.name))
    lines = [title]
    for change in shown.changes:
        idle = f"; {_idle(shown, change)}" if change in shown.idle else ""
        lines.append(_wrapped(f"variant {change}: {CHANGES[change]}{idle}", width, "yellow"))
    request = said.asked(shown)
    head, one = f"head of d = {shown.rope.head_dim} numbers", said.one_token(shown)
    if request:
        lines.append(_phrases([*f"{request} → {said.latents(shown)}".split(" · "), head], width))
        lines.append(_phrases([said.tokens(shown), f"one token is {one}"], width))
    else:
        others = "grid=(T, H, W) gives others" if shown.own else "--grid T H W gives others"
        lines.append(_phrases([said.tokens(shown), head, others], width))
    return [*lines, *(_wrapped(f"! {warning}", width, "yellow") for warning in shown.warnings)]


def _idle(shown: Shown, change: str) -> str:
    """Why a change changes nothing."""
    if change not in ("linear", "ntk"):
        return f"{shown.name} has that already, so nothing is changed"
    return "nothing is changed within that grid" + (f", {shown.further} goes beyond" if shown.further else "")


def _axes(shown: Shown, width: int) -> list[Text]:
    """A row for each axis; several tables below each other where one is too wide."""
    axes = shown.axes
    seen = "in the video" if shown.family is None or shown.family.video else "in pixels"
    columns = [
        ("numbers", [str(a.numbers) for a in axes]),
        ("pairs", [str(len(a.pairs)) for a in axes]),
        ("columns", [said.first_and_last_pair(a) for a in axes]),
        ("positions", [said.span(a.positions) for a in axes]),
        ("theta", [_theta(a, shown) for a in axes]),
        ("wavelength", [said.span(a.wavelengths) for a in axes]),
        (seen, [said.wavelengths_in_video(a) for a in axes]),
        ("whole turns", [said.span(a.turns) for a in axes]),
    ]
    columns = [(name, cells) for name, cells in columns if any(cells)]
    names = [Text(axis.name, _COLOURS[axis.name]) for axis in axes]
    return [line for part in _folded(columns, names, width) for line in _table(part, names)]


Column = tuple[str, Sequence[str]]


def _folded(columns: Sequence[Column], names: Sequence[Text], width: int) -> list[list[Column]]:
    """Columns of a table, or of some below each other that fit the width; where two do, _FIRST go first."""
    label = max(map(len, names))
    wide = [max(map(cell_len, (name, *cells))) + 2 for name, cells in columns]
    if label + sum(wide) <= width:
        return [list(columns)]
    parts: list[list[Column]] = [[]]
    room = width - label
    for i, (column, size) in enumerate(zip(columns, wide, strict=True)):
        if parts[-1] and (size > room or (i == _FIRST and len(parts) == 1)):
            parts.append([])
            room = width - label
        parts[-1].append(column)
        room -= size
    return parts


def _table(columns: Sequence[Column], names: Sequence[Text]) -> list[Text]:
    """Columns of numbers under headings, each row behind its name."""
    wide = max(map(len, names)) + 2
    sizes = [max(map(cell_len, (heading, *cells))) for heading, cells in columns]

    def row(cells: Iterable[str]) -> str:
        return "  ".join(cell.rjust(size) for cell, size in zip(cells, sizes, strict=True)).rstrip()

    out = [Text(" " * wide + row(heading for heading, _ in columns), style="dim")]
    for i, name in enumerate(names):
        out.append(Text.assemble(name, " " * (wide - len(name)), row(cells[i] for _, cells in columns)))
    return out


def _theta(axis: Axis, shown: Shown) -> str:
    then = shown.rope.theta
    return said.figure(then) + (f" → {said.figure(axis.theta)}" if axis.theta != then else "")


def _facts(shown: Shown, width: int) -> list[Text]:
    rope = shown.rope
    lines = [
        ("pairing", said.pairing(shown)),
        ("positions", said.positions(shown)),
        ("interpolation", rope.interpolation.words),
        ("rotated", said.rotated(shown)),
        ("tables", said.tables(shown)),
        ("memory", said.memory(shown)),
        ("code", rope.source),
        ("remark", rope.remark),
    ]
    out = [text for label, words in lines if words for text in _paragraph(label, words, width)]
    if shown.changes and set(shown.idle) != set(shown.changes):
        published = "the published" if shown.family else "the plain"
        out += _moved(shown.moved, (f"{published} {shown.name}", rope.name), width)
    return out


def _bands(ropes: Sequence[tuple[str, Shown]], width: int) -> list[Text]:
    """One sign for each pair at its wavelength; several ropes axis by axis on one scale."""
    axes = [axis for _, shown in ropes for axis in shown.axes]
    label = max(len(_axis_label(name, axis)) for name, shown in ropes for axis in shown.axes) + 2
    tail = max(cell_len(counts(axis)) for axis in axes) + 2
    scale = Scale(axes, max(_NARROWEST, width - label - tail))
    out = _title("Bands", "the wavelength of each pair in positions, fast to slow", width)
    for i in range(3):
        for name, shown in ropes:
            axis = shown.axes[i]
            text = Text(_axis_label(name, axis).ljust(label))
            text.append(scale.line(axis), _COLOURS[axis.name]).append("  " + counts(axis))
            out.append(text)
    out.append(Text(" " * label + scale.ticks(), style="dim"))
    legend = " · ".join([*(f"{sign} {words}" for sign, words in MARKS.items()), f"{END} length of the grid"])
    return [*out, _wrapped(legend, width, "dim")]


def _axis_label(name: str, axis: Axis) -> str:
    return f"{axis.name} {name}".strip()


def _similarity(shown: Shown, width: int) -> list[Text]:
    low = min(min(axis.similarity) for axis in shown.axes)
    out = _title("Similarity", "mean cosine of all pairs between tokens 0, 1, 2, … apart", width)
    tails = []
    for axis in shown.axes:
        lowest = min(axis.similarity)
        end = f"{axis.similarity[-1]:.3f} at {axis.tokens - 1}"
        few = axis.tokens == 1
        tails.append("one token" if few else f"{end}, lowest {lowest:.3f} at {axis.similarity.index(lowest)}")
    room = max(_NARROWEST, width - 10 - max(map(len, tails)))
    for axis, tail in zip(shown.axes, tails, strict=True):
        line = sparkline(axis.similarity, low, room)
        out.append(Text.assemble(axis.name.ljust(8), (line, _COLOURS[axis.name]), "  ", tail))
    return [*out, *([Text(f"▁ {low:.3f} · █ 1", style="dim")] if low < 1 else [])]


def _trained(shown: Shown, width: int) -> list[RenderableType]:
    """How far training reached; beyond it, what stretching does."""
    if shown.rope.trained is None:
        return [_wrapped("No grid is known that it was trained on, so there is nothing to stretch from.", width, "dim")]
    published = "Published" if shown.family else "Trained"
    if not shown.beyond:
        more = f" show-rope {shown.name} {shown.further} goes beyond." if shown.further else ""
        closer = ", with tokens closer together" if shown.closer else ""
        return [_wrapped(f"{published} with {said.trained(shown)}; this request stays within{closer}.{more}", width)]
    grids = f"{said.trained(shown)}, to {'×'.join(map(str, shown.sizes))}: frame/row/column"
    out: list[RenderableType] = [*_title("Stretching", f"from the {published.lower()} {grids}", width)]
    kinds = shown.stretches
    factors = ["" if k.kind == "none" else _triple(_factors(shown, k)) for k in kinds]
    columns = [
        ("factor", factors),
        ("finest step", [_triple(k.finest) for k in kinds]),
        ("pairs at new angles", [_triple(k.unseen) for k in kinds]),
        ("new, %", [_triple([100 * f for f in k.fresh]) for k in kinds]),
    ]
    here = next((c for c in shown.changes if c in ("linear", "ntk")), "none")
    names = [Text(k.kind, "bold" if k.kind == here else "") for k in kinds]
    out += [line for part in _folded(columns, names, width) for line in _table(part, names)]
    told = "finest step: how far the fastest pair turns neighbouring tokens apart, over training · pairs at new "
    told += f"angles: out of {'/'.join(str(len(a.pairs)) for a in shown.axes)}, those that some two tokens turn "
    told += "further apart than in training · new: share of the circle, in the mean of an axis' pairs"
    return [*out, _wrapped(told, width, "dim")]


def _factors(shown: Shown, stretch: Stretch) -> list[float]:
    """What the positions or the slowest pair are stretched by, on top of the rope's own interpolation."""
    done, own = (getattr(i, stretch.kind) for i in (stretch.interpolation, shown.known.rope.interpolation))
    return [a / b for a, b in zip(done, own, strict=True)]


def _triple(values: Sequence[float]) -> str:
    return "/".join(said.figure(v) for v in values)


def _turns(shown: Shown, width: int) -> list[Text]:
    """Arrows of some pairs over the tokens of the frame axis, or of the columns where there is one frame."""
    axis = shown.axes[0] if shown.axes[0].tokens > 1 else shown.axes[2]
    chosen = spread(len(axis.pairs), _MOST_PAIRS)
    labels = [f"{axis.pairs[k]}" for k in chosen]
    waves = [said.figure(axis.wavelengths[k]) for k in chosen]
    left, middle = max(map(len, labels)) + 2, max(map(len, [*waves, "wavelength"])) + 2
    room = max(_NARROWEST, width - left - middle)
    gap = 3 if 3 * axis.tokens <= room else 2 if 2 * axis.tokens <= room else 1
    shown_tokens = range(0, axis.tokens, -(-axis.tokens * gap // room))
    every = f", every {shown_tokens.step}th token" if shown_tokens.step > 1 else ""
    out = _title("Turns", f"of the {axis.name} axis' pairs from token to token{every}; each starts at →", width)
    out.append(Text("pair".ljust(left) + "wavelength".rjust(middle - 2), style="dim"))
    for k, label, wave in zip(chosen, labels, waves, strict=True):
        frequency = axis.bands[k].frequency
        cells = [arrow(axis.positions[i] * frequency).ljust(gap) for i in shown_tokens]
        line = "".join(cells).rstrip()
        out.append(Text.assemble(label.ljust(left), wave.rjust(middle - 2), "  ", (line, _COLOURS[axis.name])))
    return out


def _plane(shown: Shown, width: int) -> list[Text]:
    lines, low, steps = shaded(shown.plane, (_MOST_ROWS, width))
    row, column = shown.plane.query
    told = f"within a frame of {'×'.join(map(str, shown.sizes[1:]))} tokens, to the one at row {row}, column {column}"
    if max(steps) > 1:
        told += f"; one of {steps[0]}×{steps[1]} is shown"
    out = _title("Similarity", told, width)
    return [*out, *(Text(line) for line in lines), Text(f"blank {low:.3f} · █ 1", style="dim")]


def _moved(moved: Moved | None, names: tuple[str, str], width: int) -> list[Text]:
    if moved is None:
        return _paragraph("scores", "heads of unequal size: the weights of one do not fit the other.", width)
    off, permuted = moved.error.video, moved.permuted
    grid = "×".join(map(str, moved.grid))
    if off < _SAME:
        why = (
            "both turn its tokens by the same angles"
            if moved.alike
            else "attention sees differences of positions alone"
        )
        words = f"weights of {names[0]} give the same scores under {names[1]} on a grid of {grid}: {why}."
        return _paragraph("scores", words, width)
    words = f"weights of {names[0]} under {names[1]} are off by {share(off)} {said_of(moved.tokens, moved.grid)}."
    if permuted is not None and permuted.video < _SAME:
        words += " The pairing alone does it: with the rows of the q and k projections (and of their norms) in the "
        words += f"order of the other pairing the error is {permuted.video:.0e}."
    elif permuted is not None:
        words += f" With their rows in the order of the other pairing {permuted.video:.2f} remains."
    return _paragraph("scores", words, width)


_SAME = 1e-9
"""Errors of scores below this are rounding."""


def _title(name: str, rest: str, width: int) -> list[Text]:
    text = _wrapped(f"{name}  {rest}", width, "dim")
    text.stylize("not dim bold", 0, len(name))
    return [text]


def _paragraph(label: str, text: str, width: int, style: str = "") -> list[Text]:
    lines = textwrap.wrap(text, max(20, width - _LABEL), break_on_hyphens=False)
    return [
        Text.assemble(((label if i == 0 else "").ljust(_LABEL), "dim"), (line, style)) for i, line in enumerate(lines)
    ]


def _phrases(phrases: Sequence[str], width: int) -> Text:
    """Phrases with dots between them; a line breaks between two phrases where it can."""
    lines = [phrases[0]]
    for phrase in phrases[1:]:
        longer = f"{lines[-1]} · {phrase}"
        lines = [*lines[:-1], longer] if len(longer) <= width else [*lines, phrase]
    return Text("\n").join(_wrapped(line, width) for line in lines)


def _wrapped(text: str, width: int, style: str = "") -> Text:
    """A paragraph without blanks at the ends of its lines."""
    return Text("\n".join(textwrap.wrap(text, max(20, width), break_on_hyphens=False)), style=style)
