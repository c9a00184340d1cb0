"""check_rope: planted faults are named, correct ropes are left alone, and what is measured is what was built."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer import rope
from tracer.errors import BadRequest, UnknownName
from tracer.rope import Crop, Placement, Rope3D, Whole, check_rope

HUNYUAN = rope.published("hunyuanvideo")
LIKE = replace(HUNYUAN, trained=(9, 10, 12))
"""HunyuanVideo's with a small grid: scores are compared on the whole of it."""
COG = rope.published("cogvideox")
WAN = rope.published("wan")
SMALL = Rope3D("small", (4, 6, 8), theta=100.0, placement=Placement("after"), trained=(5, 9, 11))
COG128 = replace(COG, name="cogvideox at 128", split=(32, 48, 48), grid=Whole())


def lines(sizes):
    return [np.arange(n, dtype=np.float64) for n in sizes]


def build(split, theta=256.0, *, lay="interleaved", places=lines, order=(0, 1, 2), parts=(0, 1, 2), exponents=None):
    """A table builder written apart from the package: meshgrid, outer products, concatenation, repetition."""

    def table(T, H, W):
        grids = np.meshgrid(*places((T, H, W)), indexing="ij")
        flat = [g.transpose(order).reshape(-1) for g in grids]
        angles = []
        for axis, n, over in zip(parts, split, exponents or split, strict=True):
            angles.append(np.outer(flat[axis], 1.0 / theta ** (np.arange(0, n, 2) / over)))
        if lay == "half-axis":
            whole = np.concatenate([np.tile(a, 2) for a in angles], axis=1)
        elif lay == "half":
            whole = np.tile(np.concatenate(angles, axis=1), 2)
        else:
            whole = np.repeat(np.concatenate(angles, axis=1), 2, axis=1)
        return np.cos(whole), np.sin(whole)

    return table


def neighbours(x):
    return torch.stack((-x[..., 1::2], x[..., 0::2]), dim=-1).flatten(-2)


def halves(x):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((-b, a), dim=-1)


def whole(table, rotated=neighbours, *, text=lambda x, cos, sin: x):
    """f(x, T, H, W, text_len) for a model with text after the video."""

    def rotate(x, T, H, W, text_len=0):
        cos, sin = (torch.as_tensor(t).float() for t in table(T, H, W))
        video, words = x[..., : T * H * W, :], x[..., T * H * W :, :]
        return torch.cat((video * cos + rotated(video) * sin, text(words, cos, sin)), dim=-2)

    return rotate


right = build(HUNYUAN.split)


# --- correct ones ---------------------------------------------------------------------------------


def distinct():
    """The first name of every published rope; checkpoints of a family often share one."""
    return list(
        {replace(rope.published(name), name="", source="", remark=""): name for name in rope.names()[::-1]}.values()
    )


@pytest.mark.parametrize("name", distinct())
def test_published_ropes_depart_in_nothing_from_themselves(name):
    own = replace(rope.published(name), trained=(7, 8, 10))

    def complexes(T, H, W):
        return np.exp(1j * own.angles((T, H, W)))

    def wide(T, H, W):
        return [torch.as_tensor(t).float()[None, :, None] for t in own.tables((T, H, W))]

    def rotate(q, k, T, H, W, text_len=0):
        return own.rotate(q, (T, H, W), text=text_len), own.rotate(k, (T, H, W), text=text_len)

    for f in (lambda T, H, W: own.tables((T, H, W)), complexes, wide, rotate):
        report = check_rope(f, like=own)
        assert report.ok, str(report)
        assert report.follows.split == tuple(zip(("frame", "row", "column"), own.split, strict=True))
        assert report.follows.theta == pytest.approx(own.thetas(), rel=1e-3)
        assert report.score_error.largest < 2e-5


def test_numpy_functions_are_served_where_torch_is_refused():
    def apply(q, k, cos, sin):
        assert isinstance(q, np.ndarray)
        return HUNYUAN.apply(q, (cos, sin)), HUNYUAN.apply(k, (cos, sin))

    report = check_rope(apply, like=LIKE)
    assert report.ok
    assert report.handed.endswith("numpy")


@pytest.mark.parametrize("tokens_first", [False, True])
@pytest.mark.parametrize("kind", ["cis", "pair", "cos, sin", "one axis more", "half width"])
def test_applications_are_found_by_trying_shapes(kind, tokens_first):
    def widened(table):
        assert table.ndim == 2
        return table[:, None, :] if tokens_first else table

    def cis(xq, xk, freqs_cis):
        turned = [torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous()) * widened(freqs_cis) for x in (xq, xk)]
        return tuple(torch.view_as_real(z).flatten(-2) for z in turned)

    def pair(x, freqs_cis):
        cos, sin = freqs_cis
        return x * widened(cos) + neighbours(x) * widened(sin)

    def four(query, key, cos, sin):
        return tuple(pair(x, (cos, sin)) for x in (query, key))

    def more(x, cos, sin):
        assert cos.ndim == 4
        return x * cos + neighbours(x) * sin

    def narrow(q, k, cos, sin):
        return tuple(pair(x, [t.repeat_interleave(2, -1) for t in (cos, sin)]) for x in (q, k))

    f = {"cis": cis, "pair": pair, "cos, sin": four, "one axis more": more, "half width": narrow}[kind]
    report = check_rope(f, like=LIKE)
    assert report.ok, str(report)
    assert report.follows.pairing == "interleaved"
    if kind != "one axis more":  # which broadcasts either way
        assert ("(B, S, heads, d)" in report.handed) is tokens_first


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_raises_no_alarm(dtype):
    assert check_rope(lambda T, H, W: [torch.as_tensor(t).to(dtype) for t in right(T, H, W)], like=LIKE).ok
    turn = whole(right)
    for out in (dtype, torch.float32):
        report = check_rope(lambda x, T, H, W, out=out: turn(x.to(dtype), T, H, W).to(out), like=LIKE)
        assert report.ok, str(report)


def test_diffusers_own_hunyuanvideo():
    from diffusers.models.embeddings import apply_rotary_emb
    from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoRotaryPosEmbed

    module = HunyuanVideoRotaryPosEmbed(2, 1, [16, 56, 56], 256.0).train()

    def tables(T, H, W):
        return module(torch.empty(1, 16, T, 2 * H, 2 * W))

    assert check_rope(tables, like=LIKE).ok
    assert check_rope(apply_rotary_emb, like=LIKE).ok
    for axis in (1, 2):
        report = check_rope(
            lambda x, T, H, W, axis=axis: apply_rotary_emb(x, tables(T, H, W), sequence_dim=axis), like=LIKE
        )
        assert report.ok, str(report)
    assert module.training
    assert "256" in str(check_rope(tables, like="framepack"))


def test_diffusers_own_wan():
    from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

    module = WanRotaryPosEmbed(128, (1, 2, 2), 1024)
    assert check_rope(lambda T, H, W: module(torch.empty(1, 16, T, 2 * H, 2 * W)), like="wan").ok
    assert check_rope(lambda T, H, W: module(torch.empty(1, 16, T, 2 * H, 2 * W)), like=LIKE).codes == (
        "split", "theta")  # fmt: skip


def test_diffusers_own_cogvideox():
    from diffusers.models.embeddings import apply_rotary_emb, get_3d_rotary_pos_embed
    from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid

    def first(T, H, W):
        crops = get_resize_crop_region_for_grid((H, W), 45, 30)
        return get_3d_rotary_pos_embed(64, crops, (H, W), T)

    def second(T, H, W):
        return get_3d_rotary_pos_embed(64, None, (H, W), T, grid_type="slice", max_size=(150, 150))

    assert check_rope(first, like="cogvideox-5b").ok
    assert check_rope(second, like="cogvideox1.5-5b").ok
    assert check_rope(second, like="cogvideox-sat").ok
    assert check_rope(second, like="cogvideox").codes == ("grid",)
    assert check_rope(first, like="cogvideox-sat").codes == ("grid",)

    def attention(query, key, T, H, W, text_seq_length=226):
        turned = [x.clone() for x in (query, key)]
        for x in turned:
            x[:, :, text_seq_length:] = apply_rotary_emb(x[:, :, text_seq_length:], first(T, H, W))
        return turned

    report = check_rope(attention, like="cogvideox", text_tokens=5)
    assert report.ok, str(report)
    assert report.follows.turned == "video, not text"


def test_diffusers_own_allegro():
    from diffusers.models.embeddings import get_3d_rotary_pos_embed_allegro

    def table(T, H, W):
        t, h, w, *_ = get_3d_rotary_pos_embed_allegro(
            96, ((0, 0), (H, W)), (H, W), T, interpolation_scale=(2.2, 2.0, 2.0)
        )
        out = []
        for i in (0, 1):
            parts = [t[i][:, None, None], h[i][None, :, None], w[i][None, None]]
            out.append(torch.cat([p.expand(T, H, W, -1) for p in parts], dim=-1).flatten(0, 2))
        return out

    report = check_rope(table, like="allegro")
    assert report.ok, str(report)
    assert report.follows.pairing == "half-axis"


# --- planted faults -------------------------------------------------------------------------------


def in_a_row(T, H, W):
    angles = np.outer(np.arange(T * H * W), 1 / 256 ** (np.arange(0, 128, 2) / 128)).repeat(2, axis=1)
    return np.cos(angles), np.sin(angles)


def without_frames(T, H, W):
    cos, sin = right(T, H, W)
    return np.where(np.arange(128) < 16, 1.0, cos), np.where(np.arange(128) < 16, 0.0, sin)


def at(i, change):
    def places(sizes):
        out = lines(sizes)
        out[i] = change(out[i])
        return out

    return places


def every(change):
    return lambda sizes: [change(p) for p in lines(sizes)]


def with_end(sizes):
    return [np.linspace(0, n, n) for n in sizes]


S = HUNYUAN.split
FAULTS = {
    "pairing": build(S, lay="half"),
    "axes": build(S, parts=(0, 2, 1)),
    "token-order": build(S, order=(0, 2, 1)),
    "split": build((44, 42, 42)),
    "theta": build(S, 10000.0),
    "exponent": build(S, exponents=(128, 128, 128)),
    "endpoint": build(S, places=with_end),
    "shift": build(S, places=at(0, lambda p: p + 1)),
    "scaled": build(S, places=at(1, lambda p: p / 2)),
    "ntk": build(S),  # replaced below: theta differs by axis
    "sizes": lambda T, H, W: right(T, W, H),
    "swapped": lambda T, H, W: right(T, H, W)[::-1],
    "direction": lambda T, H, W: (right(T, H, W)[0], -right(T, H, W)[1]),
    "norm": lambda T, H, W: [1.5 * t for t in right(T, H, W)],
    "flipped": build(S, places=at(2, lambda p: p[::-1])),
    "centred": build(S, places=at(1, lambda p: p - p.mean())),
    "flat": in_a_row,
    "unturned": without_frames,
    "unit": build(S, places=at(1, lambda p: p / len(p))),
}


def stretched(T, H, W):
    return HUNYUAN.stretched("ntk", (66, 90, 160)).tables((T, H, W))


FAULTS["ntk"] = stretched


@pytest.mark.parametrize("code", FAULTS)
def test_planted_faults_are_named_in_tables_and_in_rotations(code):
    report = check_rope(FAULTS[code], like=LIKE)
    assert report.codes == (code,), str(report)
    rotation = whole(FAULTS[code], halves if code == "pairing" else neighbours)
    report = check_rope(rotation, like=LIKE)
    assert report.codes == (code,), str(report)
    assert not report.ok
    assert report.score_error.largest > 1e-3
    assert check_rope(whole(right), like=LIKE).ok


def test_a_split_of_wan_in_place_of_cogvideoxs():
    report = check_rope(build((44, 42, 42), 10000.0), like=COG128)
    assert report.codes == ("split",)
    assert "44/42/42" in report.departures[0].sentence
    assert "32/48/48" in report.departures[0].sentence
    assert check_rope(build((32, 48, 48), 10000.0), like=COG128).ok


def test_theta_is_measured():
    report = check_rope(build(S, 10000.0), like=LIKE)
    assert report.follows.theta == pytest.approx((10000.0,) * 3, rel=1e-5)
    assert "theta is 10,000; the model's is 256" in report.departures[0].sentence
    assert check_rope(build(WAN.split, 256.0), like="wan").codes == ("theta",)


def test_half_pairing_with_its_remedy():
    report = check_rope(whole(build(S, lay="half"), halves), like=LIKE)
    (departure,) = report.departures
    assert "permutation('half') = [0, 2, 4, 6, ..., 1, 3, ..., 127]" in departure.remedy
    order = HUNYUAN.permutation("half")
    assert order[:4] == [0, 2, 4, 6]
    assert order[64:66] == [1, 3]
    permuted = whole(build(S, lay="half"), halves)

    def remedied(x, T, H, W):
        back = np.argsort(order)
        return permuted(x[..., order], T, H, W)[..., back]

    assert check_rope(remedied, like=LIKE).ok


def test_half_rotation_with_interleaved_tables():
    def apply(q, k, cos, sin):
        return q * cos + halves(q) * sin, k * cos + halves(k) * sin

    report = check_rope(apply, like=LIKE)
    assert report.codes == ("mixed", "pairing")
    assert "half pairs with tables laid out for interleaved" in report.departures[0].sentence
    assert report.score_error.video > 0.3
    report = check_rope(whole(right, halves), like=LIKE)
    assert set(report.codes) == {"mixed", "pairing"}
    assert check_rope(apply, like=replace(LIKE, pairing="half")).ok


def test_a_shift_leaves_scores_among_video_tokens():
    report = check_rope(FAULTS["shift"], like=LIKE)
    assert report.score_error.video < 1e-12
    assert report.score_error.text > 0.05
    assert "scores among video tokens stay as they are" in report.departures[0].sentence
    assert report.follows.positions[0].start == pytest.approx(1, abs=1e-4)
    alone = check_rope(build(WAN.split, 10000.0, places=at(0, lambda p: p + 1)), like="wan")
    assert alone.codes == ("shift",)
    assert alone.score_error.text is None


def test_text_turned_too():
    def spin(words, cos, sin):
        n = words.shape[-2]
        return words * cos[-n:] + neighbours(words) * sin[-n:] if n else words

    assert check_rope(whole(right, text=spin), like=LIKE).codes == ("text",)
    report = check_rope(whole(right), like=LIKE, text_tokens=9)
    assert report.ok
    assert report.follows.turned == "video, not text"


def test_only_the_query_is_turned_or_keys_otherwise():
    turn = whole(right)
    assert check_rope(lambda q, k, T, H, W: (turn(q, T, H, W), k), like=LIKE).codes == ("query-only",)
    assert check_rope(lambda q, k, T, H, W: (q, turn(k, T, H, W)), like=LIKE).codes == ("key-only",)
    back = whole(FAULTS["direction"])
    report = check_rope(lambda q, k, T, H, W: (turn(q, T, H, W), back(k, T, H, W)), like=LIKE)
    assert report.codes == ("key",)
    assert check_rope(lambda q, k, T, H, W: (q, k), like=LIKE).codes == ("unturned",)


def test_the_crop_of_cogvideox():
    def ends(sizes):
        (top, left), (bottom, right_) = COG.grid.region(sizes)
        return [
            np.arange(sizes[0], dtype=float), np.linspace(top, bottom, sizes[1]), np.linspace(left, right_, sizes[2])
        ]  # fmt: skip

    def own(sizes):
        return COG.grid.positions(sizes)

    assert check_rope(build(COG.split, 10000.0, places=own), like="cogvideox").ok
    assert check_rope(build(COG.split, 10000.0, places=ends), like="cogvideox").codes == ("endpoint",)
    swapped = build(COG.split, 10000.0, places=lambda s: Crop((45, 30)).positions(s))
    assert check_rope(swapped, like="cogvideox").codes == ("grid",)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_coarse_angles_are_named(dtype):
    kind = getattr(torch, dtype)

    def table(T, H, W):
        parts = []
        grids = torch.meshgrid(*(torch.arange(m, dtype=kind) for m in (T, H, W)), indexing="ij")
        for n, grid in zip(S, grids, strict=True):
            frequencies = (1.0 / 256.0 ** (torch.arange(0, n, 2) / n)).to(kind)
            parts.append(grid.reshape(-1, 1) * frequencies)
        angles = torch.cat(parts, dim=1).float().repeat_interleave(2, dim=1)
        return angles.cos(), angles.sin()

    report = check_rope(table, like=LIKE)
    assert report.codes == ("precision",), str(report)
    assert f"in {dtype}" in report.departures[0].sentence


AXIS = st.integers(0, 2)
ORDERS = st.sampled_from([(0, 2, 1), (2, 1, 0), (1, 2, 0)])
PLACES = st.one_of(
    st.just(("endpoint", with_end)),
    st.builds(lambda i, d: ("shift", at(i, lambda p: p + d)), AXIS, st.sampled_from([1, -1, 0.5, 8])),
    st.builds(lambda i, d: ("scaled", at(i, lambda p: p / d)), AXIS, st.sampled_from([2, 1.5])),
)
AFTER = {
    "swapped": lambda cos, sin: (sin, cos),
    "direction": lambda cos, sin: (cos, -sin),
    "norm": lambda cos, sin: (1.3 * cos, 1.3 * sin),
}


@settings(max_examples=18, deadline=None)
@given(
    split=st.none() | st.just((44, 42, 42)),
    theta=st.none() | st.sampled_from([10000.0, 500.0, 300.0, 64.0]),
    half=st.booleans(),
    parts=st.none() | ORDERS,
    order=st.none() | ORDERS,
    places=st.none() | PLACES,
    after=st.none() | st.sampled_from(sorted(AFTER)),
    coarse=st.booleans(),
    turned=st.booleans(),
)
def test_several_faults_are_all_named(split, theta, half, parts, order, places, after, coarse, turned):
    planted = {"split": split, "theta": theta, "pairing": half, "axes": parts, "token-order": order}
    planted |= {places[0]: True} if places else {}
    planted |= {after: True} if after else {}
    codes = {code for code, there in planted.items() if there}
    if parts and parts == order:
        codes = codes - {"axes", "token-order"} | {"sizes"}
    inner = build(
        split or S, theta or 256.0, lay="half" if half else "interleaved", places=places[1] if places else lines,
        order=order or (0, 1, 2), parts=parts or (0, 1, 2),
    )  # fmt: skip

    def table(T, H, W):
        cos, sin = (torch.as_tensor(t) for t in AFTER.get(after, lambda *both: both)(*inner(T, H, W)))
        return (cos.bfloat16(), sin.bfloat16()) if coarse else (cos, sin)

    report = check_rope(whole(table, halves if half else neighbours) if turned else table, like=LIKE)
    assert set(report.codes) == codes, str(report)


@pytest.mark.parametrize(("after", "code"), [("swapped", "swapped"), ("direction", "direction"), ("norm", "norm")])
def test_faults_of_an_application(after, code):
    def apply(q, k, cos, sin, text_len):
        cos, sin = AFTER.get(after, lambda *both: both)(cos, sin)
        turned = [x.clone() for x in (q, k)]
        for x in turned:
            video = x[..., : x.shape[-2] - text_len, :]
            video[:] = video * cos + neighbours(video) * sin
        return turned

    assert check_rope(apply, like=LIKE).codes == (code,)
    after = None
    report = check_rope(apply, like=LIKE)
    assert report.ok
    assert report.follows.turned == "video, not text"


def test_tables_of_another_size():
    report = check_rope(lambda T, H, W: right(T, H + 1, W), like=LIKE)
    assert report.codes == ("table-size",)
    assert "60 rows of 128 for a grid of 2×4×6" in report.departures[0].sentence
    report = check_rope(lambda T, H, W: [np.stack([t, t]) for t in right(T, H, W)], like=LIKE)
    assert report.departures[0].remedy == "make 48 rows, one for each token, without a batch"
    for other in ((16, 24, 24), (16, 16, 16), (24, 56, 56)):
        assert check_rope(build(other), like=LIKE).codes == ("table-size",)


def spun(x, T, H, W, table=right):
    cos, sin = (torch.as_tensor(t).float() for t in table(T, H, W))
    return x * cos + neighbours(x) * sin


def apart(on_query=lambda x: x, on_key=lambda x: x, on_text=lambda i, x: x):
    """f(q, k, T, H, W, text_len) that turns as the model does, and does something more to one of the two."""

    def rotate(q, k, T, H, W, text_len):
        out = []
        for i, (x, more) in enumerate(((q, on_query), (k, on_key))):
            n = T * H * W
            out.append(torch.cat((more(spun(x[..., :n, :], T, H, W)), on_text(i, x[..., n:, :])), dim=-2))
        return tuple(out)

    return rotate


def first_only(q, k, T, H, W):
    return spun(q, T, H, W), spun(q, T, H, W)


def by_tokens():
    """A table builder that remembers its tables by the number of tokens alone."""
    known = {}
    return lambda T, H, W: known.setdefault(T * H * W, right(T, H, W))


REMEMBERED = by_tokens()


def text_first(x, T, H, W, text_len):
    return torch.cat((x[..., :text_len, :], spun(x[..., text_len:, :], T, H, W)), dim=-2)


def at_times(x, T, H, W):
    return spun(x, T, H, W) if torch.rand(()) < 0.5 else x


def permuted(before, after):
    half = build(S, lay="half")
    return lambda x, T, H, W: whole(half, halves)(x[..., before], T, H, W)[..., after]


ORDER = HUNYUAN.permutation("half")
BACK = np.argsort(ORDER).tolist()


def frequencies(exponent, theta=256.0, flip=False):
    def table(T, H, W):
        grids = np.meshgrid(*lines((T, H, W)), indexing="ij")
        rates = [theta ** -exponent(n) for n in S]
        angles = [np.outer(g.reshape(-1), r[::-1] if flip else r) for g, r in zip(grids, rates, strict=True)]
        both = np.repeat(np.concatenate(angles, axis=1), 2, axis=1)
        return np.cos(both), np.sin(both)

    return table


def usual(n):
    return np.arange(0, n, 2) / n


def scattered(T, H, W):
    return [t + 1e-3 * np.random.default_rng(T * H * W).standard_normal(t.shape) for t in right(T, H, W)]


def one_pair_still(T, H, W):
    return [np.where(np.arange(128) < 126, t, v) for t, v in zip(right(T, H, W), (1.0, 0.0), strict=True)]


def partly(x, cos, sin):
    return torch.cat(((x * cos + neighbours(x) * sin)[..., :64], x[..., 64:]), dim=-1)


def with_key(change):
    return lambda q, k, T, H, W: (spun(q, T, H, W), spun(change(k), T, H, W))


def from_cut(q, k, T, H, W):
    return spun(q, T, H, W).clamp(min=-5), spun(k, T, H, W)


SUBTLE = {
    "query as key": (first_only, ("key",), "the returned key is the turned query"),
    "exchanged": (lambda q, k, T, H, W: (spun(k, T, H, W), spun(q, T, H, W)), ("key",), "return the query first"),
    "key's tokens": (
        lambda q, k, T, H, W: (spun(q, T, H, W), spun(k.flip(-2), T, H, W)),
        ("unknown",),
        "the key of random vectors",
    ),
    "key's heads": (
        lambda q, k, T, H, W: (spun(q, T, H, W), spun(k.roll(1, 1), T, H, W)),
        ("heads",),
        "heads of the key change places",
    ),
    "key's text": (apart(on_text=lambda i, x: -x if i else x), ("text",), "text tokens of the key"),
    "text's order": (apart(on_text=lambda i, x: x.flip(-2)), ("text",), "query and the key come out in another order"),
    "text's side": (text_first, ("text-side",), "text stands before the video"),
    "clamp": (from_cut, ("unknown",), "do not come out 16 times as large"),
    "a little longer": (lambda x, T, H, W: 1.004 * spun(x, T, H, W), ("norm",), "multiplied by 1.004"),
    "softmax scale": (apart(on_query=lambda x: x * 128**-0.5), ("norm",), "scores are 0.08839 times"),
    "scales that cancel": (apart(lambda x: 2 * x, lambda x: x / 2), ("norm",), "which cancel in scores"),
    "random": (at_times, ("unsteady",), "different answers"),
    "cache": (by_tokens(), ("cache",), "as many tokens"),
    "cache, rotating": (lambda x, T, H, W: spun(x, T, H, W, REMEMBERED), ("cache",), "as many tokens"),
    "remedy backward": (permuted(BACK, ORDER), ("permutation",), "the wrong way round"),
    "exponent k/n": (frequencies(lambda n: usual(n) / 2), ("theta",), "take 2k/n in the exponent"),
    "slow first": (frequencies(usual, flip=True), ("slow-first",), "from slow to fast"),
    "theta 257": (build(S, 257.0), ("theta",), "theta is 257"),
    "theta 256.01": (build(S, 256.01), ("theta",), "theta is 256.01"),
    "scatter": (scattered, ("unknown",), "scatter round the model's"),
    "zeros": (lambda x, T, H, W: 0 * x, ("zeros",), "every cosine and sine is 0"),
    "cosines": (lambda x, cos, sin: x * cos, ("unturned",), "no two columns turn together"),
    "still": (lambda x, cos, sin: x, ("unturned",), "every cosine is 1"),
    "one pair still": (one_pair_still, ("unturned",), "2 of the 128 numbers"),
    "half a head": (partly, ("unturned",), "64 of the 128 numbers"),
    "degrees": (build(S, places=every(lambda p: p * 180 / np.pi)), ("scaled",), "degrees in place of radians"),
    **{
        f"times {m:.3g}": (build(S, places=at(i, lambda p, m=m: p * m)), ("scaled",), "multiplied by")
        for m, i in ((4, 0), (16, 2), (np.pi, 0), (2 * np.pi, 1))
    },
    "two": (build((44, 42, 42), 10000.0, places=every(lambda p: 8 * p)), ("split", "theta", "scaled"), "by 8"),
}


@pytest.mark.parametrize("fault", SUBTLE)
def test_subtle_faults_are_named_for_what_they_are(fault):
    f, codes, said = SUBTLE[fault]
    report = check_rope(f, like=LIKE)
    assert report.codes == codes, str(report)
    assert said in " ".join(f"{d.sentence}; {d.remedy}" for d in report.departures)


def test_what_those_faults_are_planted_in_is_right():
    for f in (apart(), permuted(ORDER, BACK), frequencies(usual), lambda x, T, H, W: spun(x, T, H, W)):
        report = check_rope(f, like=LIKE)
        assert report.ok, str(report)
        assert report.scores.error.video < 1e-6


def test_what_depends_on_no_probe_is_still_caught_by_scores():
    big = lambda T, H, W: [t * (0.5 if T * H * W == 9 * 10 * 12 else 1) for t in right(T, H, W)]  # noqa: E731
    for f in (big, lambda x, T, H, W: spun(x, T, H, W, big)):
        report = check_rope(f, like=LIKE)
        assert report.codes == ("unknown",)
        assert "on a grid of 9×10×12" in report.departures[0].sentence
    elsewhere = lambda T, H, W: [t[::-1] if (T, H, W) == (4, 6, 2) else t for t in right(T, H, W)]  # noqa: E731
    assert "on a grid of 4×6×2" in check_rope(elsewhere, like=LIKE).departures[0].sentence


def test_scores_are_those_of_show_rope():
    from tracer.rope.scores import moved

    other = rope.changed(LIKE, "six-way")
    report = check_rope(lambda T, H, W: other.tables((T, H, W)), like=LIKE)
    assert report.score_error.video == pytest.approx(moved(LIKE, other, LIKE.trained).error.video, rel=1e-9)
    assert (report.scores.tokens, report.scores.grid) == (512, (9, 10, 12))
    assert "on 512 tokens of 9×10×12, random queries and keys" in " ".join(str(report).split())
    wide = replace(HUNYUAN, trained=(33, 60, 104))
    assert check_rope(lambda T, H, W: np.exp(1j * wide.angles((T, H, W))), like=wide).scores.grid == (17, 60, 104)


def test_positions_are_printed_where_they_differ():
    from diffusers.models.embeddings import get_3d_rotary_pos_embed

    report = check_rope(lambda T, H, W: get_3d_rotary_pos_embed(64, ((0, 0), (30, 45)), (H, W), T), like="cogvideox")
    (departure,) = report.departures
    ours, theirs = re.search(r"column ([^;]*?), and the model's (.*?) \(", departure.sentence).groups()
    assert departure.code == "grid"
    assert ours != theirs


def as_matrices(T, H, W):
    cos, sin = (torch.as_tensor(t)[:, ::2] for t in right(T, H, W))
    return torch.stack((torch.stack((cos, -sin), dim=-1), torch.stack((sin, cos), dim=-1)), dim=-2)


def stacked(T, H, W):
    return torch.stack([torch.as_tensor(t) for t in right(T, H, W)])


def even(T, H, W):
    assert H % 2 == W % 2 == 0
    return right(T, H, W)


def of_24(x, T, H, W):
    return spun(x.view(1, 24, -1, 128), T, H, W)


def at_places(coordinates, own):
    """Tables of (S, 3) coordinates, with no regard to -1."""
    places = np.asarray(coordinates, dtype=np.float64)
    rates = [own.theta ** -usual(n) for n in own.split]
    angles = np.concatenate([places[:, [i]] * rate for i, rate in enumerate(rates)], axis=1)
    return own.laid_out(angles)


def turn(x, cos, sin):
    return x * cos + neighbours(x) * sin


@pytest.mark.parametrize(
    ("f", "asked"),
    [
        (lambda T, H, W: dict(zip(("freqs_cos", "sin"), right(T, H, W), strict=True)), {}),
        (stacked, {}),
        (lambda T, H, W: stacked(T, H, W).transpose(0, 1), {}),
        (lambda T, H, W: stacked(T, H, W)[..., ::2].permute(1, 2, 0), {}),
        (as_matrices, {}),
        (even, {}),
        (of_24, {"heads": 24}),
        (lambda position_ids: at_places(position_ids, HUNYUAN), {}),
        (lambda a: at_places(a, HUNYUAN), {"form": "positions"}),
        (lambda x, cos, sin, *more, **options: turn(x, cos, sin), {}),
        (lambda x, *, cos, sin: turn(x, cos, sin), {}),
        (lambda x, scale=1, cos=None, sin=None: turn(x, cos, sin), {}),
        (lambda T=1, H=1, W=1: right(T, H, W), {}),
        (lambda q, k, cos, sin: torch.stack((turn(q, cos, sin), turn(k, cos, sin))), {}),
    ],
)
def test_other_shapes_that_code_has(f, asked):
    report = check_rope(f, like=LIKE, **asked)
    assert report.ok, str(report)


def test_masks_of_coordinates():
    own = replace(rope.published("sat-pnp"), trained=(5, 6, 8))

    def unmasked(position_ids):
        return at_places(position_ids, own)

    def masked(position_ids):
        return [np.where((np.asarray(position_ids) == -1).any(-1)[:, None], v, t)
                for v, t in zip((1.0, 0.0), unmasked(position_ids), strict=True)]  # fmt: skip

    assert check_rope(masked, like=own).ok
    assert check_rope(unmasked, like=own).codes == ("mask",)


def test_what_has_no_name_is_said_to_have_none():
    def odd(T, H, W):
        cos, sin = right(T, H, W)
        angles = np.arctan2(sin, cos)
        angles[3, 20:22] += 0.3
        return np.cos(angles), np.sin(angles)

    report = check_rope(odd, like=LIKE)
    assert report.codes[-1] == "unknown"
    assert "no fault known here explains it" in report.departures[-1].sentence

    def mixes(x, T, H, W):
        return whole(right)(x, T, H, W).roll(1, dims=1)

    assert check_rope(mixes, like=LIKE).codes == ("heads",)

    def minus(q, k, cos, sin):
        swap = [x.unflatten(-1, (-1, 2)).flip(-1).flatten(-2) for x in (q, k)]
        return q * cos + swap[0] * sin, k * cos + swap[1] * sin

    assert "sign" in check_rope(minus, like=LIKE).codes


# --- any rope -------------------------------------------------------------------------------------

parts = st.integers(1, 5).map(lambda n: 2 * n)
ropes = st.builds(
    Rope3D,
    name=st.just("any"),
    split=st.tuples(parts, parts, parts),
    theta=st.floats(20, 1e5),
    pairing=st.sampled_from(["interleaved", "half", "half-axis"]),
    grid=st.builds(Whole, first=st.tuples(*[st.integers(-3, 9).map(float)] * 3)),
    placement=st.sampled_from([Placement(), Placement("before"), Placement("after")]),
    trained=st.just((5, 6, 8)),
)


@settings(max_examples=10, deadline=None)
@given(ropes)
def test_what_is_measured_is_what_was_built(own):
    like = replace(SMALL, split=own.split, grid=own.grid, placement=own.placement, trained=(5, 6, 8), theta=77.0)
    for f in (
        lambda T, H, W: own.tables((T, H, W)),
        lambda x, T, H, W, text_len=0: own.rotate(x, (T, H, W), text=text_len),
    ):
        assert check_rope(f, like=own).ok
        measured = check_rope(f, like=like).follows
        assert measured.split == tuple(zip(("frame", "row", "column"), own.split, strict=True))
        assert set(replace(own, pairing=measured.pairing).pairs) == set(own.pairs)
        for theta, n in zip(measured.theta, own.split, strict=True):
            assert theta is None if n == 2 else theta == pytest.approx(own.theta, rel=1e-3)
        assert [p.start for p in measured.positions] == pytest.approx(own.grid.first, abs=2e-3)
        assert [p.step for p in measured.positions] == pytest.approx([1, 1, 1], abs=1e-4)


# --- how f is told --------------------------------------------------------------------------------


def test_forms_are_told_by_names_or_said():
    assert check_rope(lambda sizes: right(*sizes), like=LIKE).ok
    assert check_rope(lambda width, height, frames: right(frames, height, width), like=LIKE).ok
    assert check_rope(lambda a, b, c: right(a, b, c), like=LIKE, form="table").ok
    assert check_rope(lambda x, sizes: whole(right)(x, *sizes), like=LIKE).ok
    assert check_rope(lambda a, b, c: a * b + neighbours(a) * c, like=LIKE, form="apply").ok


@pytest.mark.parametrize(
    ("f", "form", "said"),
    [
        (lambda a, b: a, None, r"f\(a, b\) cannot be told by its arguments: .*form=\"table\""),
        (torch.nn.Linear(2, 2), None, r"Linear\(input\) cannot be told .*check_rope\(lambda T, H, W"),
        (3, None, "a int is no function"),
        (lambda T, H, W: 1 / 0, None, r"f raised ZeroDivisionError: division by zero \(a grid of 2×4×6\)"),
        (lambda x, T, H, W: x[..., :3], None, r"gave back \(1, 3, \d+, 3\) for \(1, 3, \d+, 128\)"),
        (lambda T, H, W: np.zeros((T * H * W, 128)), None, "one real table"),
        (lambda T, H, W: right(T, H, W), "tables", "'tables' is no form"),
        (lambda T, H, W: {"a": 1}, None, "a dict of a; it has cos and sin"),
        (lambda T, H, W: "x", None, "gave back a str"),
        (lambda T, H, W: (1, 2, 3), None, "gave back 3 values"),
        (lambda x, cos, sin: None, None, "return what it turned"),
        (lambda *a: right(*a), None, r"f\(\*a\) cannot be told .*; wrap it"),
        (max, None, "max, which does not say what it takes, cannot be told .*; wrap it"),
    ],
)
def test_refusals_are_a_sentence(f, form, said):
    with pytest.raises(BadRequest, match=said) as caught:
        check_rope(f, like=LIKE, form=form)
    assert "\n" not in str(caught.value)


def test_other_refusals():
    for like in (None, 3, Rope3D):
        with pytest.raises(BadRequest, match="it is a name, such as 'hunyuanvideo', or a Rope3D"):
            check_rope(right, like=like)
    for asked in ({"text_tokens": "a"}, {"text_tokens": 2.5}, {"text_tokens": -1}, {"heads": 0}):
        with pytest.raises(BadRequest, match="it is a whole number of at least"):
            check_rope(whole(right), like=LIKE, **asked)
    with pytest.raises(BadRequest, match="a table builder has no text"):
        check_rope(right, like=LIKE, text_tokens=5)
    with pytest.raises(UnknownName):
        check_rope(right, like="hunyuanvidoe")
    with pytest.raises(BadRequest, match="leave text_tokens out"):
        check_rope(whole(build(WAN.split, 10000.0)), like="wan", text_tokens=4)


def test_nothing_is_left_behind():
    module = torch.nn.Linear(128, 128)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()

    def rotate(x, T, H, W):
        assert not torch.is_grad_enabled()
        return module(x)

    first = check_rope(rotate, like=LIKE)
    assert not first.ok
    assert str(check_rope(rotate, like=LIKE)) == str(first)
    assert module.training
    assert module.weight.grad is None
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_the_report_reads_well():
    said = str(check_rope(FAULTS["theta"], like=LIKE))
    assert said.splitlines()[0] == "table(T, H, W) beside hunyuanvideo: 1 departure"
    assert all(len(line) <= 100 for line in said.splitlines())
    assert "  theta      10,000" in said
    assert "fix: set theta to 256." in said
    assert "scores off by: video with video" in said
    assert "nothing departs" in str(check_rope(right, like=LIKE))
