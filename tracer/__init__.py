"""The annotated video diffusion transformer: shapes, formulas and costs from the real classes.

`import tracer` loads neither torch nor diffusers; each name brings what it needs when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracer.api import trace as trace
    from tracer.calls import Call as Call
    from tracer.calls import Trace as Trace
    from tracer.errors import TracerError as TracerError
    from tracer.formula import Formula as Formula
    from tracer.recorder import record as record
    from tracer.shapes import Dim as Dim
    from tracer.shapes import TensorSpec as TensorSpec

__version__ = "0.1.0"

_HOME = {
    "trace": "api", "record": "recorder", "Trace": "calls", "Call": "calls", "Dim": "shapes",
    "TensorSpec": "shapes", "Formula": "formula", "TracerError": "errors",
}  # fmt: skip

__all__ = ["Call", "Dim", "Formula", "TensorSpec", "Trace", "TracerError", "record", "trace"]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(f"tracer.{_HOME[name]}"), name)
    raise AttributeError(f"module 'tracer' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
