# %% [markdown]
# # Frames: what a pipeline makes of N
#
# Ask CogVideoX for 13 frames and 16 come out. Ask for 50 and you get 49. No error, no message. Why? The count is
# decided in several places that know nothing of each other: what the pipeline does with $N$, how the autoencoder folds
# frames into latents, how the transformer cuts patches, how the decoder unfolds them again.
#
# `plan_frames` follows a count through all of them, with whole numbers and nothing else. The tests of this project run
# the real pipeline classes, at tiny widths, for every $N$ from 1 to 60, and hold the plans against what came out.

# %%
import diffusers
import torch

import tracer

print("diffusers", diffusers.__version__, "· torch", torch.__version__)

# %%
by_hand = {  # the second way: a rule for each, in one line; the sections below say where they come from
    "cogvideox-5b": lambda n: 4 * (n := (n - 1) // 4 + 1) - 3 * (n % 2),
    "hunyuanvideo": lambda n: (n - 1) // 4 * 4 + 1,
    "wan2.1-t2v-1.3b": lambda n: n // 4 * 4 + 1 if n % 4 != 1 else n,
    "ltx-video": lambda n: (n - 1) // 8 * 8 + 1,
    "framepack": lambda n: 36 * -(-n // 33) + 1,
}
counts = [5, 13, 16, 33, 48, 49, 50, 81]
print(f"{'asked':18}", *(f"{n:4}" for n in counts))
for model, rule in by_hand.items():
    returned = [tracer.plan_frames(model, n, costs=False).frames for n in counts]
    print(f"{model:18}", *(f"{n:4}" for n in returned))
    assert returned == [rule(n) for n in counts]

# %% [markdown]
# ## The way in: the first frame is its own
#
# A causal video autoencoder keeps the first frame as one latent frame and folds every four that follow into one more:
#
# $$F = \left\lfloor \frac{N - 1}{4} \right\rfloor + 1$$
#
# So the counts that lose nothing are $4n + 1$. For all others the bracket rounds down, and frames that do not fill a
# latent are dropped. Here the real class, with a few channels in place of hundreds:

# %%
from diffusers import AutoencoderKLCogVideoX, AutoencoderKLHunyuanVideo, AutoencoderKLWan

torch.manual_seed(0)
tiny = {"block_out_channels": (4,) * 4, "latent_channels": 4, "layers_per_block": 1, "norm_num_groups": 2}
vae = AutoencoderKLCogVideoX(**tiny).eval()

for n in (1, 4, 5, 13, 16, 17):
    with torch.no_grad():
        latents = vae.encode(torch.zeros(1, 3, n, 16, 16)).latent_dist.mean.shape[2]
    assert latents == (n - 1) // 4 + 1
    print(f"{n:2} frames → {latents} latent")

# %% [markdown]
# ## Causal, or nearly
#
# *Causal* means that a latent frame knows its own frames and those before, none that come after. This is why the first
# one is single: there is nothing before it to be folded with, and a picture can be encoded as a video of one frame.
#
# <details markdown="1"><summary>Change frame 12 of 17 (counted from 0). Which of the 5 latent frames change?</summary>
#
# The fourth, which folds frames 9 to 12, and the fifth: convolutions hand on what came before. That is so in Wan. In
# HunyuanVideo *all* change, the first too. Its convolutions are causal, but its group norms take mean and variance over
# all frames at once. CogVideoX has such norms as well, but encodes 8 frames at a time and the first chunk has 9, so
# a change stays out of the chunks before its own.
#
# </details>

# %%
hunyuan = AutoencoderKLHunyuanVideo(**tiny).eval()
wan = AutoencoderKLWan(base_dim=2, num_res_blocks=1).eval()
clip = torch.randn(1, 3, 17, 16, 16)


@torch.no_grad()
def changed(vae, frame):
    """The latent frames that change with a frame."""
    other = clip.clone()
    other[:, :, frame] += 1
    before, after = (vae.encode(x).latent_dist.mean for x in (clip, other))
    return (after - before).abs().amax(dim=(0, 1, 3, 4)).gt(1e-5).nonzero().flatten().tolist()


for name, model in (("Wan", wan), ("CogVideoX", vae), ("HunyuanVideo", hunyuan)):
    print(f"{name:12}", *(f"frame {frame} → latent {changed(model, frame)}" for frame in (4, 12)), sep="  ")
assert all(min(changed(wan, k)) == -(-k // 4) for k in range(17))  # the latent frame that k is folded into
assert all(min(changed(vae, k)) == (0 if k < 9 else 3) for k in range(17))
assert all(min(changed(hunyuan, k)) == 0 for k in range(17))

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
# ## Sections
#
# Some systems do not denoise a video in one go. FramePack makes it section by section, each looking back at a packed
# history; its count is 36 for each section, and one:

# %%
for n in (33, 34, 91, 129):
    plan = tracer.plan_frames("framepack", n, costs=False)
    print(f"{n:3} asked: {plan.runs} sections of the loop, {plan.frames} frames")
    assert plan.frames == 36 * -(-n // 33) + 1

# %% [markdown]
# ## GameCraft: 33, 34, 37, 66, 69
#
# Hunyuan-GameCraft answers each action with 33 frames, and hands counts like 34, 37, 66 and 69 around in its code. An
# article, *How Frames Work in Hunyuan-GameCraft*, took on the question where these come from. It lies beside the code
# of a Hugging Face Space, [jbilcke-hf/Hunyuan-GameCraft](https://huggingface.co/spaces/jbilcke-hf/Hunyuan-GameCraft),
# and our copy names no author. [What articles say](claims.md#frames) goes through it claim by claim; here are the
# numbers themselves, from the original code at commit 07afcd4c (`plan-frames gamecraft` prints the lines).
#
# <details markdown="1"><summary>34 is one more than 33, and 37 is three more than 34. One for what, three for
# what?</summary>
#
# For nothing: no tensor has 34 frames, or 37. A first clip is one latent frame of the given picture and nine new ones;
# a later clip is nine of the clip before and nine new ones. The code wants 10 and 18 latent frames, and gets them by
# telling two formulas a number of frames to make them of, one for latents and one for positions:
#
# $$\left\lfloor \frac{n - 2}{4} \right\rfloor + 2, \qquad \left\lfloor \frac{n - 1}{4} \right\rfloor + 1$$
#
# 34 and 66 are the smallest numbers that the first makes 10 and 18 of, 37 and 69 the smallest for the second. That they
# lie 3 apart is a matter of the two formulas.
#
# </details>

# %%
from tracer import gamecraft_frames as gamecraft


def smallest(formula, wanted):
    return next(n for n in range(2, 1000) if formula(n) == wanted)


def clips(chunk):
    """The clip after a picture and the clip after a clip, when an action makes `chunk` frames."""
    return tracer.plan_frames("gamecraft", actions=2, chunk=chunk).clips


for clip in clips(33):
    told = f"told {clip.count} for latents and {clip.rope_count} for positions"
    print(f"{clip.name:15} {clip.latents:2} latent frames, {told}; {clip.frames} new frames")
    assert clip.count == smallest(lambda n: (n - 2) // 4 + 2, clip.latents)
    assert clip.rope_count == smallest(lambda n: (n - 1) // 4 + 1, clip.latents)
    traced = tracer.trace("gamecraft", frames=clip.count, formulas=False)
    assert traced.values["F"] == clip.latents

# %% [markdown]
# ## The 17-frame study
#
# The article proposes a study: let an action make 17 frames, about half as many, for faster answers and less memory. 17
# is $4n + 1$, so the autoencoder is content. What else would have to be?
#
# First, the constants. Each is computed anew, from 5 latent frames a clip instead of 9:

# %%
published, short = clips(33), clips(17)
columns = ("latents", "count", "rope_count", "tokens")
print(f"{'':24} latent frames  told, latents  told, positions        tokens")
for old, new in zip(published, short, strict=True):
    pairs = (f"{getattr(old, what):,} → {getattr(new, what):,}" for what in columns)
    print(f"{old.name:24}", *(f"{pair:>{width}}" for pair, width in zip(pairs, (13, 14, 16, 16), strict=True)))

own = (17 - 1) // 4 + 1
assert [clip.latents for clip in short] == [1 + own, own + own]
assert [clip.count for clip in short] == [smallest(gamecraft.latent_count, clip.latents) for clip in short]
assert [clip.rope_count for clip in short] == [smallest(gamecraft.rope_frames, clip.latents) for clip in short]
assert all(clip.tokens == clip.latents * (704 // 16) * (1216 // 16) for clip in published + short)

# %% [markdown]
# These are the article's own numbers: 18 and 34, 21 and 37.
#
# <details markdown="1"><summary>One row of the new numbers is a row of the old ones. Why is that bad?</summary>
#
# A clip after a clip of 17 frames has 10 latent frames, told as 34 and 37. That is what a clip after a *picture* has
# with 33. The code does not ask how it was started. It looks at the number of latent frames, and 10 means a picture to
# it: one latent frame of history, and four empty poses in front of the camera's.
#
# </details>

# %%
assert (short[1].latents, short[1].count, short[1].rope_count) == (10, 34, 37)
assert (published[0].latents, published[0].count, published[0].rope_count) == (10, 34, 37)

from textwrap import fill

plan = tracer.plan_frames("gamecraft", actions=2, chunk=17, costs=False)
breaks = [line.text for line in plan.breaks if line.text.startswith("After")]
for text in breaks:
    print(fill(text, 78, subsequent_indent="    "))
assert len(breaks) == 4

# %% [markdown]
# So with the counts changed and nothing else, the first clip stops with an error: 6 latent frames have no branch. A
# clip that goes on from a video gets as far as the sum of tokens and camera features. Here is that sum on real tensors,
# with a camera network rebuilt from the original's lines, at a small width. 17 poses are 5 frames of features; the
# branch for 10 latent frames puts 1 of empty poses in front:

# %%
from tracer.models.gamecraft import CameraNet

torch.manual_seed(0)
camera = CameraNet(channels=6, down=8, out_channels=16, patch=(1, 2, 2), hidden=64).eval()


@torch.no_grad()
def features(poses):
    """Camera features that the published branch for 10 latent frames lays over the tokens."""
    shown = (torch.zeros(1, 4, 6, 32, 32), torch.randn(1, poses, 6, 32, 32))
    return torch.cat([camera(x) for x in shown], dim=1)


# %%
tokens = torch.zeros(1, 10 * (32 // 16) ** 2, 64)  # 10 latent frames of 2×2 tokens
for poses in (17, 33):
    made = features(poses).shape[1] // 4
    assert made == gamecraft.camera_branch(10, poses)  # the second way: plain arithmetic
    fits = made * 4 == tokens.shape[1]
    print(f"{poses} poses: {made} frames of camera features on 10 latent frames,", "fits" if fits else "fails")
try:
    tokens + features(17)
except RuntimeError as error:
    print(type(error).__name__)

# %% [markdown]
# The second line is the worse one. Where the counts are changed and the 33 poses are left, as they are written into
# two more places, nothing raises. The poses are then laid over the wrong frames, and the mask tells the model that 1
# latent frame is history where 5 are.
#
# The list of what has to change is longer than the article's, then. It names the poses of an action, the four counts
# and the camera's test for two clips. These are missing from it:

# %%
listed = ("Poses of an action", "Count told", "Rotary count", "Pose counts")
places = [line for line in plan.breaks if line.text not in breaks]
missing = [line for line in places if not line.text.startswith(listed)]
for line in missing:
    print(fill(f"{line.text}  {line.source}", 78, subsequent_indent="    "))
assert (len(places), len(missing)) == (10, 4)

# %% [markdown]
# And two that it names do nothing. `sample_n_frames` is handed on and never read (`hymm_sp/sample_inference.py`, line
# 505 is commented out). The camera's test for 34 and 66 poses is not met with clips of 33, nor of 17, because the
# network is only ever handed the poses of one action, or 4 empty ones, and halves them twice:

# %%
for chunk in (33, 17):
    counts = [n for poses in (chunk, 4) for n in (poses, gamecraft.compress_time(poses))]
    print(f"actions of {chunk} frames: counts {', '.join(map(str, counts))}")
    assert not {34, 66}.intersection(counts)
    assert gamecraft.camera_frames(chunk) == (chunk - 1) // 4 + 1  # as the autoencoder folds

# %% [markdown]
# ## What it would save
#
# Suppose all of it is mended. `config={"clip_frames": 17}` is the transformer with its part of those places changed,
# and the costs below are traced from it. The article expects about 48 % less memory, which is the ratio of the frames.
#
# <details markdown="1"><summary>17 frames of 33 are 48 % fewer. Is that what is saved?</summary>
#
# No. The transformer sees latent frames, with one of a picture or a whole clip in front: 6 instead of 10, or 10
# instead of 18. That saves 40 % and 44.4 % of the tokens. Weights do not shrink at all, and attention shrinks by more.
#
# </details>

# %%
print(f"frames per action {1 - 17 / 33:6.1%} fewer")
for old, new in zip(published, short, strict=True):
    tokens, work = new.tokens / old.tokens, new.flops / old.flops
    print(f"{old.name:15} {1 - tokens:8.1%} fewer tokens, {1 - work:.1%} less work")
    print(f"{'':15} for each frame shown {tokens * 33 / 17 - 1:+.1%} tokens, {work * 33 / 17 - 1:+.1%} work")
    traced = tracer.trace("gamecraft", frames=new.count, config={"clip_frames": 17}, formulas=False)
    assert (traced.values["F"], traced.root.cost.flops.size) == (new.latents, new.flops)

saved = [1 - new.tokens / old.tokens for new, old in zip(short, published, strict=True)]
assert [round(share, 6) for share in saved] == [round(4 / 10, 6), round(8 / 18, 6)]  # 4 latent frames, and 2·4
weights = 2 * traced.header.params
print(f"weights in bfloat16: {weights / 1e9:.1f} GB as before")

# %% [markdown]
# For each frame that is *shown* there are more tokens than before, not fewer: less is made from each history. They are
# a little cheaper, because shorter sequences are. What is really won is an answer sooner, at less than half the work.
# Whether it is a good answer no shape can tell. The weights were trained on 33 frames an action, and the rest of the
# study would be to look at videos.

# %% [markdown]
# ## What a count costs
#
# Frames become tokens, and attention grows with their square. The costs come from the formulas of the traced
# transformer, so a whole column takes one trace:

# %%
for n in (49, 81, 129, 257):
    plan = tracer.plan_frames("hunyuanvideo", n)
    print(f"{n:3} frames: {plan.tokens:7,} tokens, {plan.flops / 1e15:5.1f} PFLOP for one pass")

traced = tracer.trace("hunyuanvideo", frames=257, formulas=False)  # the second way: the last of them, run
assert (traced.values["S"], traced.root.cost.flops.size) == (plan.tokens, plan.flops)

# %% [markdown]
# ## On real weights
#
# Counts need none: everything above is as true of the published weights. To see it happen, print what comes out:
#
# ```python
# import torch
# from diffusers import CogVideoXPipeline
#
# pipe = CogVideoXPipeline.from_pretrained("THUDM/CogVideoX-5b", torch_dtype=torch.bfloat16)
# pipe.enable_model_cpu_offload()
# video = pipe("a red ball rolls over green grass", num_frames=13, num_inference_steps=4, output_type="pt").frames
# print(video.shape)  # 16 frames
# ```
#
# ## Where to read on
#
# - In a terminal, `plan-frames cogvideox 50` prints the plan with its neighbours, `plan-frames gamecraft --actions 5`
#   the clips one by one, and `plan-frames gamecraft --chunk 17` what clips of another length would break. The
#   [calculator](calculator.md) plans any model's frames in the browser.
# - [What articles say](claims.md#frames): every claim of the article on GameCraft's frames, checked. The
#   [glossary](glossary.md#the-autoencoder-and-frames) has the words.
# - Yu et al., [Language Model Beats Diffusion](https://arxiv.org/abs/2310.05737) (MAGVIT-v2): the causal 3D
#   convolutions that let one autoencoder take pictures and videos.
# - Yang et al., [CogVideoX](https://arxiv.org/abs/2408.06072), and Kong et al.,
#   [HunyuanVideo](https://arxiv.org/abs/2412.03603): the autoencoders of this page.
# - Zhang et al., [FramePack](https://arxiv.org/abs/2504.12626), and Li et al.,
#   [Hunyuan-GameCraft](https://arxiv.org/abs/2506.17201): videos in sections, and in clips.
