"""What Mochi's pipeline is put together from."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline
from tracer.families._encoders import T5_TOKENS, T5_XXL
from tracer.families.base import Checkpoint

_CONVERTER = "diffusers' convert_mochi_to_diffusers.py"
_PARTS: dict[str, Component] = {
    "vae": Part("AutoencoderKLMochi", {}, f"{_CONVERTER}, which takes the class's defaults", "derived", 459_748_611),
    "scheduler": Part("FlowMatchEulerDiscreteScheduler", {"invert_sigmas": True}, _CONVERTER, "derived"),
    "text_encoder": T5_XXL, "tokenizer": T5_TOKENS,
}  # fmt: skip


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint."""
    return Pipeline("MochiPipeline", _PARTS, prompt=255, least_steps=2)
