# %% [markdown]
# # Frames: what a pipeline makes of N
#
# Ask CogVideoX for 13 frames and 16 come out. Ask for 50 and you get 49. No error, no message. The count is decided in
# several places that know nothing of each other: what the pipeline does with $N$, how the autoencoder folds frames
# into latents, how the transformer cuts patches, how the decoder unfolds them again.
#
# `plan_frames` follows a count through all of them, with whole numbers and nothing else. The tests of this project run
# the real pipeline classes, at tiny widths, for every $N$ from 1 to 60, and hold the plans against what came out.

# %%
import tracer

models = ["cogvideox-5b", "hunyuanvideo", "wan2.1-t2v-1.3b", "ltx-video", "framepack"]
counts = [5, 13, 16, 33, 48, 49, 50, 81]
print(f"{'asked':18}", *(f"{n:4}" for n in counts))
for model in models:
    returned = [tracer.plan_frames(model, n, costs=False).frames for n in counts]
    print(f"{model:18}", *(f"{n:4}" for n in returned))

# %% [markdown]
# ## The way in: the first frame is its own
#
# A causal video autoencoder keeps the first frame as one latent frame and folds every four that follow into one more:
#
# $$F = \left\lfloor \frac{N - 1}{4} \right\rfloor + 1$$
#
# The bracket rounds down, so frames that do not fill a latent are dropped. Here the real class, with a few channels
# in place of hundreds:

# %%
import torch
from diffusers import AutoencoderKLCogVideoX

torch.manual_seed(0)
tiny = {"block_out_channels": (4,) * 4, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2}
vae = AutoencoderKLCogVideoX(**tiny).eval()

for n in (1, 4, 5, 13, 16, 17):
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, n, 16, 16)).latent_dist.mean.shape[2]
    assert latents == (n - 1) // 4 + 1
    print(f"{n:2} frames → {latents} latent")

# %% [markdown]
# ## The way back: two at a time
#
# <details markdown="1"><summary>13 frames are 4 latent frames. How many frames do those decode to?</summary>
#
# Folding says $4 \cdot (4 - 1) + 1 = 13$. CogVideoX returns 16: its decoder works on two latent frames at a time, and
# only a chunk of three, which an odd count begins with, keeps its first frame single.
#
# </details>

# %%
for latents in range(1, 8):
    with torch.no_grad():
        decoded = vae.decode(torch.zeros(1, 4, latents, 2, 2)).sample.shape[2]
    folded = 4 * (latents - 1) + 1
    assert decoded == (folded if latents % 2 else 4 * latents)
    print(f"{latents} latent → {decoded:2} frames" + (f", not {folded}" if decoded != folded else ""))

# %% [markdown]
# So the published rule for CogVideoX, $8k + 1$ frames, is just the odd counts of latent frames: those where both ways
# agree. A plan names the rules that were at work, the place in the code, and the nearest counts that come out as asked:

# %%
from textwrap import fill

plan = tracer.plan_frames("cogvideox-5b", 13, costs=False)
for line in plan.lines:
    print(fill(line.text, 78))
print("exact:", plan.below, "below,", plan.above, "above")

# %% [markdown]
# ## A temporal patch: latents that are thrown away
#
# CogVideoX 1.5 also folds latent frames in pairs inside the transformer. An odd count of them is filled up with one
# more, denoised with the others, and dropped again before decoding. With its own published 81 frames:

# %%
plan = tracer.plan_frames("cogvideox1.5-5b", 81, costs=False)
for line in plan.lines:
    print(fill(line.text, 78))

trace = tracer.trace("cogvideox1.5-5b", formulas=False)
assert trace.values["F"] == plan.seen  # the second way: the traced model
assert trace.values["S"] == plan.tokens

# %% [markdown]
# ## Sections and clips
#
# Some systems do not denoise a video at once. FramePack makes it section by section, each looking back at a packed
# history; its count is 36 for each section, and one:

# %%
for n in (33, 34, 91, 129):
    plan = tracer.plan_frames("framepack", n, costs=False)
    print(f"{n:3} asked: {plan.runs} sections of the loop, {plan.frames} frames")
    assert plan.frames == 36 * -(-n // 33) + 1

# %% [markdown]
# Hunyuan-GameCraft answers each action with 33 frames, and hands counts like 34, 37, 66 and 69 around in its code.
# No tensor has that many frames: they are what the formulas for latents and for rotary positions have to be
# fed to give 10 and 18 latent frames. A first clip is one latent frame of the given picture and nine new ones; a
# later clip is nine of the clip before and nine new ones.

# %%
plan = tracer.plan_frames("gamecraft", actions=3, costs=False)
for clip in plan.clips:
    told = f"told {clip.count} for latents, {clip.rope_count} for positions"
    print(f"{clip.times} × {clip.name}: {clip.latents} latent frames, {told}; {clip.frames} new frames")
    assert (clip.count - 2) // 4 + 2 == (clip.rope_count - 1) // 4 + 1 == clip.latents

assert plan.frames == 3 * 33

# %% [markdown]
# ## What a count costs
#
# Frames become tokens, and attention grows with their square. The costs come from the formulas of the traced
# transformer, so a whole column takes one trace:

# %%
for n in (49, 81, 129, 257):
    plan = tracer.plan_frames("hunyuanvideo", n)
    print(f"{n:3} frames: {plan.tokens:7,} tokens, {plan.flops / 1e15:5.1f} PFLOP for one pass")

# %% [markdown]
# In a terminal, `plan-frames cogvideox 50` prints the plan with its neighbours, `plan-frames gamecraft --actions 5` the
# clips one by one, and `plan-frames gamecraft --chunk 17` what clips of another length would break.
