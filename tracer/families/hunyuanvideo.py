"""HunyuanVideo (Tencent), as diffusers runs it: text to video, and both image-to-video variants.

Features of the architecture:
- latents (B, C, F, H, W): channels before frames
- patches of 1×2×2, a 3D convolution
- two kinds of blocks: 20 dual-stream (text and video have weights of their own and meet in attention), then
  40 single-stream (one set of weights over both, attention and feed-forward side by side)
- video first, then text, in every sequence
- rotary angles over (frame, row, column) with 16, 56 and 56 of the 128 numbers of a head; text is not rotated
- a token refiner: two small blocks in which the text attends to itself, conditioned on the timestep
- conditioning vector = timestep + pooled CLIP text + (distilled) guidance scale
- image to video: 33 input channels (latent_concat), or the first frame's tokens carry the image and are
  modulated as if at timestep 0 (token_replace)

Sources: diffusers' models/transformers/transformer_hunyuan_video.py and pipelines/hunyuan_video, and the
official conversion script; named at each checkpoint.
"""

from __future__ import annotations

from tracer.families._hunyuanvideo_notes import notes
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, nearest
from tracer.frame_steps import Decode, Drop, Encode, Vae
from tracer.frames import FrameRule


def _request(text_tokens: int) -> Request:
    return Request(batch=1, frames=129, height=720, width=1280, text_tokens=text_tokens)


CHECKPOINTS = (
    Checkpoint(
        "hunyuanvideo", "hunyuanvideo-community/HunyuanVideo", {}, _request(256), 12_821_012_544, "bfloat16",
        "transformer/config.json of thu-ml/Hunyuan-RIFLEx-diffusers, saved from "
        "hunyuanvideo-community/HunyuanVideo; diffusers' convert_hunyuan_video_to_diffusers.py", "verified",
    ),
    Checkpoint(
        "hunyuanvideo-i2v-33ch", "hunyuanvideo-community/HunyuanVideo-I2V-33ch",
        {"in_channels": 33, "guidance_embeds": False, "image_condition_type": "latent_concat"},
        _request(540), 12_810_991_680, "bfloat16",
        "diffusers' convert_hunyuan_video_to_diffusers.py, HYVideo-T/2-I2V-33ch", "derived",
    ),
    Checkpoint(
        "hunyuanvideo-i2v", "hunyuanvideo-community/HunyuanVideo-I2V", {"image_condition_type": "token_replace"},
        _request(396), 12_821_012_544, "bfloat16",
        "diffusers' convert_hunyuan_video_to_diffusers.py, HYVideo-T/2-I2V-16ch", "derived",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 4, 8  # of the VAE: frames, and rows or columns


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("p_t", "patch_size_t", "patch_size_t", "frames of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads", multiple=2),
        Letter(
            "d",
            "head_dim",
            "attention_head_dim",
            "width of a head: the rotary parts of the three axes",
            total=("d_t", "d_y", "d_x"),
        ),
        Letter("d_t", "rope_frames", "rope_axes_dim.0", "numbers of a head that turn with the frame", 2, number=True),
        Letter("d_y", "rope_rows", "rope_axes_dim.1", "numbers of a head that turn with the row", 2, number=True),
        Letter("d_x", "rope_columns", "rope_axes_dim.2", "numbers of a head that turn with the column", 2, number=True),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "latent channels that come out"),
        Letter("text_dim", "text_dim", "text_embed_dim", "width of the text encoder", number=True),
        Letter("pooled", "pooled", "pooled_projection_dim", "width of the pooled text", number=True),
        Letter("mlp", "mlp_ratio", "mlp_ratio", "feed-forward width over D", number=True),
    ]


def _inputs(config: Config) -> list[Input]:
    inputs = [
        Input("hidden_states", "B C F H W"),
        Input("timestep", "B", "float32"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("encoder_attention_mask", "B L", fill="ones"),
        Input("pooled_projections", "B pooled"),
    ]
    if config["guidance_embeds"]:
        inputs.append(Input("guidance", "B"))
    return inputs


def _sizes(config: Config, request: Request) -> dict[str, int]:
    return {
        "B": request.batch,
        "F": (request.frames - 1) // COMPRESSION_T + 1,
        "H": request.height // COMPRESSION,
        "W": request.width // COMPRESSION,
        "L": request.text_tokens,
    }


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * config["patch_size"]
    for name, value in (("height", r.height), ("width", r.width)):
        if value % step:
            found.errors.append(
                f"--{name} {value} is rejected by the pipeline: it must be divisible by {step}; "
                f"use {nearest(value, step)}."
            )
    latents = (r.frames - 1) // COMPRESSION_T + 1
    if latents % config["patch_size_t"]:
        found.errors.append(
            f"--frames {r.frames} are {latents} latent frames, which temporal patches of "
            f"{config['patch_size_t']} cannot cut whole."
        )
    decoded = COMPRESSION_T * (latents - 1) + 1
    if decoded != r.frames:
        found.warnings.append(
            f"{r.frames} frames are {latents} latent frames, and those decode to {decoded} frames; nothing in the "
            f"pipeline says so. {decoded} and {decoded + COMPRESSION_T} frames come out as asked."
        )
    if config["image_condition_type"] == "latent_concat":
        found.warnings.append(
            f"this variant drops the first {COMPRESSION_T} decoded frames: "
            f"{max(0, decoded - COMPRESSION_T)} of {decoded} are returned."
        )
    return found


def _constraints(config: Config) -> list[str]:
    p = config["patch_size"]
    out = [f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels"]
    if config["patch_size_t"] > 1:
        out.append(f"F is a multiple of {config['patch_size_t']} (patch_size_t)")
    out.append("d = d_t + d_y + d_x (rope_axes_dim): the rotary parts of the three axes fill a head")
    return out


FAMILY = Family(
    name="hunyuanvideo",
    title="HunyuanVideo",
    model="HunyuanVideoTransformer3DModel",
    summary="dual-stream, then single-stream blocks; guidance as an embedding",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    depths=("num_layers", "num_single_layers", "num_refiner_layers"),
    notes=notes,
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 16),
        steps=(
            Encode("pipelines/hunyuan_video/pipeline_hunyuan_video.py: prepare_latents"),
            Decode("models/autoencoders/autoencoder_kl_hunyuan_video.py: _decode"),
            Drop(
                "pipelines/hunyuan_video/pipeline_hunyuan_video_image2video.py: __call__",
                4,
                when=("image_condition_type", "latent_concat"),
            ),
        ),
    ),
)
