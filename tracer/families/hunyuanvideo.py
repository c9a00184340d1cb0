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

from tracer.families._hunyuan_letters import HEADS, MLP, OUT, POOLED, TEXT
from tracer.families._hunyuan_rope import hunyuan_rope
from tracer.families._hunyuanvideo_notes import notes
from tracer.families._sizes import causal, latents, refuse_parts, say_lost
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request
from tracer.frame_steps import Decode, Drop, Encode, Vae
from tracer.frames import FrameRule
from tracer.rope.rope3d import Rope3D


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
        *HEADS,
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        OUT,
        TEXT,
        POOLED,
        MLP,
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
    return latents(request, causal(request.frames, COMPRESSION_T), COMPRESSION)


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * config["patch_size"]
    refuse_parts(found, r, step, step)
    count = causal(r.frames, COMPRESSION_T)
    if count % config["patch_size_t"]:
        found.errors.append(
            f"--frames {r.frames} are {count} latent frames, which temporal patches of "
            f"{config['patch_size_t']} cannot cut whole."
        )
    if config["image_condition_type"] == "latent_concat":
        decoded = COMPRESSION_T * (count - 1) + 1
        found.warnings.append(
            f"this variant drops the first {COMPRESSION_T} decoded frames: "
            f"{max(0, decoded - COMPRESSION_T)} of {decoded} are returned. No number comes out as asked."
        )
    else:
        say_lost(found, r.frames, COMPRESSION_T)
    return found


def _constraints(config: Config) -> list[str]:
    p = config["patch_size"]
    out = [f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels"]
    if config["patch_size_t"] > 1:
        out.append(f"F is a multiple of {config['patch_size_t']} (patch_size_t)")
    out.append("d = d_t + d_y + d_x (rope_axes_dim): the rotary parts of the three axes fill a head")
    return out


def _rope(config: Config) -> Rope3D:
    return hunyuan_rope(
        "hunyuanvideo",
        config,
        source="models/transformers/transformer_hunyuan_video.py: HunyuanVideoRotaryPosEmbed",
    )


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
    rope=_rope,
)
