"""The models that every tool is given, and what is true of them by arithmetic: nothing here comes from a trace."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

Shape = tuple[int, ...]
FULL = ("cogvideox-5b", "hunyuanvideo")
TINY = "cogvideox, tiny"
SUBJECTS = (*FULL, TINY)
SMALL = {
    "num_layers": 2,
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "text_embed_dim": 32,
    "time_embed_dim": 24,
}
SIZES = {"B": 2, "F": 3, "H": 6, "W": 8, "L": 5}


@dataclass(frozen=True)
class Facts:
    """What a reader could look for: sizes worked out by hand from the config and the sizes of the inputs."""

    symbols: Mapping[str, int]
    joins: tuple[tuple[Shape, Shape, Shape], ...]
    """Two sequences and what they become, wherever the model joins text and video."""
    heads: Shape
    attention: Shape
    turned: Shape
    turned_by: str
    """How the slice that rope turns can be written: a regular expression."""
    block: str
    streams: tuple[Shape, Shape]
    names: tuple[str, str]
    grid: Shape
    latents: Shape
    repeats: tuple[int, ...]
    fields: Mapping[str, Any]
    flops: int
    lines: tuple[str, ...] = ()
    """The source lines that call attention, as a run without any tool showed them."""

    @property
    def joined(self) -> int:
        """Tokens of text and video together."""
        return self.symbols["L"] + self.symbols["S"]


@dataclass(frozen=True)
class Subject:
    """A model and the arguments of one forward."""

    name: str
    model: Any
    inputs: dict[str, Any]
    facts: Facts


@contextmanager
def opened(name: str) -> Iterator[Subject]:
    """A subject, ready to be run: on the meta device at its published size, or tiny with real numbers."""
    from tracer import families
    from tracer.api import letters_of
    from tracer.build import build_model, full_config, ready

    small = name == TINY
    family, checkpoint = families.find("cogvideox-5b" if small else name)
    config = full_config(family.model, {**checkpoint.config, **(SMALL if small else {})})
    values = letters_of(family, config, checkpoint.request) | (SIZES if small else {})
    if small:
        values |= {"D": config["num_attention_heads"] * config["attention_head_dim"]}
        values |= {"h": config["num_attention_heads"], "d": config["attention_head_dim"], "T": config["time_embed_dim"]}
    device, dtype = ("cpu", "float32") if small else ("meta", checkpoint.dtype)
    model = build_model(family.model, config, device=device, dtype=dtype)
    with ready(family.inputs(config), values, device=device, dtype=dtype) as inputs:
        inputs["return_dict"] = False
        yield Subject(name, model, inputs, facts_of(family.name, config, inputs))


def shapes_of(inputs: Mapping[str, Any]) -> dict[str, Shape]:
    """The shape of every tensor argument; those in tuples are called NAME_0, NAME_1 ..."""
    found: dict[str, Shape] = {}
    for name, value in inputs.items():
        many = isinstance(value, tuple | list)
        for i, one in enumerate(value if many else [value]):
            if hasattr(one, "shape"):
                found[f"{name}_{i}" if many else name] = tuple(one.shape)
    return found


def facts_of(family: str, config: Mapping[str, Any], inputs: Mapping[str, Any]) -> Facts:
    """Sizes by hand, from the config and the sizes of the inputs alone."""
    shapes = shapes_of(inputs)
    return {"cogvideox": _cogvideox, "hunyuanvideo": _hunyuanvideo}[family](config, shapes)


def _cogvideox(config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Facts:
    """Heads, then tokens; text in front; rope turns what comes after the text."""
    B, F, C, H, W = shapes["hidden_states"]
    L, p = shapes["encoder_hidden_states"][1], config["patch_size"]
    h, d = config["num_attention_heads"], config["attention_head_dim"]
    S, D, T = F * (H // p) * (W // p), h * d, config["time_embed_dim"]
    N, out = L + S, config["out_channels"]
    block = 2 * N * 4 * D * D + 4 * N * N * D + 2 * N * 8 * D * D + 4 * T * 6 * D
    once = 2 * (D * T + T * T) + 2 * L * config["text_embed_dim"] * D + 2 * S * p * p * (C + out) * D + 4 * T * D
    return Facts(
        symbols={"B": B, "F": F, "C": C, "H": H, "W": W, "L": L, "S": S, "h": h, "d": d, "D": D},
        joins=(((B, L, D), (B, S, D), (B, N, D)),),
        heads=(B, h, N, d),
        attention=(B, h, N, d),
        turned=(B, h, S, d),
        turned_by=rf"\b(?:{L}|L):\]|, 2, {L}\b|slice\({L}, None",
        block="CogVideoXBlock",
        streams=((B, S, D), (B, L, D)),
        names=("hidden_states", "encoder_hidden_states"),
        grid=(B, F, H // p, W // p, out, p, p),
        latents=(B, F, out, H, W),
        repeats=(config["num_layers"],),
        fields={k: config[k] for k in ("num_attention_heads", "attention_head_dim", "num_layers", "time_embed_dim")},
        flops=B * (config["num_layers"] * block + once),
    )


def _hunyuanvideo(config: Mapping[str, Any], shapes: Mapping[str, Shape]) -> Facts:
    """Tokens, then heads, until the kernel; video in front; single blocks turn all but the text at the end."""
    B, C, F, H, W = shapes["hidden_states"]
    L, text = shapes["encoder_hidden_states"][1:]
    p, p_t, h, d = (config[k] for k in ("patch_size", "patch_size_t", "num_attention_heads", "attention_head_dim"))
    f, S, D, wide = F // p_t, F // p_t * (H // p) * (W // p), h * d, config["mlp_ratio"]
    N, out, pooled = L + S, config["out_channels"], config["pooled_projection_dim"]
    mlp, step, attention = int(2 * wide), 2 * (256 * D + D * D), 4 * N * N * D
    refiner = step + 2 * (text * D + D * D) + 2 * L * text * D
    refiner += config["num_refiner_layers"] * (2 * L * (4 + mlp) * D * D + 4 * L * L * D + 4 * D * D)
    dual = 2 * N * (4 + mlp) * D * D + attention + 2 * 2 * D * 6 * D
    single = 2 * N * (4 + mlp) * D * D + attention + 2 * D * 3 * D
    once = step * (1 + bool(config["guidance_embeds"])) + 2 * (pooled * D + D * D) + refiner
    once += 2 * S * p * p * p_t * (C + out) * D + 4 * D * D
    blocks = config["num_layers"] * dual + config["num_single_layers"] * single
    return Facts(
        symbols={"B": B, "F": F, "C": C, "H": H, "W": W, "L": L, "S": S, "h": h, "d": d, "D": D},
        joins=(((B, S, D), (B, L, D), (B, N, D)), ((B, S, h, d), (B, L, h, d), (B, N, h, d))),
        heads=(B, S, h, d),
        attention=(B, h, N, d),
        turned=(B, S, h, d),
        turned_by=rf":[-−](?:{L}|L)\]|, 1, (?:0|None), -{L}\b|slice\(None, -{L}",
        block="HunyuanVideoTransformerBlock",
        streams=((B, S, D), (B, L, D)),
        names=("hidden_states", "encoder_hidden_states"),
        grid=(B, f, H // p, W // p, out, p_t, p, p),
        latents=(B, out, F, H, W),
        repeats=(config["num_layers"], config["num_single_layers"]),
        fields={k: config[k] for k in ("num_attention_heads", "attention_head_dim", "num_layers", "num_single_layers")},
        flops=B * (blocks + once),
    )


@contextmanager
def attention_lines() -> Iterator[set[str]]:
    """The source lines that call torch's attention with the model's largest queries, seen by standing in for it."""
    import sys

    from torch.nn import functional

    real, seen, size = functional.scaled_dot_product_attention, set(), 0

    @functools.wraps(real)
    def watched(query: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal size
        if query.numel() > size:  # a refiner of the text attends too
            seen.clear()
            size = query.numel()
        if query.numel() == size:
            frame = sys._getframe(1)
            seen.add(f"{frame.f_code.co_filename.rsplit('/', 1)[-1]}:{frame.f_lineno}")
        return real(query, *args, **kwargs)

    functional.scaled_dot_product_attention = watched
    try:
        yield seen
    finally:
        functional.scaled_dot_product_attention = real
