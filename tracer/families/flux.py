"""FLUX.1 (Black Forest Labs), as diffusers runs it: text to image.

Features of the architecture:
- the pipeline packs latents before the transformer sees them: squares of 2×2 become tokens of 64 channels
- 19 dual-stream blocks, in which text and image have weights of their own, then 38 single-stream blocks
- text first, then image, in every sequence; text is turned by the rotary tables too, all at position 0
- rotary angles over (index, row, column) with 16, 56 and 56 of the 128 numbers of a head, from ids the pipeline makes
- conditioning vector = timestep + pooled CLIP text, in FLUX.1-dev + (distilled) guidance scale

Sources: diffusers' models/transformers/transformer_flux.py and pipelines/flux, and the official conversion script;
named at each checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, nearest
from tracer.rope.rope3d import Placement, Rope3D

_REQUEST = Request(batch=1, frames=1, height=1024, width=1024, text_tokens=512)
_SCRIPT = "diffusers' convert_flux_to_diffusers.py, which builds the class with its defaults"

CHECKPOINTS = (
    Checkpoint(
        "flux.1-dev", "black-forest-labs/FLUX.1-dev", {"guidance_embeds": True}, _REQUEST, 11_901_408_320, "bfloat16",
        "transformer/config.json of FLUX.1-dev as third parties copied it whole (UltraFlux, Krea-dev loaders); "
        + _SCRIPT, "verified",
    ),
    Checkpoint(
        "flux.1-schnell", "black-forest-labs/FLUX.1-schnell", {}, _REQUEST, 11_891_178_560, "bfloat16", _SCRIPT,
        "derived",
    ),
)  # fmt: skip

COMPRESSION = 8  # of the VAE: rows or columns
PACKED = 2  # rows and columns of latents that the pipeline packs into a token


def _packed(config: Config) -> int:
    return PACKED


def _letters(config: Config) -> list[Letter]:
    letters = [
        Letter("p", "packed", "", "rows and columns of a token, packed by the pipeline", number=True, value=_packed),
        Letter("p_out", "patch_size", "patch_size", "rows and columns that proj_out writes for a token", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter(
            "d", "head_dim", "attention_head_dim", "width of a head: the rotary parts of the three axes",
            total=("d_i", "d_y", "d_x"),
        ),
        Letter("d_i", "rope_index", "axes_dims_rope.0", "numbers of a head that turn with the index", 2, number=True),
        Letter("d_y", "rope_rows", "axes_dims_rope.1", "numbers of a head that turn with rows", 2, number=True),
        Letter("d_x", "rope_columns", "axes_dims_rope.2", "numbers of a head that turn with columns", 2, number=True),
        Letter("C", "channels", "in_channels", "channels of a packed token"),
        Letter("text_dim", "text_dim", "joint_attention_dim", "width of the text encoder", number=True),
        Letter("pooled", "pooled", "pooled_projection_dim", "width of the pooled text", number=True),
    ]  # fmt: skip
    if config["out_channels"]:
        letters.append(Letter("C_out", "out_channels", "out_channels", "channels of a token that come out"))
    return letters


def _inputs(config: Config) -> list[Input]:
    inputs = [
        Input("hidden_states", "B H/p*(W/p) C"),
        Input("timestep", "B"),
        Input("pooled_projections", "B pooled"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("txt_ids", "L 3", fill="zeros"),
        Input("img_ids", "H/p*(W/p) 3", fill="count"),
    ]
    if config["guidance_embeds"]:
        inputs.insert(2, Input("guidance", "B", "float32"))
    return inputs


def _sizes(config: Config, r: Request) -> dict[str, int]:
    step = COMPRESSION * PACKED
    return {
        "B": r.batch, "F": 1, "H": PACKED * (r.height // step), "W": PACKED * (r.width // step), "L": r.text_tokens,
    }  # fmt: skip


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * PACKED
    for name, value in (("height", r.height), ("width", r.width)):
        if value < step:
            found.errors.append(f"--{name} {value} leaves no token: it must be at least {step}; use {step}.")
        elif value % step:
            found.warnings.append(
                f"--{name} {value} is no multiple of {step}: the pipeline makes it {value // step * step}; "
                f"{nearest(value, step)} come out as asked."
            )
    if r.text_tokens > 512:
        found.errors.append(
            f"--text-tokens {r.text_tokens} is rejected by the pipeline: max_sequence_length ends at 512; use 512."
        )
    return found


def _constraints(config: Config) -> list[str]:
    return [
        "H and W are multiples of 2, which the pipeline packs: height and width of 16 pixels",
        "d = d_i + d_y + d_x (axes_dims_rope): the rotary parts of the three axes fill a head",
    ]


def _short(config: Config) -> Mapping[str, tuple[str, str, str]]:
    return {"S": ("tokens", "H/p*(W/p)", "image tokens"), "D": ("hidden", "h*d", "width of the residual stream")}


def _rope(config: Config) -> Rope3D:
    return Rope3D(
        "flux",
        tuple(config["axes_dims_rope"]),
        placement=Placement("before", "all"),
        axes=("1", "H/p", "W/p"),
        computed="float64",
        source="models/transformers/transformer_flux.py: FluxPosEmbed; "
        "pipelines/flux/pipeline_flux.py: _prepare_latent_image_ids",
        remark="an image: the first axis is an index that the pipeline leaves at 0",
    )


FAMILY = Family(
    name="flux",
    title="FLUX.1",
    model="FluxTransformer2DModel",
    summary="images: dual-stream, then single-stream blocks, on tokens that the pipeline packed",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    depths=("num_layers", "num_single_layers"),
    short=_short,
    limited=lambda config: {"F": (1,)},
    compression=(1, COMPRESSION),
    video=False,
    rope=_rope,
)
