"""What can be asked of a rope, and what cannot: names with changes, and options that do not go with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from tracer.configs import check_sizes
from tracer.errors import BadRequest, UnknownName
from tracer.rope.grids import Sizes, check_grid
from tracer.rope.rope3d import Rope3D
from tracer.rope.variants import PLAIN, in_order, names, split_name, unknown


def models() -> dict[str, list[str]]:
    """Families that have a rope, each with its checkpoints that do."""
    from tracer import families

    turning = set(names())
    return {
        f.name: [c.name for c in f.checkpoints if c.name in turning]
        for f in families.all_families()
        if f.name in turning
    }


def chosen(model: str | Rope3D, variant: str | Sequence[str] | None) -> tuple[str | Rope3D, tuple[str, ...]]:
    """The rope without changes, and the changes that its name and `variant` ask for; loads no torch."""
    base, own = (model, ()) if isinstance(model, Rope3D) else split_name(model)
    return base, in_order([*own, *several(variant)])


def several(variant: str | Sequence[str] | None) -> list[str]:
    """No, one or several changes as a list."""
    return list(variant) if isinstance(variant, tuple | list) else [] if variant is None else [cast(str, variant)]


def check(base: str | Rope3D, asked: Mapping[str, int | None], grid: Sequence[int] | None) -> None:
    """Raise what can be known without torch, in one sentence."""
    from tracer import families

    model = base if isinstance(base, str) else base.name
    own = base if isinstance(base, Rope3D) else PLAIN[model.lower()][1] if model.lower() in PLAIN else None
    if own is None:
        try:
            family, _ = families.find(model)
        except UnknownName:
            raise unknown(model, "show-rope --list shows them all.") from None
        if grid is not None:
            sizes = "--frames, --height and --width" if family.video else "--height and --width"
            raise BadRequest(f"--grid is for variants without a model ({', '.join(PLAIN)}); {model} takes {sizes}.")
        if asked.get("frames") is not None and not family.video:
            raise BadRequest(f"{model} is an image model and has no frames; leave --frames {asked['frames']} out.")
    for name in ("frames", "height", "width"):
        if own and asked.get(name) is not None:
            raise BadRequest(
                f"{model} is a variant without a model, so --{name} means nothing to it: --grid T H W gives its tokens."
            )
    if own and own.placement.text == "none" and asked.get("text_tokens") is not None:
        raise BadRequest(f"{model} has no text in its sequence; leave --text-tokens {asked['text_tokens']} out.")
    check_sizes(asked)
    if grid is not None:
        check_grid(cast(Sizes, grid))
