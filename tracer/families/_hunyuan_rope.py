"""Rotary positions as HunyuanVideo has them, and all that follow it."""

from __future__ import annotations

from tracer.families.base import Config
from tracer.rope.rope3d import Placement, Rope3D

_AXES = ("F", "H/p", "W/p")


def hunyuan_rope(
    name: str, config: Config, *, source: str, axes: tuple[str, str, str] = _AXES, remark: str = ""
) -> Rope3D:
    """Whole numbers on every axis, neighbours paired, the text behind the video and not turned."""
    t, h, w = config["rope_axes_dim"]
    return Rope3D(
        name, (t, h, w), theta=config["rope_theta"], placement=Placement("after"), axes=axes, source=source,
        remark=remark,
    )  # fmt: skip
