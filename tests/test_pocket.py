"""The pocket models: packaged weights in their real pipelines, the words, the clips, the checker, the training run."""

import itertools
import json

import pytest
import torch
from safetensors import safe_open

from tracer.errors import BadConfig, BadRequest, UnknownName
from tracer.probes.pocket import NAMES, load, train, words
from tracer.probes.pocket.checker import check, largest
from tracer.probes.pocket.clips import COLOURS, NOMINAL, SIDES, background, bucket, generate
from tracer.probes.pocket.evaluate import CHOICES, accuracy, arms, changes
from tracer.probes.pocket.forms import FORMS, alpha_bar
from tracer.probes.pocket.load import WEIGHTS
from tracer.probes.pocket.vae import PixelVAE


@pytest.fixture(scope="module", params=NAMES)
def pocket(request):
    return load(request.param)


def seeded(n):
    return torch.Generator().manual_seed(n)


# --- the packaged models -------------------------------------------------------------------------------------------


def test_the_pipelines_are_the_real_ones_around_one_to_three_million_parameters(pocket):
    kinds = {"pocket-hunyuanvideo": "HunyuanVideoPipeline", "pocket-cogvideox": "CogVideoXPipeline"}
    assert type(pocket.pipe).__name__ == kinds[pocket.name]
    assert type(pocket.pipe).__module__.startswith("diffusers.pipelines.")
    assert 1e6 < sum(p.numel() for p in pocket.pipe.transformer.parameters()) < 3e6


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_half_precision_safetensors_of_a_few_megabytes_and_nothing_else_is_executable(name):
    files = {path.name for path in (WEIGHTS / name).iterdir()}
    assert files == {"model.safetensors", "config.json", "evaluation.json", "MODEL_CARD.md"}
    assert (WEIGHTS / name / "model.safetensors").stat().st_size < 8e6
    with safe_open(WEIGHTS / name / "model.safetensors", framework="pt") as file:
        assert {file.get_slice(key).get_dtype() for key in file.keys()} == {"F16"}  # noqa: SIM118
        assert json.loads(file.metadata()["words"]) == list(words.WORDS)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_says_what_the_evaluation_measured_and_that_meets_the_aims(name):
    found = json.loads((WEIGHTS / name / "evaluation.json").read_text())
    config = json.loads((WEIGHTS / name / "config.json").read_text())
    assert (WEIGHTS / name / "MODEL_CARD.md").read_text() == train.evaluate.card(config, found)
    assert config["training"]["steps_done"] == config["training"]["steps"]
    assert found["checker"]["colour"] >= 0.99 <= found["checker"]["direction"]
    main = found["accuracy"]["cfg 4"]
    assert main["samples"] == 64
    assert main["colour"] >= 0.98
    assert main["direction"] >= 0.97
    for row in found["schedules"].values():
        again = arms(row["curve"])  # which is stored with five digits
        assert [row["left"], row["right"]] == pytest.approx([again["left"], again["right"]], rel=0.01)
    first = next(iter(found["schedules"].values()))  # each model's own schedule; HunyuanVideo's is shift 1
    assert min(first["left"], first["right"]) >= 3


def test_unit_variance_is_about_what_the_models_see():
    clips = generate(200, *NOMINAL, seeded(0)).video * PixelVAE().config.scaling_factor
    assert 0.9 < float(clips.std()) < 1.2


def test_guidance_is_two_branches_a_step_and_none_is_one(pocket):
    rows = []
    handle = pocket.pipe.transformer.register_forward_hook(lambda _m, _a, output: rows.append(len(output[0])))
    try:
        pocket("a red disc moving left", steps=3, cfg=4.0, frames=1, height=96, width=96, output_type="latent")
        guided = list(rows)
        rows.clear()
        pocket("a red disc moving left", steps=3, cfg=1.0, frames=1, height=96, width=96, output_type="latent")
    finally:
        handle.remove()
    assert sum(guided) == 6
    assert guided == {"pocket-hunyuanvideo": [1] * 6, "pocket-cogvideox": [2] * 3}[pocket.name]
    assert rows == [1, 1, 1]


def test_frames_come_out_visible_at_the_size_asked_for(pocket):
    video = pocket("a blue square moving up", steps=4, frames=9, height=96, width=128, output_type="np").frames
    assert video.shape == (1, 9, 96, 128, 3)
    assert video.min() >= 0
    assert video.max() <= 1
    assert video.std() > 0.05


def test_a_seed_gives_a_video_whoever_stands_beside_it(pocket):
    def latents(prompts, seed):
        return pocket(prompts, seed=seed, steps=3, frames=5, height=96, width=96, output_type="latent").frames

    one, other = "a red disc moving left", "a green square moving up"
    assert torch.equal(latents([one], 7), latents([one], 7))
    assert not torch.equal(latents([one], 7), latents([one], 8))
    torch.testing.assert_close(latents([other, one], 6)[1:], latents([one], 7), rtol=1e-4, atol=1e-4)


def test_a_handful_of_samples_shows_what_the_prompt_said(pocket):
    found = accuracy(pocket, 8, steps=12)
    assert found["colour"] == 1
    assert found["direction"] >= 7 / 8


def test_the_prediction_changes_most_at_both_ends(pocket):
    """At 25 steps, 4 samples: the steps between change less than the first fifth and the last."""
    found = arms(changes(pocket, 4, steps=25, frames=9))
    assert len(found["curve"]) == 24
    assert found["left"] > 2
    assert found["right"] > 2


def test_words_matter_one_by_one(pocket):
    """The same noise, one word changed: another colour."""
    prompts = [f"a {colour} disc moving right" for colour in COLOURS]
    latents = torch.cat([pocket(p, steps=10, frames=9, seed=3, output_type="latent").frames for p in prompts])
    clips = pocket.form.frames_first(latents) / pocket.pipe.vae.config.scaling_factor
    assert [check(clip).colour for clip in clips] == list(COLOURS)


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("prompt", "kind", "says"),
    [
        ("a purple disc moving left", UnknownName, "No word of the pocket models is called 'purple'"),
        ("a red cat", UnknownName, "All words: a, moving, red, green, blue, yellow, disc, square, triangle, left"),
        ("a red blue disc", BadRequest, "names the colours red and blue: give one of red, green, blue, yellow."),
        ("left or right", UnknownName, "'or'"),
        ("up down", BadRequest, "names the directions up and down"),
    ],
)
def test_words_out_of_the_table_are_refused_in_one_sentence(pocket, prompt, kind, says):
    with pytest.raises(kind) as caught:
        pocket.embeds(prompt)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sizes_that_a_pipeline_would_round_are_refused(pocket):
    with pytest.raises(BadRequest, match=r"makes 4 n \+ 1 frames, not 16: ask for 13 or 17\."):
        pocket("a disc", frames=16)
    with pytest.raises(BadRequest, match="multiples of 16, not 100 x 96: ask for 96 x 96"):
        pocket("a disc", height=100)


def test_a_model_that_is_not_there_is_refused():
    with pytest.raises(UnknownName, match="No pocket model is called 'pocket-wan'"):
        load("pocket-wan")


# --- words ---------------------------------------------------------------------------------------------------------


def test_order_case_and_fillers_mean_nothing():
    row = words.ids("a red disc moving left")
    assert row == words.ids("LEFT, disc red.")
    assert [words.WORDS[k] for k in row] == ["red", "disc", "left"]
    assert words.ids("") == [0, 0, 0]
    assert words.ids("a disc") == [0, words.WORDS.index("disc"), 0]
    assert len({tuple(words.ids(words.sentence(c))) for c in CHOICES}) == 48


def test_the_stored_table_is_the_seeded_one_and_its_vectors_are_apart(pocket):
    torch.testing.assert_close(pocket.table, words.table(pocket.table.shape[1], 2026).half().float())
    apart = torch.cdist(pocket.table, pocket.table) + 100 * torch.eye(len(pocket.table))
    assert apart.min() > 3


# --- clips and checker ---------------------------------------------------------------------------------------------


def test_the_checker_is_right_on_real_clips_of_every_size_with_motion():
    for frames, height, width in [(5, 12, 12), (2, 8, 16), (3, 14, 10), (4, 16, 16), (5, 8, 8)]:
        clips = generate(100, frames, height, width, seeded(frames))
        seen = [check(clip) for clip in clips.video]
        assert sum(s.colour == p[0] for s, p in zip(seen, clips.prompts, strict=True)) == 100
        assert sum(s.direction == p[2] for s, p in zip(seen, clips.prompts, strict=True)) >= 99


def test_the_checker_reads_decoded_videos_too():
    clips = generate(20, 3, 12, 12, seeded(4))
    videos = PixelVAE().decode(clips.video.transpose(1, 2)).sample.transpose(1, 2)
    seen = [check(video[:, :, ::2, ::2]) for video in videos]
    assert sum((s.colour, s.direction) == p[::2] for s, p in zip(seen, clips.prompts, strict=True)) >= 19


def test_the_checker_sees_nothing_where_nothing_is():
    still = background(50, 12, 12, seeded(1))[:, None].expand(-1, 5, -1, -1, -1)
    assert {check(clip).colour for clip in still} == {None}
    one = generate(10, 1, 12, 12, seeded(1))
    assert [check(clip).colour for clip in one.video] == [p[0] for p in one.prompts]
    assert {check(clip).direction for clip in one.video} == {None}
    frozen = generate(10, 5, 12, 12, seeded(1)).video[:, :1].expand(-1, 5, -1, -1, -1)
    assert {check(clip).direction for clip in frozen} == {None}


def test_the_largest_blob_is_counted_without_its_diagonal_neighbours():
    mask = torch.tensor([[1, 1, 0, 1], [0, 1, 0, 1], [1, 0, 0, 1], [1, 0, 0, 1]], dtype=torch.bool)
    assert largest(mask).int().tolist() == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_shapes_stay_within_the_frame_and_backgrounds_stay_still():
    clips = generate(200, 5, 12, 16, seeded(9))
    assert clips.video.abs().max() <= 1 + 0.3
    chroma = (clips.video - clips.video.mean(2, keepdim=True)).norm(dim=2)
    area = (chroma - 0.3).clamp(min=0).flatten(2).sum(-1)
    assert (area.amin(1) / area.amax(1)).min() > 0.75  # no frame cuts a shape off
    behind = torch.where(chroma.amax(1, keepdim=True)[:, :, None] < 0.3, clips.video, 0)
    assert (behind[:, 1:] - behind[:, :1]).abs().mean() < 0.003
    assert len({tuple(p) for p in clips.prompts}) == 48


def test_sizes_of_training_are_nominal_in_half_and_all_occur():
    generator = seeded(0)
    drawn = [bucket(generator) for _ in range(2000)]
    assert 0.45 < drawn.count(NOMINAL) / 2000 < 0.55
    assert {f for f, _, _ in drawn} == {1, 2, 3, 4, 5}
    assert {h for _, h, _ in drawn} == {w for _, _, w in drawn} == set(SIDES)


# --- decoder, noise, schedule --------------------------------------------------------------------------------------


def test_every_fourth_decoded_frame_is_a_latent_frame_and_a_single_one_stays_single():
    clip = generate(2, 3, 16, 20, seeded(2)).video.transpose(1, 2)
    (video,) = PixelVAE().decode(clip, return_dict=False)
    assert video.shape == (2, 3, 9, 128, 160)
    centre = video[:, :, ::4, 3::8, 3::8] + video[:, :, ::4, 4::8, 4::8]
    inside = (slice(None), slice(None), slice(None), slice(1, -1), slice(1, -1))
    assert (centre / 2 - clip)[inside].abs().mean() < 0.02
    assert PixelVAE().decode(clip[:, :, :1]).sample.shape == (2, 3, 1, 128, 160)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_cogvideox_noise_is_the_real_schedulers(scale):
    from diffusers import CogVideoXDDIMScheduler

    form = FORMS["pocket-cogvideox"]
    real = CogVideoXDDIMScheduler(**form.scheduler | {"snr_shift_scale": scale}).alphas_cumprod
    ours = alpha_bar(torch.arange(1000), torch.full((1000,), scale, dtype=torch.float64))
    torch.testing.assert_close(ours, real.double(), rtol=1e-9, atol=1e-12)
    assert ours[-1] == 0


@pytest.mark.parametrize("name", NAMES)
def test_noise_and_target_give_the_clip_back(name):
    clean = generate(6, 2, 12, 12, seeded(0)).video
    noisy, timestep, target = FORMS[name].noised(clean, seeded(1))
    if name == "pocket-hunyuanvideo":
        back = noisy - (timestep / 1000)[:, None, None, None, None] * target
        torch.testing.assert_close(back, clean, rtol=1e-4, atol=1e-5)
    else:
        # a clean + s noise and a noise - s clean: lengths are kept, whatever a and s
        same = (noisy.square() + target.square()).flatten(1).sum(1)
        noise = same - clean.square().flatten(1).sum(1)
        assert ((noise / clean[0].numel() - 1).abs() < 0.15).all()


# --- training ------------------------------------------------------------------------------------------------------


@pytest.fixture
def short():
    return train.Settings(steps=4, batch=720, warmup=2)


@pytest.mark.parametrize("name", NAMES)
def test_a_run_that_was_stopped_continues_to_the_same_weights(name, short, tmp_path):
    device = torch.device("cpu")
    train.train(FORMS[name], short, tmp_path / "whole", device, every=4)

    stopped = train.Run(FORMS[name], short, device)
    for _ in range(2):
        stopped.step()
    (tmp_path / "parts").mkdir()
    stopped.save(tmp_path / "parts")
    train.train(FORMS[name], short, tmp_path / "parts", device, every=4)

    for file in ("model.safetensors", "checkpoint.safetensors"):
        with (
            safe_open(tmp_path / "whole" / file, framework="pt") as whole,
            safe_open(tmp_path / "parts" / file, framework="pt") as parts,
        ):
            for key in whole.keys():  # noqa: SIM118
                assert torch.equal(whole.get_tensor(key), parts.get_tensor(key)), key
    assert load(name, folder=tmp_path / "parts").config["training"]["steps_done"] == 4
    assert not list(tmp_path.rglob("*.part"))


def test_a_folder_of_another_run_is_refused(short, tmp_path):
    run = train.Run(FORMS["pocket-cogvideox"], short, torch.device("cpu"))
    run.step()
    run.save(tmp_path)
    with pytest.raises(BadConfig, match="holds 1 steps of pocket-cogvideox"):
        train.train(FORMS["pocket-hunyuanvideo"], short, tmp_path, torch.device("cpu"))


def test_prompts_lose_all_words_in_a_tenth_and_some_in_another():
    stay = train.kept(20_000, 0.1, seeded(0))
    none = (~stay).all(1).float().mean()
    assert float(none) == pytest.approx(0.1 + 0.1 / 8, abs=0.01)
    assert float(stay.all(1).float().mean()) == pytest.approx(0.8 + 0.1 / 8, abs=0.01)


def test_arms_are_told_apart():
    falls = [0.5 / (k + 1) for k in range(24)]
    assert arms(falls)["left"] > 10
    assert arms(falls)["right"] < 2
    assert arms(falls[::-1])["right"] > 10
    assert all(a > b for a, b in itertools.pairwise(arms(falls)["curve"]))
