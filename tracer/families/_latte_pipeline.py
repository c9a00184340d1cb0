"""What Latte's pipeline is put together from."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline
from tracer.families._encoders import T5_TOKENS, T5_XXL
from tracer.families.base import Checkpoint

_PARTS: dict[str, Component] = {
    "vae": Part(
        "AutoencoderKL",
        {"block_out_channels": (128, 256, 512, 512), "layers_per_block": 2,
         "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4},
        "Stable Diffusion's image VAE, which Latte takes over", "derived", 83_653_863,
    ),
    "scheduler": Part("DDIMScheduler", {}, "model_index.json of maxin-cn/Latte-1; the class's defaults", "derived"),
    "text_encoder": T5_XXL, "tokenizer": T5_TOKENS,
}  # fmt: skip


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint; cleaning a caption needs a library of its own, so it is left out."""
    return Pipeline("LattePipeline", _PARTS, prompt=119, arguments={"clean_caption": False})
