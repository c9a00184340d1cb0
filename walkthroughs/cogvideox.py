# %% [markdown]
# # CogVideoX, step by step
#
# CogVideoX reads a video as one long row of tokens, with the prompt in front. What happens to that row between the
# noisy latents that go in and the prediction that comes out? And what happens around it, between a prompt and a video?
#
# Nothing on this page is typed in by hand. For shapes, the real `CogVideoXTransformer3DModel` is run at its published
# size, on tensors that have shapes and no values: no weights, no GPU, a few seconds. Where a shape is not enough to
# answer a question, the same classes are built small, with random weights, and asked for numbers.
#
# Many of the questions are those of a walk-through of CogVideoX in Chinese, which notes the order of the steps and
# leaves some of them open. [What articles say](claims.md#cogvideox) has its claims one by one, and what is so. Words
# that are new to you are in the [glossary](glossary.md).

# %%
import diffusers
import torch

import tracer

trace = tracer.trace("cogvideox-5b", frames=49, height=480, width=720)
assert trace.header.versions["diffusers"] == diffusers.__version__
print("diffusers", trace.header.versions["diffusers"], "· torch", trace.header.versions["torch"])

# %% [markdown]
# ## The whole walk
#
# One row for each step, from top to bottom in the order of the run. Every shape stands twice: as a *formula* in the
# letters of the head, and as the *number* that the run produced. Click a name for the reason.
#
# A formula is not an opinion. The same model was run at a few other sizes, each formula was read off from those runs,
# and it stands here only because it gave the number of this run too.
#
# The last line adds up the whole forward. Its *activations* are all results that the run wrote, one after another; most
# are dropped soon, so this is not the memory that a forward needs.

# %%
with torch.device("meta"):
    model = diffusers.CogVideoXTransformer3DModel(**trace.header.config)
assert sum(p.numel() for p in model.parameters()) == trace.header.params  # the second way
trace

# %% [markdown]
# The same as a flow. Two streams, text and video, run side by side; they are joined where something is shared, and
# parted again behind it. Dashed lines lead past the boxes between: that is the *residual*, to which each half of a
# block only adds.

# %%
from base64 import b64encode

from IPython.display import HTML

from tracer.diagrams.diagram import flow
from tracer.views.diagram_svg import render_diagram

svg = render_diagram(flow(trace))
assert f"CogVideoXBlock ×{len(model.transformer_blocks)}" in svg
data = b64encode(svg.encode()).decode()
alt = "The stages of CogVideoX-5b as a flow, with shapes on the arrows"
HTML(f'<img alt="{alt}" style="min-width:600px" src="data:image/svg+xml;base64,{data}">')

# %% [markdown]
# And in the model's own words: its forward, with the shape that each line made in the margin. In a terminal,
# `trace-shapes cogvideox-5b --source CogVideoXTransformer3DModel.forward` prints it.
#
# <div class="model-source" data-checkpoint="cogvideox-5b"
#   data-function="CogVideoXTransformer3DModel.forward"
#   data-fold="CogVideoXTransformer3DModel.forward, line by line"></div>
#
# ## What goes in
#
# *Latents* are the video as its autoencoder compresses it: here 16 numbers for a block of 8×8 pixels and, but for the
# first, four frames. `hidden_states` are latents with noise on them; in the first step they are nothing but noise.
# `encoder_hidden_states` are the prompt.
#
# <details markdown="1"><summary>Where do encoder_hidden_states come from, and why are there two of them?</summary>
#
# From T5, a language model of which only the encoder is used: one vector for each of 226 places, whatever the length of
# the prompt. It gets no mask, so places that the prompt leaves empty are encoded, and later attended to, like words. It
# runs twice, for the prompt and for an empty one, because *guidance* wants to know what the prompt changes; the two lie
# behind each other in the batch. They are computed once, before the first step.
#
# </details>

# %%
loop = tracer.trace_pipeline("cogvideox-5b")

encodings = loop.find("text_encoder")
for run in encodings:
    print(f"{run.name}  {run.inputs['input_ids']} → {run.output}")
for name, spec in trace.root.inputs.items():
    print(f"{name:22} {spec}")

assert all(set(run.inputs) == {"input_ids"} for run in encodings)
given = loop.find("transformer")[0].inputs["encoder_hidden_states"]
assert given.sizes == (len(encodings), *encodings[0].output.sizes[1:])
assert given.sizes == trace.root.inputs["encoder_hidden_states"].sizes

# %% [markdown]
# ## From squares to tokens
#
# A *patch* is a small square of latents; a *token* is the vector that stands for it from here on. A convolution whose
# stride is as large as its kernel makes one from the other, which is a linear layer on each patch:
#
# $$\text{token} = W \cdot \text{patch} + b, \qquad W \in \mathbb{R}^{D \times C p^2}$$
#
# <details markdown="1"><summary>26 latent frames of 60×90 with 16 channels go into the convolution. What shape comes
# out, and in which order are the tokens written?</summary>
#
# $(B \cdot F,\; D,\; \frac{H}{2},\; \frac{W}{2})$: batch and frames are one axis here, since a 2-D convolution knows no
# frames. Then the tokens are laid out frame by frame, row by row, from left to right.
#
# </details>

# %%
for call in trace.one("patch_embed").children:
    if call.stage in ("patch-embed", "text-projection", "concat"):
        print(f"{call.name:10} {call.output}")

C, D, p = trace.values["C"], trace.values["D"], 2
assert trace.one("patch_embed.proj").cost.params.size == D * C * p**2 + D
assert trace.one("patch_embed.proj").output.sizes == (2 * 13, D, 60 // p, 90 // p)

# %% [markdown]
# The small module has values, so both halves of that answer can be tried: the convolution against a plain product, and
# the order by changing one latent pixel and looking which token notices.

# %%
from diffusers.models.embeddings import CogVideoXPatchEmbed

torch.manual_seed(0)
torch.set_grad_enabled(False)
plain = {"use_positional_embeddings": False, "use_learned_positional_embeddings": False}
embed = CogVideoXPatchEmbed(in_channels=4, embed_dim=8, text_embed_dim=6, **plain)
text, latents = torch.randn(1, 5, 6), torch.randn(1, 3, 4, 4, 6)  # 5 words; 3 latent frames of 4×6
tokens = embed(text, latents)

patches = latents.unfold(3, 2, 2).unfold(4, 2, 2).permute(0, 1, 3, 4, 2, 5, 6)
patches = patches.reshape(1, 3 * 2 * 3, 4 * 2 * 2)
by_hand = patches @ embed.proj.weight.flatten(1).T + embed.proj.bias
torch.testing.assert_close(tokens[:, 5:], by_hand)

frame, row, column = 2, 1, 4
latents[0, frame, :, row, column] += 1
noticed = (embed(text, latents) != tokens).any(-1)[0].nonzero().flatten().tolist()
assert noticed == [5 + frame * (2 * 3) + row // 2 * 3 + column // 2]
print(tuple(patches.shape), "→", tuple(by_hand.shape), "· changed token:", *noticed)

# %% [markdown]
# `trace-shapes cogvideox-5b --source CogVideoXPatchEmbed.forward` prints the source of this step. The second branch is
# CogVideoX 1.5, where a patch spans two latent frames and a linear layer takes the convolution's place.
#
# <div class="model-source" data-checkpoint="cogvideox-5b"
#   data-function="CogVideoXPatchEmbed.forward"
#   data-fold="CogVideoXPatchEmbed.forward, line by line"></div>
#
# ## How long is the sequence?
#
# The autoencoder keeps the first frame and folds every four that follow into one; it shrinks rows and columns eight
# times. The transformer then cuts each latent frame into patches of 2×2. With 226 text tokens in front:
#
# <details markdown="1"><summary>How many tokens does each block see? Think first, then open.</summary>
#
# $L + F \cdot \frac{H}{2} \cdot \frac{W}{2}$, with $F = \lfloor\frac{N - 1}{4}\rfloor + 1$: the text, then every patch
# of every latent frame.
#
# </details>

# %%
joined = trace.one("patch_embed", "cat")
sequence = joined.output.shape[1]

F, H, W = (49 - 1) // 4 + 1, 480 // 8, 720 // 8
assert sequence.size == 226 + F * (H // 2) * (W // 2)  # the second way: plain arithmetic
print(sequence.formula, "=", sequence.size)

# %% [markdown]
# ## What does num_frames do?
#
# It sets the length of the row, and nothing else. No embedding of a frame count or a frame rate exists in this model:
# the weights are the same for every length, and so are the steps of the denoising loop.

# %%
for frames in (9, 25, 49, 97):
    plan = tracer.plan_frames("cogvideox-5b", frames=frames)
    sizes = {**trace.values, "F": plan.latents}
    sizes["S"] = sizes["F"] * (H // 2) * (W // 2)
    n, flops = sequence.formula.evaluate(sizes), trace.root.cost.flops.formula.evaluate(sizes)
    assert plan.latents == (frames - 1) // 4 + 1
    assert n == 226 + plan.latents * (H // 2) * (W // 2)
    print(f"{frames:3} frames {plan.latents:3} latent {n:6} tokens {flops / 1e12:5.0f} TFLOP a forward")

longer = tracer.trace("cogvideox-5b", frames=97, formulas=False)  # the second way: another run
assert (longer.one("patch_embed", "cat").output.sizes[1], longer.root.cost.flops.size) == (n, flops)
assert longer.header.params == trace.header.params

# %% [markdown]
# What such counts become on the way to the decoder and back, and which of them come out as asked, is told in
# [Frames](frames.md).
#
# ## Joined, and cut apart again
#
# Text and video are joined, and in the very next lines of the forward cut apart. Why join them at all? Because some
# checkpoints add a table of positions over both. The 2b model does; where the text stands, its table holds zeros:

# %%
small = tracer.trace("cogvideox-2b")
table = small.one("patch_embed", "add").output
print("cogvideox-2b adds", table)

grid = {"sample_frames": 9, "sample_height": 4, "sample_width": 6}
made = CogVideoXPatchEmbed(embed_dim=48, max_text_seq_length=5, **grid)
positions = made.pos_embedding[0]  # 5 text rows, then 3 latent frames of 2×3 patches
assert not positions[:5].any()
assert positions[5:].any(dim=1).all()
assert (len(positions), table.sizes[1]) == (5 + 3 * 2 * 3, 226 + F * (H // 2) * (W // 2))
assert not trace.find("patch_embed", "add")
print("cogvideox-5b adds nothing: it turns queries and keys instead")

# %% [markdown]
# ## Time: one vector for everything
#
# How noisy the input is, the model is told by a step number $t$ between 0 and 999.
#
# <details markdown="1"><summary>What do time_proj and time_embedding do, and which of them has weights?</summary>
#
# `time_proj` has none: it writes $t$ as cosines and sines of falling frequency. `time_embedding` is two linear layers
# with a SiLU between them, and is what the model learns. There is one $t$ for each sample, not for each frame.
#
# </details>

# %%
for name in ("time_proj", "time_embedding"):
    call = trace.one(name)
    print(f"{name:15} {call.output}  {call.cost.params.size:,} parameters")

D, T = trace.values["D"], trace.values["T"]
assert trace.one("time_embedding").cost.params.size == (D * T + T) + (T * T + T)  # two linears
assert trace.root.inputs["timestep"].sizes == (2,)  # a number for each sample of the batch

# %% [markdown]
# What values does `time_proj` take? The first half is cosines and the second sines, $\cos t\omega_k$ and
# $\sin t\omega_k$ with $\omega_k = 10000^{-2k/D}$. At $t = 0$ that is all ones and all zeros. The first numbers come
# round once in a little more than six steps; the last have hardly moved at $t = 999$. Together they make neighbours in
# time neighbours in the vector, and tell every step from every other:

# %%
import numpy as np
from diffusers.models.embeddings import Timesteps

time_proj = Timesteps(D, flip_sin_to_cos=True, downscale_freq_shift=0)
t = torch.tensor([0, 1, 500, 501, 520, 999])
wave = time_proj(t)

angles = t.numpy()[:, None] * 10000.0 ** (-np.arange(D // 2) / (D // 2))
assert np.allclose(wave, np.hstack([np.cos(angles), np.sin(angles)]), atol=1e-3)

alike = torch.cosine_similarity(wave[2:3], wave)
assert np.allclose(alike, np.cos(angles - angles[2]).mean(axis=1), atol=1e-3)
print("   t    cos 0    cos 9 … cos 1535    sin 0    sin 9 … sin 1535   like t = 500")
for step, row, like in zip(t.tolist(), wave, alike.tolist(), strict=True):
    columns = row[[0, 9, D // 2 - 1, D // 2, D // 2 + 9, D - 1]].tolist()
    a, b, c, d, e, f = (f"{x:8.2f}" for x in columns)
    print(f"{step:4} {a} {b} {c}  {d} {e} {f}   {like:12.2f}")

# %% [markdown]
# ## The offset that is always two
#
# CogVideoX 1.5 has an image-to-video model with `ofs_proj` and `ofs_embedding`, built just like the two above. The name
# says *offset*, and is easily misread: it is no offset of frames. The pipeline fills it with one constant at every
# step, as its own run shows:

# %%
picture_loop = tracer.trace_pipeline("cogvideox1.5-5b-i2v")
filled = picture_loop.one("", "new_full")
print(filled.name, filled.attrs["fill_value"], filled.output, "at", filled.source)

steps = picture_loop.find("transformer")
assert all(step.inputs["ofs"].sizes == filled.output.sizes == (1,) for step in steps)
assert filled.attrs["fill_value"] == 2.0

# %% [markdown]
# <details markdown="1"><summary>After training, what is left of an embedding of a constant?</summary>
#
# One constant vector, added to the time vector. It could as well be a part of the last bias of `time_embedding`, and
# the next cell puts it there: a model without an offset then gives the same prediction as the model with it.
#
# </details>

# %%
sizes = {
    "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16, "text_embed_dim": 8,
    "in_channels": 4, "out_channels": 4, "use_rotary_positional_embeddings": True,
}  # fmt: skip
tiny = diffusers.CogVideoXTransformer3DModel(**sizes)
with_offset = diffusers.CogVideoXTransformer3DModel(**sizes, ofs_embed_dim=512)
with_offset.load_state_dict(tiny.state_dict(), strict=False)  # equal but for the offset

latents, text = torch.randn(2, 3, 4, 4, 6), torch.randn(2, 5, 8)
t, two = torch.tensor([700, 700]), torch.tensor([2.0])
wanted = with_offset(latents, text, t, ofs=two).sample
assert not torch.allclose(tiny(latents, text, t).sample, wanted, atol=1e-3)

constant = with_offset.ofs_embedding(with_offset.ofs_proj(two))[0]
tiny.time_embedding.linear_2.bias += constant
torch.testing.assert_close(tiny(latents, text, t).sample, wanted, atol=1e-5, rtol=1e-5)
tiny.time_embedding.linear_2.bias -= constant
print("a bias of", len(constant), "numbers does the same")

# %% [markdown]
# ## Modulation: how the time vector acts
#
# An *adaptive norm* is a LayerNorm whose scale and shift are not learned numbers but computed from a condition, here
# from the time vector. In every block one linear layer turns that vector into six: shift, scale and gate for the video,
# and the same three for the text.
#
# $$\mathrm{LN}(x) \cdot (1 + \text{scale}) + \text{shift}$$
#
# Shift and scale act before the attention; the gate waits until after it.

# %%
chunks = trace.one("transformer_blocks.*.norm1", "chunk")
for name, spec in chunks.outputs.items():
    print(f"{name:10} {spec}")

widths = [spec.sizes[-1] for spec in chunks.outputs.values()]
assert sum(widths) == trace.one("transformer_blocks.*.norm1.linear").output.sizes[-1] == 6 * D

# %% [markdown]
# <details markdown="1"><summary>Names in a source can lie. How would you find out which chunk is which?</summary>
#
# Set the linear layer to zero, so that only its bias speaks; then set one sixth of the bias to one, and see which
# output moves, and how. A shift of one adds one, a scale of one doubles what is normalised, a gate comes out as it is.
#
# </details>

# %%
from diffusers.models.normalization import CogVideoXLayerNormZero

norm = CogVideoXLayerNormZero(conditioning_dim=8, embedding_dim=4)
video, words, temb = torch.randn(1, 3, 4), torch.randn(1, 2, 4), torch.randn(1, 8)
norm.linear.weight.zero_(), norm.linear.bias.zero_()
still = norm(video, words, temb)

seen = []
for chunk in range(6):
    norm.linear.bias.zero_()[4 * chunk : 4 * (chunk + 1)] = 1
    outputs = norm(video, words, temb)
    (where,) = (i for i in range(4) if not torch.equal(outputs[i], still[i]))
    old, new = still[where], outputs[where]  # of: video, text, video's gate, text's gate
    acts = "gate" if where > 1 else "shift" if torch.allclose(new, old + 1) else "scale"
    assert acts != "scale" or torch.allclose(new, 2 * old)
    seen.append(("text " if where % 2 else "") + acts)
print("found:", ", ".join(seen))
assert [name.replace("enc_", "text ") for name in chunks.outputs] == seen  # as the source names them

# %% [markdown]
# Both streams go through *one* LayerNorm, with one set of weights; what differs between them is only what modulates
# it. (The "Zero" in the name of the class comes from [DiT](https://arxiv.org/abs/2212.09748), where the gates are zero
# when training starts. `norm1` works before the attention, `norm2` before the feed-forward.)

# %%
modules = model.transformer_blocks[0].norm1.named_modules()
shared = [name for name, module in modules if isinstance(module, torch.nn.LayerNorm)]
normed = trace.find("transformer_blocks.*.norm1.norm")
print(shared, "is called for", " and ".join(str(call.output) for call in normed))

assert (len(shared), len(normed)) == (1, 2)
assert torch.equal(still[0], torch.nn.functional.layer_norm(video, (4,)))  # while all chunks are 0

# %% [markdown]
# <div class="model-source" data-checkpoint="cogvideox-5b" data-function="CogVideoXLayerNormZero.forward"></div>
#
# In a terminal: `trace-shapes cogvideox-5b --source CogVideoXLayerNormZero.forward`.
#
# ## The block
#
# Modulate, attend, add; modulate, feed forward, add. With $x$ for both streams as one row, and a gate $g$, scale and
# shift of its own for each stream:
#
# $$x \leftarrow x + g_1 \cdot \mathrm{Attention}(\mathrm{norm}_1(x, t)), \qquad
# x \leftarrow x + g_2 \cdot \mathrm{FF}(\mathrm{norm}_2(x, t))$$
#
# <details markdown="1"><summary>What does a block do whose gates are all zero?</summary>
#
# Nothing: it hands both streams through, to the last bit. The gate is also what a reading as "scale and offset" misses.
#
# </details>

# %%
block = tiny.transformer_blocks[0]
video, words, temb = torch.randn(2, 18, 32), torch.randn(2, 5, 32), torch.randn(2, 512)
moved = [not torch.equal(a, b) for a, b in zip(block(video, words, temb), (video, words), strict=True)]
assert moved == [True, True]  # the text changes from block to block, too

weights = {name: value.clone() for name, value in block.state_dict().items()}
for norm in (block.norm1, block.norm2):
    for gate in (2, 5):
        rows = slice(gate * 32, (gate + 1) * 32)
        norm.linear.weight[rows], norm.linear.bias[rows] = 0, 0
after = block(video, words, temb)
assert all(torch.equal(a, b) for a, b in zip(after, (video, words), strict=True))
block.load_state_dict(weights)
print("gates 2 and 5 at zero: video and text come out as they went in")

# %% [markdown]
# Text and video share every other weight of the block: one projection each for queries, keys and values, one
# feed-forward. `trace-shapes cogvideox-5b --source CogVideoXBlock.forward` prints the source.
#
# <div class="model-source" data-checkpoint="cogvideox-5b"
#   data-function="CogVideoXBlock.forward"
#   data-fold="CogVideoXBlock.forward, line by line"></div>
#
# ## Rotation: only the video turns
#
# Attention itself knows no order. A *rotary position* tells it: queries and keys are turned by angles that depend on
# frame, row and column, and their products then depend on how far apart two tokens stand. Text has no place on that
# grid. So queries and keys are turned from row $L$ on, and written back in place:

# %%
writes = trace.find("transformer_blocks.*.attn1", "setitem")
for write in writes:
    target, turned = write.inputs.values()
    print(next(iter(write.inputs)), target, "takes", turned, "at", write.source)

text_rows, video_rows = trace.values["L"], sequence.size - trace.values["L"]
assert all(tuple(w.inputs.values())[1].sizes[2] == video_rows for w in writes)

# %% [markdown]
# <details markdown="1"><summary>Which rows of a query change with the rotation? All of the video's?</summary>
#
# All but its first: the token in the corner of the first frame stands at (0, 0, 0), and is turned by an angle of zero.
# No length changes, and the values, which are what attention passes on, are not turned at all.
#
# </details>

# %%
from unittest.mock import patch

from diffusers.models.embeddings import get_3d_rotary_pos_embed

rotary = get_3d_rotary_pos_embed(16, ((0, 0), (2, 3)), grid_size=(2, 3), temporal_size=3)  # cos, sin
kernel = torch.nn.functional.scaled_dot_product_attention
with patch("torch.nn.functional.scaled_dot_product_attention", wraps=kernel) as attention:
    for angles in (None, rotary):
        block.attn1(video, encoder_hidden_states=words, image_rotary_emb=angles)
straight, turned = (call.args[:3] for call in attention.call_args_list)

for name, old, new in zip(("query", "key", "value"), straight, turned, strict=True):
    rows = (old != new).any(-1).any(1)[0].nonzero().flatten().tolist()
    which = f"{rows[0]} to {rows[-1]} of {old.shape[2]}" if rows else "none"
    print(f"{name:5} rows that changed: {which}")
    assert rows == ([] if name == "value" else list(range(5 + 1, 5 + 18)))  # 5 of text, the first video token
    assert torch.allclose(old.norm(dim=-1), new.norm(dim=-1))

# %% [markdown]
# Which numbers of a head make a pair, and how fast each turns, is the matter of [Rotary positions](rope.md).
#
# ## Attention: the part that grows
#
# In the attention processor the streams are joined, projected, split into heads, normalised head by head, turned, and
# brought together:
#
# <div class="model-source" data-checkpoint="cogvideox-5b"
#   data-function="CogVideoXAttnProcessor2_0.__call__"
#   data-fold="CogVideoXAttnProcessor2_0.__call__, line by line"></div>
#
# (`trace-shapes cogvideox-5b --source CogVideoXAttnProcessor2_0.__call__` in a terminal.) Every token looks at every
# token, across all frames. That work grows with the square of the sequence; everything else grows in proportion to it.
#
# <details markdown="1"><summary>Twice the latent frames: how much more attention?</summary>
#
# A little less than four times as much: the text tokens do not double.
#
# </details>

# %%
attention = trace.one("transformer_blocks.*.attn1", "scaled_dot_product_attention")
n, width, batch = sequence.size, trace.values["D"], trace.values["B"]

by_hand = 2 * (2 * batch * n * n * width)  # q times k, then weights times v; a multiply-add is two
assert attention.cost.flops.size == by_hand

twice = {**trace.values, "F": 2 * trace.values["F"]}
growth = attention.cost.flops.formula.evaluate(twice) / by_hand
assert abs(growth - ((226 + 2 * (n - 226)) / n) ** 2) < 1e-9
blocks = trace.one("transformer_blocks.*", "CogVideoXBlock").repeat
share = blocks * by_hand / trace.root.cost.flops.size
print(attention.cost.flops.formula)
print(f"{share:.0%} of all work here; {growth:.2f} times as much for twice the frames")

# %% [markdown]
# ## Are all frames denoised at once?
#
# Yes. One forward holds every latent frame, and each sample has one $t$ for all of them. Change a single frame that
# goes in, and every frame that comes out is another; change the prompt, and the same happens.

# %%
before = tiny(latents, text, t, image_rotary_emb=rotary).sample
touched = latents.clone()
touched[:, 1] += 1

for what, after in (
    ("frame 1 changed ", tiny(touched, text, t, image_rotary_emb=rotary).sample),
    ("prompt changed  ", tiny(latents, text + 1, t, image_rotary_emb=rotary).sample),
):
    moved = (after - before).abs().amax(dim=(0, 2, 3, 4))  # the largest change in each latent frame
    assert (moved > 1e-3).all()
    print(what, *(f"frame {i} moves" for i in range(len(moved))), sep="  ")

# %% [markdown]
# <details markdown="1"><summary>If all frames share one t, what tells the model which frame is which?</summary>
#
# Their positions, and nothing else. Take the rotation away and the model is blind to order: shuffle the frames that go
# in, and the very same frames come out, shuffled. Time, despite its name, says how noisy a video is, and not when in it
# a frame stands.
#
# </details>

# %%
order = [2, 0, 1]
gap = {}
for name, angles in (("without positions", None), ("with rotation", rotary)):
    straight = tiny(latents, text, t, image_rotary_emb=angles).sample
    shuffled = tiny(latents[:, order], text, t, image_rotary_emb=angles).sample
    gap[name] = (shuffled - straight[:, order]).abs().max().item()
    print(f"{name:17}  shuffled frames give shuffled predictions: {gap[name] < 1e-5}")

assert gap["without positions"] < 1e-5 < 1e-3 < gap["with rotation"]

# %% [markdown]
# ## Back to latents
#
# The text has done its work and is dropped. `norm_out` modulates the video a last time, by a shift and a scale, with no
# gate. Each video token becomes the numbers of its patch, and the patches go back to where they came from: the
# prediction has exactly the size of the latents.
#
# <details markdown="1"><summary>proj_out makes 64 numbers of a token. Why 64?</summary>
#
# $p^2 \cdot C_{out} = 4 \cdot 16$: a square of 2×2 with 16 channels. In CogVideoX 1.5 a patch is two frames deep, and
# it is twice as many.
#
# </details>

# %%
linears = [trace.one("norm_out.linear"), trace.one("proj_out")]
for call in linears + trace.find("", "reshape") + trace.find("", "flatten"):
    print(f"{call.path or call.name:15} {call.output}")

assert trace.one("norm_out.linear").output.sizes == (2, 2 * D)
assert trace.one("proj_out").output.sizes[-1] == 2 * 2 * trace.values["C_out"]
assert trace.root.output.sizes == trace.root.inputs["hidden_states"].sizes

# %% [markdown]
# If cutting into patches and laying them back are each other's inverse, a model whose layers do nothing must give back
# what it was given. So here is one: no blocks, no norms, and ones on the diagonals of the two layers that are left.
# Both kinds of patches pass, 1.0's of one latent frame and 1.5's of two.


# %%
class PassOn(torch.nn.Module):
    def forward(self, x, temb=None):
        return x


for depth in (None, 2):  # patch_size_t
    width = 4 * 2 * 2 * (depth or 1)
    empty = {"num_layers": 0, "num_attention_heads": 1, "attention_head_dim": width, "patch_size_t": depth}
    hollow = diffusers.CogVideoXTransformer3DModel(**{**sizes, **empty})
    hollow.norm_final = hollow.norm_out = PassOn()
    for layer in (hollow.patch_embed.proj, hollow.proj_out):
        layer.weight.copy_(torch.eye(width).view_as(layer.weight))
        layer.bias.zero_()
    given = torch.randn(2, 4, 4, 4, 6)
    assert torch.equal(hollow(given, text, t).sample, given)
    print(f"patches {depth or 1} latent deep: {width} numbers a token, and every latent is back")

# %% [markdown]
# ## One step of the loop
#
# Around the transformer stands a loop. Its *scheduler* knows how much noise belongs to each $t$, hands the $t$ out one
# after another, and takes the latents one step towards less noise. This is all that happens in a step:

# %%
step, *_ = loop.find(name="denoising step")
for call in step.children:
    takes = [name for name in call.inputs if call.kind != "op" and "." not in name]
    print(f"{call.name:28} → {call.output}  {', '.join(takes)}".rstrip())

asked, taken = step.one("transformer"), step.one(name="scheduler.step")
assert asked.inputs["hidden_states"].sizes[0] == 2 * taken.inputs["sample"].sizes[0]
assert step.one("", "expand").output.sizes == asked.inputs["timestep"].sizes == (2,)

# %% [markdown]
# The latents are doubled, $t$ is *expanded* to one number for each sample, and the two predictions are taken apart and
# mixed. That is *guidance*: go from the prediction without the prompt towards the one with it, and further than that.
#
# $$v = v_{\varnothing} + s \cdot (v_{\text{prompt}} - v_{\varnothing})$$
#
# ## What is predicted
#
# A noisy latent is a mixture of a clean one and noise. The scheduler has a table of $\bar\alpha$, one for each of its
# 1000 training steps:
#
# $$x_t = \sqrt{\bar\alpha_t}\,x_0 + \sqrt{1 - \bar\alpha_t}\,\epsilon$$
#
# CogVideoX predicts neither $x_0$ nor $\epsilon$, although its code calls the result `noise_pred`, but a *velocity*
# from which both follow (*v-prediction*):
#
# $$v = \sqrt{\bar\alpha_t}\,\epsilon - \sqrt{1 - \bar\alpha_t}\,x_0, \qquad
# x_0 = \sqrt{\bar\alpha_t}\,x_t - \sqrt{1 - \bar\alpha_t}\,v$$
#
# The first step begins at $t = 999$ with noise and nothing else, as the table below shows. To predict the noise would
# be no task there: it is the input. The velocity is $-x_0$ then.

# %%
from tracer.probes.snr_shift import SnrShift

published = {
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    "clip_sample": False,
}  # fmt: skip
ddim = {
    "2b": diffusers.CogVideoXDDIMScheduler(**published, snr_shift_scale=3.0),
    "5b": diffusers.CogVideoXDDIMScheduler(**published, snr_shift_scale=1.0),
}
for name, shift in (("2b", 3.0), ("5b", 1.0)):
    ddim[name].set_timesteps(50)
    assert np.allclose(ddim[name].alphas_cumprod, SnrShift(shift).alphas, atol=1e-6)  # our own table
ts = ddim["5b"].timesteps
assert ts.tolist() == list(range(999, 0, -20))
assert all(scheduler.alphas_cumprod[999] == 0 for scheduler in ddim.values())  # noise and nothing else
assert (ddim["2b"].alphas_cumprod[1:-1] < ddim["5b"].alphas_cumprod[1:-1]).all()
print(len(ts), "steps: t =", *ts[:3].tolist(), "…", *ts[-2:].tolist())
print("t          ", *(f"{i:5}" for i in ts[::10].tolist()))
for name, scheduler in ddim.items():
    print("noise in", name, *(f"{x:5.2f}" for x in (1 - scheduler.alphas_cumprod[ts[::10]]).sqrt().tolist()))

# %% [markdown]
# The published schedules of 2b and 5b differ in one number, a shift of the signal-to-noise ratio (2b's own
# `scheduler_config.json`, and diffusers' conversion script): at the same $t$, 2b sees more noise.
#
# ## What the scheduler does with it
#
# `scale_model_input` may do something in other schedulers; in both of CogVideoX's it returns what it was given.
#
# <details markdown="1"><summary>What has step to be given, if not every scheduler remembers the same?</summary>
#
# DDIM needs the prediction, $t$ and the latents. The DPM scheduler also looks one step back: it is handed the $x_0$
# that it estimated a step ago, and the $t$ of that step. So the pipeline has to ask which one it holds, and the two
# cannot be swapped in code that knows only one of them.
#
# </details>

# %%
import inspect

dpm = diffusers.CogVideoXDPMScheduler(**published, snr_shift_scale=1.0)
dpm.set_timesteps(50)
for scheduler in (ddim["5b"], dpm):
    parameters = inspect.signature(scheduler.step).parameters.values()
    needed = [p.name for p in parameters if p.default is p.empty]
    print(f"{type(scheduler).__name__}.step({', '.join(needed)})")
    assert scheduler.scale_model_input(latents, 999) is latents

    x = torch.ones(1)  # the second way: it runs with just these
    values = dict.fromkeys(needed) | {"model_output": x, "timestep": 999, "sample": x}
    scheduler.step(**values)
assert {"model_output", "timestep", "sample"} == set(taken.inputs)  # the pipeline at full size

# %% [markdown]
# Give both a perfect prediction, and see where they go. DDIM keeps the noise that is there and leaves less of it. DPM,
# as it is used here, mixes in fresh noise at every step: with $b = \bar\alpha$ of the next $t$, and $\delta$ by how
# much the log of signal over noise grows,
#
# $$\text{DDIM: } \sqrt{b}\,x_0 + \sqrt{1 - b}\,\epsilon$$
#
# $$\text{DPM: } \sqrt{b}\,x_0 + \sqrt{1 - b}\,(e^{-\delta}\epsilon + \sqrt{1 - e^{-2\delta}}\;\epsilon_{\text{new}})$$

# %%
x0, eps = torch.randn(2, 1, 3, 4, 4, 6)
levels = dpm.alphas_cumprod
for t_back, t_now, t_next in ((519, 499, 479), (59, 39, 19)):
    a, b = levels[t_now], levels[t_next]
    noisy, v = a.sqrt() * x0 + (1 - a).sqrt() * eps, a.sqrt() * eps - (1 - a).sqrt() * x0
    landed = ddim["5b"].step(v, t_now, noisy).prev_sample
    torch.testing.assert_close(landed, b.sqrt() * x0 + (1 - b).sqrt() * eps)

    landed, guess = dpm.step(v, x0, t_now, t_back, noisy, generator=torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    _, fresh = (torch.randn(x0.shape, generator=generator) for _ in range(2))  # it keeps the second
    delta = 0.5 * ((b / (1 - b)).log() - (a / (1 - a)).log())
    noise = (-delta).exp() * eps + (1 - (-2 * delta).exp()).sqrt() * fresh
    torch.testing.assert_close(landed, b.sqrt() * x0 + (1 - b).sqrt() * noise, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(guess, x0, atol=1e-5, rtol=1e-5)  # handed back, for the next step
    print(f"t {t_now} → {t_next}: of DPM's noise {1 - (-2 * delta).exp():.0%} of the variance is new")

# %% [markdown]
# The look back pays when predictions are not perfect: DPM continues the change from the last $x_0$ to this one.
# [L1 and schedules](l1.md) measures what such steps change.
#
# ## The loop, whole
#
# Now everything that a denoising run consists of is on this page. Written out, it gives what the pipeline gives:

# %%
tiny = diffusers.CogVideoXTransformer3DModel(**sizes, sample_height=4, sample_width=6)
scheduler = diffusers.CogVideoXDDIMScheduler(**published)
pipe = diffusers.CogVideoXPipeline(None, None, None, tiny, scheduler)
pipe.set_progress_bar_config(disable=True)
prompt, empty, noise = torch.randn(1, 226, 8), torch.zeros(1, 226, 8), torch.randn(1, 3, 4, 4, 6)
given = {"prompt_embeds": prompt, "negative_prompt_embeds": empty, "latents": noise, "output_type": "latent"}
size = {"height": 32, "width": 48, "num_frames": 9, "num_inference_steps": 5}
wanted = pipe(**given, **size, guidance_scale=6.0).frames

scheduler.set_timesteps(5)
x, calls = noise, 0
for t in scheduler.timesteps:
    pair, prompts = torch.cat([x, x]), torch.cat([empty, prompt])
    without, with_prompt = tiny(pair, prompts, t.expand(2), image_rotary_emb=rotary).sample.chunk(2)
    x = scheduler.step(without + 6.0 * (with_prompt - without), t, x).prev_sample
    calls += 1
torch.testing.assert_close(x, wanted, atol=1e-5, rtol=1e-5)
assert (calls, x.shape[1]) == (size["num_inference_steps"], (size["num_frames"] - 1) // 4 + 1)
print(calls, "calls, and", tuple(x.shape), "as the pipeline has it")

# %% [markdown]
# `num_inference_steps` is how often the transformer is asked; $t$ is what it is told each time; `num_frames` is how
# long the row is. None of the three moves another. Text encoders, image encoder and decoder stand before and behind
# this loop: [From prompt to pixels](pipelines.md) walks that way.
#
# ## The family
#
# The same code runs five checkpoints. What differs is a handful of config fields, and with them how large the model is,
# how a token knows its place, whether frames are merged into patches, and whether there is an offset vector:


# %%
def place(t):
    table = any(c.stage == "position-embedding" for c in t.walk())
    turned = bool(t.find("*", "apply_rotary_emb"))
    return " + ".join(["table"] * table + ["rotation"] * turned)


traces = {"cogvideox-2b": small, "cogvideox-5b": trace}
for name in ("cogvideox-5b-i2v", "cogvideox1.5-5b", "cogvideox1.5-5b-i2v"):
    traces[name] = tracer.trace(name, formulas=False)

print(f"{'':20} blocks    weights    tokens     TFLOP  positions")
for name, t in traces.items():
    D, T, d, layers = (t.values[letter] for letter in ("D", "T", "d", "num_layers"))
    block = 4 * (D * D + D) + 4 * d + 2 * (6 * D * (T + 1) + 2 * D) + (8 * D * D + 5 * D)
    assert t.one("transformer_blocks.*", "CogVideoXBlock").cost.params.size == block
    tokens, offset = t.values["S"] + t.values["L"], "offset" if "offset-embedding" in t.stages() else ""
    assert tokens == t.one("patch_embed", "cat").output.sizes[1]
    amounts = f"{t.header.params / 1e9:.2f}·10⁹ {tokens:9} {t.root.cost.flops.size / 1e12:9.0f}"
    print(f"{name:20} {layers}×{D}  {amounts}  {place(t):17} {offset}".rstrip())

# %% [markdown]
# ### 2b against 5b
#
# A diff pairs the calls of two runs. A size whose formula is the same on both sides does not count as different; the
# letter does. What is left is the rotation:

# %%
from tracer.views import diff as view

grown = small.diff(trace)
new, gone = ({s.stage for s in grown.stages if getattr(s, side) is None} for side in ("old", "new"))
has, had = set(trace.stages()), set(small.stages())
assert (new, gone) == (has - had, had - has)
print(view.render_text(grown, width=80))

# %% [markdown]
# ### 1.0 against 1.5
#
# The blocks stay as they are. What changes is the way in and the way out, because a patch is two latent frames deep:

# %%
from tracer.words import Words

newer = trace.diff(tracer.trace("cogvideox1.5-5b"))
old, new = Words(newer.old), Words(newer.new)
for pair in newer.root.walk():
    if pair.status == "changed" and pair.call.remark:
        was, made = old.shape(pair.old.output), new.shape(pair.new.output)
        if was != made:
            print(f"{pair.call.remark.label:17} {was:22} → {made}")

v = newer.new.values
assert v["S"] == (v["F"] // 2) * (v["H"] // 2) * (v["W"] // 2)
made, was = (side.one("proj_out").output.sizes[-1] for side in (newer.new, newer.old))
assert made == 2 * was == 8 * v["C_out"]
blocks = [side.one(name="CogVideoXBlock").repeat for side in (newer.old, newer.new)]
assert blocks == [v["num_layers"]] * 2
# %% [markdown]
# ## The questions, answered
#
# | asked | found |
# |---|---|
# | How do the values change in `time_proj`? | cosines and sines of $t$: [Time](#time-one-vector-for-everything) |
# | What does `time_embedding` add? | two learned layers; their output is all that the blocks know of $t$ |
# | And `ofs_proj`, `ofs_embedding`? | a constant, in one checkpoint: [The offset](#the-offset-that-is-always-two) |
# | How do time and offset act? | shift, scale *and gate*: [Modulation](#modulation-how-the-time-vector-acts) |
# | Are all frames denoised at once? | yes: [One forward](#are-all-frames-denoised-at-once) |
# | Does time tell frames apart? | no, position does: the same section |
# | How does `num_frames` act? | it sets the number of tokens: [num_frames](#what-does-num_frames-do) |
# | What has it to do with the timestep? | nothing: [The loop](#the-loop-whole) |
# | Where do `encoder_hidden_states` come from? | from T5, before the loop: [What goes in](#what-goes-in) |
# | What does `scale_model_input` do? | nothing here: [The scheduler](#what-the-scheduler-does-with-it) |
# | What does `step` take? | the old $x_0$ and the old $t$ only with DPM: the same section |
#
# ## Where to read on
#
# The papers: [CogVideoX](https://arxiv.org/abs/2408.06072); [DiT](https://arxiv.org/abs/2212.09748), for adaptive norms
# and gates; [classifier-free guidance](https://arxiv.org/abs/2207.12598);
# [progressive distillation](https://arxiv.org/abs/2202.00512), where v-prediction comes from;
# [noise schedules that end in noise](https://arxiv.org/abs/2305.08891); [DDIM](https://arxiv.org/abs/2010.02502) and
# [DPM-Solver++](https://arxiv.org/abs/2211.01095).
#
# On this site: [HunyuanVideo](hunyuanvideo.md), which gives text and video weights of their own before it joins them;
# [From prompt to pixels](pipelines.md), [Frames](frames.md), [Rotary positions](rope.md) and
# [L1 and schedules](l1.md) for what this page only touches; and the page of
# [cogvideox-5b](models/cogvideox-5b.md), with every call of it to explore.
#
# In the terminal, `trace-shapes cogvideox --notes` prints the reasons, `--stage rope` every operation of one stage with
# its source line, and `trace-shapes cogvideox-2b --diff cogvideox-5b` the comparison above.
