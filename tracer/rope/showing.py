"""show_rope("cogvideox"): a model's rope at a request, with every number that there is to show, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from tracer.errors import BadRequest
from tracer.formula import Formula, abbreviate
from tracer.notation import parse, render
from tracer.rope.anatomy import (
    Axis,
    Memory,
    Plane,
    Stretch,
    bands,
    memory,
    plane,
    relative_similarity,
    stretches,
)
from tracer.rope.asking import check, chosen, several
from tracer.rope.grids import AXES, Sizes
from tracer.rope.rope3d import Rope3D
from tracer.rope.scores import Moved, moved
from tracer.rope.variants import Known, changed, known, token_grid, varied

if TYPE_CHECKING:
    from tracer.families.base import Family, Request

PLAIN_GRID: Sizes = (13, 30, 45)
"""Tokens of a variant without a model where none are asked for: CogVideoX's 49 frames at 480×720."""

WIDTH = 100
"""Columns of a rope that is printed from Python."""


def show_rope(
    model: str | Rope3D | Shown = "cogvideox",
    *,
    variant: str | Sequence[str] | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    text_tokens: int | None = None,
    grid: Sizes | None = None,
) -> Shown:
    """The rope of a family, checkpoint, hub id or plain variant, or one of your own, at a request.

    model: a name, which may carry changes as in 'wan:half', a Rope3D, or what this has returned, to ask for more.
    variant: what is changed, one key of CHANGES or several. frames, height, width: of the video, in pixels;
    text_tokens: L; all default to the checkpoint's published request. grid: tokens along frame, row and column in
    place of pixels, for a rope without a model.

    Raises UnknownName, and BadRequest for a model without a rope, for what the model or the grid rejects, and for
    options that do not go with the model.
    """
    asked = {"frames": frames, "height": height, "width": width, "text_tokens": text_tokens}
    if isinstance(model, Shown):
        before = model.asked
        asked = {name: before.get(name) if value is None else value for name, value in asked.items()}
        grid = grid or (model.sizes if model.family is None else None)
        variant = [*model.changes, *several(variant)]
        model = model.known.rope if model.own else model.name
    base, changes = chosen(model, variant)
    check(base, asked, grid)
    found = Known(base.name, base) if isinstance(base, Rope3D) else known(base)
    if found.family is None:
        return _plain(found, changes, grid, asked["text_tokens"])
    from tracer.api import letters_of, make_request

    family, config = found.family, cast(dict[str, Any], found.config)
    assert found.checkpoint is not None
    request = make_request(family.adapt(config, found.checkpoint.request), asked)
    findings = family.check(config, request)
    if findings.errors:
        raise BadRequest(" ".join(findings.errors))
    sizes = token_grid(found.rope, family, config, request)
    rope = varied(found.rope, changes, sizes)
    letters, values = family.letters(config), letters_of(family, config, request)
    return Shown(
        known=found, rope=rope, sizes=sizes, changes=changes, request=request, values=values,
        warnings=tuple(findings.warnings), numbers={s: values[s] for s in ("p", "p_t") if s in values},
        beside={x.symbol: x.name.replace("_", " ") for x in letters if x.name.endswith("_tokens") and not x.field},
        ahead=tuple(x.symbol for x in letters if x.name == "history" and not x.field),
    )  # fmt: skip


def _plain(found: Known, changes: Sequence[str], grid: Sizes | None, text: int | None) -> Shown:
    own = replace(found.rope, axes=("F", "H", "W"))
    t, h, w = grid or own.trained or PLAIN_GRID
    rope = varied(own, changes, (t, h, w))
    values = {"F": t, "H": h, "W": w, "d": rope.head_dim} | ({"L": text} if text is not None else {})
    return Shown(replace(found, rope=own), rope, (t, h, w), tuple(changes), values=values)


@dataclass(frozen=True)
class Shown:
    """A rope at a request: the model, the rope after a change, its tokens, and what follows.

    changes: what was changed, in order. values: of the letters. numbers: letters that formulas print as numbers.
    beside: letters of tokens that stand in the sequence with the text, and what they are. ahead: letters of turned
    tokens ahead of the video.
    """

    known: Known
    rope: Rope3D
    sizes: Sizes
    changes: tuple[str, ...] = ()
    request: Request | None = None
    values: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    numbers: Mapping[str, int] = field(default_factory=dict)
    beside: Mapping[str, str] = field(default_factory=dict)
    ahead: tuple[str, ...] = ()

    def __str__(self) -> str:
        from tracer.views.rope import renderable
        from tracer.views.tree import plain

        return plain(renderable(self, WIDTH), WIDTH).rstrip()

    @property
    def name(self) -> str:
        """Of the checkpoint or variant."""
        return self.known.name

    @property
    def family(self) -> Family | None:
        """Whose code it is; None for a variant without a model."""
        return self.known.family

    @property
    def variant(self) -> str | None:
        """The changes as one word, such as 'half:ntk'; None where nothing was changed."""
        return ":".join(self.changes) or None

    @property
    def own(self) -> bool:
        """Whether it is the caller's, with no name that a command knows."""
        return self.family is None and self.known.what is None

    @property
    def asked(self) -> dict[str, int]:
        """The options of show_rope that make its request."""
        if self.request is None or self.family is None:
            return {"text_tokens": self.values["L"]} if "L" in self.values else {}
        names = ("frames", "height", "width", "text_tokens")
        return {n: getattr(self.request, n) for n in names if n != "frames" or self.family.video}

    # sizes with formulas

    @cached_property
    def video(self) -> Formula:
        """S: tokens of the video."""
        t, h, w = (parse(axis) for axis in self.rope.axes)
        return t * h * w

    @cached_property
    def text(self) -> Formula:
        """L, and what else stands in the sequence with the text; 0 where no text does."""
        if self.rope.placement.text == "none":
            return Formula.constant(0)
        return sum((Formula.symbol(s) for s in self.beside), Formula.symbol("L"))

    @cached_property
    def history(self) -> Formula:
        """Turned tokens ahead of the video, of models that look back."""
        return sum((Formula.symbol(s) for s in self.ahead), Formula.constant(0))

    @property
    def rows(self) -> Formula:
        """Rows of the tables: S, the history's, and the text's where every token goes through the rotation."""
        turning = self.history + self.video
        return turning + self.text if self.rope.placement.turned == "all" else turning

    @property
    def length(self) -> Formula:
        """Tokens of the attended sequence."""
        return self.history + self.video + self.text

    @property
    def turned(self) -> tuple[Formula, Formula]:
        """First and end index of the video's tokens, whose angles are not 0."""
        first = self.history + (self.text if self.rope.placement.text == "before" else 0)
        return first, first + self.video

    def number(self, formula: Formula) -> int | None:
        """Its value; None where a letter has none, as L of a variant without a model."""
        return formula.evaluate(self.values) if formula.symbols <= self.values.keys() else None

    def written(self, formula: Formula, *, short: bool = True) -> str:
        """A formula as people write it; short: S for the tokens of the video."""
        return render(abbreviate(formula, {"S": self.video} if short else {}), self.numbers, compact=short)

    # what there is to see

    @cached_property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """Frame, row and column."""
        every, rope = bands(self.rope, self.sizes), self.rope
        near, places, thetas = relative_similarity(rope, self.sizes), rope.positions(self.sizes), rope.thetas()
        t, h, w = (
            Axis(
                name, parse(rope.axes[i]), self.sizes[i], rope.split[i], tuple(rope.pairs[rope.parts[i]]),
                tuple(places[i].tolist()), thetas[i], tuple(b for b in every if b.axis == name), self._per_token(i),
                tuple(near[i].tolist()),
            )
            for i, name in enumerate(AXES)
        )  # fmt: skip
        return t, h, w

    def _per_token(self, i: int) -> float | None:
        letter = "FHW"[i]
        if self.family is None or letter not in parse(self.rope.axes[i]).symbols:
            return None
        return self.family.compression[min(i, 1)] * self.values[letter] / self.sizes[i]

    @property
    def tables(self) -> tuple[tuple[Formula, ...], ...]:
        """Shapes of what the published code keeps: one for each table."""
        if self.rope.laid == "axes":
            return tuple((axis.formula, Formula.constant(axis.numbers)) for axis in self.axes for _ in ("cos", "sin"))
        if self.rope.laid == "angles":
            return ((*(axis.formula for axis in self.axes), parse("d")),)
        return ((self.rows, parse("d")),) * 2

    @cached_property
    def memory(self) -> Memory | None:
        """Bytes of the tables; None where the number of their rows is not known."""
        rows = self.number(self.rows)
        return memory(self.rope, self.sizes, rows=rows) if rows is not None else None

    @property
    def beyond(self) -> bool:
        """Whether the request fills more positions than the trained grid."""
        if self.rope.trained is None:
            return False
        now, then = (self.rope.grid.extent(s) for s in (self.sizes, self.rope.trained))
        return any(n > m for n, m in zip(now, then, strict=True))

    @property
    def closer(self) -> bool:
        """Whether it has more tokens than the trained grid on no more positions."""
        more = any(n > m for n, m in zip(self.sizes, self.rope.trained or self.sizes, strict=True))
        return more and not self.beyond

    @cached_property
    def unstretched(self) -> Rope3D:
        """The rope with all changes but linear and ntk, which stretching starts from."""
        return varied(self.known.rope, [c for c in self.changes if c not in ("linear", "ntk")])

    @cached_property
    def stretches(self) -> tuple[Stretch, ...]:
        """Without, with linear and with ntk interpolation; empty where no grid is known to have been trained."""
        return stretches(self.unstretched, self.sizes) if self.rope.trained is not None else ()

    @cached_property
    def further(self) -> str | None:
        """Options of a request beyond the trained grid, such as '--frames 97'; None where none is found.

        The published request doubled, whatever was asked for: it is one that the model likes.
        """
        checkpoint, config = self.known.checkpoint, self.known.config
        if self.family is None or checkpoint is None or config is None:
            return None  # a plain variant's table ends with the grid it was trained on
        request = self.family.adapt(config, checkpoint.request)
        doubled = {
            "frames": 2 * (request.frames - 1) + 1, "height": 2 * request.height, "width": 2 * request.width,
        }  # fmt: skip
        for sides in (("frames",), ("height", "width")):
            options = {n: doubled[n] for n in sides}
            try:
                if sides != ("frames",) or self.family.video:
                    more = show_rope(self.name, **options)  # type: ignore[arg-type]
                    if more.beyond:
                        return " ".join(f"--{n} {v}" for n, v in options.items())
            except BadRequest:
                continue
        return None

    @cached_property
    def moved(self) -> Moved | None:
        """What the change does to the published weights; None without one."""
        return moved(self.known.rope, self.rope, self.sizes) if self.changes else None

    @cached_property
    def idle(self) -> tuple[str, ...]:
        """The changes that change nothing at this request."""
        rope, out = self.known.rope, []
        for change in self.changes:
            then, rope = rope, changed(rope, change, self.sizes)
            out += [change] if replace(rope, name=then.name) == then else []
        return tuple(out)

    @property
    def plane(self) -> Plane:
        """Similarity of the middle token of a frame with all others in it."""
        return plane(self.rope, self.sizes, (0, self.sizes[1] // 2, self.sizes[2] // 2))

    def to_json(self) -> dict[str, Any]:
        """Everything as plain data, numbers not rounded."""
        rope, checkpoint = self.rope, self.known.checkpoint

        def size(formula: Formula) -> dict[str, Any]:
            text = self.written(formula)
            return {"size": self.number(formula), "text": text, "formula": formula.to_json()}

        return {
            "name": self.name,
            "family": self.family.name if self.family else None,
            "model": self.family.model if self.family else None,
            "hub": checkpoint.hub if checkpoint else None,
            "what": self.known.what,
            "variant": self.variant,
            "request": self.request.as_dict() if self.request else None,
            "values": dict(self.values),
            "grid": list(self.sizes),
            "trained": list(rope.trained) if rope.trained else None,
            "beyond_trained": self.beyond,
            "tokens": size(self.video),
            "head_dim": rope.head_dim,
            "split": list(rope.split),
            "theta": rope.theta,
            "pairing": rope.pairing,
            "positions": rope.grid.words,
            "masked": rope.masked,
            "interpolation": {k: list(v) for k, v in vars(rope.interpolation).items()},
            "axes": [axis.to_json() for axis in self.axes],
            "tables": {
                "laid": rope.laid,
                "shapes": [[size(n) for n in shape] for shape in self.tables],
                "dtype": rope.dtype,
                "computed": rope.computed,
                "bytes": vars(self.memory) if self.memory else None,
            },
            "placement": {
                "text": rope.placement.text,
                "turned": rope.placement.turned,
                "video": [size(index) for index in self.turned],
                "history": size(self.history),
                "length": size(self.length),
            },
            "stretches": [{**vars(s), "interpolation": vars(s.interpolation)} for s in self.stretches],
            "plane": {k: list(v) for k, v in vars(self.plane).items()},
            "moved": self.moved.to_json() if self.moved else None,
            "source": rope.source,
            "remark": rope.remark or None,
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class Compared:
    """Two ropes side by side; moved: scores of the first one's weights under the second, None for unequal heads."""

    first: Shown
    second: Shown
    moved: Moved | None

    def __str__(self) -> str:
        from tracer.views.rope import compared
        from tracer.views.tree import plain

        return plain(compared(self), WIDTH).rstrip()

    def to_json(self) -> dict[str, Any]:
        """Both, and what moves, as plain data."""
        return {
            "first": self.first.to_json(), "second": self.second.to_json(),
            "moved": self.moved.to_json() if self.moved else None,
        }  # fmt: skip


def compare_ropes(first: str | Rope3D | Shown, second: str | Rope3D | Shown) -> Compared:
    """Two ropes: names, ropes of your own, or what show_rope returned at some request. Raises what show_rope does.

    Scores are compared on the grid that spans both, or on the one both have where a table ends sooner.

    On a smaller one, ropes that part only beyond it, such as a crop and whole numbers, would look the same.
    """
    first, second = (one if isinstance(one, Shown) else show_rope(one) for one in (first, second))
    sizes = list(zip(first.sizes, second.sizes, strict=True))
    spans: Sizes = (max(sizes[0]), max(sizes[1]), max(sizes[2]))
    try:
        return Compared(first, second, moved(first.rope, second.rope, spans))
    except BadRequest:
        shared: Sizes = (min(sizes[0]), min(sizes[1]), min(sizes[2]))
        return Compared(first, second, moved(first.rope, second.rope, shared))
