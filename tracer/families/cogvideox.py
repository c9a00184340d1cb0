"""CogVideoX 1.0 and 1.5 (Zhipu/Tsinghua), as diffusers runs them.

Features of the architecture:
- latents (B, F, C, H, W): frames before channels
- patches of 2×2 (1.0, a convolution over each frame) or 2×2×2 (1.5, a linear layer over space and time)
- one stream in attention: text first, then video, in one sequence with full 3D attention
- text and video keep their own shift, scale and gate, and share every other weight of a block
- position: added sincos table (2b), rotary angles (5b, 1.5), rotary angles and a learned table (5b-I2V)
- one timestep vector for all blocks; the 1.5 image-to-video models add a constant offset vector
- classic guidance: two passes in one batch

Sources: diffusers' models/transformers/cogvideox_transformer_3d.py and pipelines/cogvideo; the checkpoints'
own config.json files, the official conversion script and the SAT configs, named at each checkpoint.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tracer.families._cogvideox_notes import notes
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes, nearest
from tracer.frame_steps import DecodeInPairs, Encode, Fill, Vae
from tracer.frames import FrameRule
from tracer.rope.grids import Crop, Whole
from tracer.rope.rope3d import NoRope, Placement, Rope3D, quarter

_1_0 = Request(batch=2, frames=49, height=480, width=720, text_tokens=226)
_1_5 = Request(batch=2, frames=81, height=768, width=1360, text_tokens=226)
_5B = {"num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
_15 = {
    **_5B, "patch_size_t": 2, "patch_bias": False, "sample_height": 300, "sample_width": 300, "sample_frames": 81
}  # fmt: skip

CHECKPOINTS = (
    Checkpoint(
        "cogvideox-5b", "THUDM/CogVideoX-5b", _5B, _1_0, 5_570_283_072, "bfloat16",
        "config of thu-ml/CogVideoX-RIFLEx-diffusers, saved from THUDM/CogVideoX-5b at 8fc5b281; "
        "THUDM/CogVideo sat/configs/cogvideox_5b.yaml", "verified",
    ),
    Checkpoint(
        "cogvideox-2b", "THUDM/CogVideoX-2b", {}, _1_0, 1_693_783_872, "float16",
        "transformer/config.json of THUDM/CogVideoX-2b at ad5ce866", "verified",
    ),
    Checkpoint(
        "cogvideox-5b-i2v", "THUDM/CogVideoX-5b-I2V",
        {**_5B, "in_channels": 32, "use_learned_positional_embeddings": True}, _1_0, 5_570_479_680, "bfloat16",
        "configs derived from it (feizhengcong/CogvideoX-Interpolation); its file size fits the parameters "
        "and the stored position table", "derived",
    ),
    Checkpoint(
        "cogvideox1.5-5b", "THUDM/CogVideoX1.5-5B", _15, _1_5, 5_570_676_352, "bfloat16",
        "diffusers' convert_cogvideox_to_diffusers.py; THUDM/CogVideo sat/configs/cogvideox1.5_5b.yaml", "derived",
    ),
    Checkpoint(
        "cogvideox1.5-5b-i2v", "THUDM/CogVideoX1.5-5B-I2V", {**_15, "in_channels": 32, "ofs_embed_dim": 512}, _1_5,
        5_571_594_880, "bfloat16",
        "Kijai/CogVideoX-5b-1.5 transformer_I2V/config.json at 45d2276; "
        "THUDM/CogVideo sat/configs/cogvideox1.5_5b_i2v.yaml", "derived",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 4, 8  # of the VAE: frames, and rows or columns


def has_table(config: Config) -> bool:
    """Whether a position table is added to the tokens."""
    return not config["use_rotary_positional_embeddings"] or bool(config["use_learned_positional_embeddings"])


def _letters(config: Config) -> list[Letter]:
    letters = [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", multiple=16),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "latent channels that come out"),
        Letter("T", "time_embed", "time_embed_dim", "width of the conditioning vector", multiple=2),
        Letter("text_dim", "text_dim", "text_embed_dim", "width of the text encoder", number=True),
    ]
    if config["patch_size_t"] is not None:
        letters.append(Letter("p_t", "patch_size_t", "patch_size_t", "frames of a patch", number=True))
    return letters


def _inputs(config: Config) -> list[Input]:
    inputs = [
        Input("hidden_states", "B F C H W"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("timestep", "B", "int64"),
    ]
    if config["ofs_embed_dim"]:
        inputs.append(Input("ofs", "1"))
    if config["use_rotary_positional_embeddings"]:
        grid = "F/p_t*(H/p)*(W/p)" if config["patch_size_t"] else "F*(H/p)*(W/p)"
        inputs += [Input(f"image_rotary_emb.{i}", f"{grid} d", "float32") for i in (0, 1)]
    return inputs


def latent_frames(config: Config, frames: int) -> int:
    """Latent frames the transformer sees: (N-1)//4 + 1, made whole patches by the pipeline."""
    latents = (frames - 1) // COMPRESSION_T + 1
    patch = config["patch_size_t"] or 1
    return -(-latents // patch) * patch


def _sizes(config: Config, request: Request) -> dict[str, int]:
    return {
        "B": request.batch,
        "F": latent_frames(config, request.frames),
        "H": request.height // COMPRESSION,
        "W": request.width // COMPRESSION,
        "L": request.text_tokens,
    }


def _adapt(config: Config, request: Request) -> Request:
    """A position table fixes the text length; a learned one the rows and columns too."""
    if has_table(config):
        request = replace(request, text_tokens=config["max_text_seq_length"])
    if config["use_learned_positional_embeddings"]:
        height, width = config["sample_height"] * COMPRESSION, config["sample_width"] * COMPRESSION
        request = replace(request, frames=config["sample_frames"], height=height, width=width)
    return request


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    if config["use_learned_positional_embeddings"]:
        _check_learned_table(config, r, found)
    else:
        _check_pixels(config, "height", r.height, found)
        _check_pixels(config, "width", r.width, found)
    if has_table(config) and r.text_tokens != config["max_text_seq_length"]:
        found.errors.append(
            f"--text-tokens {r.text_tokens} does not fit: the position table of this checkpoint has "
            f"{config['max_text_seq_length']} text rows; use {config['max_text_seq_length']}."
        )
    _check_frames(config, r.frames, found)
    return found


def _check_learned_table(config: Config, r: Request, found: Findings) -> None:
    rows, columns = config["sample_height"] * COMPRESSION, config["sample_width"] * COMPRESSION
    if (r.height, r.width) != (rows, columns):
        found.errors.append(
            f"{r.height}×{r.width} is rejected: the learned position table of this checkpoint is for "
            f"{rows}×{columns}; use --height {rows} --width {columns}."
        )
    if (latent_frames(config, r.frames) - 1) * COMPRESSION_T + 1 != config["sample_frames"]:
        found.warnings.append(
            f"{r.frames} frames silently replace the learned position table, which is for "
            f"{config['sample_frames']}, by a computed sincos one."
        )


def _check_pixels(config: Config, name: str, value: int, found: Findings) -> None:
    step = COMPRESSION * config["patch_size"]
    most = config[f"sample_{name}"] * COMPRESSION if config["patch_size_t"] else None
    if value % COMPRESSION:
        found.errors.append(
            f"--{name} {value} is rejected by the pipeline: it must be divisible by {COMPRESSION}, "
            f"and by {step} to be cut into patches; use {nearest(value, step, most)}."
        )
    elif value % step:
        fate = (
            "the patch embedding cannot cut it into whole patches"
            if config["patch_size_t"]
            else "the transformer drops the last latent row or column, and the scheduler step then fails"
        )
        found.errors.append(
            f"--{name} {value} passes the pipeline's check, but {fate}: "
            f"it must be divisible by {step}; use {nearest(value, step, most)}."
        )
    elif most is not None and value > most:
        found.errors.append(
            f"--{name} {value} is beyond the rotary table of this checkpoint, which ends at "
            f"{most} pixels (sample_{name} {config[f'sample_{name}']}); use at most {most}."
        )


def _check_frames(config: Config, frames: int, found: Findings) -> None:
    latents = (frames - 1) // COMPRESSION_T + 1
    padded = latent_frames(config, frames)
    decoded = COMPRESSION_T * (latents - 1) + 1 if latents % 2 or latents == 1 else COMPRESSION_T * latents
    if padded != latents:
        found.warnings.append(
            f"{frames} frames are {latents} latent frames; the pipeline adds {padded - latents} to fill a "
            "temporal patch and drops it again after denoising."
        )
    if decoded != frames:
        below = max(1, (frames - 1) // 8 * 8 + 1)
        found.warnings.append(
            f"{frames} frames are {latents} latent frames, and those decode to {decoded} frames; "
            f"{below} and {below + 8} frames come out as asked."
        )


def _constraints(config: Config) -> list[str]:
    p, p_t = config["patch_size"], config["patch_size_t"]
    out = [f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels"]
    if p_t:
        out.append(f"F is a multiple of {p_t} (patch_size_t): the pipeline adds latent frames until it is")
        out.append(
            f"H ≤ {config['sample_height']} and W ≤ {config['sample_width']} "
            "(sample_height, sample_width): the rotary table ends there"
        )
    if has_table(config):
        out.append(f"L = {config['max_text_seq_length']} (max_text_seq_length): text rows of the position table")
        if not config["use_learned_positional_embeddings"]:
            frames = (config["sample_frames"] - 1) // COMPRESSION_T + 1
            out.append(
                f"bytes hold at F = {frames}, H = {config['sample_height']}, W = {config['sample_width']}: "
                "elsewhere the position table is computed in the forward; shapes and FLOPs hold at any size"
            )
    if config["use_learned_positional_embeddings"]:
        frames = (config["sample_frames"] - 1) // COMPRESSION_T + 1
        out.append(f"H = {config['sample_height']} and W = {config['sample_width']}: the learned table's grid")
        out.append(f"F = {frames}, or the learned table is replaced by a computed one")
    return out


def _fixed(config: Config) -> dict[str, str]:
    out = {}
    if has_table(config):
        out["L"] = f"the position table has {config['max_text_seq_length']} text rows (max_text_seq_length)"
    if config["use_learned_positional_embeddings"]:
        out["H"] = f"the learned position table is for this grid (sample_height {config['sample_height']})"
        out["W"] = f"the learned position table is for this grid (sample_width {config['sample_width']})"
    return out


def _probe_config(config: Config, real: Sizes, point: Sizes) -> dict[str, Any]:
    """Fields that must follow the probed sizes, so that the probe takes the same path through the code."""
    out: dict[str, Any] = {}
    if config["ofs_embed_dim"]:
        out["ofs_embed_dim"] = point["T"]
    if has_table(config):
        grid = (config["sample_height"], config["sample_width"], config["sample_frames"])
        asked = (real["H"], real["W"], (real["F"] - 1) * COMPRESSION_T + 1)
        frames = (point["F"] - 1) * COMPRESSION_T + 1
        out |= {"max_text_seq_length": point["L"], "sample_height": point["H"], "sample_width": point["W"]}
        out["sample_frames"] = frames if grid == asked else frames + COMPRESSION_T
    return out


def _rope(config: Config) -> Rope3D | NoRope:
    if not config["use_rotary_positional_embeddings"]:
        return NoRope("adds a sincos table to its tokens and turns nothing")
    d, p, p_t = config["attention_head_dim"], config["patch_size"], config["patch_size_t"]
    rows, columns = config["sample_height"] // p, config["sample_width"] // p
    learned = "a learned table is added to the tokens as well" if config["use_learned_positional_embeddings"] else ""
    return Rope3D(
        "cogvideox",
        quarter(d),
        grid=Whole(most=(None, rows, columns)) if p_t else Crop((rows, columns)),
        placement=Placement("before"),
        axes=("F/p_t" if p_t else "F", "H/p", "W/p"),
        source="pipelines/cogvideo/pipeline_cogvideox.py: _prepare_rotary_positional_embeddings; "
        "models/embeddings.py: get_3d_rotary_pos_embed",
        remark=learned,
    )


FAMILY = Family(
    name="cogvideox",
    title="CogVideoX",
    model="CogVideoXTransformer3DModel",
    summary="one sequence of text and video, 3D attention, classic guidance",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fixed=_fixed,
    probe_config=_probe_config,
    depths=("num_layers",),
    notes=notes,
    adapt=_adapt,
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 16),
        steps=(
            Encode("pipelines/cogvideo/pipeline_cogvideox.py: prepare_latents"),
            Fill("pipelines/cogvideo/pipeline_cogvideox.py: __call__"),
            DecodeInPairs("models/autoencoders/autoencoder_kl_cogvideox.py: _decode"),
        ),
        rope="use_rotary_positional_embeddings",
    ),
    rope=_rope,
)
