"""Shapes, formulas and costs of video diffusion transformers. `import tracer` loads neither torch nor diffusers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracer.api import trace as trace
    from tracer.recorder import record as record
