"""Latte, as diffusers runs it: text to video.

Features of the architecture:
- latents (B, C, F, H, W); frames join the batch and a 2-D convolution cuts squares of 2×2
- blocks in pairs: in the first, the tokens of one frame look at each other and at the text; in the second, one place of
  the picture looks at itself over all frames
- two tables of positions: rows and columns are added at the start, frames before the first block over frames
- one timestep embedding gives six vectors for all blocks; each block adds a small table of its own
- twice as many channels come out as go in: the prediction and a variance, which the pipeline drops

Sources: diffusers' models/transformers/latte_transformer_3d.py and pipelines/latte; sizes as in PixArt-α, which the
weights started from (the class's own comments name 1152, 4096 and 120 tokens).
"""

from __future__ import annotations

from tracer.families._sizes import latents, refuse_parts
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes
from tracer.frame_steps import DecodeEach, EncodeEach, Only, Vae
from tracer.frames import FrameRule

CHECKPOINTS = (
    Checkpoint(
        "latte-1", "maxin-cn/Latte-1",
        {
            "num_attention_heads": 16, "attention_head_dim": 72, "in_channels": 4, "out_channels": 8, "num_layers": 28,
            "cross_attention_dim": 1152, "attention_bias": True, "sample_size": 64, "patch_size": 2,
            "activation_fn": "gelu-approximate", "num_embeds_ada_norm": 1000, "norm_type": "ada_norm_single",
            "norm_elementwise_affine": False, "norm_eps": 1e-6, "caption_channels": 4096, "video_length": 16,
        },
        Request(2, 16, 512, 512, 120), 1_057_246_880, "float16",
        "LattePipeline, comments in diffusers' latte_transformer_3d.py, and PixArt-α's sizes", "derived",
    ),
)  # fmt: skip

COMPRESSION = 8  # of the VAE: rows or columns; frames are kept


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", 4),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "channels that come out: prediction and variance"),
        Letter("text_dim", "text_dim", "caption_channels", "width of the text encoder", number=True),
    ]


def _inputs(config: Config) -> list[Input]:
    return [
        Input("hidden_states", "B C F H W"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("timestep", "B", "int64"),
    ]


def _sizes(config: Config, r: Request) -> dict[str, int]:
    return latents(r, r.frames, COMPRESSION)


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step, length = COMPRESSION * config["patch_size"], config["video_length"]
    refuse_parts(found, r, COMPRESSION, step)
    if r.frames not in (1, length):
        found.errors.append(
            f"--frames {r.frames} does not fit: the table of frames has {length} rows (video_length); use {length}, "
            "or 1 for a picture."
        )
    return found


def _constraints(config: Config) -> list[str]:
    p, size = config["patch_size"], config["sample_size"]
    return [
        f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels",
        f"F = {config['video_length']} (video_length): the table of frames; or 1, and it is left out",
        f"H = W = {size} (sample_size): elsewhere the position table is computed in the forward",
        f"the number of blocks is {config['num_layers']} (num_layers): blocks that take turns are not counted together",
    ]


def _fixed(config: Config) -> dict[str, str]:
    table = f"formulas are for the grid of the position table (sample_size {config['sample_size']}), a square"
    blocks = f"two lists of {config['num_layers']} blocks take turns, and each of them is a row of its own"
    return {
        "num_layers": blocks,
        "F": f"the table of frames has {config['video_length']} rows (video_length)",
        "H": table,
        "W": table,
    }


def _follow(config: Config, real: Sizes, point: Sizes) -> dict[str, int]:
    """Text is as wide as the model; the tables are found ready or not, as in the real run."""
    ready = real["H"] == real["W"] == config["sample_size"]
    size = point["H"] if ready else point["H"] + point["p"]
    length = point["F"] if real["F"] == config["video_length"] else point["F"] + 1
    return {"cross_attention_dim": point["h"] * point["d"], "sample_size": size, "video_length": length}


def _fit(point: dict[str, int], real: Sizes) -> None:
    """A square stays a square: only there is the position table ready."""
    if real["H"] == real["W"]:
        point["x"] = point.get("y", 0)


FAMILY = Family(
    name="latte",
    title="Latte",
    model="LatteTransformer3DModel",
    summary="blocks over the tokens of a frame take turns with blocks over frames",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fixed=_fixed,
    fit=_fit,
    probe_config=_follow,
    depths=(),
    compression=(1, COMPRESSION),
    frames=FrameRule(
        Vae(COMPRESSION, 1, 4),
        steps=(
            EncodeEach("pipelines/latte/pipeline_latte.py: prepare_latents"),
            Only("models/transformers/latte_transformer_3d.py: forward", "video_length"),
            DecodeEach("pipelines/latte/pipeline_latte.py: decode_latents"),
        ),
        rope=False,
    ),
)
