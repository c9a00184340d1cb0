"""What the pipelines of HunyuanVideo and FramePack share: the VAE, and what their calls are for."""

from __future__ import annotations

from tracer.components import Part, Saying

VAE = Part(
    "AutoencoderKLHunyuanVideo", {}, "config.json of diffusers/HunyuanVideo-vae, equal to the class's defaults",
    "verified", 246_478_803,
)  # fmt: skip

DECODE = Saying(
    "vae.decode",
    "Windows of 5 latent frames, 3 apart, each decoded on its own to 17 frames: of the first 13 are kept, of every "
    "other one 12, the first 4 of them blended with the window before.",
)
CLIP = "Of CLIP it is one vector for the whole prompt: what stands at the end token, of 77 at most."
PROMPT = Saying(
    "encode_prompt",
    "Of Llama not the last states are taken but those behind layer 30 of 32 (index -3 of 33), without the 95 tokens of "
    f"the template before the prompt. {CLIP}",
)
