"""Two small models, really trained, for the real diffusers pipelines: a prompt, one moving shape, its video."""

from __future__ import annotations

from tracer.probes.pocket.load import NAMES, Pocket, load

__all__ = ["NAMES", "Pocket", "load"]
