"""What the shapes of Wan mean. The claims are checked against every checkpoint's trace."""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

from tracer.families.base import Config
from tracer.notes import Note

_FILE = "source:diffusers.models.transformers.transformer_wan"
_CONDITION = "condition_embedder"
_BLOCK = "blocks.*"
_SELF = "blocks.*.attn1"
_CROSS = "blocks.*.attn2"


def notes(config: Config) -> list[Note]:
    """Notes for a config, in the order of the run."""
    image = config["image_dim"] is not None
    text = "512" if image else "L"  # where the attention cuts at 512, another length is another model
    return [
        *_start(config, image),
        *_conditioning(text),
        *(_picture(text) if image else ()),
        *_modulation(),
        *_self_attention(),
        *_cross_attention(text, image),
        *_rest(),
    ]


def _start(config: Config, image: bool) -> list[Note]:
    channels = (
        "Of the 36 channels 16 are noise, 4 a mask with a number for each frame behind a latent frame, and 16 the "
        "latents of the picture followed by plain grey frames."
        if image else
        "The number of frames acts by the size of the latents alone: more latent frames, more tokens and positions."
    )
    return [
        Note(
            "rope-tables", "rope", "tables by axis", "positions d_t|positions d_y|positions d_y",
            "Angles of as many positions as the tables have rows, for frame, row and column. Row and column get "
            "2·(d//6) numbers of a head each and the frame what is left, which is two more where d is 6n + 2.",
            "config:rope_max_seq_len", op="split", brief=False,
        ),
        Note(
            "rope-tables", "rope", "cos, sin", "1 S 1 d|1 S 1 d",
            "The first rows of the tables, spread over the grid: one row for each video token. They were computed in "
            "float64 once, when the model was made, and are stored as float32; a forward only cuts and copies.",
            f"{_FILE}:WanRotaryPosEmbed",
        ),
        Note(
            "patch-embed", "patch_embedding", "conv, stride p", "B D F/p_t H/p W/p",
            f"A 3-D convolution whose stride is its kernel: p_t frames, p rows and p columns of C channels become one "
            f"vector. {channels}",
            "config:in_channels" if image else "config:patch_size",
        ),
        Note(
            "patch-embed", "", "video tokens", "B S D",
            "Frames, rows and columns in one axis, frame by frame. This sequence holds video only, from here to the "
            "end.",
            "tensor:patch_embedding.weight", op="transpose", out="hidden_states",
        ),
    ]


def _conditioning(text: str) -> list[Note]:
    return [
        Note(
            "time-embedding", f"{_CONDITION}.timesteps_proj", "timesteps_proj", "B time_dim",
            "Cosines and sines of the timestep, cosines first; no weights.",
            "config:freq_dim", brief=False,
        ),
        Note(
            "time-embedding", f"{_CONDITION}.time_embedder", "time_embedder", "B D",
            "Two linear layers bring the timestep to D. One t for each sample: all frames are denoised together.",
            f"tensor:{_CONDITION}.time_embedder.linear_1.weight",
        ),
        Note(
            "modulation", f"{_CONDITION}.time_proj", "linear D → 6D", "B 6*D",
            "Shift, scale and gate for self-attention and feed-forward, computed once and handed to every block. Where "
            "other models have such a layer in each block, Wan has this one.",
            f"tensor:{_CONDITION}.time_proj.weight", also=(f"{_CONDITION}.act_fn",),
        ),
        Note(
            "text-projection", f"{_CONDITION}.text_embedder", "text_embedder", f"B {text} D",
            "UMT5's vectors, brought to D by two linear layers. Places behind the prompt's end were set to zero by the "
            "pipeline, and no mask hides them: they are attended to like words.",
            "config:text_dim",
        ),
    ]


def _picture(text: str) -> list[Note]:
    return [
        Note(
            "image-projection", f"{_CONDITION}.image_embedder", "image_embedder", "B I D",
            "What CLIP saw in the given picture, before its last layer: 16·16 squares and one class token, brought to "
            "D. The picture comes in twice: here by its meaning, and as latents in the channels.",
            "config:image_dim",
        ),
        Note(
            "concat", "", "picture, then text", f"B I+{text} D",
            "One sequence for the trip through the blocks. Each cross-attention takes it apart again, at a number that "
            "is written in its code: the last 512 rows are text.",
            "tensor:encoder_hidden_states_image", op="concat",
        ),
    ]


def _modulation() -> list[Note]:
    return [
        Note(
            "modulation", "", "six vectors", "B 6 D",
            "The same numbers with an axis for shift, scale and gate, twice.",
            f"tensor:{_CONDITION}.time_proj.bias", op="unflatten", brief=False,
        ),
        Note(
            "block", _BLOCK, "WanTransformerBlock", "B S D",
            "Only the video comes out: it attends to itself, looks at the text, and goes through a feed-forward. The "
            "text goes into every block as it was.",
            "config:num_layers",
        ),
        Note(
            "modulation", _BLOCK, "+ the block's table", "B 6 D",
            "Six learned vectors of its own are all that a block adds to the shared modulation: the timestep acts the "
            "same way in all blocks, from another starting point. The sum is made in float32.",
            f"tensor:{_BLOCK}.scale_shift_table", op="add",
        ),
        Note(
            "modulation", _BLOCK, "shift scale gate ×2", "B 1 D|B 1 D|B 1 D|B 1 D|B 1 D|B 1 D",
            "Three for self-attention and three for the feed-forward, each with an axis of 1 to broadcast over the "
            "tokens. Cross-attention gets none.",
            f"{_FILE}:WanTransformerBlock", op="chunk",
        ),
        Note(
            "modulation", _BLOCK, "norm1", "B S D",
            "LayerNorm(x)·(1 + scale) + shift, in float32 and cast back. The norm has no weights of its own.",
            "config:eps", op="type_as", out="norm_hidden_states", also=(f"{_BLOCK}.norm1",),
        ),
    ]


def _self_attention() -> list[Note]:
    return [
        Note(
            "qkv", f"{_SELF}.to_q", "to_q to_k to_v", "B S D",
            "Of the video alone; to_k and to_v have the same shape.",
            f"tensor:{_SELF}.to_q.weight", also=(f"{_SELF}.to_k", f"{_SELF}.to_v"),
        ),
        Note(
            "qk-norm", f"{_SELF}.norm_q", "norm_q norm_k", "B S D",
            "RMSNorm over the whole width, all heads together, before they are told apart: most models do it head by "
            "head.",
            "config:qk_norm", also=(f"{_SELF}.norm_k",),
        ),
        Note(
            "qkv", _SELF, "split into heads", "B S h d",
            "The width becomes heads times head_dim; heads stay behind the tokens until the kernel.",
            "config:num_attention_heads", op="unflatten", out="query", brief=False, also=(f"{_SELF} unflatten",),
        ),
        Note(
            "rope", _SELF, "turn query", "B S h d",
            "Every token has a place, so every row is turned: neighbouring numbers rotate as pairs, the even columns "
            "of the table giving the cosine and the odd ones the sine.",
            f"{_FILE}:WanAttnProcessor", op="apply_rotary_emb",
        ),
        Note(
            "rope", _SELF, "turn key", "B S h d",
            "The same angles for the key, so that a dot product sees only how far apart two tokens are.",
            f"tensor:{_SELF}.to_k.weight", op="apply_rotary_emb", nth=1,
        ),
        Note(
            "attention", _SELF, "attention", "B h S d",
            "Every video token looks at every video token, over all frames; the text is not among them. The only part "
            "whose work grows with the square of S.",
            "tensor:hidden_states", op="scaled_dot_product_attention",
        ),
        Note(
            "attention", f"{_SELF}.to_out.*", "to_out", "B S D",
            "The heads side by side again, mixed by one linear layer.",
            f"tensor:{_SELF}.to_out.0.weight",
        ),
        Note(
            "gate", _BLOCK, "video + gate·attention", "B S D",
            "The residual, added in float32: the gate has one number for each channel.",
            f"tensor:{_SELF}.to_out.0.bias", op="type_as", out="hidden_states",
        ),
    ]


def _cross_attention(text: str, image: bool) -> list[Note]:
    stage = "cross-attention"
    return [
        Note(
            stage, f"{_BLOCK}.norm2", "norm2", "B S D",
            "A LayerNorm with weights and without modulation: no shift, scale or gate here.",
            "config:cross_attn_norm", brief=False,
        ),
        *(_picture_rows() if image else ()),
        Note(
            stage, f"{_CROSS}.to_q", "to_q: video", "B S D",
            "The video asks; one query for each of its tokens. They are not turned, for the text has no place in the "
            "grid.",
            f"tensor:{_CROSS}.to_q.weight", also=(_CROSS, f"{_CROSS}.norm_q"),
        ),
        Note(
            stage, f"{_CROSS}.to_k", "to_k to_v: text", f"B {text} D",
            "The text answers. It is the same in every step, so each block could compute these once; they are computed "
            "each time.",
            f"tensor:{_CROSS}.to_k.weight", also=(f"{_CROSS}.to_v", f"{_CROSS}.norm_k"),
        ),
        *(_picture_attention() if image else ()),
        Note(
            stage, _CROSS, "attention to the text", "B h S d",
            "Each video token looks at all text rows: a strip of S by that many, small beside the square of "
            "self-attention. This is the only way in for the prompt.",
            "tensor:encoder_hidden_states", op="scaled_dot_product_attention", nth=1 if image else 0,
        ),
        *(_both() if image else ()),
        Note(
            stage, f"{_CROSS}.to_out.*", "to_out", "B S D",
            "Mixes the heads of what was read.",
            f"tensor:{_CROSS}.to_out.0.weight",
        ),
        Note(
            stage, _BLOCK, "video + text", "B S D",
            "A plain residual: no gate.",
            f"tensor:{_CROSS}.to_out.0.bias", op="add", out="hidden_states", brief=False,
        ),
    ]


def _picture_rows() -> list[Note]:
    return [
        Note(
            "split", _CROSS, "picture", "B I D",
            "What stands before the last 512 rows is taken for the picture, however much that is.",
            f"{_FILE}:WanAttnProcessor.__call__", op="getitem", out="encoder_hidden_states_img",
        ),
        Note(
            "split", _CROSS, "text", "B 512 D",
            "The last 512 rows. A shorter prompt embedding would have picture rows among them, and nothing would say "
            "so.",
            "tensor:encoder_hidden_states_image", op="getitem", out="encoder_hidden_states",
        ),
    ]


def _picture_attention() -> list[Note]:
    return [
        Note(
            "cross-attention", f"{_CROSS}.add_k_proj", "add_k add_v: picture", "B I D",
            "Keys and values of the picture have weights of their own in every block; the queries are shared with the "
            "text. These layers are nearly all that image-to-video has more in parameters.",
            "config:added_kv_proj_dim", also=(f"{_CROSS}.add_v_proj", f"{_CROSS}.norm_added_k"),
        ),
        Note(
            "cross-attention", _CROSS, "attention to picture", "B h S d",
            "A kernel of its own: the picture does not compete with the text for one softmax.",
            f"tensor:{_CROSS}.add_k_proj.weight", op="scaled_dot_product_attention",
        ),
    ]


def _both() -> list[Note]:
    return [
        Note(
            "cross-attention", _CROSS, "text + picture", "B S D",
            "What was read in both is added, with the same weight.",
            f"tensor:{_CROSS}.add_v_proj.weight", op="add", out="hidden_states", brief=False,
        ),
    ]


def _rest() -> list[Note]:
    return [
        Note(
            "modulation", _BLOCK, "norm3", "B S D",
            "The second shift and scale, before the feed-forward.",
            "source:diffusers.models.normalization:FP32LayerNorm", op="type_as", out="norm_hidden_states", nth=2,
            also=(f"{_BLOCK}.norm3",),
        ),
        Note(
            "feed-forward", f"{_BLOCK}.ffn.net.*.proj", "widen", "B S ffn",
            "Each token on its own, with a tanh-approximated GELU. The width in between is a field of its own and no "
            "whole multiple of D.",
            "config:ffn_dim",
        ),
        Note(
            "feed-forward", f"{_BLOCK}.ffn", "feed-forward", "B S D",
            "Back to D.",
            f"tensor:{_BLOCK}.ffn.net.2.weight",
        ),
        Note(
            "gate", _BLOCK, "video + gate·ff", "B S D",
            "The third residual, with the last of the six vectors as its gate.",
            f"tensor:{_BLOCK}.ffn.net.2.bias", op="type_as", out="hidden_states", nth=1,
            also=(f"{_BLOCK} mul",),
        ),
        Note(
            "norm-out", "", "norm_out", "B S D",
            "A last shift and scale, from the embedded timestep and a table of two vectors; no gate.",
            "tensor:scale_shift_table", op="type_as", out="hidden_states", also=("norm_out",),
        ),
        Note(
            "unpatchify", "proj_out", "proj_out", "B S C_out*p*p*p_t",
            "Each token becomes the numbers of its patch.",
            "config:out_channels",
        ),
        Note(
            "unpatchify", "", "back on the grid", "B F/p_t H/p W/p p_t p p C_out",
            "The token axis is read as frames, rows and columns; within a patch the channels come last.",
            "tensor:proj_out.weight", op="reshape",
        ),
        Note(
            "unpatchify", "", "latents", "B C_out F H W",
            "Places within a patch merge with their axes: the velocity, in the size of the latents.",
            f"{_FILE}:WanTransformer3DModel", op="flatten", nth=3,
        ),
    ]
