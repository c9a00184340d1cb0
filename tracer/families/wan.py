"""Wan 2.1 (Alibaba), as diffusers runs it: text to video in two sizes, and image to video.

Features of the architecture:
- latents (B, C, F, H, W): channels before frames
- patches of 1×2×2, a 3D convolution
- one kind of block: the video attends to itself, then to the text, then goes through a feed-forward
- text by cross-attention: it never joins the video's sequence, and no block changes it
- modulation from one linear layer for the whole model, plus a table of six vectors in each block
- rotary angles over (frame, row, column), sliced from a table of 1024 positions; row and column get 2·(d//6) of a
  head's d numbers each, the frame the rest
- image to video: 36 input channels (noise, mask of four, the picture's latents), and the picture's CLIP tokens as a
  second cross-attention beside the text's
- classic guidance as two forwards, one after the other

Sources: diffusers' models/transformers/transformer_wan.py and pipelines/wan, the official conversion script
convert_wan_to_diffusers.py, and Wan-Video/Wan2.1 wan/configs; named at each checkpoint.
"""

from __future__ import annotations

from typing import Any

from tracer.derive import largest_prime
from tracer.families._sizes import causal
from tracer.families._wan_notes import notes
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes, nearest
from tracer.frame_steps import Decode, Encode, Round, Vae, rounded
from tracer.frames import FrameRule
from tracer.rope.grids import Whole
from tracer.rope.rope3d import Rope3D

_480P = Request(batch=1, frames=81, height=480, width=832, text_tokens=512)
_720P = Request(batch=1, frames=81, height=720, width=1280, text_tokens=512)
_I2V = {"in_channels": 36, "image_dim": 1280, "added_kv_proj_dim": 5120}

CHECKPOINTS = (
    Checkpoint(
        "wan2.1-t2v-14b", "Wan-AI/Wan2.1-T2V-14B-Diffusers", {}, _480P, 14_288_491_584, "bfloat16",
        "diffusers' convert_wan_to_diffusers.py, Wan2.1-T2V-14B; Wan-Video/Wan2.1 wan/configs/wan_t2v_14B.py",
        "derived",
    ),
    Checkpoint(
        "wan2.1-t2v-1.3b", "Wan-AI/Wan2.1-T2V-1.3B-Diffusers",
        {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}, _480P, 1_418_996_800, "bfloat16",
        "transformer/config.json of callgg/t2v-decoder, with the same fields; diffusers' convert_wan_to_diffusers.py; "
        "Wan-Video/Wan2.1 wan/configs/wan_t2v_1_3B.py", "verified",
    ),
    Checkpoint(
        "wan2.1-i2v-14b-480p", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers", _I2V, _480P, 16_394_878_784, "bfloat16",
        "diffusers' convert_wan_to_diffusers.py, Wan2.1-I2V-14B-480p", "derived",
    ),
    Checkpoint(
        "wan2.1-i2v-14b-720p", "Wan-AI/Wan2.1-I2V-14B-720P-Diffusers", _I2V, _720P, 16_394_878_784, "bfloat16",
        "diffusers' convert_wan_to_diffusers.py, Wan2.1-I2V-14B-720p", "derived",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 4, 8  # of the VAE: frames, and rows or columns
DIVISIBLE = 16  # what the pipeline asks of height and width, whatever the patch
TEXT_ROWS = 512  # written in the attention of the image-to-video models
IMAGE_TOKENS = 257  # CLIP ViT-H/14 on 224×224 pixels: 16·16 squares and the class token


def has_image(config: Config) -> bool:
    """Whether the model attends to a picture's CLIP tokens."""
    return config["image_dim"] is not None


def rope_rows(config: Config) -> int:
    """Numbers of a head that turn with the row, and as many with the column."""
    return 2 * (int(config["attention_head_dim"]) // 6)


def rope_frames(config: Config) -> int:
    """Numbers of a head that turn with the frame: what rows and columns leave."""
    return int(config["attention_head_dim"]) - 2 * rope_rows(config)


def _letters(config: Config) -> list[Letter]:
    letters = [
        Letter("p", "patch_size", "patch_size.1", "rows and columns of a patch", number=True, also=("patch_size.2",)),
        Letter("p_t", "patch_size_t", "patch_size.0", "frames of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", multiple=2),
        Letter("d_t", "rope_frames", "", "numbers of a head that turn with the frame", 2, True, value=rope_frames),
        Letter("d_y", "rope_rows", "", "numbers that turn with the row, and with the column", 2, True, value=rope_rows),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "latent channels that come out"),
        Letter("text_dim", "text_dim", "text_dim", "width of the text encoder", number=True),
        Letter("time_dim", "time_dim", "freq_dim", "cosines and sines of the timestep", multiple=2, number=True),
        Letter("ffn", "ffn_dim", "ffn_dim", "width of the feed-forward in between", number=True),
        Letter("positions", "positions", "rope_max_seq_len", "rows of the rotary tables", multiple=128, number=True),
    ]
    if has_image(config):
        letters += [
            Letter("I", "image_tokens", "", "CLIP tokens of the given picture", multiple=64),
            Letter("image_dim", "image_dim", "image_dim", "width of the picture's tokens", number=True),
        ]
    return letters


def _inputs(config: Config) -> list[Input]:
    inputs = [
        Input("hidden_states", "B C F H W"),
        Input("timestep", "B", "int64"),
        Input("encoder_hidden_states", "B L text_dim"),
    ]
    if has_image(config):
        inputs.append(Input("encoder_hidden_states_image", "B I image_dim"))
    return inputs


def _step(config: Config) -> int:
    return COMPRESSION * int(config["patch_size"][1])


def _sizes(config: Config, request: Request) -> dict[str, int]:
    step = _step(config)
    sizes = {
        "B": request.batch,
        "F": causal(rounded(request.frames, COMPRESSION_T), COMPRESSION_T),
        "H": request.height // step * step // COMPRESSION,
        "W": request.width // step * step // COMPRESSION,
        "L": request.text_tokens,
    }
    return sizes | ({"I": IMAGE_TOKENS} if has_image(config) else {})


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    for name, value in (("height", r.height), ("width", r.width)):
        _check_pixels(config, name, value, found)
    sizes = _sizes(config, r)
    if sizes["F"] // config["patch_size"][0] > config["rope_max_seq_len"]:
        most = (config["rope_max_seq_len"] * config["patch_size"][0] - 1) * COMPRESSION_T + 1
        found.errors.append(
            f"--frames {r.frames} is beyond the rotary table of {config['rope_max_seq_len']} positions "
            f"(rope_max_seq_len); use at most {most}."
        )
    if has_image(config) and r.text_tokens != TEXT_ROWS:
        found.errors.append(
            f"--text-tokens {r.text_tokens} would be mixed up with the picture: the attention takes the last "
            f"{TEXT_ROWS} rows for text and all before them for the picture, whatever they are; use {TEXT_ROWS}."
        )
    frames = rounded(r.frames, COMPRESSION_T)
    if frames != r.frames:
        below = r.frames // COMPRESSION_T * COMPRESSION_T + 1
        below -= COMPRESSION_T if below > r.frames else 0
        found.warnings.append(
            f"{r.frames} frames are not 4n + 1; the pipeline makes them {frames}. "
            f"{' and '.join(str(n) for n in (below, below + COMPRESSION_T) if n > 0)} frames come out as asked."
        )
    return found


def _check_pixels(config: Config, name: str, value: int, found: Findings) -> None:
    step = _step(config)
    common = step if step % DIVISIBLE == 0 else DIVISIBLE
    most = step * int(config["rope_max_seq_len"])
    if value % DIVISIBLE:
        found.errors.append(
            f"--{name} {value} is rejected by the pipeline: it must be divisible by {DIVISIBLE}; "
            f"use {nearest(value, common, most)}."
        )
    elif value < step:
        found.errors.append(f"--{name} {value} is less than one patch; use {step}.")
    elif value // step > config["rope_max_seq_len"]:
        found.errors.append(
            f"--{name} {value} is beyond the rotary table of {config['rope_max_seq_len']} positions "
            f"(rope_max_seq_len); use at most {most}."
        )
    elif value % step:
        found.warnings.append(f"--{name} {value} is cut to {value // step * step}: whole patches of {step} pixels.")


def _constraints(config: Config) -> list[str]:
    p_t, p = config["patch_size"][0], config["patch_size"][1]
    out = [f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels"]
    if p_t > 1:
        out.append(f"F is a multiple of {p_t} (patch_size)")
    if has_image(config):
        out.append(f"L = {TEXT_ROWS}: the attention cuts text and picture apart at this number")
    return out


def _fixed(config: Config) -> dict[str, str]:
    return {"L": f"the attention takes the last {TEXT_ROWS} rows for text"} if has_image(config) else {}


def _limited(config: Config) -> dict[str, tuple[int, ...]]:
    return {"L": (TEXT_ROWS,)} if has_image(config) else {}


def _probe_config(config: Config, real: Sizes, point: Sizes) -> dict[str, Any]:
    """The picture's tokens have the model's width when they reach the attention."""
    return {"added_kv_proj_dim": point["h"] * point["d"]} if has_image(config) else {}


def _fit(point: dict[str, int], real: Sizes) -> None:
    """Heads of 6q + 2 numbers, 2q + 2 of them for the frame, each with a prime that no other letter has."""
    taken = {largest_prime(n) for s, n in point.items() if s not in ("d", "d_t", "d_y")}
    q = point["d_y"] // 2
    while True:
        own = {"d": 6 * q + 2, "d_t": 2 * q + 2, "d_y": 2 * q}
        primes = {largest_prime(n) for n in own.values()}
        if len(primes) == len(own) and not primes & taken:
            point |= own
            return
        q += 1


def _short(config: Config) -> dict[str, tuple[str, str, str]]:
    return {
        "S": ("tokens", "F/p_t*(H/p)*(W/p)", "video tokens"),
        "D": ("hidden", "h*d", "width of the residual stream"),
    }


def _rope(config: Config) -> Rope3D:
    most = config["rope_max_seq_len"]
    return Rope3D(
        "wan",
        (rope_frames(config), rope_rows(config), rope_rows(config)),
        grid=Whole(most=(most, most, most)),
        axes=("F/p_t", "H/p", "W/p"),
        computed="float64",
        source="models/transformers/transformer_wan.py: WanRotaryPosEmbed",
    )


FAMILY = Family(
    name="wan",
    title="Wan 2.1",
    model="WanTransformer3DModel",
    summary="video attends to itself, then to the text; two passes of guidance",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fixed=_fixed,
    probe_config=_probe_config,
    limited=_limited,
    fit=_fit,
    short=_short,
    depths=("num_layers",),
    notes=notes,
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 16),
        steps=(
            Round("pipelines/wan/pipeline_wan.py: __call__"),
            Encode("pipelines/wan/pipeline_wan.py: prepare_latents"),
            Decode("models/autoencoders/autoencoder_kl_wan.py: _decode"),
        ),
    ),
    rope=_rope,
)
