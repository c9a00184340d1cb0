"""What HunyuanVideo's pipelines are put together from; FramePack's is HunyuanVideo's with a picture encoder."""

from __future__ import annotations

from tracer.components import Component, Part, Picture, Pipeline, Saying
from tracer.families._encoders import CLIP_L, CLIP_TOKENS, LLAMA_3_8B, LLAMA_TOKENS, LLAVA_8B, LLAVA_TOKENS
from tracer.families._hunyuan_vae import CLIP, DECODE, PROMPT, VAE
from tracer.families.base import Checkpoint

_SCHEDULER = Part(
    "FlowMatchEulerDiscreteScheduler", {"shift": 7.0},
    "scheduler_config.json of magespace/hyvideo-diffusers-dev; diffusers' convert_hunyuan_video_to_diffusers.py",
    "derived",
)  # fmt: skip


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint."""
    shared: dict[str, Component] = {
        "vae": VAE,
        "scheduler": _SCHEDULER,
        "text_encoder_2": CLIP_L,
        "tokenizer_2": CLIP_TOKENS,
    }
    text: dict[str, Component]
    if not checkpoint.config.get("image_condition_type"):
        text = {"text_encoder": LLAMA_3_8B, "tokenizer": LLAMA_TOKENS}
        return Pipeline("HunyuanVideoPipeline", {**shared, **text}, prompt=255, sayings=(PROMPT, DECODE))
    text = {"text_encoder": LLAVA_8B, "tokenizer": LLAVA_TOKENS, "image_processor": Picture(336)}
    step = 2 if checkpoint.config["image_condition_type"] == "latent_concat" else 4
    llava = Saying(
        "encode_prompt",
        f"The template's one picture token becomes 576, so Llama sees 934. Handed on, from behind layer 30 of 32, are "
        f"every {step}{'nd' if step == 2 else 'th'} of the picture's, {576 // step}, and 252 of the text: without the "
        f"template before the prompt and without the assistant's header. {CLIP}",
    )
    return Pipeline(
        "HunyuanVideoImageToVideoPipeline", {**shared, **text}, prompt=251, picture=True,
        sayings=(llava, DECODE),
    )  # fmt: skip
