"""Ropes as data: against a reference of complex numbers, their laws, and what they refuse."""

import cmath
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tracer import families, rope
from tracer.errors import BadRequest, TracerError
from tracer.rope.rope3d import PAIRINGS, quarter, six_way
from tracer.rope.variants import CHANGES, ORIGINALS, changed

EPS = np.finfo(np.float64).eps
NAMES = rope.names()
COG = rope.Rope3D("cog", (16, 24, 24))
SMALL = rope.Rope3D("small", (4, 6, 6), theta=100.0)

# ---- the reference: one token and one pair at a time, in complex numbers ----


def columns(r):
    """The two columns of every pair, with its axis and its place there."""
    d, start = sum(r.split), 0
    for axis, n in enumerate(r.split):
        for k in range(n // 2):
            j = start // 2 + k
            yield {
                "interleaved": (2 * j, 2 * j + 1), "half": (j, j + d // 2), "half-axis": (start + k, start + k + n // 2)
            }[r.pairing], axis, k  # fmt: skip
        start += n


def places(grid, sizes):
    if isinstance(grid, rope.Whole):
        return [[first + i for i in range(n)] for first, n in zip(grid.first, sizes, strict=True)]
    (top, left), (bottom, right) = get_resize_crop_region_for_grid(sizes[1:], grid.base[1], grid.base[0])
    spread = [np.linspace(a, b * (n - 1) / n, n) for a, b, n in ((top, bottom, sizes[1]), (left, right, sizes[2]))]
    return [list(range(sizes[0])), *spread]


def angle(r, position, axis, k):
    n, linear, ntk = r.split[axis], r.interpolation.linear[axis], r.interpolation.ntk[axis]
    theta = r.theta * ntk ** (n / (n - 2)) if n > 2 else r.theta
    return position / linear / theta ** (2 * k / n)


def reference(r, x, sizes):
    """x (S, d) turned, and the tables (S, d), as loops."""
    t, h, w = places(r.grid, sizes)
    out, cos, sin = (np.empty((len(x), x.shape[1])) for _ in range(3))
    for token, position in enumerate((a, b, c) for a in t for b in h for c in w):
        for (first, second), axis, k in columns(r):
            turn = cmath.rect(1.0, angle(r, position[axis], axis, k))
            z = complex(x[token, first], x[token, second]) * turn
            out[token, first], out[token, second] = z.real, z.imag
            cos[token, [first, second]], sin[token, [first, second]] = turn.real, turn.imag
    return out, cos, sin


def bound(r, sizes):
    """What float64 leaves open: a frequency is off by some units in its last place, an angle by that times its size.

    theta^x is off by about ln theta units, which is below 16 for every theta here, and each side has its own error.
    """
    reach = max(abs(p) / f for row, f in zip(places(r.grid, sizes), r.interpolation.linear, strict=True) for p in row)
    fastest = max(1.0, *(f.max() * s for f, s in zip(r.frequencies(), r.interpolation.linear, strict=True)))
    return 32 * EPS * (1 + reach * fastest)


evens = st.integers(2, 8).map(lambda n: 2 * n)
factors = st.tuples(*[st.floats(0.5, 8)] * 3)
grids = st.one_of(
    st.builds(rope.Whole, first=st.tuples(*[st.integers(-3, 40) | st.floats(-2, 2)] * 3)),
    st.builds(rope.Whole, most=st.tuples(*[st.none() | st.integers(8, 20)] * 3)),
    st.builds(rope.Crop, base=st.tuples(st.integers(1, 60), st.integers(1, 90))),
)
ropes = st.builds(
    rope.Rope3D, name=st.just("made"), split=st.tuples(evens, evens, evens), theta=st.floats(2, 1e6),
    pairing=st.sampled_from(sorted(PAIRINGS)), grid=grids,
    interpolation=st.builds(rope.Interpolation, linear=factors, ntk=factors),
)  # fmt: skip
sizes_of_some = st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 5))


def vectors(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def check_against_reference(r, sizes):
    x = vectors(np.prod(sizes), r.head_dim)
    turned, cos, sin = reference(r, x, sizes)
    tables, close = r.tables(sizes), bound(r, sizes)
    for mine, other in zip(tables, (cos, sin), strict=True):
        assert mine.shape == (np.prod(sizes), r.head_dim)
        np.testing.assert_allclose(mine, other, rtol=0, atol=close)
    np.testing.assert_allclose(r.apply(x, tables), turned, rtol=0, atol=8 * close)  # |x| stays below 4


@pytest.mark.parametrize("name", NAMES)
def test_published_ropes_are_the_reference(name):
    check_against_reference(rope.published(name), (2, 3, 4))


@settings(deadline=None, max_examples=60)
@given(ropes, sizes_of_some)
def test_any_rope_is_the_reference(r, sizes):
    check_against_reference(r, sizes)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("name", ["cogvideox-5b", "hunyuanvideo", "allegro"])
def test_changed_ropes_are_the_reference(name, change):
    r = rope.published(name)
    if change == "quarter" and r.head_dim == 96:
        assert quarter(96) == (24, 36, 36)
    check_against_reference(changed(r, change, (40, 60, 50)), (2, 3, 4))


def test_large_positions_are_as_exact_as_float64_lets_them():
    r = replace(COG, grid=rope.Whole(first=(1e4, 1e3, 0.0)))
    check_against_reference(r, (2, 2, 2))


# ---- libraries, dtypes, axes, gradients ----


@settings(deadline=None, max_examples=40)
@given(ropes, sizes_of_some)
def test_numpy_and_torch_agree(r, sizes):
    x = vectors(2, np.prod(sizes), r.head_dim)
    tables = r.tables(sizes)
    as_torch = r.tables(sizes, like=torch.empty(0, dtype=torch.float64))
    for mine, other in zip(tables, as_torch, strict=True):
        assert np.array_equal(mine, other.numpy())
    turned = r.apply(x, tables)
    for given_tables in (tables, as_torch):
        np.testing.assert_allclose(r.apply(torch.from_numpy(x), given_tables), turned, rtol=0, atol=8 * EPS)
        np.testing.assert_allclose(r.apply(x, given_tables), turned, rtol=0, atol=8 * EPS)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_torch_dtypes_stay_and_cost_one_rounding(dtype):
    sizes = (2, 3, 4)
    x = torch.from_numpy(vectors(24, 64)).to(dtype)
    exact = COG.apply(x.double(), COG.tables(sizes))
    turned = COG.apply(x, COG.tables(sizes))  # tables in float32 at least
    assert turned.dtype == dtype
    assert turned.shape == x.shape
    torch.testing.assert_close(turned.double(), exact, rtol=0, atol=8 * torch.finfo(dtype).eps)
    cos, sin = COG.tables(sizes, like=x)
    assert cos.dtype == sin.dtype == dtype


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_numpy_dtypes_stay(dtype):
    x = vectors(24, 64).astype(dtype)
    turned = COG.apply(x, COG.tables((2, 3, 4)))
    assert turned.dtype == x.dtype
    exact = COG.apply(x.astype(np.float64), COG.tables((2, 3, 4)))
    np.testing.assert_allclose(turned, exact, rtol=0, atol=8 * np.finfo(dtype).eps)


def test_tables_like_whole_numbers_are_float64():
    assert COG.tables((1, 1, 1), like=torch.zeros(1, dtype=torch.int64))[0].dtype == torch.float64


def test_gradients_are_the_inverse_rotation():
    tables = COG.tables((2, 3, 4))
    x, weight = (torch.from_numpy(vectors(2, 24, 64, seed=s)) for s in (0, 1))
    x.requires_grad_()
    (COG.apply(x, tables) * weight).sum().backward()
    torch.testing.assert_close(x.grad, COG.apply(weight, tables, inverse=True))


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("axis", [1, -3])
def test_tokens_may_stand_on_another_axis(make, axis):
    x = vectors(2, 24, 5, 64)  # (B, S, h, d)
    tables = COG.tables((2, 3, 4))
    turned = COG.apply(make(x), tables, axis=axis)
    other = COG.apply(make(x.swapaxes(1, 2).copy()), tables)
    assert np.array_equal(np.asarray(turned), np.asarray(other).swapaxes(1, 2))
    rotated = replace(COG, placement=rope.Placement("after")).rotate(make(x), (2, 3, 3), text=6, axis=axis)
    assert np.array_equal(np.asarray(rotated)[:, 18:], x[:, 18:])
    assert rotated.shape == x.shape


def test_tables_with_the_axes_of_x_are_taken_as_they_are():
    x, (cos, sin) = vectors(2, 24, 5, 64), COG.tables((2, 3, 4))
    assert np.array_equal(COG.apply(x, (cos[:, None], sin[:, None]), axis=1), COG.apply(x, (cos, sin), axis=1))


# ---- the laws ----


@settings(deadline=None, max_examples=60)
@given(ropes, sizes_of_some)
def test_norms_are_kept_and_inverse_undoes(r, sizes):
    x, tables = vectors(np.prod(sizes), r.head_dim), r.tables(sizes)
    turned = r.apply(x, tables)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=16 * EPS)
    np.testing.assert_allclose(r.apply(turned, tables, inverse=True), x, rtol=0, atol=32 * EPS)


position = st.tuples(*[st.integers(0, 120)] * 3)


@settings(deadline=None, max_examples=80)
@given(ropes, position, position, st.integers(0, 2), st.integers(1, 60))
def test_scores_depend_on_differences_of_positions_alone(r, at_q, at_k, axis, shift):
    q, k = vectors(r.head_dim), vectors(r.head_dim, seed=1)

    def score(one, other):
        return r.apply(q, r.laid_out(r.at(one))) @ r.apply(k, r.laid_out(r.at(other)))

    def moved(place):
        return [p + shift * (i == axis) for i, p in enumerate(place)]

    reach = 180 * max(1.0, *(f.max() for f in r.frequencies()))
    close = 64 * EPS * reach * np.linalg.norm(q) * np.linalg.norm(k)
    assert abs(score(moved(at_q), moved(at_k)) - score(at_q, at_k)) <= close


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_shift_of_one_side_is_seen(axis):
    q, k = vectors(COG.head_dim), vectors(COG.head_dim, seed=1)
    shifted = np.eye(3)[axis] * 3
    here, there = (COG.apply(k, COG.laid_out(COG.at(place))) for place in (np.zeros(3), shifted))
    assert abs(q @ here - q @ there) > 0.1


@settings(deadline=None, max_examples=40)
@given(ropes, st.lists(st.integers(0, 2), min_size=1, max_size=3), position)
def test_masked_coordinates_are_identity(r, axes, place):
    r, masked = replace(r, masked=-1), [-1 if i in axes else p for i, p in enumerate(place)]
    angles = r.at([masked, place])
    assert not angles[0].any()
    x = vectors(2, r.head_dim)
    assert np.array_equal(r.apply(x, r.laid_out(angles))[0], x[0])
    assert np.array_equal(angles[1], r.at(place))


def test_a_grid_that_begins_at_minus_one_is_not_masked():
    r = replace(COG, grid=rope.Whole(first=(-1.0, 0.0, 0.0)), masked=-1)
    assert r.angles((1, 1, 1)).any()
    assert not r.at((-1, 0, 0)).any()


def test_what_is_masked_is_the_ropes_own():
    """Kaleido's subjects stand at frame -1 and turn; in the code with coordinates -1 means no place at all."""
    masking = [name for name in NAMES if rope.published(name).masked is not None]
    assert masking == ["sat-pnp"]
    assert not rope.published("sat-pnp").at([[-1, 3, 4], [2, -1, 4], [-1, -1, -1]]).any()
    kaleido = rope.published("kaleido")
    fast = kaleido.at([-1, 0, 0])[kaleido.parts[0]]
    np.testing.assert_array_equal(fast, -kaleido.frequencies()[0])
    assert not replace(kaleido, masked=0.5).at([0.5, 1, 1]).any()


def test_mixed_conventions_break_norm_and_relativity():
    """Tables of neighbours with pairs across the halves: x·cos + rotate_half(x)·sin."""
    sizes = (4, 6, 6)
    half, (cos, sin) = replace(COG, pairing="half"), COG.tables(sizes)
    x = vectors(np.prod(sizes), 64)
    turned = half.apply(x, (cos, sin))
    by_hand = x * cos + np.concatenate([-x[:, 32:], x[:, :32]], axis=-1) * sin
    np.testing.assert_allclose(turned, by_hand, rtol=0, atol=8 * EPS)
    norms = np.linalg.norm(turned, axis=-1) / np.linalg.norm(x, axis=-1)
    assert 0.1 < np.abs(norms - 1).max() < 1
    same = np.broadcast_to(x[:1], x.shape)  # one content everywhere: only places tell scores apart
    q, right = (r.apply(same, (cos, sin)).reshape(*sizes, 64) for r in (half, COG))
    for axis in range(3):
        first, last = np.take(q, 0, axis), np.take(q, 1, axis)
        then, later = np.take(q, 2, axis), np.take(q, 3, axis)
        off = (first * last).sum(-1) - (then * later).sum(-1)  # both are one step apart
        assert np.abs(off).max() / (x[0] @ x[0]) > 0.01, axis
        ok = (np.take(right, 0, axis) * np.take(right, 1, axis)).sum(-1)
        np.testing.assert_allclose((np.take(right, 2, axis) * np.take(right, 3, axis)).sum(-1), ok, rtol=1e-12)


@pytest.mark.parametrize("mine", sorted(PAIRINGS))
@pytest.mark.parametrize("theirs", sorted(PAIRINGS))
def test_permuted_weights_work_under_another_pairing(mine, theirs):
    """Projections and norms of two heads: the same scores, and others without the permutation."""
    torch.manual_seed(0)
    heads, d, sizes = 2, SMALL.head_dim, (2, 3, 4)
    layers = [torch.nn.Linear(10, heads * d).double() for _ in "qk"]
    norms = [torch.nn.RMSNorm(d).double() for _ in "qk"]
    for norm in norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 2.0)
    trained, other = replace(SMALL, pairing=mine), replace(SMALL, pairing=theirs)
    x = torch.randn(np.prod(sizes), 10, dtype=torch.float64)

    def scores(r, order):
        turned = []
        for layer, norm in zip(layers, norms, strict=True):
            weight, bias = (w.unflatten(0, (heads, d))[:, order] for w in (layer.weight, layer.bias))
            y = torch.einsum("hdi,si->hsd", weight, x) + bias[:, None]
            y = torch.nn.functional.rms_norm(y, (d,), norm.weight[order])
            turned.append(r.apply(y, r.tables(sizes)))
        return turned[0] @ turned[1].mT

    right = scores(trained, list(range(d)))
    torch.testing.assert_close(scores(other, trained.permutation(theirs)), right, rtol=0, atol=1e-12)
    if mine != theirs:
        assert (scores(other, list(range(d))) - right).abs().max() > 0.1


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize(("text", "first"), [("before", 5), ("after", 0)])
def test_rotate_turns_the_video_and_not_one_bit_of_the_text(make, text, first):
    r, sizes = replace(COG, placement=rope.Placement(text)), (2, 3, 4)
    x = vectors(2, 29, 64)
    words = np.ones(29, dtype=bool)
    words[first : first + 24] = False
    special = np.flatnonzero(words)
    x[:, special[0], :4] = -0.0, np.inf, np.nan, -np.inf  # values that no arithmetic would leave alone
    turned = np.asarray(r.rotate(make(x.copy()), sizes, text=5))
    assert turned[:, words].tobytes() == x[:, words].tobytes()
    assert np.array_equal(turned[:, ~words], r.apply(x[:, ~words], r.tables(sizes)))
    assert (turned[:, ~words] != x[:, ~words]).any(axis=(0, 2))[1:].all()  # all but the token at (0, 0, 0)
    back = np.asarray(r.rotate(make(turned.copy()), sizes, text=5, inverse=True))
    np.testing.assert_allclose(back[:, ~words], x[:, ~words], rtol=0, atol=32 * EPS)


def test_without_text_in_the_sequence_its_number_is_no_matter():
    x = vectors(24, 64)
    assert np.array_equal(COG.rotate(x, (2, 3, 4), text=7), COG.apply(x, COG.tables((2, 3, 4))))
    with pytest.raises(BadRequest, match=r"alone \(text is not in the sequence of this placement\) makes 24\.$"):
        COG.rotate(vectors(31, 64), (2, 3, 4), text=7)


# ---- what is refused, in one sentence ----


def made(**fields):
    return lambda: rope.Rope3D(**{"name": "made", "split": (16, 24, 24)} | fields)


X = vectors(24, 64)
TABLES = COG.tables((2, 3, 4))
REFUSED = {
    "odd": (made(split=(15, 24, 25)), "the frame's 15 numbers do not make pairs; each part must be even"),
    "odd-row": (made(split=(16, 23, 25)), "the row's 23 numbers"),
    "two-parts": (made(split=(32, 32)), "a split of 32/32: a head is split in three parts of at least 2 whole numbers"),
    "one-number": (made(split=64), "a split of 64: a head is split in three parts"),
    "zero": (made(split=(64, 0, 0)), "three parts of at least 2 whole numbers"),
    "negative": (made(split=(80, -8, -8)), "a split of 80/-8/-8: a head is split in three parts of at least 2"),
    "floats": (made(split=(16.0, 24.0, 24.0)), "a split of 16.0/24.0/24.0"),
    "text": (made(split="16/24/24"), "a split of 16/24/24: a head is split in three parts of at least 2 whole numbers"),
    "none": (made(split=None), "a split of None"),
    "theta-1": (made(theta=1), "a theta of 1: it must be a finite number above 1"),
    "theta-negative": (made(theta=-10000.0), "it must be a finite number above 1, such as 10000 or 256"),
    "theta-nan": (made(theta=float("nan")), "a theta of nan"),
    "theta-inf": (made(theta=float("inf")), "a theta of inf"),
    "theta-text": (made(theta="10000"), "a theta of 10000: it must be a finite number"),
    "pairing": (made(pairing="halves"), "'halves' is no pairing; it is interleaved, half, half-axis"),
    "laid": (made(laid="halved"), "tables laid 'halved': it is whole, axes, angles"),
    "pairing-list": (made(pairing=["half"]), "is no pairing"),
    "grid-name": (made(grid="whole"), "'whole' for its grid: it takes one such as Whole() or Crop((30, 45))"),
    "grid-none": (made(grid=None), "a rope with None for its grid"),
    "interpolation": (made(interpolation=2.0), "2.0 for its interpolation: it takes one such as Interpolation("),
    "placement": (made(placement="before"), "a rope with 'before' for its placement: it takes one such as Placement("),
    "placement-text": (lambda: rope.Placement("front"), "with text 'front': text is before, after or none"),
    "placement-turned": (lambda: rope.Placement("before", "nothing"), "with turned 'nothing': turned is video or all"),
    "trained": (made(trained="x"), "a grid of (x) tokens: it has three whole sizes"),
    "masked": (made(masked="-1"), "a masked coordinate of '-1': it is a finite number such as -1, or None"),
    "factor-zero": (lambda: rope.Interpolation(linear=(1, 0, 1)), "interpolation factors (1, 0, 1): there are three"),
    "factor-negative": (lambda: rope.Interpolation(ntk=(1, -2, 1)), "above 0, for frame, row and column"),
    "factor-nan": (lambda: rope.Interpolation(linear=(1, float("nan"), 1)), "interpolation factors (1, nan, 1)"),
    "factor-inf": (lambda: rope.Interpolation(ntk=(1, float("inf"), 1)), "interpolation factors (1, inf, 1)"),
    "factor-one": (lambda: rope.Interpolation(linear=2.0), "interpolation factors (2.0): there are three"),
    "factor-two": (lambda: rope.Interpolation(linear=(2.0, 2.0)), "there are three"),
    "first-two": (lambda: rope.Whole(first=(1.0, 2.0)), "first positions (1.0, 2.0): there are three finite numbers"),
    "first-nan": (lambda: rope.Whole(first=(0.0, 0.0, float("nan"))), "three finite numbers"),
    "most": (lambda: rope.Whole(most=(None, 0, 5)), "tables of (None, 0, 5) rows"),
    "most-one": (lambda: rope.Whole(most=1024), "tables of (1024) rows: there are three"),
    "crop": (lambda: rope.Crop((0, 45)), "a base grid of (0, 45): it has rows and columns, whole numbers"),
    "crop-floats": (lambda: rope.Crop((30.0, 45.0)), "a base grid of (30.0, 45.0)"),
    "sizes-negative": (lambda: COG.tables((13, -30, 45)), "a grid of (13, -30, 45) tokens: it has three whole sizes"),
    "sizes-zero": (lambda: COG.angles((0, 30, 45)), "of at least 1, for frame, row and column, such as (13, 30, 45)"),
    "sizes-floats": (lambda: COG.tables((13.0, 30.0, 45.0)), "a grid of (13.0, 30.0, 45.0) tokens"),
    "sizes-text": (lambda: COG.tables("345"), "a grid of (345) tokens"),
    "sizes-two": (lambda: COG.tables((30, 45)), "a grid of (30, 45) tokens"),
    "sizes-one": (lambda: COG.tables(5), "a grid of (5) tokens"),
    "sizes-numpy": (lambda: COG.tables(np.array([2, 3, 4])), "given as an array: write it as a tuple, (2, 3, 4)"),
    "sizes-torch": (lambda: COG.rotate(X, torch.tensor([2, 3, 4])), "write it as a tuple, (2, 3, 4)"),
    "beyond": (
        lambda: replace(COG, grid=rope.Whole(most=(None, 150, 150))).tables((1, 151, 1)),
        "151 positions along the row are beyond the table's 150; use at most 150",
    ),
    "beyond-sat": (lambda: rope.published("cogvideox-sat").tables((14, 1, 1)), "beyond the table's 13; use at most 13"),
    "beyond-wan": (lambda: rope.published("wan").tables((1025, 1, 1)), "beyond the table's 1024"),
    "ntk-of-two": (
        lambda: replace(COG, split=(2, 6, 8), interpolation=rope.Interpolation(ntk=(2, 1, 1))).tables((1, 1, 1)),
        "a split of 2/6/8: a part of 2 numbers has one pair, which no theta slows; use linear",
    ),
    "coordinates": (lambda: COG.at([[1, 2]]), "coordinates of shape (1, 2): the last axis holds frame, row and column"),
    "head": (lambda: COG.apply(vectors(24, 66), TABLES), "its last axis holds the numbers of a head"),
    "tokens": (lambda: COG.apply(vectors(25, 64), TABLES), "tables of 24 tokens do not fit an array of shape (25, 64)"),
    "tokens-axis": (lambda: COG.apply(vectors(2, 24, 5, 64), TABLES), "5 along axis 2; `axis` says where its tokens"),
    "halved": (
        lambda: COG.apply(X, tuple(t[:, ::2] for t in TABLES)),
        "tables of shapes (24, 32) and (24, 32) for a head of 64 numbers: both have a column for each number",
    ),
    "axis-last": (lambda: COG.apply(X, TABLES, axis=-1), "axis -1 of an array of shape (24, 64) holds no tokens"),
    "axis-far": (lambda: COG.apply(X, TABLES, axis=2), "it is one from 0 to 0"),
    "integers": (lambda: COG.apply(X.astype(int), TABLES), "an array of int64 cannot be turned"),
    "torch-integers": (lambda: COG.apply(torch.zeros(24, 64).long(), TABLES), "an array of torch.int64 cannot be"),
    "list": (lambda: COG.apply(X.tolist(), TABLES), "a list cannot be turned: it must be a numpy array or a torch"),
    "rotated-list": (lambda: COG.rotate(X.tolist(), (2, 3, 4)), "a list cannot be turned"),
    "no-tables": (lambda: COG.apply(X, None), "tables are two arrays, cosines and sines, as rope.tables(sizes) gives"),
    "one-table": (lambda: COG.apply(X[:2], TABLES[0][:2]), "tables are two arrays, cosines and sines"),
    "listed-tables": (lambda: COG.apply(X, (TABLES[0].tolist(), TABLES[1])), "tables are two arrays"),
    "tables-of-three-axes": (
        lambda: COG.apply(X, tuple(t[None] for t in TABLES)),
        "tables of shape (1, 24, 64) do not go with an array of shape (24, 64): each of their axes has its size or 1",
    ),
    "tables-of-others": (
        lambda: COG.apply(vectors(2, 24, 64), tuple(np.stack([t] * 3) for t in TABLES)),
        "tables of shape (3, 24, 64) do not go with an array of shape (2, 24, 64)",
    ),
    "like": (lambda: COG.tables((2, 3, 4), like="float32"), "tables like a str: like is a torch tensor or a numpy arr"),
    "vector": (lambda: COG.apply(X[0], TABLES), "a single vector: take one token's rows, of shape (64,)"),
    "rotated-vector": (lambda: COG.rotate(X[0], (1, 1, 1)), "an array of shape (64,) has no axis of tokens"),
    "length": (
        lambda: replace(COG, placement=rope.Placement("before")).rotate(X, (2, 3, 4), text=226),
        "a sequence of 24 tokens: a grid of 2×3×4 with 226 of text makes 250",
    ),
    "text-negative": (lambda: COG.rotate(X, (2, 3, 4), text=-1), "-1 tokens of text: it must be a whole number from 0"),
    "permutation": (lambda: COG.permutation("other"), "'other' is no pairing"),
    "stretched": (lambda: COG.stretched("linear", (1, 1, 1)), "cog names no trained grid to stretch from"),
    "stretched-how": (lambda: rope.published("wan").stretched("yarn", (1, 1, 1)), "'yarn' is no interpolation; it is"),
    "changed-none": (lambda: changed(COG, None), "a variant is given by its name, not by None; it is one of"),
    "changed-what": (lambda: changed("wan", "half"), "'wan' is no rope: changed takes a Rope3D, as rope.published("),
    "changed-twice": (lambda: rope.published("wan:half:interleaved"), "half and interleaved both change the pairing"),
    "published-none": (lambda: rope.published(None), "a rope is given by its name, not by None"),
    "changed-crop": (lambda: changed(COG, "crop"), "cog names no trained grid to spread positions over; wan and"),
    "changed-name": (lambda: changed(COG, "interleavd"), "did you mean interleaved?"),
    "name": (lambda: rope.published("hunyuanvide"), "did you mean hunyuanvideo?"),
    "cogvideox-2b": (lambda: rope.published("cogvideox-2b"), "cogvideox-5b has a rope to show"),
    "mochi": (lambda: rope.published("mochi"), "learns its frequencies"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_sentence(case):
    do, words = REFUSED[case]
    with pytest.raises(TracerError) as error:
        do()
    message = str(error.value)
    assert words in message
    assert message.endswith((".", "?"))
    assert ". " not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("d", "use"), [(72, "64 or 80"), (60, "48 or 64"), (100, "96 or 112"), (88, "80 or 96"), (8, "16")]
)
def test_heads_that_a_quarter_split_does_not_fill(d, use):
    with pytest.raises(BadRequest, match=rf"a head of {d} numbers cannot be split .* multiple of 16; use {use}\.$"):
        quarter(d)
    with pytest.raises(BadRequest, match="multiple of 16"):
        changed(rope.Rope3D("made", six_way(d)), "quarter")


@settings(deadline=None)
@given(st.integers(1, 64))
def test_splits_that_are_given_out_fill_the_head(n):
    assert sum(quarter(16 * n)) == 16 * n
    assert not any(part % 2 for part in quarter(16 * n))
    assume(n >= 3)
    assert sum(six_way(2 * n)) == 2 * n
    assert not any(part % 2 for part in six_way(2 * n))


def test_known_splits():
    assert six_way(192) == (64, 64, 64)
    assert six_way(64) == (24, 20, 20)
    assert six_way(128) == (44, 42, 42)
    assert [quarter(d) for d in (64, 128, 192)] == [(16, 24, 24), (32, 48, 48), (48, 72, 72)]


def test_lists_of_a_config_and_numbers_of_numpy_are_taken():
    listed = rope.Rope3D("cog", list(COG.split), grid=rope.Crop([30, 45]), interpolation=rope.Interpolation([1, 1, 1]))
    assert listed == replace(COG, grid=rope.Crop((30, 45)))
    assert hash(listed) == hash(replace(COG, grid=rope.Crop((30, 45))))
    assert hash(rope.Whole([0, 0, 0], [None, 5, 5])) == hash(rope.Whole((0, 0, 0), (None, 5, 5)))
    numbers = np.array([2, 3, 4])
    assert np.array_equal(COG.angles(list(numbers)), COG.angles((2, 3, 4)))
    assert hash(replace(COG, trained=[1, 2, 3])) == hash(replace(COG, trained=(1, 2, 3)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_tables_like_an_array(dtype):
    cos, sin = COG.tables((2, 3, 4), like=np.zeros(1, dtype))
    assert cos.dtype == sin.dtype == (np.float64 if dtype is np.int64 else dtype)
    np.testing.assert_allclose(cos, TABLES[0], atol=np.finfo(cos.dtype).eps)


def test_names_carry_changes():
    one = rope.published("wan:NTK:half")
    assert one.name == "wan2.1-t2v-14b:half:ntk"
    assert replace(one, name="") == replace(changed(rope.published("wan"), "half"), name="")  # no grid to stretch to
    assert changed(one, "six-way").name == "wan2.1-t2v-14b:half:ntk:six-way"
    assert rope.published("scail:half").pairs == rope.published("scail-half").pairs


def test_original_repositories_are_known():
    """Each is an id that diffusers' own copy has under another owner, or with another ending."""
    for original, name in ORIGINALS.items():
        _, checkpoint = families.find(name)
        repository = original.partition("/")[2]
        assert checkpoint.hub.lower().partition("/")[2].removesuffix("-diffusers") == repository
        assert original != checkpoint.hub.lower()
    assert rope.published("Wan-AI/Wan2.1-T2V-14B") == rope.published("wan")


def test_names_that_are_offered_work():
    with pytest.raises(TracerError, match="known are") as error:
        rope.published("nonsense")
    assert error.value.allowed == NAMES
    with pytest.raises(TracerError, match=r"did you mean mochi\?"):  # and mochi says why it has none
        rope.published("mochii")
