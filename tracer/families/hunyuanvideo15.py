"""HunyuanVideo 1.5 (Tencent), as diffusers runs it: text to video and image to video, at 480p and 720p.

Features of the architecture:
- latents (B, C, F, H, W) of a VAE that compresses 16 times in space and 4 times in time; each latent place is a token
- 65 input channels: 32 of noise, 32 of the picture's latents (zeros in text to video) and a mask
- dual-stream blocks only, 54 of them; no single-stream blocks
- three texts in one sequence: the picture's SigLIP tokens, glyphs from ByT5, the prompt from Qwen2.5-VL; a learned
  vector for each kind, valid tokens in front and padding behind
- the attention mask is a whole square over text and video
- rotary angles over (frame, row, column) with 16, 56 and 56 of the 128 numbers of a head; text is not rotated
- no guidance embedding and no pooled text: the timestep alone modulates; guidance is a second forward
- text to video is the same model, which is told by an all-zero picture

Sources: diffusers' models/transformers/transformer_hunyuan_video15.py and pipelines/hunyuan_video1_5, the official
conversion script convert_hunyuan_video1_5_to_diffusers.py, and the original config of tencent/HunyuanVideo-1.5.
"""

from __future__ import annotations

from functools import cache

from tracer.families._hunyuan_letters import HEADS, MLP, OUT, TEXT
from tracer.families._hunyuan_rope import hunyuan_rope
from tracer.families._hunyuanvideo15_notes import notes
from tracer.families._sizes import causal, say_lost
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, nearest
from tracer.frame_steps import Decode, Encode, Vae
from tracer.frames import FrameRule
from tracer.rope.rope3d import Rope3D

_SOURCE = (
    "diffusers' convert_hunyuan_video1_5_to_diffusers.py; config.json of "
    "DiffusersVersionsOfModels/HunyuanVideo-1.5-480p_i2v for the original class"
)


def _checkpoint(size: str, task: str, target: int, height: int, width: int) -> Checkpoint:
    request = Request(batch=1, frames=121, height=height, width=width, text_tokens=1000)
    return Checkpoint(
        f"hunyuanvideo1.5-{size}-{task}", f"hunyuanvideo-community/HunyuanVideo-1.5-{size}_{task}",
        {"target_size": target, "task_type": task}, request, 8_326_608_160, "bfloat16", _SOURCE, "derived",
    )  # fmt: skip


CHECKPOINTS = (
    _checkpoint("480p", "t2v", 640, 480, 848),
    _checkpoint("480p", "i2v", 640, 480, 848),
    _checkpoint("720p", "t2v", 960, 720, 1280),
    _checkpoint("720p", "i2v", 960, 720, 1280),
)
"""The classes and sizes are one; what differs is the task and the size that a picture is brought to."""

COMPRESSION_T, COMPRESSION = 4, 16  # of the VAE: frames, and rows or columns
GLYPH_TOKENS = 256  # what the pipeline pads ByT5's text to
IMAGE_TOKENS = 729  # SigLIP on 384×384 pixels: 27·27 squares
NARROWEST = 4  # the longest side over the shortest, at most


def has_image(config: Config) -> bool:
    """Whether a picture is given; the model itself looks whether all of its numbers are zero."""
    return bool(config["task_type"] == "i2v")


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("I", "image_tokens", "", "SigLIP tokens of the given picture"),
        *HEADS,
        Letter("C", "channels", "in_channels", "channels that go in: noise, picture, mask"),
        OUT,
        Letter("G", "glyph_tokens", "", "tokens of the text to be drawn, from ByT5"),
        TEXT,
        Letter("glyph_dim", "glyph_dim", "text_embed_2_dim", "width of ByT5", number=True),
        Letter("image_dim", "image_dim", "image_embed_dim", "width of the picture's tokens", number=True),
        MLP,
    ]


def _inputs(config: Config) -> list[Input]:
    valid = {"fill": "ones", "assume": "all tokens are valid"}
    picture = (
        {"fill": "ones", "assume": "a picture is given"}
        if has_image(config)
        else {"fill": "zeros", "assume": "all zero: no picture is given"}
    )
    inputs = [
        Input("hidden_states", "B C F H W"),
        Input("timestep", "B"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("encoder_attention_mask", "B L", **valid),
    ]
    if config["use_meanflow"]:
        inputs.append(Input("timestep_r", "B"))
    return [
        *inputs,
        Input("encoder_hidden_states_2", "B G glyph_dim"),
        Input("encoder_attention_mask_2", "B G", **valid),
        Input("image_embeds", "B I image_dim", **picture),
    ]


def buckets(target: int) -> list[tuple[int, int]]:
    """Heights and widths that a picture may be brought to: about target² pixels, in steps of 16, no longer than 4:1.

    For each height the widths between what fits beside it and what fits beside the next one up.
    """
    most = round((target / COMPRESSION) ** 2)
    return [
        (rows * COMPRESSION, columns * COMPRESSION)
        for rows in range(most, 0, -1)
        for columns in range(max(1, most // (rows + 1)), most // rows + 1)
        if max(rows, columns) <= NARROWEST * min(rows, columns)
    ]


@cache
def bucket(height: int, width: int, target: int) -> tuple[int, int]:
    """The size a picture is brought to: the nearest shape that is no longer than the picture."""
    shape = height / width
    sizes = [(h, w, round(h / w, 5)) for h, w in buckets(target)]
    inside = [s for s in sizes if (s[2] <= shape if shape >= 1 else s[2] >= shape)]
    h, w, _ = min(inside, key=lambda s: abs(s[2] - shape))
    return h, w


def pixels(config: Config, request: Request) -> tuple[int, int]:
    """Height and width that come out."""
    if has_image(config):
        return bucket(request.height, request.width, int(config["target_size"]))
    return request.height // COMPRESSION * COMPRESSION, request.width // COMPRESSION * COMPRESSION


def _sizes(config: Config, request: Request) -> dict[str, int]:
    height, width = pixels(config, request)
    return {
        "B": request.batch,
        "F": causal(request.frames, COMPRESSION_T),
        "H": height // COMPRESSION,
        "W": width // COMPRESSION,
        "L": request.text_tokens,
        "G": GLYPH_TOKENS,
        "I": IMAGE_TOKENS,
    }


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    height, width = pixels(config, r)
    if (config["patch_size"], config["patch_size_t"]) != (1, 1):
        found.errors.append(
            f"patch_size {config['patch_size']} and patch_size_t {config['patch_size_t']} are not known here: every "
            "published size takes each latent place as a token; use 1 and 1."
        )
    for name, asked, value in (("height", r.height, height), ("width", r.width, width)):
        if not value:
            found.errors.append(f"--{name} {asked} is less than one latent place; use {nearest(asked, COMPRESSION)}.")
    if (height, width) != (r.height, r.width) and not found.errors:
        found.warnings.append(
            f"image to video takes its size from the picture: one of {r.height}×{r.width} gives {height}×{width} "
            f"(target_size {config['target_size']})."
            if has_image(config)
            else f"{r.height}×{r.width} comes out as {height}×{width}: the pipeline drops what is over a multiple of "
            f"{COMPRESSION}, and nothing says so."
        )
    say_lost(found, r.frames, COMPRESSION_T)
    return found


def _constraints(config: Config) -> list[str]:
    return [
        "B stays as it is: the text tokens of each sample are sorted apart",
        "d = d_t + d_y + d_x (rope_axes_dim): the rotary parts of the three axes fill a head",
    ]


def _limited(config: Config) -> dict[str, tuple[int, ...]]:
    """The model goes through the samples one by one: another number of them is another tree."""
    return {"B": (1,)}


def _short(config: Config) -> dict[str, tuple[str, str, str]]:
    return {"S": ("tokens", "F*H*W", "video tokens"), "D": ("hidden", "h*d", "width of the residual stream")}


def _sums(config: Config) -> list[str]:
    """The three texts, and the video with them."""
    return ["L + G + I", "F*H*W + L + G + I"]


def _rope(config: Config) -> Rope3D:
    return hunyuan_rope(
        "hunyuanvideo15",
        config,
        source="models/transformers/transformer_hunyuan_video15.py: HunyuanVideo15RotaryPosEmbed",
        axes=("F", "H", "W"),
    )


FAMILY = Family(
    name="hunyuanvideo15",
    title="HunyuanVideo 1.5",
    model="HunyuanVideo15Transformer3DModel",
    summary="dual-stream blocks, three kinds of text in one sequence; two passes of guidance",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    limited=_limited,
    sums=_sums,
    short=_short,
    depths=("num_layers", "num_refiner_layers"),
    notes=notes,
    compression=(COMPRESSION_T, COMPRESSION),
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 32),
        steps=(
            Encode("pipelines/hunyuan_video1_5/pipeline_hunyuan_video1_5.py: prepare_latents"),
            Decode("models/autoencoders/autoencoder_kl_hunyuanvideo15.py: _decode"),
        ),
    ),
    rope=_rope,
)
