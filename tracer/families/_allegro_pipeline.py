"""What Allegro's pipeline is put together from."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline
from tracer.families._encoders import T5_TOKENS, T5_XXL
from tracer.families.base import Checkpoint

_PARTS: dict[str, Component] = {
    "vae": Part("AutoencoderKLAllegro", {}, "the class's defaults", "derived", 174_955_751, "float32"),
    "scheduler": Part(
        "EulerAncestralDiscreteScheduler",
        {"beta_start": 0.0001, "beta_end": 0.02, "beta_schedule": "linear", "prediction_type": "epsilon",
         "timestep_spacing": "linspace"},
        "scheduler/scheduler_config.json of rhymes-ai/Allegro", "verified",
    ),
    "text_encoder": T5_XXL, "tokenizer": T5_TOKENS,
}  # fmt: skip


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint; its VAE decodes in tiles only."""
    return Pipeline("AllegroPipeline", _PARTS, prompt=511, arguments={"clean_caption": False}, tiled=True)
