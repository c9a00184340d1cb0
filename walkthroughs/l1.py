# %% [markdown]
# # L1 and schedules: what a step changes
#
# A sampler goes from noise to video in a few dozen steps, and each costs a pass through the whole transformer, or two.
# Does each do its share? Caches skip steps in which little changes, and schedules move the steps to where much does,
# so both begin with the same measurement: how much did this step change?
#
# The usual answer is the relative L1 distance between a tensor $a$ at one step and the same tensor a step before,
#
# $$\frac{\operatorname{mean}|a_i - a_{i-1}|}{\operatorname{mean}|a_{i-1}|}$$
#
# and everything hangs on which tensor that is. This page measures several, on models small enough for a laptop. The
# questions are those of an article by nishiha,
# [HunyuanvideoのL1推移](https://qiita.com/nishiha/items/908e3950d941a06a10cc), who put them to the real HunyuanVideo.
# What it says, and what is so, stands claim by claim in [What articles say](claims.md#l1); the words are in the
# [glossary](glossary.md#noise-steps-and-guidance).

# %%
import diffusers
import torch

print("diffusers", diffusers.__version__, "· torch", torch.__version__)

# %% [markdown]
# ## A model that fits in a lesson
#
# The pocket models are HunyuanVideo's and CogVideoX's own classes with a few million parameters, trained on clips of
# one moving shape. They run in the pipelines that everyone uses, draw what the prompt says, and choose for themselves
# what it leaves open: the background, and where the shape is and how large. They show how the instruments work. What
# large models do, only large models show; the last sections come back to one.

# %% tags=["nbval-ignore-output"]
import numpy as np

from tracer.plots import films
from tracer.probes import pocket

hunyuan = pocket.load("pocket-hunyuanvideo")
prompts = ["a red disc moving left", "a blue square moving up", "a green triangle moving right"]
videos = {prompt: np.asarray(hunyuan(prompt, steps=20, output_type="np").frames[0]) for prompt in prompts}

shown = {prompt.replace(" moving", "\nmoving"): video[::8] for prompt, video in videos.items()}
films.strips(shown, "Videos of 17 frames", [f"frame {n}" for n in range(0, 17, 8)])

# %% [markdown]
# A checker with fixed rules says what it sees: the colour of the largest blob, and where that goes.

# %%
from tracer.probes.pocket.checker import check

for prompt, video in videos.items():
    seen = check(torch.from_numpy(video).movedim(-1, 1) * 2 - 1)
    print(f"{prompt:29} → {seen.colour}, {seen.direction}")
    assert seen.colour in prompt

# %% [markdown]
# ## One step, taken apart
#
# The latents of step $i$ are a mixture, $x_i = (1 - \sigma_i) \cdot \text{video} + \sigma_i \cdot \text{noise}$. The
# model looks at it and predicts $v_i$, the direction from the video to the noise; the sampler (Euler's method) goes a
# little way along it:
#
# $$x_{i+1} = x_i + (\sigma_{i+1} - \sigma_i)\, v_i$$
#
# A direction and a place make a destination. So every prediction contains the video that the model expects at that
# moment, $\hat x_i = x_i - \sigma_i v_i$. A hook on the transformer is enough to watch both; with guidance it is
# called twice a step, first with the prompt and then without.

# %%
from tracer.probes import L1Probe

watched = []
hook = hunyuan.pipe.transformer.register_forward_hook(
    lambda module, args, given, out: watched.append((given["hidden_states"], out[0])), with_kwargs=True
)
with L1Probe(hunyuan.pipe) as probe:
    made = hunyuan("a red disc moving left", steps=20, cfg=4.0, output_type="latent").frames
hook.remove()

walk = probe.log
sigma = walk.runs[0]["sigmas"]
x = [latents for latents, _ in watched[::2]]
cond, uncond = ([prediction for _, prediction in watched[start::2]] for start in (0, 1))
v = [u + 4.0 * (c - u) for c, u in zip(cond, uncond, strict=True)]  # classifier-free guidance
expected = [x[i] - sigma[i] * v[i] for i in range(20)]


# %% tags=["nbval-ignore-output"]
def pixels(latents):
    """The middle frame of latents, which here are colours: (height, width, 3) in [0, 1]."""
    return (latents[0, :, 2].movedim(0, -1).numpy() / hunyuan.pipe.vae.config.scaling_factor + 1) / 2


at = [0, 1, 2, 3, 5, 8, 12, 16, 19]
rows = {"latents": [pixels(x[i]) for i in at], "expected": [pixels(expected[i]) for i in at]}
films.strips(rows, "What the model is given, and the video it expects", [f"step {i}" for i in at])

# %% [markdown]
# The upper row changes a little in every step. The lower one has made up its mind after a few: where the shape is, and
# on what background. From there on it adds detail. In numbers, the distance from the finished video:

# %%
for name, row in (("latents", x), ("expected", expected)):
    left = [float((row[i] - made).abs().mean() / (row[0] - made).abs().mean()) for i in range(20)]
    print(f"{name:9}", *(f"{left[i]:4.0%}" for i in at))
    assert left[-1] < left[10] < left[0]

# %% [markdown]
# Latents and predictions tell different stories, and these are the two stories that the measurements below keep apart.
#
# ## Measured, without touching the pipeline
#
# The `L1Probe` around that run has measured the same. It watches the transformer, the scheduler's `step` and the
# pipeline's own names for its branches. Nothing has to be edited, and the video is the same to the last bit.

# %%
print(walk)

# %% [markdown]
# What the hook has kept gives the same curves:

# %%
from itertools import pairwise


def relative_l1(after, before):
    return float((after - before).abs().mean() / before.abs().mean())


for branch, tensors in (("cond", cond), ("uncond", uncond), ("combined", v)):
    _, measured = walk.curve("prediction", branch=branch)
    assert np.allclose(measured, [relative_l1(b, a) for a, b in pairwise(tensors)], rtol=1e-4)

_, measured = walk.curve("latents")
assert np.allclose(measured[:-1], [relative_l1(b, a) for a, b in pairwise(x)], rtol=1e-3)
print("predictions and latents agree with the hook's")

assert torch.equal(made, hunyuan("a red disc moving left", steps=20, cfg=4.0, output_type="latent").frames)

# %% [markdown]
# ## Latents follow dt
#
# <details markdown="1"><summary>You plot the relative L1 of the latents, step by step. What will you see?</summary>
#
# The schedule. By Euler's formula the change of the latents is $|\sigma_{i+1} - \sigma_i| \cdot |v_i|$ and the
# sizes of $v$ and $x$ vary slowly. What varies, at a large shift by a factor of a hundred and more, is the length of
# the step, dt for short, and that was known before the model was loaded.
#
# </details>
#
# Three flow shifts $s$, which move the steps towards the noisy end: $\sigma = s t / (1 + (s - 1) t)$ for evenly
# spaced $t$.

# %%
from diffusers import FlowMatchEulerDiscreteScheduler as Euler

own = hunyuan.pipe.scheduler
with L1Probe(hunyuan.pipe) as probe:
    for s in (1.0, 7.0, 17.0):
        hunyuan.pipe.scheduler = Euler.from_config(own.config, shift=s)
        hunyuan("a red disc moving left", steps=32, output_type="latent")
hunyuan.pipe.scheduler = own
shifts = probe.log

for run in shifts.runs:
    dt = -np.diff(shifts.runs[run]["sigmas"])
    _, change = shifts.curve("latents", run=run)
    per_dt = np.array(change) / dt
    print(f"longest step / shortest: {dt.max() / dt.min():6.1f}", end="; ")
    print(f"change per dt, largest / least: {per_dt.max() / per_dt.min():.1f}")
    assert per_dt.max() / per_dt.min() < 3
    assert run == 0 or np.corrcoef(change, dt)[0, 1] > 0.9

    s, t = (1.0, 7.0, 17.0)[run], np.linspace(1, 0, 33)  # the second way: the formula of the shift
    assert np.allclose(dt, -np.diff(s * t / (1 + (s - 1) * t)), atol=1e-5)

# %% tags=["nbval-ignore-output"]
from tracer.plots import probes as draw

draw.panels(shifts, "latents")

# %% [markdown]
# The first three panels are those of the article, and it came to this conclusion itself. The last one, per dt, is what
# is left once the schedule is taken out: hardly anything.
#
# ### The bfloat16 trap
#
# Real models run in bfloat16, which keeps eight binary digits. The scheduler adds the change in float32 and then rounds
# the sum to the dtype of the prediction. Where a step is short, half of the numbers fall back to where they were, and
# whoever subtracts latents measures too little. The second step of fifty, at shift 17, on random numbers:

# %%
scheduler = Euler(shift=17.0)
scheduler.set_timesteps(sigmas=np.linspace(1, 0, 51)[:-1])
torch.manual_seed(0)
before, prediction = torch.randn(1_000_000).bfloat16(), (1.5 * torch.randn(1_000_000)).bfloat16()
after = scheduler.step(prediction, scheduler.timesteps[1], before).prev_sample

dt = float(scheduler.sigmas[2] - scheduler.sigmas[1])
true = abs(dt) * prediction.float().abs().mean() / before.float().abs().mean()
naive = relative_l1(after.float(), before.float())
stuck = (after == before).float().mean()
print(f"not moved at all: {stuck:.0%}; measured from latents: {naive / true - 1:+.0%}")
assert stuck > 0.4
assert naive < 0.85 * true

# %% [markdown]
# The probe takes prediction times dt in float32 where the sampler is Euler's, and says so in the column `method` of its
# log. For other samplers it takes the difference, with a bound for what rounding can have done to it.

# %%
print({row.method for row in shifts if row.signal == "latents" and row.metric == "rel_l1"})

# %% [markdown]
# ## Predictions make a U
#
# Now the conditional prediction, at shift 1, where all steps are equally long, for three seeds:

# %%
with L1Probe(hunyuan.pipe) as probe:
    for seed in range(3):
        hunyuan("a red disc moving left", steps=32, seed=seed, output_type="latent")
seeds = probe.log

curve = np.array(seeds.curve("prediction", branch="cond", run=seeds.runs)[1])  # the mean over the seeds
low, left, right = curve.min(), curve[:6].max(), curve[-6:].max()
print(f"largest of the first fifth {left / low:.0f} times the least, of the last fifth {right / low:.0f} times")
assert left > 2 * low
assert right > 2 * low

# %% tags=["nbval-ignore-output"]
draw.panels(seeds, "prediction", branch="cond")

# %% [markdown]
# Why two arms? Write down two neighbouring predictions of one Euler path, use $v = (x - \hat x)/\sigma$, and nearly
# everything cancels. What remains is
#
# $$v_{i+1} - v_i = \frac{\hat x_i - \hat x_{i+1}}{\sigma_{i+1}}$$
#
# A prediction changes for one reason only: the model expects another video than a step before. And the noise level
# works as a magnifying glass, the stronger the less noise is left. This is no approximation. It holds for every model,
# of the prediction that the sampler walks along (with guidance the combined one):

# %%
for i in range(19):
    change, told = v[i + 1] - v[i], (expected[i] - expected[i + 1]) / sigma[i + 1]
    assert (change - told).abs().max() < 1e-4 * v[i].abs().max()
print("19 changes of the prediction, all of them changes of mind divided by sigma")

# %% [markdown]
# So the left arm is where the model changes its mind in earnest, and the right arm is where small changes meet the
# strong glass. The strip above suggests what it is about: first all that the prompt has left open, at last the details,
# which are about as large as the noise that is left. To be sure of it one would want a model whose mind can be read.
#
# ## A model whose mind can be read
#
# If videos are a mixture of Gaussians, clouds around 256 known clips, the best possible prediction is a formula, and
# no training is needed. At every step it can also be said how undecided that prediction still is: the entropy of the
# probabilities of the 256 clips. Such a model stands in for the transformer of the real pipeline, and the probe does
# not notice the difference.

# %%
from diffusers import HunyuanVideoPipeline

from tracer.probes import ProbeLog
from tracer.probes.analytic import AnalyticTransformer, Mixture


def probed(mixture, what):
    """The log of 50 steps of the pipeline with a mixture for its model."""
    parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
    pipe = HunyuanVideoPipeline(transformer=AnalyticTransformer(mixture), scheduler=Euler(), **parts)
    pipe.set_progress_bar_config(disable=True)
    _, F, H, W = mixture.shape
    noise = torch.randn(1, *mixture.shape, generator=torch.Generator().manual_seed(0))
    size = {"num_frames": 4 * F - 3, "height": 8 * H, "width": 8 * W, "num_inference_steps": 50}
    with L1Probe(pipe) as probe:
        pipe(**pipe.transformer.prompt(), **size, latents=noise, output_type="latent")
    return probe.log.noted(data=what), noise.numpy()


# %% tags=["nbval-ignore-output"]
many, noise = probed(Mixture.clips(256), "256 clips")
one, _ = probed(Mixture.clips(1, classes=1), "1 clip")
coarse, _ = probed(Mixture.clips(256, spread=0.5), "256 clips, more detail")

draw.panels(ProbeLog.merge([many, one, coarse]), "prediction", branch="cond")

# %% [markdown]
# The U is there, without any network; the logarithmic panels show it best. With a single clip to choose from the left
# arm is gone: there is nothing to decide. *Detail* is how far samples scatter around their clip. With more of it the
# noise sinks to its scale earlier, and the right arm bends over before the end.
#
# The same in numbers, a second time in float64 and without pipeline, probe or diffusers:

# %%
mixture, state = Mixture.clips(256), noise.astype(float)
predictions, undecided = [], []
for level, following in pairwise(np.linspace(1, 0, 51)):
    predictions.append(mixture.velocity(state, level))
    undecided.append(float(mixture.entropy(state, level)[0]))
    state = state + (following - level) * predictions[-1]

exact = [np.abs(b - a).mean() / np.abs(a).mean() for a, b in pairwise(predictions)]
_, measured = many.curve("prediction", branch="cond")
assert np.allclose(measured, exact, rtol=1e-3, atol=1e-5)
for step in (1, 2, 3, 4, 6, 10, 30, 49):
    clips = np.exp(undecided[step])
    print(f"step {step:2}: relative L1 {exact[step - 1]:.4f}, undecided between {clips:5.1f} clips")

# %%
settled = next(step for step, entropy in enumerate(undecided) if entropy < 0.1)
assert max(exact[:settled]) > 0.1 > 2 * exact[settled]  # the left arm ends where the choice is made
_, alone = one.curve("prediction", branch="cond")
assert max(alone[:25]) < 0.01 < max(alone[-10:])  # one clip: the right arm alone
_, bent = coarse.curve("prediction", branch="cond")
assert 25 < np.argmax(bent[25:]) + 25 < 45  # more detail: the right arm has its top before the end
print("the choice is made at step", settled)

# %% [markdown]
# ## Steps, and shift
#
# With fewer steps each has to change more; that says nothing of the model. What the steps add up to depends on their
# number much less. Divided by dt, runs with different numbers of steps and different shifts can be compared.

# %%
with L1Probe(hunyuan.pipe) as probe:
    for n in (10, 20, 40):
        hunyuan("a red disc moving left", steps=n, output_type="latent")
counts = probe.log

totals, largest = [], []
for run in counts.runs:
    _, change = counts.curve("prediction", branch="cond", run=run)
    totals.append(sum(change))
    largest.append(max(change))
    print(f"{len(change) + 1} steps: mean change {np.mean(change):.2f}, sum of all {totals[-1]:.1f}")
assert max(totals) < 2 * min(totals)
assert largest[0] > largest[2]

# %% tags=["nbval-ignore-output"]
draw.panels(counts, "prediction", branch="cond")

# %% [markdown]
# A shift takes from the left arm: where the model decides, the steps are now many and short. Beside it the right arm
# stands out, although it has not grown. The steps there are few and long.

# %% tags=["nbval-ignore-output"]
draw.panels(shifts, "prediction", branch="cond")

# %%
ratios = []
for run, name in zip(shifts.runs, ("shift 1", "shift 7", "shift 17"), strict=True):
    _, change = shifts.curve("prediction", branch="cond", run=run)
    first, last = np.mean(change[:3]), np.mean(change[-3:])
    ratios.append(last / first)
    print(f"{name:8} mean of the first three changes {first:.2f}, of the last three {last:.2f}")
assert ratios[0] < min(ratios[1:])

# %% [markdown]
# ## Frames and resolution
#
# The same prompt at other sizes:

# %%
from tracer.probes import spread_log

with L1Probe(hunyuan.pipe) as probe:
    for frames, side in ((1, 96), (9, 96), (17, 96), (17, 64), (17, 128)):
        hunyuan("a red disc moving left", steps=20, frames=frames, height=side, width=side, output_type="latent")
sizes = spread_log.answers(probe.log, branch="cond")
for run, found in zip(probe.log.runs, sizes, strict=True):
    (largest, top), (least, bottom) = found.largest, found.least
    print(f"{found.label:32} largest {largest:.2f} at step {top:2}, least {least:.2f} at step {bottom:2}")

    _, change = probe.log.curve("prediction", branch="cond", run=run)  # the second way: the curve itself
    assert np.allclose((largest, least), (max(change), min(change)))

# %% [markdown]
# Size matters, but do not read a law from five runs: another size is also another noise and so another video, and a
# mean over everything cannot tell the two apart. Where the choice falls can be asked of the mixture. The more frames
# and pixels say the same thing, the sooner it can be heard through the noise:


# %%
def decided_at(shape):
    """The noise level at which less than a tenth of a nat is left open; mean of three seeds."""
    mixture, found = Mixture.clips(256, shape), []
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=(1, *shape))
        for sigma, following in pairwise(np.linspace(1, 0, 51)):
            if mixture.entropy(x, sigma)[0] < 0.1:
                break
            x = x + (following - sigma) * mixture.velocity(x, sigma)
        found.append(sigma)
    return np.mean(found)


shapes = [(4, 1, 8, 8), (4, 1, 16, 16), (4, 5, 16, 16), (4, 5, 32, 32)]
decided = [decided_at(shape) for shape in shapes]
for (_, F, H, W), level in zip(shapes, decided, strict=True):
    print(f"{F} latent frame(s) of {H}×{W}: decided at sigma {level:.2f}")
assert decided == sorted(decided)

# %% [markdown]
# That is the reason why larger images and longer videos are given larger shifts: it brings the short steps to where
# the choice now falls.
#
# ## Guidance: count the forwards
#
# <details markdown="1"><summary>HunyuanVideo's pipeline takes a <code>guidance_scale</code>. Does it do
# classifier-free guidance?</summary>
#
# No. It is a number that the transformer is told, like the timestep: *embedded* guidance, distilled into the weights.
# True guidance needs `true_cfg_scale` above 1 and a negative prompt as well; if either is missing it is silently off.
# In CogVideoX's pipeline `guidance_scale` is the true one, with both branches in one batch.
#
# </details>
#
# Where the number goes, in the model's own lines: it becomes a vector, which is added to that of the timestep.
# (`trace-shapes hunyuanvideo --source HunyuanVideoConditionEmbedding.forward`; the rest of the model is told in
# [HunyuanVideo, step by step](hunyuanvideo.md).)
#
# <div class="model-source" data-checkpoint="hunyuanvideo"
#   data-function="HunyuanVideoConditionEmbedding.forward"
#   data-fold="HunyuanVideoConditionEmbedding.forward: time, prompt and guidance"></div>

# %%
cogvideox = pocket.load("pocket-cogvideox")
given = hunyuan.embeds("a red disc moving left")
positive = {name: value for name, value in given.items() if not name.startswith("negative")}
small = {"num_frames": 5, "height": 64, "width": 64, "num_inference_steps": 4, "output_type": "latent"}

with L1Probe(hunyuan.pipe) as probe, L1Probe(cogvideox.pipe) as other:
    hunyuan.pipe(**given, **small, guidance_scale=6.0)
    hunyuan.pipe(**positive, **small, true_cfg_scale=6.0)
    hunyuan.pipe(**given, **small, true_cfg_scale=6.0)
    cogvideox.pipe(**cogvideox.embeds("a red disc moving left"), **small, guidance_scale=6.0)

calls = ["guidance_scale=6", "true_cfg_scale=6, no negative prompt", "true_cfg_scale=6", "CogVideoX, guidance_scale=6"]
logs = [probe.log.filter(run=run) for run in range(3)] + [other.log]
for call, log in zip(calls, logs, strict=True):
    (told,) = log.runs.values()
    print(f"{call:37} {told['forwards_per_step']} forward(s) a step, branches {', '.join(log.names('branch')[1:])}")
assert [next(iter(log.runs.values()))["forwards_per_step"] for log in logs] == [1, 1, 2, 1]
assert ["uncond" in log.names("branch") for log in logs] == [False, False, True, True]

# %% [markdown]
# Which branch a cache should watch is a decision, then. Guidance is $u + g\,(c - u)$: whatever happens in the
# difference of the two counts $g$ times in the combined prediction. And that difference is largest in the first steps,
# when the latents say next to nothing and the prompt all there is.

# %%
gap = [relative_l1(c, u) for c, u in zip(cond, uncond, strict=True)]
print("distance between the branches:", *(f"{gap[i]:.2f}" for i in (0, 1, 2, 5, 10, 15)))
assert min(gap[:3]) > max(gap[10:])

_, into_step = walk.curve("prediction", "mean_abs", "combined")  # what the scheduler was given
assert np.allclose(into_step, [float(both.abs().mean()) for both in v], rtol=1e-4)

# %% [markdown]
# ## v-prediction moves by itself
#
# CogVideoX mixes differently, $x = a \cdot \text{video} + s \cdot \text{noise}$ with $a^2 + s^2 = 1$, and predicts
# $v = a \cdot \text{noise} - s \cdot \text{video}$. As the noise level falls this target turns from minus the video
# to the noise, even when the model has known everything from the start. Its curve has a floor: for video and noise
# of unit variance, the chord of the angle between two steps.

# %%
from tracer.probes.snr_shift import SnrShift

grid = SnrShift(1.0)
angle = np.arccos(np.sqrt(grid.alphas[grid.timesteps(25)]))
floor = 2 * np.sin(-np.diff(angle) / 2)

video, still = np.random.default_rng(0).normal(size=(2, 1_000_000))
turning = [np.cos(w) * still - np.sin(w) * video for w in angle]
assert np.allclose([np.abs(b - a).mean() / np.abs(a).mean() for a, b in pairwise(turning)], floor, rtol=0.01)
print("the floor of 25 steps:", *(f"{value:.3f}" for value in floor[[0, 6, 12, 18, 23]]))

# %% [markdown]
# There is no sigma here to shift. CogVideoX divides the signal-to-noise ratio on its own grid instead, by 3 in the 2b
# model and by 1 in the 5b. In terms of odds, noise against signal, that is a flow shift of $\sqrt 3$; near the
# noisy end, where the grid is stretched to end in pure noise, a little different:

# %%
levels = {c: SnrShift(c, zero_snr=False).levels for c in (1, 3)}
odds = {c: u / (1 - u) for c, u in levels.items()}
assert np.allclose(odds[3] / odds[1], np.sqrt(3))
stretched = {c: (u := SnrShift(c).levels[1:-1]) / (1 - u) for c in (1, 3)}
ratio = stretched[3] / stretched[1]
print(f"odds multiplied by {np.sqrt(3):.3f}; on the stretched grids by {ratio.min():.2f} to {ratio.max():.2f}")

# %% tags=["nbval-ignore-output"]
from tracer.probes import using

with L1Probe(cogvideox.pipe) as probe:
    for c in (1, 3):
        with using(cogvideox.pipe, SnrShift(c)):
            cogvideox("a red disc moving left", steps=25, output_type="latent")
draw.panels(probe.log, "prediction", branch="cond")

# %% [markdown]
# Before two models' curves are compared, then, ask what each predicts.
#
# ## Schedules and their slopes
#
# A schedule is a function from equal steps $t$ to noise levels $\sigma$, with 1 for pure noise at the first step. Its
# slope is how long the steps are there. The flow shift has the slopes $s$ at the end and $1/s$ at the beginning:

# %%
from tracer.probes import schedule
from tracer.probes.named import table

names = ["linear", "flow:7", "sech:7", "normal:1.95", "t2:2", "cauchy:2", "lq:0.1", "moviegen:1000"]
for row in table(names, 50):
    slopes = f"slopes {row.slope_noise:6.3f} and {row.slope_clean:6.2f}"
    print(f"{row.name:14} {slopes}; sigma after half of the steps {row.quarters[1]:.3f}")

h = 1e-6
for name in ("flow:7", "sech:7", "lq:0.1"):  # the second way: small differences
    s = schedule(name)
    ends = (s.value(h) - s.value(0)) / h, (s.value(1) - s.value(1 - h)) / h
    assert np.allclose(ends, s.slopes, rtol=1e-3)

# %%
from tracer.plots import schedules

schedules.compare(["linear", "flow:7", "sech:7", "t2:2", "lq:0.1"], 50)

# %% [markdown]
# Does every distribution give a schedule? Walk along its cumulative function $F$, but start a little further on:
# $\sigma = F(F^{-1}(t) + \delta)$. Any density on the whole line will do. The logistic distribution with
# $\delta = \ln s$ is the flow shift itself. The hyperbolic secant has the same slopes at both ends and lies higher in
# between. (The article asks for the same ends and a steeper middle. Such schedules exist, but this is none of them: it
# has climbed more before.) Power-law tails, like those of Cauchy's and Student's, have slope 1 at both ends, and the
# normal distribution infinity and zero.

# %%
t = np.linspace(0, 1, 101)
assert np.allclose(schedule(f"logistic:{np.log(7)}").value(t), schedule("flow:7").value(t))
flow, sech = schedule("flow:7"), schedule("sech:7")
assert np.allclose(sech.slopes, flow.slopes)
for name, one in (("flow", flow), ("secant", sech)):
    around = one.value(0.5 + 1e-6) - one.value(0.5 - 1e-6)  # the second way: a small difference
    assert np.isclose(around / 2e-6, one.derivative(0.5), rtol=1e-4)
    print(f"{name:7} at t = 1/2: {one.value(0.5):.3f}, slope {one.derivative(0.5):.2f}")

# %% [markdown]
# A sampler can only walk a schedule that takes every value between 1 and 0 once. These do not, and refuse:

# %%
from textwrap import fill

for name in ("uniform:1", "sign:1", "g:7", "h:7", "article-lq:1.57"):
    print(fill(f"{name}: {schedule(name).reason}", 78, subsequent_indent="    "))
    assert not schedule(name).valid

# %% [markdown]
# The last three are formulas of the article. *g* and *h* were found by choosing slopes and integrating, and nothing
# then sees to it that they end at 1; the slope of *g* at the end is $s^2$ and not $s$, too. The last is a
# linear-quadratic curve whose two parts meet in their slopes but not in their values. The one to use is `lq:0.1`,
# where both meet.
#
# ## Fifty steps of the real HunyuanVideo
#
# The article prints measurements of the real model: fifty steps with guidance 6, for one frame. They are mean sizes,
# $\operatorname{mean}|a|$, no differences. How much do they tell of the model?

# %%
from tracer.probes import reference

for found in reference.identities():
    assert found.holds
    print(fill(f"{found.measured:8.4f}  {found.says}", 78, subsequent_indent=" " * 10))

# %% [markdown]
# Surprisingly little. Mix noise and data of one size as the sampler must, and the column of latents follows within
# about a percent. Between the third step and the last few the predictions keep their size, and that of the guided one
# follows from the data's. What is the model's own is at both ends. For two sizes bound the change from below,
# $\bigl|\operatorname{mean}|a| - \operatorname{mean}|b|\bigr| \le \operatorname{mean}|a - b|$, and so the prediction
# of the real model changes by at least that much in its first step: there is a left arm, and it is tall.

# %% tags=["nbval-ignore-output"]
draw.panels(shifts.filter(run=0), "prediction", "mean_abs", "cond", reference=True)

# %%
for log in (shifts, reference.log()):
    _, size = log.curve("prediction", "mean_abs", "cond", run=0)
    print(f"first prediction over the median of all: {size[0] / np.median(size):.2f}")
    assert size[0] < 0.9 * np.median(size)

# %% [markdown]
# Both models begin with predictions that are too small, and that is the left arm seen from another side. As long as a
# model is undecided it predicts an average, and an average of many videos is paler than they are.
#
# ## Which shift, then?
#
# The article ends by asking whether the best shift could be determined. Here is one precise form of that question:
# where would the steps have to stand so that each changes the prediction by the same amount? Take the measured curve,
# add it up, and read the result backwards. That is a schedule, and the nearest flow shift comes with its error:

# %%
from tracer.probes import equal_change, fit_shift

even = equal_change(seeds, branch="cond")
fit = fit_shift(seeds, branch="cond")
print(f"nearest flow shift {fit.shift:.1f}; it misses by {fit.rms:.2f} in sigma, at most by {fit.largest:.2f}")

levels, _ = seeds.spans("prediction", branch="cond", run=0)  # curve: their mean over the seeds, from above
shares = np.diff(1 - even.inverse(np.array(levels)))
assert np.allclose(shares / curve, shares[0] / curve[0])  # every span gets steps in proportion to its change

# %% tags=["nbval-ignore-output"]
schedules.compare([even, fit.schedule, "linear"], 32)

# %% [markdown]
# A flow shift has one bend, and a U asks for two: short steps at both ends and long ones between. So the honest answer
# is the curve, and the number comes with a large error. Does the curve do what it promises? Walk it. And since on
# other steps the model takes a slightly other way, measure there, and do it once more:


# %%
def walked(schedule):
    """Three seeds on a schedule: their log, and how uneven the mean change is."""
    with L1Probe(hunyuan.pipe) as probe, using(hunyuan.pipe, schedule):
        for seed in range(3):
            hunyuan("a red disc moving left", steps=32, seed=seed, output_type="latent")
    return probe.log, uneven(probe.log)


def uneven(log):
    """Standard deviation over mean, of the mean change of each step."""
    change = np.array(log.curve("prediction", branch="cond", run=log.runs)[1])
    return change.std() / change.mean()


_, fitted = walked(fit.schedule)
second, once = walked(even)
_, twice = walked(equal_change(second, branch="cond"))
print(f"uneven: linear {uneven(seeds):.2f}, nearest shift {fitted:.2f},", end=" ")
print(f"equal change {once:.2f}, once more {twice:.2f}")
assert once < uneven(seeds)

# %% [markdown]
# It is an answer to the question as it was put, and not a promise of better videos. Even change is a plausible thing to
# want, no more: what a changed prediction does to the picture depends on when it happens. Nor is there one number for a
# model. The runs at other sizes from above have others:

# %%
for found in sizes:
    print(f"{found.label:32} nearest shift {found.fit.shift:.1f}, it misses by {found.fit.rms:.2f}")

# %% [markdown]
# Rules that go by the size alone are in use already: in Open-Sora the square root of area and latent frames, in FLUX an
# exponential of the number of tokens. They come from another wish, that of being equally undecided at the same step
# whatever the size, so do not expect them to agree with even change.

# %%
from tracer.probes.shifts import flux_mu, opensora_shift

print("Open-Sora:", *(f"{opensora_shift(*size):.1f}" for size in ((480, 854, 51), (720, 1280, 204))))
print("FLUX:     ", *(f"{np.exp(flux_mu(tokens)):.2f}" for tokens in (256, 4096)))
assert np.isclose(opensora_shift(480, 854, 51), np.sqrt(480 * 854 / 512**2 * 15))

# %% [markdown]
# And a cache? It looks at the same curve and draws the other conclusion: keep the steps where they are, and skip those
# at the bottom of the U. A schedule that spreads the change evenly leaves a cache nothing to skip. That is why a
# threshold found with one shift and one number of steps means little for another.
#
# ## On real weights
#
# In a terminal, `probe-l1` runs all of this over a grid, with figures and a log in Parquet:
#
# ```
# probe-l1 pocket-hunyuanvideo --steps 10,20,50 --shift 1,7,17 --cfg 6 --seeds 4 --out runs
# probe-l1 pocket-hunyuanvideo --frames 1,9,17 --height 96,128 --width 96,192 --out sizes
# probe-l1 --pipeline hunyuanvideo-community/HunyuanVideo --dtype bfloat16 --device cuda --offload model \
#          --steps 50 --shift 1,7 --frames 61 --height 544 --width 960 --cfg 6 --out real
# ```
#
# It says first how much memory that will need. A sweep that was stopped goes on when its command is typed again. In
# Python it is the two lines from above, around any pipeline of diffusers:
#
# ```python
# with L1Probe(pipe) as probe:
#     pipe("a red ball rolls to the left over green grass", num_inference_steps=50)
# probe.log.to_parquet("log.parquet")
# ```
#
# ## Where to read on
#
# - nishiha, [HunyuanvideoのL1推移](https://qiita.com/nishiha/items/908e3950d941a06a10cc), whose questions these are and
#   whose fifty rows the project keeps as reference data. Thank you for publishing them.
# - Liu et al., [Timestep Embedding Tells: It's Time to Cache for Video Diffusion Model](https://arxiv.org/abs/2411.19108)
#   (TeaCache): relative L1 between consecutive steps, and which tensor foretells it.
# - Ma et al., [MagCache](https://arxiv.org/abs/2506.09045): the ratio of the residuals' lengths instead of a distance.
# - FirstBlockCache, of ParaAttention and in diffusers' `hooks/first_block_cache.py`: the distance to the last step
#   that was computed.
# - Polyak et al., [Movie Gen](https://arxiv.org/abs/2410.13720): the linear-quadratic schedule.
# - Esser et al., [Scaling Rectified Flow Transformers](https://arxiv.org/abs/2403.03206) (Stable Diffusion 3): the flow
#   shift, and why larger images need more of it.
