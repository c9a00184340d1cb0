"""The annotated video diffusion transformer: shapes, formulas and costs from the real classes.

`import tracer` loads neither torch nor diffusers; each name brings what it needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracer.lazy import serve

if TYPE_CHECKING:
    from tracer.api import trace as trace
    from tracer.calls import Call as Call
    from tracer.calls import Trace as Trace
    from tracer.errors import TracerError as TracerError
    from tracer.formula import Formula as Formula
    from tracer.generic import annotate_by_code as annotate_by_code
    from tracer.pipelines import record_pipeline as record_pipeline
    from tracer.planning import plan_frames as plan_frames
    from tracer.probes.attach import L1Probe as L1Probe
    from tracer.recorder import record as record
    from tracer.rope.check import check_rope as check_rope
    from tracer.rope.showing import show_rope as show_rope
    from tracer.shapes import Dim as Dim
    from tracer.shapes import TensorSpec as TensorSpec
    from tracer.whole import trace_pipeline as trace_pipeline

__version__ = "0.1.0"

_HOME = {
    "trace": "api", "trace_pipeline": "whole", "record": "recorder", "record_pipeline": "pipelines",
    "plan_frames": "planning", "annotate_by_code": "generic", "Trace": "calls", "Call": "calls", "Dim": "shapes",
    "TensorSpec": "shapes", "Formula": "formula", "TracerError": "errors", "check_rope": "rope.check",
    "show_rope": "rope.showing", "L1Probe": "probes.attach",
}  # fmt: skip

__all__ = [
    "Call", "Dim", "Formula", "L1Probe", "TensorSpec", "Trace", "TracerError", "annotate_by_code", "check_rope",
    "plan_frames", "record", "record_pipeline", "show_rope", "trace", "trace_pipeline",
]  # fmt: skip

__getattr__, __dir__ = serve(__name__, _HOME, "__version__")
