"""LTX-Video (Lightricks), as diffusers runs it: text to video.

Features of the architecture:
- the VAE compresses 8 frames and 32×32 pixels to one latent of 128 channels, and every latent is a token:
  the pipeline lays them out in a row, and no patch is cut
- one stream of video; the text enters through cross-attention only
- one timestep embedding gives six vectors for all blocks; each block adds a small table of its own
- rotary tables as wide as the model, not a head: three sixths of D are angles of frame, row and column, and where D is
  no multiple of 6 the first numbers do not turn

Sources: diffusers' models/transformers/transformer_ltx.py and pipelines/ltx, the official conversion script, and
Lightricks' own trainer; named at each checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product

from tracer.families._primes import apart
from tracer.families._sizes import causal, latents, refuse_parts, say_lost
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes
from tracer.frame_steps import Decode, Encode, Vae
from tracer.frames import FrameRule
from tracer.rope.rope3d import NoRope, Placement

_REQUEST = Request(batch=2, frames=161, height=512, width=704, text_tokens=128)

CHECKPOINTS = (
    Checkpoint(
        "ltx-video", "Lightricks/LTX-Video", {}, _REQUEST, 1_923_385_472, "bfloat16",
        "transformer/config.json as Lightricks' own inference code quotes it; diffusers' convert_ltx_to_diffusers.py, "
        "which builds the class with its defaults", "verified",
    ),
    Checkpoint(
        "ltx-video-13b", "Lightricks/LTX-Video-0.9.7-dev",
        {"attention_head_dim": 128, "cross_attention_dim": 4096, "num_layers": 48},
        _REQUEST, 13_042_569_344, "bfloat16",
        "diffusers' convert_ltx_to_diffusers.py, version 0.9.7; Lightricks' trainer", "derived",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 8, 32  # of the VAE: frames, and rows or columns


def _width(config: Config) -> int:
    return int(config["num_attention_heads"] * config["attention_head_dim"])


def _letters(config: Config) -> list[Letter]:
    return [
        Letter("h", "heads", "num_attention_heads", "attention heads"),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", 2),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("C_out", "out_channels", "out_channels", "latent channels that come out"),
        Letter("text_dim", "text_dim", "caption_channels", "width of the text encoder", number=True),
        Letter("a", "step", "patch_size", "factor of the angles of rows and columns: no patch is cut", number=True),
        Letter("a_t", "step_t", "patch_size_t", "factor of the angles of frames", number=True),
        Letter("q", "frequencies", "", "rotary frequencies of an axis: D/6, whole", number=True,
               value=lambda c: _width(c) // 6),
        Letter("still", "still", "", "numbers that do not turn: what D/6 leaves over", number=True,
               value=lambda c: _width(c) % 6),
    ]  # fmt: skip


def _inputs(config: Config) -> list[Input]:
    return [
        Input("hidden_states", "B F*H*W C"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("timestep", "B", "float32"),
        Input("encoder_attention_mask", "B L", "bool", fill="ones"),
        Input("num_frames", "F", fill="number"),
        Input("height", "H", fill="number"),
        Input("width", "W", fill="number"),
        # factors of the angles, no sizes; of time 8/frame_rate, here at 8 a second because whole numbers are handed
        # over
        *(Input(f"rope_interpolation_scale.{i}", n, fill="number") for i, n in enumerate(("1", "32", "32"))),
    ]


def _sizes(config: Config, r: Request) -> dict[str, int]:
    return latents(r, causal(r.frames, COMPRESSION_T), COMPRESSION)


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    refuse_parts(found, r, COMPRESSION, COMPRESSION)
    say_lost(found, r.frames, COMPRESSION_T)
    return found


def _constraints(config: Config) -> list[str]:
    return [
        f"height and width are multiples of {COMPRESSION} pixels: every latent is a token",
        "D = 6·q + still: q frequencies for each of three axes, each a cosine and a sine",
    ]


def _cross(config: Config, real: Sizes, point: Sizes) -> dict[str, int]:
    """Cross-attention takes text that is as wide as the model."""
    return {"cross_attention_dim": point["h"] * point["d"]}


def _fit(point: dict[str, int], real: Sizes) -> None:
    """Make D = 6·q + still come out, with a head size and a q that share no factor with another letter."""
    taken = [v for s, v in point.items() if s not in ("h", "d", "q", "still")]
    for heads, half in product(range(point["h"], point["h"] + 20), range(point["d"] // 2, point["d"] // 2 + 400)):
        point["q"], rest = divmod(heads * half * 2, 6)
        if rest == point["still"] and apart(half, [*taken, heads]) and apart(point["q"], [*taken, heads, half]):
            point["h"], point["d"] = heads, half * 2
            return


def _short(config: Config) -> Mapping[str, tuple[str, str, str]]:
    return {"S": ("tokens", "F*H*W", "video tokens"), "D": ("hidden", "h*d", "width of the residual stream")}


def _rope(config: Config) -> NoRope:
    return NoRope("spreads its frequencies over all heads together, so that no head has a split", Placement("none"))


FAMILY = Family(
    name="ltx",
    title="LTX-Video",
    model="LTXVideoTransformer3DModel",
    summary="every latent a token; video attends to itself, then to the text",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fit=_fit,
    limited=lambda config: {"still": (_width(config) % 6,)},
    probe_config=_cross,
    depths=("num_layers",),
    short=_short,
    compression=(COMPRESSION_T, COMPRESSION),
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 128),
        steps=(
            Encode("pipelines/ltx/pipeline_ltx.py: prepare_latents"),
            Decode("models/autoencoders/autoencoder_kl_ltx.py: _decode"),
        ),
    ),
    rope=_rope,
)
