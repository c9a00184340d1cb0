"""What the sentences about rotary positions rely on, asked of diffusers itself."""

import inspect
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import AllegroPipeline, CogVideoXPipeline
from diffusers.models import embeddings
from diffusers.models.embeddings import get_1d_rotary_pos_embed, get_3d_rotary_pos_embed
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoRotaryPosEmbed
from diffusers.models.transformers.transformer_hunyuan_video_framepack import (
    HunyuanVideoFramepackRotaryPosEmbed,
    HunyuanVideoFramepackTransformer3DModel,
)
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from tiny_cogvideox import pipeline, tiny

from tracer.errors import BadRequest
from tracer.rope.grids import Crop
from tracer.rope.rope3d import Interpolation, Rope3D, quarter

# ---- CogVideoX 1.0: crops ----


@pytest.mark.parametrize("base", [(30, 45), (24, 42), (1, 1), (48, 85)], ids=str)
def test_crops_are_the_pipelines_for_every_grid_up_to_60(base):
    crop = Crop(base)
    for rows, columns in product(range(1, 61), repeat=2):
        asked = get_resize_crop_region_for_grid((rows, columns), base[1], base[0])
        assert crop.region((1, rows, columns)) == asked, (rows, columns)


@pytest.mark.parametrize(
    ("grid", "rows", "columns"),
    [((30, 45), (0, 30), (0, 45)), ((48, 85), (2, 27), (0, 45)), ((45, 30), (0, 30), (12, 32))],
)
def test_crops_that_are_known(grid, rows, columns):
    (top, left), (bottom, right) = get_resize_crop_region_for_grid(grid, 45, 30)
    assert ((top, bottom), (left, right)) == (rows, columns)


def row_positions(crop, grid):
    """Positions of the rows, read back from the fastest pair of the row's part, which turns by one radian for each."""
    cos, sin = get_3d_rotary_pos_embed(64, crop, grid, 1)
    turn = torch.atan2(sin[:, 16], cos[:, 16]).reshape(grid)[:, 0].double().numpy()
    return np.unwrap(turn)


@pytest.mark.parametrize("grid", [(48, 85), (30, 45), (20, 60)])
def test_the_last_position_is_stop_times_n_less_one_over_n(grid):
    """That is the step of a range without its end only where the crop begins at 0."""
    crop = (start, _), (stop, _) = get_resize_crop_region_for_grid(grid, 45, 30)
    n = grid[0]
    places = row_positions(crop, grid)
    assert places[0] % (2 * np.pi) == pytest.approx(start % (2 * np.pi), abs=1e-5)
    assert places[-1] - places[0] == pytest.approx(stop * (n - 1) / n - start, abs=1e-5)
    without_end = np.linspace(start, stop, n, endpoint=False)
    assert np.allclose(places - places[0], without_end - start, atol=1e-5) == (start == 0)


def test_frames_of_1_0_are_whole_numbers():
    cos, sin = get_3d_rotary_pos_embed(64, ((0, 0), (1, 1)), (1, 1), 49)
    np.testing.assert_allclose(np.unwrap(torch.atan2(sin[:, 0], cos[:, 0]).double().numpy()), range(49), atol=1e-5)


# ---- CogVideoX 1.5: slices ----


def test_1_5_slices_the_first_rows_of_a_table_of_150():
    def table(rows, columns):
        return get_3d_rotary_pos_embed(64, None, (rows, columns), 2, grid_type="slice", max_size=(150, 150))

    whole = [t.unflatten(0, (2, 150, 150)) for t in table(150, 150)]
    for a, b in zip(table(48, 85), whole, strict=True):
        assert torch.equal(a.unflatten(0, (2, 48, 85)), b[:, :48, :85])


@pytest.mark.parametrize("sizes", [(151, 20), (20, 151)])
def test_1_5_breaks_beyond_its_table(sizes):
    """Fewer rows than tokens come out of the slice, which do not go together with the others."""
    config = SimpleNamespace(patch_size=2, patch_size_t=2, sample_width=300, sample_height=300, attention_head_dim=64)
    pipe = SimpleNamespace(transformer=SimpleNamespace(config=config), vae_scale_factor_spatial=8)
    with pytest.raises(RuntimeError, match=r"150.*151|151.*150"):
        CogVideoXPipeline._prepare_rotary_positional_embeddings(pipe, sizes[0] * 16, sizes[1] * 16, 2, "cpu")


def test_1_5_takes_up_odd_frames_into_pairs():
    pipe = pipeline(tiny("1.5"))
    assert [pipe._prepare_rotary_positional_embeddings(16, 16, n, "cpu")[0].shape[0] for n in (2, 3, 4)] == [1, 2, 2]


# ---- the split ----


def split(d):
    """Columns of each axis in CogVideoX's table, found by which of them an axis moves."""
    grid = get_3d_rotary_pos_embed(d, ((0, 0), (2, 2)), (2, 2), 2)[1].unflatten(0, (2, 2, 2))
    moved = grid[1, 0, 0], grid[0, 1, 0], grid[0, 0, 1]
    return tuple(int((line != grid[0, 0, 0]).sum()) for line in moved)


@pytest.mark.parametrize("d", [16, 48, 64, 128, 192])
def test_cogvideox_splits_a_quarter_and_twice_three_eighths(d):
    assert split(d) == quarter(d)


@pytest.mark.parametrize("d", [72, 60, 100, 88])
def test_a_head_with_odd_parts_has_no_table(d):
    with pytest.raises(AssertionError):
        split(d)
    with pytest.raises(BadRequest):
        quarter(d)


def test_a_head_that_the_parts_do_not_fill_gets_a_narrow_table():
    """66: 16 and twice 24 are 64. The table exists, and does not fit the head."""
    assert split(66) == (16, 24, 24)
    with pytest.raises(BadRequest):
        quarter(66)
    table = get_3d_rotary_pos_embed(66, ((0, 0), (2, 2)), (2, 2), 2)
    with pytest.raises(RuntimeError):
        embeddings.apply_rotary_emb(torch.zeros(1, 1, 8, 66), table)


# ---- interpolation ----


def test_ntk_factor_multiplies_theta_which_is_another_thing_than_our_ntk():
    n, factor, places = 16, 4.0, torch.arange(8, dtype=torch.float64)
    angles = [
        get_1d_rotary_pos_embed(n, places, 100.0, ntk_factor=f, freqs_dtype=torch.float64).angle()[1]
        for f in (1.0, factor)
    ]
    slowed = (angles[0] / angles[1]).numpy()
    np.testing.assert_allclose(slowed, factor ** (np.arange(0, n, 2) / n))  # theta·f: the slowest by less than f
    assert slowed[-1] == pytest.approx(factor ** ((n - 2) / n))
    ours = (
        Rope3D("ours", (n, 2, 2), theta=100.0),
        Rope3D("ours", (n, 2, 2), theta=100.0, interpolation=Interpolation(ntk=(factor, 1.0, 1.0))),
    )
    plain, fitted = (r.frequencies()[0] for r in ours)
    assert plain[-1] / fitted[-1] == pytest.approx(factor)  # theta·f^(n/(n - 2)): the slowest by f


def test_linear_factor_divides_positions():
    places = torch.arange(8, dtype=torch.float64)
    one, other = (
        get_1d_rotary_pos_embed(16, p, linear_factor=f, freqs_dtype=torch.float64).angle()
        for p, f in ((places, 2.0), (places / 2, 1.0))
    )
    torch.testing.assert_close(one, other)


def test_the_3d_tables_have_no_factor_to_hand_in():
    """Those of one axis do; what makes three-dimensional ones from them passes none."""
    assert {"linear_factor", "ntk_factor"} <= inspect.signature(get_1d_rotary_pos_embed).parameters.keys()
    for made in (get_3d_rotary_pos_embed, HunyuanVideoRotaryPosEmbed, WanRotaryPosEmbed):
        assert "linear_factor" not in inspect.getsource(made)
        assert "ntk_factor" not in inspect.getsource(made)


# ---- Wan, HunyuanVideo, FLUX, Allegro ----


@pytest.mark.parametrize(("d", "parts"), [(128, (44, 42, 42)), (64, (24, 20, 20)), (192, (64, 64, 64))])
def test_wan_tables_have_1024_rows_and_the_six_way_split(d, parts):
    module = WanRotaryPosEmbed(d, (1, 2, 2), 1024)
    assert (module.t_dim, module.h_dim, module.w_dim) == parts
    assert module.freqs_cos.shape == module.freqs_sin.shape == (1024, d)
    assert module.freqs_cos.dtype == torch.float32
    assert not module.state_dict()


def test_wan_beyond_its_table_breaks():
    latents = SimpleNamespace(shape=(1, 16, 1, 2, 2 * 1025))
    with pytest.raises(RuntimeError, match=r"shape '\[1, 1, 1025, -1\]' is invalid for input of size 43008"):  # 1024·42
        WanRotaryPosEmbed(128, (1, 2, 2), 1024)(latents)


def test_cosines_stand_at_both_columns_of_a_pair_and_wan_reads_each_once():
    module = WanRotaryPosEmbed(128, (1, 2, 2), 64)
    for table in (module.freqs_cos, module.freqs_sin):
        assert torch.equal(table[:, 0::2], table[:, 1::2])


def test_hunyuanvideo_turns_at_256_by_its_default():
    assert inspect.signature(HunyuanVideoRotaryPosEmbed).parameters["theta"].default == 256.0
    cos, sin = HunyuanVideoRotaryPosEmbed(2, 1, (16, 56, 56))(torch.zeros(1, 1, 2, 2, 2))
    slowest = torch.atan2(sin[1, 14], cos[1, 14])  # the last pair of the frame's part, one frame on
    assert slowest == pytest.approx(256 ** (-14 / 16))


@pytest.mark.parametrize(("n", "shorter"), [(2, np.cos(0.5)), (4, np.sin(2) / (4 * np.sin(0.5)))])
def test_framepacks_coarse_history_is_turned_by_means_which_are_no_rotation(n, shorter):
    """The mean of n turns one radian apart is a turn by the middle one, and shorter: 0.88 of two, 0.47 of four."""
    fine = HunyuanVideoFramepackRotaryPosEmbed(2, 1, (16, 56, 56))(torch.arange(n), 2 * n, 2 * n, torch.device("cpu"))
    cos, sin = HunyuanVideoFramepackTransformer3DModel._pad_rotary_emb(None, fine, n, n, (n, n, n))
    assert cos.shape == (1, 128)
    lengths = torch.hypot(cos, sin)[0]
    middles = torch.atan2(sin, cos)[0]
    for fastest in (0, 16, 72):  # of frame, row and column
        assert lengths[fastest] == pytest.approx(shorter, abs=1e-6)
        assert middles[fastest] == pytest.approx((n - 1) / 2, abs=1e-6)


def test_flux_pictures_stand_at_index_zero_and_text_at_the_origin():
    ids = FluxPipeline._prepare_latent_image_ids(1, 3, 4, "cpu", torch.float32)
    places = [[0, r, c] for r in range(3) for c in range(4)]
    assert ids.tolist() == places
    assert "torch.zeros(prompt_embeds.shape[1], 3)" in inspect.getsource(FluxPipeline.encode_prompt)


def test_allegro_looks_its_rows_up_by_whole_numbers_and_scales_the_table():
    """The scales divide what is in a row, and not which row is looked up; float32 steps do not fall short of a row."""
    scales = {f"interpolation_scale_{axis}": s for axis, s in zip("thw", (2.0, 4.0, 8.0), strict=True)}
    config = SimpleNamespace(patch_size=2, attention_head_dim=96, **scales)
    pipe = SimpleNamespace(transformer=SimpleNamespace(config=config), vae_scale_factor_spatial=8)
    for n in range(1, 260):
        tables, places = AllegroPipeline._prepare_rotary_positional_embeddings(pipe, 1, 16 * n, 16, n, "cpu")
        assert places[0][0].tolist() == [i for i in range(n) for _ in range(n)]
        assert places[1][0].tolist() == list(range(n)) * n
        if n == 5:
            for (_, sin), scale, rows in zip(tables, scales.values(), (5, 5, 1), strict=True):
                assert sin[:, 0].tolist() == pytest.approx([np.sin(i / scale) for i in range(rows)])
