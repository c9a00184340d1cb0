"""What HunyuanVideo-1.5's pipelines are put together from."""

from __future__ import annotations

from tracer.components import Component, Part, Pipeline, Saying
from tracer.families._encoders import (
    BYT5_SMALL,
    BYT5_TOKENS,
    QWEN_2_5_VL_TEXT,
    QWEN_TOKENS,
    SIGLIP,
    SIGLIP_PICTURE,
)
from tracer.families.base import Checkpoint

_CONVERTER = "diffusers' convert_hunyuan_video1_5_to_diffusers.py"
_SHIFT = {"480p": 5.0, "720p-t2v": 9.0, "720p-i2v": 7.0}
_GUIDANCE = Part("ClassifierFreeGuidance", {"guidance_scale": 6.0}, _CONVERTER, "derived")
_VAE = Part(
    "AutoencoderKLHunyuanVideo15", {}, f"{_CONVERTER}, which takes the class's defaults", "derived", 1_260_634_115
)
_SAYINGS = (
    Saying(
        "encode_prompt",
        "Of Qwen the states behind layer 26 of 28 (index -3 of 29), without the 108 tokens of the template. ByT5 gets, "
        "as bytes, what the prompt puts in quotes: the letters to be seen in the video; without any its part is zeros.",
    ),
)


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint; its name says size and task."""
    picture = "t2v" not in checkpoint.name
    size = "720p" if checkpoint.config.get("target_size") == 960 else "480p"
    shift = _SHIFT["480p" if size == "480p" else f"{size}-{'i2v' if picture else 't2v'}"]
    parts: dict[str, Component] = {
        "vae": _VAE, "scheduler": Part("FlowMatchEulerDiscreteScheduler", {"shift": shift}, _CONVERTER, "derived"),
        "text_encoder": QWEN_2_5_VL_TEXT, "tokenizer": QWEN_TOKENS, "text_encoder_2": BYT5_SMALL,
        "tokenizer_2": BYT5_TOKENS, "guider": _GUIDANCE,
    }  # fmt: skip
    if not picture:
        return Pipeline("HunyuanVideo15Pipeline", parts, prompt=995, quoted=True, sayings=_SAYINGS)
    parts |= {"image_encoder": SIGLIP, "feature_extractor": SIGLIP_PICTURE}
    return Pipeline(
        "HunyuanVideo15ImageToVideoPipeline", parts, prompt=995, quoted=True, picture=True, sized=False,
        sayings=_SAYINGS,
    )  # fmt: skip
