"""The walk-through of CogVideoX in Chinese: its claims, its open questions, and how each is checked.

Measured on the traces of the published checkpoints, and on diffusers' own classes made small. Places are those of
diffusers 0.42.1.
"""

from __future__ import annotations

from functools import partial

from stored import stored

from claims._cogvideox_measures import (
    about_frames,
    after_blocks,
    axes,
    call,
    first_timesteps,
    handed_to_block,
    hands_back,
    has_offset,
    in_attention,
    in_block,
    is_turned,
    linears,
    named_axes,
    noise,
    order_matters,
    order_of_tokens,
    parameters,
    runs,
    stepped,
    table_over_text,
    takes,
    takes_a_time_for_each_frame,
    text_rows_first,
    text_states,
    time_at_zero,
    turned_and_all,
)
from claims.claim import UNSAID, Article, Claim, Part

ARTICLE = Article(
    key="cogvideox",
    title="CogVideoX模型walk through",
    author=None,
    url=None,
    about="Notes in Chinese on how shapes flow through diffusers' CogVideoX: transformer, block, pipeline, scheduler, "
    "with open questions marked as TODO. Places are those of diffusers 0.42.1.",
    right="It set down the order of a block, that text stands before video, and that only the video is turned. The "
    "shape flow of this project began with it, and its TODOs asked what a reader needs to know next.",
)

FLOW, BLOCK = "Shape flow: transformers", "Block"
MODEL, FORWARD, PIPE, QA = "Transformer: its parts", "Transformer: forward", "Pipeline", "Questions and answers"
T, E, P = (
    "models/transformers/cogvideox_transformer_3d.py",
    "models/embeddings.py",
    "pipelines/cogvideo/pipeline_cogvideox.py",
)
OFS = "cogvideox1.5-5b-i2v"
FIVE = ("cogvideox-2b", "cogvideox-5b", "cogvideox-5b-i2v", "cogvideox1.5-5b", OFS)


CLAIMS = (
    Claim(
        "cogvideox/input-layout", FLOW,
        "The transformer's input is laid out as batch, frames, channels, height, width.",
        "Frames come before channels, other than in HunyuanVideo and Wan.",
        (Part("axes of hidden_states", ("B", "F", "C", "H", "W"), ("B", "F", "C", "H", "W"),
              lambda: axes(stored("cogvideox-5b").root.inputs["hidden_states"])),),
        source=f"{T}:382, 407",
    ),
    Claim(
        "cogvideox/text-projection", FLOW,
        "Text is projected to the width of the model and stays batch, length, width.",
        "One linear layer.",
        (
            Part("axes of the projected text", ("B", "L", "h·d"), ("B", "L", "h·d"),
                 lambda: axes(call("patch_embed.text_proj").output)),
            Part("width before and after", UNSAID, (4096, 3072),
                 lambda: (call("patch_embed.text_proj").inputs["input"].sizes[-1],
                          call("patch_embed.text_proj").output.sizes[-1])),
        ),
        source=f"{E}:488, 528",
    ),
    Claim(
        "cogvideox/frames-join-the-batch", FLOW,
        "Frames are merged into the batch, then a convolution or a linear layer makes patches.",
        "With the convolution (2b, 5b) they are. With the linear layer (1.5) they stay apart: its patches reach over "
        "two latent frames, so frames cannot be samples.",
        (
            Part("what makes patches in 5b and in 1.5", ("Conv2d", "Linear"), ("Conv2d", "Linear"),
                 lambda: tuple(call("patch_embed.proj", checkpoint=c).name for c in FIVE[1:4:2])),
            Part("frames are merged into the batch in 5b", True, True,
                 lambda: axes(call("patch_embed.proj").inputs["input"])[0] == "B·F"),
            Part("frames are merged into the batch in 1.5", True, False,
                 lambda: axes(call("patch_embed.proj", checkpoint="cogvideox1.5-5b").inputs["input"])[0] != "B"),
        ),
        source=f"{E}:481-486, 533, 542-547",
    ),
    Claim(
        "cogvideox/patches-become-tokens", FLOW,
        "Patches are sorted as batch, frames, height times width, and then frames, height and width become one axis.",
        "So they are. Height and width are those of the patches from here on, half of the latents' each; the article "
        "keeps the same words for both. The last axis is the width of the model, no longer channels.",
        (
            Part("order of the tokens", "frames, rows, columns", "frames, rows, columns", order_of_tokens),
            Part("axes of the tokens in 5b", UNSAID, ("B", "F·(H/p)·(W/p)", "h·d"),
                 lambda: axes(call("patch_embed", "cat").inputs["image_embeds"])),
            Part("tokens of one latent frame of 60×90", UNSAID, 1350,
                 lambda: stored("cogvideox-5b").values["S"] // stored("cogvideox-5b").values["F"]),
        ),
        source=f"{E}:536-537",
    ),
    Claim(
        "cogvideox/joined-sequence", f"{FLOW}; {QA}",
        "The text's tokens and the video's are joined into one sequence, text first.",
        "Models with a position table (2b, 5b from an image) add it to the joined sequence, with zeros over the text. "
        "1.5 has half as many frames there.",
        (
            Part("the first rows are the projected text", True, True, text_rows_first),
            Part("length of the sequence in 5b, rows and columns in patches", "L + F·(H/p)·(W/p)", "L + F·(H/p)·(W/p)",
                 lambda: axes(call("patch_embed").output)[1]),
            Part("the same in numbers, in 5b and in 1.5", UNSAID, (17776, 45106),
                 lambda: tuple(call("patch_embed", checkpoint=c).output.sizes[1] for c in FIVE[1:4:2])),
            Part("largest number of 2b's position table over the text", UNSAID, 0.0, table_over_text),
        ),
        source=f"{E}:549-574, 513-516",
    ),
    Claim(
        "cogvideox/joined-then-split", FORWARD,
        "The embedding returns one sequence, which is then taken apart again.",
        "Blocks are handed two tensors and join them themselves, for attention and for the feed-forward.",
        (
            Part("the embedding returns text and video as one", True, True,
                 lambda: call("patch_embed").output.sizes[1] == sum(handed_to_block())),
            Part("tokens handed to a block, video and text", UNSAID, (17550, 226), handed_to_block),
        ),
        source=f"{T}:426-431",
    ),
    Claim(
        "cogvideox/modulation", f"{BLOCK}; {QA}",
        "In norm1 and norm2 the time vector, through a linear layer, acts as a scale and an offset.",
        "There is a third: a gate, which waits until after the attention or the feed-forward and weighs what they add. "
        "Text has three numbers of its own for each channel, so the linear layer makes six.",
        (
            Part("scale and shift are made for the video", True, True,
                 lambda: {"shift", "scale"} <= set(call("transformer_blocks.*.norm1", "chunk").outputs)),
            Part("what else is made for the video", (), ("gate",),
                 lambda: tuple(name for name in call("transformer_blocks.*.norm1", "chunk").outputs
                               if not name.startswith("enc_") and name not in ("shift", "scale"))),
            Part("all, in their order", UNSAID, ("shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"),
                 lambda: tuple(call("transformer_blocks.*.norm1", "chunk").outputs)),
        ),
        source=f"models/normalization.py:448-469, {T}:130-155",
    ),
    Claim(
        "cogvideox/attention-steps", BLOCK,
        "Attention joins text and video, projects to queries, keys and values, turns the video part, attends, projects "
        "out, and splits again.",
        "In this order. Between projection and turning, queries and keys are normalised head by head.",
        (
            Part("steps, the norm of queries and keys left out",
                 ("concat", "q k v", "rope", "attention", "out", "split"),
                 ("concat", "q k v", "rope", "attention", "out", "split"),
                 lambda: tuple(step for step in in_attention() if step != "norm")),
            Part("the rows that are turned are as many as the video has", True, True,
                 lambda: turned_and_all()[0] == handed_to_block()[0]),
            Part("rows of the queries that are turned, and all", UNSAID, (17550, 17776), turned_and_all),
            Part("the step left out stands after", UNSAID, "q k v",
                 lambda: in_attention()[in_attention().index("norm") - 1]),
        ),
        source="models/attention_processor.py:2287-2343",
    ),
    Claim(
        "cogvideox/rope-in-every-model", BLOCK,
        "Turning by rotary positions is a step of every block.",
        "2b has no rotary positions: it adds a table of sines to the tokens once, before the first block.",
        (
            Part("5b is turned", True, True, partial(is_turned, "cogvideox-5b")),
            Part("2b is turned", True, False, partial(is_turned, "cogvideox-2b")),
        ),
        source=f"{P}:705-711, models/attention_processor.py:2322-2327",
    ),
    Claim(
        "cogvideox/norm2-then-feed-forward", BLOCK,
        "After norm1 and attention come norm2 and the feed-forward.",
        "One feed-forward with one set of weights takes both, text and video joined.",
        (
            Part("modules of a block", ("norm1", "attn1", "norm2", "ff"), ("norm1", "attn1", "norm2", "ff"), in_block),
            Part("tokens that the feed-forward takes", UNSAID, 17776,
                 lambda: call("transformer_blocks.*.ff", "FeedForward").output.sizes[1]),
        ),
        source=f"{T}:146-155",
    ),
    Claim(
        "cogvideox/time-projection", f"{MODEL}, first and second TODO",
        "time_proj only changes numbers; time_embedding adds what is learned, as linear layers.",
        "time_proj writes the timestep as cosines and sines of falling frequency, in float32. time_embedding is "
        "linear, SiLU, linear. The result is the one vector by which all blocks are conditioned.",
        (
            Part("parameters of time_proj", 0, 0, partial(parameters, "time_proj")),
            Part("time_embedding has parameters", True, True, lambda: parameters("time_embedding") > 0),
            Part("parameters of time_embedding in 5b", UNSAID, 1836032, partial(parameters, "time_embedding")),
            Part("linear layers in time_embedding", UNSAID, 2, partial(linears, "time_embedding")),
            Part("time_proj of timestep 0, first and second half", UNSAID, (1.0, 0.0), time_at_zero),
        ),
        source=f"{T}:284-285, 411-417, {E}:27-78",
    ),
    Claim(
        "cogvideox/offset-in-every-model", f"{MODEL}, third and fourth TODO",
        "The transformer has an offset embedding: ofs_proj, then ofs_embedding with learned parameters.",
        "Only 1.5 from an image has one. It is no offset of frames: its pipeline feeds the constant 2.0 at every step, "
        "so what was learned is one constant vector, added to the time vector.",
        (
            Part("1.5 from an image has one", True, True, partial(has_offset, OFS)),
            Part("of the other four checkpoints have one", 4, 0,
                 lambda: sum(has_offset(name) for name in FIVE if name != OFS)),
            Part("what the pipeline feeds it, in two steps", UNSAID, (2.0, 2.0),
                 lambda: tuple(float(seen["ofs"]) for seen in runs(2, picture=True))),
        ),
        source=f"{T}:287-293, 419-423, pipelines/cogvideo/pipeline_cogvideox_image2video.py:816",
    ),
    Claim(
        "cogvideox/last-norms", f"{MODEL}; {FORWARD}",
        "After the blocks come norm_final and norm_out.",
        "The text is dropped before them. norm_out has shift and scale from the time vector and no gate; proj_out then "
        "makes the numbers of a patch.",
        (
            Part("the next two modules", ("norm_final", "norm_out"), ("norm_final", "norm_out"),
                 lambda: after_blocks()[:2]),
            Part("tokens that they take", UNSAID, (17550, 17550),
                 lambda: tuple(next(iter(call(path).inputs.values())).sizes[1] for path in after_blocks()[:2])),
            Part("numbers of a patch, in 5b and in 1.5", UNSAID, (64, 128),
                 lambda: tuple(call("proj_out", "Linear", c).output.sizes[-1] for c in FIVE[1:4:2])),
        ),
        source=f"{T}:315-330, 453-457, models/normalization.py:71-80",
    ),
    Claim(
        "cogvideox/random-latents", PIPE,
        "What stands in for an encoded image is a random tensor of latents.",
        "From text alone it is plain normal noise. From an image there is an encoded image too, beside the noise on "
        "the channel axis.",
        (
            Part("the latents are the generator's normal numbers", True, True, lambda: noise()[1]),
            Part("channels of the noise, and of what the model sees from an image, small copy", UNSAID, (4, 8),
                 lambda: (runs()[0]["hidden_states"].shape[2], runs(2, picture=True)[0]["hidden_states"].shape[2])),
        ),
        source=f"{P}:334-349",
    ),
    Claim(
        "cogvideox/latents-shape", QA,
        "The number of frames sets the size of the latents: batch, scaled frames, channels, scaled height and width.",
        "Scaled means (N − 1)//4 + 1 frames and an eighth of the pixels. There is no other way for it to act: the "
        "model has no input for a number of frames or their rate.",
        (
            Part("axes of the latents", ("batch", "scaled N", "channels", "scaled height", "scaled width"),
                 ("batch", "scaled N", "channels", "scaled height", "scaled width"), named_axes),
            Part("latents for 49 frames of 480×720 pixels", UNSAID, (1, 13, 16, 60, 90), lambda: noise()[0]),
            Part("arguments of the forward about frames or rate", UNSAID, (), about_frames),
        ),
        source=f"{P}:334-340",
    ),
    Claim(
        "cogvideox/frames-at-once", f"{PIPE}, TODO",
        "All frames are denoised at the same time; perhaps it is time that controls which frame is which.",
        "At the same time, yes. Time does not: all frames of a sample share one timestep. Frames are told apart by "
        "their positions alone; without them, frames in another order give the same predictions in that order.",
        (
            Part("one pass holds every latent frame of the video", True, True,
                 lambda: all(seen["hidden_states"].shape[1] == 3 for seen in runs())),
            Part("the transformer takes a timestep for each frame", True, False, takes_a_time_for_each_frame),
            Part("timesteps for each sample of a pass", UNSAID, 1,
                 lambda: stored("cogvideox-5b").root.inputs["timestep"].sizes[0] // stored("cogvideox-5b").values["B"]),
            Part("the order of the frames matters, without and with rotary tables", UNSAID, (False, True),
                 lambda: (order_matters(rope=False), order_matters(rope=True))),
        ),
        source=f"{P}:727",
    ),
    Claim(
        "cogvideox/number-of-passes", PIPE,
        "The loop runs num_inference_steps times, after the prompt and the latents are there.",
        "One pass a step. With guidance it holds two samples, without and with the prompt.",
        (
            Part("passes for 3 steps", 3, 3, lambda: len(runs())),
            Part("samples in a pass of the traced 5b", UNSAID, 2, lambda: stored("cogvideox-5b").values["B"]),
        ),
        source=f"{P}:667, 723, 747",
    ),
    Claim(
        "cogvideox/timestep-as-length", QA,
        "The timestep plays the role of a length: it says how often to denoise.",
        "num_inference_steps does that. A timestep is how noisy the latents are, a number from 999 down; the first is "
        "the same whatever the number of passes.",
        (
            Part("the first timestep depends on the number of passes", True, False,
                 lambda: len(set(first_timesteps(2, 5, 50))) > 1),
            Part("first timestep of 2, 5 and 50 passes", UNSAID, (999, 999, 999), partial(first_timesteps, 2, 5, 50)),
        ),
        source=f"{P}:674, 727",
    ),
    Claim(
        "cogvideox/scale-model-input", QA,
        "scale_model_input prepares the latents, and may also do nothing.",
        "In both schedulers of this model it does nothing.",
        (
            Part("the DDIM scheduler hands them back", True, True, partial(hands_back, "CogVideoXDDIMScheduler")),
            Part("the DPM scheduler hands them back", True, True, partial(hands_back, "CogVideoXDPMScheduler")),
        ),
        source="schedulers/scheduling_ddim_cogvideox.py, schedulers/scheduling_dpm_cogvideox.py",
    ),
    Claim(
        "cogvideox/scheduler-keeps-time", QA,
        "The scheduler keeps the timesteps and brings the latents forward, step by step.",
        "Both. It changes the latents in `step` and nowhere else.",
        (
            Part("timesteps it holds for 5 steps", 5, 5, lambda: len(stepped()[0])),
            Part("a step changes the latents", True, True, lambda: stepped()[1]),
        ),
        source="schedulers/scheduling_ddim_cogvideox.py",
    ),
    Claim(
        "cogvideox/scheduler-step", QA,
        "A step takes the prediction, the earlier predicted sample, the timestep, the timestep before, and the "
        "latents.",
        "The DPM scheduler's does. The DDIM scheduler looks at this step alone: prediction, timestep, latents.",
        (
            Part("the DPM scheduler takes the earlier sample and timestep", True, True,
                 partial(takes, "CogVideoXDPMScheduler", "old_pred_original_sample", "timestep_back")),
            Part("the DDIM scheduler takes them", True, False,
                 partial(takes, "CogVideoXDDIMScheduler", "old_pred_original_sample", "timestep_back")),
            Part("both take prediction, timestep and latents", True, True,
                 lambda: all(takes(f"CogVideoX{kind}Scheduler", "model_output", "timestep", "sample")
                             for kind in ("DDIM", "DPM"))),
        ),
        source=f"{P}:751-762",
    ),
    Claim(
        "cogvideox/where-text-states-come-from", QA,
        "encoder_hidden_states come from the latents.",
        "They are the prompt, as the T5 encoder left it. The latents are hidden_states.",
        (Part("what they are in a run of the pipeline", "latents", "prompt embeddings", text_states),),
        source=f"{P}:656-667, 733",
    ),
)  # fmt: skip
