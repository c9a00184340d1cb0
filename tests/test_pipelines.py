"""record_pipeline: whole calls as one tree, steps and chunks folded, and a pipeline that is left as it was."""

import gc
import weakref
from types import SimpleNamespace

import diffusers
import pytest
import tiny_pipelines
import torch
from diffusers.hooks import apply_group_offloading
from torch import nn

import tracer
from tracer import Trace, record, record_pipeline
from tracer.calls import Slice
from tracer.errors import RecordingError
from tracer.notes import STAGES, Note, annotate_inside
from tracer.outline import SCREEN, Options
from tracer.views.tree import render_text

NEGATIVE = {"negative_prompt_embeds": torch.zeros(1, tiny_pipelines.TEXT, tiny_pipelines.TEXT_DIM)}
COG = tiny_pipelines.tiny_cogvideox
GUIDED = {
    "cogvideox-5b": {"guidance_scale": 6.0, "negative_prompt_embeds": torch.zeros(1, COG.TEXT, COG.TEXT_DIM)},
    "wan2.1-t2v": {"guidance_scale": 5.0, **NEGATIVE},
    "hunyuanvideo": {
        "true_cfg_scale": 6.0, **NEGATIVE, "negative_pooled_prompt_embeds": torch.zeros(1, tiny_pipelines.TEXT_DIM),
        "negative_prompt_attention_mask": torch.ones(1, tiny_pipelines.TEXT, dtype=torch.bool),
    },
}  # fmt: skip
FRAMES = {"framepack": 40, "latte": 16, "allegro": 24}


def generate(name, *, recorded=True, setup=None, frames=None, steps=3, **changes):
    """What a fresh pipeline gives, its state afterwards, and the trace."""
    pipe = tiny_pipelines.build(name)
    if setup is not None:
        setup(pipe)
    torch.manual_seed(0)
    frames = frames or FRAMES.get(name, 9)
    if not recorded:
        return tiny_pipelines.call(pipe, name, frames=frames, steps=steps, **changes), state(pipe), None
    with record_pipeline(pipe) as rec:
        video = tiny_pipelines.call(pipe, name, frames=frames, steps=steps, **changes)
    return video, state(pipe), rec.trace


def state(pipe):
    """Names of all attributes and numbers of all hooks of a pipeline and its components."""
    out = {"pipe": sorted(vars(pipe))}
    for name, part in pipe.components.items():
        for path, module in part.named_modules() if isinstance(part, nn.Module) else [("", part)]:
            hooks = {k: len(v) for k, v in vars(module).items() if "hook" in k and isinstance(v, dict)} if part else 0
            out[name, path] = (sorted(vars(module)) if part is not None else [], hooks)
    return out


def steps_of(trace, name="denoising step"):
    return [c for c in trace.walk() if c.kind == "step" and c.name == name]


@pytest.fixture(scope="module")
def cog():
    """CogVideoX with guidance: 49 frames in 5 steps."""
    return generate("cogvideox-5b", frames=49, steps=5, **GUIDED["cogvideox-5b"])[2]


# every pipeline


@pytest.mark.parametrize("name", [n for n in tiny_pipelines.NAMES if "i2v" not in n or "1.5" in n])
def test_a_pipeline_gives_the_same_and_is_left_as_it_was(name):
    steps = 4 if name == "mochi" else 3
    plain, before, _ = generate(name, recorded=False, steps=steps)
    video, after, trace = generate(name, steps=steps)
    assert torch.equal(video, plain)
    assert before == after
    assert (trace.root.kind, trace.root.path) == ("function", "")
    assert trace.header.model == trace.root.name == type(tiny_pipelines.build(name)).__name__
    assert trace.root.output.sizes == tuple(video.shape)
    assert trace.root.source.file == "tiny_pipelines.py"
    per_section = max(1, len([c for c in trace.walk() if c.name == "section"]))
    assert sum(c.repeat for c in steps_of(trace)) == steps * per_section
    assert all(c.find("transformer", kind="module") for c in steps_of(trace))
    assert {"denoising-step", "scheduler-step", "vae-decode", "post-processing"} <= set(trace.stages()) <= set(STAGES)
    assert Trace.from_json(trace.to_json()) == trace
    assert trace.header.error is None


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_as_the_model_does_it(name):
    plain, _, _ = generate(name, recorded=False, **GUIDED[name])
    video, _, trace = generate(name, **GUIDED[name])
    assert torch.equal(video, plain)
    for step in steps_of(trace):
        calls = [c for c in step.children if c.path == "transformer" and c.kind == "module"]
        contexts = [c.attrs["cache_context"] for c in calls]
        batches = [c.inputs["hidden_states"].sizes[0] for c in calls]
        assert (contexts, batches) == (
            (["cond_uncond"], [2]) if name == "cogvideox-5b" else (["cond", "uncond"], [1, 1])
        )  # fmt: skip
        guided = [c for c in step.children if c.stage == "guidance"]
        assert [c.name for c in guided] == ["chunk"] * (name == "cogvideox-5b") + ["sub", "mul", "add"]
    assert "guidance" in str(trace)


def test_without_guidance_nothing_is_called_so():
    assert "guidance" not in generate("cogvideox-5b")[2].stages()


def test_functions_have_the_names_of_their_components(cog):
    assert cog.one("scheduler", "scheduler.set_timesteps").kind == "function"
    assert {c.stage for c in cog.find("scheduler", "scheduler.step")} == {"scheduler-step"}
    decode = cog.one("vae", "vae.decode")
    assert (decode.stage, decode.source.function.rpartition(".")[2]) == ("vae-decode", "decode_latents")
    assert decode.output.sizes == (1, 3, 49, 16, 16)
    assert cog.one("", "prepare_latents").stage == "latents"
    assert cog.root.attrs["num_frames"].size == 49


def test_numpy_videos_have_a_shape_too():
    trace = generate("cogvideox-5b", steps=1, output_type="np")[2]
    assert trace.root.output.sizes == (1, 9, 16, 16, 3)
    assert trace.root.output.dtype == "float32"


@pytest.mark.parametrize("name", ["wan2.1-i2v", "cogvideox-5b-i2v"])
def test_what_a_method_calls_of_its_component_is_of_its_stage(name):
    trace = generate(name)[2]
    for call in trace.find(name="scheduler.step"):
        assert {c.stage for c in call.walk() if c.kind == "function"} == {"scheduler-step"}
    assert {c.stage for c in trace.find(name="scheduler.set_timesteps")} == {"schedule"}
    preprocess = trace.one(name="video_processor.preprocess")
    assert preprocess.stage == "pre-processing"
    assert {c.name for c in preprocess.children if c.kind == "function"} == {"resize", "normalize"}
    assert not {c.stage for c in preprocess.walk()} & {"post-processing", "schedule"}
    after = [c.name for c in trace.walk() if c.stage == "post-processing"]
    assert after == ["video_processor.postprocess_video", "postprocess"]


@pytest.mark.parametrize(
    ("name", "function"),
    [("wan2.1-i2v", "image_processor._Processor"), ("framepack", "feature_extractor._Processor")],
)
def test_a_picture_is_made_ready_for_its_encoder(name, function):
    assert generate(name)[2].one(name=function).stage == "image-encoder"


def test_a_learned_variance_is_no_guidance():
    trace = generate("latte", guidance_scale=6.0)[2]
    for step in steps_of(trace):
        after = [c for c in step.children if c.kind == "op"]
        assert [c.name for c in after if c.stage == "guidance"] == ["chunk", "sub", "mul", "add"]
        last = [c for c in after if c.name == "chunk"][-1]
        assert (last.stage, last.inputs["noise_pred"].sizes[1]) == (None, 8)
    assert "guidance: noise_pred = add" in str(trace)


# steps and chunks


def test_any_number_of_steps_takes_the_same_room():
    few, many = (generate("cogvideox-5b", steps=n)[2] for n in (4, 30))
    assert len(list(few.walk())) == len(list(many.walk()))
    assert [c.repeat for c in steps_of(many)] == [29, 1]
    assert steps_of(many)[0].attrs["i"] == "0, 1 … 28"
    # the last one looks up one number less: there is no step after it
    first, last = (c.find("scheduler", "scheduler.step")[0] for c in steps_of(many))
    assert len(first.children) == len(last.children) + 1


def test_steps_of_another_dtype_are_a_row_of_their_own():
    trace = generate("hunyuanvideo", setup=lambda p: p.transformer.to(torch.bfloat16), steps=4)[2]
    first, rest = steps_of(trace)
    assert (first.repeat, rest.repeat) == (1, 3)
    seen = [c.find("scheduler", "scheduler.step")[0].inputs["sample"].dtype for c in (first, rest)]
    assert seen == ["float32", "bfloat16"]


def test_chunks_say_which_frames_they_saw(cog):
    chunks = steps_of(cog, "chunk")
    assert [c.repeat for c in chunks] == [1, 1, 4]
    assert words(chunks[0].attrs["frames"]) == "0:3"
    assert chunks[2].attrs["frames"] == "5:7, 7:9 … 11:13"
    assert sum(c.repeat * c.find("vae.decoder")[0].output.sizes[2] for c in chunks) == 49
    # the first chunk fills the cache, the second finds it as the first left it
    assert [bool(c.find("vae.decoder")[0].inputs.keys() - {"sample"}) for c in chunks] == [False, True, True]


def test_a_chunk_takes_no_more_frames_than_there_are():
    trace = generate("framepack", frames=40)[2]
    decodes = trace.find("vae", "vae.decode")
    for decode in decodes:
        frames = decode.inputs["z"].sizes[2]
        last = [c for c in decode.walk() if c.kind == "step"][-1].attrs["frames"]
        assert last.stop.size == frames
        assert last.start.size < frames
    assert len(decodes) == 2


def words(cut):
    assert isinstance(cut, Slice)
    return f"{cut.start.size}:{cut.stop.size}"


def test_what_grows_with_every_chunk_stands_behind_them():
    trace = generate("wan2.1-t2v", frames=29)[2]
    decode = trace.one("vae", "_decode")
    chunks = [c for c in decode.children if c.name == "chunk"]
    assert [c.repeat for c in chunks] == [1, 1, 6]  # the third is the first to find a full cache
    assert [words(c.attrs["frames"]) for c in chunks[:2]] == ["0:1", "1:2"]
    grown = [c.output.sizes[2] for c in decode.find(name="cat", kind="op") if c.path == "vae"]
    assert grown == [5, 9, 13, 17, 21, 25, 29]
    assert "cat 2 ×6" in str(trace)


def test_sections_hold_steps():
    trace = generate("framepack", frames=60, steps=4)[2]
    sections = steps_of(trace, "section")
    assert len(sections) == 2
    assert [c.attrs["i"].size for c in sections] == [0, 1]
    assert "section i=0 " in str(trace)
    for section in sections:
        assert [c.repeat for c in section.children if c.kind == "step"] == [1, 3]
        assert section.find("vae", "vae.decode")


def test_costs_add_up(cog):
    pipe = tiny_pipelines.build("cogvideox-5b")
    used = [*pipe.transformer.parameters(), *pipe.vae.decoder.parameters()]
    assert cog.root.cost.params.size == sum(p.numel() for p in used)
    assert cog.header.params == sum(p.numel() for m in (pipe.transformer, pipe.vae) for p in m.parameters())
    total = cog.root.cost
    stages = cog.stage_costs().values()
    for what in ("flops", "params", "bytes"):
        assert sum(getattr(c, what).size for c in stages) == getattr(total, what).size
    one = cog.find("transformer")[0].cost.flops.size
    assert cog.stage_costs()["denoising-step"].flops.size == 5 * one


class Loops:
    """A pipeline of plain Python, with loops of every kind."""

    def __init__(self):
        self.transformer = nn.Linear(3, 3)

    @property
    def components(self):
        return {"transformer": self.transformer, "scheduler": None}

    @torch.no_grad()
    def __call__(self, x):
        for _ in range(3):
            x = self.transformer(x)
        n = 0
        while n < 2:
            n += 1
            x = self.transformer(x) + n
        for row in (0, 1):
            for column in (0, 1, 2):
                if (row, column) != (1, 0):
                    x = self.transformer(x) * column
        for scale in (1.0, 2.0):
            x = x * scale
        for y in [x, x]:
            y = self.transformer(y) - 1
        for kind in (torch.float32, torch.float32, torch.float64):
            x = self.transformer.to(kind)(x.to(kind))
        return x


def test_loops_of_every_kind():
    pipe = Loops()
    with record_pipeline(pipe) as rec:
        pipe(torch.ones(1, 3))
    steps = [c for c in rec.trace.root.children if c.kind == "step"]
    assert [(c.repeat, *c.attrs.values()) for c in steps] == [
        (3, "0, 1, 2"), (2,), (1, tracer.Dim(0)), (1, tracer.Dim(1)), (2,), (2,), (1,),
    ]  # fmt: skip
    assert [c.repeat for row in steps[2:4] for c in row.children] == [3, 2]
    assert [c.name for c in rec.trace.root.children if c.kind == "op"] == ["mul", "mul"]
    assert steps[1].find(name="add")[0].attrs["1"] == "1, 2"
    assert rec.trace.root.cost.params.size == 12
    assert rec.trace.root.cost.flops.size == 18 * 15


# what a person sees


@pytest.mark.parametrize(("name", "frames"), [("cogvideox-5b", 49), ("wan2.1-t2v", 41), ("hunyuanvideo", 33)])
def test_the_default_view_is_one_screen(name, frames):
    text = str(generate(name, frames=frames, steps=12, **GUIDED[name])[2])
    assert len(text.splitlines()) <= SCREEN
    assert max(map(len, text.splitlines())) <= 100
    for part in ("prepare_latents()", "denoising step", "transformer", "scheduler.step()", "vae.decode()", "chunk"):
        assert part in text
    assert f"num_frames {frames}" in text
    assert "a call" in text.splitlines()[-1]


class Block(nn.Module):
    """A layer that may do something more."""

    def __init__(self, more=0):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.more = more

    def forward(self, x):
        return self.layer(x) + self.more if self.more else self.layer(x)


def test_blocks_are_counted_together_where_the_first_is_not_like_the_others():
    class Stack(nn.Module):
        def __init__(self):
            super().__init__()
            self.blocks = nn.ModuleList([Block(1), *(Block() for _ in range(4)), Block(2)])

        def forward(self, x):
            for block in self.blocks:
                x = block(x)
            return x

    class Once(Loops):
        def __call__(self, x):
            return self.transformer(x)

    pipe = Once()
    pipe.transformer = Stack()
    with record_pipeline(pipe) as rec:
        pipe(torch.ones(1, 4))
    assert [c.repeat for c in rec.trace.one("transformer").children] == [1, 4, 1]
    (line,) = [n for n in str(rec.trace).splitlines() if "Block" in n]
    assert "blocks.* Block ×6" in line
    assert "100 %" in line


def test_a_step_like_another_says_so(cog):
    assert "denoising step i=4: as i=0, 1 … 3 but for scheduler.step" in str(cog)


@pytest.mark.parametrize("options", [Options(depth=3), Options(ops=True), Options(stage="vae-decode")])
def test_other_views_of_a_pipeline(cog, options):
    assert "decode" in render_text(cog, options, width=120)


def test_notes_of_a_family_inside_a_pipeline(cog):
    note = Note("patch-embed", "patch_embed", "patch embed", "B S D", "Why.", "config:patch_size", also=("norm_out",))
    noted = annotate_inside(cog, "transformer", [note])
    embeds = noted.find("transformer.patch_embed")
    assert len(embeds) == len(steps_of(cog)) == 2
    assert {c.stage for c in embeds} == {"patch-embed"}
    assert all(c.remark.label == "patch embed" for c in embeds)
    assert {c.stage for c in noted.find("transformer.norm_out")} == {"patch-embed"}
    assert noted.one("vae", "vae.decode") is cog.one("vae", "vae.decode")
    assert str(noted) == str(cog)


# offloading and caches


def group(kind):
    def setup(pipe):
        cpu = torch.device("cpu")
        for part in (pipe.transformer, pipe.vae):
            apply_group_offloading(part, cpu, cpu, offload_type=kind, num_blocks_per_group=1)

    return setup


def casting(pipe):
    pipe.transformer.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)


MOVES = {
    "group-offload-block": group("block_level"),
    "group-offload-leaf": group("leaf_level"),
    "layerwise-casting": casting,
    "model-offload": lambda pipe: pipe.enable_model_cpu_offload(device="cpu"),
}


@pytest.mark.parametrize("name", MOVES)
def test_moving_weights_about_is_no_part_of_the_tree(name, cog):
    arguments = {"frames": 49, "steps": 5, **GUIDED["cogvideox-5b"]}
    if name == "model-offload":
        pytest.importorskip("accelerate")
    plain, before, _ = generate("cogvideox-5b", recorded=False, setup=MOVES[name], **arguments)
    video, after, trace = generate("cogvideox-5b", setup=MOVES[name], **arguments)
    assert torch.equal(video, plain)
    assert before == after
    assert [(c.kind, c.path, c.name, c.repeat) for c in trace.walk()] == [
        (c.kind, c.path, c.name, c.repeat) for c in cog.walk()
    ]


def broadcast(pipe):
    pipe.transformer.enable_cache(
        diffusers.PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=2,
            spatial_attention_timestep_skip_range=(-1, 1001),
            current_timestep_callback=lambda: pipe._current_timestep,
        )
    )


CACHES = {
    "first-block": ("hunyuanvideo", lambda p: p.transformer.enable_cache(diffusers.FirstBlockCacheConfig(0.5))),
    "pyramid": ("cogvideox-5b", broadcast),
    "taylor-seer": ("hunyuanvideo", lambda p: p.transformer.enable_cache(
        diffusers.TaylorSeerCacheConfig(cache_interval=2, disable_cache_before_step=1))),
}  # fmt: skip


@pytest.mark.parametrize("name", CACHES)
def test_caches_go_on_working_and_what_they_skip_is_seen(name):
    pipeline, setup = CACHES[name]
    plain, before, _ = generate(pipeline, recorded=False, setup=setup, steps=6)
    video, after, trace = generate(pipeline, setup=setup, steps=6)
    assert torch.equal(video, plain)
    assert before == after
    work = [c.find("transformer")[0].cost.flops.size for c in steps_of(trace) for _ in range(c.repeat)]
    full = generate(pipeline, steps=1)[2].find("transformer")[0].cost.flops.size
    assert len(work) == 6
    assert max(work) == work[0] == full
    assert min(work) < full


@pytest.mark.skipif(not torch.cuda.is_available(), reason="sequential offload moves weights to an accelerator")
def test_sequential_offload():
    pytest.importorskip("accelerate")

    def setup(pipe):
        pipe.enable_sequential_cpu_offload()

    plain, before, _ = generate("cogvideox-5b", recorded=False, setup=setup)
    video, after, trace = generate("cogvideox-5b", setup=setup)
    assert torch.equal(video, plain)
    assert before == after
    assert [c.repeat for c in steps_of(trace)] == [2, 1]


# when it goes wrong


class Stop(Exception):
    """Raised on purpose."""


def broken(error, *, at=1):
    def callback(pipe, i, t, values):
        if i == at:
            raise error
        return {k: v * 1 for k, v in values.items()}

    return {"callback_on_step_end": callback}


@pytest.mark.parametrize("error", [Stop("no more"), KeyboardInterrupt()], ids=["exception", "interrupt"])
@pytest.mark.parametrize("caught", ["outside", "inside"])
def test_a_call_that_stops_in_step_two_leaves_the_pipeline_as_before(error, caught):
    pipe = tiny_pipelines.build("cogvideox-5b")
    tiny_pipelines.call(pipe, "cogvideox-5b", frames=9, steps=1)
    before = state(pipe)

    def stopped():
        tiny_pipelines.call(pipe, "cogvideox-5b", frames=9, steps=4, **broken(error))

    if caught == "outside":
        with pytest.raises(type(error)) as raised, record_pipeline(pipe) as rec:
            stopped()
        assert raised.value is error
    else:
        with record_pipeline(pipe) as rec:
            with pytest.raises(type(error)):
                stopped()
            torch.ones(1) + 1
    assert state(pipe) == before
    assert sum(c.repeat for c in steps_of(rec.trace)) == 2
    assert rec.trace.root.opaque
    assert rec.trace.header.error.startswith("stopped in CogVideoXPipeline")
    assert not rec.trace.find("vae", "vae.decode")
    assert "stopped in" in str(rec.trace)
    torch.manual_seed(0)
    again = tiny_pipelines.call(pipe, "cogvideox-5b", frames=9, steps=3)
    assert torch.equal(again, generate("cogvideox-5b", recorded=False)[0])


def test_a_model_that_fails_in_step_two_is_named():
    pipe = tiny_pipelines.build("wan2.1-t2v")
    handles = []

    def fail(module, args, output):
        if len(handles) > 1:
            raise Stop("no more")
        handles.append(0)

    handles.append(pipe.transformer.blocks[0].register_forward_hook(fail))
    with pytest.raises(Stop) as raised, record_pipeline(pipe) as rec:
        tiny_pipelines.call(pipe, "wan2.1-t2v", frames=9, steps=3)
    assert any("stopped in transformer.blocks.0" in note for note in raised.value.__notes__)
    assert rec.trace.find("transformer.blocks.0")[-1].opaque == "raised Stop"
    assert [c.opaque for c in rec.trace.find("transformer")] == [None, "raised Stop"]


def test_only_the_first_call_is_recorded_and_the_trace_is_there_inside_the_block():
    pipe = Loops()
    with record_pipeline(pipe) as rec:
        torch.ones(2) + 1
        pipe.transformer(torch.ones(1, 3))
        pipe(torch.ones(1, 3))
        first = rec.trace
        pipe(torch.ones(2, 3, dtype=torch.float64))
    assert rec.trace is first
    assert rec.trace.root.inputs["x"].sizes == (1, 3)
    assert rec.trace.root.source.function.startswith("test_only_the_first_call")


def test_recordings_do_not_overlap():
    pipe = Loops()
    with record_pipeline(pipe) as rec:
        for other in (record_pipeline(pipe), record(pipe.transformer)):
            with pytest.raises(RecordingError, match="is being recorded already"), other:
                pass
        pipe(torch.ones(1, 3))
    with pytest.raises(RecordingError, match="used before"), rec:
        pass
    with record_pipeline(pipe) as again:
        pipe(torch.ones(1, 3, dtype=torch.float64))
    assert len(again.traces) == 1


def test_what_is_refused():
    with pytest.raises(RecordingError, match=r"a transformer or a unet, not Linear; .* there is record\(\)"):
        record_pipeline(nn.Linear(1, 1))
    with pytest.raises(RecordingError, match="not SimpleNamespace"):
        record_pipeline(SimpleNamespace(components={"vae": nn.Linear(1, 1)}))
    with record_pipeline(Loops()) as rec:
        torch.ones(1) + 1
    with pytest.raises(RecordingError, match=r"Loops was not called inside the with block .* call the pipeline itself"):
        rec.trace  # noqa: B018


def test_nothing_holds_the_tensors():
    pipe = Loops()
    x = torch.ones(1, 3)
    gone = weakref.ref(x)
    with record_pipeline(pipe) as rec:
        pipe(x)
    del x
    gc.collect()
    assert gone() is None
    assert rec.trace.root.inputs


# with a unet


class Tokenizer:
    """Stands in for CLIP's: every prompt is the same eight tokens."""

    model_max_length = 8

    def __call__(self, text, **_):
        return SimpleNamespace(input_ids=torch.arange(8)[None] + 1, attention_mask=None)

    def tokenize(self, text):
        return []

    def batch_decode(self, ids):
        return [""]


@pytest.fixture(scope="module")
def image_pipeline():
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    text = CLIPTextConfig(
        vocab_size=16, hidden_size=8, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=8, bos_token_id=0, eos_token_id=2, pad_token_id=1,
    )  # fmt: skip
    unet = diffusers.UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, cross_attention_dim=8,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    vae = diffusers.AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(4, 4), norm_num_groups=2,
    )  # fmt: skip
    pipe = diffusers.StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text).eval(), tokenizer=Tokenizer(), unet=unet,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_a_pipeline_with_a_unet_from_prompt_to_picture(image_pipeline):
    def run():
        torch.manual_seed(0)
        return image_pipeline("a prompt", height=16, width=16, num_inference_steps=4, output_type="np").images

    plain, before = run(), state(image_pipeline)
    with record_pipeline(image_pipeline) as rec:
        picture = run()
    assert (picture == plain).all()
    assert state(image_pipeline) == before
    trace = rec.trace
    assert trace.root.output.sizes == (1, 16, 16, 3)
    assert [s for s in trace.stages() if s in ("text-encoder", "denoising-step", "vae-decode")] == [
        "text-encoder", "denoising-step", "vae-decode",
    ]  # fmt: skip
    assert len(trace.find("text_encoder")) == 2  # the prompt, and nothing
    assert sum(c.repeat for c in steps_of(trace)) == 4
    assert trace.find("unet")[0].inputs["sample"].sizes[0] == 2
    assert "encoder.layers.* CLIPEncoderLayer ×3" in str(trace)


def test_an_error_of_a_callback_says_in_which_pass_it_came():
    pipe = tiny_pipelines.build("wan2.1-t2v")

    def stop(pipe, i, t, given):
        if i == 1:
            raise Stop("enough")
        return given

    with pytest.raises(Stop) as raised, record_pipeline(pipe) as rec:
        tiny_pipelines.call(pipe, "wan2.1-t2v", frames=9, steps=3, callback_on_step_end=stop)
    assert rec.trace.header.error.endswith("in the pass with i=1")
    assert raised.value.__notes__ == [f"tracer: {rec.trace.header.error}"]
