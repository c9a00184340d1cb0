"""What FramePack's pipeline is put together from: HunyuanVideo's parts, and an encoder for the first picture."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline
from tracer.families._encoders import (
    CLIP_L,
    CLIP_TOKENS,
    LLAMA_3_8B,
    LLAMA_TOKENS,
    SIGLIP,
    SIGLIP_PICTURE,
)
from tracer.families._hunyuan_vae import PROMPT, VAE
from tracer.families.base import Checkpoint

_PARTS: dict[str, Component] = {
    "vae": VAE,
    "scheduler": Part(
        "FlowMatchEulerDiscreteScheduler", {"shift": 7.0},
        "HunyuanVideo's own, which the example of HunyuanVideoFramepackPipeline loads; the shift that the pipeline "
        "computes acts on dynamic ones only", "derived",
    ),
    "text_encoder": LLAMA_3_8B, "tokenizer": LLAMA_TOKENS, "text_encoder_2": CLIP_L, "tokenizer_2": CLIP_TOKENS,
    "image_encoder": SIGLIP, "feature_extractor": SIGLIP_PICTURE,
}  # fmt: skip


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint."""
    return Pipeline("HunyuanVideoFramepackPipeline", _PARTS, prompt=255, picture=True, sayings=(PROMPT,))
