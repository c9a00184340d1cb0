"""What the shapes of FramePack mean. The claims are checked against every checkpoint's trace."""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

import dataclasses

from tracer.families import _hunyuan_parts as parts
from tracer.families.base import Config
from tracer.notes import Note

_FILE = "source:diffusers.models.transformers.transformer_hunyuan_video_framepack"
_MODEL = f"{_FILE}:HunyuanVideoFramepackTransformer3DModel"
_PACKED = "S+P"
_ONE = {"B": "1", "p": "2", "p_t": "1"}
_BLOCK = {**_ONE, "S": _PACKED, "L": "L+I"}
_WORDS = {
    f"{parts.FILE}:HunyuanVideoRotaryPosEmbed": f"{_FILE}:HunyuanVideoFramepackRotaryPosEmbed",
    f"{parts.FILE}:HunyuanVideoTransformer3DModel": _MODEL,
    "Frame, row and column are plain counts from 0, at every size.":
        "Rows and columns are plain counts from 0, at every size.",
    "turns with the frame:": "turns with the frame, by the index that is handed over:",
    "from nothing but the size of the latents": "from the frames' indices and the size of the latents",
    "The mask hides padding; the work is that of the whole square all the same.":
        "With one sample there is no mask, for the padding was cut off.",
    "All but the last L rows.": "All but the last L + I rows: history and window.",
    "The last L rows.": "The last L + I rows.",
    "for L tokens instead of S": "for picture and text",
    "The text is dropped.": "History and text are dropped.",
}
_ASIDE = {
    "video tokens", "timestep", "pooled text", "guidance", "norm_q norm_k", "turn key", "add_q add_k add_v",
    "text feed-forward", "shift scale gate", "back on the grid",
}
"""Rows that HunyuanVideo shows and that the history leaves no room for on one screen."""


def notes(config: Config) -> list[Note]:
    """Notes for a config, in the order of the run. The batch is 1, and so are the patches in time."""
    guided = config["guidance_embeds"]
    full = [
        *parts.adapted(parts.patch_embed(), _ONE, _WORDS),
        *parts.adapted(parts.rope_tables(), _ONE, _WORDS),
        *_history(),
        *parts.adapted(parts.timestep_and_text(), _ONE, _WORDS),
        *(parts.adapted(parts.guidance(), _ONE, _WORDS) if guided else ()),
        *parts.adapted(
            parts.conditioning("timestep, guidance and pooled text" if guided else "timestep and pooled text"), _ONE
        ),
        *parts.adapted(parts.text_refiner(), _ONE, _WORDS),
        *_picture(),
        *parts.adapted(parts.dual_blocks(), _BLOCK, _WORDS),
        *parts.adapted(parts.single_blocks(), _BLOCK, _WORDS),
        *_window(),
        *parts.adapted(_ends(), _ONE, _WORDS),
    ]
    return [dataclasses.replace(n, brief=n.brief and n.label not in _ASIDE) for n in full]


def _ends() -> list[Note]:
    """As in HunyuanVideo; the tables of the history are flattened at the same place of the code, before the latents."""
    return [dataclasses.replace(n, nth=0, out="hidden_states") if n.op == "flatten" else n for n in parts.ends()]


def _history() -> list[Note]:
    embedder = "clean_x_embedder"
    return [
        Note(
            "history", f"{embedder}.proj", "picture and nearest", "1 D 2 H/2 W/2",
            "Two latent frames in the finest patches, as fine as those of the window: the given picture, and the frame "
            "next to the window.",
            "tensor:latents_clean",
        ),
        Note(
            "history", f"{embedder}.proj_2x", "next two, coarser", "1 D 1 r_2 c_2",
            "Two latent frames in one layer of patches of 2×4×4: an eighth of the tokens.",
            "tensor:latents_history_2x",
        ),
        Note(
            "history", f"{embedder}.proj_4x", "sixteen, coarsest", "1 D 4 r_4 c_4",
            "Sixteen latent frames in patches of 4×8×8, a sixty-fourth of the tokens: what is far away costs no more "
            "than what is near. Rows and columns that do not divide are filled up by repeating the last ones.",
            "tensor:latents_history_4x",
        ),
        Note(
            "history", embedder, "history tokens", "1 H*W/2 D|1 r_2*c_2 D|1 4*r_4*c_4 D",
            "The history's length is the same in every section. That is FramePack's point: a longer video takes more "
            "sections, and each costs the same.",
            "config:has_clean_x_embedder", brief=False,
        ),
        Note(
            "rope-tables", "", "mean angles", "r_2*c_2 d|r_2*c_2 d",
            "A coarse patch covers many places; its cosines and sines are the averages over them, so they are shorter "
            "than one and turn what they meet a little smaller.",
            f"{_MODEL}._pad_rotary_emb", op="_pad_rotary_emb", brief=False,
        ),
        Note(
            "concat", "", "history, then window", f"1 {_PACKED} D|{_PACKED} d|{_PACKED} d",
            "Coarsest history first, then 2×, then picture and nearest frame, then the window: S tokens to be denoised "
            "behind others that are only looked at. The tables are joined the same way.",
            f"{_MODEL}._pack_history_states", op="_pack_history_states",
        ),
    ]


def _picture() -> list[Note]:
    return [
        Note(
            "image-projection", "image_projection", "picture", "1 I D",
            "SigLIP's 27·27 squares of the given picture, brought to D by way of 3D. The picture comes in twice: here "
            "by its meaning, and as latents in the history.",
            "config:has_image_proj",
        ),
        Note(
            "concat", "", "picture, then text", "1 L+I D",
            "The picture stands in front so that the padding of the text stays at the end, where it can be cut off.",
            "config:image_proj_dim", op="cat", out="encoder_hidden_states",
        ),
        Note(
            "attention-mask", "", "valid text only", "1 L+I D",
            "With one sample the padding is cut off, as many rows as the mask's sum says; here all rows are taken to "
            "be valid. With more samples nothing is cut and attention gets a mask.",
            "tensor:encoder_attention_mask", op="getitem", out="encoder_hidden_states", brief=False,
        ),
    ]


def _window() -> list[Note]:
    return [
        Note(
            "split", "", "window", "1 S D",
            "The last S rows: the history was there to be looked at, and no prediction is made for it.",
            "tensor:indices_latents", op="getitem", out="hidden_states",
        ),
    ]
