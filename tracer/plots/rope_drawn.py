"""How the figures of a rope are drawn onto a figure or a part of one; `tracer.plots.rope` says which."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import floor, pi
from typing import TYPE_CHECKING, Any

from tracer.plots.picture import HEAT, INK, LIGHT
from tracer.plots.rope_text import positions_of
from tracer.rope import anatomy
from tracer.rope.grids import AXES, Sizes
from tracer.rope.rope3d import KINDS, Rope3D

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.ticker import Locator

    Room = Figure | SubFigure

_TURNS: dict[anatomy.Kind, tuple[str, Any]] = {
    "whole": ("a full turn or more", "full"),
    "half": ("half a turn or more", "left"),
    "less": ("less than half a turn", "none"),
}
"""Of a pair -> words, and how its dot is filled."""


def lanes(fig: Room, entries: Sequence[tuple[Rope3D, Sizes]]) -> None:
    """A lane for each axis and rope: dots for its pairs, a bar for the positions that the tokens fill."""
    axes = fig.subplots()
    y, leftmost, rightmost = 0.0, 1.0, 1.0
    found = [(rope, sizes, anatomy.bands(rope, sizes)) for rope, sizes in entries]
    for _, _, every in found:
        leftmost = min(leftmost, 0.6 * every[0].reach / every[0].frequency)
        rightmost = max(rightmost, 1.6 * max(band.wavelength for band in every))
    for i, axis in enumerate(AXES):
        for rope, sizes, every in found:
            own = [band for band in every if band.axis == axis]
            extent = own[0].reach / own[0].frequency
            name = f"{axis}, {rope.name}" if len(found) > 1 else axis
            said = positions_of(extent) if extent == sizes[i] else f"{sizes[i]} tokens on {positions_of(extent)}"
            trained = rope.grid.extent(rope.trained)[i] if rope.trained else 0
            _lane(axes, y, (name, axis, said), own, (leftmost, extent, trained))
            y -= 1.0
        y -= 0.15 * (len(found) > 1)
    for words, fill in _TURNS.values():
        axes.plot([], [], "o", color=INK, fillstyle=fill, markerfacecoloralt="none", label=words)
    axes.legend(loc="lower left", bbox_to_anchor=(-0.01, 0.98), ncols=3, handletextpad=0.1, columnspacing=1.2)
    axes.set_xscale("log")
    axes.set_xlim(leftmost, rightmost)
    axes.set_ylim(y + 0.45, 0.62)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(_counted)
    axes.xaxis.set_minor_formatter(lambda value, at: "")
    axes.set_xlabel("wavelength: positions for one whole turn")


def _counted(value: float, at: float) -> str:
    return f"{value:,.0f}" if value >= 1 else f"{value:g}"


def _whole() -> Locator:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator("auto", steps=[1, 2, 5, 10], integer=True)


def _lane(
    axes: Axes, y: float, words: tuple[str, str, str], own: Sequence[anatomy.Band], bar: tuple[float, float, float]
) -> None:
    (name, axis, said), (left, extent, trained) = words, bar
    colour = LIGHT[axis]
    axes.fill_between([left, extent], y - 0.17, y + 0.17, color=colour, alpha=0.22, linewidth=0)
    axes.fill_between([extent, 2 * extent], y - 0.17, y + 0.17, color=colour, alpha=0.1, linewidth=0)
    axes.plot([extent, extent], [y - 0.24, y + 0.24], color=colour, linewidth=2)
    if trained and trained != extent:
        axes.plot([trained, trained], [y - 0.24, y + 0.24], color=INK, linewidth=1.3, linestyle=(0, (2, 1.5)))
    said += ", as trained" if trained == extent else f", trained on {trained:g}" if trained else ""
    near = min(extent, trained or extent)
    axes.text(near, y - 0.27, said, va="top", ha="left", fontsize=8.5)
    axes.plot([left, own[-1].wavelength], [y, y], color=colour, linewidth=0.7, alpha=0.6, zorder=1)
    for kind, (told, fill) in _TURNS.items():
        group = [band.wavelength for band in own if band.kind == kind]
        axes.plot(
            group, [y] * len(group), "o", color=colour, fillstyle=fill, markerfacecoloralt="none",
            gid=f"{name}: {told}",
        )  # fmt: skip
    kinds = [band.kind for band in own]
    counts = f"a full turn: {kinds.count('whole')} of {len(own)} pairs, less than half a turn: {kinds.count('less')}"
    side = axes.get_yaxis_transform()
    axes.text(0, y + 0.3, name, transform=side, color=colour, weight="bold", va="bottom")
    axes.text(1, y + 0.3, counts, transform=side, ha="right", va="bottom", fontsize=8.5)


def likeness(fig: Room, lines: Sequence[Any], plane: Any, at: Sizes) -> None:
    """Similarity along the three axes (T,), (H,), (W,), and over a frame (H, W), for the query's token."""
    left, right = fig.subplots(1, 2, width_ratios=(1.1, 1))
    for i in (2, 1, 0):  # rows over columns: with equal parts of a head both lines are one
        away = [n - at[i] for n in range(len(lines[i]))]
        look = _LINES[AXES[i]]
        left.plot(away, lines[i], color=LIGHT[AXES[i]], markersize=3.5, label=AXES[i], gid=AXES[i], **look)
    left.set_xlabel("key - query, tokens along the axis")
    left.set_ylabel("mean cosine, q·k/|q|²")
    left.legend(
        loc="lower left", bbox_to_anchor=(-0.02, 0.99), ncols=3, handlelength=1.8, columnspacing=1.2, reverse=True
    )
    _heat(right, plane, at)


_LINES: dict[str, dict[str, Any]] = {
    "frame": {"marker": "o"},
    "row": {"linestyle": (0, (4, 1.5))},
    "column": {"linewidth": 3.4, "alpha": 0.55},
}


def _heat(axes: Axes, plane: Any, at: Sizes) -> None:
    """A plane (H, W) as cells that are the clearer the less alike: what shows through is the page."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    colour = to_rgb(HEAT)
    clear = LinearSegmentedColormap.from_list("clear", [(*colour, 0.0), (*colour, 1.0)])
    low = floor(10 * float(plane.min()) - 1e-9) / 10
    image = axes.imshow(plane, cmap=clear, vmin=low, vmax=1.0, interpolation="none", aspect="equal")
    axes.plot([at[2]], [at[1]], "+", color=INK, markersize=8, markeredgewidth=1.5)
    axes.set_xlabel("column")
    axes.set_ylabel("row")
    axes.set_title(f"frame {at[0]}", loc="left")
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8, pad=0.03)
    bar.outline.set_linewidth(0.6)


_LOOKS: dict[str, dict[str, Any]] = {
    "none": {"linestyle": "-", "marker": "o", "markersize": 7, "fillstyle": "none"},
    "linear": {"linestyle": "--", "marker": "s", "markersize": 3.5},
    "ntk": {"linestyle": ":", "marker": "^", "markersize": 7, "fillstyle": "none"},
}
"""Line and marker of each interpolation; all three can be told where they lie on one point."""


def stretched(fig: Room, rope: Rope3D, sizes: Sizes) -> None:
    """For each axis: the finest step, the turns of every pair, the similarity over distances."""
    trained = rope.trained
    assert trained is not None  # stretches has refused it
    found = anatomy.stretches(rope, sizes)
    every = anatomy.bands(rope, sizes)
    first = (0, 0, 0)
    before = anatomy.similarity(rope, trained, first)
    after = {kind: anatomy.similarity(rope.stretched(kind, sizes), sizes, first) for kind in KINDS}
    grid = fig.subplots(3, 3, height_ratios=(0.75, 2, 1.7), sharey="row")
    for i, axis in enumerate(AXES):
        colour = LIGHT[axis]
        own = [n for n, band in enumerate(every) if band.axis == axis]
        steps, reaches, alike = grid[:, i]
        steps.set_title(f"{axis}: {trained[i]} → {sizes[i]}", color=colour, weight="bold", loc="left")
        _finest(steps, {one.kind: one.finest[i] for one in found}, colour)
        _reaches(reaches, found, own, colour)
        alike.plot(range(trained[i]), before[i], color=INK, linewidth=4, alpha=0.25, gid="trained")
        for kind in KINDS:
            look = {**_LOOKS[kind], "markevery": [sizes[i] - 1]}
            alike.plot(range(sizes[i]), after[kind][i], color=colour, linewidth=1.4, gid=kind, **look)
        alike.xaxis.set_major_locator(_whole())
        alike.set_xlabel("tokens apart")
    grid[0, 0].set_ylabel("finest\nstep", rotation=0, ha="right", va="center")
    grid[1, 0].set_ylabel("turns over the grid")
    grid[2, 0].set_ylabel("mean cosine, q·k/|q|²")


def _finest(axes: Axes, steps: dict[str, float], colour: str) -> None:
    """How far neighbouring tokens are turned apart, over the same in training; also the key to lines and markers."""
    for y, (kind, look) in enumerate(_LOOKS.items()):
        axes.plot([0, steps[kind]], [-y, -y], color=colour, markevery=[1], gid=kind, **look)
        axes.annotate(
            f"{steps[kind]:.3g}",
            (steps[kind], -y),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.set_yticks([0, -1, -2], list(KINDS))
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(-2.5, 0.5)
    axes.set_xlim(0, 1.3 * max(*steps.values(), 1.0))
    axes.set_xticks([0, 1])
    axes.spines["left"].set_visible(False)


def _reaches(axes: Axes, found: Sequence[anatomy.Stretch], own: Sequence[int], colour: str) -> None:
    pairs_ = range(len(own))
    then = [found[0].trained[n] / (2 * pi) for n in own]
    axes.fill_between(pairs_, [min(t, 0.5) for t in then], 0.5, color=INK, alpha=0.1, linewidth=0)
    axes.plot(pairs_, then, color=INK, linewidth=4, alpha=0.25, gid="trained")
    for one in found:
        axes.plot(
            pairs_, [one.reach[n] / (2 * pi) for n in own], color=colour, linewidth=1.4, gid=one.kind,
            markevery=max(1, len(own) // 7), **_LOOKS[one.kind],
        )  # fmt: skip
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=(0, (4, 2)))
    axes.annotate(
        "half a turn", (1, 0.5), xycoords=("axes fraction", "data"), xytext=(0, 2), textcoords="offset points",
        ha="right", fontsize=8.5,
    )  # fmt: skip
    if then[-1] < 0.1:
        axes.annotate(
            "unseen", (1, 0.5), xycoords=("axes fraction", "data"), xytext=(0, -3), textcoords="offset points",
            ha="right", va="top", fontsize=8.5,
        )  # fmt: skip
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(_counted)
    axes.tick_params(axis="y", which="minor", left=False)
    axes.xaxis.set_major_locator(_whole())
    axes.set_xlabel("pair, fast to slow")


def strips(fig: Room, ropes: Sequence[Rope3D]) -> None:
    """A head's columns for each rope, with an arc between every two that turn together."""
    widest = max(rope.head_dim for rope in ropes)
    highs = heights(ropes)
    grid = fig.subplots(len(ropes), 1, sharex=True, squeeze=False, height_ratios=highs)[:, 0]
    for axes, rope, high in zip(grid, ropes, highs, strict=True):
        _strip(axes, rope, widest, high)
        if len(ropes) > 1:
            axes.set_title(f"{rope.name}: {rope.pairing}", loc="left")


def heights(ropes: Sequence[Rope3D]) -> list[float]:
    """Of each strip with its arcs and words, beside 1 for an arc across half of the widest head."""
    widest = max(rope.head_dim for rope in ropes)
    return [0.78 + max(_height(*pair, widest) for pair in rope.pairs) for rope in ropes]


def _height(first: int, second: int, widest: int) -> float:
    """Of the arc between two columns: of neighbours low, yet to be seen; 1 across half of the widest head."""
    return 0.22 + 0.78 * (abs(second - first) - 1) / max(1, widest // 2 - 1)


def _strip(axes: Axes, rope: Rope3D, widest: int, high: float) -> None:
    from matplotlib.patches import Rectangle

    every = anatomy.bands(rope, (1, 1, 1))
    for axis in AXES:
        own = [band.columns for band in every if band.axis == axis]
        far = own[0][1] - own[0][0] > 1
        _arcs(axes, axis, own, widest, linewidth=0.6 if far else 1.1, gid=axis)
        if far:  # arcs of one length run into each other at the top: two of them lead the eye
            _arcs(axes, axis, [own[0], own[-1]], widest, linewidth=1.9, gid=f"{axis}: first and last")
    for axis, first, end in _runs(every, rope.head_dim):
        axes.add_patch(Rectangle((first, -0.2), end - first, 0.2, facecolor=LIGHT[axis], edgecolor="none"))
        axes.text((first + end) / 2, -0.68, f"{axis}\n{first}-{end - 1}", color=LIGHT[axis], ha="center", va="bottom",
                  fontsize=8.5, linespacing=1.1)  # fmt: skip
    axes.set_xlim(-0.5, widest + 0.5)
    axes.set_ylim(-0.72, high - 0.72)
    axes.set_axis_off()


def _arcs(axes: Axes, axis: str, pairs: Sequence[tuple[int, int]], widest: int, **look: Any) -> None:
    """Parabolas from the middle of one column to that of another, as one path."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    points, codes = [], []
    for first, second in pairs:
        peak = ((first + second + 1) / 2, 2 * _height(first, second, widest))
        points += [(first + 0.5, 0.0), peak, (second + 0.5, 0.0)]
        codes += [Path.MOVETO, Path.CURVE3, Path.CURVE3]
    axes.add_patch(PathPatch(Path(points, codes), facecolor="none", edgecolor=LIGHT[axis], **look))


def _runs(every: Sequence[anatomy.Band], head_dim: int) -> Iterator[tuple[str, int, int]]:
    """(axis, first, end) for columns next to each other that belong to one axis."""
    owner = [""] * head_dim
    for band in every:
        for column in band.columns:
            owner[column] = band.axis
    start = 0
    for axis, run in groupby(owner):
        end = start + len(list(run))
        yield axis, start, end
        start = end
