"""What the CogVideoX pipelines feed their transformer and give back, seen by running them with tiny parts."""

import pytest
import torch
from tiny_cogvideox import HEAD_DIM, TEXT, TEXT_DIM, VARIANTS, generate, pipeline, tiny

SMALL = {"sample_height": 2, "sample_width": 2}  # latent pixels: 16 x 16 in the picture, what generate() asks


@pytest.mark.parametrize("variant", ["5b-I2V", "1.5-I2V"])
def test_the_pipeline_feeds_ofs_2_to_models_that_have_it(variant, calls_of):
    model = tiny(variant, **SMALL)
    calls = calls_of(model)
    generate(model, B=2, num_frames=9, steps=2)
    assert len(calls) == 2
    for call in calls:
        if variant == "1.5-I2V":
            assert torch.equal(call.kwargs["ofs"], torch.tensor([2.0]))
        else:
            assert call.kwargs["ofs"] is None


@pytest.mark.parametrize(("guidance_scale", "copies"), [(6.0, 2), (1.0, 1)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_pipeline_passes_one_timestep_for_each_sample_and_the_negative_prompt_first(
    variant, guidance_scale, copies, calls_of
):
    model = tiny(variant, **SMALL)
    calls = calls_of(model)
    B, positive, negative = 2, torch.randn(2, TEXT, TEXT_DIM), torch.randn(2, TEXT, TEXT_DIM)
    generate(
        model,
        B=B,
        num_frames=9,
        guidance_scale=guidance_scale,
        prompt_embeds=positive,
        negative_prompt_embeds=negative,
    )
    seen = calls[0].kwargs
    assert seen["hidden_states"].shape[0] == copies * B
    assert seen["timestep"].shape == (copies * B,)
    assert seen["timestep"].unique().numel() == 1
    expected = torch.cat([negative, positive]) if copies == 2 else positive
    assert torch.equal(seen["encoder_hidden_states"], expected)
    assert torch.equal(seen["hidden_states"][:B], seen["hidden_states"][-B:])


@pytest.mark.parametrize("variant", ["2b", "1.5", "5b-I2V"])
def test_the_pipeline_wants_pixels_in_eights(variant):
    message = "`height` and `width` have to be divisible by 8 but are 20 and 16."
    with pytest.raises(ValueError, match=message):
        generate(tiny(variant, **SMALL), H=20, num_frames=9)


@pytest.mark.parametrize(
    ("variant", "message"),
    [
        # only the scheduler notices that the prediction is smaller than the latent
        ("2b", r"size of tensor a \(3\) must match the size of tensor b \(2\)"),
        ("5b", r"size of tensor a \(3\) must match the size of tensor b \(2\)"),
        ("1.5", r"shape '\[.*\]' is invalid for input of size \d+"),
    ],
)
def test_pixels_in_eights_but_not_sixteens_pass_the_check_and_fail_later(variant, message, calls_of):
    model = tiny(variant, sample_height=4, sample_width=4)
    embedded, predicted = calls_of(model.patch_embed), calls_of(model)
    with pytest.raises(RuntimeError, match=message):
        generate(model, H=24, num_frames=9)
    assert bool(embedded) == bool(predicted) == (variant != "1.5")


# Asked num_frames -> latent frames the transformer sees, frames that come out. Even counts of latent frames
# decode to 4 for each, so 5, 13 become 8, 16; 1.5 pads to even and drops the padding before decoding.
FRAMES_1_0 = {
    1: (1, 1),
    4: (1, 1),
    5: (2, 8),
    8: (2, 8),
    9: (3, 9),
    13: (4, 16),
    17: (5, 17),
    48: (12, 48),
    49: (13, 49),
    50: (13, 49),
}
FRAMES_1_5 = {
    1: (2, 1),
    4: (2, 1),
    5: (2, 8),
    8: (2, 8),
    9: (4, 9),
    13: (4, 16),
    17: (6, 17),
    48: (12, 48),
    49: (14, 49),
    50: (14, 49),
    81: (22, 81),
}


@pytest.mark.parametrize(
    ("variant", "num_frames"),
    [(v, n) for v in ("2b", "5b-I2V") for n in FRAMES_1_0] + [(v, n) for v in ("1.5", "1.5-I2V") for n in FRAMES_1_5],
)
def test_frames_asked_seen_and_given_back(variant, num_frames, calls_of):
    seen, out = (FRAMES_1_5 if variant.startswith("1.5") else FRAMES_1_0)[num_frames]
    model = tiny(variant, **SMALL)
    calls = calls_of(model)
    video = generate(model, num_frames=num_frames, output_type="pt", guidance_scale=1.0)
    assert calls[0].kwargs["hidden_states"].shape[1] == seen
    assert video.shape == (1, out, 3, 16, 16)


@pytest.mark.parametrize("variant", ["5b-I2V", "1.5-I2V"])
def test_i2v_feeds_twice_the_latent_channels_noise_then_the_image_in_the_first_frame(variant, calls_of):
    model = tiny(variant, **SMALL)
    calls = calls_of(model)
    generate(model, num_frames=13, guidance_scale=1.0)
    x = calls[0].kwargs["hidden_states"]
    assert x.shape == (1, 4, 2 * 4, 2, 2)
    noise, image = x.split(4, dim=2)
    assert (noise.abs().amax((0, 2, 3, 4)) > 0).all()
    assert (image.abs().amax((0, 2, 3, 4)) > 0).tolist() == [True, False, False, False]


@pytest.mark.parametrize(("variant", "latent_frames"), [("2b", 3), ("1.5", 4), ("5b-I2V", 13), ("1.5-I2V", 14)])
def test_sizes_not_given_come_from_the_config_but_i2v_always_takes_49_frames(variant, latent_frames, calls_of):
    model = tiny(variant, sample_height=4, sample_width=2)
    calls = calls_of(model)
    generate(model, H=None, W=None, guidance_scale=1.0)
    assert calls[0].kwargs["hidden_states"].shape[1:] == (latent_frames, model.config.in_channels, 4, 2)


@pytest.mark.parametrize(
    ("variant", "height", "width", "frames", "rows"),
    [
        ("5b", 64, 64, 3, 3 * 4 * 4),
        ("5b", 64, 48, 4, 4 * 4 * 3),
        ("5b", 96, 80, 3, 3 * 6 * 5),  # larger than sample_height: 1.0 rescales its grid
        ("5b-I2V", 64, 64, 3, 3 * 4 * 4),
        ("1.5", 64, 64, 4, 2 * 4 * 4),
        ("1.5", 48, 64, 3, 2 * 3 * 4),  # frames are rounded up
        ("1.5-I2V", 16, 16, 2, 1),
    ],
)
def test_rope_tables_have_a_row_for_each_video_token(variant, height, width, frames, rows):
    tables = pipeline(tiny(variant))._prepare_rotary_positional_embeddings(height, width, frames, "cpu")
    assert [t.shape for t in tables] == [(rows, HEAD_DIM)] * 2
    assert [t.dtype for t in tables] == [torch.float32] * 2


@pytest.mark.parametrize("variant", ["1.5", "1.5-I2V"])
@pytest.mark.parametrize(("height", "width"), [(80, 64), (64, 80)])
def test_1_5_has_no_rope_beyond_sample_size(variant, height, width):
    # sample 8 / patch 2 = 4 rows of positions = 64 pixels
    with pytest.raises(RuntimeError, match="Sizes of tensors must match except in dimension 3"):
        pipeline(tiny(variant))._prepare_rotary_positional_embeddings(height, width, 4, "cpu")
