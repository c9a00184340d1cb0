"""What LTX-Video's pipeline is put together from."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline
from tracer.errors import BadRequest
from tracer.families._encoders import T5_TOKENS, T5_XXL
from tracer.families.base import Checkpoint

_CONVERTER = "diffusers' convert_ltx_to_diffusers.py"
_PARTS: dict[str, Component] = {
    "vae": Part(
        "AutoencoderKLLTXVideo", {}, f"{_CONVERTER}, version 0.9.0: the class's defaults", "derived", 419_193_649
    ),
    "scheduler": Part(
        "FlowMatchEulerDiscreteScheduler",
        {"use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "base_image_seq_len": 1024,
         "max_image_seq_len": 4096, "shift_terminal": 0.1},
        _CONVERTER, "derived",
    ),
    "text_encoder": T5_XXL, "tokenizer": T5_TOKENS,
}  # fmt: skip


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint. Raises BadRequest for one whose other parts are not known here."""
    if checkpoint.name != "ltx-video":
        raise BadRequest(
            f"of {checkpoint.name} only the transformer is known here, not its VAE; leave --pipeline out, or take "
            "ltx-video."
        )
    return Pipeline("LTXPipeline", _PARTS, prompt=127, least_steps=2)
