"""What Wan's pipelines are put together from."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline, Saying
from tracer.families._encoders import CLIP_H_PICTURE, CLIP_H_VISION, T5_TOKENS, UMT5_XXL
from tracer.families.base import Checkpoint

_VAE = Part(
    "AutoencoderKLWan", {}, "the class's defaults; Wan-Video/Wan2.1 wan/configs, vae_stride", "derived", 126_892_531,
    "float32",
)  # fmt: skip
_SCHEDULER = Part(
    "UniPCMultistepScheduler",
    {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0},
    "diffusers' convert_wan_to_diffusers.py", "derived",
)  # fmt: skip
_SAYINGS = (
    Saying(
        "encode_prompt",
        "What UMT5 makes of the padding is cut off, and zeros are put in its place, up to 512 tokens.",
    ),
    Saying(
        "vae.decode",
        "One latent frame at a time: the first gives one frame, every other one four. Each convolution keeps the "
        "frames it needs of those before.",
    ),
)


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint."""
    parts: dict[str, Component] = {
        "vae": _VAE,
        "scheduler": _SCHEDULER,
        "text_encoder": UMT5_XXL,
        "tokenizer": T5_TOKENS,
    }
    if not checkpoint.config.get("image_dim"):
        return Pipeline("WanPipeline", parts, prompt=511, sayings=_SAYINGS)
    parts |= {"image_encoder": CLIP_H_VISION, "image_processor": CLIP_H_PICTURE}
    return Pipeline("WanImageToVideoPipeline", parts, prompt=511, picture=True, sayings=_SAYINGS)
