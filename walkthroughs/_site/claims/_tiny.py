"""What the checks measure with: diffusers' own classes and the package's GameCraft, made small.

What decides shapes is as published; only widths and depths are small, and weights are random but seeded. torch and
diffusers are loaded when something is measured, so that kept findings can be shown without them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

CHANNELS = {"block_out_channels": (4,) * 4, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2}
GAMECRAFT = {
    "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_single_layers": 1,
    "num_refiner_layers": 1, "text_embed_dim": 12, "pooled_projection_dim": 6, "rope_axes_dim": (4, 2, 2),
}  # fmt: skip
TEXT, TEXT_DIM = 6, 12
COGVIDEOX = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "time_embed_dim": 8,
    "text_embed_dim": TEXT_DIM, "num_layers": 1, "sample_width": 8, "sample_height": 8, "sample_frames": 9,
    "max_text_seq_length": TEXT, "use_rotary_positional_embeddings": True,
}  # fmt: skip


def seeded(make: Callable[[], Any]) -> Any:
    """A module with random weights that are the same each time; nobody else's random numbers change."""
    import torch

    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make().eval()


@cache
def hunyuan_vae() -> Any:
    """HunyuanVideo's VAE, whose layout GameCraft uses too."""
    from diffusers import AutoencoderKLHunyuanVideo

    return seeded(lambda: AutoencoderKLHunyuanVideo(**CHANNELS))


@cache
def cogvideox_vae() -> Any:
    """CogVideoX's VAE."""
    from diffusers import AutoencoderKLCogVideoX

    return seeded(lambda: AutoencoderKLCogVideoX(**CHANNELS))


def latents(frames: int, height: int = 16, width: int = 16) -> tuple[int, int, int]:
    """Frames, rows and columns that HunyuanVideo's VAE encodes a black clip to."""
    import torch

    with torch.no_grad():
        return tuple(hunyuan_vae().encode(torch.zeros(1, 3, frames, height, width)).latent_dist.mean.shape[2:])


def there_and_back(frames: int) -> int:
    """Frames that HunyuanVideo's VAE decodes from what it encodes."""
    import torch

    with torch.no_grad():
        return int(hunyuan_vae().decode(torch.zeros(1, 4, latents(frames)[0], 2, 2)).sample.shape[2])


def takes(frames: int) -> bool:
    """Whether HunyuanVideo's VAE encodes that many frames."""
    try:
        latents(frames)
    except (RuntimeError, ValueError):
        return False
    return True


def cogvideox(**changes: Any) -> Any:
    """CogVideoX's transformer: that of 5b, or another by changes of the config."""
    from diffusers import CogVideoXTransformer3DModel

    return seeded(lambda: CogVideoXTransformer3DModel(**{**COGVIDEOX, **changes}))


def cogvideox_pipeline(*, picture: bool = False, scheduler: str = "CogVideoXDDIMScheduler", **changes: Any) -> Any:
    """CogVideoX's whole pipeline, from ready-made prompt embeddings to latents; picture: from an image too."""
    import diffusers

    cls = diffusers.CogVideoXImageToVideoPipeline if picture else diffusers.CogVideoXPipeline
    pipe = cls(
        tokenizer=None, text_encoder=None, vae=cogvideox_vae(), transformer=cogvideox(**changes),
        scheduler=getattr(diffusers, scheduler)(),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def prompt() -> Any:
    """A prompt as the text encoder would hand it over."""
    import torch

    return torch.linspace(-1, 1, TEXT * TEXT_DIM).reshape(1, TEXT, TEXT_DIM)


def watched(pipe: Any, **request: Any) -> list[dict[str, Any]]:
    """The keyword arguments of each call of the transformer while the pipeline runs without guidance."""
    import torch

    seen: list[dict[str, Any]] = []
    hook = pipe.transformer.register_forward_pre_hook(lambda _, __, kwargs: seen.append(kwargs), with_kwargs=True)
    try:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(0)
            pipe(prompt_embeds=prompt(), height=16, width=16, guidance_scale=1.0, output_type="latent", **request)
    finally:
        hook.remove()
    return seen
