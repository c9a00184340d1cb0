"""What HunyuanVideo and the models built from its blocks have in common: notes, by part of the model.

Written in HunyuanVideo's own names: S video tokens, L text tokens, its classes, its text encoder. `adapted` puts in
what another model has in their place.
"""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from tracer.notes import Note

FILE = "source:diffusers.models.transformers.transformer_hunyuan_video"
EMBED = "source:diffusers.models.embeddings"
NORM = "source:diffusers.models.normalization"
CONDITIONING = "time_text_embed"
REFINER = "context_embedder"
REFINER_BLOCK = "context_embedder.token_refiner.refiner_blocks.*"
DUAL = "transformer_blocks.*"
SINGLE = "single_transformer_blocks.*"


def adapted(
    notes: Sequence[Note], axes: Mapping[str, str] | None = None, words: Mapping[str, str] | None = None
) -> list[Note]:
    """The notes for another model: letters of the shapes replaced, and words of the texts and reasons.

    axes: `{"S": "S+P"}` where P more tokens stand beside the video's. words: `{"Llama": "Qwen"}`.
    """
    axes, words = axes or {}, words or {}

    def reword(text: str) -> str:
        for old, new in words.items():
            text = text.replace(old, new)
        return text

    def rename(shape: str) -> str:
        return re.sub(r"\w+", lambda letter: axes.get(letter[0], letter[0]), shape)

    return [
        dataclasses.replace(n, shape=rename(n.shape), why=reword(n.why), because=reword(n.because)) for n in notes
    ]


def chunks(n: int) -> str:
    """The shapes of n vectors from the conditioning vector."""
    return "|".join(["B D"] * n)


def rope_tables() -> list[Note]:
    """Angles for frames, rows and columns, and the tables they make."""
    return [
        Note(
            "rope-tables", "rope", "frame angles", "S d_t|S d_t",
            "The first part of a head turns with the frame: half as many frequencies as numbers, each written twice, "
            "because a rotation turns a pair.",
            "config:rope_axes_dim", op="get_1d_rotary_pos_embed", brief=False,
        ),
        Note(
            "rope-tables", "rope", "row angles", "S d_y|S d_y",
            "The second part turns with the row. The base is 256 rather than the usual 10000, so the slowest pair "
            "turns further from row to row.",
            "config:rope_theta", op="get_1d_rotary_pos_embed", nth=1, brief=False,
        ),
        Note(
            "rope-tables", "rope", "column angles", "S d_x|S d_x",
            "The third part turns with the column. Frame, row and column are plain counts from 0, at every size.",
            f"{EMBED}:get_1d_rotary_pos_embed", op="get_1d_rotary_pos_embed", nth=2, brief=False,
        ),
        Note(
            "rope-tables", "rope", "cos, sin", "S d|S d",
            "One row for each video token, in float32, computed anew in every forward from nothing but the size of the "
            "latents: the three parts side by side fill a head.",
            f"{FILE}:HunyuanVideoRotaryPosEmbed",
        ),
    ]


def timestep_and_text() -> list[Note]:
    """The embedded timestep and the pooled text."""
    return [
        Note(
            "time-embedding", f"{CONDITIONING}.time_proj", "time_proj", "B 256",
            "Cosines and sines of the timestep; no weights. The width of 256 is written in the code, no config field "
            "moves it.",
            f"{EMBED}:get_timestep_embedding", brief=False,
        ),
        Note(
            "time-embedding", f"{CONDITIONING}.timestep_embedder", "timestep", "B D",
            "Two linear layers bring the timestep to D. One timestep for each sample: all frames are denoised "
            "together.",
            "tensor:time_text_embed.timestep_embedder.linear_1.weight",
        ),
        Note(
            "pooled-text", f"{CONDITIONING}.text_embedder", "pooled text", "B D",
            "CLIP's one vector for the whole prompt, brought to D. The words themselves come from Llama, as a "
            "sequence.",
            "config:pooled_projection_dim",
        ),
    ]


def guidance() -> list[Note]:
    """Guidance as an input of the model."""
    return [
        Note(
            "guidance-embedding", f"{CONDITIONING}.guidance_embedder", "guidance", "B D",
            "The guidance scale, times 1000, is embedded like a timestep: the model was distilled to answer in one "
            "pass what guidance needs two for. True classifier-free guidance is a second forward, made only with "
            "a negative prompt.",
            "config:guidance_embeds",
        )
    ]


def conditioning(parts: str) -> list[Note]:
    """The one vector that modulates every block, and what it is the sum of."""
    return [
        Note(
            "time-embedding", CONDITIONING, "conditioning", "B D",
            f"The sum of {parts}: one vector of width D, which modulates every block.",
            f"{FILE}:HunyuanVideoConditionEmbedding", op="add", out="conditioning",
        ),
    ]


def patch_embed(channels: str = "", because: str = "config:patch_size") -> list[Note]:
    """Latents become tokens. channels: a sentence on what goes in, and the reason that shows it."""
    return [
        Note(
            "patch-embed", "x_embedder.proj", "conv, stride p", "B D F/p_t H/p W/p",
            "A 3-D convolution whose stride is its kernel: p_t frames, p rows and p columns of C channels become one "
            f"vector.{channels and ' '}{channels}",
            because,
        ),
        Note(
            "patch-embed", "x_embedder", "video tokens", "B S D",
            "Frames, rows and columns in one axis, frame by frame. Channels were second on the way in and are last "
            "from here on.",
            f"{FILE}:HunyuanVideoPatchEmbed",
        ),
    ]


def text_refiner() -> list[Note]:
    """The text brought to the model's width, and the two blocks in which it attends to itself."""
    return [
        Note(
            "token-refiner", REFINER, "mean of the text", "B text_dim",
            "The average of the text vectors that are no padding: with the timestep it conditions the refiner.",
            "tensor:encoder_attention_mask", op="div", out="pooled_projections", brief=False,
        ),
        Note(
            "text-projection", f"{REFINER}.proj_in", "proj_in", "B L D",
            "Llama's hidden states, brought from the text encoder's width to D.",
            "config:text_embed_dim",
        ),
        Note(
            "token-refiner", f"{REFINER}.token_refiner", "mask L×L", "B 1 L L",
            "Text may look only at text that is no padding. Column 0 is opened for all, so that a padding row has "
            "somewhere to look and no softmax divides by zero.",
            f"{FILE}:HunyuanVideoIndividualTokenRefiner", op="setitem", brief=False,
        ),
        Note(
            "token-refiner", REFINER_BLOCK, "refiner block", "B L D",
            "Llama reads left to right only. In these small blocks the text looks both ways, before it meets the "
            "video.",
            "config:num_refiner_layers",
        ),
        Note(
            "token-refiner", f"{REFINER_BLOCK}.attn", "text attention", "B h L d",
            "Text against text, L² and therefore next to nothing beside the video.",
            "source:diffusers.models.attention_processor:AttnProcessor2_0", op="scaled_dot_product_attention",
            brief=False,
        ),
        Note(
            "token-refiner", f"{REFINER_BLOCK}.norm_out", "two gates", "B 1 D|B 1 D",
            "The refiner is conditioned by gates alone, one for attention and one for feed-forward: no shift, no "
            "scale.",
            f"{FILE}:HunyuanVideoAdaNorm", brief=False,
        ),
        Note(
            "token-refiner", REFINER, "refined text", "B L D",
            "The text as it leaves the refiner.",
            f"{FILE}:HunyuanVideoTokenRefiner", brief=False,
        ),
    ]


def attention_mask() -> list[Note]:
    """The mask over text and video."""
    return [
        Note(
            "attention-mask", "", "mask", "B 1 1 L+S",
            "True for the video and for as many text tokens as the prompt has. It broadcasts over heads and queries, "
            "so it costs nothing to keep; the padding is still computed.",
            "tensor:encoder_attention_mask", op="unsqueeze", out="attention_mask",
        ),
    ]


def dual_blocks(norm_class: str = f"{NORM}:AdaLayerNormZero", *, gated: bool = True) -> list[Note]:
    """A block with weights of their own for video and text. gated: the residual is one addition."""
    attention = f"{DUAL}.attn"
    norm = f"{DUAL}.norm1"
    return [
        Note(
            "block", DUAL, "dual-stream block", "B S D|B L D",
            "Video and text have all weights apart, projections and feed-forward included, and meet only in "
            "attention.",
            "config:num_layers",
        ),
        Note(
            "modulation", norm, "shift scale gate ×2", chunks(6),
            "Six vectors from the conditioning: shift, scale, gate for attention, then shift, scale, gate for the "
            "feed-forward. LayerNorm has no weights of its own here.",
            norm_class,
            op="chunk", also=(norm, f"{DUAL}.norm1_context", f"{DUAL}.norm2", f"{DUAL}.norm2_context"),
        ),
        Note(
            "modulation", f"{DUAL}.norm1_context", "the same for text", chunks(6),
            "The text's own six, from a linear layer of its own and the same conditioning vector.",
            f"tensor:{DUAL}.norm1_context.linear.weight", op="chunk", brief=False,
        ),
        Note(
            "qkv", f"{attention}.to_q", "to_q to_k to_v", "B S D",
            "The video's projections; to_k and to_v alike.",
            f"tensor:{attention}.to_q.weight", also=(f"{attention}.to_k", f"{attention}.to_v"),
        ),
        Note(
            "qkv", attention, "split into heads", "B S h d",
            "Heads stay behind the tokens here; the kernel's order comes just before attention.",
            "config:num_attention_heads", op="unflatten", out="query", brief=False,
        ),
        Note(
            "qk-norm", f"{attention}.norm_q", "norm_q norm_k", "B S h d",
            "RMSNorm over the numbers of each head, for query and key.",
            "config:qk_norm", also=(f"{attention}.norm_k", f"{attention}.norm_added_k"),
        ),
        Note(
            "rope", attention, "turn query", "B S h d",
            "Only the video is turned, and it is turned before the text is joined on: text never gets an angle.",
            f"{EMBED}:apply_rotary_emb", op="apply_rotary_emb",
        ),
        Note(
            "rope", attention, "turn key", "B S h d",
            "The same angles for the key, so that a dot product sees only how far apart two tokens are.",
            f"tensor:{attention}.to_k.weight", op="apply_rotary_emb", nth=1,
        ),
        Note(
            "qkv", f"{attention}.add_q_proj", "add_q add_k add_v", "B L D",
            "The text's own projections, which attention of one stream would not have.",
            f"tensor:{attention}.add_q_proj.weight",
            also=(f"{attention}.add_k_proj", f"{attention}.add_v_proj", f"{attention} unflatten"),
        ),
        Note(
            "qk-norm", f"{attention}.norm_added_q", "text norms", "B L h d",
            "And its own norms.",
            f"tensor:{attention}.norm_added_q.weight", brief=False,
        ),
        Note(
            "concat", attention, "video, then text", "B L+S h d",
            "Queries of both streams in one sequence, video first: the other way round than in CogVideoX.",
            f"{FILE}:HunyuanVideoAttnProcessor2_0", op="cat", out="query", also=(f"{attention} cat",),
        ),
        Note(
            "attention", attention, "attention", "B h L+S d",
            "All tokens of both streams look at one another. The mask hides padding; the work is that of the whole "
            "square all the same.",
            "tensor:hidden_states", op="scaled_dot_product_attention",
        ),
        Note(
            "split", attention, "video", "B S D",
            "All but the last L rows.",
            "tensor:encoder_hidden_states", op="getitem", out="hidden_states",
        ),
        Note(
            "split", attention, "text", "B L D",
            "The last L rows.",
            f"tensor:{attention}.add_v_proj.weight", op="getitem", out="encoder_hidden_states", brief=False,
        ),
        Note(
            "attention", f"{attention}.to_out.*", "to_out", "B S D",
            "Mixes the heads of the video.",
            f"tensor:{attention}.to_out.0.weight", brief=False,
        ),
        Note(
            "attention", f"{attention}.to_add_out", "to_add_out", "B L D",
            "Mixes the heads of the text, with other weights.",
            f"tensor:{attention}.to_add_out.weight", brief=False,
        ),
        *(_gate() if gated else ()),
        Note(
            "feed-forward", f"{DUAL}.ff", "video feed-forward", "B S D",
            "Up to mlp_ratio times D and back, each token on its own, between a shift and scale and a gate.",
            "config:mlp_ratio",
        ),
        Note(
            "feed-forward", f"{DUAL}.ff_context", "text feed-forward", "B L D",
            "The text's own: the same shape of weights, for L tokens instead of S.",
            f"tensor:{DUAL}.ff_context.net.2.weight",
        ),
    ]


def _gate() -> list[Note]:
    return [
        Note(
            "gate", DUAL, "video + gate·attention", "B S D",
            "The residual, each channel weighed by its gate.",
            f"tensor:{DUAL}.norm1.linear.weight", op="add", out="hidden_states",
            also=(f"{DUAL} mul", f"{DUAL} add"),
        ),
    ]


def single_blocks(norm_class: str = f"{NORM}:AdaLayerNormZeroSingle") -> list[Note]:
    """A block with one set of weights for video and text."""
    attention = f"{SINGLE}.attn"
    norm = f"{SINGLE}.norm"
    return [
        Note(
            "block", SINGLE, "single-stream block", "B S D|B L D",
            "One set of weights for video and text. Attention and feed-forward run side by side from the same input, "
            "which saves a norm, and makes two last projections one.",
            "config:num_single_layers",
        ),
        Note(
            "concat", SINGLE, "video, then text", "B L+S D",
            "Both streams in one sequence for the whole block.",
            f"{FILE}:HunyuanVideoSingleTransformerBlock", op="cat",
        ),
        Note(
            "modulation", norm, "shift scale gate", chunks(3),
            "Three vectors instead of six: one norm serves both branches, and one gate their sum.",
            norm_class,
            op="chunk", also=(norm,),
        ),
        Note(
            "feed-forward", f"{SINGLE}.proj_mlp", "widen", "B L+S D*mlp",
            "The feed-forward branch; its way back is shared with attention, below.",
            f"tensor:{SINGLE}.proj_mlp.weight", also=(f"{SINGLE}.act_mlp",),
        ),
        Note(
            "qkv", f"{attention}.to_q", "to_q to_k to_v", "B L+S D",
            "One projection for video and text; text has none of its own any more.",
            f"tensor:{attention}.to_q.weight",
            also=(f"{attention}.to_k", f"{attention}.to_v", f"{attention} unflatten"),
        ),
        Note(
            "qk-norm", f"{attention}.norm_q", "norm_q norm_k", "B L+S h d",
            "One RMSNorm over both streams' heads.",
            f"tensor:{attention}.norm_q.weight", brief=False, also=(f"{attention}.norm_k",),
        ),
        Note(
            "rope", attention, "turn query", "B S h d",
            "The text rows are cut off, the video rows turned, and the text joined on again.",
            f"tensor:{attention}.norm_k.weight", op="apply_rotary_emb",
        ),
        Note(
            "rope", attention, "turn key", "B S h d",
            "The key's video rows, by the same angles.",
            f"tensor:{attention}.to_k.weight", op="apply_rotary_emb", nth=1, brief=False,
        ),
        Note(
            "concat", attention, "turned, then text", "B L+S h d",
            "Turned video and untouched text, one sequence again.",
            f"tensor:{attention}.to_q.bias", op="cat", out="query", brief=False,
        ),
        Note(
            "attention", attention, "attention", "B h L+S d",
            "The same square as in the dual blocks, in more blocks.",
            "tensor:hidden_states", op="scaled_dot_product_attention",
        ),
        Note(
            "concat", SINGLE, "attention | feed-forward", "B L+S D+D*mlp",
            "Side by side along the channels, not the tokens: one linear layer takes both.",
            "config:mlp_ratio", op="cat", nth=2,
        ),
        Note(
            "feed-forward", f"{SINGLE}.proj_out", "proj_out", "B L+S D",
            "Mixes the heads and closes the feed-forward at once.",
            f"tensor:{SINGLE}.proj_out.weight",
        ),
        Note(
            "gate", SINGLE, "+ residual", "B L+S D",
            "Gated and added to what came in; after that the sequence is cut into video and text once more.",
            f"tensor:{norm}.linear.weight", op="add", out="hidden_states", also=(f"{SINGLE} mul",),
        ),
    ]


def ends() -> list[Note]:
    """The last modulation, and tokens back to latents."""
    return [
        Note(
            "norm-out", "norm_out", "norm_out", "B S D",
            "The text is dropped. A last scale and shift from the conditioning vector; no gate.",
            f"{NORM}:AdaLayerNormContinuous",
        ),
        Note(
            "unpatchify", "proj_out", "proj_out", "B S C_out*p*p*p_t",
            "Each token becomes the numbers of its patch.",
            "config:out_channels",
        ),
        Note(
            "unpatchify", "", "back on the grid", "B F/p_t H/p W/p C_out p_t p p",
            "The token axis is read as frames, rows and columns again.",
            "tensor:proj_out.weight", op="reshape",
        ),
        Note(
            "unpatchify", "", "latents", "B C_out F H W",
            "Channels move to the front, places within a patch merge with their axes: the velocity, in the size of the "
            "latents.",
            f"{FILE}:HunyuanVideoTransformer3DModel", op="flatten", nth=2,
        ),
    ]
