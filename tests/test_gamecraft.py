"""GameCraft's transformer, which diffusers has not: against its numbers, HunyuanVideo's own class and index ramps."""

import functools

import pytest
import torch
from diffusers import HunyuanVideoTransformer3DModel

import tracer
from tracer import models
from tracer.build import full_config
from tracer.errors import BadConfig, BadRequest
from tracer.families.gamecraft import FAMILY
from tracer.models.gamecraft import CameraNet, GameCraftTransformer, compress_time

SMALL = {
    "num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_single_layers": 1,
    "num_refiner_layers": 1, "text_embed_dim": 12, "pooled_projection_dim": 6, "rope_axes_dim": (4, 2, 2),
}  # fmt: skip
ROWS, COLUMNS, TOKENS = 4, 6, 6  # of the latents, and tokens of one latent frame


@functools.cache
def small(*, moved=False):
    """A tiny model with the published camera network; moved: as after training, no longer zero at its end."""
    torch.manual_seed(0)
    model = GameCraftTransformer(**SMALL).eval()
    if moved:
        torch.nn.init.normal_(model.camera_net.final_proj.weight)
        torch.nn.init.normal_(model.camera_net.final_proj.bias)
    return model


def poses(batch=2, frames=33):
    return torch.randn(batch, frames, 6, 8 * ROWS, 8 * COLUMNS)


def inputs(latents, batch=2):
    torch.manual_seed(latents)
    return {
        "hidden_states": torch.randn(batch, 33, latents, ROWS, COLUMNS),
        "timestep": torch.linspace(900, 500, batch),
        "encoder_hidden_states": torch.randn(batch, 5, 12),
        "encoder_attention_mask": torch.ones(batch, 5),
        "pooled_projections": torch.randn(batch, 6),
    }


@torch.no_grad()
def run(model, given, **more):
    return model(**given, **more, return_dict=False)[0]


# size


def test_parameters_are_those_of_the_original():
    with torch.device("meta"):
        model, plain = GameCraftTransformer(), HunyuanVideoTransformer3DModel(in_channels=33, guidance_embeds=False)
    camera = sum(p.numel() for p in model.camera_net.parameters())
    assert camera == 294_257
    assert model.num_parameters() == 12_811_285_937 == plain.num_parameters() + camera
    # folded pixels, two convolutions with norms, one to the latents' channels, patches, scale
    by_hand = (384 * 192 + 3 * 192) + (192 * 96 + 3 * 96) + (96 * 16 + 16) + (16 * 4 * 3072 + 3072) + 1
    assert camera == by_hand


def test_the_defaults_are_the_published_config():
    config = full_config("GameCraftTransformer", {})
    plain = full_config("HunyuanVideoTransformer3DModel", {})
    differing = {k: v for k, v in config.items() if plain.get(k) != v}
    assert differing == {"in_channels": 33, "camera_in_channels": 6, "camera_down_coef": 8, "clip_frames": 33}
    assert set(plain) - set(config) == {"guidance_embeds", "image_condition_type", "patch_size_t"}


def test_models_are_found_by_name():
    assert models.GameCraftTransformer is GameCraftTransformer
    for name in ("HunyuanVideoPatchEmbed", "torch", "_encoder"):  # what a module imports or keeps to itself
        assert not hasattr(models, name)


# time


def ramp(frames, batch=1):
    """Frames that hold their own number, a thousand more in each further sample."""
    index = torch.arange(float(frames)) + 1000 * torch.arange(float(batch))[:, None]
    return index.reshape(-1, 1, 1, 1).expand(-1, 3, 2, 4)


def means(x):
    """The one number that each frame holds."""
    assert (x == x[:, :1, :1, :1]).all()
    return x[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    ("counts", "values"),
    [
        ((33, 17, 9), [0, 2.5, 6.5, 10.5, 14.5, 18.5, 22.5, 26.5, 30.5]),
        ((66, 34, 18), [k + v for k in (0, 33) for v in (0, 2.5, 6.5, 10.5, 14.5, 18.5, 22.5, 26.5, 30.5)]),
        ((34, 18, 9), [0.75, 4.5, 8.5, 12.5, 16.25, 19.5, 23.5, 27.5, 31.5]),
        ((4, 2, 1), [1.5]),
        ((1, 1, 1), [0]),
    ],
)
def test_compress_time_on_ramps(counts, values):
    once = compress_time(ramp(counts[0]), counts[0])
    twice = compress_time(once, len(once))
    assert (counts[0], len(once), len(twice)) == counts
    assert means(twice) == values


def test_compress_time_keeps_samples_and_places_apart():
    both = compress_time(ramp(33, batch=2), 33)
    assert means(both) == means(compress_time(ramp(33), 33)) + [v + 1000 for v in means(compress_time(ramp(33), 33))]
    torch.manual_seed(0)
    x = torch.randn(33, 3, 2, 4)
    for c, i, j in ((0, 0, 0), (2, 1, 3), (1, 0, 2)):
        alone = compress_time(x[:, c : c + 1, i : i + 1, j : j + 1], 33)
        torch.testing.assert_close(compress_time(x, 33)[:, c, i, j], alone[:, 0, 0, 0])


def test_latent_frame_k_hears_poses_4k_minus_3_to_4k():
    net = small(moved=True).camera_net
    with torch.no_grad():
        before = poses(1)
        for pose in (0, 1, 4, 5, 17, 32):
            after = before.clone()
            after[:, pose] += 1
            moved = (net(before) != net(after)).any(-1).reshape(9, TOKENS).any(-1)
            assert moved.nonzero().flatten().tolist() == [(pose + 3) // 4]


def test_the_camera_is_weighed_by_its_scale():
    torch.manual_seed(0)
    net, camera = CameraNet(6, 8, 16, (1, 2, 2), 16), poses(1, 1)
    torch.nn.init.normal_(net.final_proj.weight)
    with torch.no_grad():
        once = net(camera)
        net.scale.fill_(3)
        torch.testing.assert_close(net(camera), 3 * once)
    assert once.abs().max() > 0


def test_a_pose_stays_where_it_is():
    """8×8 pixels of a pose are one place of the latents, and 2×2 of those one token."""
    net = small(moved=True).camera_net
    norms = [m for m in net.modules() if isinstance(m, torch.nn.GroupNorm)]
    with torch.no_grad():
        before = poses(1, 1)
        after = before.clone()
        after[..., 16:32, 32:48] += 1  # the second row of tokens, the third column
        kept = [m.forward for m in norms]
        try:
            for m in norms:  # a norm looks at the whole picture
                m.forward = lambda x: x
            moved = (net(before) != net(after)).any(-1)[0]
        finally:
            for m, forward in zip(norms, kept, strict=True):
                m.forward = forward
    assert moved.nonzero().flatten().tolist() == [1 * COLUMNS // 2 + 2]


# the camera in the transformer


@pytest.mark.parametrize("latents", [9, 10, 18])
def test_a_fresh_camera_changes_nothing(latents):
    model = small()
    torch.manual_seed(1)
    plain = HunyuanVideoTransformer3DModel(in_channels=33, guidance_embeds=False, **SMALL).eval()
    weights = {k: v for k, v in model.state_dict().items() if not k.startswith("camera_net.")}
    plain.load_state_dict(weights)
    given, camera = inputs(latents), poses()
    out = run(plain, given)
    assert out.shape == (2, 16, latents, ROWS, COLUMNS)
    assert out.abs().max() > 0
    assert torch.equal(run(model, given, camera_states=camera), out)
    assert torch.equal(run(model, given), out)
    assert not torch.equal(run(small(moved=True), given, camera_states=camera), out)


@pytest.mark.parametrize(("latents", "empty"), [(9, 0), (10, 4), (18, 33)])
def test_history_has_empty_poses(latents, empty):
    model, camera, given = small(moved=True), poses(), []
    hook = model.camera_net.register_forward_pre_hook(lambda _, args: given.append(args[0]))
    with torch.no_grad():
        tokens = model.camera_tokens(camera, latents)
        hook.remove()
        assert tokens.shape == (2, latents * TOKENS, 16)
        assert torch.equal(tokens[:, -9 * TOKENS :], model.camera_net(camera))
        assert given[0] is camera
        assert [g.shape[1] for g in given] == [33, empty][: len(given)]
        assert len(given) == 1 + bool(empty)
        if empty:
            assert not given[1].any()
            assert torch.equal(tokens[:, : -9 * TOKENS], model.camera_net(given[1]))
    assert len(tokens[0, : -9 * TOKENS]) == (latents - 9) * TOKENS


def test_samples_do_not_mix():
    model, given, camera = small(moved=True), inputs(10), poses()
    both = run(model, given, camera_states=camera)
    for i in range(2):
        alone = run(model, {k: v[i : i + 1] for k, v in given.items()}, camera_states=camera[i : i + 1])
        torch.testing.assert_close(both[i : i + 1], alone)


def test_nothing_of_one_call_is_left_for_the_next():
    model, given = small(moved=True), inputs(10)
    without = run(model, given)
    run(model, given, camera_states=poses())
    assert torch.equal(run(model, given), without)
    with pytest.raises(RuntimeError):
        run(model, given | {"pooled_projections": torch.randn(2, 99)}, camera_states=poses())
    assert torch.equal(run(model, given), without)


@pytest.mark.parametrize("latents", [1, 8, 11, 17, 19, 27])
def test_other_latent_frames_are_refused(latents):
    message = (
        f"^{latents} latent frames do not go with 33 camera poses: those are 9 latent frames alone, 10 behind a start "
        "image, 18 behind another action$"
    )
    with pytest.raises(ValueError, match=message):
        run(small(), inputs(latents), camera_states=poses())


@pytest.mark.parametrize("frames", [1, 32, 34, 66])
def test_other_numbers_of_poses_are_refused(frames):
    with pytest.raises(ValueError, match=f"^there are {frames} camera poses, and an action has 33$"):
        run(small(), inputs(10), camera_states=poses(frames=frames))


def test_a_length_of_action_that_the_vae_would_cut_is_refused():
    with pytest.raises(BadConfig, match=r"clip_frames 34 is not of the form 4k\+1, as 33 is"):
        tracer.trace("gamecraft", config={"clip_frames": 34}, frames=35, formulas=False)


def test_an_action_of_another_length():
    """What 17 frames at a time would be: 5 latent frames, 6 behind an image and 10 behind an action."""
    net = CameraNet(6, 8, 16, (1, 2, 2), 16)
    assert net(poses(1, 17)).shape == (1, 5 * TOKENS, 16)
    model = GameCraftTransformer(**SMALL, clip_frames=17)
    for latents in (5, 6, 10):
        assert model.camera_tokens(poses(1, 17), latents).shape == (1, latents * TOKENS, 16)
    with pytest.raises(ValueError, match=r"^9 latent frames do not go with 17 camera poses: those are 5 "):
        model.camera_tokens(poses(1, 17), 9)


# the family


@pytest.mark.parametrize(("frames", "latents"), [(33, 9), (34, 10), (66, 18)])
def test_frames_of_a_request(frames, latents):
    trace = tracer.trace("gamecraft", frames=frames, config=dict.fromkeys(FAMILY.depths, 1))
    assert latents == trace.values["F"]
    assert trace.values["S"] == latents * 44 * 76
    camera = trace.root.inputs["camera_states"]
    assert camera.sizes == (2, 33, 6, 704, 1216)
    poses_of = {9: "4·F − 3", 10: "4·F − 7", 18: "2·F − 3"}
    assert str(camera.shape[1].formula) == poses_of[latents]
    (warning,) = trace.header.warnings
    assert ("33 new frames" in warning) == (latents != 9)
    assert [c.path for c in trace.walk() if c.path == "camera_net" and c.kind == "module"] == ["camera_net"] * (
        1 if latents == 9 else 2
    )


@pytest.mark.parametrize("frames", [1, 32, 35, 37, 49, 65, 67, 69, 129])
def test_other_frames_are_refused(frames):
    with pytest.raises(BadRequest) as error:
        tracer.trace("gamecraft", frames=frames)
    assert str(error.value) == (
        f"--frames {frames} is no length of this model, which makes 33 frames at a time; use 34 (a start image and 33 "
        "new frames: 10 latent frames) or 66 (the 33 frames before and 33 new ones: 18)."
    )


def test_sizes_that_cannot_be_cut_are_refused():
    with pytest.raises(BadRequest, match=r"^--height 700 cannot be cut whole: .* divisible by 16; use 688 or 704\.$"):
        tracer.trace("gamecraft", height=700)


@pytest.mark.parametrize(("name", "tokens"), [("gamecraft", 33_440), ("gamecraft-continue", 60_192)])
def test_published_requests(name, tokens, traces):
    trace = traces[name]
    assert trace.values["S"] == tokens
    assert trace.header.params == 12_811_285_937
    (added,) = trace.root.find(path="x_embedder", name="add")
    assert [s.sizes for s in added.inputs.values()] == [(2, tokens, 3072)] * 2
    camera = trace.stage_costs()["camera"]
    assert camera.params.size == 294_257
    assert camera.flops.size < trace.root.cost.flops.size / 1000
