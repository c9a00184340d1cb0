"""What the claims on CogVideoX are measured with: traces of its checkpoints, and diffusers' own classes made small."""

from __future__ import annotations

from functools import cache
from typing import Any

from stored import stored

from claims import _tiny as tiny

PUBLISHED_SCHEDULE = {
    "timestep_spacing": "trailing", "prediction_type": "v_prediction", "rescale_betas_zero_snr": True,
    "clip_sample": False,
}  # fmt: skip
"""How the conversion script of diffusers writes the schedulers of all checkpoints."""


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
