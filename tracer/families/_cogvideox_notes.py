"""What the shapes of CogVideoX mean. The claims are checked against every checkpoint's trace."""

# Laid out by hand: stage and place on a line, then the reason.
# fmt: off

from __future__ import annotations

from tracer.families.base import Config
from tracer.notes import Note

_EMBED = "diffusers.models.embeddings"
_NORM = "diffusers.models.normalization"
_PROCESSOR = "source:diffusers.models.attention_processor:CogVideoXAttnProcessor2_0"
_BLOCK = "transformer_blocks.*"
_BLOCK_SOURCE = "diffusers.models.transformers.cogvideox_transformer_3d:CogVideoXBlock"
_ATTENTION = "transformer_blocks.*.attn1"


def notes(config: Config) -> list[Note]:
    """Notes for a config, in the order of the run."""
    table = not config["use_rotary_positional_embeddings"] or config["use_learned_positional_embeddings"]
    return [
        *_conditioning(config),
        *(_patches_1_5() if config["patch_size_t"] else _patches_1_0()),
        *([_table(config)] if table else []),
        *_streams(),
        *_attention(config),
        *_rest(config),
    ]


def _conditioning(config: Config) -> list[Note]:
    out = [
        Note(
            "time-embedding", "time_proj", "time_proj", "B D",
            "No weights: the step number t becomes D cosines and sines of t at falling frequencies, so that near "
            "steps get near vectors. At t = 0 the first half is all ones and the second all zeros. It is always "
            "computed in float32 and cast afterwards.",
            f"source:{_EMBED}:get_timestep_embedding",
        ),
        Note(
            "time-embedding", "time_embedding", "time_embedding", "B T",
            "Here the learning happens: linear, SiLU, linear, from D down to T. This one vector tells every block how "
            "noisy the latents are. There is one t for each sample, not for each frame: all frames are denoised "
            "together, and what tells them apart is their position.",
            "config:time_embed_dim",
        ),
    ]
    if config["ofs_embed_dim"]:
        out += [
            Note(
                "offset-embedding", "ofs_proj", "ofs_proj", "1 T",
                "The same cosines and sines as for t, of another number, again without weights. The first axis is 1, "
                "because the pipeline hands over a single value for the whole batch, always 2.0.",
                "source:diffusers:CogVideoXImageToVideoPipeline",
            ),
            Note(
                "offset-embedding", "ofs_embedding", "ofs_embedding", "1 T",
                "Two linear layers of its own. As the input never changes, the trained result is one constant "
                "vector; it exists in the 1.5 image-to-video models only, and has nothing to do with frame offsets.",
                "config:ofs_embed_dim",
            ),
            Note(
                "offset-embedding", "", "time + offset", "B T",
                "The constant is added to the time vector and broadcasts over the batch. The sum is what all blocks "
                "are conditioned on.",
                "tensor:ofs_embedding.linear_2.weight", op="add", out="emb",
            ),
        ]
    return out


def _patches_1_0() -> list[Note]:
    return [
        _text_proj(),
        Note(
            "patch-embed", "patch_embed", "frames join the batch", "B*F C H W",
            "A 2-D convolution knows no frames, so batch and frames become one axis and every latent frame is cut "
            "into patches on its own.",
            "tensor:patch_embed.proj.weight", op="reshape",
        ),
        Note(
            "patch-embed", "patch_embed.proj", "conv, stride p", "B*F D H/p W/p",
            "A convolution whose stride is its kernel: each p×p square of C channels becomes one vector of width D. "
            "Frames are not merged here: a token is one square of one latent frame.",
            "config:patch_size",
        ),
        Note(
            "patch-embed", "patch_embed", "video tokens", "B S D",
            "Frames, rows and columns are written one after the other, row by row and frame by frame: S tokens. "
            "This is all that num_frames changes: more frames, more tokens. No number of frames and no frame rate "
            "is ever embedded.",
            f"source:{_EMBED}:CogVideoXPatchEmbed", op="flatten", nth=1,
        ),
        _joined(),
    ]


def _patches_1_5() -> list[Note]:
    return [
        _text_proj(),
        Note(
            "patch-embed", "patch_embed", "cut into blocks", "B F/p_t p_t H/p p W/p p C",
            "Version 1.5 cuts in time too: p_t latent frames, p rows and p columns make one patch, with the channels "
            "moved last. The pipeline adds latent frames until F divides.",
            "config:patch_size_t", op="reshape",
        ),
        Note(
            "patch-embed", "patch_embed", "flat patches", "B S C*p*p*p_t",
            "Each patch is laid out as one vector, channels first, then frame, row and column within the patch. "
            "The batch stays an axis of its own; frames, rows and columns of patches become the token axis.",
            f"source:{_EMBED}:CogVideoXPatchEmbed", op="flatten", nth=1,
        ),
        Note(
            "patch-embed", "patch_embed.proj", "linear", "B S D",
            "In place of the convolution of 1.0: a linear layer over flat patches. It always has a bias; the field "
            "patch_bias is only read by the convolution. S is all that num_frames changes: no number of frames "
            "and no frame rate is ever embedded.",
            "tensor:patch_embed.proj.weight",
        ),
        _joined(),
    ]


def _text_proj() -> Note:
    return Note(
        "text-projection", "patch_embed.text_proj", "text_proj", "B L D",
        "T5 writes vectors of its own width; one linear layer brings each text token to D, so that text and video "
        "can share a sequence.",
        "config:text_embed_dim",
    )


def _joined() -> Note:
    return Note(
        "concat", "patch_embed", "text, then video", "B L+S D",
        "The patch embedding returns one joint sequence, text in front. The forward cuts it in two again at once; "
        "the concat is there so that a position table can be added over both.",
        f"source:{_EMBED}:CogVideoXPatchEmbed", op="cat",
    )


def _table(config: Config) -> Note:
    if config["use_learned_positional_embeddings"]:
        return Note(
            "position-embedding", "patch_embed", "+ learned table", "B L+S D",
            "This model adds a stored table on top of its rotary angles. It is a buffer of the published size, not a "
            "parameter: text length, rows and columns cannot change, and another number of frames silently puts a "
            "freshly computed sincos table in its place.",
            "config:use_learned_positional_embeddings", op="add",
        )
    return Note(
        "position-embedding", "patch_embed", "+ sincos table", "B L+S D",
        "The 2b model has no rotary angles: sines and cosines of frame, row and column are added once, a quarter of "
        "D for the frame and three eighths each for row and column. Text rows get zeros. At other sizes the table is "
        "computed anew, with positions divided by the interpolation scales.",
        f"source:{_EMBED}:get_3d_sincos_pos_embed", op="add",
    )


def _streams() -> list[Note]:
    return [
        Note(
            "split", "", "text stream", "B L D",
            "The first L rows. Text and video travel side by side through the blocks, so that each can be modulated "
            "by its own numbers.",
            "tensor:patch_embed.text_proj.weight", op="getitem", out="encoder_hidden_states", brief=False,
        ),
        Note(
            "split", "", "video stream", "B S D",
            "The rows after the text: the tokens that will become video again.",
            "tensor:patch_embed.proj.weight", op="getitem", out="hidden_states", brief=False,
        ),
        Note(
            "block", _BLOCK, "CogVideoXBlock", "B S D|B L D",
            "Takes both streams and returns both, changed: modulate, attend together, add; modulate, feed forward, "
            "add. All blocks have the same shapes.",
            "config:num_layers",
        ),
        Note(
            "modulation", f"{_BLOCK}.norm1.linear", "linear T → 6D", "B 6*D",
            "From the conditioning vector to six vectors of width D: three for video, three for text. This is how the "
            "timestep acts: nothing else in a block sees it.",
            f"tensor:{_BLOCK}.norm1.linear.weight",
        ),
        Note(
            "modulation", f"{_BLOCK}.norm1", "shift scale gate ×2", "B D|B D|B D|B D|B D|B D",
            "In this order: shift, scale, gate for video, then the same for text. There is a gate, which a plain "
            "'scale and offset' reading misses; it waits until after the attention.",
            f"source:{_NORM}:CogVideoXLayerNormZero", op="chunk",
        ),
        Note(
            "modulation", f"{_BLOCK}.norm1", "norm1", "B S D|B L D|B 1 D|B 1 D",
            "LayerNorm(x)·(1 + scale) + shift, with one LayerNorm for both streams. The two gates come out with an "
            "axis of 1, ready to broadcast over the tokens.",
            "config:norm_elementwise_affine",
        ),
    ]


def _attention(config: Config) -> list[Note]:
    out = [
        Note(
            "concat", _ATTENTION, "text, then video", "B L+S D",
            "For attention both streams become one sequence, text first: this is where the prompt and the video meet, "
            "and why no cross-attention is needed.",
            _PROCESSOR, op="cat",
        ),
        Note(
            "qkv", f"{_ATTENTION}.to_q", "to_q to_k to_v", "B L+S D",
            "One projection for text and video alike; to_k and to_v have the same shape.",
            "config:attention_bias", also=(f"{_ATTENTION}.to_k", f"{_ATTENTION}.to_v"),
        ),
        Note(
            "qkv", _ATTENTION, "split into heads", "B h L+S d",
            "The width becomes heads times head_dim, and heads move before tokens, as the attention kernel wants "
            "them. Key and value likewise.",
            "config:num_attention_heads", op="transpose", out="query",
            also=(f"{_ATTENTION} view", f"{_ATTENTION} transpose"),
        ),
        Note(
            "qk-norm", f"{_ATTENTION}.norm_q", "norm_q norm_k", "B h L+S d",
            "A LayerNorm over the d numbers of each head keeps dot products in range; it stands between the "
            "projection and the rotation.",
            f"tensor:{_ATTENTION}.norm_q.weight", also=(f"{_ATTENTION}.norm_k",),
        ),
    ]
    if config["use_rotary_positional_embeddings"]:
        out += [
            Note(
                "rope-tables", _ATTENTION, "cos, sin", "1 1 S d",
                "The pipeline computes the tables once, for the video grid only, and hands them to every block: a row "
                "for each video token, cosines and sines of its frame, row and column side by side.",
                f"source:{_EMBED}:get_3d_rotary_pos_embed", op="getitem", out="cos", within="apply_rotary_emb",
            ),
            Note(
                "rope", _ATTENTION, "turn query", "B h S d",
                "Only rows from L on are taken: text has no place in the grid and is not turned. Neighbouring pairs of "
                "numbers rotate by the token's angle, so dot products depend on differences of position.",
                f"source:{_EMBED}:apply_rotary_emb", op="apply_rotary_emb",
            ),
            Note(
                "rope", _ATTENTION, "write into query[L:]", "B h L+S d",
                "The turned rows are written back in place, behind the text rows, which stay as they were.",
                _PROCESSOR, op="setitem",
            ),
            Note(
                "rope", _ATTENTION, "turn key", "B h S d",
                "The key is turned by the same angles; the value is not, so positions weigh in on who looks at whom "
                "and not on what is passed on.",
                f"tensor:{_ATTENTION}.to_k.weight", op="apply_rotary_emb", nth=1,
            ),
            Note(
                "rope", _ATTENTION, "write into key[L:]", "B h L+S d",
                "As for the query: in place, from row L on.",
                f"source:{_EMBED}:get_1d_rotary_pos_embed", op="setitem", nth=1, brief=False,
            ),
        ]
    return [
        *out,
        Note(
            "attention", _ATTENTION, "attention", "B h L+S d",
            "Every token looks at every token, over all frames at once: full 3D attention, with no mask. Its cost "
            "grows with the square of L+S, all else only in proportion.",
            "tensor:hidden_states", op="scaled_dot_product_attention",
        ),
        Note(
            "attention", f"{_ATTENTION}.to_out.*", "to_out", "B L+S D",
            "The heads are put side by side again and mixed by one linear layer, still shared by text and video.",
            f"tensor:{_ATTENTION}.to_out.0.weight",
        ),
        Note(
            "split", _ATTENTION, "text | video", "B L D|B S D",
            "Back into two streams at row L. The processor returns video first, then text: the other way round than "
            "they lie in the sequence.",
            "tensor:encoder_hidden_states", op="split",
        ),
    ]


def _rest(config: Config) -> list[Note]:
    patch = "C_out*p*p*p_t" if config["patch_size_t"] else "C_out*p*p"
    grid = "B F/p_t H/p W/p C_out p_t p p" if config["patch_size_t"] else "B F H/p W/p C_out p p"
    return [
        Note(
            "gate", _BLOCK, "video + gate·attention", "B S D",
            "The residual: the attention result, weighed by the gate from norm1. The gate has one number for each "
            "channel and none for each token.",
            f"source:{_NORM}:CogVideoXLayerNormZero.forward", op="add", out="hidden_states",
            also=(f"{_BLOCK} mul", f"{_BLOCK} add"),
        ),
        Note(
            "gate", _BLOCK, "text + gate·attention", "B L D",
            "The text stream is updated too, with a gate of its own: the prompt's vectors change from block to block.",
            f"tensor:{_BLOCK}.norm1.linear.bias", op="add", out="encoder_hidden_states", brief=False,
        ),
        Note(
            "modulation", f"{_BLOCK}.norm2", "norm2", "B S D|B L D|B 1 D|B 1 D",
            "The same modulation again, with weights of its own, before the feed-forward.",
            f"tensor:{_BLOCK}.norm2.linear.weight", brief=False,
        ),
        Note(
            "concat", _BLOCK, "text, then video", "B L+S D",
            "Joined once more, so that one feed-forward serves both streams.",
            f"source:{_BLOCK_SOURCE}", op="cat", brief=False,
        ),
        Note(
            "feed-forward", f"{_BLOCK}.ff.net.*.proj", "widen", "B L+S 4*D",
            "Each token on its own, four times as wide in between, with a tanh-approximated GELU.",
            "config:activation_fn",
        ),
        Note(
            "feed-forward", f"{_BLOCK}.ff", "feed-forward", "B L+S D",
            "Back to D. Text and video share these weights; they differ only in their modulation.",
            f"tensor:{_BLOCK}.ff.net.2.weight",
        ),
        Note(
            "gate", _BLOCK, "video + gate·ff", "B S D",
            "The second residual, gated by norm2's gate.",
            f"tensor:{_BLOCK}.norm2.linear.bias", op="add", out="hidden_states", nth=1,
        ),
        Note(
            "gate", _BLOCK, "text + gate·ff", "B L D",
            "The text rows of the same feed-forward, with the text's gate.",
            "source:diffusers.models.attention:FeedForward", op="add", out="encoder_hidden_states", nth=1, brief=False,
        ),
        Note(
            "norm-out", "norm_final", "norm_final", "B S D",
            "Only the video goes on from here; the text has done its work and is dropped.",
            "config:norm_eps",
        ),
        Note(
            "norm-out", "norm_out", "norm_out", "B S D",
            "A last modulation by the conditioning vector: shift and scale, no gate.",
            f"source:{_NORM}:AdaLayerNorm",
        ),
        Note(
            "unpatchify", "proj_out", "proj_out", f"B S {patch}",
            "Each token is turned into the numbers of its patch, for all output channels.",
            "config:out_channels",
        ),
        Note(
            "unpatchify", "", "back on the grid", grid,
            "The token axis is read as the grid it came from, the width as channels and places within a patch.",
            "tensor:proj_out.weight", op="reshape",
        ),
        Note(
            "unpatchify", "", "latents", "B F C_out H W",
            "Places within a patch move next to their rows and columns and merge with them: a prediction of the size "
            "of the latents that came in.",
            "config:in_channels" if config["in_channels"] == config["out_channels"]
            else "source:diffusers:CogVideoXTransformer3DModel",
            op="flatten", nth=2 if config["patch_size_t"] else 1,
        ),
    ]
