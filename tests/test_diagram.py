"""The flow of the stages: true to the tensors that were handed on, drawn without overlaps, and inert."""

import itertools
import re
from xml.etree import ElementTree

import pytest
from handing import Log, compared
from hostile import hostile
from test_markdown import timeless
from test_svg import SVG, self_contained
from tiny_models import tiny

import tracer
from tracer import api
from tracer.calls import Call, Header, Trace
from tracer.diagrams.diagram import flow
from tracer.diagrams.layered import Spot, place, tie
from tracer.views.diagram_mermaid import render_mermaid
from tracer.views.diagram_svg import render_diagram

pytestmark = pytest.mark.filterwarnings("ignore:In CPU autocast")


def boxes(seen, label=None, group=None):
    return [
        n for n in seen.nodes if label in (None, n.label) and (group is None or (n.group and n.group.label == group))
    ]


def arrows(seen, group=None):
    """(from, to, formulas) of all arrows, or of those inside one group."""
    return [
        (e.source.label, e.target.label, e.shapes)
        for e in seen.edges
        if group is None or all(n.group is not None and n.group.label == group for n in (e.source, e.target))
    ]


# true to the run


def test_tensors_come_from_where_they_were_made(case, monkeypatch):
    """Against the identities of the tensors in a run: hardly an input is said to come from another stage."""
    config, values = tiny(case.family, case.checkpoint)
    log = Log(monkeypatch)
    with log:
        seen = api.run(case.family, config, values, "float32", device="meta")
    seen = api.annotated(seen, case.family, config)
    assert {"attention", "patch-embed"} <= set(seen.stages())
    lines = compared(seen, log)
    wrong = [line for line in lines if line[1] not in line[2]]
    assert len(lines) > 200
    assert len(wrong) <= 0.15 * len(lines)
    crossed = [(c.path, c.name, str(c.source), said, true) for c, said, true in wrong if said[0] not in dict(true)]
    # LTX turns queries and keys in one function and hands the tables on as a tuple: names alone mix them up
    tolerated = 0.09 if case.family.name == "ltx" else 0.02
    assert len(crossed) <= tolerated * len(lines), crossed


def test_two_streams_join_at_attention_and_become_one(traces):
    seen = flow(traces["hunyuanvideo"])
    dual, single = seen.groups
    assert (dual.title, single.title) == ("dual-stream block ×20", "single-stream block ×40")
    inside = arrows(seen, "dual-stream block")
    video, text = ("B S D",), ("B L D",)
    assert ("hidden_states", "modulation", video) in inside
    assert ("encoder_hidden_states", "modulation", text) in inside
    assert inside.count(("modulation", "qkv", video)) == inside.count(("modulation", "qkv", text)) == 1
    assert ("split", "attention", video) in inside
    assert ("split", "attention", text) in inside
    into = [(e.source.label, e.shapes) for e in seen.edges if e.target is boxes(seen, "concat", dual.label)[0]]
    assert sorted(into) == [
        ("qk-norm", ("B L h d ×2",)), ("qkv", ("B L h d",)), ("qkv", ("B S h d",)), ("rope", ("B S h d ×2",)),
    ]  # fmt: skip
    assert ("concat", "attention", ("B h L+S d ×3",)) in inside
    first = boxes(seen, "concat", single.label)[0]
    assert {e.source.label for e in seen.edges if e.target is first} == {"hidden_states", "encoder_hidden_states"}
    assert [e.shapes for e in seen.edges if e.source is first] == [("B L+S D",)]
    across = [(e.source.label, e.target.label, e.shapes) for e in seen.edges
              if e.source.group is dual and e.target.group is single]  # fmt: skip
    assert across == [("gate", "hidden_states", ("B S D",)), ("gate", "encoder_hidden_states", ("B L D",))]


def test_residuals_pass_the_boxes_between(traces):
    seen = flow(traces["cogvideox-5b"])
    past = [(e.source.label, e.target.label, e.shapes) for e in seen.edges if e.skips]
    assert past.count(("gate", "gate", ("B S D",))) == past.count(("gate", "gate", ("B L D",))) == 1
    assert ("hidden_states", "gate", ("B S D",)) in past
    assert not any(e.skips for e in seen.edges if e.target.label == "output")


def test_what_a_block_is_given_is_named_where_it_is_used(traces):
    seen = flow(traces["hunyuanvideo"])
    assert all(box.aside == ["freqs_cis"] for box in boxes(seen, "rope", "dual-stream block"))
    assert boxes(seen, "attention", "dual-stream block")[0].aside == ["attention_mask"]
    (last,) = boxes(seen, "norm-out")
    assert [(e.source.label, e.shapes) for e in last.far] == [("time-embedding", ("B D",))]


def test_blocks_in_turn_are_drawn_once(traces):
    seen = flow(traces["latte-1"])
    assert [g.times for g in seen.groups] == [28, 28]
    assert seen.groups[0].title.endswith("BasicTransformerBlock ×28, in turn")


def test_every_flow_is_one(case, seen):
    drawn = flow(seen)
    order = {node: i for i, node in enumerate(drawn.nodes)}
    assert all(order[e.source] < order[e.target] for e in drawn.edges)
    (output,) = boxes(drawn, "output")
    assert [e.shapes for e in drawn.edges if e.target is output] != []
    reached, todo = set(), [boxes(drawn, "hidden_states")[0]]
    while todo:
        here = todo.pop()
        reached.add(here)
        todo += [e.target for e in drawn.edges if e.source is here]  # from the latents to the result
    assert output in reached
    assert 0.99 < sum(n.flops for n in drawn.nodes) / seen.root.cost.flops.size <= 1
    assert len(drawn.nodes) < 90
    stages = {n.label for n in drawn.nodes if n.kind == "stage"}
    assert {"attention", "feed-forward", "patch-embed", "unpatchify"} <= stages <= set(seen.stages())


def test_pipelines_go_from_prompt_to_video(pipeline):
    seen = flow(pipeline)
    (loop,) = seen.groups
    assert loop.title == "denoising step ×2"
    names = [n.label.split()[0] for n in seen.nodes]
    assert names.index("text_encoder") < names.index("transformer") < names.index("scheduler.step")
    assert names.index("scheduler.step") < names.index("vae.decode") < names.index("output")
    said = {(a.split()[0], b.split()[0]) for a, b, _ in arrows(seen)}
    assert {("text_encoder", "transformer"), ("scheduler.step", "vae.decode"), ("latents", "scheduler.step")} <= said


def test_a_model_of_ones_own_has_its_parts():
    from torch import nn, zeros

    model = nn.Sequential(nn.Linear(4, 8), nn.GELU(), nn.Linear(8, 2))
    with tracer.record(model) as recording:
        model(zeros(3, 4))
    seen = flow(recording.trace)
    assert [n.label for n in seen.nodes] == ["input", "0 Linear", "1 GELU", "2 Linear", "output"]
    assert [e.sizes for e in seen.edges] == [("3 4",), ("3 8",), ("3 8",), ("3 2",)]


def test_nothing_to_draw():
    seen = flow(Trace(Header("M"), Call("module", "", "M")))
    assert seen.nodes == seen.edges == ()
    self_contained(render_diagram(seen))
    assert "flowchart TD" in render_mermaid(seen)


# drawn


def rectangles(root):
    return [tuple(float(r.attrib[k]) for k in ("x", "y", "width", "height")) for r in root.iter(f"{SVG}rect")
            if r.attrib.get("class") in ("box", "pill")]  # fmt: skip


def test_boxes_and_labels_do_not_overlap(seen):
    text = render_diagram(flow(seen))
    root = self_contained(text)
    wide, high = float(root.attrib["width"]), float(root.attrib["height"])
    taken = rectangles(root)
    labels = [t for t in root.iter(f"{SVG}text") if t.attrib.get("text-anchor") and t.attrib["class"] == "formula"]
    for label in labels:
        half = len("".join(label.itertext())) * 6.65 / 2
        taken.append((float(label.attrib["x"]) - half, float(label.attrib["y"]) - 10, 2 * half, 12))
    for a, b in itertools.combinations(taken, 2):
        apart = a[0] + a[2] <= b[0] or b[0] + b[2] <= a[0] or a[1] + a[3] <= b[1] or b[1] + b[3] <= a[1]
        assert apart, (a, b)
    for x, y, w, h in taken:
        assert x >= 0
        assert y >= 0
        assert x + w <= wide
        assert y + h <= high
    assert len(text) < 90_000


def test_drawn_shapes_are_those_of_the_flow(traces):
    seen = flow(traces["cogvideox-5b"])
    words = "\n".join("".join(t.itertext()) for t in ElementTree.fromstring(render_diagram(seen)).iter(f"{SVG}text"))
    mermaid = render_mermaid(seen)
    for edge in seen.edges:
        if not edge.skips:
            assert all(text in words for text in (*edge.shapes, *([] if edge.far else edge.sizes)))
        assert "<br/>".join([" | ".join(edge.shapes), " | ".join(edge.sizes)]) in mermaid
    assert "17550" not in render_diagram(seen, numbers=False).replace("= 17550", "")
    assert "B S D" not in render_mermaid(seen, formulas=False)


@pytest.mark.parametrize("name", ["cogvideox-5b", "hunyuanvideo"])
def test_golden(name, traces, golden):
    golden(f"views/{name}.mmd", render_mermaid(flow(timeless(traces[name]))))


@pytest.mark.parametrize("stages", [True, False])
def test_hostile_names_are_text(stages):
    seen = flow(hostile(stages))
    assert len(seen.nodes) > 20
    text = render_diagram(seen)
    self_contained(text)
    assert len(text) < 200_000
    head, *lines = render_mermaid(seen).splitlines()[1:]
    assert head.startswith('title: "')
    box = r'n\d+(\[|\(\[)"[\w #;.,:+\-/()·×=…|\'*<>]*"(\]|\]\))'
    arrow = r'n\d+ (-->|-\.->)\|"[\w #;.,:+\-/()·×=…|\'*<>]*"\| n\d+'
    for line in lines[2:]:
        assert re.fullmatch(rf"\s*({box}|{arrow})", line), line
        assert not re.search(r"<(?!br/>)|(?<!br/)>(?!\|)", line.replace("-->", "").replace("-.->", ""))


def test_layout_keeps_rows_apart():
    upper, lower = [Spot(0, 100.0) for _ in range(3)], [Spot(1, 40.0) for _ in range(3)]
    for a, b in zip(upper, reversed(lower), strict=True):
        tie(a, b)
    rows = place([*upper, *lower], gap=10.0)
    for row in rows:
        for left, right in itertools.pairwise(row):
            assert right.x - left.x >= (left.width + right.width) / 2 + 10 - 1e-6
    assert [spot.below[0] for spot in rows[0]] == rows[1]  # uncrossed
    assert all(abs(spot.x - spot.below[0].x) < 1 for spot in rows[0])
