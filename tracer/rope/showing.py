"""show_rope("cogvideox"): a model's rope at a request, with every number that there is to show, as data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from tracer.configs import check_sizes
from tracer.errors import BadRequest, UnknownName
from tracer.formula import Formula, abbreviate
from tracer.notation import parse, render
from tracer.rope.anatomy import (
    Memory,
    Stretch,
    bands,
    memory,
    relative_similarity,
    stretches,
)
from tracer.rope.axes import Axis, Plane
from tracer.rope.grids import AXES, Sizes, check_grid
from tracer.rope.rope3d import Rope3D
from tracer.rope.swap import Moved, moved
from tracer.rope.variants import CHANGES, PLAIN, Known, changed, known, names, token_grid

if TYPE_CHECKING:
    from tracer.families.base import Family, Request

PLAIN_GRID: Sizes = (13, 30, 45)
"""Tokens of a variant without a model where none are asked for: CogVideoX's 49 frames at 480×720."""

WIDTH = 100
"""Columns of a rope that is printed from Python."""


def show_rope(
    model: str = "cogvideox",
    *,
    variant: str | None = None,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    text_tokens: int | None = None,
    grid: Sizes | None = None,
) -> Shown:
    """The rope of a family, checkpoint, hub id or plain variant at a request.

    variant: one thing changed, a key of CHANGES. frames, height, width: of the video, in pixels; text_tokens: L; all
    default to the checkpoint's published request. grid: tokens along frame, row and column in place of pixels, for
    a variant without a model.

    Raises UnknownName, and BadRequest for a model without a rope, for what the model or the grid rejects, and for
    options that do not go with the model.
    """
    asked = {"frames": frames, "height": height, "width": width, "text_tokens": text_tokens}
    check(model, variant, asked, grid)
    found = known(model)
    if found.family is None:
        return _plain(found, variant, grid, text_tokens)
    from tracer.api import letters_of, make_request

    family, config = found.family, cast(dict[str, Any], found.config)
    assert found.checkpoint is not None
    request = make_request(family.adapt(config, found.checkpoint.request), asked)
    findings = family.check(config, request)
    if findings.errors:
        raise BadRequest(" ".join(findings.errors))
    sizes = token_grid(found.rope, family, config, request)
    rope = changed(found.rope, variant, sizes) if variant else found.rope
    letters, values = family.letters(config), letters_of(family, config, request)
    return Shown(
        known=found, rope=rope, sizes=sizes, variant=variant, request=request, values=values,
        warnings=tuple(findings.warnings), numbers={s: values[s] for s in ("p", "p_t") if s in values},
        beside={x.symbol: x.name.replace("_", " ") for x in letters if x.name.endswith("_tokens") and not x.field},
        ahead=tuple(x.symbol for x in letters if x.name == "history" and not x.field),
    )  # fmt: skip


def models() -> dict[str, list[str]]:
    """Families that have a rope, each with its checkpoints that do."""
    from tracer import families

    turning = set(names())
    return {
        f.name: [c.name for c in f.checkpoints if c.name in turning]
        for f in families.all_families()
        if f.name in turning
    }


def check(model: str, variant: str | None, asked: Mapping[str, int | None], grid: Sequence[int] | None) -> None:
    """Raise what can be known without torch, in one sentence."""
    from tracer import families

    plain = isinstance(model, str) and model.lower() in PLAIN
    if not plain:
        try:
            family, _ = families.find(model)
        except UnknownName as error:
            raise UnknownName("rope", model, [*error.allowed, *PLAIN], "show-rope --list shows them all.") from None
        if grid is not None:
            sizes = "--frames, --height and --width" if family.video else "--height and --width"
            raise BadRequest(f"--grid is for variants without a model ({', '.join(PLAIN)}); {model} takes {sizes}.")
        if asked.get("frames") is not None and not family.video:
            raise BadRequest(f"{model} is an image model and has no frames; leave --frames {asked['frames']} out.")
    for name in ("frames", "height", "width"):
        if plain and asked.get(name) is not None:
            raise BadRequest(
                f"{model} is a variant without a model, so --{name} means nothing to it: --grid T H W gives its tokens."
            )
    if variant is not None and variant not in CHANGES:
        raise UnknownName("variant", variant, CHANGES, "show-rope --list says what they are.")
    check_sizes(asked)
    if grid is not None:
        check_grid(cast(Sizes, tuple(grid)))


def _plain(found: Known, variant: str | None, grid: Sizes | None, text: int | None) -> Shown:
    own = replace(found.rope, axes=("F", "H", "W"))
    sizes = grid or own.trained or PLAIN_GRID
    rope = changed(own, variant, sizes) if variant else own
    values = dict(zip("FHW", sizes, strict=True)) | ({"L": text} if text is not None else {})
    return Shown(replace(found, rope=own), rope, sizes, variant, values={**values, "d": rope.head_dim})


@dataclass(frozen=True)
class Shown:
    """A rope at a request: the model, the rope after a change, its tokens, and what follows.

    values: of the letters. numbers: letters that formulas print as numbers. beside: letters of tokens that stand in
    the sequence with the text, and what they are. ahead: letters of turned tokens ahead of the video.
    """

    known: Known
    rope: Rope3D
    sizes: Sizes
    variant: str | None = None
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
    def stretches(self) -> tuple[Stretch, ...]:
        """Without, with linear and with ntk interpolation; empty where no grid is known to have been trained."""
        rope = self.known.rope if self.variant in ("linear", "ntk") else self.rope
        return stretches(rope, self.sizes) if rope.trained is not None else ()

    @cached_property
    def further(self) -> str | None:
        """Options of a request beyond the trained grid, such as '--frames 97'; None where none is found."""
        request, trained = self.request, self.rope.trained
        if request is None or self.family is None:
            return f"--grid {2 * trained[0]} {trained[1]} {trained[2]}" if trained else None
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
        return moved(self.known.rope, self.rope, self.sizes) if self.variant else None

    @property
    def plane(self) -> Plane:
        """Similarity of the middle token of a frame with all others in it."""
        middle = self.sizes[1] // 2, self.sizes[2] // 2
        rows, columns = (
            tuple(axis.similarity[abs(i - at)] for i in range(axis.tokens))
            for axis, at in zip(self.axes[1:], middle, strict=True)
        )
        return Plane(middle, rows, columns)

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
            "what": None if self.family else PLAIN[self.name][0],
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
            "interpolation": {k: list(v) for k, v in vars(rope.interpolation).items()},
            "axes": [axis.to_json() for axis in self.axes],
            "tables": {
                "count": 2,
                "shape": [size(self.rows), {"size": rope.head_dim, "text": "d", "formula": parse("d").to_json()}],
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


def compare_ropes(first: Shown, second: Shown) -> Compared:
    """Two ropes. Scores are compared on the grid that spans both, or on the one both have where a table ends sooner.

    On a smaller one, ropes that part only beyond it, such as a crop and whole numbers, would look the same.
    """
    sizes = list(zip(first.sizes, second.sizes, strict=True))
    spans: Sizes = (max(sizes[0]), max(sizes[1]), max(sizes[2]))
    try:
        return Compared(first, second, moved(first.rope, second.rope, spans))
    except BadRequest:
        shared: Sizes = (min(sizes[0]), min(sizes[1]), min(sizes[2]))
        return Compared(first, second, moved(first.rope, second.rope, shared))
