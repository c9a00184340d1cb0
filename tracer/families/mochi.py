"""Mochi (Genmo), as diffusers runs it: text to video.

Features of the architecture:
- latents (B, C, F, H, W); frames join the batch and a 2-D convolution cuts squares of 2×2
- one kind of block, with two streams of different width: video D, text half of it; weights apart, attention shared
- the last block writes no text: nothing reads it any more
- in attention each sample of the batch is taken alone, with only those text tokens its mask keeps
- rotary angles with learned frequencies, other ones for each head
- the pooled text is made inside: one attention with a single query over the T5 tokens

Sources: diffusers' models/transformers/transformer_mochi.py and pipelines/mochi, and the official conversion script,
which builds the class with its defaults.
"""

from __future__ import annotations

from tracer.families._sizes import causal, latents, refuse_parts, say_lost
from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes
from tracer.frame_steps import Decode, Encode, Vae
from tracer.frames import FrameRule
from tracer.rope.rope3d import NoRope, Placement

CHECKPOINTS = (
    Checkpoint(
        "mochi-1-preview", "genmo/mochi-1-preview", {}, Request(2, 19, 480, 848, 256), 10_027_677_744, "bfloat16",
        "diffusers' convert_mochi_to_diffusers.py, which builds the class with its defaults, and MochiPipeline",
        "derived",
    ),
)  # fmt: skip

COMPRESSION_T, COMPRESSION = 6, 8  # of the VAE: frames, and rows or columns


def _letters(config: Config) -> list[Letter]:
    letters = [
        Letter("p", "patch_size", "patch_size", "rows and columns of a patch", number=True),
        Letter("h", "heads", "num_attention_heads", "attention heads", 3),
        Letter("d", "head_dim", "attention_head_dim", "width of a head", 2),
        Letter("D_text", "text_hidden", "pooled_projection_dim", "width of the text stream", 3),
        Letter("C", "channels", "in_channels", "latent channels that go in"),
        Letter("text_dim", "text_dim", "text_embed_dim", "width of the text encoder", 8, number=True),
        Letter("T", "time_embed", "time_embed_dim", "width of the timestep's cosines and sines", 2, number=True),
    ]
    if config["out_channels"]:
        letters.append(Letter("C_out", "out_channels", "out_channels", "latent channels that come out"))
    return letters


def _inputs(config: Config) -> list[Input]:
    return [
        Input("hidden_states", "B C F H W"),
        Input("encoder_hidden_states", "B L text_dim"),
        Input("timestep", "B"),
        Input("encoder_attention_mask", "B L", "bool", fill="ones", assume="all text tokens are valid"),
    ]


def _sizes(config: Config, r: Request) -> dict[str, int]:
    return latents(r, causal(r.frames, COMPRESSION_T), COMPRESSION)


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * config["patch_size"]
    refuse_parts(found, r, COMPRESSION, step)
    say_lost(found, r.frames, COMPRESSION_T)
    return found


def _constraints(config: Config) -> list[str]:
    p = config["patch_size"]
    return [
        f"H and W are multiples of {p} (patch_size): height and width of {COMPRESSION * p} pixels",
        "formulas are for this B: each sample is attended to on its own, one after the other",
        "D and D_text are multiples of 3: the feed-forward is 8/3 as wide",
    ]


def _one_more(config: Config, real: Sizes, point: Sizes) -> dict[str, int]:
    """The last block is another one, so that a count of equal blocks needs one block more."""
    return {"num_layers": point.get("num_layers", 1) + 1}


def _rope(config: Config) -> NoRope:
    return NoRope("learns its frequencies, so that no table follows from its config", Placement("after"))


FAMILY = Family(
    name="mochi",
    title="Mochi",
    model="MochiTransformer3DModel",
    summary="two streams of different width, learned rotary frequencies",
    checkpoints=CHECKPOINTS,
    letters=_letters,
    inputs=_inputs,
    sizes=_sizes,
    check=_check,
    constraints=_constraints,
    fixed=lambda config: {"B": "each sample of the batch is attended to on its own"},
    limited=lambda config: {"B": ()},
    probe_config=_one_more,
    depths=("num_layers",),
    compression=(COMPRESSION_T, COMPRESSION),
    frames=FrameRule(
        Vae(COMPRESSION, COMPRESSION_T, 12),
        steps=(
            Encode("pipelines/mochi/pipeline_mochi.py: prepare_latents"),
            Decode("models/autoencoders/autoencoder_kl_mochi.py: _decode"),
        ),
    ),
    rope=_rope,
)
