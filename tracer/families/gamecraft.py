"""Hunyuan-GameCraft 1.0 (Tencent): HunyuanVideo that is steered by the camera, one action at a time.

Features of the architecture:
- HunyuanVideo's transformer, block for block, without its guidance embedding: guidance is a second sample in the batch
- 33 input channels: 16 of latents to denoise, 16 of the history's latents, one mask that says which is which
- an action is 33 frames and 33 camera poses, always: 9 latent frames
- latents of the history stand in front: one for a start image (10 in all), or the 9 of the action before (18)
- a small network turns poses (a ray for each pixel) into tokens, which are added to the video's tokens
- empty poses for the history

diffusers has no class for it: `tracer/models/gamecraft.py` is written from the original's code.

Sources: github.com/Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at 07afcd4, hymm_sp/modules/models.py and cameranet.py,
hymm_sp/sample_inference.py, hymm_sp/diffusion/pipelines, scripts/run_sample_batch_sp.sh.
"""

from __future__ import annotations

from typing import Any

from tracer.families._gamecraft_notes import notes
from tracer.families._hunyuan_letters import HEADS, MLP, OUT, POOLED, TEXT
from tracer.families._hunyuan_rope import hunyuan_rope
from tracer.families._sizes import latents
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes, nearest
from tracer.gamecraft_frames import frame_rule, latent_count
from tracer.rope.rope3d import Rope3D

_SOURCE = (
    "hymm_sp/modules/models.py and scripts/run_sample_batch_sp.sh of github.com/Tencent-Hunyuan/Hunyuan-GameCraft-1.0; "
    "the parameters are those of the class built from that code"
)


def _checkpoint(name: str, frames: int) -> Checkpoint:
    request = Request(batch=2, frames=frames, height=704, width=1216, text_tokens=256)
    return Checkpoint(
        name, "tencent/Hunyuan-GameCraft-1.0", {}, request, 12_811_285_937, "bfloat16", _SOURCE, "verified"
    )


CHECKPOINTS = (_checkpoint("gamecraft", 34), _checkpoint("gamecraft-continue", 66))
"""One set of weights, asked in two ways: behind a start image, and behind the action before."""

COMPRESSION_T, COMPRESSION = 4, 8  # of the VAE: frames, and rows or columns


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("c", "pose_channels", "camera_in_channels", "numbers of a pose for each pixel", 2, number=True),
        Letter("r", "pose_square", "camera_down_coef", "rows and columns of pixels folded into one", 2, number=True),
        *HEADS,
        Letter("C", "channels", "in_channels", "channels that go in: latents, history, mask"),
        OUT,
        TEXT,
        POOLED,
        MLP,
    ]


def _inputs(config: Config) -> list[Input]:
    return [
        Input("hidden_states", "B C F H W"),
        Input("timestep", "B", "float32"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("encoder_attention_mask", "B L", fill="ones"),
        Input("pooled_projections", "B pooled"),
        Input("camera_states", f"B {config['clip_frames']} c r*H r*W"),
    ]


def action_latents(config: Config) -> int:
    """Latent frames of one action: 9."""
    return int(config["clip_frames"] - 1) // COMPRESSION_T + 1


def _sizes(config: Config, request: Request) -> dict[str, int]:
    return latents(request, latent_count(request.frames), COMPRESSION)


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    clip, latents = config["clip_frames"], action_latents(config)
    step = COMPRESSION * config["patch_size"]
    for name, value in (("height", r.height), ("width", r.width)):
        if value % step:
            found.errors.append(
                f"--{name} {value} cannot be cut whole: poses are folded by {config['camera_down_coef']} pixels and "
                f"latents by {config['patch_size']}, so it must be divisible by {step}; use {nearest(value, step)}."
            )
    if r.frames == clip:
        found.warnings.append(
            f"{clip} frames are an action with nothing before it: the transformer has a branch for its {latents} "
            "latent frames, which none of the published scripts takes."
        )
    elif r.frames in (clip + 1, 2 * clip):
        history = "1 is the start image" if r.frames == clip + 1 else f"{latents} are the action before"
        found.warnings.append(
            f"of {latent_count(r.frames)} latent frames {history}; the other {latents} decode to {clip} new frames."
        )
    else:
        found.errors.append(
            f"--frames {r.frames} is no length of this model, which makes {clip} frames at a time; use {clip + 1} "
            f"(a start image and {clip} new frames: {latents + 1} latent frames) or {2 * clip} (the {clip} frames "
            f"before and {clip} new ones: {2 * latents})."
        )
    return found


def _constraints(config: Config) -> list[str]:
    p, latents = config["patch_size"], action_latents(config)
    return [
        f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels",
        f"F is {latents + 1} behind an image, {2 * latents} behind an action (clip_frames {config['clip_frames']})",
        "d = d_t + d_y + d_x (rope_axes_dim): the rotary parts of the three axes fill a head",
    ]


def _fixed(config: Config) -> dict[str, str]:
    return {"F": f"{config['clip_frames']} new frames, behind one image or one other action (clip_frames)"}


def _limited(config: Config) -> dict[str, tuple[int, ...]]:
    """Even ones to probe, for two actions of equal length, twice a prime of their own; and what the config allows."""
    action = action_latents(config)
    return {"F": (6, 422, 446, action, action + 1, 2 * action)}


def _probe_config(config: Config, real: Sizes, point: Sizes) -> dict[str, Any]:
    """The action's length that takes the probed latent frames down the branch of the real ones."""
    latents = action_latents(config)
    action = {latents: point["F"], latents + 1: point["F"] - 1, 2 * latents: point["F"] // 2}[real["F"]]
    return {"clip_frames": COMPRESSION_T * (action - 1) + 1}


def _rope(config: Config) -> Rope3D:
    return hunyuan_rope(
        "gamecraft",
        config,
        source="Hunyuan-GameCraft-1.0 hymm_sp/modules/posemb_layers.py: get_nd_rotary_pos_embed",
    )


FAMILY = Family(
    name="gamecraft",
    title="Hunyuan-GameCraft",
    model="GameCraftTransformer",
    summary="HunyuanVideo steered by camera poses; 33 new frames at a time",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fixed=_fixed,
    limited=_limited,
    probe_config=_probe_config,
    depths=("num_layers", "num_single_layers", "num_refiner_layers"),
    notes=notes,
    frames=frame_rule(),
    rope=_rope,
)
