# %% [markdown]
# # Rotary positions (RoPE) in three dimensions
#
# Attention sees a set. How does it know which token came from which frame, row or column? Something has to tell it.
# Most video transformers tell it by *turning*: before a query meets a key, both are rotated by angles that depend on
# where their tokens stand. This page takes that rotation apart, for the models as published.
#
# It also answers an explanation in Chinese of one such rotation, whose claims stand, checked one by one, in
# [What articles say](claims.md#rope). Words that are new to you are in the [glossary](glossary.md#positions).

# %%
import diffusers
import numpy as np
import torch

print("diffusers", diffusers.__version__, "· torch", torch.__version__)

# %% [markdown]
# ## Two numbers and an angle
#
# Take two numbers of a query as a point in the plane, and turn the point by position times frequency. Turn the key's
# two numbers in the same way. Their product then depends on how far apart the two stand, not on where:
#
# $$\langle R(m\omega)\,q,\; R(n\omega)\,k\rangle = \langle q,\; R((n - m)\omega)\,k\rangle$$


# %%
def turned(x, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * x[0] - s * x[1], s * x[0] + c * x[1]])


q, k, omega = np.array([1.0, 0.5]), np.array([0.3, -2.0]), 0.7
products = [turned(q, m * omega) @ turned(k, (m + 3) * omega) for m in (0, 5, 100)]
assert np.allclose(products, q @ turned(k, 3 * omega))
print(*(f"{p:.12f}" for p in products))

# %% [markdown]
# Turning changes no lengths, needs no parameters, and can be undone by turning back. That is the whole mechanism.
# What differs between models is the bookkeeping: which numbers of a head make a pair, which axis turns it, how fast,
# from which position, and which tokens are turned at all. Weights are trained with one answer to each of these, and
# work with no other.
#
# ## A head is split between frame, row and column
#
# <details markdown="1"><summary>CogVideoX's heads have 64 numbers. How would you share them out?</summary>
#
# A third each does not come out in pairs. Two rules are in use: a quarter for the frame and three eighths each for
# row and column; or two sixths each for row and column, rounded down to pairs, and the rest for the frame.
# HunyuanVideo has its three numbers in the config.
#
# </details>

# %%
from tracer import rope

for name in ("cogvideox-5b", "hunyuanvideo", "wan2.1-t2v-14b", "allegro", "six-way-64", "six-way-192"):
    r = rope.published(name)
    print(f"{name:15} {r.head_dim:3} = {' + '.join(map(str, r.split)):13} theta {r.theta:g}")
    assert sum(r.split) == r.head_dim

d = rope.published("cogvideox-5b").head_dim  # the second way: both rules, written out
assert rope.published("cogvideox-5b").split == (d // 4, d // 8 * 3, d // 8 * 3)
assert rope.published("six-way-64").split == (64 - 4 * (64 // 6), 2 * (64 // 6), 2 * (64 // 6))

# %% [markdown]
# The two rules agree at none of the usual sizes, so tables made by one are useless to weights trained with the other:

# %%
from tracer.rope import quarter, six_way

for d in (64, 128, 192):
    assert quarter(d) != six_way(d)
    print(f"d = {d:3}: {quarter(d)} by quarters and eighths, {six_way(d)} by sixths")

# %% [markdown]
# ## From fast to slow
#
# Within an axis that has $n$ of the numbers, the $k$-th pair turns at $\theta^{-2k/n}$ radians for each position.
# Mind the $n$: it is the axis' share and not the whole head, so every axis has its own range, from one radian down to
# nearly nothing. A fast pair tells neighbours apart and soon repeats; a slow one tells far from near.

# %%
hunyuan = rope.published("hunyuanvideo")

for axis, waves, n in zip(rope.AXES, hunyuan.wavelengths(), hunyuan.trained, strict=True):
    print(f"{axis:6} {len(waves)} pairs, {waves[0]:.1f} to {waves[-1]:.0f} positions for a turn; the grid has {n}")

n = hunyuan.split[1]
assert np.allclose(hunyuan.frequencies()[1], [256 ** (-2 * k / n) for k in range(n // 2)])  # the second way
assert np.allclose(waves, [2 * np.pi * 256 ** (2 * k / n) for k in range(n // 2)])  # of the last axis, as long as rows

# %% [markdown]
# The model's own lines, with the shapes of 129 frames at 720×1280 in the margin. In a terminal, `trace-shapes
# hunyuanvideo --source HunyuanVideoRotaryPosEmbed.forward` prints them.
#
# <div class="model-source" data-checkpoint="hunyuanvideo"
#   data-function="HunyuanVideoRotaryPosEmbed.forward"
#   data-fold="HunyuanVideoRotaryPosEmbed.forward: the tables of all three axes"></div>
#
# HunyuanVideo's theta is 256 where the others have 10,000: its grids have tens of positions, and with 256 more of its
# pairs get somewhere. Full dots go round at least once within the published grid, half full ones at least half way:

# %%
from tracer.plots import rope as draw

draw.compare(hunyuan, rope.published("wan2.1-t2v-14b"))

# %% [markdown]
# ## What attention gets to see
#
# Let a query and a key have the same content, spread evenly over all pairs. Their product is then the mean cosine of
# the angles between their places: 1 at the query itself, and less elsewhere, in waves. The fewer numbers an axis has,
# the less it can lower the product: along frames, which have 16 of 128, everything stays close to 1.

# %%
draw.similarity(hunyuan, hunyuan.trained)

# %% [markdown]
# ## The pairs at work
#
# Here are pairs of CogVideoX's frame axis as the latent frames go by. The fast one on the left tells each frame from
# the next; the slow ones on the right have hardly moved at the end of the clip.

# %%
cogvideox = rope.published("cogvideox-5b")
draw.clip(cogvideox, cogvideox.trained)

# %% [markdown]
# ## Where tokens stand
#
# Mostly on whole numbers. (Allegro divides them by about two.) CogVideoX 1.0 is the exception: it scales the grid of
# tokens, with its proportions, until it fits the 30×45 it was trained on, centres it there, and spreads the positions
# over that crop. CogVideoX 1.5 gave that up and counts from 0.

# %%
for rows, columns in ((30, 45), (48, 85), (45, 30)):
    for r in (cogvideox, rope.published("cogvideox1.5-5b")):
        _, h, w = r.positions((13, rows, columns))
        print(f"{rows}×{columns} {r.name:16} rows {h[0]:g} to {h[-1]:g}, columns {w[0]:g} to {w[-1]:g}")

        fit = min(30 / rows, 45 / columns) if r is cogvideox else 1  # the second way: how far the grid is scaled
        for places, n, base in ((h, rows, 30), (w, columns, 45)):
            start = round((base - round(n * fit)) / 2) if r is cogvideox else 0
            stop = start + round(n * fit)
            assert np.allclose(places, start + np.arange(n) * (stop * (n - 1) / n - start) / (n - 1))

# %% [markdown]
# diffusers' own function, at the odd size of 48×85 tokens, gives the same tables. It works in float32, ours in
# float64:

# %%
from diffusers.models.embeddings import apply_rotary_emb, get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

crop = get_resize_crop_region_for_grid((48, 85), 45, 30)
theirs = get_3d_rotary_pos_embed(64, crop, (48, 85), 13)
ours = cogvideox.tables((13, 48, 85), like=theirs[0])
assert all((a - b).abs().max() < 1e-5 for a, b in zip(ours, theirs, strict=True))
print("cos and sin", tuple(theirs[0].shape), "agree to 1e-5")

# %% [markdown]
# ## Which numbers make a pair
#
# Neighbours, in nearly all video models: (0, 1), (2, 3), and so on. Many language models pair across the halves of a
# head instead: (0, d/2), (1, d/2 + 1). Code that knows both has a switch with a name like `interleaved_rope`; it is a
# matter of how the weights were trained, and of nothing else. Each is fine with itself.
#
# Which one a function has can be read off two lines: how it takes a head apart, and how it puts it together again.
# diffusers' cuts it into twos and makes $(-b, a)$ of each $(a, b)$. The branch that did not run has the other layout.
# (`trace-shapes cogvideox-5b --source apply_rotary_emb`)
#
# <div class="model-source" data-checkpoint="cogvideox-5b" data-function="apply_rotary_emb"
#   data-fold="apply_rotary_emb: the rotation of queries and keys"></div>

# %%
halves = rope.changed(cogvideox, "half")
draw.pairs(cogvideox, halves)

# %% [markdown]
# <details markdown="1"><summary>And a rotation of one kind with tables of the other? Every shape fits.</summary>
#
# It is not even a rotation: the two numbers of a pair get different angles, so lengths change, and products depend on
# more than the distance.
#
# </details>

# %%
grid = (4, 6, 5)
x = np.random.default_rng(0).normal(size=(4 * 6 * 5, 64))
tables, half_tables = cogvideox.tables(grid), halves.tables(grid)

for rotation, r in (("neighbours", cogvideox), ("halves", halves)):
    for layout, t in (("neighbours", tables), ("halves", half_tables)):
        change = np.abs(np.linalg.norm(r.apply(x, t), axis=-1) / np.linalg.norm(x, axis=-1) - 1).max()
        said = f"by up to {change:.0%}" if change > 1e-9 else "not at all"
        print(f"rotation by {rotation:10} tables by {layout:10} lengths change {said}")
        assert (change < 1e-9) == (rotation == layout)

# %% [markdown]
# Weights can move from one convention to the other, with nothing lost. The rows of the query and key projections are
# reordered within each head, and so is everything that acts on single numbers of a head before the rotation: their
# biases, and the norms on queries and keys. Here on two heads of a small layer of our own:

# %%
from torch import nn

torch.manual_seed(0)
heads, width, tokens = 2, 32, torch.randn(4 * 6 * 5, 32)
layers = {name: nn.Linear(width, heads * 64) for name in ("q", "k")}
norm = nn.RMSNorm(64)
nn.init.normal_(norm.weight)


def scores(layers, norm, r):
    """q·k of every head, with the rotation of r."""
    q, k = (norm(layers[name](tokens).unflatten(-1, (heads, 64))).transpose(0, 1) for name in ("q", "k"))
    return r.apply(q, r.tables(grid)) @ r.apply(k, r.tables(grid)).mT


before = scores(layers, norm, cogvideox)

# %%
order = cogvideox.permutation("half")
with torch.no_grad():
    for layer in layers.values():
        layer.weight.copy_(layer.weight.unflatten(0, (heads, 64))[:, order].flatten(0, 1))
        layer.bias.copy_(layer.bias.unflatten(0, (heads, 64))[:, order].flatten())
    norm.weight.copy_(norm.weight[order])

torch.testing.assert_close(scores(layers, norm, halves), before, rtol=1e-5, atol=1e-4)  # every score is the same
print("the new order:", *order[:5], "...", *order[-2:])

# %% [markdown]
# Mind the direction: the new row $i$ is the old row `order[i]`. Wan's norm spans all heads together, so there its
# weight is reordered head by head, as the biases are here.
#
# ## Which tokens are turned
#
# <details markdown="1"><summary>The text's tokens too?</summary>
#
# No, only the video's. Text has no place in the grid; turned along, it would stand at made-up frames and rows.
#
# </details>
#
# In CogVideoX's sequence the text comes first, in HunyuanVideo's last, and Wan's text is reached by cross-attention.
# The trace of the real model shows the same range being written:

# %%
import tracer

trace = tracer.trace("cogvideox-5b")
S, L = trace.values["S"], trace.values["L"]
first, end = cogvideox.placement.video(S, L)
print(f"turned: tokens {first:,} to {end - 1:,} of {cogvideox.placement.length(S, L):,}")

for written in trace.find(name="setitem"):
    tokens = written.attrs["1"][2]  # query[:, :, L:] and key[:, :, L:]
    assert tokens.start.size == first
for turn in trace.find(name="apply_rotary_emb"):
    assert turn.output.sizes[2] == end - first

# %% [markdown]
# ## Coordinates of one's own
#
# A grid is a habit, not a need: a token may stand anywhere. One variant of CogVideoX's original code is handed
# (frame, row, column) for every token, and leaves those alone that have a -1:

# %%
packed = rope.published("sat-pnp")
angles = packed.at([(0, 2, 3), (5, 0, 0), (-1, -1, -1)])
assert not angles[2].any()  # an angle of 0 turns nothing
print(angles.shape, "radians, of them not 0:", *(angles != 0).sum(axis=-1))

# %% [markdown]
# ## Beyond the trained grid
#
# Ask HunyuanVideo for a larger picture than its published 720×1280, and rows and columns get positions beyond those.
# (What its weights were really trained on has not been published; here *trained* means the published request.)
# Dividing the positions (*linear*) brings all angles back, and packs neighbours closer than they were. Raising theta
# (*NTK*) leaves the fastest pair as it is, brings the slowest back, and lets those in between stick out a little.

# %%
draw.stretch(hunyuan, (33, 68, 120))

# %% [markdown]
# Of the models on this page only Allegro divides, by factors from its config. HunyuanVideo's original code has both
# hooks and leaves them at 1; CogVideoX's takes factors of interpolation for its rope and never reads them. What
# diffusers' CogVideoX 1.0 does instead, its crop, is a linear interpolation of rows and columns under another name.
#
# ## Is mine right?
#
# Ports go wrong here in silence: every shape fits and nothing raises. `check_rope` measures what a function of yours
# really does, and says what is off beside the model whose weights you want to use. Here is a rotation as many
# language models have it, handed HunyuanVideo's tables:


# %%
def rotate_half(q, k, cos, sin):
    def turn(x):
        a, b = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-b, a), dim=-1) * sin

    return turn(q), turn(k)


print(tracer.check_rope(rotate_half, like="hunyuanvideo"))

# %% [markdown]
# Two ways lead out. Rotate as HunyuanVideo does: diffusers' function passes. Or keep the rotation, give it tables of
# its own kind, and reorder the weights as above; then the model to compare with is HunyuanVideo with that one thing
# changed.

# %%
assert tracer.check_rope(lambda x, freqs_cis: apply_rotary_emb(x, freqs_cis), like="hunyuanvideo").ok

report = tracer.check_rope(rotate_half, like=rope.changed(rope.published("hunyuanvideo"), "half"))
assert report.ok
print(report)

# %% [markdown]
# It takes functions of (q, k, cos, sin) or of complex frequencies, builders of tables (T, H, W), and whole rotations.
# A module needs one line around it:

# %%
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoRotaryPosEmbed

module = HunyuanVideoRotaryPosEmbed(patch_size=2, patch_size_t=1, rope_dim=[16, 56, 56], theta=10000.0)  # not 256
report = tracer.check_rope(lambda T, H, W: module(torch.empty(1, 16, T, 2 * H, 2 * W)), like="hunyuanvideo")
print(report.departures[0].sentence)

# %% [markdown]
# ## On real weights
#
# Angles are computed and not learned, so the published tables are the real ones, and need no weights. What weights are
# good for is to show that a port is right. Load them, put your attention in the place of the model's, and hold its
# queries against these:
#
# ```python
# import torch
# from diffusers import HunyuanVideoTransformer3DModel
#
# model = HunyuanVideoTransformer3DModel.from_pretrained(
#     "hunyuanvideo-community/HunyuanVideo", subfolder="transformer", torch_dtype=torch.bfloat16
# )
# cos, sin = model.rope(torch.empty(1, 16, 33, 90, 160))  # the tables that its weights were trained with
# ```
#
# In a terminal, `show-rope cogvideox` prints all of this for one model, `show-rope hunyuanvideo --frames 257` goes
# beyond the trained grid, `show-rope --compare cogvideox wan` sets two side by side, and `-o rope.svg` draws them.
#
# ## Where to read on
#
# - Su et al., [RoFormer](https://arxiv.org/abs/2104.09864): rotary positions, in one dimension, and why products then
#   depend on distances.
# - Heo et al., [Rotary Position Embedding for Vision Transformer](https://arxiv.org/abs/2403.13298): the same on
#   pictures, with axes apart or mixed.
# - Peng et al., [YaRN](https://arxiv.org/abs/2309.00071): linear and NTK interpolation, and what lies between, for
#   language models.
# - Zhao et al., [RIFLEx](https://arxiv.org/abs/2502.15894): which frequency makes a video repeat when it gets longer
#   than those of the training; with CogVideoX and HunyuanVideo.
# - Yang et al., [CogVideoX](https://arxiv.org/abs/2408.06072), and Kong et al.,
#   [HunyuanVideo](https://arxiv.org/abs/2412.03603): the models, whose walks are told in [CogVideoX](cogvideox.md) and
#   [HunyuanVideo, step by step](hunyuanvideo.md).
# - [What articles say](claims.md#rope): the claims of the explanation that this page answers.
