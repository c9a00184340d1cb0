"""Published ropes by name: those of the checkpoints, those of code without a checkpoint here, and changes to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from tracer.errors import BadRequest, UnknownName
from tracer.rope.grids import Crop, Sizes, Whole
from tracer.rope.rope3d import NoRope, Placement, Rope3D

if TYPE_CHECKING:
    from tracer.families.base import Checkpoint, Family, Request

_SAT = "CogVideo sat/dit_video_concat.py: Rotary3DPositionEmbeddingMixin"
_SCAIL = "zai-org/SCAIL dit_video_crossattn_sc_xc.py: Rotary3DPositionEmbeddingMixin"
_KALEIDO = "CriliasMiller/Kaleido dit_video_crossattn.py: Rotary3DPositionEmbeddingMixin"
_PNP = "zai-org/SCAIL notuse/dit_video_concat_pnp.py: Rotary3DPositionEmbeddingMixin"


def six_way(head_dim: int) -> tuple[int, int, int]:
    """D - 4·(d//6), 2·(d//6), 2·(d//6): rows and columns get a third each, rounded down to pairs; frames the rest."""
    sixth = head_dim // 6
    return head_dim - 4 * sixth, 2 * sixth, 2 * sixth


def quarter(head_dim: int) -> tuple[int, int, int]:
    """d//4, 3·(d//8), 3·(d//8). Raises BadRequest for a head that is no multiple of 16.

    From other heads it makes parts that are odd, or that do not add up to the head.
    """
    if head_dim % 16:
        near = head_dim // 16 * 16
        use = f"{near} or {near + 16}" if near else "16"
        raise BadRequest(
            f"a head of {head_dim} numbers cannot be split as d//4, 3·(d//8), 3·(d//8) into even parts that fill it: "
            f"it must be a multiple of 16; use {use}."
        )
    return head_dim // 4, 3 * (head_dim // 8), 3 * (head_dim // 8)


PLAIN: dict[str, tuple[str, Rope3D]] = {
    "six-way-192": ("the six-way split of a head of 192: 64/64/64", Rope3D(
        "six-way-192", six_way(192), source=_SCAIL)),
    "six-way-64": ("the six-way split of a head of 64: 24/20/20", Rope3D(
        "six-way-64", six_way(64), source=_SCAIL)),
    "cogvideox-sat": ("the original code of CogVideoX: whole numbers on every axis", Rope3D(
        "cogvideox-sat", quarter(64), placement=Placement("before"), trained=(13, 30, 45), source=_SAT,
        remark="the arguments for interpolation are accepted and not used")),
    "sat-pnp": ("coordinates given for each token, -1 for tokens that stay as they are", Rope3D(
        "sat-pnp", quarter(64), placement=Placement("before", "all"), source=_PNP,
        remark="every token goes through the rotation, and one with a coordinate of -1 comes out as it was; index "
        "order is frame, row, column, though the code calls the last two x and y")),
    "scail": ("six-way split, video from frame 1, a reference picture at frame 0", Rope3D(
        "scail", six_way(128), grid=Whole(first=(1.0, 0.0, 0.0)), source=_SCAIL)),
    "scail-half": ("the same with interleaved_rope=False: pairs across the halves of a head", Rope3D(
        "scail-half", six_way(128), grid=Whole(first=(1.0, 0.0, 0.0)), pairing="half", source=_SCAIL)),
    "kaleido": ("six-way split, up to three subjects at frame -1, shifted by rows and columns", Rope3D(
        "kaleido", six_way(128), source=_KALEIDO,
        remark="subjects stand at frame -1, beyond the video's rows and columns where shiftH and shiftW say so")),
}  # fmt: skip
"""Variants of code that no checkpoint here runs: name -> what it is, the rope."""


@dataclass(frozen=True)
class Known:
    """A rope by its name, with the model that it belongs to, where there is one."""

    name: str
    rope: Rope3D
    family: Family | None = None
    checkpoint: Checkpoint | None = None
    config: dict[str, Any] | None = None


def names() -> list[str]:
    """Names that `published` knows: families and checkpoints that have a rope, then the plain variants."""
    from tracer import families

    out: list[str] = []
    for family in families.all_families():
        turning = [c.name for c in family.checkpoints if isinstance(_of(family, c), Rope3D)]
        out += dict.fromkeys([family.name, *turning]) if turning else []
    return [*out, *PLAIN]


def published(name: str) -> Rope3D:
    """The rope of a family, checkpoint or hub id, or a plain variant. Raises UnknownName, and BadRequest for a model
    whose positions do not turn queries and keys, or not by a rule that its config gives.
    """
    return known(name).rope


def known(name: str) -> Known:
    """The rope of that name with its model, and with the token grid it was trained on; as `published`."""
    from tracer import families
    from tracer.build import full_config

    if isinstance(name, str) and name.lower() in PLAIN:
        return Known(name.lower(), PLAIN[name.lower()][1])
    try:
        family, checkpoint = families.find(name)
    except UnknownName as error:
        raise UnknownName("rope", name, [*error.allowed, *PLAIN]) from None
    config = full_config(family.model, checkpoint.config)
    rope = family.rope(config)
    if isinstance(rope, NoRope):
        own = [c.name for c in family.checkpoints if isinstance(_of(family, c), Rope3D)]
        use = own[0] if own else "cogvideox-5b"
        raise BadRequest(f"{checkpoint.name} {rope.reason}; {use} has a rope to show.")
    trained = token_grid(rope, family, config, family.adapt(config, checkpoint.request))
    return Known(checkpoint.name, replace(rope, name=checkpoint.name, trained=trained), family, checkpoint, config)


def token_grid(rope: Rope3D, family: Family, config: dict[str, Any], request: Request) -> Sizes:
    """Tokens along frame, row and column that a request makes."""
    from tracer.api import letters_of
    from tracer.notation import parse

    letters = letters_of(family, config, request)
    t, h, w = (parse(axis).evaluate(letters) for axis in rope.axes)
    return t, h, w


def _of(family: Family, checkpoint: Checkpoint) -> Rope3D | NoRope:
    from tracer.build import full_config

    return family.rope(full_config(family.model, checkpoint.config))


CHANGES: dict[str, str] = {
    "interleaved": "pairs of neighbours",
    "half": "pairs across the halves of the head",
    "half-axis": "pairs across the halves of each axis' part",
    "six-way": "d - 4·(d//6), 2·(d//6), 2·(d//6) in place of the model's split",
    "quarter": "d//4, 3·(d//8), 3·(d//8) in place of the model's split",
    "whole": "whole numbers in place of the model's grid",
    "crop": "rows and columns spread over the trained grid, as CogVideoX 1.0 does",
    "linear": "positions divided until they fit the trained grid",
    "ntk": "theta raised until the slowest pair fits the trained grid",
}
"""Names that `changed` knows -> what they mean."""


def changed(rope: Rope3D, change: str, sizes: Sizes | None = None) -> Rope3D:
    """A rope with one thing changed, a key of CHANGES.

    sizes: the token grid that linear and ntk stretch to; the trained one without it, where they change nothing.
    Raises UnknownName, and BadRequest where the change does not fit the rope.
    """
    if change not in CHANGES:
        raise UnknownName("variant", change, CHANGES)
    if change in ("linear", "ntk"):
        return rope.stretched(cast(Any, change), sizes or rope.trained or (1, 1, 1))
    if change == "crop" and rope.trained is None:
        raise BadRequest(f"{rope.name} names no trained grid, which crop spreads positions over.")
    made: dict[str, Callable[[], Any]] = {
        "six-way": lambda: {"split": six_way(rope.head_dim)},
        "quarter": lambda: {"split": quarter(rope.head_dim)},
        "whole": lambda: {"grid": Whole()},
        "crop": lambda: {"grid": Crop(cast(Sizes, rope.trained)[1:])},
    }
    fields = made[change]() if change in made else {"pairing": change}
    return replace(rope, **fields)
