"""What can be measured in a denoising step, and where it is found in each transformer class: data, no torch.

The latents and the predictions pass through the scheduler's `step` and the transformer's output, so every pipeline
has them. The others are inside the transformer: `KNOWN` tells the modules by class. The modulated input is what the
first block's self-attention is handed: tokens normalised, scaled and shifted by the timestep. TeaCache watches it in
HunyuanVideo, LTX, Mochi and FLUX, and the time embedding in CogVideoX and Wan (the scripts TeaCache4* of
github.com/ali-vilab/TeaCache).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tracer.errors import BadRequest, UnknownName

OUTSIDE = ("latents", "latents_after", "prediction")
"""Signals that every pipeline with a transformer and a scheduler has."""

INSIDE = ("time_embedding", "modulated", "residual_first", "residual_all")
"""Signals inside the transformer."""

SIGNALS = {
    "latents": "what step is given, and its change by the step",
    "latents_after": "what step returns; its size only",
    "prediction": "the model's output: cond, uncond, and combined as step is given it",
    "time_embedding": "the output of the timestep's MLP; the same for every prompt",
    "modulated": "what the first block's self-attention is handed",
    "residual_first": "output minus input of the first block, video tokens only",
    "residual_all": "output of the last block minus input of the first, video tokens only",
}

DEFAULT_SIGNALS = OUTSIDE
"""Cheap everywhere: their copies are as small as latents, where copies of the others are as large as activations."""


@dataclass(frozen=True)
class Where:
    """Where a transformer class has its signals; paths are those of `named_modules`.

    Args:
        blocks: the lists of blocks, in the order in which they run.
        attention: the self-attention inside a block of the first list.
        time: the timestep's MLP.
        video: which of the tensors that a block returns are the video's tokens, where it returns several.
        channels: the axis of the latents' channels, as the scheduler is given them; -1 where they are packed tokens.
    """

    blocks: tuple[str, ...]
    attention: str
    time: str
    video: int = 0
    channels: int = 1


_HUNYUAN = Where(("transformer_blocks", "single_transformer_blocks"), "attn", "time_text_embed.timestep_embedder")

KNOWN = {
    "HunyuanVideoTransformer3DModel": _HUNYUAN,
    "HunyuanVideoFramepackTransformer3DModel": _HUNYUAN,
    "HunyuanVideo15Transformer3DModel": Where(("transformer_blocks",), "attn", "time_embed.timestep_embedder"),
    "CogVideoXTransformer3DModel": Where(("transformer_blocks",), "attn1", "time_embedding", channels=2),
    "WanTransformer3DModel": Where(("blocks",), "attn1", "condition_embedder.time_embedder"),
    "MochiTransformer3DModel": Where(("transformer_blocks",), "attn1", "time_embed.timestep_embedder"),
    "LTXVideoTransformer3DModel": Where(
        ("transformer_blocks",), "attn1", "time_embed.emb.timestep_embedder", channels=-1
    ),
    "AllegroTransformer3DModel": Where(("transformer_blocks",), "attn1", "adaln_single.emb.timestep_embedder"),
    "SD3Transformer2DModel": Where(("transformer_blocks",), "attn", "time_text_embed.timestep_embedder", video=1),
    "FluxTransformer2DModel": Where(
        ("transformer_blocks", "single_transformer_blocks"),
        "attn",
        "time_text_embed.timestep_embedder",
        video=1,
        channels=-1,
    ),
}
"""By class name; a subclass has what its base has."""


def where(kind: type) -> Where | None:
    """Where a transformer class has its signals, None if nobody has said."""
    return next((KNOWN[base.__name__] for base in kind.__mro__ if base.__name__ in KNOWN), None)


def unknown(kind: type, asked: Iterable[str]) -> BadRequest:
    """What is said where signals are asked for inside a transformer that nobody has described."""
    return BadRequest(
        f"Where {kind.__name__} has {', '.join(asked)} is not known: {', '.join(OUTSIDE)} work with every transformer, "
        f"all signals with {', '.join(KNOWN)}, and with yours once you say where they are: "
        "L1Probe(pipe, where=Where(blocks, attention, time))."
    )


def chosen(kind: str, asked: Iterable[str] | str | None, known: Iterable[str], usual: Iterable[str]) -> tuple[str, ...]:
    """The names asked for, in the order of those known; `'all'` are all, None the usual ones.

    Raises UnknownName for one that is not known, BadRequest for none at all.
    """
    known = tuple(known)
    names = (
        list(usual) if asked is None else known if asked == "all" else [asked] if isinstance(asked, str) else [*asked]
    )
    for name in names:
        if name not in known:
            raise UnknownName(kind, str(name), known)
    if not names:
        raise BadRequest(f"A probe needs at least one {kind}: {', '.join(known)}, or 'all'.")
    return tuple(name for name in known if name in names)
