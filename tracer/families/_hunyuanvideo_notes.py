"""What the shapes of HunyuanVideo mean. The claims are checked against every checkpoint's trace."""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

from tracer.families import _hunyuan_parts as parts
from tracer.families._hunyuan_parts import CONDITIONING, DUAL, FILE, SINGLE, chunks
from tracer.families.base import Config
from tracer.notes import Note

_CHANNELS = {
    "latent_concat": "Of the 33 channels, 16 are noise, 16 the image's latents (empty after the first frame) "
    "and one a mask that says which frame is given.",
    "token_replace": "The first latent frame is the given image itself, in every step.",
}


def notes(config: Config) -> list[Note]:
    """Notes for a config, in the order of the run."""
    image, guided = config["image_condition_type"], config["guidance_embeds"]
    replace = image == "token_replace"
    norms = (f"{FILE}:HunyuanVideoTokenReplaceAdaLayerNormZero",) if replace else ()
    single = (f"{FILE}:HunyuanVideoTokenReplaceAdaLayerNormZeroSingle",) if replace else ()
    return [
        *parts.rope_tables(),
        *parts.timestep_and_text(),
        *(_timestep_zero() if replace else ()),
        *(parts.guidance() if guided else ()),
        *parts.conditioning("timestep, guidance and pooled text" if guided else "timestep and pooled text"),
        *parts.patch_embed(_CHANNELS.get(image or "", ""), "config:in_channels" if image else "config:patch_size"),
        *parts.text_refiner(),
        *parts.attention_mask(),
        *parts.dual_blocks(*norms, gated=not replace),
        *(_first_frame() if replace else ()),
        *parts.single_blocks(*single),
        *(_first_frame_single() if replace else ()),
        *parts.ends(),
    ]


def _timestep_zero() -> list[Note]:
    return [
        Note(
            "time-embedding", f"{CONDITIONING}.timestep_embedder", "timestep 0", "B D",
            "The same layers at t = 0: the first frame is the given image, already clean, and its tokens are "
            "modulated as if no noise were left.",
            "config:image_condition_type", nth=1,
        ),
    ]


def _first_frame() -> list[Note]:
    norm = f"{DUAL}.norm1"
    return [
        Note(
            "modulation", norm, "first frame's six", chunks(6),
            "Six more from the vector at timestep 0, through the same linear layer, for the first frame's tokens.",
            f"tensor:{norm}.linear.weight", op="chunk", nth=1,
        ),
        Note(
            "modulation", norm, "first frame | others", "B S D",
            "The first (H/p)·(W/p) tokens get one modulation, all others the other; then they are joined again.",
            f"{FILE}:HunyuanVideoTokenReplaceTransformerBlock", op="cat",
        ),
        Note(
            "gate", DUAL, "video + gate·attention", "B S D",
            "The residual in two pieces: the first frame's tokens with their gate, the others with theirs.",
            f"tensor:{DUAL}.norm1.linear.bias", op="cat", out="hidden_states",
            also=(f"{DUAL} mul", f"{DUAL} add", f"{DUAL} cat"),
        ),
    ]


def _first_frame_single() -> list[Note]:
    norm = f"{SINGLE}.norm"
    return [
        Note(
            "modulation", norm, "first frame's three", chunks(3),
            "And three at timestep 0, for the first frame.",
            f"tensor:{norm}.linear.bias", op="chunk", nth=1, brief=False,
        ),
    ]
