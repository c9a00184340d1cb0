"""What the shapes of GameCraft mean, where they are not HunyuanVideo's own."""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

from tracer.families import _hunyuan_parts as parts
from tracer.families.base import Config
from tracer.notes import Note

_MODEL = "source:tracer.models.gamecraft"
_CHANNELS = (
    "Of the 33 channels, 16 are the latents to denoise, 16 the history's latents (zero where there is none) and one a "
    "mask that is one on the history."
)


def notes(config: Config) -> list[Note]:
    """Notes for a config, in the order of the run."""
    shared = [
        *parts.rope_tables(),
        *parts.timestep_and_text(),
        *parts.conditioning("timestep and pooled text"),
        *parts.patch_embed(_CHANNELS, "config:in_channels"),
        *parts.text_refiner(),
        *parts.attention_mask(),
        *parts.dual_blocks(),
        *parts.single_blocks(),
        *parts.ends(),
    ]
    # one frame to a patch is written in the code, not in the config
    return [*_camera(), *parts.adapted(shared, {"p_t": "1"}, {"p_t frames, p rows": "of one frame, p rows"})]


def _camera() -> list[Note]:
    return [
        Note(
            "camera", "", "camera tokens", "B S D",
            "A pose is a picture of rays, six numbers for each pixel: squares of 8×8 pixels are folded into channels, "
            "and 1×1 convolutions bring those to the latents' own. Between them time is halved twice, 33 poses to 17 "
            "to 9. The history's poses are empty: 4 for a start image, 33 for an action.",
            f"{_MODEL}:GameCraftTransformer.camera_tokens", op="camera_tokens",
        ),
        Note(
            "camera", "x_embedder", "video + camera", "B S D",
            "Added once, before the first block: the camera costs no token and no attention. The last 1×1 "
            "convolution starts at zero, so a fresh camera network adds nothing.",
            "tensor:camera_net.final_proj.weight", op="add",
        ),
    ]
