# %% [markdown]
# # From prompt to pixels
#
# The transformer is one station of a longer way. Before it stand text encoders, and for a given picture an image
# encoder; after it the scheduler, many times over, and at the end the decoder. What does each of them hand to the
# next, and where is the work?
#
# This page walks the whole way, with the pipeline's own `__call__`: every model of it is there at its published size,
# on tensors without values.

# %%
import diffusers

import tracer

whole = tracer.trace_pipeline("hunyuanvideo")
assert whole.header.versions["diffusers"] == diffusers.__version__
print("diffusers", whole.header.versions["diffusers"], "· torch", whole.header.versions["torch"])

# %% [markdown]
# Two denoising steps were run. What they do is compared call for call; the second is shown in one line, with what it
# does otherwise. Real runs take 50.

# %%
first, second = whole.find(name="denoising step")
assert first.cost.flops == second.cost.flops  # as much work in one step as in the other
whole

# %% [markdown]
# ## The prompt becomes two tensors
#
# HunyuanVideo reads the prompt twice. Llama gives a vector for each token, CLIP one vector for all of them. The prompt
# is put into a template, which is cut off again behind the encoder:
#
# <details markdown="1"><summary>351 tokens go into Llama, 256 reach the transformer. From which layer?</summary>
#
# The last two are left out: of the 33 hidden states (the embedding and 32 layers) the pipeline takes the third from
# the end (diffusers' `pipeline_hunyuan_video.py`, line 249). The first 95 positions are the template, the same for
# every prompt.
#
# </details>

# %%
llama = whole.one("text_encoder")
states = [spec for key, spec in llama.outputs.items() if key.startswith("hidden_states")]
print(len(states), "hidden states, each", states[0])

encoded = whole.one(name="encode_prompt")
for name, spec in encoded.outputs.items():
    print(f"{name:22} {spec}")

layers = sum(call.repeat for call in llama.find(name="LlamaDecoderLayer"))
assert len(states) == layers + 1
assert encoded.outputs["prompt_embeds"].sizes[1] == llama.output.sizes[1] - 95 == 256

# %% [markdown]
# ## One pass or two
#
# *Guidance* goes further in the direction in which the prompt changes a prediction. Classic guidance asks the
# transformer twice in every step, with and without the prompt. CogVideoX does so in one call of twice the batch.
# HunyuanVideo was distilled to take the guidance scale as an input, and answers in one.
#
# <details markdown="1"><summary>How can the inputs of the transformer tell the two kinds apart?</summary>
#
# By the batch, and by a name: where the scale is an input, `guidance` is among them. The scale of classic guidance
# never reaches the transformer; it weighs the two predictions afterwards.
#
# </details>

# %%
cogvideox = tracer.trace_pipeline("cogvideox")
for run in (cogvideox, whole):
    step = run.find(name="denoising step")[0]
    calls = step.find("transformer")
    print(run.header.checkpoint, [tuple(c.inputs["hidden_states"].sizes) for c in calls])

    (call,) = calls
    distilled = "guidance" in call.inputs
    assert call.inputs["hidden_states"].sizes[0] == (1 if distilled else 2)
    assert distilled != any(c.stage == "guidance" for c in step.children)  # the weighing, in the pipeline's own code

# %% [markdown]
# The step itself, its scheduler and what a prediction is are taken apart in
# [CogVideoX, step by step](cogvideox.md#one-step-of-the-loop); [HunyuanVideo, step by
# step](hunyuanvideo.md#one-vector-for-everything-time-prompt-and-guidance) counts the passes of its two scales.
#
# ## The decoder sees a few frames at a time
#
# A video of 49 frames at 480×720 does not go through the decoder in one piece. CogVideoX decodes two latent frames at
# a time and hands what the convolutions need of the frames before to the next chunk.
#
# <details markdown="1"><summary>49 frames are 13 latent frames, and 13 is odd. What happens to the odd one?</summary>
#
# The first chunk takes three. Its first latent frame stands for a single frame of the video, so three give nine where
# two give eight.
#
# </details>

# %%
chunks = cogvideox.find("vae", "chunk", "step")
for chunk in chunks:
    decoder = chunk.one("vae.decoder")
    latents, frames = (spec.sizes[2] for spec in (next(iter(decoder.inputs.values())), decoder.output))
    print(f"{chunk.repeat} × {latents} latent frames → {frames} frames")

decoded = sum(c.repeat * c.one("vae.decoder").output.sizes[2] for c in chunks)
assert decoded == 49 == cogvideox.root.output.sizes[1]

# %% [markdown]
# ## Where the work is
#
# Two steps of fifty are in this trace. With all of them the transformer is nearly everything:
#
# <details markdown="1"><summary>And of the rest, which takes more: the text encoder or the decoder?</summary>
#
# The decoder, by far. T5 is not much smaller than the transformer, but it sees 226 tokens; the decoder works on every
# pixel of the video.
#
# </details>

# %%
steps = [c for c in cogvideox.root.children if c.kind == "step"]
one = steps[0].cost.flops.size
rest = cogvideox.root.cost.flops.size - sum(c.all_cost.flops.size for c in steps)
print(f"one step {one / 1e12:.0f} TFLOP, everything else {rest / 1e12:.0f} TFLOP")
print(f"50 steps: {50 * one / (50 * one + rest):.1%} of the work is denoising")

costs = cogvideox.stage_costs()
text, decoder = (costs[stage].flops.size for stage in ("text-encoder", "vae-decode"))
print(f"text encoder {text / 1e12:.0f} TFLOP, decoder {decoder / 1e12:.0f} TFLOP")
t5, transformer = (cogvideox.find(path)[0].cost.params.size for path in ("text_encoder", "transformer"))
print(f"text encoder {t5:,} parameters, transformer {transformer:,}")
assert text + decoder == rest
alone = tracer.trace("cogvideox-5b", formulas=False)  # the second way: the transformer without its pipeline
assert (one, transformer) == (alone.root.cost.flops.size, alone.header.params)

# %% [markdown]
# ## Your own pipeline
#
# The same recorder goes around any diffusers pipeline with a transformer or a unet, with real weights, on a GPU, under
# offload or with a cache switched on. Here a tiny one with random weights:

# %%
import torch
from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline, CogVideoXTransformer3DModel

torch.manual_seed(0)
tiny = CogVideoXTransformer3DModel(
    num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, num_layers=2, text_embed_dim=8
)
pipe = CogVideoXPipeline(None, None, None, tiny, CogVideoXDDIMScheduler())
pipe.set_progress_bar_config(disable=True)
prompt = torch.randn(1, 226, 8)
size = {"height": 32, "width": 32, "num_frames": 9, "num_inference_steps": 4, "output_type": "latent"}

with tracer.record_pipeline(pipe) as rec:
    latents = pipe(prompt_embeds=prompt, negative_prompt_embeds=prompt, **size).frames

assert sum(c.repeat for c in rec.trace.find(name="denoising step")) == 4
assert rec.trace.root.output.sizes == tuple(latents.shape)
rec.trace

# %% [markdown]
# Afterwards the pipeline is as it was before: no hook is left, also where the run raised an error.
#
# ## Where to read on
#
# The papers: [classifier-free guidance](https://arxiv.org/abs/2207.12598), and
# [guidance as an input](https://arxiv.org/abs/2210.03142); [CogVideoX](https://arxiv.org/abs/2408.06072) and
# [HunyuanVideo](https://arxiv.org/abs/2412.03603), with their encoders and decoders. What a frame count does on this
# way is told in [Frames](frames.md), the denoising loop in [CogVideoX, step by step](cogvideox.md). Words that are new
# to you are in the [glossary](glossary.md).
#
# In the terminal, `trace-shapes wan --pipeline` prints the same for other models, and `--pipeline --stage vae-decode`
# the decoder block by block.
