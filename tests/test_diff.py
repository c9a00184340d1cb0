"""Two traces beside each other: nothing is missed, nothing is told twice, and the answer reads like a summary."""

import dataclasses
import json
import re
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracer.calls import Call, Cost, Header, Source, Symbol, Trace
from tracer.diffs.align import align
from tracer.diffs.diff import Change, Fact, diff
from tracer.diffs.facts import facts, verdict
from tracer.diffs.outline import groups, sizes
from tracer.formula import Formula
from tracer.shapes import Dim, TensorSpec
from tracer.views.diff import render_markdown, render_text

PAIRS = {
    "cogvideox-2b-5b": (("cogvideox-2b", {}), ("cogvideox-5b", {})),
    "cogvideox-1.0-1.5": (("cogvideox-5b", {}), ("cogvideox1.5-5b", {})),
    "hunyuanvideo-t2v-i2v": (("hunyuanvideo", {}), ("hunyuanvideo-i2v", {})),
    "cogvideox-5b-33-17": (("cogvideox-5b", {"frames": 33}), ("cogvideox-5b", {"frames": 17})),
}
_made = {}


def pair_of(name, traces):
    """Both sides of a named pair, each traced once."""
    import tracer

    if name not in _made:
        _made[name] = [traces[n] if not request else tracer.trace(n, **request) for n, request in PAIRS[name]]
    return _made[name]


@pytest.fixture(params=PAIRS)
def named(request, traces):
    """Each named pair in turn."""
    return (request.param, *pair_of(request.param, traces))


def no_versions(trace):
    return replace(trace, header=replace(trace.header, versions={}))


# goldens


def test_golden(named, golden):
    name, old, new = named
    golden(f"diff/{name}.txt", render_text(diff(no_versions(old), no_versions(new)), width=100))


@pytest.mark.parametrize("width", [80, 120])
def test_lines_fit(named, width):
    _, old, new = named
    lines = render_text(diff(old, new), width=width).splitlines()
    assert max(map(len, lines)) <= width
    assert not [line for line in lines if line != line.rstrip()]
    assert len(lines) < 140
    assert "\x1b" not in "".join(lines)


def test_what_changed_between_two_sizes_of_one_architecture(traces):
    d = diff(*pair_of("cogvideox-2b-5b", traces))
    told = {s.label: (s.old, s.new) for s in facts(d)}
    assert told["parameters"] == ("1,693,783,872", "5,570,283,072")
    assert told["num_layers"] == ("30", "42")
    assert told["heads h"] == ("30", "48")
    assert told["use_rotary_positional_embeddings"] == ("False", "True")
    assert "num_attention_heads" not in told  # the letter h has told of it
    text = " ".join(verdict(d))
    assert "Stages that are new: rope, rope-tables." in text
    assert "Stages that are gone: position-embedding." in text
    rows = [r for g in groups(d) for r in g.rows]
    assert [r.label for r in rows if r.sign == "+"][:2] == ["turn query", "write into query[L:]"]
    assert any(g.title == "CogVideoXBlock ×30 → ×42" for g in groups(d))


def test_what_changed_between_two_versions_of_one_architecture(traces):
    d = diff(*pair_of("cogvideox-1.0-1.5", traces))
    told = {s.label: (s.old, s.new) for s in facts(d)}
    assert told["patch_size_t"] == ("–", "2")
    assert told["tokens S"] == ("17550 = F·(H/2)·(W/2)", "44880 = (F/2)·(H/2)·(W/2)")
    rows = [r for g in groups(d) if g.stage == "patch-embed" for r in g.rows]
    proj = next(r for r in rows if r.label == "patch_embed.proj Conv2d → Linear")
    assert (proj.sign, proj.old.shapes, proj.new.shapes) == ("~", ("B·F D H/2 W/2",), ("B S D",))
    blocks = [g for g in groups(d) if g.level]
    assert {g.sign for g in blocks} == {"="}  # S says it all


def test_two_requests_differ_in_numbers_only(traces):
    d = diff(*pair_of("cogvideox-5b-33-17", traces))
    assert set(d.counts) == {"same", "numbers"}
    assert {f.name for f in d.facts} == {"frames", "F", "S"}
    assert verdict(d) == [
        "The same 195 calls with the same formulas; 122 of them have other numbers, since F and S differ."
    ]
    found, more = sizes(d)
    one = next(s for s in found if s.formula == "B L+S D")
    assert (one.old, one.new) == ("2 12376 3072", "2 6976 3072")
    assert more > 0


def test_one_stage_shows_every_call(traces):
    d = diff(*pair_of("cogvideox-5b-33-17", traces))
    rows = [r for g in groups(d, "qkv") for r in g.rows]
    inside = sum(1 for p in d.root.walk() if p.stage == "qkv")
    assert sum(r.times for r in rows) == inside > 10
    assert "2 12376 3072 → 2 6976 3072" in render_text(d, "qkv")


# what must hold of any two traces

LETTERS = ("F", "H", "D")
powers = st.dictionaries(st.sampled_from(LETTERS), st.integers(1, 2), max_size=2)
formulas = st.builds(
    lambda c, p: Formula.of({tuple(sorted(p.items())): c}), st.integers(1, 3), powers
)  # fmt: skip


@st.composite
def dims(draw, values):
    if draw(st.booleans()):
        return Dim(draw(st.integers(1, 9)))
    formula = draw(formulas)
    return Dim(formula.evaluate(values), formula)


def specs(values):
    shapes = st.lists(dims(values), max_size=3).map(tuple)
    return st.builds(TensorSpec, shapes, st.sampled_from(["bfloat16", "float32"]))


def summed(call):
    """A call whose costs are its own and its children's."""
    children = tuple(map(summed, call.children))
    total = call.cost
    for child in children:
        total += child.all_cost
    return replace(call, children=children, cost=total)


@st.composite
def all_traces(draw):
    values = {s: draw(st.integers(2, 4)) for s in LETTERS}
    tensors = st.dictionaries(st.sampled_from(["x", "0"]), specs(values), max_size=2)

    def calls(children, path):
        return st.builds(
            Call, st.sampled_from(["module", "function", "op"]), path, st.sampled_from(["A", "B", "C"]),
            inputs=tensors, outputs=tensors,
            attrs=st.dictionaries(st.sampled_from(["p", "q"]), dims(values), max_size=1),
            cost=st.builds(Cost, st.integers(0, 9).map(Dim), st.integers(0, 9).map(Dim)), children=children,
            repeat=st.integers(1, 3), stage=st.sampled_from([None, None, "block", "rope"]),
        )  # fmt: skip

    leaves = calls(st.just(()), st.sampled_from(["a.b", "a.c", "a"]))
    inner = calls(st.lists(leaves, max_size=4).map(tuple), st.sampled_from(["a", "b"]))
    root = replace(draw(calls(st.lists(inner | leaves, max_size=4).map(tuple), st.just(""))), kind="module", repeat=1)
    legend = tuple(Symbol(s, s, v, "") for s, v in values.items())
    config = draw(st.dictionaries(st.sampled_from(["width", "depth"]), st.integers(0, 2)))
    return Trace(Header("M", dtype="bfloat16", legend=legend, config=config), summed(root))


quick = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@quick
@given(all_traces())
def test_a_trace_does_not_differ_from_itself(trace):
    d = diff(trace, Trace.from_json(json.dumps(trace.to_json())))
    assert d.equal
    assert d.facts == ()
    assert set(d.counts) == {"same"}
    assert "No difference" in render_text(d)


@quick
@given(all_traces(), all_traces())
def test_a_diff_and_its_mirror(one, other):
    def told(pair, swap):
        ends = {"removed": "added", "added": "removed"} if swap else {}
        changes = [
            Change(c.part, c.name if c.part != "name" and c.old is not None and c.new is not None else "",
                   *((c.new, c.old) if swap else (c.old, c.new)), follows=c.follows)
            for c in pair.changes
        ]  # fmt: skip
        sides = (pair.new, pair.old) if swap else (pair.old, pair.new)
        return ends.get(pair.status, pair.status), *map(id, sides), Counter(map(repr, changes))

    def facts_of(d, swap):
        return Counter(repr(Fact(f.topic, f.name, *((f.new, f.old) if swap else (f.old, f.new)))) for f in d.facts)

    def pairs(d, swap):
        return sorted((told(p, swap) for p in d.root.walk()), key=lambda t: (t[:3], sorted(t[3].items())))

    there, back = diff(one, other), diff(other, one)
    assert there.equal == back.equal
    assert facts_of(there, swap=False) == facts_of(back, swap=True)
    assert pairs(there, swap=False) == pairs(back, swap=True)
    assert {s.stage: (s.old, s.new) for s in there.stages} == {s.stage: (s.new, s.old) for s in back.stages}


@quick
@given(all_traces(), all_traces())
def test_every_call_is_told_once_and_totals_are_those_of_the_traces(one, other):
    d = diff(one, other)
    for side, trace in (("old", one), ("new", other)):
        calls = []
        for pair in d.root.walk():
            call = getattr(pair, side)
            alone = pair.old is None or pair.new is None
            calls += [] if call is None else call.walk() if alone else [call]
        assert sorted(map(id, calls)) == sorted(map(id, trace.walk()))
        stages = [getattr(s, side) for s in d.stages]
        assert sum((s for s in stages if s), Cost()) == trace.root.cost
    for part in ("flops", "params"):
        told = [getattr(g, part) for g in groups(d)]
        assert tuple(map(sum, zip(*told, strict=True))) == tuple(getattr(t.root.cost, part).size for t in (one, other))
    data = d.to_json()
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert sum(d.counts.values()) == d.counts.get("same", 0) + sum(row.get("calls", 1) for row in data["calls"])
    assert len(data["calls"]) == sum(1 for p in d.root.walk() if p.status != "same")
    render_text(d, width=60)
    render_markdown(d)


# one thing changed in a real trace


def changed_at(trace, n, change):
    """The trace with `change` applied to its n-th call."""
    at = list(trace.walk())[n]
    done = []

    def once(call):
        if call is at and not done:
            done.append(call)
            return change(call)
        return replace(call, children=tuple(x for c in call.children if (x := once(c)) is not None))

    return replace(trace, root=once(trace.root)), at


def differences(d):
    return [p for p in d.root.walk() if p.status != "same"]


places = st.integers(1, 194)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=places, data=st.data())
def test_one_size(traces, n, data):
    def change(call):
        part = data.draw(st.sampled_from([p for p in ("inputs", "outputs", "weights") if getattr(call, p)]))
        tensors = dict(getattr(call, part))
        name = data.draw(st.sampled_from([k for k, v in tensors.items() if v.shape] or [next(iter(tensors))]))
        spec = tensors[name]
        k = data.draw(st.integers(0, max(0, len(spec.shape) - 1)))
        shape = [replace(d, size=d.size + (i == k)) for i, d in enumerate(spec.shape)] or [Dim(1)]
        return replace(call, **{part: tensors | {name: replace(spec, shape=tuple(shape))}})

    trace = traces["cogvideox-5b"]
    other, _ = changed_at(trace, n, change)
    (pair,) = differences(diff(trace, other))
    (found,) = pair.changes
    assert pair.status == "changed"
    assert found.part in ("input", "output", "weight")
    assert sum(a != b for a, b in zip(found.old.sizes, found.new.sizes, strict=False)) <= 1
    assert found.old != found.new


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=places)
def test_one_name(traces, n):
    trace = traces["cogvideox-5b"]
    other, at = changed_at(trace, n, lambda call: replace(call, name="another"))
    (pair,) = differences(diff(trace, other))
    assert pair.changes == (Change("name", "", at.name, "another"),)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=places)
def test_one_call_less_or_more(traces, n):
    trace = traces["cogvideox-5b"]
    other, at = changed_at(trace, n, lambda call: None)
    (gone,) = differences(diff(trace, other))
    assert (gone.status, gone.old, gone.new) == ("removed", at, None)
    (come,) = differences(diff(other, trace))
    assert (come.status, come.old, come.new) == ("added", None, at)
    assert diff(trace, other).counts["removed"] == len(list(at.walk()))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(n=places)
def test_one_repeat(traces, n):
    trace = traces["cogvideox-5b"]
    other, at = changed_at(trace, n, lambda call: replace(call, repeat=call.repeat + 1))
    (pair,) = differences(diff(trace, other))
    assert pair.changes == (Change("repeat", "", at.times, replace(at.times, size=at.repeat + 1)),)


@pytest.mark.parametrize(
    ("part", "name"), [("dtype", "dtype"), ("params", "params"), ("model", "model"), ("warnings", "warnings")]
)
def test_one_part_of_the_head(traces, part, name):
    trace = traces["cogvideox-5b"]
    value = {"params": 1, "warnings": ("a new one",)}.get(part, "another")
    d = diff(trace, replace(trace, header=replace(trace.header, **{part: value})))
    assert [f.name for f in d.facts] == [name]
    assert not d.equal
    assert ("a new one" if part == "warnings" else str(value)) in render_text(d)


def test_one_config_field_is_told_once(traces):
    trace = traces["cogvideox-5b"]
    config = {**trace.header.config, "norm_eps": 1.0, "_name_or_path": "elsewhere"}
    d = diff(trace, replace(trace, header=replace(trace.header, config=config)))
    assert d.facts == (Fact("config", "norm_eps", 1e-05, 1.0),)


# robustness of the alignment


def test_renamed_blocks_are_the_same_blocks(traces):
    trace = traces["cogvideox-5b"]
    other = trace.map(lambda c: replace(c, path=re.sub("^transformer_blocks", "layers", c.path)))
    (pair,) = differences(diff(trace, other))
    assert pair.changes == (Change("path", "", "transformer_blocks.0", "layers.0"),)


def test_other_numbers_of_blocks_are_the_same_blocks(traces):
    d = diff(traces["wan2.1-t2v-1.3b"], traces["wan2.1-t2v-14b"])
    assert set(d.counts) == {"same", "numbers"}
    block = next(p for p in d.root.walk() if p.old.stage == "block")
    assert next(c for c in block.changes if c.part == "repeat").follows
    assert (block.old.repeat, block.new.repeat) == (30, 40)


def test_a_formula_that_does_not_explain_its_number_is_no_excuse():
    letter = (Symbol("D", "hidden", 4, ""),), (Symbol("D", "hidden", 8, ""),)

    def trace(legend, size):
        out = {"x": TensorSpec((Dim(size, Formula.symbol("D")),), "float32")}
        return Trace(Header("M", legend=legend), Call("module", "", "M", outputs=out))

    assert diff(trace(letter[0], 4), trace(letter[1], 8)).counts == {"numbers": 1}
    assert diff(trace(letter[0], 4), trace(letter[1], 9)).counts == {"changed": 1}


def test_versions_and_places_are_no_difference(traces):
    trace = traces["cogvideox-5b"]
    newer = trace.map(lambda c: replace(c, source=c.source and replace(c.source, line=c.source.line + 7)))
    versions = {**trace.header.versions, "diffusers": "9.0"}
    d = diff(trace, replace(newer, header=replace(newer.header, versions=versions)))
    assert d.equal
    head = render_text(d).splitlines()
    assert head[0] == f"cogvideox-5b · diffusers {trace.header.versions['diffusers']} → diffusers 9.0"
    assert f"{d.moved} calls at other places of the source" in head[2]
    assert d.moved > 100
    assert "No difference" in head[4]
    assert d.to_json()["versions"] == {"diffusers": [trace.header.versions["diffusers"], "9.0"]}


def test_a_module_that_moved_is_one_change(traces):
    d = diff(*pair_of("cogvideox-1.0-1.5", traces))
    (pair,) = [p for p in d.root.walk() if p.old and p.old.path == "patch_embed.proj" and p.old.kind == "module"]
    assert pair.new.name == "Linear"
    assert Change("name", "", "Conv2d", "Linear") in pair.changes


def test_a_module_never_moves_to_where_a_function_was():
    def call(kind, path, name, children=()):
        zero = Cost(Dim(0), Dim(0))
        return Call(kind, path, name, inputs={}, outputs={}, attrs={}, cost=zero, children=children)

    def told(name, *children):
        return Trace(Header("M", dtype="bfloat16"), call("module", "", name, children))

    one = told("A", call("module", "a", "A"), call("module", "b", "A"), call("module", "a", "A"))
    other = told(
        "A", call("module", "a.b", "A"), call("module", "a", "B"), call("module", "b", "C"), call("function", "b", "A")
    )  # fmt: skip
    for old, new in ((one, other), (other, one)):
        assert all(p.old is None or p.new is None or p.old.kind == p.new.kind for p in diff(old, new).root.walk())


words = st.lists(st.sampled_from("abcd"), max_size=7)


@given(words, words)
def test_alignment_is_the_best_one(old, new):
    def longest(a, b):
        if not a or not b:
            return 0
        return max(longest(a[1:], b), longest(a, b[1:]), (a[0] == b[0]) + longest(a[1:], b[1:]))

    pairs = align(old, new, lambda x, y: int(x == y), str)
    assert [x for x, _ in pairs if x is not None] == old
    assert [y for _, y in pairs if y is not None] == new
    assert sum(x == y for x, y in pairs) == longest(old, new)
    assert all(x == y for x, y in pairs if x is not None and y is not None)


def test_long_sequences_are_aligned_by_equal_keys(monkeypatch):
    monkeypatch.setattr("tracer.diffs.align.LARGEST", 10)
    old, new = [*range(50)], [*range(10), 99, *range(12, 50)]
    pairs = align(old, new, lambda x, y: int(x == y), lambda x: x)
    assert [p for p in pairs if p[0] != p[1]] == [(10, None), (11, None), (None, 99)]


# showing


def test_a_trace_compares_itself(traces):
    d = traces["cogvideox-2b"].diff(traces["cogvideox-5b"])
    assert not d.equal
    assert str(d) == render_text(d)


def test_markdown(named):
    _, old, new = named
    text = render_markdown(diff(old, new))
    head, *_ = text.splitlines()
    assert head.startswith("## ")
    assert "| parameters |" in text or "| FLOPs |" in text
    assert text.count("```") == 2
    assert "\n```diff\n" in text


HOSTILE = "\x1b[31m<img onerror=x>[b]red[/b]```\n| a\u202eb\x07" + "x" * 1000


def test_hostile_names_are_inert(traces):
    trace = traces["cogvideox-5b"]
    bad = trace.map(lambda c: replace(c, name=HOSTILE + c.name, stage=c.stage and HOSTILE, path=HOSTILE + c.path,
                                      attrs={HOSTILE: HOSTILE},
                                      outputs={HOSTILE: TensorSpec((Dim(3),), HOSTILE)}))  # fmt: skip
    header = Header(**{f.name: getattr(trace.header, f.name) for f in dataclasses.fields(Header)})
    header = replace(header, model=HOSTILE, checkpoint=HOSTILE, versions={HOSTILE: HOSTILE}, warnings=(HOSTILE,),
                     config={HOSTILE: HOSTILE}, dtype=HOSTILE,
                     legend=(Symbol(HOSTILE, HOSTILE, 1, HOSTILE),))  # fmt: skip
    for pair in ((trace, replace(bad, header=header)), (replace(bad, header=header), trace)):
        d = diff(*pair)
        for text in (render_text(d), render_text(d, width=80), render_markdown(d)):
            assert not {c for c in text if not c.isprintable() and c != "\n"}
            assert len(text) < 200_000
        markdown = render_markdown(d)
        fence = re.search("^(`{3,})diff$", markdown, re.M)[1]
        before, _, rest = markdown.partition(f"\n{fence}diff\n")
        inside, _, after = rest.partition(f"\n{fence}\n")
        assert fence not in inside
        assert not re.search(r"(?<!\\)<img", before + after)
        assert json.dumps(d.to_json()).isascii()


def test_a_difference_without_formulas_is_shown():
    def trace(size):
        leaf = Call("op", "a", "cat", outputs={"x": TensorSpec((Dim(size),), "float32")}, source=Source("f", 1, "g"))
        return Trace(Header("M"), Call("module", "", "M", children=(leaf,)))

    d = diff(trace(3), trace(5))
    assert not d.equal
    assert re.search(r"3 +→ 5", render_text(d))
