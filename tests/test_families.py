"""What the traces of the published checkpoints must show, and what requests their families let through."""

import re
from types import SimpleNamespace

import diffusers
import pytest
import tiny_pipelines
import torch
import torchinfo

import tracer
from tracer.api import letters_of, make_request
from tracer.build import build_inputs, build_model, full_config, ready
from tracer.calls import Slice, Trace
from tracer.errors import BadRequest, TracerError
from tracer.families import all_families, find
from tracer.families.hunyuanvideo15 import bucket, buckets
from tracer.shapes import Dim


def sizes(specs):
    return {name: spec.sizes for name, spec in specs.items()}


def numbers(value):
    """An argument with plain numbers in place of Dims."""
    if isinstance(value, Slice):
        return slice(*map(numbers, value))
    if isinstance(value, tuple):
        return tuple(map(numbers, value))
    return value.size if isinstance(value, Dim) else value


def argument(call, kind=tuple):
    """The only argument of that type, as numbers."""
    (value,) = (v for v in map(numbers, call.attrs.values()) if isinstance(v, kind))
    return value


def order(root, *names):
    """Operations and functions of these names below a call, in the order of the run: names and outputs."""
    return [(c.name, c.output.sizes) for c in root.walk() if c.name in names and c.output]


ALL = slice(None)


# CogVideoX-5b, 49 frames of 480×720: 13·30·45 = 17550 video tokens behind 226 of text


@pytest.fixture
def cog(traces):
    return traces["cogvideox-5b"]


@pytest.mark.parametrize("path", ["patch_embed", "transformer_blocks.0.attn1"])
def test_cogvideox_puts_text_before_video(cog, path):
    cat = cog.one(path, "cat", "op")
    assert [s.sizes for s in cat.inputs.values()] == [(2, 226, 3072), (2, 17550, 3072)]
    assert [s.sizes for s in cat.outputs.values()] == [(2, 17776, 3072)]
    assert argument(cat, int) == 1


def test_cogvideox_turns_only_the_video_rows_of_query_and_key(cog):
    attention = cog.one("transformer_blocks.0.attn1")
    assert sizes(attention.inputs) == {
        "hidden_states": (2, 17550, 3072),
        "encoder_hidden_states": (2, 226, 3072),
        "image_rotary_emb.0": (17550, 64),
        "image_rotary_emb.1": (17550, 64),
    }
    turns = attention.find(name="apply_rotary_emb", kind="function")
    writes = attention.find(name="setitem", kind="op")
    assert len(turns) == len(writes) == 2
    for turn, write, name in zip(turns, writes, ("query", "key"), strict=True):
        assert turn.inputs["x"].sizes == (2, 48, 17550, 64)
        assert sizes(turn.outputs) == {name: (2, 48, 17550, 64)}
        into, turned = write.inputs.items()
        assert (into[0], into[1].sizes) == (name, (2, 48, 17776, 64))
        assert turned[1].sizes == (2, 48, 17550, 64)
        assert argument(write) == (ALL, ALL, slice(226, None))
    steps = [c.name for c in attention.walk() if c in turns + writes or c.name == "scaled_dot_product_attention"]
    assert steps == ["apply_rotary_emb", "setitem"] * 2 + ["scaled_dot_product_attention"]


def test_cogvideox_attends_once_in_each_block(cog):
    blocks = cog.unfold().find("transformer_blocks.?") + cog.unfold().find("transformer_blocks.??")
    assert len(blocks) == 42
    for block in blocks:
        (attention,) = block.find(name="scaled_dot_product_attention")
        assert sizes(attention.inputs) == dict.fromkeys(("query", "key", "value"), (2, 48, 17776, 64))
        assert attention.output.sizes == (2, 48, 17776, 64)
    assert len(cog.unfold().find(name="scaled_dot_product_attention")) == 42


def test_cogvideox_splits_back_after_attention(cog):
    split = cog.one("transformer_blocks.0.attn1", "split")
    assert argument(split) == (226, 17550)
    assert sizes(split.outputs) == {
        "encoder_hidden_states": (2, 226, 3072),
        "hidden_states": (2, 17550, 3072),
    }


def test_cogvideox_blocks_return_both_streams_by_name(cog):
    block = cog.one("transformer_blocks.0")
    both = {"hidden_states": (2, 17550, 3072), "encoder_hidden_states": (2, 226, 3072)}
    assert block.repeat == 42
    assert sizes(block.outputs) == both
    assert both.items() <= sizes(block.inputs).items()
    assert block.inputs["temb"].sizes == (2, 512)


@pytest.mark.parametrize("norm", ["norm1", "norm2"])
def test_cogvideox_modulates_with_six_vectors_by_name(cog, norm):
    chunk = cog.one(f"transformer_blocks.0.{norm}", "chunk")
    assert [s.sizes for s in chunk.inputs.values()] == [(2, 18432)]
    names = ["shift", "scale", "gate", "enc_shift", "enc_scale", "enc_gate"]
    assert list(chunk.outputs) == names
    assert sizes(chunk.outputs) == dict.fromkeys(names, (2, 3072))


def test_cogvideox_unpatchifies(cog):
    proj_out = next(i for i, c in enumerate(cog.root.children) if c.path == "proj_out")
    steps = [(c.name, c.output.sizes) for c in cog.root.children[proj_out:]]
    assert steps == [
        ("Linear", (2, 17550, 64)),
        ("reshape", (2, 13, 30, 45, 16, 2, 2)),
        ("permute", (2, 13, 16, 30, 2, 45, 2)),
        ("flatten", (2, 13, 16, 30, 2, 90)),
        ("flatten", (2, 13, 16, 60, 90)),
    ]
    assert cog.root.output.sizes == cog.root.inputs["hidden_states"].sizes == (2, 13, 16, 60, 90)


# HunyuanVideo, 129 frames of 720×1280: 33·45·80 = 118800 video tokens before 256 of text

DUAL, SINGLE = "transformer_blocks.0", "single_transformer_blocks.0"
VIDEO, TEXT, BOTH = (1, 118800, 3072), (1, 256, 3072), (1, 119056, 3072)
HEADS, TEXT_HEADS, BOTH_HEADS = (1, 118800, 24, 128), (1, 256, 24, 128), (1, 119056, 24, 128)


@pytest.fixture
def hunyuan(traces):
    return traces["hunyuanvideo"]


def test_hunyuanvideo_patches_in_three_dimensions(hunyuan):
    assert hunyuan.root.inputs["hidden_states"].sizes == (1, 16, 33, 90, 160)
    conv = hunyuan.one("x_embedder.proj", "conv3d")
    assert conv.inputs["weight"].sizes == (3072, 16, 1, 2, 2)
    assert hunyuan.one("x_embedder.proj").output.sizes == (1, 3072, 33, 45, 80)
    assert hunyuan.one("x_embedder").output.sizes == VIDEO


def test_hunyuanvideo_computes_its_own_rope_tables(hunyuan):
    assert [s.sizes for s in hunyuan.one("rope").outputs.values()] == [(118800, 128)] * 2
    axes = hunyuan.one("rope").find(name="get_1d_rotary_pos_embed", kind="function")
    assert [[s.sizes for s in c.outputs.values()] for c in axes] == [[(118800, n)] * 2 for n in (16, 56, 56)]
    for path, name in ((DUAL, "freqs_cis"), (SINGLE, "image_rotary_emb")):
        block = hunyuan.one(path)
        assert [block.inputs[f"{name}.{i}"].sizes for i in (0, 1)] == [(118800, 128)] * 2


@pytest.mark.parametrize(("path", "blocks"), [(DUAL, 20), (SINGLE, 40)])
def test_hunyuanvideo_blocks_return_both_streams_by_name(hunyuan, path, blocks):
    block = hunyuan.one(path)
    assert block.repeat == blocks
    assert sizes(block.outputs) == {"hidden_states": VIDEO, "encoder_hidden_states": TEXT}
    assert block.inputs["hidden_states"].sizes == VIDEO
    assert block.inputs["encoder_hidden_states"].sizes == TEXT
    assert block.inputs["temb"].sizes == (1, 3072)


@pytest.mark.parametrize("path", [DUAL, SINGLE])
def test_hunyuanvideo_masks_padding_for_every_query(hunyuan, path):
    masks = [c for c in hunyuan.root.children if c.output and "attention_mask" in c.outputs]
    assert [c.output.sizes for c in masks] == [(1, 119056), (1, 119056), (1, 1, 1, 119056)]
    block = hunyuan.one(path)
    assert block.inputs["attention_mask"].sizes == (1, 1, 1, 119056)
    assert block.inputs["attention_mask"].dtype == "bool"
    (attention,) = block.find(name="scaled_dot_product_attention")
    qkv = dict.fromkeys(("query", "key", "value"), (1, 24, 119056, 128))
    assert sizes(attention.inputs) == qkv | {"attn_mask": (1, 1, 1, 119056)}
    assert attention.output.sizes == (1, 24, 119056, 128)


def test_hunyuanvideo_attends_once_in_each_block(hunyuan):
    paths = [c.path for c in hunyuan.unfold().walk() if c.name == "scaled_dot_product_attention"]
    refiner = [f"context_embedder.token_refiner.refiner_blocks.{i}.attn" for i in range(2)]
    dual, single = "transformer_blocks.{}.attn", "single_transformer_blocks.{}.attn"
    assert paths == refiner + [dual.format(i) for i in range(20)] + [single.format(i) for i in range(40)]


def test_hunyuanvideo_refines_text_under_a_square_mask(hunyuan):
    refiner = hunyuan.one("context_embedder.token_refiner.refiner_blocks.0")
    assert refiner.repeat == 2
    (attention,) = refiner.find(name="scaled_dot_product_attention")
    assert attention.inputs["query"].sizes == (1, 24, 256, 128)
    write = hunyuan.one("context_embedder.token_refiner", "setitem")
    assert next(iter(write.inputs.values())).sizes == (1, 1, 256, 256)
    assert argument(write) == (ALL, ALL, ALL, 0)
    assert hunyuan.one("context_embedder").output.sizes == TEXT


def test_hunyuanvideo_dual_blocks_turn_the_video_then_join_the_text(hunyuan):
    steps = order(hunyuan.one(f"{DUAL}.attn"), "apply_rotary_emb", "cat", "scaled_dot_product_attention")
    assert steps == [
        *[("apply_rotary_emb", HEADS)] * 2,
        *[("cat", BOTH_HEADS)] * 3,
        ("scaled_dot_product_attention", (1, 24, 119056, 128)),
    ]
    joins = hunyuan.find(f"{DUAL}.attn", "cat", "op")
    assert [list(c.outputs) for c in joins] == [["query"], ["key"], ["value"]]
    assert all([s.sizes for s in c.inputs.values()] == [HEADS, TEXT_HEADS] for c in joins)


def test_hunyuanvideo_single_blocks_turn_the_video_and_put_it_back_before_the_text(hunyuan):
    attention = hunyuan.one(f"{SINGLE}.attn")
    first, *rest = order(attention, "apply_rotary_emb", "cat", "scaled_dot_product_attention")
    assert first == ("cat", BOTH)
    assert rest == [
        *[("apply_rotary_emb", HEADS), ("cat", BOTH_HEADS)] * 2,
        ("scaled_dot_product_attention", (1, 24, 119056, 128)),
    ]
    joins = attention.find(name="cat", kind="op")[1:]
    assert [list(c.outputs) for c in joins] == [["query"], ["key"]]
    assert all([s.sizes for s in c.inputs.values()] == [HEADS, TEXT_HEADS] for c in joins)


def test_hunyuanvideo_single_blocks_join_attention_and_feed_forward_along_the_channels(hunyuan):
    *_, cat = hunyuan.find(SINGLE, "cat", "op")
    assert [s.sizes for s in cat.inputs.values()] == [BOTH, (1, 119056, 12288)]
    assert cat.output.sizes == (1, 119056, 15360)
    assert argument(cat, int) == 2
    assert hunyuan.one(f"{SINGLE}.proj_out").output.sizes == BOTH


@pytest.mark.parametrize("path", [f"{DUAL}.attn", f"{SINGLE}.attn"])
def test_hunyuanvideo_cuts_the_text_off_the_end(hunyuan, path):
    *_, video, text = hunyuan.find(path, "getitem", "op")
    assert sizes(video.outputs) == {"hidden_states": VIDEO}
    assert argument(video) == (ALL, slice(None, -256))
    assert sizes(text.outputs) == {"encoder_hidden_states": TEXT}
    assert argument(text) == (ALL, slice(-256, None))


@pytest.mark.parametrize("norm", ["norm1", "norm1_context"])
def test_hunyuanvideo_dual_blocks_modulate_each_stream_with_six_vectors_by_name(hunyuan, norm):
    chunk = hunyuan.one(f"{DUAL}.{norm}", "chunk")
    assert [s.sizes for s in chunk.inputs.values()] == [(1, 18432)]
    names = ["shift_msa", "scale_msa", "gate_msa", "shift_mlp", "scale_mlp", "gate_mlp"]
    assert sizes(chunk.outputs) == dict.fromkeys(names, (1, 3072))
    assert list(chunk.outputs) == names


def test_hunyuanvideo_single_blocks_modulate_with_three(hunyuan):
    chunk = hunyuan.one(f"{SINGLE}.norm", "chunk")
    assert [s.sizes for s in chunk.inputs.values()] == [(1, 9216)]
    assert sizes(chunk.outputs) == dict.fromkeys(["shift_msa", "scale_msa", "gate_msa"], (1, 3072))


def test_hunyuanvideo_unpatchifies(hunyuan):
    proj_out = next(i for i, c in enumerate(hunyuan.root.children) if c.path == "proj_out")
    steps = [(c.name, c.output.sizes) for c in hunyuan.root.children[proj_out:]]
    assert steps == [
        ("Linear", (1, 118800, 64)),
        ("reshape", (1, 33, 45, 80, 16, 1, 2, 2)),
        ("permute", (1, 16, 33, 1, 45, 2, 80, 2)),
        ("flatten", (1, 16, 33, 1, 45, 2, 160)),
        ("flatten", (1, 16, 33, 1, 90, 160)),
        ("flatten", (1, 16, 33, 90, 160)),
    ]


# every checkpoint


def test_counted_parameters_are_the_published_ones(case, seen):
    model = build_model(case.family.model, case.config)
    assert sum(p.numel() for p in model.parameters()) == case.checkpoint.params
    assert seen.header.params == case.checkpoint.params
    assert seen.root.cost.params.size == case.checkpoint.params
    assert torchinfo.summary(model, verbose=0).total_params == case.checkpoint.params


def test_stored_buffers_are_counted_apart(case, seen):
    model = build_model(case.family.model, case.config)
    stored = sum(v.numel() for v in model.state_dict().values()) - case.checkpoint.params
    assert seen.header.buffers == stored
    tables = {"cogvideox-5b-i2v": 54_607_872, "sd3-medium": 192 * 192 * 1536, "sd3.5-large": 192 * 192 * 2432}
    assert stored == tables.get(case.name, 0)


TOKENS = {
    "cogvideox-5b": (226, 17_550),
    "cogvideox-2b": (226, 17_550),
    "cogvideox-5b-i2v": (226, 17_550),
    "cogvideox1.5-5b": (226, 44_880),
    "cogvideox1.5-5b-i2v": (226, 44_880),
    "hunyuanvideo": (256, 118_800),
    "hunyuanvideo-i2v-33ch": (540, 118_800),
    "hunyuanvideo-i2v": (396, 118_800),
    "framepack": (256 + 729, 14_400 + 3_200 + 400 + 400),
    "hunyuanvideo1.5-480p-t2v": (1_000 + 256 + 729, 49_290),
    "hunyuanvideo1.5-720p-i2v": (1_000 + 256 + 729, 111_600),
}
"""Tokens of text and video that each transformer sees."""


@pytest.mark.parametrize("name", TOKENS)  # each beside the other tests of its checkpoint
def test_text_and_video_tokens(traces, name):
    text, video = TOKENS[name]
    trace = traces[name]
    also = [trace.values.get(letter, 0) for letter in "IGP"]  # picture, glyphs, history
    assert trace.values["L"] + trace.values["S"] + sum(also) == text + video
    *_, attention = trace.find(name="scaled_dot_product_attention")
    assert attention.inputs["query"].sizes[-2] == text + video


def test_the_video_keeps_its_size(case, seen):
    given, got = seen.root.inputs["hidden_states"], seen.root.output
    if case.config["out_channels"] in (None, case.config["in_channels"]):
        assert got.sizes == given.sizes
    else:
        channels = given.sizes.index(case.config["in_channels"])
        assert got.sizes[channels] == case.config["out_channels"]
        assert [s for i, s in enumerate(got.sizes) if i != channels] == [
            s for i, s in enumerate(given.sizes) if i != channels
        ]
    assert got.dtype == given.dtype == case.checkpoint.dtype


def test_the_request_is_the_published_one(case, seen):
    assert seen.header.request == case.checkpoint.request.as_dict()
    assert not case.family.check(case.config, case.checkpoint.request).errors
    assert case.family.adapt(case.config, case.checkpoint.request) == case.checkpoint.request


def test_every_size_has_the_number_its_formula_gives(case, seen):
    values = seen.values | {d: case.config[d] for d in case.family.depths}
    for call in seen.walk():
        assert call.times.expression().evaluate(values) == call.repeat
        for spec in (*call.inputs.values(), *call.outputs.values(), *call.weights.values()):
            assert [d.expression().evaluate(values) for d in spec.shape] == list(spec.sizes)


def test_a_default_trace_survives_json(seen):
    assert Trace.from_json(seen.to_json()) == seen


@pytest.mark.parametrize("name", [family.name for family in all_families()])
def test_two_traces_are_equal(name, traces):
    assert tracer.trace(name) == traces[find(name)[1].name]


def test_families_and_checkpoints_are_found_by_any_of_their_names(case):
    for name in (case.name, case.name.upper()):
        assert find(name) == (case.family, case.checkpoint)
    if case.checkpoint.hub:  # one set of weights may be asked in two ways
        assert find(case.checkpoint.hub)[1].hub == case.checkpoint.hub
    assert find(case.family.name) == (case.family, case.family.checkpoints[0])
    assert case.checkpoint.confidence in {"verified", "derived"}


# requests: what a family says, and what diffusers does

OTHERS = [
    {},
    {"batch": 1},
    {"height": 488},
    {"width": 724},
    {"height": 16, "width": 16},
    {"height": 736, "width": 1280},
    {"height": 736, "width": 1288},
    {"height": 2400, "width": 160},
    {"height": 2416, "width": 160},
    {"height": 160, "width": 2416},
    {"height": 2408, "width": 160},
    {"text_tokens": 100},
    {"text_tokens": 300},
    {"frames": 1},
    {"frames": 13},
    {"frames": 50},
]


def _cogvideox_pipeline(config, model, sizes, request):
    from diffusers import CogVideoXDDIMScheduler, CogVideoXPipeline

    pipe = CogVideoXPipeline(None, None, None, model, CogVideoXDDIMScheduler())
    pipe.check_inputs("a prompt", request.height, request.width, None, None)
    if not config["use_rotary_positional_embeddings"]:
        return {}
    tables = pipe._prepare_rotary_positional_embeddings(request.height, request.width, sizes["F"], "meta")
    return {"image_rotary_emb": tables}


def _hunyuanvideo_pipeline(config, model, sizes, request):
    from diffusers import HunyuanVideoPipeline

    HunyuanVideoPipeline.check_inputs(None, "a prompt", None, request.height, request.width)
    return {}


def _gamecraft_pipeline(config, model, sizes, request):
    """Poses are as large as the video, and the network that reads them refuses what it cannot fold."""
    shape = (request.batch, config["clip_frames"], config["camera_in_channels"], request.height, request.width)
    return {"camera_states": torch.empty(shape, device="meta", dtype=torch.bfloat16)}


def _wan_pipeline(config, model, sizes, request):
    from diffusers import WanPipeline

    pipe = WanPipeline(tokenizer=None, text_encoder=None, vae=None, scheduler=None, transformer=model)
    pipe.check_inputs("a prompt", None, request.height, request.width)

    def only_text(_, args):
        if args[0].shape[1] != request.text_tokens:
            raise ValueError("the rows taken for text are not the text")

    model.blocks[0].attn2.to_k.register_forward_pre_hook(only_text)
    return {}


def _framepack_pipeline(config, model, sizes, request):
    from diffusers import HunyuanVideoFramepackPipeline
    from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video_framepack import FramepackSamplingType

    HunyuanVideoFramepackPipeline.check_inputs(
        None, "a prompt", None, request.height, request.width, image=torch.empty(1),
        sampling_type=FramepackSamplingType.INVERTED_ANTI_DRIFTING,
    )  # fmt: skip
    return {}


def _checked(name, *between, **known):
    """A pipeline that only checks the size."""

    def check(config, model, sizes, request):
        pipeline = SimpleNamespace(**known)
        prompts = ("a prompt",) * (3 if name == "StableDiffusion3Pipeline" else 1)
        frames = (request.frames,) if name == "AllegroPipeline" else ()
        getattr(diffusers, name).check_inputs(pipeline, *prompts, *frames, request.height, request.width, *between)
        return {}

    return check


PIPELINES = {
    "sd3": _checked("StableDiffusion3Pipeline", vae_scale_factor=8, patch_size=2),
    "mochi": _checked("MochiPipeline"),
    "ltx": _checked("LTXPipeline"),
    "latte": _checked("LattePipeline", "", None),
    "allegro": _checked("AllegroPipeline", None),
    "cogvideox": _cogvideox_pipeline,
    "framepack": _framepack_pipeline,
    "gamecraft": _gamecraft_pipeline,
    "hunyuanvideo": _hunyuanvideo_pipeline,
    "wan": _wan_pipeline,
}
"""What a pipeline does before the transformer runs; HunyuanVideo 1.5's looks at nothing that a request says."""


def runs(case, request):
    """Whether diffusers takes a request and predicts something of the latents' size.

    One block of each kind will do.
    """
    config = case.config | dict.fromkeys(case.family.depths, 1)
    model = build_model(case.family.model, config)
    sizes = case.family.sizes(config, request)
    try:
        given = PIPELINES[case.family.name](config, model, sizes, request) if case.family.name in PIPELINES else {}
        wanted = [i for i in case.family.inputs(config) if i.name.partition(".")[0] not in given]
        with ready(wanted, letters_of(case.family, config, request)) as inputs:
            inputs = inputs | given
            out = model(**inputs, return_dict=False)[0]
    except (ValueError, RuntimeError):
        return False
    channels = inputs["hidden_states"].numel() * (config["out_channels"] or config["in_channels"])
    channels //= config["in_channels"]
    return out.numel() == channels and out.shape[-2:] == inputs["hidden_states"].shape[-2:]


@pytest.mark.parametrize("change", OTHERS, ids=lambda c: " ".join(f"{k} {v}" for k, v in c.items()) or "default")
def test_a_request_is_let_through_when_diffusers_runs_it(case, change):
    request = make_request(case.checkpoint.request, change)
    assert runs(case, request) == (not case.family.check(case.config, request).errors)


def offers(error, name):
    """The sizes that an error names at its end: changes of the request."""
    words = error.rpartition("; use ")[2]
    together = {option: int(n) for option, n in re.findall(r"--(\w+) (\d+)", words)}
    return [together] if together else [{name: int(n)} for n in re.findall(r"\d+", words)]


@pytest.mark.parametrize("value", [1, 8, 100, 476, 488, 1288, 2399, 2401, 2408, 10_000])
@pytest.mark.parametrize("name", ["height", "width"])
def test_offered_sizes_work_and_are_the_nearest(case, name, value):
    def fits(change):
        return not case.family.check(case.config, make_request(case.checkpoint.request, change)).errors

    errors = case.family.check(case.config, make_request(case.checkpoint.request, {name: value})).errors
    for error in errors:
        assert str(value) in error
        found = offers(error, name)
        assert found
        assert all(fits(change) for change in found)
        reach = min(abs(change[name] - value) for change in found)
        assert not any(fits({name: n}) for n in range(max(1, value - reach + 1), value + reach))


MESSAGES = [
    ("cogvideox-5b", {"height": 488}, "errors", "--height 488", "drops the last latent row", "480 or 496"),
    ("cogvideox-5b", {"width": 725}, "errors", "--width 725 is rejected", "divisible by 8", "720 or 736"),
    ("cogvideox1.5-5b", {"height": 776}, "errors", "cannot cut it into whole patches", "768 or 784"),
    ("cogvideox1.5-5b", {"height": 2416}, "errors", "--height 2416", "rotary table", "at most 2400"),
    ("cogvideox1.5-5b-i2v", {"width": 2416}, "errors", "--width 2416", "rotary table", "at most 2400"),
    ("cogvideox-5b-i2v", {"height": 768, "width": 1360}, "errors", "768×1360", "--height 480 --width 720"),
    ("cogvideox-5b-i2v", {"text_tokens": 100}, "errors", "--text-tokens 100", "use 226"),
    ("cogvideox-2b", {"text_tokens": 100}, "errors", "--text-tokens 100", "use 226"),
    ("cogvideox-5b", {"frames": 50}, "warnings", "13 latent frames", "decode to 49", "49 and 57"),
    ("cogvideox-5b", {"frames": 13}, "warnings", "4 latent frames", "decode to 16", "9 and 17"),
    ("cogvideox1.5-5b", {"frames": 81}, "warnings", "21 latent frames", "adds 1"),
    ("cogvideox-5b-i2v", {"frames": 9}, "warnings", "9 frames silently replace the learned position table"),
    ("hunyuanvideo", {"height": 736, "width": 1288}, "errors", "--width 1288", "by 16", "1280 or 1296"),
    ("hunyuanvideo", {"frames": 130}, "warnings", "33 latent frames", "decode to 129", "129 and 133"),
    ("hunyuanvideo-i2v-33ch", {}, "warnings", "drops the first 4", "125 of 129"),
    ("wan2.1-t2v-14b", {"height": 488}, "errors", "--height 488 is rejected", "by 16", "480 or 496"),
    ("wan2.1-t2v-1.3b", {"width": 16 * 1025}, "errors", "--width 16400", "1024 positions", "at most 16384"),
    ("wan2.1-t2v-14b", {"frames": 4096}, "errors", "--frames 4096", "1024 positions", "at most 4093"),
    ("wan2.1-i2v-14b-480p", {"text_tokens": 226}, "errors", "--text-tokens 226", "mixed up", "use 512"),
    ("wan2.1-t2v-14b", {"frames": 80}, "warnings", "makes them 81", "77 and 81"),
    ("wan2.1-t2v-14b", {"frames": 83}, "warnings", "makes them 81", "81 and 85"),
    ("framepack", {"height": 648}, "errors", "--height 648 is rejected", "by 16", "640 or 656"),
    ("framepack", {"frames": 91}, "warnings", "91 frames take 3 sections", "up to 99", "109 come out"),
    ("framepack", {"frames": 1}, "warnings", "1 frame takes 1 section, as up to 33", "37 come out"),
    ("hunyuanvideo1.5-480p-t2v", {"height": 488}, "warnings", "488×848 comes out as 480×848", "nothing says so"),
    ("hunyuanvideo1.5-480p-t2v", {"width": 8}, "errors", "--width 8", "use 16"),
    ("hunyuanvideo1.5-480p-i2v", {"height": 1000, "width": 1000}, "warnings", "size from the picture", "640×640"),
    ("hunyuanvideo1.5-480p-t2v", {"frames": 120}, "warnings", "30 latent frames", "decode to 117", "117 and 121"),
]  # fmt: skip


def named(name):
    family, checkpoint = find(name)
    return family, checkpoint.request, full_config(family.model, checkpoint.config)


@pytest.mark.parametrize(("name", "change", "kind", "words"), [(n, c, k, w) for n, c, k, *w in MESSAGES])
def test_messages(name, change, kind, words):
    family, default, config = named(name)
    (message,) = getattr(family.check(config, make_request(default, change)), kind)
    for word in words:
        assert word in message


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("cogvideox-5b", {"text_tokens": 100}),
        ("cogvideox-5b", {"frames": 57, "height": 16, "width": 4096}),
        ("cogvideox-5b-i2v", {}),
        ("hunyuanvideo", {"height": 736, "frames": 61}),
    ],
)
def test_nothing_is_said_of_a_request_that_comes_out_as_asked(name, change):
    family, default, config = named(name)
    found = family.check(config, make_request(default, change))
    assert found.errors == found.warnings == []


VAES = {"cogvideox": "AutoencoderKLCogVideoX", "hunyuanvideo": "AutoencoderKLHunyuanVideo"}


@pytest.fixture(scope="module")
def decoded():
    """How many frames a family's VAE makes of so many latent frames, by running it without weights."""
    vaes, known = {}, {}

    def frames(family, latents):
        if family not in vaes:
            vaes[family] = build_model(VAES[family], {"block_out_channels": (4,) * 4, "norm_num_groups": 2})
        if (family, latents) not in known:
            z = torch.empty(1, 16, latents, 2, 2, device="meta", dtype=torch.bfloat16)
            with torch.no_grad():
                known[family, latents] = vaes[family].decode(z).sample.shape[2]
        return known[family, latents]

    return frames


@pytest.mark.parametrize("frames", [1, 2, 5, 8, 9, 13, 17, 48, 49, 50, 81])
def test_frames_that_come_out_otherwise_are_announced(case, frames, decoded):
    if case.family.name not in VAES:
        pytest.skip(f"no VAE is known for {case.family.name}")

    def latents(n):
        return (n - 1) // 4 + 1

    warnings = case.family.check(case.config, make_request(case.checkpoint.request, {"frames": frames})).warnings
    said = [w for w in warnings if "those decode to" in w]
    really = decoded(case.family.name, latents(frames))
    if case.config.get("image_condition_type") == "latent_concat":  # which never returns what was asked
        assert [w for w in warnings if f"{max(0, really - 4)} of {really} are returned" in w]
        return
    assert bool(said) == (really != frames)
    for warning in said:
        assert f"{frames} frames are {latents(frames)} latent frame" in warning
        assert f"decode to {really} frame" in warning
        below, above = map(int, re.search(r"(\d+) and (\d+) frames come out as asked", warning).groups())
        assert below < frames < above
        assert [decoded(case.family.name, latents(n)) for n in (below, above)] == [below, above]


@pytest.mark.parametrize("frames", [1, 2, 8, 9, 34])
@pytest.mark.parametrize(
    ("tiny", "name"),
    [
        ("wan2.1-t2v", "wan2.1-t2v-14b"),
        ("wan2.1-i2v", "wan2.1-i2v-14b-480p"),
        ("framepack", "framepack"),
        ("hunyuanvideo15-t2v", "hunyuanvideo1.5-480p-t2v"),
    ],
)
def test_frames_that_a_tiny_pipeline_returns_are_announced(tiny, name, frames):
    family, default, config = named(name)
    returned = tiny_pipelines.call(tiny_pipelines.build(tiny), tiny, frames=frames).shape[1]
    said = " ".join(family.check(config, make_request(default, {"frames": frames})).warnings)
    assert (returned != frames) == bool(said)
    assert returned == frames or str(returned) in re.findall(r"\d+", said)


@pytest.mark.parametrize("shape", [(480, 848), (1000, 1000), (2000, 300), (37, 911)])
def test_hunyuanvideo15_brings_a_picture_to_the_size_of_its_pipeline(shape):
    from diffusers.pipelines.hunyuan_video1_5 import image_processor

    processor = image_processor.HunyuanVideo15ImageProcessor(vae_scale_factor=16)
    for target in (640, 960):
        assert buckets(target) == image_processor.generate_crop_size_list(target, 16)
        assert bucket(*shape, target) == processor.calculate_default_height_width(*shape, target)


@pytest.mark.parametrize("frames", [9, 48, 49, 50, 57])
def test_another_number_of_frames_replaces_the_learned_table(frames, monkeypatch):
    family, default, config = named("cogvideox-5b-i2v")
    request = make_request(default, {"frames": frames})
    said = any("learned position table" in w for w in family.check(config, request).warnings)
    model = build_model(family.model, config | {"num_layers": 1})
    fresh = []
    compute = model.patch_embed._get_positional_embeddings
    monkeypatch.setattr(
        model.patch_embed, "_get_positional_embeddings", lambda *a, **k: fresh.append(a) or compute(*a, **k)
    )
    with torch.no_grad():
        model(**build_inputs(family.inputs(config), letters_of(family, config, request)))
    assert bool(fresh) == said == (frames not in (49, 50))


@pytest.mark.parametrize("name", ["frames", "height", "width", "batch", "text_tokens"])
@pytest.mark.parametrize("value", [0, -1, -480, True, False, 49.0, "49"])
def test_sizes_are_whole_numbers_from_one_on(name, value):
    option = name.replace("_", "-")
    with pytest.raises(BadRequest, match=re.escape(f"--{option} {value} is not possible")):
        tracer.trace("cogvideox", **{name: value})


@pytest.mark.parametrize("name", ["frames", "height", "width", "batch", "text_tokens"])
@pytest.mark.parametrize("value", [16 * 10**9, 16 * 10**12, 16 * 10**17, 16 * 10**40])
@pytest.mark.parametrize("family", all_families(), ids=lambda family: family.name)
def test_sizes_beyond_all_memory_end_in_one_sentence(family, name, value):
    if (family.name, name) == ("framepack", "frames"):
        pytest.skip("a forward sees one window, however many frames are asked for")
    if name == "text_tokens" and family.name in ("allegro", "latte", "ltx", "wan") and value < 10**12:
        pytest.skip("text that is only looked at costs in proportion: torch can count this much")
    with pytest.raises(TracerError) as caught:
        tracer.trace(family.name, config=dict.fromkeys(family.depths, 1), **{name: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("batch", [3, 9])
def test_a_model_that_loops_over_samples_has_its_formulas_at_any_batch(batch):
    seen = tracer.trace("mochi", batch=batch)
    assert not [w for w in seen.header.warnings if "formula" in w]
    assert seen.root.cost.flops.formula is not None
