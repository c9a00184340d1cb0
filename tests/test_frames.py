"""Frame arithmetic: VAE codes, steps and their sentences, nearest counts, and GameCraft's numbers."""

from dataclasses import replace
from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tracer import gamecraft_frames as gamecraft
from tracer.errors import BadRequest
from tracer.families import all_families
from tracer.frame_steps import Decode, Encode, Fill, Round, Vae, ceil
from tracer.frames import SEARCH, FrameRule, patch_of, plan, run, to_json

counts, sides = st.integers(1, 3000), st.integers(1, 50)
RULES = {f.name: f for f in all_families() if f.frames is not None}
PATCH = {"patch_size": 2, "patch_size_t": None}


def config_of(checkpoint, family):
    """A checkpoint's whole config; diffusers is loaded for it."""
    from tracer.build import full_config

    return full_config(family.model, checkpoint.config)


@pytest.fixture(scope="module")
def known():
    """Rule, whole config and published size of each checkpoint, when it is first asked for."""

    @cache
    def find(name):
        family, checkpoint = next((f, c) for f in RULES.values() for c in f.checkpoints if c.name == name)
        return family.frames, config_of(checkpoint, family), checkpoint.request

    return find


@pytest.fixture(scope="module")
def planned(known):
    """Plans by checkpoint and N, at the published size."""

    def make(name, n):
        rule, config, request = known(name)
        return plan(rule, config, n, request.height, request.width)

    return make


@pytest.fixture(scope="module")
def ran(known):
    """The same without a look at other N."""

    def make(name, n):
        rule, config, request = known(name)
        return run(rule, config, n, request.height, request.width)

    return make


CHECKPOINTS = [c.name for f in RULES.values() for c in f.checkpoints]


# VAEs


@pytest.mark.parametrize(
    ("code", "vae"),
    [
        ("884-16c-hy0801", Vae(8, 4, 16)),
        ("888-16c-hy0801", Vae(8, 8, 16)),
        ("881-4c", Vae(8, 1, 4)),
        ("16c-hy0801", Vae(8, 1)),
        ("", Vae(8, 1)),
    ],
)
def test_vae_codes(code, vae):
    assert Vae.parse(code) == vae


@pytest.mark.parametrize("code", ["484-16c", "880-16c", "004-16c", "884-0c"])
def test_codes_that_cannot_be(code):
    with pytest.raises(BadRequest, match=f"'{code}' is no VAE code"):
        Vae.parse(code)


@pytest.mark.parametrize(
    ("temporal", "frames", "latents"),
    [(4, 33, 9), (8, 33, 5), (8, 65, 9), (4, 17, 5), (8, 17, 3), (4, 21, 6), (4, 25, 7), (8, 25, 4), (1, 25, 25)],
)
def test_latents(temporal, frames, latents):
    assert Vae(8, temporal).latents(frames) == latents


@given(n=counts, temporal=st.integers(1, 16))
def test_a_vae_there_and_back(n, temporal):
    vae = Vae(8, temporal)
    assert vae.latents(vae.frames(n)) == n
    assert 0 <= n - vae.frames(vae.latents(n)) < temporal


@given(n=st.integers(0, 10**6), by=st.integers(1, 100))
def test_ceil(n, by):
    assert (ceil(n, by) - 1) * by < n <= ceil(n, by) * by


# rules


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_the_nearest_exact_counts_are_exact_and_nearest(name, planned, ran):
    exact = {n for n in range(1, 200) if ran(name, n).exact}
    for n in (1, 2, 16, 33, 50, 81, 129):
        found = planned(name, n)
        assert found.below == max((m for m in exact if m < n), default=None)
        assert found.above == min((m for m in exact if m > n), default=None) or found.above > 199


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_what_comes_out_instead_is_told(name, planned, ran):
    for n in (5, 50, 129):
        found = planned(name, n)
        for ask, frames in found.instead:
            assert ran(name, ask).frames == frames
            assert frames != ask
        assert bool(found.instead) == (not found.exact and found.below is None and found.above is None)


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_more_asked_for_is_never_less_returned(name, ran):
    made = [found.frames for found in (ran(name, n) for n in range(1, 70)) if found.fault is None]
    assert made == sorted(made)
    assert all(frames >= 0 for frames in made)


@pytest.mark.parametrize("name", [c.name for f in RULES.values() for c in f.checkpoints if not f.frames.chunk])
def test_the_rule_and_the_family_agree_on_latent_frames(name, known, ran):
    """What a trace of N frames is made with is what the rule says the transformer sees."""
    family, checkpoint = next((f, c) for f in RULES.values() for c in f.checkpoints if c.name == name)
    config = known(name)[1]
    seen = {n: family.sizes(config, replace(checkpoint.request, frames=n))["F"] for n in range(1, 141)}
    assert seen == {n: ran(name, n).seen for n in seen}


def test_gamecraft_and_its_family_agree_on_latent_frames(ran):
    family = RULES["gamecraft"]
    for clip, checkpoint in zip(ran("gamecraft", 66).clips, family.checkpoints, strict=True):
        assert clip.count == checkpoint.request.frames
        assert clip.latents == family.sizes({}, checkpoint.request)["F"]


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_every_plan_says_why(name, planned):
    for n in (1, 2, 30, 81):
        found = planned(name, n)
        assert found.lines
        for line in found.lines:
            assert line.text[0].isupper() or line.text[0].isdigit()
            assert line.text.endswith(".")
            assert line.source
        if found.fault:
            assert found.lines[-1].text == found.fault
            assert found.frames is None


RULE = FrameRule(Vae(8, 4), (Round("R"), Encode("E"), Fill("F"), Decode("D")))


@given(
    n=counts, rows=st.integers(1, 50), columns=st.integers(1, 50), patch=st.integers(1, 4), patch_t=st.integers(1, 4)
)
def test_tokens_are_patches(n, rows, columns, patch, patch_t):
    config = {"patch_size": patch, "patch_size_t": patch_t}
    found = run(RULE, config, n, 8 * patch * rows, 8 * patch * columns)
    assert found.seen % patch_t == 0
    assert found.tokens == found.seen // patch_t * rows * columns
    assert found.rope == found.seen // patch_t
    assert found.latents <= found.seen < found.latents + patch_t
    assert (found.frames - 1) % 4 == 0
    assert -4 < found.gained < 4


@given(n=counts)
def test_a_plan_as_json(n):
    import json

    found = plan(RULE, PATCH, n, 16, 32)
    data = json.loads(json.dumps(to_json(found)))
    assert (data["asked"], data["frames"], data["exact"], data["gained"]) == (
        n,
        found.frames,
        found.exact,
        found.gained,
    )
    assert [line["text"] for line in data["lines"]] == [line.text for line in found.lines]


def test_a_plan_as_text():
    assert str(run(RULE, PATCH, 50, 16, 16)).splitlines() == [
        "50 frames asked for, 49 returned.",
        "N 50 is not 4k + 1: the pipeline rounds it down to 49.",
        "49 frames are (49 - 1)//4 + 1 = 13 latent frames.",
        "13 latent frames decode to 4·(13 - 1) + 1 = 49 frames.",
    ]


def test_patches_however_written():
    assert patch_of({"patch_size": 2}) == (1, 2, 2)
    assert patch_of({"patch_size": 2, "patch_size_t": 2}) == (2, 2, 2)
    assert patch_of({"patch_size": (1, 2, 4)}) == (1, 2, 4)


@pytest.mark.parametrize("n", [0, -4, 2.0, True, "9", None])
def test_counts_that_cannot_be(n):
    with pytest.raises(BadRequest, match=r"N .* is not possible: it is a whole number from 1 on\."):
        run(RULE, PATCH, n, 16, 16)


@pytest.mark.parametrize(
    ("height", "words"),
    [(500, "use 496 or 512"), (15, "use 16"), (0, "use 16"), (-16, "use 16"), (16.0, "use 16")],
)
def test_sizes_that_make_no_whole_patches(height, words):
    with pytest.raises(
        BadRequest, match=f"--height {height} makes no whole patches: it must be divisible by 16 .*{words}"
    ):
        run(RULE, PATCH, 9, height, 16)
    with pytest.raises(BadRequest, match=f"--width {height} makes no whole patches"):
        run(RULE, PATCH, 9, 16, height)


def test_a_rule_without_clips_has_no_chunk():
    assert RULE.chunk is None
    assert RULE.of_chunk(17) == RULE


# GameCraft


def test_its_numbers():
    """33 frames are 9 latent ones; 34 and 66 are told for 10 and 18 of them, 37 and 69 for as many positions."""
    vae = Vae.parse(gamecraft.CODE)
    assert vae.latents(gamecraft.CHUNK) == 9
    assert [gamecraft.latent_count(n) for n in (34, 66)] == [10, 18]
    assert [gamecraft.rope_frames(n) for n in (37, 69)] == [10, 18]
    assert [gamecraft.count_for(n) for n in (10, 18)] == [34, 66]
    assert [gamecraft.rope_count_for(n) for n in (10, 18)] == [37, 69]


@given(latents=st.integers(2, 500))
def test_counts_told_are_the_smallest(latents):
    told, rope = gamecraft.count_for(latents), gamecraft.rope_count_for(latents)
    assert gamecraft.latent_count(told) == latents == gamecraft.latent_count(told - 1) + 1
    assert gamecraft.rope_frames(rope) == latents == gamecraft.rope_frames(rope - 1) + 1
    assert rope - told == 3


@pytest.mark.parametrize(
    ("code", "latents", "rope"), [("888-16c-hy0801", 5, 33), ("other", 33, 33), ("884-16c-hy0801", 9, 9)]
)
def test_other_vaes(code, latents, rope):
    """888 has no branch of its own for rotary positions, so its 5 latent frames would meet 33 positions."""
    assert gamecraft.latent_count(33, code) == latents
    assert gamecraft.rope_frames(33, code) == rope


@pytest.mark.parametrize(
    ("poses", "lengths"),
    [
        (33, (17, 9)),
        (66, (34, 18)),
        (34, (18, 9)),
        (4, (2, 1)),
        (17, (9, 5)),
        (18, (9, 5)),
        (67, (34, 18)),
        (1, (1, 1)),
    ],
)
def test_compress_time(poses, lengths):
    once = gamecraft.compress_time(poses)
    assert (once, gamecraft.compress_time(once)) == lengths
    assert gamecraft.camera_frames(poses) == lengths[1]


def test_compress_time_is_that_of_the_model():
    import torch

    from tracer.models.gamecraft import compress_time

    for n in range(1, 140):
        assert compress_time(torch.zeros(n, 1, 1, 1), n).shape[0] == gamecraft.compress_time(n), n


def test_the_published_clip_has_no_fault():
    assert gamecraft.faults(gamecraft.CHUNK, Vae.parse(gamecraft.CODE)) == ()
    assert run(gamecraft.frame_rule(), PATCH, 66, 704, 1216).breaks == ()


def test_clip_by_clip():
    found = plan(gamecraft.frame_rule(), PATCH, 5 * 33, 704, 1216)
    first, later = found.clips
    assert (first.times, first.latents, first.count, first.rope_count, first.tokens) == (1, 10, 34, 37, 33_440)
    assert (later.times, later.latents, later.count, later.rope_count, later.tokens) == (4, 18, 66, 69, 60_192)
    assert (found.frames, found.runs, found.seen, found.tokens) == (165, 5, 18, 60_192)
    assert (found.below, found.above) == (132, 198)
    said = " ".join(line.text for line in found.lines)
    for number in ("34, the smallest", "66, the smallest", "37 = 4·9 + 1", "69 = 4·17 + 1", "33 -> 17 -> 9"):
        assert number in said


@given(n=st.integers(1, 5000))
def test_actions_are_never_cut(n):
    found = run(gamecraft.frame_rule(), PATCH, n, 16, 16)
    assert found.frames == 33 * found.runs
    assert 0 <= found.gained < 33
    assert sum(clip.times for clip in found.clips) == found.runs


def test_seventeen_frames_collide():
    """Latent frames 10 mean a picture to the published code, and 17 frames make 5 + 5 of them after a clip."""
    rule = gamecraft.frame_rule().of_chunk(17)
    found = run(rule, PATCH, 34, 704, 1216)
    first, later = found.clips
    assert (first.latents, first.count, first.rope_count) == (6, 18, 21)
    assert (later.latents, later.count, later.rope_count) == (10, 34, 37)
    said = {line.text: line.source for line in found.breaks}
    assert (
        "After a picture: no branch is for 6 latent frames, so camera features stay unset: UnboundLocalError." in said
    )
    assert "After a clip: the branch for 10 latent frames makes 6 camera frames, and the sum fails." in said
    mask = "After a clip: of 10 latent frames the mask marks 1 as history, where 5 are: 10 means a picture to it."
    assert mask in said
    changed = {text: source.rpartition("/")[2] for text, source in said.items() if "would have to be" in text}
    assert changed == {
        "Poses of an action: 33 would have to be 17.": "sample_inference.py:211",
        "Poses made into rays: 33 would have to be 17.": "sample_inference.py:511, 520",
        "Count told after a picture: 34 would have to be 18.": "sample_inference.py:525",
        "Count told after a clip: 66 would have to be 34.": "sample_inference.py:527",
        "Rotary count after a picture: 37 would have to be 21.": "sample_inference.py:613",
        "Rotary count after a clip: 69 would have to be 37.": "sample_inference.py:615",
        "Latent frames that mean a picture: 10 would have to be 6.": "pipeline_hunyuan_video_game.py:913-933",
        "Latent frames with camera features: 18, 9, 10 would have to be 10, 5, 6.": "models.py:571-579",
        "Pose counts taken for two clips: 66, 34 would have to be 34, 18.": "cameranet.py:124-174",
        "Frames encoded at the start: 33 would have to be 17.": "sample_batch.py:220, 226",
    }


@given(chunk=st.integers(5, 400))
def test_other_clips(chunk):
    assume(chunk != gamecraft.CHUNK)
    rule = gamecraft.frame_rule().of_chunk(chunk)
    found = run(rule, PATCH, 2 * chunk, 16, 16)
    own = (chunk - 1) // 4 + 1
    assert [clip.latents for clip in found.clips] == [own + 1, 2 * own]
    assert found.frames == 2 * (4 * (own - 1) + 1)
    assert found.breaks
    # 34 to 36 frames are 9 latent ones too: only the numbers that are written out stand against them
    faults = [line for line in found.breaks if "would have to be" not in line.text]
    assert bool(faults) == (own != 9)


@pytest.mark.parametrize("chunk", [1, 4])
def test_clips_too_short(chunk):
    with pytest.raises(BadRequest, match=f"--chunk {chunk} is not possible: a clip is two latent frames at least"):
        gamecraft.frame_rule().of_chunk(chunk)


# FramePack


def test_a_plan_of_sections(ran):
    found = ran("framepack", 91)
    assert [line.text for line in found.lines] == [
        "A section is 9 latent frames, which stand for 33 frames: 91 frames take 3 sections, and with the picture "
        "9·3 + 1 = 28 latent frames, decoded section by section with blended overlaps.",
        "28 latent frames decode to 4·(28 - 1) + 1 = 109 frames.",
    ]


def test_one_of_a_section_is_said_so(known):
    rule, config, request = known("framepack")
    said = run(rule.of_chunk(1), config, 1, request.height, request.width).lines[0].text
    assert said.startswith("A section is 1 latent frame, which stands for 1 frame: 1 frame takes 1 section, and with")


@pytest.mark.parametrize(("chunk", "nearest"), [(2, "1 or 5"), (32, "29 or 33"), (34, "33 or 37"), (36, "33 or 37")])
def test_sections_of_no_whole_latent_frames(known, chunk, nearest):
    rule = known("framepack")[0]
    with pytest.raises(BadRequest, match=rf"--chunk {chunk} is not possible: .* 4k \+ 1 frames; use {nearest}\."):
        rule.of_chunk(chunk)
    assert [rule.of_chunk(int(n)).chunk for n in nearest.split(" or ")] == [int(n) for n in nearest.split(" or ")]


def test_the_search_reaches_every_exact_count():
    """No rule's exact counts lie further apart than a search looks."""
    rule = gamecraft.frame_rule()
    assert rule.chunk < SEARCH
