"""What is to be seen in a rope, each against a second way to find it."""

from dataclasses import replace
from math import pi, prod

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer import rope
from tracer.errors import BadRequest
from tracer.rope.anatomy import (
    bands,
    memory,
    relative_similarity,
    similarity,
    similarity_plane,
    stretches,
)
from tracer.rope.grids import AXES
from tracer.rope.rope3d import KINDS
from tracer.rope.scores import score_error
from tracer.rope.showing import show_rope

NAMES = ["cogvideox-5b", "cogvideox1.5-5b", "hunyuanvideo", "wan2.1-t2v-14b", "allegro", "scail-half", "six-way-64"]
TRAINED = ["cogvideox-5b", "cogvideox1.5-5b", "hunyuanvideo", "wan2.1-t2v-14b", "allegro", "cogvideox-sat"]
WHOLE = [n for n in TRAINED if isinstance(rope.published(n).grid, rope.Whole)]
SIZES = (4, 5, 6)
sizes_of_some = st.tuples(st.integers(1, 5), st.integers(1, 8), st.integers(1, 8))

# ---- bands ----


@pytest.mark.parametrize("name", NAMES)
def test_bands_are_the_pairs_with_their_turns(name):
    r = rope.published(name)
    found = bands(r, SIZES)
    assert [b.columns for b in found] == r.pairs
    assert sorted(c for b in found for c in b.columns) == list(range(r.head_dim))
    assert [b.axis for b in found] == [
        a for a, n in zip(("frame", "row", "column"), r.split, strict=True) for _ in range(n // 2)
    ]
    angles = r.angles(SIZES).reshape(*SIZES, -1)
    for j, b in enumerate(found):
        axis = AXES.index(b.axis)
        line = np.moveaxis(angles[..., j], axis, 0)
        assert np.ptp(line.reshape(len(line), -1), axis=1).max() == 0  # other axes do not turn it
        np.testing.assert_allclose(np.diff(line, axis=0), b.step, atol=1e-13)  # equal steps
        assert b.wavelength * b.frequency == pytest.approx(2 * pi)
        assert b.reach == pytest.approx(b.frequency * r.grid.extent(SIZES)[axis])
    for axis in AXES:
        own = [b for b in found if b.axis == axis]
        assert [b.index for b in own] == list(range(len(own)))
        assert [b.frequency for b in own] == sorted((b.frequency for b in own), reverse=True)


def test_one_token_has_no_step():
    assert {b.step for b in bands(rope.published("cogvideox-5b"), (1, 1, 1))} == {0.0}


@pytest.mark.parametrize(
    ("name", "longest"), [("cogvideox-5b", (19_869, 29_164, 29_164)), ("hunyuanvideo", (804, 1_320, 1_320))]
)
def test_wavelengths_that_are_known(name, longest):
    """2π·theta^((n - 2)/n), worked out apart: 10000^(14/16) and 10000^(22/24); 256^(14/16) = 128 and 256^(54/56)."""
    r = rope.published(name)
    assert [round(w.max()) for w in r.wavelengths()] == list(longest)
    assert [w.min() for w in r.wavelengths()] == pytest.approx([2 * pi] * 3)


# ---- similarity ----


def spread_evenly(r, seed=0):
    """A vector with the same energy on every pair, which points anywhere in each."""
    phases = np.random.default_rng(seed).uniform(0, 2 * pi, len(r.pairs))
    x = np.empty(r.head_dim)
    for (a, b), phase in zip(r.pairs, phases, strict=True):
        x[a], x[b] = np.cos(phase), np.sin(phase)
    return x


@pytest.mark.parametrize("name", NAMES)
def test_similarity_is_the_score_of_equal_content_with_equal_energy(name):
    r, query = rope.published(name), (1, 2, 3)
    x = spread_evenly(r)
    turned = r.apply(np.broadcast_to(x, (prod(SIZES), r.head_dim)).copy(), r.tables(SIZES)).reshape(*SIZES, -1)
    scores = turned @ turned[query] / (x @ x)
    along = scores[:, 2, 3], scores[1, :, 3], scores[1, 2, :]
    for mine, other in zip(similarity(r, SIZES, query), along, strict=True):
        np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    np.testing.assert_allclose(similarity_plane(r, SIZES, query), scores[1], rtol=0, atol=1e-12)


def test_similarity_is_the_mean_of_random_contents():
    """Noise has equal energy on every pair in the mean; with n vectors of d numbers the mean is off by 1/√(n·d)."""
    r, query, n = rope.published("cogvideox-5b"), (0, 0, 0), 400
    contents = np.random.default_rng(0).standard_normal((n, 1, r.head_dim))
    tables = r.tables(SIZES)
    turned = r.apply(np.broadcast_to(contents, (n, prod(SIZES), r.head_dim)).copy(), tables).reshape(n, *SIZES, -1)
    scores = (turned @ turned[:, 0, 0, 0, :, None][:, None, None]).squeeze(-1).mean(0) / (contents**2).sum(-1).mean()
    for axis, mine in enumerate(similarity(r, SIZES, query)):
        other = np.moveaxis(scores, axis, 0)[:, 0, 0]
        np.testing.assert_allclose(mine, other, rtol=0, atol=5 / np.sqrt(n * r.head_dim))


@settings(deadline=None, max_examples=40)
@given(sizes_of_some, st.data(), st.sampled_from(NAMES))
def test_the_plane_holds_the_lines(sizes, data, name):
    r = rope.published(name)
    query = tuple(data.draw(st.integers(0, n - 1)) for n in sizes)
    _, rows, columns = similarity(r, sizes, query)
    plane = similarity_plane(r, sizes, query)
    assert plane.shape == sizes[1:]
    np.testing.assert_allclose(plane[:, query[2]], rows, rtol=0, atol=1e-14)
    np.testing.assert_allclose(plane[query[1], :], columns, rtol=0, atol=1e-14)
    assert plane[query[1:]] == 1
    assert plane.max() <= 1 + 1e-14


@pytest.mark.parametrize("name", NAMES)
def test_distance_alone_counts(name):
    r = rope.published(name)
    by_distance = relative_similarity(r, SIZES)
    for query in ((0, 0, 0), (2, 3, 1)):
        for line, far, at in zip(similarity(r, SIZES, query), by_distance, query, strict=True):
            np.testing.assert_allclose(line, far[np.abs(np.arange(len(line)) - at)], rtol=0, atol=1e-12)


@pytest.mark.parametrize("query", [(4, 0, 0), (0, -1, 0), (0, 0, 6)])
@pytest.mark.parametrize("ask", [similarity, similarity_plane])
def test_a_query_outside_the_grid(ask, query):
    with pytest.raises(
        BadRequest, match=r"^a query at token \(.*\) is outside the grid of 4×5×6; each index runs .*\.$"
    ):
        ask(rope.published("hunyuanvideo"), SIZES, query)


# ---- stretching ----


def by_kind(r, sizes):
    return dict(zip(KINDS, stretches(r, sizes), strict=True))


@pytest.mark.parametrize("name", TRAINED)
def test_the_trained_grid_stretches_nothing(name):
    r = rope.published(name)
    for kind, s in by_kind(r, r.trained).items():
        assert s.kind == kind
        assert s.interpolation == r.interpolation
        assert s.finest == (1, 1, 1)
        assert s.unseen == (0, 0, 0)
        assert s.fresh == (0, 0, 0)
        assert s.reach == s.trained


@pytest.mark.parametrize("name", WHOLE)
@settings(deadline=None, max_examples=15)
@given(factors=st.tuples(*[st.integers(1, 3)] * 3))
def test_linear_sees_nothing_new_and_pays_with_fineness(name, factors):
    r = replace(rope.published(name), grid=rope.Whole())
    s = by_kind(r, tuple(n * f for n, f in zip(r.trained, factors, strict=True)))["linear"]
    assert s.fresh == pytest.approx((0, 0, 0), abs=1e-12)
    assert s.unseen == (0, 0, 0)
    assert s.finest == pytest.approx([1 / f for f in factors])
    assert s.reach == pytest.approx(s.trained)
    assert s.interpolation.linear == pytest.approx(np.multiply(r.interpolation.linear, factors))


@pytest.mark.parametrize("name", WHOLE)
@settings(deadline=None, max_examples=15)
@given(factors=st.tuples(*[st.integers(1, 3)] * 3))
def test_ntk_leaves_the_fastest_and_fits_the_slowest(name, factors):
    r = replace(rope.published(name), grid=rope.Whole())
    sizes = tuple(n * f for n, f in zip(r.trained, factors, strict=True))
    s = by_kind(r, sizes)["ntk"]
    fitted = replace(r, interpolation=s.interpolation)
    for then, now, f in zip(r.frequencies(), fitted.frequencies(), factors, strict=True):
        assert now[0] == then[0]
        assert now[-1] == pytest.approx(then[-1] / f)
        assert (np.diff(now / then) <= 1e-15).all()  # between the two, ever slower
    assert s.finest == pytest.approx((1, 1, 1))
    for part in r.parts:
        assert s.reach[part][-1] == pytest.approx(s.trained[part][-1])


@pytest.mark.parametrize("name", WHOLE)
def test_without_interpolation_slow_pairs_see_new_angles(name):
    """Counted from the definition: every difference of positions both ways, on a circle."""
    r = replace(rope.published(name), grid=rope.Whole())
    sizes = tuple(2 * n for n in r.trained)
    s = by_kind(r, sizes)["none"]
    for axis, frequencies in enumerate(r.frequencies()):
        seen, now = (np.minimum(n * frequencies, pi) for n in (r.trained[axis], sizes[axis]))
        assert s.unseen[axis] == np.count_nonzero(now > seen * (1 + 1e-9))
        assert s.fresh[axis] == pytest.approx(np.mean(now - seen) / pi)
        assert s.unseen[axis] > 0
    assert s.finest == (1, 1, 1)


def test_a_crop_holds_rows_and_columns_and_stretches_frames_alone():
    r = rope.published("cogvideox-5b")
    frames, rows, columns = r.trained
    for kind, s in by_kind(r, (2 * frames, 2 * rows, 2 * columns)).items():
        assert s.finest[1:] == pytest.approx((0.5, 0.5))  # twice the tokens within the same positions
        assert s.unseen[1:] == (0, 0)
        assert s.fresh[1:] == (0, 0)
        assert (s.fresh[0] > 1e-12) == (kind != "linear")
    assert by_kind(r, (2 * frames, 2 * rows, 2 * columns))["linear"].interpolation.linear == (2, 1, 1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_smaller_grid_is_not_stretched(kind):
    r = rope.published("hunyuanvideo")
    assert r.stretched(kind, (2, 3, 4)).interpolation == r.interpolation


def test_interpolation_of_its_own_stays():
    r = rope.published("allegro")
    frames, rows, columns = r.trained
    fitted = r.stretched("linear", (2 * frames, rows, columns))
    assert fitted.interpolation.linear == pytest.approx(np.multiply(r.interpolation.linear, (2, 1, 1)))


def test_one_token_on_an_axis_has_no_step_to_compare():
    """One frame, and more rows than in training: along frames the finest step is 1, and not 0."""
    one = show_rope("hunyuanvideo", frames=1, height=1440, width=2560)
    for stretch in one.stretches:
        assert stretch.finest[0] == 1
    assert {s.kind: s.finest[1] for s in one.stretches}["linear"] == pytest.approx(0.5)


def test_no_trained_grid_no_stretching():
    with pytest.raises(BadRequest, match=r"^six-way-64 names no trained grid to stretch from; wan .* your own\.$"):
        stretches(rope.published("six-way-64"), SIZES)


# ---- memory ----


@pytest.mark.parametrize("name", NAMES)
@settings(deadline=None, max_examples=10)
@given(sizes=sizes_of_some)
def test_memory_is_that_of_the_arrays(name, sizes):
    r = rope.published(name)
    cos, sin = (t.astype(r.dtype) for t in r.tables(sizes))
    seen = memory(r, sizes)
    assert seen.kept == (2 * seen.axes if name == "allegro" else seen.whole)
    assert seen.whole == cos.nbytes + sin.nbytes
    angles = r.angles(sizes).astype(r.dtype)
    assert seen.halved == 2 * angles.nbytes
    small = [np.outer(p, f).astype(r.dtype) for p, f in zip(r.positions(sizes), r.frequencies(), strict=True)]
    assert seen.axes == 2 * sum(a.nbytes for a in small)


def test_more_rows_than_the_grid_has_weigh_in_whole_tables():
    """FLUX has a row for each token of text too."""
    flux = rope.published("flux.1-dev")
    seen, grid = memory(flux, (1, 3, 4), rows=12 + 5), memory(flux, (1, 3, 4))
    assert seen.whole == 2 * np.zeros((17, flux.head_dim), flux.dtype).nbytes
    assert seen.halved * 2 == seen.whole
    assert seen.axes == grid.axes


# ---- errors of scores ----


def noise(n, d, seed):
    return np.random.default_rng(seed).standard_normal((n, d))


def test_equal_scores_have_no_error():
    q, k = noise(30, 64, 0), noise(30, 64, 1)
    error = score_error((q, k), (q, k), (5, 30))
    assert (error.video, error.text, error.largest) == (0, 0, 0)
    assert score_error((q, k), (q, k)).text is None


def test_turning_both_the_same_way_is_no_error():
    r = rope.published("cogvideox-5b")
    q, k = noise(24, 64, 0), noise(24, 64, 1)
    plain, moved = (replace(r, grid=rope.Whole(first=first)) for first in ((0.0, 0.0, 0.0), (7.0, 5.0, 3.0)))
    right, other = (tuple(one.apply(x, one.tables((2, 3, 4))) for x in (q, k)) for one in (plain, moved))
    assert not np.allclose(right[0], other[0])
    assert score_error(right, other).largest < 1e-13


def test_unrelated_scores_err_by_the_root_of_two():
    q, k, other_q, other_k = (noise(400, 64, seed) for seed in range(4))
    error = score_error((q, k), (other_q, other_k))
    assert error.video == pytest.approx(2**0.5, rel=0.03)
    assert error.largest > error.video


def test_a_shift_in_time_is_seen_by_the_text_alone():
    """Video against video depends on differences; text stands at no position, so its scores with the video move."""
    r = replace(rope.published("hunyuanvideo"), placement=rope.Placement("before"))
    text, sizes = 6, (3, 2, 4)
    x = [noise(text + prod(sizes), r.head_dim, seed) for seed in (0, 1)]
    late = replace(r, grid=rope.Whole(first=(1.0, 0.0, 0.0)))
    right, given_ = (tuple(one.rotate(v, sizes, text=text) for v in x) for one in (r, late))
    error = score_error(right, given_, (text, text + prod(sizes)))
    assert error.video < 1e-13
    assert error.text > 0.05


def test_video_and_text_are_counted_apart():
    q, k = noise(10, 8, 0), noise(10, 8, 1)
    other = q.copy()
    other[:4] += 1.0  # the first four are text: their scores with the video move, the video's own do not
    error = score_error((q, k), (other, k), (4, 10))
    scores, off = q @ k.T, (other - q) @ k.T
    scale = np.sqrt(np.mean(scores**2))
    assert error.video == 0
    mixed = np.concatenate([off[:4, 4:].ravel(), off[4:, :4].ravel()])
    assert error.text == pytest.approx(np.sqrt(np.mean(mixed**2)) / scale)
    assert error.largest == pytest.approx(np.abs(off).max() / scale)
