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

from tracer.families.base import Checkpoint, Config, Family, Findings, Input, Letter, Request, Sizes, nearest
from tracer.frame_steps import Decode, Encode, Vae
from tracer.frames import FrameRule

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
    return {
        "B": r.batch, "F": (r.frames - 1) // COMPRESSION_T + 1, "H": r.height // COMPRESSION,
        "W": r.width // COMPRESSION, "L": r.text_tokens,
    }  # fmt: skip


def _check(config: Config, r: Request) -> Findings:
    found = Findings()
    step = COMPRESSION * config["patch_size"]
    for name, value in (("height", r.height), ("width", r.width)):
        if value % COMPRESSION:
            found.errors.append(
                f"--{name} {value} is rejected by the pipeline: it must be divisible by {COMPRESSION}, and by {step} "
                f"to be cut into patches; use {nearest(value, step)}."
            )
        elif value % step:
            found.errors.append(
                f"--{name} {value} passes the pipeline's check, but cannot be cut into whole patches: it must be "
                f"divisible by {step}; use {nearest(value, step)}."
            )
    latents = (r.frames - 1) // COMPRESSION_T + 1
    decoded = COMPRESSION_T * (latents - 1) + 1
    if decoded != r.frames:
        found.warnings.append(
            f"{r.frames} frames are {latents} latent frames, and those decode to {decoded} frames; "
            f"{decoded} and {decoded + COMPRESSION_T} frames come out as asked."
        )
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
)
