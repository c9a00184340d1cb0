"""Notes made from what the code does: they name nearly all the work, and never say other than a family's own notes."""

import dataclasses
import importlib
from fnmatch import fnmatchcase
from functools import reduce

import diffusers
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import tracer
from tracer.blocks import LABEL
from tracer.build import build_model
from tracer.cost import FLOPS
from tracer.families import all_families
from tracer.generic import annotate_by_code
from tracer.notes import STAGES, claim, shown

EVERY = [(f, c) for f in all_families() for c in f.checkpoints]
GENERIC = [pytest.param(f, c.name, id=c.name) for f, c in EVERY if f.notes is None]
OWN = [pytest.param(f, c.name, id=c.name) for f, c in EVERY if f.notes is not None]


def bare(trace):
    """The trace without stages and remarks."""
    return trace.map(lambda c: dataclasses.replace(c, stage=None, remark=None))


def work(trace):
    """FLOPs of every product, convolution and attention, by the stage it lies in."""
    out = {}

    def visit(call, stage, times):
        stage, times = call.stage or stage, times * call.repeat
        if call.kind == "op" and call.name in FLOPS:
            out[stage] = out.get(stage, 0) + call.cost.flops.size * times
        for child in call.children:
            visit(child, stage, times)

    visit(trace.root, "", 1)
    return out


def share(trace, *stages):
    found = work(trace)
    return sum(found.get(s, 0) for s in stages) / sum(found.values())


# nearly everything has a name, and no name is wrong


@pytest.mark.parametrize(("family", "name"), GENERIC)
def test_nearly_all_the_work_lies_in_a_named_stage(family, name, traces):
    assert share(traces[name], "", "block") < 0.01
    assert set(work(traces[name])) - {""} <= set(STAGES)


@pytest.mark.parametrize(("family", "name"), OWN)
def test_no_stage_is_other_than_what_the_family_says(family, name, traces):
    own = traces[name]
    found = annotate_by_code(bare(own))
    both = [(a, b) for a, b in zip(own.walk(), found.walk(), strict=True) if a.stage and b.stage]
    assert [(a.path, a.name, a.stage, b.stage) for a, b in both if a.stage != b.stage] == []
    assert len(both) >= 20
    assert share(found, "", "block") < 0.05


@pytest.mark.parametrize(("family", "name"), OWN)
def test_all_work_that_both_name_is_in_the_same_stage(family, name, traces):
    """Not only the calls with a note: what lies inside of them, too."""

    def stages(call, stage=""):
        stage = call.stage or stage
        yield call, stage
        for child in call.children:
            yield from stages(child, stage)

    own = traces[name]
    pairs = zip(stages(own.root), stages(annotate_by_code(bare(own)).root), strict=True)
    heavy = [(a, mine, theirs) for (a, mine), (_, theirs) in pairs if a.kind == "op" and a.name in FLOPS]
    assert [(a.path, mine, theirs) for a, mine, theirs in heavy if mine and theirs and mine != theirs] == []


# what a remark says holds


@pytest.mark.parametrize(("family", "name"), GENERIC)
def test_a_remark_claims_the_shapes_that_were_traced(family, name, traces):
    trace = traces[name]
    for call in trace.walk():
        if call.remark is not None:
            real = [[d.expression() for d in spec.shape] for spec in shown(call)]
            assert claim(call.remark.shape, trace.short) == real, (call.path, call.remark.label)


@pytest.mark.parametrize(("family", "name"), GENERIC)
def test_remarks_are_well_formed_and_their_reasons_exist(family, name, traces):
    trace = traces[name]
    model = build_model(family.model, trace.header.config)
    tensors = [n for n, _ in (*model.named_parameters(), *model.named_buffers())]
    for call in trace.walk():
        if call.remark is None:
            continue
        assert 0 < len(call.remark.label) <= LABEL
        assert call.remark.why.endswith(".")
        kind, _, what = call.remark.because.partition(":")
        if kind == "source":
            module, _, function = what.partition(":")
            assert callable(reduce(getattr, function.split("."), importlib.import_module(module)))
        else:
            assert kind == "tensor"
            assert any(fnmatchcase(n, what) for n in tensors), call.remark.because


@pytest.mark.parametrize(("family", "name"), GENERIC)
def test_annotating_again_changes_nothing(family, name, traces):
    assert annotate_by_code(traces[name]) == traces[name]


def at(trace, path, name=""):
    """The module at a path, or the calls of that name in it."""
    here = [c for c in trace.walk() if c.pattern == path]
    return [c for c in here if (c.name == name if name else c.kind == "module")]


@pytest.mark.parametrize("name", ["mochi-1-preview", "sd3-medium"])
def test_a_last_block_that_is_another_one_is_told_apart(name, traces):
    trace = traces[name]
    first, last = at(trace, "transformer_blocks.*")
    assert (first.repeat, last.repeat) == (trace.header.config["num_layers"] - 1, 1)
    assert str(first.repeat_formula) == "num_layers − 1"
    assert last.remark.label == "last block"
    assert not any(c.remark.brief for c in last.walk() if c is not last and c.remark)


def stage_of(trace, path, name=""):
    return {c.stage for c in at(trace, path, name)}


def test_streams_and_cross_attention_are_told_apart(traces):
    allegro, flux = traces["allegro"], traces["flux.1-dev"]
    block = "transformer_blocks.*"
    assert stage_of(allegro, f"{block}.attn1", "scaled_dot_product_attention") == {"attention"}
    assert stage_of(allegro, f"{block}.attn2", "scaled_dot_product_attention") == {"cross-attention"}
    assert stage_of(flux, f"{block}.attn", "scaled_dot_product_attention") == {"attention"}
    (cut,) = at(flux, f"{block}.attn", "split_with_sizes")
    assert (cut.stage, cut.remark.label) == ("split", "text | image")
    joined = at(flux, "transformer_blocks.*.attn", "cat")[0]
    assert (joined.stage, joined.remark.label) == ("concat", "text, then image")


# models of no family


def noise(*sizes):
    return torch.randn(*sizes)


MODELS = {
    "PixArtTransformer2DModel": (
        {"num_attention_heads": 2, "attention_head_dim": 8, "in_channels": 4, "out_channels": 8, "num_layers": 2,
         "cross_attention_dim": 16, "sample_size": 8, "patch_size": 2, "caption_channels": 12},
        lambda: {"hidden_states": noise(2, 4, 8, 8), "encoder_hidden_states": noise(2, 7, 12), "timestep": noise(2),
                 "added_cond_kwargs": {"resolution": None, "aspect_ratio": None}},
        {"pos_embed.proj": "patch-embed", "transformer_blocks.*.attn2.to_k": "cross-attention",
         "caption_projection": "text-projection", "proj_out": "unpatchify"},
    ),
    "AuraFlowTransformer2DModel": (
        {"sample_size": 8, "patch_size": 2, "in_channels": 4, "num_mmdit_layers": 2, "num_single_dit_layers": 2,
         "attention_head_dim": 8, "num_attention_heads": 2, "joint_attention_dim": 12, "caption_projection_dim": 16,
         "out_channels": 4, "pos_embed_max_size": 64},
        lambda: {"hidden_states": noise(2, 4, 8, 8), "encoder_hidden_states": noise(2, 7, 12), "timestep": noise(2)},
        {"joint_transformer_blocks.*.attn.add_q_proj": "qkv", "single_transformer_blocks.*": "block"},
    ),
    "SanaTransformer2DModel": (
        {"patch_size": 1, "in_channels": 4, "out_channels": 4, "num_layers": 2, "attention_head_dim": 8,
         "num_attention_heads": 2, "num_cross_attention_heads": 2, "cross_attention_head_dim": 8,
         "cross_attention_dim": 16, "caption_channels": 12, "sample_size": 8},
        lambda: {"hidden_states": noise(2, 4, 8, 8), "encoder_hidden_states": noise(2, 7, 12), "timestep": noise(2)},
        {"transformer_blocks.*.attn1.to_q": "qkv", "transformer_blocks.*.ff": "feed-forward"},
    ),
    "Lumina2Transformer2DModel": (
        {"sample_size": 16, "patch_size": 2, "in_channels": 4, "hidden_size": 24, "num_layers": 2,
         "num_refiner_layers": 1, "num_attention_heads": 3, "num_kv_heads": 1, "multiple_of": 2,
         "axes_dim_rope": (4, 2, 2), "axes_lens": (32, 32, 32), "cap_feat_dim": 12},
        lambda: {"hidden_states": noise(2, 4, 8, 8), "encoder_hidden_states": noise(2, 7, 12), "timestep": noise(2),
                 "encoder_attention_mask": torch.ones(2, 7, dtype=torch.bool)},
        {"context_refiner.*": "token-refiner", "layers.*": "block", "layers.*.feed_forward": "feed-forward"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_no_family_is_read_too(name):
    config, inputs, expected = MODELS[name]
    torch.manual_seed(0)
    model = getattr(diffusers, name)(**config).eval()
    with torch.no_grad(), tracer.record(model) as recording:
        model(**inputs())
    trace = annotate_by_code(recording.trace)
    assert share(trace, "", "block") < 0.05
    for path, stage in expected.items():
        assert stage_of(trace, path) == {stage}, path
    for call in trace.walk():
        if call.remark is not None:
            sizes = [tuple(axis.evaluate({}) for axis in axes) for axes in claim(call.remark.shape, {})]
            assert sizes == [spec.sizes for spec in shown(call)]


# names of modules decide nothing


class Odd(nn.Module):
    """A transformer in which nothing is called what it is."""

    def __init__(self, kernel=2, wide=32):
        super().__init__()
        self.a = nn.Conv2d(4, 8, kernel, stride=2, padding=(kernel - 2) // 2)
        self.b = nn.Linear(6, 8)
        self.c = nn.ModuleList([OddBlock(wide) for _ in range(3)])
        self.z = nn.Linear(8, 16)

    def forward(self, latents, prompt):
        x, y = self.a(latents).flatten(2).transpose(1, 2), self.b(prompt)
        for block in self.c:
            x = block(x, y)
        return self.z(x)


class OddBlock(nn.Module):
    def __init__(self, wide):
        super().__init__()
        self.m, self.n = OddLooks(), OddLooks()
        self.w = nn.Sequential(nn.Linear(8, wide), nn.GELU(), nn.Linear(wide, 8))

    def forward(self, x, y):
        x = x + self.m(x, x)
        x = x + self.n(x, y)
        return x + self.w(x)


class OddLooks(nn.Module):
    def __init__(self):
        super().__init__()
        self.r, self.s, self.t, self.u = (nn.Linear(8, 8) for _ in range(4))

    def forward(self, x, y):
        heads = [layer(v).unflatten(-1, (2, 4)).transpose(1, 2) for layer, v in
                 ((self.r, x), (self.s, y), (self.t, y))]  # fmt: skip
        return self.u(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))


def read(model, *inputs):
    with torch.no_grad(), tracer.record(model.eval()) as recording:
        model(*inputs)
    return annotate_by_code(recording.trace)


def test_names_of_modules_decide_nothing():
    trace = read(Odd(), noise(2, 4, 8, 8), noise(2, 5, 6))
    stages = {
        "a": "patch-embed", "b": "text-projection", "c.*": "block", "c.*.m.r": "qkv", "c.*.m.t": "qkv",
        "c.*.m.u": "attention", "c.*.n.r": "cross-attention", "c.*.n.u": "cross-attention", "c.*.w": "feed-forward",
        "z": "unpatchify",
    }  # fmt: skip
    for path, stage in stages.items():
        assert stage_of(trace, path) == {stage}, path


class Flat(nn.Module):
    """A dual-stream block without an attention module: everything stands in its forward."""

    def __init__(self):
        super().__init__()
        self.norm_v, self.norm_t, self.norm_q = nn.LayerNorm(32), nn.LayerNorm(32), nn.LayerNorm(8)
        self.qkv_v, self.qkv_t = nn.Linear(32, 96), nn.Linear(32, 96)
        self.out_v, self.out_t = nn.Linear(32, 32), nn.Linear(32, 32)
        self.ff_v, self.ff_t = nn.Sequential(nn.Linear(32, 128), nn.Linear(128, 32)), nn.Linear(32, 32)

    def heads(self, x):
        return x.unflatten(-1, (3, 4, 8)).permute(2, 0, 3, 1, 4).unbind(0)

    def forward(self, video, text, cos, sin):
        q, k, v = self.heads(self.qkv_v(self.norm_v(video)))
        tq, tk, tv = self.heads(self.qkv_t(self.norm_t(text)))
        q = turned(self.norm_q(q), cos, sin)
        q, k, v = torch.cat([tq, q], 2), torch.cat([tk, k], 2), torch.cat([tv, v], 2)
        x = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)
        text_out, video_out = x.split([text.shape[1], video.shape[1]], 1)
        video, text = video + self.out_v(video_out), text + self.out_t(text_out)
        return video + self.ff_v(video), text + self.ff_t(text)


def turned(x, cos, sin):
    a, b = x.chunk(2, -1)
    return x * cos + torch.cat([-b, a], -1) * sin


class FlatModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.patch, self.text = nn.Conv3d(4, 32, (1, 2, 2), (1, 2, 2)), nn.Linear(16, 32)
        self.blocks = nn.ModuleList(Flat() for _ in range(2))
        self.proj_out = nn.Linear(32, 16)

    def forward(self, latents, text):
        x, text = self.patch(latents).flatten(2).transpose(1, 2), self.text(text)
        angles = torch.arange(x.shape[1])[:, None] * torch.ones(8)
        for block in self.blocks:
            x, text = block(x, text, angles.cos(), angles.sin())
        return self.proj_out(x)


def test_the_parts_of_a_block_without_an_attention_module_are_told_apart():
    with tracer.record(model := FlatModel()) as rec, torch.no_grad():
        model(torch.randn(1, 4, 3, 8, 8), torch.randn(1, 5, 16))
    seen = annotate_by_code(rec.trace)
    stages = {c.path.rpartition(".")[2]: c.stage for c in seen.find("blocks.*.*", kind="module")}
    assert stages["norm_q"] == "qk-norm"
    assert stages["norm_v"] != "qk-norm" != stages["norm_t"]
    assert (stages["out_v"], stages["out_t"]) == ("attention", "attention")
    assert (stages["ff_v"], stages["ff_t"]) == ("feed-forward", "feed-forward")
    assert all(c.stage == "rope" for c in seen.find("blocks.*", "turned"))
    assert [c.remark.label for c in seen.walk() if c.stage == "concat" and c.remark] == ["text, then video"]


def test_a_convolution_that_overlaps_cuts_no_patches():
    trace = read(Odd(kernel=4), noise(2, 4, 8, 8), noise(2, 5, 6))
    assert stage_of(trace, "a") == {None}


def test_what_is_not_recognised_stays_without_a_stage():
    trace = read(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)), noise(2, 3, 4))
    assert trace.stages() == []
    assert not any(c.remark for c in trace.walk())


def test_of_a_pipeline_only_its_transformer_is_read():
    import torch
    from tiny_pipelines import build, call

    pipe = build("ltx")
    torch.manual_seed(0)
    with tracer.record_pipeline(pipe) as recording:
        call(pipe, "ltx", frames=9, steps=2)
    before, after = recording.trace, tracer.annotate_by_code(recording.trace)

    def outside(trace):
        return [(c.path, c.name, c.stage) for c in trace.walk() if not c.path.startswith("transformer")]

    assert outside(after) == outside(before)
    assert {"attention", "feed-forward", "patch-embed"} <= set(after.stages())
