# %% [markdown]
# # From the prompt to the pixels
#
# The transformer is one station of a longer way. Before it stand text encoders, and for a given picture an image
# encoder; after it the scheduler, many times over, and at the end the decoder. This page walks the whole way, with
# the pipeline's own `__call__`: every model of it is there at its published size, on tensors without values.

# %%
import tracer

whole = tracer.trace_pipeline("hunyuanvideo")
whole

# %% [markdown]
# Two denoising steps were run. What they do is compared call for call; the second is shown in one line, with what it
# does otherwise. Real runs take 50.
#
# ## The prompt becomes two tensors
#
# HunyuanVideo reads the prompt twice. Llama gives a vector for each token, CLIP one vector for all of them. The prompt
# is put into a template, which is cut off again behind the encoder:
#
# <details markdown="1"><summary>351 tokens go into Llama, 256 reach the transformer. From which layer?</summary>
#
# The last two are left out: of the 33 hidden states (the embedding and 32 layers) the pipeline takes the third from
# the end. The first 95 positions are the template, the same for every prompt.
#
# </details>

# %%
llama = whole.one("text_encoder")
states = [spec for key, spec in llama.outputs.items() if key.startswith("hidden_states")]
print(len(states), "hidden states, each", states[0])

encoded = whole.one(name="encode_prompt")
for name, spec in encoded.outputs.items():
    print(f"{name:22} {spec}")

assert encoded.outputs["prompt_embeds"].sizes[1] == llama.output.sizes[1] - 95 == 256

# %% [markdown]
# ## One pass or two
#
# Classic guidance asks the transformer twice in every step, with and without the prompt. CogVideoX does so in one call
# of twice the batch. HunyuanVideo was distilled to take the guidance scale as an input, and answers in one.

# %%
cogvideox = tracer.trace_pipeline("cogvideox")
for run in (cogvideox, whole):
    step = run.find(name="denoising step")[0]
    calls = step.find("transformer")
    print(run.header.checkpoint, [tuple(c.inputs["hidden_states"].sizes) for c in calls])

# %% [markdown]
# ## The decoder sees a few frames at a time
#
# A video of 49 frames at 480×720 does not go through the decoder in one piece. CogVideoX decodes two latent frames at
# a time (the first time three) and hands what the convolutions need of the frames before to the next chunk:

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

# %%
steps = [c for c in cogvideox.root.children if c.kind == "step"]
one = steps[0].cost.flops.size
rest = cogvideox.root.cost.flops.size - sum(c.all_cost.flops.size for c in steps)
print(f"one step {one / 1e12:.0f} TFLOP, everything else {rest / 1e12:.0f} TFLOP")
print(f"50 steps: {50 * one / (50 * one + rest):.1%} of the work is denoising")

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

with tracer.record_pipeline(pipe) as rec:
    pipe(
        prompt_embeds=prompt, negative_prompt_embeds=prompt, height=32, width=32, num_frames=9,
        num_inference_steps=4, output_type="latent",
    )  # fmt: skip
rec.trace

# %% [markdown]
# Afterwards the pipeline is as it was before: no hook is left, also where the run raised an error.
#
# **Read on.** `trace-shapes wan --pipeline` prints the same for other models, `--pipeline --stage vae-decode` the
# decoder block by block. What a frame count does on this way is told in [Frames](frames.md).
