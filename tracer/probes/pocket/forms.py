"""The two forms of pocket model: how each is built, how its noise is added, and what it predicts."""

from __future__ import annotations

from functools import cache
from typing import Any, ClassVar, Protocol

import torch

from tracer.probes.pocket.vae import PixelVAE

TEXT = 32  # width of a word vector
SLOTS = 3  # words of a prompt: colour, shape, direction
SEED = 2026


class Form(Protocol):
    """What training, loading and evaluation ask of a form."""

    name: ClassVar[str]
    transformer: ClassVar[dict[str, Any]]
    scheduler: ClassVar[dict[str, Any]]
    guidance: ClassVar[str]  # the pipeline's argument that is classifier-free guidance
    variants: ClassVar[dict[str, tuple[str, dict[str, Any]]]]  # schedulers to evaluate under: class, changes

    def build(self, config: dict[str, Any]) -> Any:
        """A new transformer with random weights."""

    def pipeline(self, transformer: Any, scheduler: dict[str, Any]) -> Any:
        """The real pipeline around a transformer."""

    def embeds(self, words: torch.Tensor, prefix: str = "") -> dict[str, torch.Tensor]:
        """The pipeline's arguments for prompts (B, SLOTS, TEXT)."""

    def noised(
        self, clean: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Training triple of clips (B, F, 3, H, W): noisy clips, timesteps (B,), target."""

    def predict(self, model: Any, noisy: torch.Tensor, timestep: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The model's answer, (B, F, 3, H, W)."""

    def frames_first(self, latents: torch.Tensor) -> torch.Tensor:
        """The pipeline's latents as (B, F, 3, H, W)."""


class HunyuanVideo:
    """Flow matching: x = (1 - sigma) clean + sigma noise, timestep 1000 sigma, target noise - clean."""

    name: ClassVar[str] = "pocket-hunyuanvideo"
    guidance: ClassVar[str] = "true_cfg_scale"
    transformer: ClassVar[dict[str, Any]] = {
        "in_channels": 3,
        "out_channels": 3,
        "num_attention_heads": 4,
        "attention_head_dim": 32,
        "num_layers": 2,
        "num_single_layers": 4,
        "num_refiner_layers": 1,
        "mlp_ratio": 3.0,
        "patch_size": 2,
        "patch_size_t": 1,
        "qk_norm": "rms_norm",
        "guidance_embeds": False,
        "text_embed_dim": TEXT,
        "pooled_projection_dim": TEXT,
        "rope_theta": 256.0,
        "rope_axes_dim": (8, 12, 12),
    }
    scheduler: ClassVar[dict[str, Any]] = {"shift": 1.0}
    variants: ClassVar[dict[str, tuple[str, dict[str, Any]]]] = {
        f"Euler, shift {s:g}": ("FlowMatchEulerDiscreteScheduler", {"shift": s}) for s in (1.0, 3.0, 7.0, 17.0)
    }

    def build(self, config: dict[str, Any]) -> Any:
        """A new HunyuanVideoTransformer3DModel."""
        from diffusers import HunyuanVideoTransformer3DModel

        return HunyuanVideoTransformer3DModel(**config)

    def pipeline(self, transformer: Any, scheduler: dict[str, Any]) -> Any:
        """A HunyuanVideoPipeline with the flow-matching Euler scheduler."""
        from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline

        return HunyuanVideoPipeline(
            transformer=transformer,
            scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
            vae=PixelVAE(),
            text_encoder=None,
            tokenizer=None,
            text_encoder_2=None,
            tokenizer_2=None,
        )

    def embeds(self, words: torch.Tensor, prefix: str = "") -> dict[str, torch.Tensor]:
        """Word vectors, their mean as the pooled projection, and a mask of ones."""
        return {
            f"{prefix}prompt_embeds": words,
            f"{prefix}pooled_prompt_embeds": words.mean(1),
            f"{prefix}prompt_attention_mask": torch.ones(words.shape[:2], device=words.device),
        }

    def noised(
        self, clean: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Sigmas are uniform under a flow shift of 2: early steps are where a sample is decided."""
        u = torch.rand(len(clean), generator=generator)
        sigma = 2 * u / (1 + u)
        noise = torch.randn(clean.shape, generator=generator)
        level = sigma[:, None, None, None, None]
        return (1 - level) * clean + level * noise, 1000 * sigma, noise - clean

    def predict(self, model: Any, noisy: torch.Tensor, timestep: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """The velocity, asked of the transformer as the pipeline asks."""
        text = self.embeds(words)
        (v,) = model(
            hidden_states=noisy.transpose(1, 2),
            timestep=timestep,
            encoder_hidden_states=text["prompt_embeds"],
            encoder_attention_mask=text["prompt_attention_mask"],
            pooled_projections=text["pooled_prompt_embeds"],
            return_dict=False,
        )
        return self.frames_first(v)

    def frames_first(self, latents: torch.Tensor) -> torch.Tensor:
        """The pipeline has (B, 3, F, H, W)."""
        return latents.transpose(1, 2)


class CogVideoX:
    """v-prediction on CogVideoX's schedule: x = a clean + s noise with a^2 + s^2 = 1, target a noise - s clean.

    `snr_shift_scale` is 1 as in CogVideoX-5b, not 3 as in 2b: the shift makes up for large latents, whose neighbours
    say the same thing, and these are small. Half of the training clips take another scale between 1 and 4, with the
    timestep left as it is, so that a sampler with another scale still meets noise the model has seen.
    """

    name: ClassVar[str] = "pocket-cogvideox"
    guidance: ClassVar[str] = "guidance_scale"
    transformer: ClassVar[dict[str, Any]] = {
        "num_attention_heads": 4,
        "attention_head_dim": 32,
        "in_channels": 3,
        "out_channels": 3,
        "time_embed_dim": 96,
        "text_embed_dim": TEXT,
        "num_layers": 6,
        "sample_width": 12,
        "sample_height": 12,
        "sample_frames": 17,
        "patch_size": 2,
        "max_text_seq_length": SLOTS,
        "use_rotary_positional_embeddings": True,
    }
    scheduler: ClassVar[dict[str, Any]] = {
        "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True,
        "timestep_spacing": "trailing",
        "snr_shift_scale": 1.0,
        "clip_sample": False,
    }
    variants: ClassVar[dict[str, tuple[str, dict[str, Any]]]] = {
        "DDIM, snr_shift_scale 1": ("CogVideoXDDIMScheduler", {}),
        "DDIM, snr_shift_scale 3": ("CogVideoXDDIMScheduler", {"snr_shift_scale": 3.0}),
        "DPM, snr_shift_scale 1": ("CogVideoXDPMScheduler", {}),
    }

    def build(self, config: dict[str, Any]) -> Any:
        """A new CogVideoXTransformer3DModel."""
        from diffusers import CogVideoXTransformer3DModel

        return CogVideoXTransformer3DModel(**config)

    def pipeline(self, transformer: Any, scheduler: dict[str, Any]) -> Any:
        """A CogVideoXPipeline with the DDIM scheduler."""
        from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline

        return CogVideoXPipeline(
            transformer=transformer,
            scheduler=CogVideoXDDIMScheduler(**scheduler),
            vae=PixelVAE(),
            text_encoder=None,
            tokenizer=None,
        )

    def embeds(self, words: torch.Tensor, prefix: str = "") -> dict[str, torch.Tensor]:
        """Word vectors as they are."""
        return {f"{prefix}prompt_embeds": words}

    def noised(
        self, clean: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Timesteps are uniform over the 1000 of the schedule."""
        n = len(clean)
        t = torch.randint(1000, (n,), generator=generator)
        shifted = torch.rand(n, generator=generator) < 0.5
        scale = torch.where(shifted, 4 ** torch.rand(n, generator=generator), 1.0).double()
        signal = alpha_bar(t, scale).float()[:, None, None, None, None]
        noise = torch.randn(clean.shape, generator=generator)
        a, s = signal.sqrt(), (1 - signal).sqrt()
        return a * clean + s * noise, t, a * noise - s * clean

    def predict(self, model: Any, noisy: torch.Tensor, timestep: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """v, asked of the transformer as the pipeline asks, with the pipeline's own rotary positions."""
        frames, height, width = noisy.shape[1], noisy.shape[3], noisy.shape[4]
        (v,) = model(
            hidden_states=noisy,
            timestep=timestep,
            encoder_hidden_states=words,
            image_rotary_emb=rotary(self, frames, height, width, str(noisy.device)),
            return_dict=False,
        )
        return v  # type: ignore[no-any-return]

    def frames_first(self, latents: torch.Tensor) -> torch.Tensor:
        """The pipeline has them so."""
        return latents


def alpha_bar(t: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CogVideoX's signal share at timesteps (B,) for SNR shifts (B,), float64, with zero SNR at t = 999.

    beta runs from 0.00085 to 0.012 linearly in its root; abar / (c + (1 - c) abar) divides the SNR by c; then the
    root of abar is moved and stretched so that it ends at 0 (Lin et al. 2023, arXiv 2305.08891).
    """
    beta = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    bar = (1 - beta).cumprod(0)
    root = (bar / (scale[:, None] + (1 - scale[:, None]) * bar)).sqrt()
    first, last = root[:, :1], root[:, -1:]
    return (((root - last) * first / (first - last)).gather(1, t[:, None])[:, 0]) ** 2


@cache
def rotary(form: CogVideoX, frames: int, height: int, width: int, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The rotary tables that CogVideoXPipeline makes for latents of this size."""
    with torch.device("meta"):
        pipe = form.pipeline(form.build(form.transformer), form.scheduler)
    return pipe._prepare_rotary_positional_embeddings(8 * height, 8 * width, frames, torch.device(device))  # type: ignore[no-any-return]


FORMS: dict[str, Form] = {form.name: form for form in (HunyuanVideo(), CogVideoX())}
