"""Frame plans against the truth: what the real pipeline classes make of N frames, run whole on tiny parts."""

from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import tiny_pipelines as tiny
import torch

from tracer.families import family
from tracer.frames import run

FAMILIES = {
    "cogvideox": tuple(tiny.COGVIDEOX),
    "hunyuanvideo": ("hunyuanvideo", "hunyuanvideo-i2v-33ch", "hunyuanvideo-i2v"),
    "framepack": ("framepack",),
    "hunyuanvideo15": ("hunyuanvideo15-t2v", "hunyuanvideo15-i2v"),
    "wan": ("wan2.1-t2v", "wan2.1-i2v"),
    "mochi": ("mochi",),
    "ltx": ("ltx",),
    "latte": ("latte",),
    "allegro": ("allegro",),
}
FAMILY = {name: of for of, names in FAMILIES.items() for name in names}
EVERY = range(1, 61)
BEYOND = (66, 81, 121, 140)


@pytest.fixture(autouse=True)
def _quiet():
    before = diffusers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()  # Wan tells of each count it rounds
    yield
    diffusers.logging.set_verbosity(before)


class Watched:
    """A tiny pipeline, and what its transformer was seen to take."""

    def __init__(self, name):
        self.name, self.pipe, self.rule = name, tiny.build(name), family(FAMILY[name]).frames
        self.calls, self.tokens, self.positions = [], [], []
        model, self.config = self.pipe.transformer, self.pipe.transformer.config
        model.register_forward_pre_hook(lambda _, args, kwargs: self._note(args, kwargs), with_kwargs=True)
        blocks = model.blocks if hasattr(model, "blocks") else model.transformer_blocks
        blocks[0].register_forward_pre_hook(self._note_tokens, with_kwargs=True)
        if isinstance(getattr(model, "rope", None), torch.nn.Module):
            model.rope.register_forward_hook(lambda _, args, output: self.positions.append(output))

    def _note(self, args, kwargs):
        latents = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        axis = 1 if self.name in tiny.COGVIDEOX else 2
        self.calls.append(kwargs["num_frames"] if self.name == "ltx" else latents.shape[axis])
        if "image_rotary_emb" in kwargs and kwargs["image_rotary_emb"] is not None:
            self.positions.append(kwargs["image_rotary_emb"])

    def _note_tokens(self, _, args, kwargs):
        hidden = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        self.tokens.append(hidden.shape[:-1].numel())  # Latte folds the frames into the batch

    def plan(self, n, height, width):
        return run(self.rule, self.config, n, height, width)

    def video(self, n, **sizes):
        """What the pipeline returns, None where it fails."""
        for seen in (self.calls, self.tokens, self.positions):
            seen.clear()
        try:
            return tiny.call(self.pipe, self.name, frames=n, **sizes)
        except RuntimeError:
            return None


def smallest(name):
    return tiny.SMALLEST.get(name, (16, 16))


def rows_of_positions(name, positions):
    """How many positions a rotary table has, whatever its layout: pairs of cos and sin, or one for each axis."""
    table = positions[0]
    if name == "allegro":  # ((angles of frames, rows, columns), (place of each token on each axis))
        return table[1][0].shape[-1]
    first = table[0]
    sizes = [n for n in first.shape if n != 1]
    return sizes[0]


def test_every_pipeline_belongs_to_a_family_with_a_rule():
    assert set(FAMILY) == set(tiny.NAMES)
    assert [name for name in FAMILIES if family(name).frames is None] == []


@pytest.mark.parametrize("name", tiny.NAMES)
def test_frames_returned_and_latent_frames_seen(name):
    """Every N from 1 to 60 and some beyond: frames, latent frames, passes; and where it fails, that it fails."""
    watched, (height, width) = Watched(name), smallest(name)
    wrong = {}
    for n in (*EVERY, *BEYOND):
        plan = watched.plan(n, height, width)
        video = watched.video(n)
        if video is None:
            made, expected = ("fails",), ("fails" if plan.fault else plan.frames,)
        else:
            made = (tuple(video.shape), watched.calls)
            steps = 2 if name == "mochi" else 1
            expected = ((1, plan.frames, 3, height, width), [plan.seen] * steps * plan.runs)
        if made != expected:
            wrong[n] = {"pipeline": made, "plan": expected}
    assert wrong == {}


SIZED = [name for name in tiny.NAMES if name not in tiny.SIZED and name != "cogvideox-5b-i2v"]


@pytest.mark.parametrize("name", SIZED)
def test_tokens_and_positions(name):
    """At two patches by three, at counts that are padded, rounded, or spread over sections."""
    watched, (height, width) = Watched(name), smallest(name)
    height, width = 2 * height, 3 * width
    if name.startswith("cogvideox1.5"):  # the table of positions ends at sample_height
        watched.pipe.transformer.register_to_config(sample_height=8, sample_width=8)
    for n in (16,) if name == "latte" else (3, 17, 34):
        plan = watched.plan(n, height, width)
        video = watched.video(n, height=height, width=width)
        assert video.shape[1] == plan.frames
        assert watched.tokens[0] == plan.tokens
        if plan.rope is None:
            assert watched.positions == []
            continue
        grid = plan.tokens // plan.seen if name != "framepack" else 2 * 3
        if name.startswith("cogvideox1.5"):
            grid = 2 * 3
        assert rows_of_positions(name, watched.positions) == plan.rope * grid


@pytest.mark.parametrize("n", [24, 30, 50, 88, 90])
def test_allegro_leaves_frames_plain_grey_that_no_tile_reaches(n):
    watched = Watched("allegro")
    plan = watched.plan(n, 16, 32)
    video = watched.video(n)
    grey = [bool((frame == 0.5).all()) for frame in video[0]]
    assert grey == [False] * (n - plan.blank) + [True] * plan.blank
    assert plan.exact == (not plan.blank)


def test_allegro_leaves_rows_and_columns_grey_that_no_tile_reaches():
    """On the tiny copy tiles are 16 by 32 pixels, 8 and 24 apart: of 96 columns they reach 32 + 2·24."""
    watched = Watched("allegro")
    video = watched.video(24, height=32, width=96)
    grey = (video == 0.5).all(dim=(0, 1, 2))
    assert not grey[:, :80].any()
    assert grey[:, 80:].all()
    decode = replace(watched.rule.steps[1], tile=(24, 16, 32), stride=(16, 8, 24))
    rule = replace(watched.rule, steps=(watched.rule.steps[0], decode))
    said = [line.text for line in run(rule, watched.config, 24, 32, 96).lines]
    assert said[-1] == "Tiles are 32 pixels, 24 apart: columns from 81 on come out plain grey."


def test_allegro_has_tiles_as_the_rule_says():
    vae = diffusers.AutoencoderKLAllegro(block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2)
    decode = family("allegro").frames.steps[1]
    assert (decode.tile, decode.stride) == (vae.kernel, vae.stride)


@pytest.mark.parametrize("window", [3, 5])
def test_framepack_with_sections_of_another_length(window):
    watched = Watched("framepack")
    rule = watched.rule.of_chunk(4 * (window - 1) + 1)
    assert rule.chunk == 4 * (window - 1) + 1
    for n in (1, rule.chunk, rule.chunk + 1, 40):
        plan = run(rule, watched.config, n, 16, 16)
        tiny_video = tiny.call(watched.pipe, "framepack", frames=n, latent_window_size=window)
        assert tiny_video.shape[1] == plan.frames


def test_framepack_returns_the_same_with_the_other_sampling():
    watched = Watched("framepack")
    for n in (1, 33, 34, 91):
        video = tiny.call(watched.pipe, "framepack", frames=n, sampling_type="vanilla")
        assert video.shape[1] == watched.plan(n, 16, 16).frames


@pytest.mark.parametrize("name", FAMILIES)
def test_sources_are_places_in_the_installed_code(name):
    rule, root = family(name).frames, Path(diffusers.__file__).parent
    for step in rule.steps:
        file, _, function = step.source.partition(": ")
        assert f"def {function}(" in (root / file).read_text(encoding="utf-8"), step.source
