"""Notes: they fit the traces at every size, their reasons exist, and what they tell can be seen in a run."""

import dataclasses
import importlib
from fnmatch import fnmatchcase
from functools import reduce
from pathlib import Path

import pytest
import torch

import tracer
from tracer.api import letters_of, make_request
from tracer.build import build_model, full_config
from tracer.errors import UnknownName
from tracer.families import all_families, find
from tracer.notes import PIPELINE_STAGES, STAGES, Note, annotate, claim, locate, misfits, shown
from tracer.outline import Options, rows

UPSTREAM = Path(__file__).parent / "upstream"


def few(family):
    """Two blocks of each kind: enough for what does not depend on their number."""
    return dict.fromkeys(family.depths, 2)


def notes_of(case):
    if case.family.notes is None:
        pytest.skip("the default notes are tested in test_generic.py")
    return list(case.family.notes(case.config))


# notes and traces agree


def test_notes_fit(case, seen):
    assert misfits(seen, notes_of(case)) == []


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 3, "frames": 17, "height": 320, "width": 512, "text_tokens": 100},
        {"batch": 1, "frames": 65, "height": 560, "width": 304, "text_tokens": 11},
    ],
    ids=["smaller", "upright"],
)
def test_notes_fit_at_other_sizes(case, change):
    notes = notes_of(case)
    stuck = {"B": "batch", "F": "frames", "L": "text_tokens", "H": "height", "W": "width"}
    alone = [s for s, some in case.family.limited(case.config).items() if len(set(some)) <= 1]
    fixed = [stuck[letter] for letter in (*case.family.fixed(case.config), *alone) if letter in stuck]
    change = {k: v for k, v in change.items() if k not in fixed}
    trace = tracer.trace(case.name, config=few(case.family), **change)
    assert misfits(trace, notes) == []


@pytest.mark.parametrize("heads", [2, 5])
def test_notes_fit_another_config(case, heads):
    notes_of(case)
    (h,) = (x for x in case.family.letters(case.config) if x.symbol == "h")
    config = {h.field: heads * h.multiple} | {d: 2 + i for i, d in enumerate(case.family.depths)}
    values = letters_of(case.family, case.config | config, case.checkpoint.request)
    config |= case.family.probe_config(case.config | config, values, values)  # fields that must follow
    trace = tracer.trace(case.name, config=config)
    assert trace.values["h"] == heads * h.multiple != case.config[h.field]
    assert misfits(trace, case.family.notes(case.config | config)) == []


def test_every_note_has_a_call_of_its_own(case, seen):
    notes = notes_of(case)
    calls = locate(seen, notes)
    assert set(calls) == set(notes)
    assert len({id(call) for call in calls.values()}) == len(notes)
    remarks = [(c.stage, c.remark.label, c.remark.why) for c in seen.walk() if c.remark]
    assert sorted(remarks) == sorted((n.stage, n.label, n.why) for n in notes)


def test_notes_come_in_the_order_of_the_run(case, seen):
    """Roughly: a module's note may stand before or after those inside it."""
    when = {id(call): i for i, call in enumerate(seen.walk())}
    outside = [n for n in notes_of(case) if "*" not in n.at and n.brief and n.op]
    order = [when[id(call)] for note, call in locate(seen, notes_of(case)).items() if note in outside]
    assert order == sorted(order)


# planted faults


def planted(case, seen, **change):
    """The last attention's note, and what misfits says of it after a change, all others being as they are."""
    notes = notes_of(case)
    *_, target = (n for n in notes if n.op == "scaled_dot_product_attention")
    wrong = dataclasses.replace(target, **change)
    return target, misfits(seen, [wrong if n is target else n for n in notes])


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"at": "transformer_blocks.*.attn9"}, "matches no call"),
        ({"at": "transformer_blocks.0.attn"}, "matches no call"),
        ({"op": "scaled_dot_product"}, "matches no call"),
        ({"nth": 1000}, "matches no call"),
        ({"out": "hidden"}, "matches no call"),
        ({"within": "somewhere"}, "matches no call"),
        ({"shape": "B h C d"}, "claims (B, h, C, d)"),
        ({"shape": "B C h d"}, "traced is ("),
        ({"shape": "B h L"}, "claims (B, h, L)"),
        ({"shape": "B h C d|B h C d"}, "claims 2 results, there are 1"),
    ],
)
def test_a_planted_fault_is_found(case, seen, change, complaint):
    target, (found,) = planted(case, seen, **change)
    assert complaint in found
    assert found.startswith(f"note '{target.label}' ({target.stage})")


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("cogvideox-2b", "B H/p L+S d"),  # 30 heads, 60/2 rows of patches
        ("cogvideox-5b", "p h L+S d"),  # a batch of 2, patches of 2
        ("cogvideox-5b", "B h L+S 4*C"),  # head_dim 64, 16 channels
        ("cogvideox-5b", "B h 17776 d"),
    ],
)
def test_a_name_that_fits_these_sizes_only_is_found(name, shape, traces):
    seen, (family, checkpoint) = traces[name], find(name)
    notes = family.notes(full_config(family.model, checkpoint.config))
    target = next(n for n in notes if n.op == "scaled_dot_product_attention")
    (axes,), (spec,) = claim(shape, seen.short), shown(locate(seen, notes)[target])
    assert tuple(axis.evaluate(seen.values) for axis in axes) == spec.sizes
    (found,) = misfits(seen, [dataclasses.replace(target, shape=shape)])
    assert f"note '{target.label}'" in found


def test_without_formulas_a_claim_in_letters_is_a_misfit():
    trace = tracer.trace("cogvideox-2b", formulas=False, config={"num_layers": 1})
    family, _ = find("cogvideox-2b")
    assert misfits(trace, family.notes(trace.header.config))


# what a note must have


def test_reasons_exist(case, seen):
    model = build_model(case.family.model, case.config)
    tensors = [name for name, _ in (*model.named_parameters(), *model.named_buffers())]
    for note in notes_of(case):
        kind, _, what = note.because.partition(":")
        if kind == "config":
            assert what in case.config, note.because
        elif kind == "source":
            module, _, name = what.partition(":")
            assert name
            assert callable(reduce(getattr, name.split("."), importlib.import_module(module)))
        else:
            assert kind == "tensor"
            assert what in seen.root.inputs or any(fnmatchcase(name, what) for name in tensors), note.because


def test_no_two_notes_say_the_same(case):
    texts = [note.why for note in notes_of(case)]
    assert sorted(set(texts)) == sorted(texts)


def test_notes_are_well_formed(case):
    for note in notes_of(case):
        assert note.stage in STAGES
        assert note.label.strip() == note.label != ""
        assert len(note.label) <= 24
        assert note.why.endswith(".")
        assert 1 <= note.why.count(". ") + 1 <= 4
        assert "  " not in note.why


def test_every_block_has_a_note(seen):
    blocks = [c for c in seen.walk() if c.kind == "module" and (c.repeat > 1 or (c.stage == "block" and c.remark))]
    assert blocks
    for block in blocks:
        assert block.remark is not None, block.path
        assert block.stage in {"block", "token-refiner"}


def test_stages_are_known_and_have_a_line_each(seen):
    assert set(seen.stages()) <= set(STAGES)
    assert all(line and not line.endswith(".") for line in STAGES.values())


def test_every_stage_is_used_by_some_checkpoint(traces):
    names = [c.name for family in all_families() for c in family.checkpoints]
    assert {stage for name in names for stage in traces[name].stages()} == set(STAGES) - set(PIPELINE_STAGES)


def test_one_screen_shows_the_brief_notes_and_no_others(case, seen):
    labels = [row.call.remark.label for row in rows(seen, Options())]
    brief = [c.remark.label for c in seen.walk() if c.remark and c.remark.brief]
    assert sorted(labels) == sorted(brief)
    assert len(brief) < len(notes_of(case))


def test_every_stage_can_be_asked_for(seen):
    for stage in seen.stages():
        assert rows(seen, Options(stage=stage))
    with pytest.raises(UnknownName, match="No stage is called 'attentoin': did you mean attention"):
        rows(seen, Options(stage="attentoin"))


def test_annotating_twice_changes_nothing(case, seen):
    assert annotate(seen, notes_of(case)) == seen


def test_a_call_without_a_note_stays_as_it_is(seen):
    stray = Note("rope", "nowhere", "x", "B", "x.", "config:x")
    bare = seen.map(lambda c: dataclasses.replace(c, stage=None, remark=None))
    assert annotate(bare, [stray]) == bare


# open questions of the CogVideoX walkthrough, by stage: each answer is seen in a run, and the note tells it

COGVIDEOX = [c.name for c in find("cogvideox")[0].checkpoints]


def told(trace, stage, label):
    """The text of a note."""
    (why,) = (c.remark.why for c in trace.walk() if c.remark and (c.stage, c.remark.label) == (stage, label))
    return why


@pytest.mark.parametrize("name", COGVIDEOX)
def test_time_embedding_time_proj_has_no_weights(name, traces):
    call = traces[name].one("time_proj")
    assert call.cost.params.size == 0
    assert call.cost.flops.size == 0
    assert str(call.output.shape[1].formula) == "h·d"
    assert [c.name for c in call.walk() if c.name in {"sin", "cos"}] == ["sin", "cos"]
    assert call.output.dtype == "float32" != traces[name].header.dtype
    family, checkpoint = find(name)
    config = full_config(family.model, checkpoint.config | {"num_layers": 1, "num_attention_heads": 2})
    time_proj = build_model(family.model, config).time_proj
    at_zero = time_proj(torch.zeros(1))
    half = at_zero.shape[1] // 2
    assert torch.equal(at_zero, torch.cat([torch.ones(1, half), torch.zeros(1, half)], dim=1))
    falling = time_proj(torch.full((1,), 0.01))[0, half:]
    assert (falling[1:] < falling[:-1]).all()
    why = told(traces[name], "time-embedding", "time_proj")
    for words in ("No weights", "cosines and sines", "At t = 0 the first half is all ones", "falling", "float32"):
        assert words in why


@pytest.mark.parametrize("name", COGVIDEOX)
def test_time_embedding_time_embedding_is_learned(name, traces):
    call = traces[name].one("time_embedding")
    D, T = traces[name].values["D"], traces[name].values["T"]
    assert call.cost.params.size == D * T + T + T * T + T
    assert [next(iter(call.inputs.values())).sizes[1], call.output.sizes[1]] == [D, T]
    layers = [c.name for c in call.walk() if c.kind == "op"]
    assert layers == ["linear", "silu", "linear"]
    why = told(traces[name], "time-embedding", "time_embedding")
    assert "linear, SiLU, linear, from D down to T" in why


@pytest.mark.parametrize("name", COGVIDEOX)
def test_offset_embedding_is_in_1_5_image_to_video_only(name, traces):
    there = [c.path for c in traces[name].walk() if c.path in {"ofs_proj", "ofs_embedding"} and c.kind == "module"]
    assert there == (["ofs_proj", "ofs_embedding"] if name == "cogvideox1.5-5b-i2v" else [])
    assert ("offset-embedding" in traces[name].stages()) == bool(there)
    assert ("ofs" in traces[name].root.inputs) == bool(there)


def test_offset_embedding_is_a_constant(traces, monkeypatch):
    trace = traces["cogvideox1.5-5b-i2v"]
    T = trace.values["T"]
    assert trace.root.inputs["ofs"].sizes == (1,)
    assert trace.one("ofs_proj").output.sizes == trace.one("ofs_embedding").output.sizes == (1, T)
    assert trace.one("ofs_proj").cost.params.size == 0
    assert trace.one("ofs_embedding").cost.params.size == 2 * (T * T + T)
    monkeypatch.syspath_prepend(str(UPSTREAM))
    from tiny_cogvideox import generate, tiny

    model, given = tiny("1.5-I2V", sample_height=2, sample_width=2), []
    model.register_forward_pre_hook(lambda _, args, kwargs: given.append(kwargs["ofs"]), with_kwargs=True)
    generate(model, B=2, num_frames=9, steps=2)
    assert [value.tolist() for value in given] == [[2.0], [2.0]]
    proj, embedding = told(trace, "offset-embedding", "ofs_proj"), told(trace, "offset-embedding", "ofs_embedding")
    assert "without weights" in proj
    assert "single value for the whole batch, always 2.0" in proj
    assert "one constant vector; it exists in the 1.5 image-to-video models only" in embedding


def test_offset_embedding_is_added_to_the_time_vector(traces):
    trace = traces["cogvideox1.5-5b-i2v"]
    add = next(c for c in trace.root.children if c.kind == "op" and c.name == "add")
    assert [s.sizes for s in add.inputs.values()] == [(2, 512), (1, 512)]
    assert trace.one("transformer_blocks.0").inputs["temb"].sizes == add.output.sizes == (2, 512)
    assert "broadcasts over the batch" in told(trace, "offset-embedding", "time + offset")


def test_num_frames_changes_only_the_number_of_tokens(case, seen):
    """A size differs between two numbers of frames just when F is in its formula; no parameter does."""
    if not case.family.video:
        pytest.skip("an image model has no frames")
    if "F" in case.family.fixed(case.config):
        pytest.skip("its number of frames is fixed")
    frames = case.checkpoint.request.frames
    if "position-embedding" in seen.stages():
        frames += 16  # the published number takes its table ready-made, all others compute one
    some, more = (tracer.trace(case.name, config=few(case.family), frames=n) for n in (frames, frames + 16))
    assert (more.values["F"] == some.values["F"]) == ("F" in case.family.fixed(case.config))
    moved = 0
    for a, b in zip(some.walk(), more.walk(), strict=True):
        assert (a.path, a.name, a.kind) == (b.path, b.name, b.kind)
        assert a.cost.params == b.cost.params
        assert a.weights == b.weights
        for x, y in zip(a.outputs.values(), b.outputs.values(), strict=True):
            for m, n in zip(x.shape, y.shape, strict=True):
                assert (m.size != n.size) == ("F" in m.expression().symbols)
                assert m.expression() == n.expression()
                moved += m.size != n.size
    assert bool(moved) == ("F" not in case.family.fixed(case.config))
    assert some.header.params == more.header.params


@pytest.mark.parametrize("name", COGVIDEOX)
def test_num_frames_is_told_where_tokens_are_made(name, traces):
    told_at = [c for c in traces[name].walk() if c.remark and "num_frames" in c.remark.why]
    assert [c.stage for c in told_at] == ["patch-embed"]
    assert "o number of frames and no frame rate is ever embedded" in told_at[0].remark.why
    assert "S" in told_at[0].remark.shape


@pytest.mark.parametrize("name", COGVIDEOX)
def test_frames_are_denoised_together(name, traces):
    trace = traces[name]
    B, S, L = (trace.values[letter] for letter in "BSL")
    timestep = trace.root.inputs["timestep"]
    assert timestep.sizes == (B,)
    assert str(timestep.shape[0].formula) == "B"
    (attention,) = trace.one("transformer_blocks.0").find(name="scaled_dot_product_attention")
    for spec in attention.inputs.values():
        assert spec.sizes[2] == L + S
        assert S % trace.values["F"] == 0
    assert "attn_mask" not in attention.inputs
    why = told(trace, "time-embedding", "time_embedding")
    assert "one t for each sample, not for each frame" in why
    assert "all frames are denoised together" in why
    assert "over all frames at once" in told(trace, "attention", "attention")


@pytest.mark.parametrize("name", [c.name for c in find("hunyuanvideo")[0].checkpoints])
def test_hunyuanvideo_denoises_frames_together_too(name, traces):
    trace = traces[name]
    assert trace.root.inputs["timestep"].sizes == (trace.values["B"],)
    assert "all frames are denoised together" in told(trace, "time-embedding", "timestep")


def test_letters_of_a_request_are_those_of_the_legend(case, seen):
    values = letters_of(case.family, case.config, make_request(case.checkpoint.request, {}))
    hidden = set() if case.family.video else {"F"}
    assert {k: v for k, v in values.items() if k not in hidden}.items() <= seen.values.items()
