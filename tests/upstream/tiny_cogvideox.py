"""Tiny random CogVideoX parts: the transformer of each published kind, and whole pipelines around it."""

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)

INNER, HEAD_DIM, TEXT, TEXT_DIM, TIME_DIM = 32, 16, 6, 12, 8
TINY = {
    "num_attention_heads": INNER // HEAD_DIM,
    "attention_head_dim": HEAD_DIM,
    "in_channels": 4,
    "out_channels": 4,
    "time_embed_dim": TIME_DIM,
    "text_embed_dim": TEXT_DIM,
    "num_layers": 1,
    "sample_width": 8,
    "sample_height": 8,
    "sample_frames": 9,  # three latent frames
    "max_text_seq_length": TEXT,
}
ROPE = {"use_rotary_positional_embeddings": True}
V1_5 = {**ROPE, "patch_size_t": 2, "patch_bias": False}
VARIANTS = {
    "2b": {},
    "5b": ROPE,
    "5b-I2V": {**ROPE, "use_learned_positional_embeddings": True, "in_channels": 8},
    "1.5": V1_5,
    "1.5-I2V": {**V1_5, "in_channels": 8, "ofs_embed_dim": TIME_DIM},
}


def tiny(variant, **changes):
    return CogVideoXTransformer3DModel(**{**TINY, **VARIANTS[variant], **changes}).eval()


def forward(model, *, B=2, frames=None, H=8, W=8, text=TEXT, **inputs):
    config = model.config
    inputs.setdefault(
        "hidden_states", torch.randn(B, frames or (4 if config.patch_size_t else 3), config.in_channels, H, W)
    )
    inputs.setdefault("encoder_hidden_states", torch.randn(B, text, TEXT_DIM))
    inputs.setdefault("timestep", torch.full((B,), 500))
    if config.ofs_embed_dim:
        inputs.setdefault("ofs", torch.full((1,), 2.0))
    return model(**inputs).sample


def pipeline(model, vae=None):
    cls = CogVideoXImageToVideoPipeline if model.config.in_channels == 8 else CogVideoXPipeline
    pipe = cls(tokenizer=None, text_encoder=None, vae=vae, transformer=model, scheduler=CogVideoXDDIMScheduler())
    pipe.set_progress_bar_config(disable=True)
    return pipe


def tiny_vae():
    return AutoencoderKLCogVideoX(
        block_out_channels=(4, 4, 4, 4), latent_channels=4, layers_per_block=1, norm_num_groups=2
    ).eval()


def generate(model, *, B=1, H=16, W=16, steps=1, **kwargs):
    """One run of the whole pipeline on ready-made prompt embeddings."""
    pipe = pipeline(model, tiny_vae())
    if isinstance(pipe, CogVideoXImageToVideoPipeline):
        kwargs.setdefault("image", torch.rand(B, 3, 16, 16))
    kwargs.setdefault("prompt_embeds", torch.randn(B, TEXT, TEXT_DIM))
    kwargs.setdefault("negative_prompt_embeds", torch.randn(B, TEXT, TEXT_DIM))
    kwargs.setdefault("output_type", "latent")
    return pipe(height=H, width=W, num_inference_steps=steps, **kwargs).frames
