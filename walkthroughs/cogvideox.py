# %% [markdown]
# # CogVideoX: the transformer, step by step
#
# CogVideoX reads a video as one long row of tokens, with the prompt in front. What happens to that row between
# the noisy latents that go in and the prediction that comes out?
#
# Nothing on this page is typed in by hand. The next cell runs the real `CogVideoXTransformer3DModel` at its published
# size, on tensors that have shapes and no values: no weights, no GPU, a few seconds.

# %%
import tracer

trace = tracer.trace("cogvideox-5b", frames=49, height=480, width=720)
print("diffusers", trace.header.versions["diffusers"], "· torch", trace.header.versions["torch"])

# %% [markdown]
# ## The whole walk
#
# One row for each step, from top to bottom in the order of the run. Every shape stands twice: as a *formula* in the
# letters of the head, and as the *number* that the run produced. Click a name for the reason.
#
# A formula is not an opinion. The same model was run at a few other sizes, each formula was read off from those runs,
# and it stands here only because it gave the number of this run too.

# %%
trace

# %% [markdown]
# ## How long is the sequence?
#
# The autoencoder keeps the first frame and folds every four that follow into one; it shrinks rows and columns eight
# times. The transformer then cuts each latent frame into patches of 2×2. With 226 text tokens in front:
#
# <details markdown="1"><summary>How many tokens does each block see? Think first, then open.</summary>
#
# $L + F \cdot \frac{H}{2} \cdot \frac{W}{2}$, with $F = \lfloor\frac{N - 1}{4}\rfloor + 1$: the text, then every patch
# of every latent frame. More frames mean more tokens, and that is all that the number of frames does: no embedding of
# a frame count or a frame rate exists in this model.
#
# </details>

# %%
joined = trace.one("patch_embed", "cat")
sequence = joined.output.shape[1]

F, H, W = (49 - 1) // 4 + 1, 480 // 8, 720 // 8
assert sequence.size == 226 + F * (H // 2) * (W // 2)  # the second way: plain arithmetic
print(sequence.formula, "=", sequence.size)

# %% [markdown]
# Text and video are joined, and in the very next lines of the forward cut apart again. Why join them at all? Because
# other checkpoints add a position table over both (the last section shows which). The 5b model has none: it
# turns queries and keys instead.
#
# ## Time: one vector for everything
#
# <details markdown="1"><summary>What do time_proj and time_embedding do, and which of them has weights?</summary>
#
# `time_proj` has none: it writes the step number $t$ as cosines and sines of falling frequency. `time_embedding` is
# two linear layers, and is what the model learns. There is one $t$ for each sample, not for each frame: all frames
# are denoised together, and what tells them apart is their position.
#
# </details>

# %%
for name in ("time_proj", "time_embedding"):
    call = trace.one(name)
    print(f"{name:15} {call.output}  {call.cost.params.size:,} parameters")

t = trace.root.inputs["timestep"]
assert t.sizes == (2,)  # a number for each sample of the batch

# %% [markdown]
# ## Modulation: how the time vector acts
#
# In every block one linear layer turns that vector into six: shift, scale and gate for the video, and the same three
# for the text. Shift and scale act before the attention; the gate waits until after it.

# %%
chunks = trace.one("transformer_blocks.*.norm1", "chunk")
for name, spec in chunks.outputs.items():
    print(f"{name:10} {spec}")

widths = [spec.sizes[-1] for spec in chunks.outputs.values()]
assert sum(widths) == trace.one("transformer_blocks.*.norm1.linear").output.sizes[-1]

# %% [markdown]
# ## Rotation: only the video turns
#
# Text has no place on the grid of frames, rows and columns. So queries and keys are turned from row $L$ on, and written
# back in place:

# %%
writes = trace.find("transformer_blocks.*.attn1", "setitem")
for write in writes:
    target, turned = write.inputs.values()
    print(next(iter(write.inputs)), target, "takes", turned, "at", write.source)

text, video = trace.values["L"], sequence.size - trace.values["L"]
assert all(tuple(w.inputs.values())[1].sizes[2] == video for w in writes)

# %% [markdown]
# ## Attention: the part that grows
#
# Every token looks at every token, across all frames. That work grows with the square of the sequence; everything
# else grows in proportion to it.
#
# <details markdown="1"><summary>Twice the latent frames: how much more attention?</summary>
#
# A little less than four times as much: the text tokens do not double.
#
# </details>

# %%
attention = trace.one("transformer_blocks.*.attn1", "scaled_dot_product_attention")
n, width, batch = sequence.size, trace.values["D"], trace.values["B"]

by_hand = 2 * (2 * batch * n * n * width)  # queries times keys, then weights times values; a multiply-add is two
assert attention.cost.flops.size == by_hand

longer = {**trace.values, "F": 2 * trace.values["F"]}
growth = attention.cost.flops.formula.evaluate(longer) / by_hand
blocks = trace.one("transformer_blocks.*", "CogVideoXBlock").repeat
share = blocks * by_hand / trace.root.cost.flops.size
print(f"{attention.cost.flops.formula}\n{share:.0%} of all work here; {growth:.2f} times as much for twice the frames")

# %% [markdown]
# ## Back to latents
#
# The text has done its work and is dropped. Each video token becomes the numbers of its patch, and the patches go back
# to where they came from: the prediction has exactly the size of the latents.

# %%
for call in trace.find("", "reshape") + trace.find("", "flatten"):
    print(f"{call.name:8} {call.output}")

assert trace.root.output.sizes == trace.root.inputs["hidden_states"].sizes

# %% [markdown]
# ## The family
#
# The same code runs five checkpoints. What differs is a handful of config fields, and with them how a token knows its
# place, whether frames are merged into patches, and whether there is an offset vector:


# %%
def place(t):
    table = any(c.stage == "position-embedding" for c in t.walk())
    turned = bool(t.find("*", "apply_rotary_emb"))
    return " + ".join(["table"] * table + ["rotation"] * turned)


names = ["cogvideox-2b", "cogvideox-5b", "cogvideox-5b-i2v", "cogvideox1.5-5b", "cogvideox1.5-5b-i2v"]
for name in names:
    t = tracer.trace(name, formulas=False)
    offset = "offset vector" if "offset-embedding" in t.stages() else ""
    print(f"{name:20} {t.values['S'] + t.values['L']:6} tokens  {place(t):16} {offset}")

# %% [markdown]
# The *offset* is easily misread: it is no frame offset. The 1.5 image-to-video pipeline feeds it the constant 2.0 at
# every step, so after training it is one constant vector, added to the time vector.
#
# **Read on.** `trace-shapes cogvideox --notes` prints the reasons in the terminal, `--stage rope` every operation of
# one stage with its source line, and `trace-shapes hunyuanvideo` the model that gives text and video weights of their
# own before it joins them.
