"""Whole pipelines at their published size, without weights: their own __call__, from the prompt to the pixels."""

import importlib
from pathlib import Path

import pytest

import tracer
from tracer import families
from tracer.calls import Call, Header, Slice, Trace
from tracer.cli.trace_shapes import main
from tracer.components import Layout, Part
from tracer.errors import BadRequest, ForwardFailed
from tracer.families import _encoders as encoders
from tracer.graft import graft
from tracer.outline import Options
from tracer.shapes import Dim, TensorSpec
from tracer.shorten import shortened
from tracer.standins import WORD, Tokenizer, prompt
from tracer.views.tree import plain, renderable
from tracer.whole import build_part, trace_pipeline

WHOLE = {
    # checkpoint: the video, text tokens that the transformer gets, its calls in one step
    "cogvideox-2b": ((1, 49, 3, 480, 720), 226, 1),
    "cogvideox-5b": ((1, 49, 3, 480, 720), 226, 1),
    "cogvideox-5b-i2v": ((1, 49, 3, 480, 720), 226, 1),
    "cogvideox1.5-5b": ((1, 81, 3, 768, 1360), 226, 1),
    "cogvideox1.5-5b-i2v": ((1, 81, 3, 768, 1360), 226, 1),
    "hunyuanvideo": ((1, 129, 3, 720, 1280), 256, 1),
    "hunyuanvideo-i2v-33ch": ((1, 125, 3, 720, 1280), 540, 1),
    "hunyuanvideo-i2v": ((1, 129, 3, 720, 1280), 396, 1),
    "wan2.1-t2v-1.3b": ((1, 81, 3, 480, 832), 512, 2),
    "wan2.1-i2v-14b-480p": ((1, 81, 3, 480, 832), 512, 2),
    "framepack": ((1, 109, 3, 640, 640), 256, 1),
    "hunyuanvideo1.5-480p-t2v": ((1, 121, 3, 480, 848), 1000, 2),
    "hunyuanvideo1.5-480p-i2v": ((1, 121, 3, 480, 848), 1000, 2),
    "mochi-1-preview": ((1, 19, 3, 480, 848), 256, 1),
    "ltx-video": ((1, 161, 3, 512, 704), 128, 1),
    "latte-1": ((1, 16, 3, 512, 512), 120, 1),
    "allegro": ((1, 88, 3, 720, 1280), 512, 1),
}
OTHERS = {
    "wan2.1-t2v-14b", "wan2.1-i2v-14b-720p", "hunyuanvideo1.5-720p-t2v", "hunyuanvideo1.5-720p-i2v",
}  # fmt: skip
"""Checkpoints that differ from one above in widths or pixels only."""

KNOWN = [
    c.name for f in families.all_families() if families.has_pipeline(f) for c in f.checkpoints
    if c.name != "ltx-video-13b"  # of which only the transformer is known
]  # fmt: skip
PICTURES = ("cogvideox-5b-i2v", "cogvideox1.5-5b-i2v", "hunyuanvideo-i2v-33ch", "hunyuanvideo-i2v",
            "wan2.1-i2v-14b-480p", "framepack", "hunyuanvideo1.5-480p-i2v")  # fmt: skip


class Wholes(dict):
    """The traced pipeline of each checkpoint, made when it is first asked for."""

    def __missing__(self, name):
        self[name] = trace_pipeline(name, formulas=name in ("cogvideox-5b", "hunyuanvideo"))
        return self[name]


@pytest.fixture(scope="session")
def wholes():
    return Wholes()


@pytest.fixture(params=[n for n in WHOLE if n in KNOWN])
def name(request):
    return request.param


@pytest.fixture
def whole(name, wholes):
    return wholes[name]


def numbers(trace, spec):
    return tuple(d.size for d in spec.shape)


def denoisers(trace):
    """Every call of the transformer, with how often it runs."""
    out = []

    def visit(call, times):
        times *= call.repeat
        if call.kind == "module" and call.path == "transformer":
            out.append((call, times))
            return
        for child in call.children:
            visit(child, times)

    visit(trace.root, 1)
    return out


def steps(trace):
    return [c for c in trace.walk() if c.kind == "step" and c.name == "denoising step"]


# every pipeline


def test_every_checkpoint_with_a_pipeline_is_run_here_or_is_like_one_that_is():
    assert set(KNOWN) - OTHERS <= set(WHOLE)


def test_the_video_that_comes_out(name, whole):
    assert whole.root.output.sizes == WHOLE[name][0]
    assert whole.header.error is None


def test_text_tokens_that_the_transformer_gets(name, whole):
    lengths = {call.inputs["encoder_hidden_states"].sizes[-2] for call, _ in denoisers(whole)}
    assert lengths == {WHOLE[name][1]}


def test_calls_of_the_transformer(name, whole):
    sections = max(1, len([c for c in whole.walk() if c.kind == "step" and c.name == "section"]))
    assert sum(step.repeat for step in steps(whole)) == 2 * sections
    assert sum(times for _, times in denoisers(whole)) == 2 * sections * WHOLE[name][2]


def test_every_part_of_a_run_has_its_stage(name, whole):
    expected = {
        "text-encoder",
        "latents",
        "schedule",
        "denoising-step",
        "scheduler-step",
        "vae-decode",
        "post-processing",
    }
    assert expected <= set(whole.stages())
    assert ("vae-encode" in whole.stages()) == (name in PICTURES)


def test_steps_cost_what_the_transformer_alone_costs(name, whole):
    alone = tracer.trace(name, formulas=False).root.cost.flops.size
    if name == "mochi-1-preview":  # its attention leaves out padding, and the empty prompt is nothing else
        assert {call.cost.flops.size < alone for call, _ in denoisers(whole)} == {True}
        return
    assert {call.cost.flops.size for call, _ in denoisers(whole)} == {alone}


def test_the_head_says_what_ran(name, whole):
    family, checkpoint = families.find(name)
    pipeline = families.pipeline_of(family, checkpoint)
    assert (whole.header.model, whole.header.checkpoint) == (pipeline.kind, name)
    params = sum(p.params for p in pipeline.parts.values() if isinstance(p, Part))
    assert whole.header.params == params + checkpoint.params
    assert whole.header.assumptions[0] == f"a prompt of {pipeline.prompt} tokens, as many as fit"
    assert len([a for a in whole.header.assumptions if a.startswith("a picture of ")]) == (name in PICTURES)


def test_nothing_else_runs_between_the_steps(whole):
    assert not [c for c in whole.walk() if c.name in ("before", "__torch_dispatch__")]
    assert not [c for c in whole.walk() if c.source is not None and c.source.file == "tracer/known.py"]


def test_parts_say_where_they_are_from():
    for name in KNOWN:
        for part in families.pipeline_of(*families.find(name)).parts.values():
            if isinstance(part, Part):
                assert part.source, part.kind
                assert part.confidence in ("verified", "derived"), part.kind


def test_sayings_are_of_calls_and_of_source_that_exist(name, whole):
    for saying in families.pipeline_of(*families.find(name)).sayings:
        assert [c for c in whole.walk() if c.remark is not None and c.remark.why == saying.why], saying.call
    for call in whole.walk():
        if call.kind == "function" and call.remark is not None and not call.path.startswith("transformer"):
            kind, module, function = call.remark.because.split(":")
            assert kind == "source"
            assert f"def {function.rpartition('.')[2]}(" in Path(importlib.import_module(module).__file__).read_text()


# encoders


def test_encoders_have_the_parameters_that_were_published():
    def t5(vocabulary, d, inner, ff, layers, heads, tables):
        return vocabulary * d + layers * (4 * d * inner + 3 * d * ff + 2 * d) + tables * 32 * heads + d

    def llama(vocabulary, d, ff, layers, kv, biases):
        return vocabulary * d + layers * (2 * d * d + 2 * d * kv + 3 * d * ff + 2 * d + biases) + d

    def vision(d, ff, layers, patches, extra):
        return layers * (4 * d * (d + 1) + d * ff + ff + ff * d + d + 4 * d) + d * 3 * 14 * 14 + patches * d + extra

    by_hand = {
        "T5_XXL": t5(32128, 4096, 4096, 10240, 24, 64, 1),
        "UMT5_XXL": t5(256384, 4096, 4096, 10240, 24, 64, 24),  # a table of positions in every layer
        "BYT5_SMALL": t5(384, 1472, 384, 3584, 12, 6, 1),
        "LLAMA_3_8B": llama(128320, 4096, 14336, 32, 1024, 0),
        "QWEN_2_5_VL_TEXT": llama(152064, 3584, 18944, 28, 512, 3584 + 2 * 512),
        "CLIP_L": 49408 * 768 + 77 * 768 + 12 * (4 * 768 * 769 + 2 * 768 * 3072 + 3072 + 768 + 4 * 768) + 2 * 768,
        "CLIP_H_VISION": vision(1280, 5120, 32, 257, 1280 + 4 * 1280),
    }
    published = {"T5_XXL": 4.76e9, "UMT5_XXL": 5.68e9, "CLIP_L": 123e6, "CLIP_H_VISION": 631e6, "SIGLIP": 428e6}
    # without the head over the vocabulary, and with the 64 tokens that LLaVA adds
    published |= {"LLAMA_3_8B": 8.03e9 - 0.525e9, "QWEN_2_5_VL_TEXT": 7.616e9 - 0.545e9}
    for name, part in vars(encoders).items():
        if isinstance(part, Part):
            counted = sum(p.numel() for p in build_part(part, "bfloat16").parameters())
            assert counted == part.params, name
            assert by_hand.get(name, counted) == counted, name
            assert published.get(name, counted) == pytest.approx(counted, rel=2e-3), name


def test_llama_sees_the_template_and_hands_on_the_prompt(wholes):
    trace = wholes["hunyuanvideo"]
    encoder = trace.one("text_encoder")
    assert encoder.inputs["input_ids"].sizes == (1, 95 + 256)
    states = [v for k, v in encoder.outputs.items() if k.startswith("hidden_states")]
    assert [s.sizes for s in states] == [(1, 351, 4096)] * 33
    assert trace.one(name="_get_llama_prompt_embeds").output.sizes == (1, 256, 4096)
    assert trace.one("text_encoder_2").outputs["pooler_output"].sizes == (1, 768)


@pytest.mark.parametrize(("name", "image"), [("hunyuanvideo-i2v-33ch", 288), ("hunyuanvideo-i2v", 144)])
def test_llava_joins_the_picture_to_the_prompt(name, image, wholes):
    trace = wholes[name]
    encoder = trace.one("text_encoder")
    assert encoder.inputs["pixel_values"].sizes == (1, 3, 336, 336)
    assert encoder.inputs["input_ids"].sizes == (1, 103 + 256 - 1 + 576)
    assert trace.one("text_encoder.model.multi_modal_projector").output.sizes[-2:] == (576, 4096)
    assert trace.one("text_encoder.model.vision_tower").output.sizes == (1, 577, 1024)
    assert trace.one(name="_get_llama_prompt_embeds").output.sizes == (1, image + 252, 4096)


def test_guidance_encodes_the_empty_prompt_too(wholes):
    t5 = wholes["cogvideox-5b"].find("text_encoder")
    assert [c.inputs["input_ids"].sizes for c in t5] == [(1, 226), (1, 226)]
    assert len(wholes["wan2.1-t2v-1.3b"].find("text_encoder")) == 2
    assert len(wholes["hunyuanvideo"].find("text_encoder")) == 1  # its guidance is a number


# the VAE


def chunks(trace, stage):
    """(frames in, frames out) of every chunk that the VAE takes, in order."""
    out = []
    module = "encoder" if stage == "vae-encode" else "decoder"
    for call in trace.walk():
        if call.kind == "step" and call.path == "vae":
            inner = [c for c in call.children if c.path == f"vae.{module}"]
            out += [(c.inputs["hidden_states" if "hidden_states" in c.inputs else next(iter(c.inputs))].sizes[2],
                     c.output.sizes[2]) for c in inner for _ in range(call.repeat)]  # fmt: skip
    return out


def test_the_first_chunk_of_cogvideox_is_one_latent_longer(wholes):
    assert chunks(wholes["cogvideox-5b"], "vae-decode") == [(3, 9)] + [(2, 8)] * 5
    assert chunks(wholes["cogvideox1.5-5b"], "vae-decode") == [(3, 9)] + [(2, 8)] * 9


def test_wan_decodes_one_latent_at_a_time(wholes):
    assert chunks(wholes["wan2.1-t2v-1.3b"], "vae-decode") == [(1, 1)] + [(1, 4)] * 20


def test_hunyuanvideo_decodes_windows_that_overlap(wholes):
    found = chunks(wholes["hunyuanvideo"], "vae-decode")
    assert found == [(5, 17)] * 10 + [(3, 9)]
    # of each window 12 frames are new, and of the last what is left
    assert 12 * 10 + 9 == 129


def test_caches_between_chunks_are_seen(wholes):
    cached = [c for c in wholes["cogvideox-5b"].walk() if c.name == "CogVideoXDecoder3D" and c.repeat == 1]
    first, second = cached[0], cached[1]
    given = [k for k in second.inputs if k.startswith("conv_cache")]
    assert given
    assert not [k for k in first.inputs if k.startswith("conv_cache")]
    convolutions = [k for k in given if k.endswith(("conv_in", "conv1", "conv2", "conv_out"))]
    assert len(convolutions) > 20
    assert all(second.inputs[k].sizes[2] == 2 for k in convolutions)


# formulas


@pytest.mark.parametrize("name", ["cogvideox-5b", "hunyuanvideo"])
def test_formulas_inside_the_transformer_are_those_of_the_transformer_alone(name, wholes, traces):
    trace, alone = wholes[name], traces[name]
    values = trace.values
    checked = 0
    for call in trace.walk():
        for spec in (*call.inputs.values(), *call.outputs.values()):
            for dim in spec.shape:
                if dim.formula is not None:
                    assert dim.formula.evaluate(values) == dim.size
                    checked += 1
    assert checked > 1000
    first = denoisers(trace)[0][0]
    assert [c.name for c in first.walk()] == [c.name for c in alone.walk()]
    for ours, theirs in zip(first.walk(), alone.walk(), strict=True):
        assert ours.path == (f"transformer.{theirs.path}" if theirs.path else "transformer")
        assert {k: v.shape for k, v in ours.outputs.items()} == {k: v.shape for k, v in theirs.outputs.items()}
        assert (ours.stage, ours.remark, ours.repeat_formula) == (theirs.stage, theirs.remark, theirs.repeat_formula)
    assert first.cost.flops.formula == alone.root.cost.flops.formula


def of(*sizes, formula=None):
    return TensorSpec(tuple(Dim(s, formula) for s in sizes), "float32")


def test_a_graft_reaches_equal_sizes_only():
    from tracer.notation import parse

    letters = parse("B*S")
    known = Trace(Header("Model"), Call("module", "", "Model", outputs={"0": of(6, formula=letters)}, children=(
        Call("op", "", "mul", outputs={"0": of(6, formula=letters)}, attrs={"1": Dim(6, letters)}),
        Call("op", "", "add", outputs={"0": of(6, formula=letters)}),
    )))  # fmt: skip
    pipe = Trace(Header("Pipe"), Call("function", "", "Pipe", children=(Call(
        "module", "model", "Model", outputs={"0": of(7)}, children=(
            Call("op", "model", "mul", outputs={"0": of(6)}, attrs={"1": Dim(6), "2": Slice(Dim(1), None, None)}),
            Call("op", "model", "sub", outputs={"0": of(6)}),
        )),)))  # fmt: skip
    found, missed = graft(pipe, known, "model")
    model = found.root.children[0]
    assert model.outputs["0"] == of(7)
    assert model.children[0].outputs["0"] == of(6, formula=letters)
    assert model.children[0].attrs == {"1": Dim(6, letters), "2": Slice(Dim(1), None, None)}
    assert model.children[1].outputs["0"] == of(6)
    assert missed == ["model"]


def test_a_mask_that_is_filled_row_by_row_is_one_row(wholes):
    filled = [c for c in wholes["hunyuanvideo1.5-480p-t2v"].walk() if c.name == "setitem" and c.repeat > 1]
    assert [c.repeat for c in filled] == [31 * 30 * 53]  # once for every latent of the video


def test_short_rows_of_operations_stay():
    def op(i):
        return Call("op", "", "add", attrs={"1": Dim(i)})

    short = Trace(Header("M"), Call("module", "", "M", children=tuple(map(op, range(15)))))
    assert shortened(short) == short
    many = shortened(Trace(Header("M"), Call("module", "", "M", children=tuple(map(op, range(40))))))
    assert [(c.repeat, c.attrs) for c in many.root.children] == [(40, {"1": ("first", Dim(0), "last", Dim(39))})]


# stand-ins


def test_a_prompt_has_the_tokens_it_is_asked_for():
    tokens = Tokenizer(Layout(((7, 2),), ((8, 1),), word=5, pad=0, longest=6))
    assert tokens(prompt(2)).input_ids.tolist() == [[7, 7, 5, 5, 8]]
    padded = tokens([prompt(2), prompt(9)], padding="max_length", max_length=6)
    assert padded.input_ids.tolist() == [[7, 7, 5, 5, 8, 0], [7, 7, 5, 5, 5, 8]]
    assert padded.attention_mask.tolist() == [[1, 1, 1, 1, 1, 0], [1] * 6]
    assert tokens("", padding="max_length").input_ids.shape == (1, 6)
    assert prompt(2, quoted=True) == f'"{WORD} {WORD}"'


def test_a_chat_that_is_too_long_loses_its_end():
    tokens = Tokenizer(Layout(((7, 1),), ((8, 1),), word=5, keeps_end=False))
    assert tokens(prompt(9), padding="max_length", max_length=4).input_ids.tolist() == [[7, 5, 5, 5]]


@pytest.mark.parametrize(("layout", "length"), [(encoders.LLAMA_TOKENS, 95), (encoders.LLAVA_TOKENS, 103)])
def test_templates_are_as_long_as_the_pipelines_say(layout, length):
    assert sum(count for _, count in layout.before) == length
    ids = Tokenizer(layout)(prompt(3)).input_ids[0]
    assert ids[length : length + 3].tolist() == [layout.word] * 3
    if layout.special:  # the picture is the sixth token, and the assistant's header is the third
        assert ids.tolist().index(128257) == 5
        assert (ids == layout.special["<|end_header_id|>"]).sum() == 3


# requests


def test_other_sizes_and_steps(wholes):
    trace = trace_pipeline("ltx-video", frames=17, height=64, width=96, steps=4, formulas=False)
    assert trace.root.output.sizes == (1, 17, 3, 64, 96)
    assert sum(step.repeat for step in steps(trace)) == 4
    assert max(step.repeat for step in steps(trace)) > 1  # equal ones are one row
    two = trace_pipeline("ltx-video", frames=17, height=64, width=96, batch=2, formulas=False)
    assert two.root.output.sizes == (2, 17, 3, 64, 96)
    assert denoisers(two)[0][0].inputs["hidden_states"].sizes[0] == 4


def test_runs_agree_and_go_through_json(wholes):
    again = trace_pipeline("ltx-video", formulas=False)
    assert again == wholes["ltx-video"]
    assert Trace.from_json(again.to_json()) == again


def test_the_default_view_fits_a_screen(wholes):
    for name in ("cogvideox-5b", "hunyuanvideo"):
        text = plain(renderable(wholes[name], Options(), width=100), 1000)
        assert len(text.splitlines()) <= 60
        assert "vae.decode()" in text
        assert "transformer_blocks" in text
        assert "FLOP a call" in text


def test_stages_of_a_pipeline_can_be_asked_for(wholes):
    trace = wholes["cogvideox-5b"]
    for stage in trace.stages():
        assert plain(renderable(trace, Options(stage=stage), width=100), 1000)


def test_what_a_pipeline_refuses_ends_with_what_was_seen(monkeypatch):
    import diffusers

    def refuse(*args, **kwargs):
        raise ValueError("no noise today. Try tomorrow.")

    monkeypatch.setattr(diffusers.CogVideoXDDIMScheduler, "step", refuse)
    with pytest.raises(ForwardFailed, match="no noise today") as failed:
        trace_pipeline("cogvideox-2b", frames=9, height=32, width=32)
    assert failed.value.trace.find("transformer")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("sd3 --pipeline", "Of sd3 only the transformer is known here"),
        ("cogvideox --steps 3", "--steps 3 is for --pipeline; give both"),
        ("cogvideox --pipeline --steps 0", "--steps 0 is not possible: it is a whole number from 1 to 100"),
        ("cogvideox --pipeline --steps 101", "--steps 101 is not possible"),
        ("cogvideox --pipeline --text-tokens 7", "--pipeline and --text-tokens exclude each other"),
        ("cogvideox --pipeline --torchinfo", "--pipeline and --torchinfo exclude each other"),
        ("cogvideox --pipeline --pixels", "--pipeline and --pixels exclude each other"),
        ("cogvideox --pipeline --frames 0", "--frames 0 is not possible"),
        ("cogvideox --pipeline --height 481", "--height 481 is rejected by the pipeline"),
    ],
)
def test_bad_words_end_in_one_sentence(words, sentence, capsys):
    assert main(words.split()) == 2
    out, err = capsys.readouterr()
    assert not out
    assert sentence in err
    assert len(err.splitlines()) == 1


def test_the_command(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    small = "ltx-video --pipeline --frames 17 --height 64 --width 96"
    assert main(small.split()) == 0
    out, err = capsys.readouterr()
    assert "LTXPipeline()" in out
    assert not err
    assert main(f"{small} --stage scheduler-step".split()) == 0
    assert "scheduler.step()" in capsys.readouterr().out
    assert main(f"{small} --costs".split()) == 0
    assert "vae-decode" in capsys.readouterr().out
    assert main(f"{small} --format json".split()) == 0
    assert Trace.from_json(capsys.readouterr().out).root.output.sizes == (1, 17, 3, 64, 96)


def test_steps_are_whole_numbers():
    for steps in (0, 101, 1.5, True):
        with pytest.raises(BadRequest, match="--steps"):
            trace_pipeline("ltx-video", steps=steps)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"model": "allegro", "frames": 2}, "--frames 2: Decoding goes by tiles of 24 frames"),
        ({"model": "ltx", "steps": 1}, "from 2 to 100"),
        ({"model": "ltx-video-13b"}, "only the transformer is known here"),
        ({"model": None}, "a model is given by its name"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_runs(asked, said):
    with pytest.raises(BadRequest, match=said):
        trace_pipeline(**asked)


def test_the_overview_shows_every_tower(wholes):
    text = plain(renderable(wholes["hunyuanvideo-i2v"], Options(), width=120), 120)
    assert "model.vision_tower.encoder.layers.* CLIPEncoderLayer ×24" in text
    assert "model.multi_modal_projector LlavaMultiModalProjector" in text
    assert "model.language_model.layers.* LlamaDecoderLayer ×32" in text
    assert "encoder.block.* T5Block ×24" in plain(renderable(wholes["cogvideox-5b"], Options(), width=120), 120)
