"""Stable Diffusion 3 and 3.5 (Stability AI), as diffusers runs them: text to image.

Features of the architecture:
- latents (B, C, H, W); a 2-D convolution cuts squares of 2×2
- no rotary angles: a stored table of positions is added once, cropped from its middle
- one kind of block, with weights apart for text and image, which meet in attention: image first, then text
- the last block writes no text: nothing reads it any more
- conditioning vector = timestep + pooled text of both CLIPs

Sources: diffusers' models/transformers/transformer_sd3.py and pipelines/stable_diffusion_3, and the official conversion
script; named at each checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracer.families._primes import apart
from tracer.families._sizes import latents, refuse_parts
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes

_REQUEST = Request(batch=2, frames=1, height=1024, width=1024, text_tokens=333)

CHECKPOINTS = (
    Checkpoint(
        "sd3-medium", "stabilityai/stable-diffusion-3-medium-diffusers",
        {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192},
        _REQUEST, 2_028_328_000, "float16",
        "transformer/config.json as third parties copied it (SimpleTuner); diffusers' convert_sd3_to_diffusers.py",
        "verified",
    ),
    Checkpoint(
        "sd3.5-large", "stabilityai/stable-diffusion-3.5-large",
        {
            "num_layers": 38, "num_attention_heads": 38, "caption_projection_dim": 2432, "pos_embed_max_size": 192,
            "qk_norm": "rms_norm",
        },
        _REQUEST, 8_056_627_520, "bfloat16",
        "transformer/config.json as third parties copied it (Tenstorrent); diffusers' convert_sd3_to_diffusers.py",
        "verified",
    ),
)  # fmt: skip

COMPRESSION = 8  # of the VAE: rows or columns


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", 4),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "latent channels that come out"),
        Letter("text_dim", "text_dim", "joint_attention_dim", "width of the text encoders", number=True),
        Letter("pooled", "pooled", "pooled_projection_dim", "width of the pooled text", number=True),
        Letter("table", "table", "pos_embed_max_size", "rows and columns of the position table", number=True),
        Letter("top", "rows_above", "", "rows of the position table above the part that is used", number=True),
        Letter("left", "columns_left", "", "columns of the position table left of that part", number=True),
    ]


def _inputs(config: Config) -> list[Input]:
    return [
        Input("hidden_states", "B C H W"),
        Input("timestep", "B", "float32"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("pooled_projections", "B pooled"),
    ]


def _sizes(config: Config, r: Request) -> dict[str, int]:
    p, table = config["patch_size"], config["pos_embed_max_size"]
    rows, columns = r.height // COMPRESSION, r.width // COMPRESSION
    return latents(r, 1, COMPRESSION) | {"top": (table - rows // p) // 2, "left": (table - columns // p) // 2}


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * config["patch_size"]
    most = step * config["pos_embed_max_size"]
    refuse_parts(found, r, step, step, most)
    for name, value in (("height", r.height), ("width", r.width)):
        if value > most and not value % step:
            found.errors.append(
                f"--{name} {value} is beyond the position table of this checkpoint, which has "
                f"{config['pos_embed_max_size']} rows and columns (pos_embed_max_size); use at most {most}."
            )
    return found


def _constraints(config: Config) -> list[str]:
    p, table = config["patch_size"], config["pos_embed_max_size"]
    return [
        f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels",
        f"H ≤ {p * table} and W ≤ {p * table} (pos_embed_max_size): the position table ends there",
    ]


def _follow(config: Config, real: Sizes, point: Sizes) -> dict[str, int]:
    """Text is as wide as the model; the last block is another one, so that a count of equal blocks needs one more."""
    return {"caption_projection_dim": point["h"] * point["d"], "num_layers": point.get("num_layers", 1) + 1}


def _fit(point: dict[str, int], real: Sizes) -> None:
    """Make table = y + 2·top = x + 2·left, or one more: the part that is used lies in the middle of the table."""
    rows, columns = point.get("y", 11), point.get("x", 13)
    others = {v for s, v in point.items() if s not in ("table", "top", "left")}
    odd = max(rows, columns)
    top = left = 0
    while not all(apart(edge if edge % 2 else edge // 2, others) for edge in (top, left)):
        odd += 2
        top, left = (odd - rows) // 2, (odd - columns) // 2
    point |= {"top": top, "left": left, "table": odd + (point.get("L", 0) % 4 == 3)}  # one more in one probe of three


def _short(config: Config) -> Mapping[str, tuple[str, str, str]]:
    return {"S": ("tokens", "H/p*(W/p)", "image tokens"), "D": ("hidden", "h*d", "width of the residual stream")}


FAMILY = Family(
    name="sd3",
    title="Stable Diffusion 3",
    model="SD3Transformer2DModel",
    summary="images: text and image with weights apart, joined in attention; a position table",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fit=_fit,
    limited=lambda config: {"F": (1,)},
    probe_config=_follow,
    depths=("num_layers",),
    short=_short,
    compression=(1, COMPRESSION),
    video=False,
)
