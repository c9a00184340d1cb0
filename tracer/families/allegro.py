"""Allegro (Rhymes), as diffusers runs it: text to video.

Features of the architecture:
- latents (B, C, F, H, W); frames join the batch and a 2-D convolution cuts squares of 2×2
- one stream of video; the text enters through cross-attention only
- one timestep embedding gives six vectors for all blocks; each block adds a small table of its own
- rotary angles: tables for frame, row and column, a third of a head each, made by the pipeline, looked up by position

Sources: diffusers' models/transformers/transformer_allegro.py and pipelines/allegro; the published config as it stands
in the authors' own modelling file.
"""

from __future__ import annotations

from collections.abc import Mapping

from tracer.families._sizes import latents, refuse_parts
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes
from tracer.frame_steps import Crop, DecodeInTiles, EncodeByParity, Vae, by_parity
from tracer.frames import FrameRule
from tracer.rope.rope3d import Interpolation, Rope3D

CHECKPOINTS = (
    Checkpoint(
        "allegro", "rhymes-ai/Allegro", {}, Request(2, 88, 720, 1280, 512), 2_771_907_856, "bfloat16",
        "the class's defaults, which are its config.json as the authors' modelling file quotes it; AllegroPipeline",
        "verified",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 4, 8  # of the VAE: frames, and rows or columns


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("p_t", "patch_size_t", "patch_size_t", "frames of a patch, when tokens become latents", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", 6),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "latent channels that come out"),
        Letter("text_dim", "text_dim", "caption_channels", "width of the text encoder", number=True),
    ]


def _inputs(config: Config) -> list[Input]:
    tables = [
        Input(f"image_rotary_emb.0.{i}.{j}", f"{axis} d/3", "float32")
        for i, axis in enumerate(("F", "H/p", "W/p"))
        for j in (0, 1)
    ]
    places = [Input(f"image_rotary_emb.1.{i}", "1 F*(H/p)*(W/p)", "int64", fill="zeros") for i in range(3)]
    return [
        Input("hidden_states", "B C F H W"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("encoder_attention_mask", "B L", "int64", fill="ones"),
        Input("timestep", "B", "float32"),
        *tables,
        *places,
    ]


def _sizes(config: Config, r: Request) -> dict[str, int]:
    return latents(r, by_parity(r.frames, COMPRESSION_T), COMPRESSION)


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * config["patch_size"]
    refuse_parts(found, r, COMPRESSION, step)
    return found


def _constraints(config: Config) -> list[str]:
    p = config["patch_size"]
    return [
        f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels",
        "d is a multiple of 6: frame, row and column turn a third of a head each, in pairs",
    ]


def _cross(config: Config, real: Sizes, point: Sizes) -> dict[str, int]:
    """Cross-attention takes text that is as wide as the model."""
    return {"cross_attention_dim": point["h"] * point["d"]}


def _short(config: Config) -> Mapping[str, tuple[str, str, str]]:
    return {
        "S": ("tokens", "F*(H/p)*(W/p)", "video tokens"),
        "D": ("hidden", "h*d", "width of the residual stream"),
    }


def _rope(config: Config) -> Rope3D:
    third = config["attention_head_dim"] // 3
    scales = (config["interpolation_scale_t"], config["interpolation_scale_h"], config["interpolation_scale_w"])
    return Rope3D(
        "allegro",
        (third, third, third),
        pairing="half-axis",
        interpolation=Interpolation(linear=scales),
        laid="axes",
        source="models/embeddings.py: get_3d_rotary_pos_embed_allegro, apply_rotary_emb_allegro",
    )


FAMILY = Family(
    name="allegro",
    title="Allegro",
    model="AllegroTransformer3DModel",
    summary="video attends to itself, then to the text; one modulation for all blocks",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    probe_config=_cross,
    depths=("num_layers",),
    short=_short,
    compression=(COMPRESSION_T, COMPRESSION),
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 4),
        steps=(
            EncodeByParity("pipelines/allegro/pipeline_allegro.py: prepare_latents"),
            DecodeInTiles(
                "models/autoencoders/autoencoder_kl_allegro.py: tiled_decode",
                tile=(24, 320, 320),
                stride=(16, 200, 240),
            ),
            Crop("pipelines/allegro/pipeline_allegro.py: __call__"),
        ),
    ),
    rope=_rope,
)
