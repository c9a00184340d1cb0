"""What the claims on 3D RoPE are measured with: the tables and rotations of diffusers, and this package's ropes."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import torch

Floats = npt.NDArray[np.float64]

SIZES = (5, 4, 6)
"""Frames, rows and columns of small grids."""


@cache
def wan(head: int) -> Any:
    """diffusers' rotary module of Wan, which has the six-way split, for a head of so many numbers."""
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    return WanRotaryPosEmbed(head, (1, 2, 2), 256)


def wan_split(head: int) -> tuple[int, int, int]:
    """Columns of Wan's tables that vary along frames, along rows and along columns."""
    import torch

    T, H, W = SIZES
    cos, sin = wan(head)(torch.empty(1, 16, T, 2 * H, 2 * W))
    return varying(torch.stack([cos, sin]).reshape(2, T, H, W, head))


def cogvideox(head: int, sizes: tuple[int, int, int] = SIZES) -> tuple[torch.Tensor, torch.Tensor]:
    """CogVideoX's cosines and sines, by diffusers, on a grid of whole numbers."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    T, H, W = sizes
    made: tuple[torch.Tensor, torch.Tensor] = get_3d_rotary_pos_embed(
        head, None, (H, W), T, grid_type="slice", max_size=(H, W)
    )
    return made


def cogvideox_split(head: int) -> tuple[int, int, int]:
    """Columns of CogVideoX's tables that vary along frames, along rows and along columns."""
    import torch

    return varying(torch.stack(cogvideox(head)).reshape(2, *SIZES, head))


def default(kind: type, name: str) -> Any:
    """The default of a class's argument; those of HunyuanVideo's classes are the published config."""
    return inspect.signature(kind.__init__).parameters[name].default


def hunyuanvideo() -> Any:
    """diffusers' rotary module of HunyuanVideo."""
    from diffusers import HunyuanVideoTransformer3DModel as Model
    from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoRotaryPosEmbed

    names = ("patch_size", "patch_size_t", "rope_axes_dim", "rope_theta")
    return HunyuanVideoRotaryPosEmbed(*(default(Model, name) for name in names))


def hunyuanvideo_split() -> tuple[int, int, int]:
    """Columns of HunyuanVideo's tables that vary along frames, along rows and along columns."""
    import torch

    T, H, W = SIZES
    cos, sin = hunyuanvideo()(torch.empty(1, 16, T, 2 * H, 2 * W))
    return varying(torch.stack([cos, sin]).reshape(2, T, H, W, -1))


def varying(tables: torch.Tensor) -> tuple[int, int, int]:
    """Columns of (2, T, H, W, d) that change along each of the three axes."""
    t, h, w = (int((tables.diff(dim=axis).abs().amax((0, 1, 2, 3)) > 1e-9).sum()) for axis in (1, 2, 3))
    return t, h, w


def angle(cos: float, sin: float) -> float:
    """The angle of a cosine and a sine, from 0 to π."""
    return abs(float(np.arctan2(float(sin), float(cos))))


def exponent_of(head: int) -> float:
    """The n of theta^(-2/n), the frequency of the second pair of CogVideoX's frame axis."""
    cos, sin = cogvideox(head)
    second = SIZES[1] * SIZES[2]  # the first token of the second frame
    return float(-2 * np.log(10000) / np.log(angle(cos[second, 2], sin[second, 2])))


def base(cos: Any, sin: Any, columns: int, second: int) -> float:
    """The theta of the frame axis of tables (S, d): of its columns the last pair, in the row of the second frame."""
    found = angle(cos[second, columns - 2], sin[second, columns - 2])
    return float(found ** (-columns / (columns - 2)))


def wan_theta() -> float:
    """The theta of Wan's frame axis."""
    module = wan(128)
    return base(module.freqs_cos, module.freqs_sin, module.t_dim, 1)


def cogvideox_theta() -> float:
    """The theta of CogVideoX's frame axis."""
    return base(*cogvideox(64), 16, SIZES[1] * SIZES[2])


def hunyuanvideo_theta() -> float:
    """The theta of HunyuanVideo's frame axis."""
    import torch

    cos, sin = hunyuanvideo()(torch.empty(1, 16, 2, 2, 2))
    return base(cos, sin, 16, 1)


def grows_with_position() -> bool:
    """Whether the angles of Wan's frame axis are positions times frequencies, for 256 positions."""
    module = wan(128)
    n = module.t_dim
    angles = np.outer(np.arange(256), 10000.0 ** (-np.arange(0, n, 2) / n))
    return close(module.freqs_cos[:, :n:2], np.cos(angles), 1e-5) and close(
        module.freqs_sin[:, 1:n:2], np.sin(angles), 1e-5
    )


def kept() -> tuple[str, ...]:
    """The buffers of Wan's rotary module."""
    return tuple(name for name, _ in wan(128).named_buffers())


def tables_nest() -> bool:
    """Whether Wan's tables of a smaller grid are a corner of those of a larger one."""
    import torch

    (small, _), (large, _) = (wan(128)(torch.empty(1, 16, 2, 2 * h, 2 * w)) for h, w in ((45, 80), (68, 120)))
    return torch.equal(small.reshape(2, 45, 80, 128), large.reshape(2, 68, 120, 128)[:, :45, :80])


def turned(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, halves: bool = False) -> torch.Tensor:
    """diffusers' rotation of x (S, d), by neighbours or by halves."""
    from diffusers.models.embeddings import apply_rotary_emb

    out: torch.Tensor = apply_rotary_emb(x[None, None], (cos, sin), use_real_unbind_dim=-2 if halves else -1)[0, 0]
    return out


def rotated_half(halves: bool) -> tuple[float, ...]:
    """What (1, 2, 3, 4) becomes in a quarter turn of all pairs."""
    import torch

    x = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    return tuple(turned(x, torch.zeros_like(x), torch.ones_like(x), halves)[0].tolist())


def drawn(*shape: int, seed: int = 0) -> Floats:
    """Normal numbers."""
    return np.random.default_rng(seed).normal(size=shape)


def close(a: Any, b: Any, by: float) -> bool:
    """Whether arrays agree to a distance."""
    return bool(np.abs(np.asarray(a) - np.asarray(b)).max() <= by)


def norm_error(rotation: str, tables: str) -> float:
    """The largest relative change of lengths when one pairing turns with another's tables, at head 128."""
    from tracer import rope

    ropes, sizes = {"interleaved": rope.published("scail"), "half": rope.published("scail-half")}, (13, 15, 12)
    x = drawn(int(np.prod(sizes)), 128)
    out = ropes[rotation].apply(x, ropes[tables].tables(sizes))
    return float(np.abs(np.linalg.norm(out, axis=-1) / np.linalg.norm(x, axis=-1) - 1).max())


def formula_holds() -> bool:
    """x cos + r(x) sin against diffusers' rotation and against multiplication of complex numbers."""
    import torch

    x = torch.from_numpy(drawn(int(np.prod(SIZES)), 64)).float()
    cos, sin = cogvideox(64)
    pairs = x.unflatten(-1, (-1, 2))
    quarter = torch.stack([-pairs[..., 1], pairs[..., 0]], -1).flatten(-2)
    z = torch.view_as_complex(pairs.contiguous()) * torch.complex(cos[:, ::2], sin[:, ::2])
    out = turned(x, cos, sin)
    return close(x * cos + quarter * sin, out, 1e-5) and close(torch.view_as_real(z).flatten(-2), out, 1e-5)


def score_spread(name: str) -> float:
    """How much q·k differs over places that lie equally far apart, in float64."""
    from tracer import rope

    r = rope.published(name)
    q, k = drawn(2, r.head_dim)
    found = []
    for place in ((0, 1, 0), (3, 2, 5), (11, 40, 7), (100, 3, 90)):
        there = (place[0] + 4, place[1] - 1, place[2] + 6)
        a, b = (r.apply(v[None], r.laid_out(r.at([at]))) for v, at in ((q, place), (k, there)))
        found.append(float(a[0] @ b[0]))
    return max(found) - min(found)


def table_by_einsum() -> bool:
    """CogVideoX's cosines, from outer products by einsum that are broadcast and joined."""
    axes = []
    for n, part in zip(SIZES, (16, 24, 24), strict=True):
        outer = np.einsum("n,f->nf", np.arange(n), 10000.0 ** (-np.arange(0, part, 2) / part))
        axes.append(np.repeat(outer, 2, axis=-1))
    t, h, w = axes
    whole = [np.broadcast_to(a, (*SIZES, a.shape[-1])) for a in (t[:, None, None], h[None, :, None], w[None, None])]
    made = np.cos(np.concatenate(whole, -1)).reshape(-1, 64)
    return close(made, cogvideox(64)[0].numpy(), 1e-5)


def shapes() -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of one axis' frequencies for 13 frames, 64 numbers; of CogVideoX's tables at head 192, on a grid again."""
    from diffusers.models.embeddings import get_1d_rotary_pos_embed

    (cos, _), (T, H, W) = cogvideox(192, (13, 4, 6)), (13, 4, 6)
    return tuple(get_1d_rotary_pos_embed(64, 13, use_real=False).shape), tuple(cos.reshape(T, H, W, -1).shape)


def masked(name: str) -> bool:
    """Whether a token with coordinates of -1 stays as it is."""
    from tracer import rope

    r = rope.published(name)
    x = drawn(1, r.head_dim)
    return close(r.apply(x, r.laid_out(r.at([(-1, -1, -1)]))), x, 1e-12)


def free_places() -> bool:
    """Whether tokens at given places get the angles that a grid has there."""
    from tracer import rope

    r = rope.published("sat-pnp")
    places = [(4, 3, 5), (0, 2, 1), (2, 0, 0)]
    T, H, W = SIZES
    rows = [(t * H + h) * W + w for t, h, w in places]
    return close(r.at(places), r.angles((T, H, W))[rows], 1e-12)


def axis_of_coordinate(which: int) -> str:
    """The axis whose part of the head turns with a coordinate, by its index in (0, 1, 2)."""
    from tracer import rope

    r = rope.published("sat-pnp")
    moved = r.at([[1.0 if i == which else 0.0 for i in range(3)]])[0]
    (found,) = {name for name, part in zip(rope.AXES, r.parts, strict=True) if moved[part].any()}
    return str(found)


def parameters(rotary: bool) -> int:
    """Parameters of a small CogVideoX, with or without rotary positions."""
    import torch
    from diffusers import CogVideoXTransformer3DModel

    small = {"num_attention_heads": 2, "attention_head_dim": 16, "num_layers": 1, "text_embed_dim": 8}
    with torch.device("meta"):
        model = CogVideoXTransformer3DModel(**small, use_rotary_positional_embeddings=rotary)
    return sum(p.numel() for p in model.parameters())


def learned_table() -> int:
    """Numbers of the position table that CogVideoX-5b-I2V holds beside its rotary positions."""
    import torch

    from tracer import families

    family, checkpoint = families.find("cogvideox-5b-i2v")
    from diffusers import CogVideoXTransformer3DModel

    from tracer.build import full_config

    config = full_config(family.model, checkpoint.config) | {"num_layers": 1}
    assert config["use_rotary_positional_embeddings"]
    with torch.device("meta"):
        model = CogVideoXTransformer3DModel(**config)
    return sum(t.numel() for name, t in model.state_dict().items() if "pos_embedding" in name)


def what_is_turned() -> tuple[str, ...]:
    """What CogVideoX's attention hands to the rotation, told by the projections that made it."""
    import diffusers.models.embeddings as embeddings
    import torch
    from diffusers.models.attention_processor import Attention, CogVideoXAttnProcessor2_0

    layer = Attention(query_dim=64, dim_head=64, heads=1, processor=CogVideoXAttnProcessor2_0(), qk_norm=None)
    made: dict[str, torch.Tensor] = {}
    hooks = [
        getattr(layer, f"to_{name}").register_forward_hook(
            lambda module, given, out, name=name: made.update({name: out})
        )
        for name in ("q", "k", "v")
    ]
    names, own = [], embeddings.apply_rotary_emb

    def spy(x: torch.Tensor, tables: Any) -> Any:
        names.extend(name for name, out in made.items() if torch.equal(x[0, 0], out[0, -x.shape[2] :]))
        return own(x, tables)

    embeddings.apply_rotary_emb = spy
    try:
        S = int(np.prod(SIZES))
        with torch.no_grad():
            layer(torch.randn(1, S, 64), torch.randn(1, 3, 64), image_rotary_emb=cogvideox(64))
    finally:
        embeddings.apply_rotary_emb = own
        for hook in hooks:
            hook.remove()
    return tuple(names)


def interpolation_arguments() -> bool:
    """Whether diffusers' rotary positions of CogVideoX take an interpolation."""
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    return any("interpol" in name for name in inspect.signature(get_3d_rotary_pos_embed).parameters)


def slowed(pair: int) -> float:
    """By what CogVideoX-2b's interpolation of 1.875 slows a frequency of its sine table along columns."""
    from diffusers.models.embeddings import get_3d_sincos_pos_embed

    def radians(scale: float) -> float:
        table = get_3d_sincos_pos_embed(64, (4, 4), 1, spatial_interpolation_scale=scale)[0, 1]
        part = table[16:40]  # columns: sines, then cosines
        return angle(part[12 + pair], part[pair])

    return radians(1.0) / radians(1.875)


def brought_back() -> bool:
    """Whether dividing positions keeps a larger grid's angles within those of the trained grid."""
    from tracer import rope

    r, larger = rope.published("hunyuanvideo"), (66, 68, 120)
    most = r.angles((33, 45, 80)).max(axis=0)
    return bool((r.stretched("linear", larger).at(np.array(larger) - 1) <= most * 1.03).all())


def same_scores_reordered() -> bool:
    """Whether the two layouts give the same scores once the columns of q and k are reordered."""
    from tracer import rope

    a, b = rope.published("scail"), rope.published("scail-half")
    q, k = (drawn(int(np.prod(SIZES)), 128, seed=seed) for seed in (1, 2))
    order = a.permutation("half")
    mine = a.apply(q, a.tables(SIZES)) @ a.apply(k, a.tables(SIZES)).T
    theirs = b.apply(q[:, order], b.tables(SIZES)) @ b.apply(k[:, order], b.tables(SIZES)).T
    return close(mine, theirs, 1e-9)


def pairs_of(name: str) -> tuple[int, ...]:
    """Columns that turn together, found by turning unit vectors: the first two pairs."""
    from tracer import rope

    r = rope.published(name)
    moved = r.apply(np.eye(r.head_dim), r.laid_out(r.at(np.full((r.head_dim, 3), 1.0))))
    pairs = sorted({tuple(int(n) for n in np.flatnonzero(np.abs(row) > 1e-12)) for row in moved})
    return (*pairs[0], *pairs[1])


def falls(name: str) -> Callable[[], bool]:
    """Whether the mean cosine between tokens falls over the first three places along every axis."""

    def measure() -> bool:
        from tracer import rope

        angles = [np.outer(np.arange(4), f) for f in rope.published(name).frequencies()]
        return all(bool((np.diff(np.cos(a).mean(axis=-1)) < 0).all()) for a in angles)

    return measure


def mixed_pairs() -> tuple[int, int]:
    """Pairs of a head of 128 whose angle depends on any coordinate, and on more than one."""
    from tracer import rope

    r = rope.published("wan2.1-t2v-14b")
    moves = np.stack([r.at([step])[0] != 0 for step in ((1, 0, 0), (0, 1, 0), (0, 0, 1))]).sum(axis=0)
    return int((moves > 0).sum()), int((moves > 1).sum())


def pixels_per_position() -> float:
    """Pixels from one row of HunyuanVideo's positions to the next, for a video of 720×1280."""
    import torch
    from diffusers import AutoencoderKLHunyuanVideo

    rows, columns = (n // default(AutoencoderKLHunyuanVideo, "spatial_compression_ratio") for n in (720, 1280))
    cos, _ = hunyuanvideo()(torch.empty(1, 16, 1, rows, columns))
    return 720 / (cos.shape[0] / (columns / 2))
