"""Tables and application against diffusers' own, which compute in float32.

How far its angles hold 1e-5: a frequency is off by up to 2^-24 of itself or so, the angle by that times the position.
Measured for whole positions, the first that is off by more is 342 for CogVideoX's rows and columns (810 for frames),
257 for HunyuanVideo's, and 453 for Allegro's parts of 32 numbers. HunyuanVideo's frames stay exact: 256^(-2k/16) is a
power of two. Wan and FLUX compute in float64 and round once. So positions stay below 200 here, which
`test_where_float32_angles_leave_the_bound` keeps true.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AllegroPipeline, CogVideoXPipeline
from diffusers.models.embeddings import apply_rotary_emb, apply_rotary_emb_allegro, get_1d_rotary_pos_embed
from diffusers.models.transformers.transformer_flux import FluxPosEmbed
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoRotaryPosEmbed
from diffusers.models.transformers.transformer_hunyuan_video15 import HunyuanVideo15RotaryPosEmbed
from diffusers.models.transformers.transformer_hunyuan_video_framepack import HunyuanVideoFramepackRotaryPosEmbed
from diffusers.models.transformers.transformer_wan import WanAttention, WanRotaryPosEmbed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tracer import rope
from tracer.models.gamecraft import GameCraftTransformer
from tracer.rope.variants import known

CLOSE = 1e-5
FAR = 200  # positions on one axis at most
SINGLE = 2.0**-24  # half a unit in the last place of a float32 near 1


@st.composite
def grids(draw, most=FAR, tokens=3000):
    """Token grids, long on one axis and short on the others, in any order."""
    long = draw(st.integers(1, most))
    short = draw(st.integers(1, max(1, min(most, tokens // long, 12))))
    rest = draw(st.integers(1, max(1, min(most, tokens // (long * short), 12))))
    return tuple(draw(st.permutations((long, short, rest))))


def config_of(name):
    at = known(name)
    return SimpleNamespace(**at.config), at.rope


def assert_tables(mine, theirs, bound=CLOSE):
    for a, b in zip(mine, theirs, strict=True):
        assert b.dtype == torch.float32
        b = b.squeeze(0).squeeze(1) if b.ndim == 4 else b
        assert a.shape == tuple(b.shape)
        assert np.abs(a - b.double().numpy()).max() <= bound


def cogvideox_tables(config, sizes):
    """Those of the pipeline's own method, which reads its transformer's config and its VAE's factor."""
    frames, rows, columns = sizes
    pipe = SimpleNamespace(transformer=SimpleNamespace(config=config), vae_scale_factor_spatial=8)
    step = 8 * config.patch_size
    return CogVideoXPipeline._prepare_rotary_positional_embeddings(
        pipe, rows * step, columns * step, frames * (config.patch_size_t or 1), torch.device("cpu")
    )


@pytest.mark.parametrize("name", ["cogvideox-5b", "cogvideox-5b-i2v"])
@settings(deadline=None, max_examples=60)
@given(sizes=st.one_of(grids(), st.tuples(st.integers(1, 2), st.integers(1, 60), st.integers(1, 60))))
@example(sizes=(13, 30, 45))
@example(sizes=(1, 48, 85))
@example(sizes=(1, 45, 30))
@example(sizes=(1, 1, 60))
def test_cogvideox_1_0_on_any_aspect_ratio(name, sizes):
    config, r = config_of(name)
    assert_tables(r.tables(sizes), cogvideox_tables(config, sizes))


@pytest.mark.parametrize("name", ["cogvideox1.5-5b", "cogvideox1.5-5b-i2v"])
@settings(deadline=None, max_examples=40)
@given(sizes=grids(most=150))
@example(sizes=(2, 48, 85))
@example(sizes=(1, 1, 150))
def test_cogvideox_1_5_slices(name, sizes):
    config, r = config_of(name)
    assert_tables(r.tables(sizes), cogvideox_tables(config, sizes))


HUNYUAN = {
    "hunyuanvideo": HunyuanVideoRotaryPosEmbed, "hunyuanvideo-i2v": HunyuanVideoRotaryPosEmbed,
    "hunyuanvideo1.5-480p-t2v": HunyuanVideo15RotaryPosEmbed, "hunyuanvideo1.5-720p-i2v": HunyuanVideo15RotaryPosEmbed,
}  # fmt: skip


@pytest.mark.parametrize("name", HUNYUAN)
@settings(deadline=None, max_examples=40)
@given(sizes=grids())
@example(sizes=(2, 45, 80))
def test_hunyuanvideo(name, sizes):
    config, r = config_of(name)
    p, p_t = config.patch_size, config.patch_size_t
    module = HUNYUAN[name](p, p_t, config.rope_axes_dim, config.rope_theta)
    latents = torch.empty(1, 1, sizes[0] * p_t, sizes[1] * p, sizes[2] * p, device="meta")
    latents = SimpleNamespace(shape=latents.shape, device=torch.device("cpu"))
    assert_tables(r.tables(sizes), module(latents))


@settings(deadline=None, max_examples=30)
@given(sizes=grids())
def test_gamecraft_whose_table_is_that_of_its_model(sizes):
    config, r = config_of("gamecraft")
    model = gamecraft()
    latents = SimpleNamespace(shape=(1, 33, sizes[0], 2 * sizes[1], 2 * sizes[2]), device=torch.device("cpu"))
    assert (config.rope_axes_dim, config.rope_theta) == (model.rope.rope_dim, model.rope.theta)
    assert_tables(r.tables(sizes), model.rope(latents))


_MADE = []


def gamecraft():
    """One block of each kind, without memory: its rope is a module of its own."""
    if not _MADE:
        with torch.device("meta"):
            _MADE.append(GameCraftTransformer(num_layers=1, num_single_layers=1, num_refiner_layers=1))
    return _MADE[0]


@settings(deadline=None, max_examples=40)
@given(
    frames=st.lists(st.integers(0, FAR), min_size=1, max_size=12), rows=st.integers(1, 12), columns=st.integers(1, 12)
)
def test_framepack_at_the_frames_it_is_given(frames, rows, columns):
    config, r = config_of("framepack")
    module = HunyuanVideoFramepackRotaryPosEmbed(2, 1, config.rope_axes_dim, config.rope_theta)
    theirs = module(torch.tensor(frames), 2 * rows, 2 * columns, torch.device("cpu"))
    places = np.stack(np.meshgrid(frames, range(rows), range(columns), indexing="ij"), axis=-1).reshape(-1, 3)
    assert_tables(r.laid_out(r.at(places)), theirs)
    if frames == list(range(len(frames))):
        assert np.array_equal(r.at(places), r.angles((len(frames), rows, columns)))


@pytest.mark.parametrize("name", ["wan2.1-t2v-14b", "wan2.1-t2v-1.3b", "wan2.1-i2v-14b-720p"])
@settings(deadline=None, max_examples=30)
@given(sizes=grids(most=1024))
@example(sizes=(1, 1, 1024))
@example(sizes=(1024, 1, 1))
def test_wan_is_rounded_once_over_its_whole_table(name, sizes):
    config, r = config_of(name)
    module = wan_rope(config)
    p_t, p, _ = config.patch_size
    latents = SimpleNamespace(shape=(1, 16, sizes[0] * p_t, sizes[1] * p, sizes[2] * p))
    assert_tables(r.tables(sizes), module(latents), bound=2 * SINGLE)


_WAN = {}


def wan_rope(config):
    key = config.attention_head_dim, tuple(config.patch_size), config.rope_max_seq_len
    if key not in _WAN:
        _WAN[key] = WanRotaryPosEmbed(*key)
    return _WAN[key]


@settings(deadline=None, max_examples=30)
@given(rows=st.integers(1, 64), columns=st.integers(1, 64), text=st.integers(0, 8))
def test_flux_on_its_ids_text_at_zero(rows, columns, text):
    config, r = config_of("flux.1-dev")
    ids = torch.zeros(text + rows * columns, 3)
    ids[text:, 1], ids[text:, 2] = torch.arange(rows).repeat_interleave(columns), torch.arange(columns).repeat(rows)
    cos, sin = FluxPosEmbed(10000, config.axes_dims_rope)(ids)
    assert (cos[:text] == 1).all()
    assert (sin[:text] == 0).all()
    assert_tables(r.tables((1, rows, columns)), (cos[text:], sin[text:]), bound=2 * SINGLE)


@settings(deadline=None, max_examples=40)
@given(sizes=grids(), seed=st.integers(0, 9))
@example(sizes=(22, 45, 3), seed=0)
@example(sizes=(1, 45, 80), seed=0)
def test_allegro_as_its_pipeline_makes_and_applies_them(sizes, seed):
    config, r = config_of("allegro")
    pipe = SimpleNamespace(transformer=SimpleNamespace(config=config), vae_scale_factor_spatial=8)
    step, (frames, rows, columns) = 8 * config.patch_size, sizes
    tables, places = AllegroPipeline._prepare_rotary_positional_embeddings(
        pipe, 1, rows * step, columns * step, frames, torch.device("cpu")
    )
    mine = r.tables(sizes)
    for i, (cos, sin) in enumerate(tables):
        part = slice(32 * i, 32 * i + 32)
        assert_tables([t[:, part] for t in mine], [t[places[i][0]] for t in (cos, sin)])
    x = random(1, 2, int(np.prod(sizes)), 96, seed=seed)
    theirs = apply_rotary_emb_allegro(x, tables, places)
    assert_turned(r.apply(x.double(), mine), theirs)


# ---- application ----


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_turned(mine, theirs):
    """Within 1e-5 of the size of what is turned."""
    assert mine.shape == theirs.shape
    assert (mine - theirs.double()).abs().max() <= CLOSE * 6  # no normal number here reaches 6


@pytest.mark.parametrize("sequence_dim", [1, 2])
@pytest.mark.parametrize("name", ["cogvideox-5b", "cogvideox1.5-5b", "hunyuanvideo", "flux.1-dev", "gamecraft"])
@settings(deadline=None, max_examples=15)
@given(sizes=grids(most=150, tokens=600), seed=st.integers(0, 9))
def test_apply_rotary_emb_on_tables_of_ours_in_either_layout(name, sequence_dim, sizes, seed):
    r = rope.published(name)
    x = random(1, 2, int(np.prod(sizes)), r.head_dim, seed=seed)
    x = x.transpose(1, 2) if sequence_dim == 1 else x
    tables = r.tables(sizes, like=x)
    theirs = apply_rotary_emb(x, tables, sequence_dim=sequence_dim)
    assert_turned(r.apply(x.double(), r.tables(sizes), axis=sequence_dim), theirs)
    one = r.apply(x, tables, axis=sequence_dim)
    torch.testing.assert_close(one, theirs, rtol=0, atol=16 * SINGLE)  # the same float32 tables: rounding alone


def test_unbinding_the_other_way_is_half_pairing():
    r, sizes = replace(rope.published("hunyuanvideo"), pairing="half"), (2, 3, 4)
    x = random(1, 2, 24, 128)
    theirs = apply_rotary_emb(x, r.tables(sizes, like=x), use_real_unbind_dim=-2)
    assert_turned(r.apply(x.double(), r.tables(sizes)), theirs)


def test_wan_as_its_attention_turns_queries_and_keys(monkeypatch):
    """The function stands inside the attention processor, so it is watched at work in a real one."""
    from diffusers.models.transformers import transformer_wan

    config, r = config_of("wan2.1-t2v-14b")
    torch.manual_seed(0)
    attention = WanAttention(dim=256, heads=2, dim_head=128, processor=transformer_wan.WanAttnProcessor()).eval()
    latents = SimpleNamespace(shape=(1, 16, 3, 8, 10))
    tables = wan_rope(config)(latents)
    x, seen = random(1, 60, 256), []
    monkeypatch.setattr(transformer_wan, "dispatch_attention_fn", lambda q, k, v, **_: seen.append((q, k, v)) or v)
    with torch.no_grad():
        attention(x, rotary_emb=tables)
        attention(x)
    (q, k, v), (plain_q, plain_k, plain_v) = seen
    for turned, plain in ((q, plain_q), (k, plain_k)):
        assert_turned(r.apply(plain.double(), r.tables((3, 4, 5)), axis=1), turned)
        assert not torch.allclose(plain, turned)
    assert torch.equal(v, plain_v)


# ---- how far float32 goes ----


@pytest.mark.parametrize(
    ("n", "theta", "first"),
    [(16, 10000.0, 810), (24, 10000.0, 342), (16, 256.0, None), (56, 256.0, 257), (32, 10000.0, 453)],
    ids=["cogvideox-frame", "cogvideox-row", "hunyuanvideo-frame", "hunyuanvideo-row", "allegro"],
)
def test_where_float32_angles_leave_the_bound(n, theta, first):
    """Below FAR none does. Another libm may move the place itself."""
    cos, sin = get_1d_rotary_pos_embed(n, torch.arange(4 * 810, dtype=torch.float32), theta, use_real=True)
    r = rope.Rope3D("one", (n, 2, 2), theta=theta)
    exact = r.laid_out(r.at([(i, 0, 0) for i in range(len(cos))]))
    off = np.maximum(
        *(np.abs(a[:, :n] - b.double().numpy()).max(axis=1) for a, b in zip(exact, (cos, sin), strict=True))
    )
    assert off[:FAR].max() <= CLOSE
    if first is None:
        assert off.max() <= 2 * SINGLE
    else:
        assert first / 1.5 < np.argmax(off > CLOSE) < first * 1.5
