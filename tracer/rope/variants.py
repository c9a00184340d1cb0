"""Published ropes by name: those of the checkpoints, those of code without a checkpoint here, and changes to them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, cast

from tracer.errors import BadRequest, UnknownName
from tracer.rope.grids import Crop, Sizes, Whole
from tracer.rope.rope3d import NoRope, Placement, Rope3D, no_trained_grid, quarter, six_way

if TYPE_CHECKING:
    from tracer.families.base import Checkpoint, Family, Request

_SAT = "CogVideo sat/dit_video_concat.py: Rotary3DPositionEmbeddingMixin"
_SCAIL = "zai-org/SCAIL dit_video_crossattn_sc_xc.py: Rotary3DPositionEmbeddingMixin"
_KALEIDO = "CriliasMiller/Kaleido dit_video_crossattn.py: Rotary3DPositionEmbeddingMixin"
_PNP = "zai-org/SCAIL notuse/dit_video_concat_pnp.py: Rotary3DPositionEmbeddingMixin"

_POSE = (
    "pose tokens are turned by means of cosines and sines over 2×2 places, which is no rotation and makes them shorter"
)

PLAIN: dict[str, tuple[str, Rope3D]] = {
    "six-way-192": ("the six-way split of a head of 192: 64/64/64", Rope3D(
        "six-way-192", six_way(192), source=_SCAIL)),
    "six-way-64": ("the six-way split of a head of 64: 24/20/20", Rope3D(
        "six-way-64", six_way(64), source=_SCAIL)),
    "cogvideox-sat": ("the original code of CogVideoX: whole numbers, sliced from a table of the trained grid", Rope3D(
        "cogvideox-sat", quarter(64), grid=Whole(most=(13, 30, 45)), placement=Placement("before"),
        trained=(13, 30, 45), source=_SAT,
        remark="the arguments for interpolation are accepted and not used")),
    "sat-pnp": ("coordinates given for each token, -1 for tokens that stay as they are", Rope3D(
        "sat-pnp", quarter(64), placement=Placement("before", "all"), masked=-1.0, laid="angles", source=_PNP,
        remark="every token goes through the rotation, and one with a coordinate of -1 comes out as it was; index "
        "order is frame, row, column, though the code calls the last two x and y; angles are kept, rounded to the "
        "queries' dtype, and cos and sin are taken from them at every call")),
    "scail": ("six-way split, video from frame 1, a reference picture at frame 0", Rope3D(
        "scail", six_way(128), grid=Whole(first=(1.0, 0.0, 0.0)), source=_SCAIL, remark=_POSE)),
    "scail-half": ("the same with interleaved_rope=False: pairs across the halves of a head", Rope3D(
        "scail-half", six_way(128), grid=Whole(first=(1.0, 0.0, 0.0)), pairing="half", source=_SCAIL, remark=_POSE)),
    "kaleido": ("six-way split; subjects on frames of their own, shifted by rows and columns", Rope3D(
        "kaleido", six_way(128), source=_KALEIDO,
        remark="with shiftT the k-th subject stands at frame k, or k frames after the video's last with end_concat, "
        "and without it is not turned; the table's rows at frame -1 are never read")),
}  # fmt: skip
"""Variants of code that no checkpoint here runs: name -> what it is, the rope."""

ORIGINALS = {
    "tencent/hunyuanvideo": "hunyuanvideo",
    "wan-ai/wan2.1-t2v-14b": "wan2.1-t2v-14b",
    "wan-ai/wan2.1-t2v-1.3b": "wan2.1-t2v-1.3b",
    "wan-ai/wan2.1-i2v-14b-480p": "wan2.1-i2v-14b-480p",
    "wan-ai/wan2.1-i2v-14b-720p": "wan2.1-i2v-14b-720p",
    "zai-org/cogvideox-5b": "cogvideox-5b",
    "zai-org/cogvideox-5b-i2v": "cogvideox-5b-i2v",
    "zai-org/cogvideox1.5-5b": "cogvideox1.5-5b",
    "zai-org/cogvideox1.5-5b-i2v": "cogvideox1.5-5b-i2v",
}
"""Hub ids under which the same weights stand in their original form, or moved to -> the checkpoint here."""


@dataclass(frozen=True)
class Known:
    """A rope by its name, with the model that it belongs to, where there is one.

    what: a plain variant's description; None for a model's and for a rope of the caller's own.
    """

    name: str
    rope: Rope3D
    family: Family | None = None
    checkpoint: Checkpoint | None = None
    config: dict[str, Any] | None = None
    what: str | None = None


def names() -> list[str]:
    """Names that `published` knows: families and checkpoints that have a rope, then the plain variants."""
    from tracer import families

    out: list[str] = []
    for family in families.all_families():
        turning = [c.name for c in family.checkpoints if isinstance(_of(family, c), Rope3D)]
        out += dict.fromkeys([family.name, *turning]) if turning else []
    return [*out, *PLAIN]


def published(name: str) -> Rope3D:
    """The rope of a family, checkpoint or hub id, or a plain variant; 'wan:half' is one with a change.

    Raises UnknownName, and BadRequest for a model whose positions do not turn queries and keys, or not by a rule that
    its config gives, and for a change that does not fit.
    """
    base, changes = split_name(name)
    return varied(known(base).rope, changes)


def split_name(name: str) -> tuple[str, tuple[str, ...]]:
    """'wan:half:ntk' as the name of a rope, an original's replaced by the checkpoint's, and its changes in order."""
    if not isinstance(name, str):
        raise BadRequest(f"a rope is given by its name, not by {name!r}; 'cogvideox' is one.")
    base, *changes = name.split(":")
    return ORIGINALS.get(base.lower(), base), in_order(changes)


def known(name: str) -> Known:
    """The rope of that name, without changes, with its model, and with the token grid it was trained on."""
    from tracer import families

    if name.lower() in PLAIN:
        what, plain = PLAIN[name.lower()]
        return Known(name.lower(), plain, what=what)
    try:
        family, checkpoint = families.find(name)
    except UnknownName:
        raise unknown(name) from None
    from tracer.build import full_config

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


def unknown(name: str, hint: str = "") -> UnknownName:
    """What is said of a name that nothing here has: the nearest one, or else all that have a rope.

    Which models have one takes their configs and so torch to tell; the nearest name does without.
    """
    from tracer import families

    every = [n for f in families.all_families() for n in (f.name, *(c.name for c in f.checkpoints))]
    near = get_close_matches(name.lower(), [*every, *PLAIN], n=1, cutoff=0.5)
    return UnknownName("rope", name, [*every, *PLAIN] if near else names(), hint)


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

_ONE_OF = {
    "pairing": ("interleaved", "half", "half-axis"),
    "split": ("six-way", "quarter"),
    "grid": ("whole", "crop"),
    "interpolation": ("linear", "ntk"),
}
"""What is changed -> the changes of it, of which a rope takes one."""


def in_order(changes: Iterable[str]) -> tuple[str, ...]:
    """Changes in the order in which they are made, that of CHANGES: a grid changes how far there is to stretch.

    Raises UnknownName, and BadRequest for two changes of the same thing.
    """
    given = []
    for change in changes:
        if not isinstance(change, str):
            raise BadRequest(f"a variant is given by its name, not by {change!r}; it is one of {', '.join(CHANGES)}.")
        if change.lower() not in CHANGES:
            raise UnknownName("variant", change, CHANGES, "show-rope --list says what they are.")
        given.append(change.lower())
    for what, alike in _ONE_OF.items():
        both = [c for c in given if c in alike]
        if len(both) > 1:
            raise BadRequest(f"{both[0]} and {both[1]} both change the {what}; leave one of them out.")
    return tuple(c for c in CHANGES if c in given)


def varied(rope: Rope3D, changes: Sequence[str], sizes: Sizes | None = None) -> Rope3D:
    """A rope with some things changed in the order of CHANGES, each as `changed` does it."""
    for change in in_order(changes):
        rope = changed(rope, change, sizes)
    return rope


def changed(rope: Rope3D, change: str, sizes: Sizes | None = None) -> Rope3D:
    """A rope with one thing changed, a key of CHANGES, and its name with it: 'wan:half'.

    sizes: the token grid that linear and ntk stretch to; the trained one without it, where they change nothing.
    Raises UnknownName, and BadRequest where the change does not fit the rope.
    """
    if not isinstance(rope, Rope3D):
        raise BadRequest(f"{rope!r} is no rope: changed takes a Rope3D, as rope.published('wan') is.")
    (change,) = in_order([change])
    name = f"{rope.name}:{change}"
    if change in ("linear", "ntk"):
        return replace(rope.stretched(cast(Any, change), sizes or rope.trained or (1, 1, 1)), name=name)
    if change == "crop" and rope.trained is None:
        raise BadRequest(no_trained_grid(rope.name, "to spread positions over"))
    made: dict[str, Callable[[], Any]] = {
        "six-way": lambda: {"split": six_way(rope.head_dim)},
        "quarter": lambda: {"split": quarter(rope.head_dim)},
        "whole": lambda: {"grid": Whole()},
        "crop": lambda: {"grid": Crop(cast(Sizes, rope.trained)[1:])},
    }
    fields = made[change]() if change in made else {"pairing": change}
    return replace(rope, name=name, **fields)
