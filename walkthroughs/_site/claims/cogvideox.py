"""The walk-through of CogVideoX in Chinese: its claims, its open questions, and how each is checked.

Measured on the traces of the published checkpoints, and on diffusers' own classes made small. Places are those of
diffusers 0.42.1.
"""

from __future__ import annotations

from functools import cache, partial
from typing import Any

from stored import stored

from claims import _tiny as tiny
from claims.claim import UNSAID, Article, Claim, Part

ARTICLE = Article(
    key="cogvideox",
    title="CogVideoX模型walk through",
    author="not named in the page that was read",
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
PUBLISHED_SCHEDULE = {
    "timestep_spacing": "trailing", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    "clip_sample": False,
}  # fmt: skip
"""How the conversion script of diffusers writes the schedulers of all checkpoints."""


# What is measured with


def axes(spec: Any) -> tuple[str, ...]:
    """The formula of each axis, or its number."""
    return tuple(str(dim.expression()) for dim in spec.shape)


def call(path: str, name: str = "*", checkpoint: str = "cogvideox-5b") -> Any:
    """The one call of that path and name in the trace of a checkpoint."""
    return stored(checkpoint).one(path, name)


def in_block() -> tuple[str, ...]:
    """The modules of a block in the order of the run."""
    children = call("transformer_blocks.*", "CogVideoXBlock").children
    return tuple(c.path.rpartition(".")[2] for c in children if c.kind == "module")


def handed_to_block() -> tuple[int, ...]:
    """Tokens of the video and of the text that a block is handed."""
    inputs = call("transformer_blocks.*", "CogVideoXBlock").inputs
    return tuple(inputs[name].sizes[1] for name in ("hidden_states", "encoder_hidden_states"))


def in_attention() -> tuple[str, ...]:
    """The steps of the attention in the order of the run, each once."""
    words = {
        "cat": "concat", "to_q": "q k v", "to_k": "q k v", "to_v": "q k v", "norm_q": "norm", "norm_k": "norm",
        "apply_rotary_emb": "rope", "scaled_dot_product_attention": "attention", "0": "out", "split": "split",
    }  # fmt: skip
    [processor] = call("transformer_blocks.*.attn1").children
    steps = [words.get(c.path.rpartition(".")[2] if c.kind == "module" else c.name) for c in processor.children]
    return tuple(dict.fromkeys(step for step in steps if step))


def turned_and_all() -> tuple[int, int]:
    """How many rows of the queries are turned, and how many there are."""
    write = stored("cogvideox-5b").find("transformer_blocks.*.attn1", "setitem")[0]
    whole, turned = write.inputs.values()
    return turned.sizes[2], whole.sizes[2]


def after_blocks() -> tuple[str, ...]:
    """The modules that run after the last block."""
    paths = [c.path for c in stored("cogvideox-5b").root.children if c.kind == "module"]
    last = max(n for n, path in enumerate(paths) if path.startswith("transformer_blocks."))
    return tuple(paths[last + 1 :])


@cache
def published(name: str) -> Any:
    """The real transformer of a checkpoint with one block, in shapes only."""
    import torch
    from diffusers import CogVideoXTransformer3DModel

    from tracer import families

    config = {**families.find(name)[1].config, "num_layers": 1}
    with torch.device("meta"):
        return CogVideoXTransformer3DModel(**config)


def has_offset(name: str) -> bool:
    """Whether a checkpoint's transformer has an offset embedding."""
    return published(name).ofs_embedding is not None


def is_turned(name: str) -> bool:
    """Whether the pipeline hands rotary tables to a transformer that knows places as the checkpoint's does."""
    turns = published(name).config.use_rotary_positional_embeddings
    pipe = tiny.cogvideox_pipeline(use_rotary_positional_embeddings=turns)
    return tiny.watched(pipe, num_frames=9, num_inference_steps=1)[0]["image_rotary_emb"] is not None


def table_over_text() -> float:
    """The largest number of 2b's position table over the text tokens, in a small copy."""
    table = tiny.cogvideox(use_rotary_positional_embeddings=False).patch_embed.pos_embedding
    return float(table[:, : tiny.TEXT].abs().max())


def strides() -> tuple[int, int, int]:
    """By how many tokens a patch moves, one frame later, one row lower, one column to the right."""
    import torch

    embed = tiny.cogvideox().patch_embed

    def token(frame: int, row: int, column: int) -> int:
        latents = torch.zeros(1, 3, 4, 8, 8)
        black = embed(tiny.prompt(), latents)
        latents[:, frame, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2] = 1
        return int((embed(tiny.prompt(), latents) - black).abs().sum(-1)[0].argmax())

    with torch.no_grad():
        first = token(0, 0, 0)
        return tuple(token(*place) - first for place in ((1, 0, 0), (0, 1, 0), (0, 0, 1)))


def text_rows_first() -> bool:
    """Whether the first rows of the joined sequence are the projected text."""
    import torch

    embed = tiny.cogvideox().patch_embed
    with torch.no_grad():
        joined = embed(tiny.prompt(), torch.zeros(1, 3, 4, 8, 8))
        return torch.equal(joined[:, : tiny.TEXT], embed.text_proj(tiny.prompt()))


def order_of_tokens() -> str:
    """The axes of the video's tokens, slowest first."""
    return ", ".join(name for _, name in sorted(zip(strides(), ("frames", "rows", "columns"), strict=True))[::-1])


@cache
def forward(*, rope: bool, swapped: bool) -> Any:
    """The prediction of a small 5b, with or without rotary tables; swapped: frames go in reversed, and back."""
    import torch

    pipe = tiny.cogvideox_pipeline()
    tables = pipe._prepare_rotary_positional_embeddings(64, 64, 3, "cpu") if rope else None
    latents = torch.linspace(-2, 2, 3 * 4 * 8 * 8).sin().reshape(1, 3, 4, 8, 8)
    with torch.no_grad():
        out = pipe.transformer(
            latents.flip(1) if swapped else latents, tiny.prompt(), torch.tensor([500]), image_rotary_emb=tables
        ).sample
    return out.flip(1) if swapped else out


def order_matters(*, rope: bool) -> bool:
    """Whether a frame's prediction depends on its place among the frames."""
    there, back = forward(rope=rope, swapped=False), forward(rope=rope, swapped=True)
    return bool((there - back).abs().max() > 1e-4 * there.abs().max())


def takes_a_time_for_each_frame() -> bool:
    """Whether the transformer runs with a timestep for each frame."""
    import torch

    model = tiny.cogvideox()
    try:
        with torch.no_grad():
            model(torch.zeros(1, 3, 4, 8, 8), tiny.prompt(), torch.tensor([[900, 500, 100]]))
    except (AssertionError, RuntimeError, ValueError):
        return False
    return True


@cache
def runs(steps: int = 3, *, picture: bool = False) -> list[dict[str, Any]]:
    """What the transformer is handed, step by step; picture: in 1.5's way from an image."""
    import torch

    more = {"patch_size_t": 2, "in_channels": 8, "ofs_embed_dim": 8} if picture else {}
    image = {"image": torch.zeros(1, 3, 16, 16)} if picture else {}
    pipe = tiny.cogvideox_pipeline(picture=picture, **more)
    return tiny.watched(pipe, num_frames=9, num_inference_steps=steps, **image)


def scheduler(name: str) -> Any:
    """A scheduler as the checkpoints have it."""
    import diffusers

    return getattr(diffusers, name)(**PUBLISHED_SCHEDULE)


def first_timesteps(*steps: int) -> tuple[int, ...]:
    """The first timestep of schedules of that many steps."""
    ddim = scheduler("CogVideoXDDIMScheduler")
    out = []
    for n in steps:
        ddim.set_timesteps(n)
        out.append(int(ddim.timesteps[0]))
    return tuple(out)


def hands_back(name: str) -> bool:
    """Whether scale_model_input gives back the very tensor it is given."""
    import torch

    latents = torch.ones(1, 2)
    return scheduler(name).scale_model_input(latents, 500) is latents


def stepped() -> tuple[list[int], bool]:
    """The timesteps of five steps, and whether the first one changes the latents."""
    import torch

    ddim, latents = scheduler("CogVideoXDDIMScheduler"), torch.ones(1, 2)
    ddim.set_timesteps(5)
    after = ddim.step(0.5 * latents, int(ddim.timesteps[0]), latents).prev_sample
    return ddim.timesteps.tolist(), not torch.equal(after, latents)


def takes(name: str, *wanted: str) -> bool:
    """Whether a scheduler's step has those parameters."""
    import inspect

    import diffusers

    return set(wanted) <= set(inspect.signature(getattr(diffusers, name).step).parameters)


def noise() -> tuple[tuple[int, ...], bool]:
    """The size of the latents for 49 frames of 480×720, and whether they are the generator's normal numbers."""
    import torch

    generators = [torch.Generator().manual_seed(5) for _ in range(2)]
    latents = tiny.cogvideox_pipeline().prepare_latents(1, 16, 49, 480, 720, torch.float32, "cpu", generators[0])
    return tuple(latents.shape), torch.equal(latents, torch.randn(latents.shape, generator=generators[1]))


def named_axes() -> tuple[str, ...]:
    """What each axis of the latents is, by its size: the sizes of batch, channels, and the request scaled differ."""
    names = {
        1: "batch", 16: "channels", (49 - 1) // 4 + 1: "scaled N", 480 // 8: "scaled height", 720 // 8: "scaled width",
    }  # fmt: skip
    return tuple(names[size] for size in noise()[0])


def text_states() -> str:
    """What the transformer's encoder_hidden_states are in a run of the pipeline."""
    import torch

    seen = runs()[0]
    if torch.equal(seen["encoder_hidden_states"], tiny.prompt()):
        return "prompt embeddings"
    return "latents" if torch.equal(seen["encoder_hidden_states"], seen["hidden_states"]) else "something else"


def time_at_zero() -> tuple[float, float]:
    """What time_proj makes of timestep 0, if both halves are constant."""
    import torch

    [first], [second] = (half.unique().tolist() for half in tiny.cogvideox().time_proj(torch.tensor([0])).chunk(2, 1))
    return first, second


def linears(path: str, checkpoint: str = "cogvideox-5b") -> int:
    """How many linear layers a module has."""
    return len([c for c in call(path, checkpoint=checkpoint).walk() if c.kind == "module" and c.name == "Linear"])


def parameters(path: str) -> int:
    """Parameters of a module of 5b."""
    return call(path).cost.params.size


def about_frames() -> tuple[str, ...]:
    """Parameters of the transformer's forward that speak of frames or of their rate."""
    import inspect

    from diffusers import CogVideoXTransformer3DModel

    names = inspect.signature(CogVideoXTransformer3DModel.forward).parameters
    return tuple(name for name in names if "frame" in name or "fps" in name)


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
