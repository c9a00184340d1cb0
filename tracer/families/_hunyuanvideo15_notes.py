"""What the shapes of HunyuanVideo 1.5 mean. The claims are checked against every checkpoint's trace."""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

from tracer.families import _hunyuan_parts as parts
from tracer.families._hunyuan_parts import DUAL, REFINER
from tracer.families.base import Config
from tracer.notes import Note

_FILE = "source:diffusers.models.transformers.transformer_hunyuan_video15"
_ATTENTION = f"{DUAL}.attn"
_TEXT = "L+G+I"
_ONE = {"B": "1", "p": "1", "p_t": "1"}
_WORDS = {
    "transformer_hunyuan_video:HunyuanVideo": "transformer_hunyuan_video15:HunyuanVideo15",
    "Llama": "Qwen2.5-VL",
    "All but the last L rows.": "The first S rows.",
    "The last L rows.": "The rows behind: the text in its new order.",
    "for L tokens instead of S": "for the text's tokens instead of S",
}


def notes(config: Config) -> list[Note]:
    """Notes for a config, in the order of the run. The batch is 1: samples are sorted one by one. Patches are 1 too."""
    image = config["task_type"] == "i2v"
    refiner = [n for n in parts.text_refiner() if n.label != "mask L×L"]
    dual = parts.dual_blocks()
    before = next(i for i, n in enumerate(dual) if n.op == "scaled_dot_product_attention")
    return [
        *parts.adapted(parts.rope_tables(), _ONE, _WORDS),
        *_timestep(config),
        *parts.adapted(parts.patch_embed(_channels(image), "config:in_channels"), _ONE, _WORDS),
        *parts.adapted(refiner, _ONE, _WORDS),
        *_refiner_mask(),
        *_texts(image),
        *_sorted(image),
        *parts.adapted(dual[:before], {**_ONE, "L": _TEXT}, _WORDS),
        *_square(),
        *parts.adapted(dual[before:], {**_ONE, "L": _TEXT}, _WORDS),
        *parts.adapted(parts.ends(), _ONE, _WORDS),
    ]


def _channels(image: bool) -> str:
    picture = "the picture's latents in the first frame and zeros after it" if image else "zeros, for want of a picture"
    return (
        f"With patches of one place each latent place is a token. Of the 65 channels 32 are noise, 32 {picture}, and "
        "one is a mask that says which frame is given."
    )


def _timestep(config: Config) -> list[Note]:
    second = (
        " The distilled model adds a second one, of the step that it jumps to." if config["use_meanflow"] else ""
    )
    return [
        Note(
            "time-embedding", "time_embed.time_proj", "time_proj", "1 256",
            "Cosines and sines of the timestep; no weights. The timestep comes in the model's own dtype, which for "
            "bfloat16 has eight significant bits: 999 would arrive as 1000.",
            "source:diffusers.models.embeddings:get_timestep_embedding", brief=False,
        ),
        Note(
            "time-embedding", "time_embed", "timestep", "1 D",
            "The one vector that modulates every block. There is no pooled text in it and no guidance scale: guidance "
            f"is a second forward.{second}",
            f"{_FILE}:HunyuanVideo15TimeEmbedding",
        ),
    ]


def _refiner_mask() -> list[Note]:
    return [
        Note(
            "token-refiner", f"{REFINER}.token_refiner", "mask L×L", "1 1 L L",
            "True where both query and key are words. A padding row may look at nothing at all.",
            f"{_FILE}:HunyuanVideo15IndividualTokenRefiner", op="and", brief=False,
        ),
    ]


def _texts(image: bool) -> list[Note]:
    there = (
        "Whether any number of the picture's tokens differs from zero. Here one does, so its tokens are valid."
        if image else
        "Whether any number of the picture's tokens differs from zero. Here none does: the tokens are multiplied by "
        "zero and marked as padding. No other line of the forward asks which of the two it is."
    )
    return [
        Note(
            "text-projection", "", "+ kind: prompt", "1 L D",
            "A learned vector is added to all words of the prompt. There are three such vectors: for prompt, glyphs "
            "and picture.",
            "tensor:cond_type_embed.weight", op="add", out="encoder_hidden_states", also=("cond_type_embed", " add"),
        ),
        Note(
            "text-projection", "context_embedder_2", "glyphs", "1 G D",
            "The words that are to be drawn in the video, as ByT5 spells them out byte by byte: three linear layers, "
            "with 2048 numbers in between, which is written in the code.",
            "config:text_embed_2_dim",
        ),
        Note(
            "image-projection", "image_embedder", "picture", "1 I D",
            "SigLIP's 27·27 squares of the picture, brought to D. They are given to the model even where there is no "
            "picture.",
            "config:image_embed_dim",
        ),
        Note(
            "image-projection", "", "no picture?", "", there,
            "tensor:image_embeds", op="all", brief=False,
        ),
    ]


def _sorted(image: bool) -> list[Note]:
    padding = "" if image else " The picture's tokens, not being valid, stand at the end."
    return [
        Note(
            "concat", "", "text of one sample", f"{_TEXT} D",
            "Valid tokens of picture, glyphs and prompt in front, then what is padding of each. How many are valid is "
            f"read from the masks, sample by sample in Python: a batch of two does this twice.{padding}",
            f"{_FILE}:HunyuanVideo15Transformer3DModel.forward", op="cat",
        ),
        Note(
            "concat", "", "text of the batch", f"1 {_TEXT} D",
            "The samples stacked again: all have the same length, because padding was moved and not removed.",
            "tensor:encoder_attention_mask_2", op="stack", out="encoder_hidden_states", brief=False,
        ),
        Note(
            "attention-mask", "", "valid text", f"1 {_TEXT}",
            "The masks in the same order: true as far as there is something to read.",
            "tensor:encoder_attention_mask", op="stack", out="encoder_attention_mask", brief=False,
        ),
    ]


def _square() -> list[Note]:
    return [
        Note(
            "attention-mask", _ATTENTION, "whole square", f"1 1 {_TEXT}+S {_TEXT}+S",
            "True where query and key are both valid: a byte for every pair of tokens, made anew in every block. "
            "HunyuanVideo had a single row for all queries; this square is gigabytes.",
            f"{_FILE}:HunyuanVideo15AttnProcessor2_0.__call__", op="and",
            also=tuple(f"{_ATTENTION} {op}" for op in ("pad", "repeat")),
        ),
    ]
