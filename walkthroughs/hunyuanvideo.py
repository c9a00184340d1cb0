# %% [markdown]
# # HunyuanVideo, step by step
#
# Words and video are different things. HunyuanVideo gives each of them weights of its own for twenty blocks, and one
# set for both in the forty after. How do the two meet, where does the guidance scale go in, and what takes the time
# when 129 frames of 720×1280 are made?
#
# Nothing on this page is typed in by hand. The next cell runs the real `HunyuanVideoTransformer3DModel` at its
# published size, on tensors that have shapes and no values: no weights, no GPU, a few seconds. Where a shape does not
# answer the question, a tiny copy of the same class does, with random weights.

# %%
import tracer

trace = tracer.trace("hunyuanvideo", frames=129, height=720, width=1280)
print("diffusers", trace.header.versions["diffusers"], "· torch", trace.header.versions["torch"])

# %% [markdown]
# ## The whole walk
#
# One row for each step, in the order of the run; every shape as a *formula* and as the *number* that the run produced.
# Click a name for the reason. The letters are those of [the CogVideoX page](cogvideox.md) and stand in the
# [glossary](glossary.md#letters); the frame rule is the same, too: 129 frames are 33 latent frames.

# %%
trace

# %% [markdown]
# The same walk in the model's own words: its forward, with the shape that each line made in the margin. In a terminal,
# `trace-shapes hunyuanvideo --source HunyuanVideoTransformer3DModel.forward` prints it.
#
# <div class="model-source" data-checkpoint="hunyuanvideo"
#   data-function="HunyuanVideoTransformer3DModel.forward"
#   data-fold="HunyuanVideoTransformer3DModel.forward, line by line"></div>
#
# ## How long is the sequence, and who comes first?
#
# <details markdown="1"><summary>CogVideoX puts the text in front. Does it matter where it stands?</summary>
#
# Not to attention: it sees a set, and text gets no angle. It matters to whoever cuts the sequence apart again. Here the
# video comes first, then the text, so the text is the *last* $L$ rows.
#
# $$S + L = F \cdot \frac{H}{2} \cdot \frac{W}{2} + L$$
#
# </details>

# %%
joins = trace.find("transformer_blocks.*.attn", "cat")
for join in joins:
    first, second = join.inputs.values()
    print(f"{next(iter(join.outputs)):6} {first.sizes[1]:7,} video tokens, then {second.sizes[1]} of text")

F, H, W, L = (129 - 1) // 4 + 1, 720 // 8, 1280 // 8, 256
n = joins[0].output.shape[1]
assert n.size == F * (H // 2) * (W // 2) + L  # the second way: plain arithmetic
assert all([spec.sizes[1] for spec in join.inputs.values()] == [n.size - L, L] for join in joins)
print(n.formula, "=", n.size)

# %% [markdown]
# ## The prompt comes in twice
#
# Llama gives a vector for each of 256 tokens, and CLIP one vector of 768 numbers for the whole prompt. The first goes
# along as tokens. The second is added to the timestep and modulates every block. ([From prompt to
# pixels](pipelines.md) shows how both are made.)
#
# Llama reads from left to right: no token has heard what comes after it. So two small blocks, the *token refiner*, let
# the text look both ways before it meets the video. They are conditioned as well, on the timestep and on a mean of the
# text.
#
# <details markdown="1"><summary>The prompt has 12 tokens and 244 of padding. The mean of what?</summary>
#
# Of the 12. The mask goes into the sum and into the count, and into the refiner's attention too.
#
# </details>
#
# The real refiner, small and with random weights. Its padding is made absurdly large: whatever leaks would be seen.

# %%
import torch
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoTokenRefiner

torch.manual_seed(0)
refiner = HunyuanVideoTokenRefiner(in_channels=8, num_attention_heads=2, attention_head_dim=16, num_layers=2).eval()
text, mask = torch.randn(1, 10, 8), torch.tensor([[1] * 6 + [0] * 4])
padded = text.clone()
padded[:, 6:] = 1000.0

means = []
hook = refiner.time_text_embed.register_forward_pre_hook(lambda module, args: means.append(args[1]))
with torch.no_grad():
    kept, other, blind = (refiner(x, torch.ones(1), m) for x, m in ((text, mask), (padded, mask), (padded, None)))
hook.remove()

assert torch.allclose(means[0], text[:, :6].mean(dim=1))
assert torch.equal(means[0], means[1])
assert torch.allclose(kept[:, :6], other[:, :6])
assert not torch.allclose(kept[:, :6], blind[:, :6])
print("with the mask the padding changes no word; without it, it does")

# %% [markdown]
# <div class="model-source" data-checkpoint="hunyuanvideo"
#   data-function="HunyuanVideoTokenRefiner.forward"
#   data-fold="HunyuanVideoTokenRefiner.forward, with shapes"></div>
#
# The mask travels on into all sixty blocks: `True` for the video, and for as many text tokens as the prompt has.
# Padding is hidden, but it is computed all the same: a short prompt saves nothing.

# %%
hidden = trace.find("", "unsqueeze")[-1]
print("mask", hidden.output, "for queries", joins[0].output)
assert hidden.output.sizes == (1, 1, 1, n.size)

costs = trace.stage_costs()
refined, whole = costs["token-refiner"], trace.root.cost
print(f"the refiner: {refined.flops.size / whole.flops.size:.4%} of the work, ", end="")
print(f"{refined.params.size / whole.params.size:.1%} of the parameters")

D = trace.values["D"]
blocks = 2 * (14 * D * D + 15 * D)  # queries, keys, values, out; 4 times wide and back; two gates; norms, biases
assert refined.params.size == blocks + (256 * D + D) + (D * D + D) + (4096 * D + D) + (D * D + D)  # time, then mean

# %% [markdown]
# ## One vector for everything: time, prompt and guidance
#
# Timestep, guidance scale and pooled text are each brought to $D$ numbers, and added up:

# %%
by_hand = {"timestep": 256, "text": 768, "guidance": 256}  # numbers that go in; then two linear layers
for what, width in by_hand.items():
    call = trace.one(f"time_text_embed.{what}_embedder")
    print(f"{what:9} {call.output}  {call.cost.params.size:,} parameters")
    assert call.cost.params.size == (width * D + D) + (D * D + D)

# %% [markdown]
# *Guidance* as an input needs a word. Classic classifier-free guidance asks the model twice in every step. With the
# prompt it answers $c$, with an empty or a negative one $u$; then the scale $g$ says how far to go in the direction in
# which the two differ: $u + g\,(c - u)$. HunyuanVideo was distilled to give that answer in one pass, and is told the
# scale like a timestep.
#
# <details markdown="1"><summary>guidance_scale=6 and true_cfg_scale=6: how many passes a step does each take?</summary>
#
# `guidance_scale=6` takes one: it is only embedded, times 1000. `true_cfg_scale=6` alone takes one too, and changes
# nothing, without a message. Two passes are made only if it is above 1 *and* a negative prompt is there
# (diffusers' `pipeline_hunyuan_video.py`, lines 581-584; the factor 1000 is in line 659).
#
# </details>
#
# A tiny pipeline, counted with a hook:

# %%
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoPipeline, HunyuanVideoTransformer3DModel

SMALL = {
    "num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "num_single_layers": 1,
    "num_refiner_layers": 1, "text_embed_dim": 8, "pooled_projection_dim": 8, "rope_axes_dim": (4, 6, 6),
}  # fmt: skip
torch.manual_seed(0)
tiny = HunyuanVideoTransformer3DModel(**SMALL).eval()
parts = dict.fromkeys(("vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"))
pipe = HunyuanVideoPipeline(transformer=tiny, scheduler=FlowMatchEulerDiscreteScheduler(), **parts)
pipe.set_progress_bar_config(disable=True)


def prompt_of(seed, prefix=""):
    draw = torch.Generator().manual_seed(seed)
    made = {"prompt_embeds": torch.randn(1, 10, 8, generator=draw), "prompt_attention_mask": torch.ones(1, 10)}
    made["pooled_prompt_embeds"] = torch.randn(1, 8, generator=draw)
    return {prefix + name: value for name, value in made.items()}


# %%
def watched(**given):
    """The scales that the transformer was told, pass by pass, and the latents of four steps."""
    told = []
    hook = tiny.register_forward_pre_hook(lambda m, a, kw: told.append(float(kw["guidance"])), with_kwargs=True)
    out = pipe(**given, height=32, width=32, num_frames=5, num_inference_steps=4, output_type="latent",
               generator=torch.Generator().manual_seed(1)).frames  # fmt: skip
    hook.remove()
    return told, out


prompt, negative = prompt_of(1), prompt_of(2, "negative_")
calls = {
    "guidance_scale=6": prompt,
    "true_cfg_scale=6": prompt | {"true_cfg_scale": 6.0},
    "true_cfg_scale=6, negative prompt": prompt | negative | {"true_cfg_scale": 6.0},
}
seen = {name: watched(guidance_scale=6.0, **given) for name, given in calls.items()}
for name, (told, _) in seen.items():
    print(f"{name:34} {len(told)} passes in 4 steps, told {told[0]:g}")

# %% [markdown]
# A second way to count, with the recorder around the pipeline, and what the videos say: without a negative prompt the
# true scale has no effect at all.

# %%
passes = []
for given in calls.values():
    with tracer.record_pipeline(pipe) as rec:
        pipe(**given, height=32, width=32, num_frames=5, num_inference_steps=4, output_type="latent")
    passes.append(sum(s.repeat * len(s.find("transformer")) for s in rec.trace.find(name="denoising step")))

assert passes == [len(told) for told, _ in seen.values()] == [4, 4, 8]
assert all(scale == 6.0 * 1000 for told, _ in seen.values() for scale in told)
plain, silent, guided = (out for _, out in seen.values())
assert torch.equal(plain, silent)
assert not torch.allclose(plain, guided)
print("passes", passes, "· true_cfg_scale without a negative prompt: the same latents, bit for bit")

# %% [markdown]
# Both can be on at once: the last call was told 6000 in *both* passes, and then guided a second time.
#
# ## Two streams, then one
#
# A *dual-stream* block has everything twice: norms, projections, feed-forward, one set for video and one for text. The
# two meet in one place, attention. A *single-stream* block has one set for the joined sequence, and its feed-forward
# runs beside attention instead of after it, from the same input.
#
# <details markdown="1"><summary>Which kind of block does more work for a video token?</summary>
#
# Neither. The dual block takes a token through $12 D^2$ weights: $3 D^2$ for queries, keys and values, $D^2$ for the
# way out of attention, $8 D^2$ for the feed-forward. The single block has the same, with both ways out in one matrix
# of $5 D^2$. But the dual block holds them once for each stream.
#
# </details>

# %%
d = trace.values["d"]
stream = 18 * D * D + 15 * D + 2 * d  # 6D modulation, q k v, out, 4D and back; their biases; two norms on heads
single = 15 * D * D + 11 * D + 2 * d  # 3D modulation, q k v, 4D, and 5D to D

kinds = {"dual": "transformer_blocks.*", "single": "single_transformer_blocks.*"}
found = {kind: trace.one(path, "*Block") for kind, path in kinds.items()}
for kind, block in found.items():
    work = block.cost.flops.size
    print(f"{kind:6} ×{block.repeat}  {block.cost.params.size:11,} parameters, {work / 1e12:.0f} TFLOP")
assert [b.cost.params.size for b in found.values()] == [2 * stream, single]

modulation = {"dual": 2 * 2 * 6 * D * D, "single": 2 * 3 * D * D}  # a multiply-add is two; one row for each sample
matmuls = {kind: block.cost.flops.size - modulation[kind] for kind, block in found.items()}
assert matmuls["dual"] == matmuls["single"] == 2 * 12 * D * D * n.size + 4 * D * n.size**2

# %% [markdown]
# Which of a dual block's weights are the text's? Those whose names say so. At the published size, on no memory:

# %%
from diffusers.models.transformers import transformer_hunyuan_video as source

with torch.device("meta"):
    dual = source.HunyuanVideoTransformerBlock(24, 128, mlp_ratio=4.0)
    joint = source.HunyuanVideoSingleTransformerBlock(24, 128, mlp_ratio=4.0)

of_text = sum(p.numel() for name, p in dual.named_parameters() if "context" in name or "add" in name)
everything = sum(p.numel() for p in dual.parameters())
assert of_text == everything - of_text == stream  # half and half
assert sum(p.numel() for p in joint.parameters()) == single
print(f"dual: {of_text:,} for the text, as many for the video; single: {single:,} for both")

# %% [markdown]
# So the text's half of twenty blocks is there for 256 rows of 119,056. That is cheap in work and dear in memory:

# %%
share = found["dual"].repeat * of_text / whole.params.size
print(f"{share:.0%} of all parameters see {L / n.size:.1%} of the rows")
assert (L, n.size) == (256, 119_056)
assert sum(b.repeat * b.cost.params.size for b in found.values()) == 20 * 2 * stream + 40 * single

# %% [markdown]
# ## Rotation: the video turns, the text does not
#
# The frame has 16 of a head's 128 numbers, row and column 56 each, with a base of 256. In a dual block the queries and
# keys of the video are turned *before* the text's are joined on; in a single block the text is cut off, the video
# turned, the text joined on again. Two ways to write the same thing:

# %%
for kind, path in kinds.items():
    query, key = trace.find(f"{path}.attn", "apply_rotary_emb")
    print(f"{kind:6} query {query.output} at line {query.source.line}, key at line {key.source.line}")
    assert query.output.sizes[1] == key.output.sizes[1] == n.size - L

tables = trace.one("rope").outputs
assert all(spec.sizes == (n.size - L, d) for spec in tables.values())
assert sum(trace.header.config["rope_axes_dim"]) == d

# %% [markdown]
# <div class="model-source" data-checkpoint="hunyuanvideo"
#   data-function="HunyuanVideoAttnProcessor2_0.__call__"
#   data-fold="The attention of both kinds of blocks, with shapes"></div>
#
# Shapes say how many rows are turned. Which ones? Take the queries just before attention, with the model's tables and
# with tables that turn nothing, and look where they differ.
#
# <details markdown="1"><summary>A grid of 2×3×4 tokens and 10 of text: 24 rows should differ. How many do?</summary>
#
# One less, 23. The first token stands at frame 0, row 0, column 0, and an angle of zero turns nothing.
#
# </details>

# %%
from unittest import mock


def queries(block, tables):
    """Queries as attention gets them, and the rows that they have."""
    caught, real = [], source.dispatch_attention_fn
    video, text = (torch.randn(1, rows, 32, generator=torch.Generator().manual_seed(rows)) for rows in (24, 10))
    catch = lambda q, *rest, **more: caught.append(q) or real(q, *rest, **more)  # noqa: E731
    with mock.patch.object(source, "dispatch_attention_fn", catch), torch.no_grad():
        block(video, text, torch.zeros(1, 32), None, tables)
    return caught[0]


cos, sin = tiny.rope(torch.empty(1, 16, 2, 6, 8))  # 2 frames, and patches of 2×2: 3 rows, 4 columns
for kind, block in (("dual", tiny.transformer_blocks[0]), ("single", tiny.single_transformer_blocks[0])):
    moved = (queries(block, (cos, sin)) - queries(block, (torch.ones_like(cos), torch.zeros_like(sin)))).abs()
    rows = moved.amax(dim=(0, 2, 3)).nonzero().flatten().tolist()
    assert rows == list(range(1, 24))
    print(f"{kind}: rows {rows[0]} to {rows[-1]} of {moved.shape[1]} are turned")

# %% [markdown]
# What the angles are for, and what other models do instead, is the subject of [Rotary positions](rope.md).
#
# ## What it costs, and where
#
# One forward, stage by stage. Attention's work grows with the square of the sequence, everything else in proportion:

# %%
print(f"{'stage':16} {'work':>7} {'parameters':>11}")
for stage in ("attention", "feed-forward", "qkv", "modulation", "token-refiner", "patch-embed"):
    cost = costs[stage]
    print(f"{stage:16} {cost.flops.size / whole.flops.size:7.2%} {cost.params.size / whole.params.size:11.2%}")
print(f"all: {whole.flops.size / 1e15:.1f} PFLOP, {whole.params.size / 1e9:.1f} billion parameters")

assert sum(c.flops.size for c in costs.values()) == whole.flops.size
assert sum(c.params.size for c in costs.values()) == whole.params.size == trace.header.params
square = 60 * 4 * D * n.size**2  # queries times keys and weights times values, in 60 blocks
assert costs["attention"].flops.size == square + 20 * 2 * D * D * n.size  # and the dual blocks' way out

# %% [markdown]
# Half of the parameters are feed-forward and do a tenth of the work. A quarter is modulation, which has one row to
# work on, the conditioning. Attention's square has no parameters at all and takes most of the work. Is that so for
# short videos, too?
#
# <details markdown="1"><summary>From how many tokens on does the square weigh more than all the matrices?</summary>
#
# A block does $4 D n^2$ for the square and $24 D^2 n$ for its matrices. They are equal at $n = 6D$, 18,432 tokens here:
# a little more than five latent frames of 720×1280 and their text. With six, which are 21 frames, the square is ahead.
#
# </details>

# %%
print(f"{'frames':>6} {'tokens':>8} {'PFLOP':>6} {'square':>7}")
for frames in (1, 17, 21, 61, 129, 257):
    latent = (frames - 1) // 4 + 1
    tokens = latent * (H // 2) * (W // 2) + L
    flops = whole.flops.formula.evaluate({**trace.values, "F": latent})
    part = 60 * 4 * D * tokens**2 / flops
    print(f"{frames:6} {tokens:8,} {float(flops) / 1e15:6.2f} {float(part):7.1%}")
    assert flops == tracer.plan_frames("hunyuanvideo", frames).flops  # the second way: a plan of its own trace
    assert (part > 0.5) == (tokens > 6 * D)

# %% [markdown]
# And memory? The residual stream is one vector of $D$ numbers for each token, two bytes a number. Many times that is
# written in every block, most of it to be read once and dropped:

# %%
residual = 2 * n.size * D
written = whole.bytes.size
print(f"weights {2 * whole.params.size / 1e9:.1f} GB, residual stream {residual / 1e9:.2f} GB")
print(f"written in one forward {written / 1e12:.2f} TB: {written / residual / 60:.0f} residual streams a block")
turning = sum(spec.nbytes.size for spec in tables.values())
print(f"rotary tables {turning / 1e6:.0f} MB, made anew in every forward")

assert turning == 2 * 4 * (n.size - L) * d  # cosines and sines in float32
video, text = found["dual"].outputs.values()
assert video.nbytes.size + text.nbytes.size == residual

# %% [markdown]
# ## Back to latents
#
# The text has done its work: the last block still computes its rows, and nothing reads them. Each video token becomes
# the $4 \cdot 16$ numbers of its patch, and the patches go back to their places.

# %%
for call in (trace.one("norm_out"), trace.one("proj_out"), *trace.find("", "reshape"), trace.find("", "flatten")[-1]):
    print(f"{call.path or call.name:9} {call.output}")

assert trace.one("norm_out").output.sizes[1] == n.size - L
assert trace.root.output.sizes == trace.root.inputs["hidden_states"].sizes

# %% [markdown]
# ## The family
#
# A picture can be put in front of this model in more than one way, and later models keep parts of it:


# %%
def row(name):
    t = tracer.trace(name, formulas=False)
    dual, single = (sum(block.repeat for block in t.find(path, "*Block")) for path in kinds.values())
    video, text = (spec.sizes[1] for spec in t.one(kinds["dual"], "*Block").outputs.values())
    print(f"{name:25} {t.values['C']:8} {dual:4} {single:6} {video:8,} {text:5,} {t.header.params / 1e9:6.2f} B")
    return t


print(f"{'':25} channels dual single    video  text parameters")
names = ["hunyuanvideo", "hunyuanvideo-i2v-33ch", "hunyuanvideo-i2v", "framepack", "hunyuanvideo1.5-480p-i2v"]
family = {name: row(name) for name in names}

# %% [markdown]
# **HunyuanVideo-I2V, 33 channels.** The picture goes in beside the noise: 16 channels of noise, 16 of the picture, 1
# that says which frames are given. This one has no guidance embedding, so `guidance_scale` is dropped in silence.
#
# **HunyuanVideo-I2V, token replace.** Nothing is added. The tokens of the first latent frame *are* the picture, and are
# modulated as if at timestep 0, where nothing is noisy, while all others are told the real one.
#
# **FramePack** makes a video in sections. Its window is 9 latent frames, and in front of it stands the history, in
# patches that grow with its age. The picture comes in a second time, as 729 tokens before the text.
#
# **HunyuanVideo 1.5** has dual blocks only, narrower and more of them, and no 2×2 patches: its autoencoder shrinks rows
# and columns by 16 instead. Its text is prompt, glyphs and picture in one row. How much of each claim is in the traces:

# %%
t2v, concat, replace, framepack, newer = family.values()
guidance = costs["guidance-embedding"].params.size
assert concat.values["C"] == 16 + 16 + 1
assert t2v.header.params - concat.header.params == guidance - (33 - 16) * 4 * D  # dropped, less the wider patches
assert "guidance-embedding" not in concat.stages()
assert replace.header.params == t2v.header.params

chunks = {name: len(family[name].find("transformer_blocks.*.norm1", "chunk")) for name in names[::2]}
assert chunks == {names[0]: 1, names[2]: 2, names[4]: 1}  # six vectors for the video; six more for its first frame

window, history, picture = (framepack.values[letter] for letter in "SPI")
assert framepack.one(kinds["dual"], "*Block").output.sizes[1] == window + history
print(f"FramePack: {history:,} tokens of history + {window:,} of the window, {picture} of the picture")

F15, H15, W15 = ((121 - 1) // 4 + 1, 480 // 16, 848 // 16)
assert newer.values["S"] == F15 * H15 * W15
assert newer.values["C"] == 32 + 32 + 1
assert newer.values["D"] < t2v.values["D"]
assert not newer.find("single_transformer_blocks.*")

# %% [markdown]
# Hunyuan-GameCraft is the 33-channel model, steered by camera poses; its odd frame numbers are told in
# [Frames](frames.md#gamecraft-33-34-37-66-69). `trace-shapes hunyuanvideo --diff hunyuanvideo-i2v` prints what differs
# between two of them.
#
# ## On real weights
#
# Shapes and costs need no weights. The counting of passes works around the real pipeline just as well, under offload
# too:
#
# ```python
# import torch, tracer
# from diffusers import HunyuanVideoPipeline
#
# pipe = HunyuanVideoPipeline.from_pretrained("hunyuanvideo-community/HunyuanVideo", torch_dtype=torch.bfloat16)
# pipe.enable_model_cpu_offload()
# with tracer.record_pipeline(pipe) as rec:
#     pipe("a red ball rolls over green grass", num_frames=61, height=544, width=960, num_inference_steps=4)
# print(rec.trace)
# ```
#
# ## Where to read on
#
# - Kong et al., [HunyuanVideo](https://arxiv.org/abs/2412.03603): the model, its autoencoder and its training.
# - Esser et al., [Scaling Rectified Flow Transformers](https://arxiv.org/abs/2403.03206) (Stable Diffusion 3): where
#   blocks with weights for each stream come from.
# - Ho and Salimans, [Classifier-Free Diffusion Guidance](https://arxiv.org/abs/2207.12598), and Meng et al., [On
#   Distillation of Guided Diffusion Models](https://arxiv.org/abs/2210.03142): two passes, and one that is told the
#   scale.
# - Zhang et al., [FramePack](https://arxiv.org/abs/2504.12626): a history of fixed length for videos of any.
# - On this site: [L1 and schedules](l1.md) runs a small HunyuanVideo that was trained, and measures what each step
#   changes. The page of [hunyuanvideo](models/hunyuanvideo.md) has every call of it to explore. In the terminal,
#   `trace-shapes hunyuanvideo --notes` prints the reasons.
