"""3D rotary positions: published variants as data, to build, look at, compare and check.

`from tracer import rope` loads no torch and no numpy; each name brings what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracer.lazy import serve

if TYPE_CHECKING:
    from tracer.rope.check import check_rope as check_rope
    from tracer.rope.faults import Departure as Departure
    from tracer.rope.grids import AXES as AXES
    from tracer.rope.grids import Crop as Crop
    from tracer.rope.grids import Whole as Whole
    from tracer.rope.report import Convention as Convention
    from tracer.rope.report import RopeReport as RopeReport
    from tracer.rope.rope3d import Interpolation as Interpolation
    from tracer.rope.rope3d import Placement as Placement
    from tracer.rope.rope3d import Rope3D as Rope3D
    from tracer.rope.rope3d import quarter as quarter
    from tracer.rope.rope3d import six_way as six_way
    from tracer.rope.showing import compare_ropes as compare_ropes
    from tracer.rope.showing import show_rope as show_rope
    from tracer.rope.variants import changed as changed
    from tracer.rope.variants import names as names
    from tracer.rope.variants import published as published

_HOME = {
    "Convention": "report", "Departure": "faults", "RopeReport": "report", "check_rope": "check",
    "AXES": "grids", "Crop": "grids", "Whole": "grids",
    "Interpolation": "rope3d", "Placement": "rope3d", "Rope3D": "rope3d", "quarter": "rope3d", "six_way": "rope3d",
    "compare_ropes": "showing", "show_rope": "showing", "changed": "variants", "names": "variants",
    "published": "variants",
}  # fmt: skip

__all__ = [
    "AXES", "Convention", "Crop", "Departure", "Interpolation", "Placement", "Rope3D", "RopeReport", "Whole", "changed",
    "check_rope", "compare_ropes", "names", "published", "quarter", "show_rope", "six_way",
]  # fmt: skip

__getattr__, __dir__ = serve(__name__, _HOME)
