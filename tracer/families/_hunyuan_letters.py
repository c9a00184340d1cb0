"""Letters that HunyuanVideo and its relatives share: config fields that set sizes."""

from __future__ import annotations

from tracer.families.base import Letter

HEADS = (
    Letter("h", "heads", "num_attention_heads", "attention heads", multiple=2),
    Letter(
        "d",
        "head_dim",
        "attention_head_dim",
        "width of a head: the rotary parts of the three axes",
        total=("d_t", "d_y", "d_x"),
    ),
    Letter("d_t", "rope_frames", "rope_axes_dim.0", "numbers of a head that turn with the frame", 2, number=True),
    Letter("d_y", "rope_rows", "rope_axes_dim.1", "numbers of a head that turn with the row", 2, number=True),
    Letter("d_x", "rope_columns", "rope_axes_dim.2", "numbers of a head that turn with the column", 2, number=True),
)
OUT = Letter("C_out", "out_channels", "out_channels", "latent channels that come out")
TEXT = Letter("text_dim", "text_dim", "text_embed_dim", "width of the text encoder", number=True)
POOLED = Letter("pooled", "pooled", "pooled_projection_dim", "width of the pooled text", number=True)
MLP = Letter("mlp", "mlp_ratio", "mlp_ratio", "feed-forward width over D", number=True)
