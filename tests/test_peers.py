"""The comparison with other tools: its questions, its arithmetic, its file, and the page made from it."""

import copy
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.peers import reading
from benchmarks.peers.criteria import ANSWERS, QUESTIONS, judge
from benchmarks.peers.reading import Output, has, symbols_of, value
from benchmarks.peers.subjects import FULL, TINY, attention_lines, facts_of, opened
from benchmarks.peers.tools import OURS, TOOLS, _ours_given
from tracer.build import full_config

SITE_CODE = Path(__file__).parents[1] / "walkthroughs" / "_site"
if str(SITE_CODE) not in sys.path:
    sys.path.insert(0, str(SITE_CODE))

from generated import peers  # noqa: E402

INPUTS = {"hidden_states": (2, 13, 16, 60, 90), "encoder_hidden_states": (2, 226, 4096), "timestep": (2,)}


def facts(lines=("attention_processor.py:2329",)):
    from dataclasses import replace

    config = full_config("CogVideoXTransformer3DModel", {"num_attention_heads": 48, "num_layers": 42})
    found = facts_of("cogvideox", config, {name: SimpleNamespace(shape=shape) for name, shape in INPUTS.items()})
    return replace(found, lines=lines)


def box(name, given, made):
    cells = (
        f"<TR><TD>{name}<BR/>depth:1</TD><TD>input:</TD><TD>{given} </TD></TR><TR><TD>output: </TD><TD>{made}</TD></TR>"
    )
    return f"digraph model {{\n\t5 [label=<\n <TABLE>{cells}</TABLE>> fillcolor=white]\n}}"


def tree(row):
    legend = "text tokens L 226 · tokens S = F·(H/2)·(W/2) = 17550 · heads h 48 · head dim d 64 · batch B 2"
    return f"{legend}\n├─ start\n└─ {row}"


TABLE = "Layer       Input Shape          Output Shape          Param #\n"
OPEN = 'sym_size_int_1: "Sym(s31)" = torch.ops.aten.sym_size.int(encoder_hidden_states, 1)\n'
OPEN += 'sym_size_int_2: "Sym(s87)" = torch.ops.aten.sym_size.int(hidden_states, 1)\n'
OPEN += 'sym_size_int_3: "Sym(s20)" = torch.ops.aten.sym_size.int(hidden_states, 3)\n'
OPEN += 'sym_size_int_4: "Sym(s66)" = torch.ops.aten.sym_size.int(hidden_states, 4)\n'
JOINED = "s31 + s87*((s20//2))*((s66//2))"
SDPA = '# File: /x/attention_processor.py:{line} in forward, code: x\nsdp: "bf16[2, 48, 17776, 64]" = '
SDPA += "torch.ops.aten.scaled_dot_product_attention.default(q, k, v)"
PROSE = "Every token looks at every token of the video and the text at once{}. "

CASES = [
    ("concat", "yes", box("cat", "(2, 226, 3072), (2, 17550, 3072)", "(2, 17776, 3072)")),
    ("concat", "yes", 'a: "f32[2, 226, 3072]" = t(x)\nb: "f32[2, 17550, 3072]" = t(y)\n'
                      'cat_2: "f32[2, 17776, 3072]" = torch.ops.aten.cat.default([a, b], 1);  a = b = None'),
    ("concat", "yes", OPEN + 'a: "f32[2, s31, 3072]" = t(x)\nb: "f32[2, s87*((s20//2))*((s66//2)), 3072]" = t(y)\n'
                      f'cat: "f32[2, {JOINED}, 3072]" = torch.ops.aten.cat.default([a, b], 1)'),
    ("concat", "partly", "  #32  cat_3_27:1   [2,17776,3072] bf16   @patch_embed"),
    ("concat", "no", TABLE + "Linear      [2, 17776, 3072]     [2, 17776, 3072]      9"),
    ("concat", "no", box("cat", "(2, 1536), (2, 1536)", "(2, 3072)")),
    ("head split", "yes", "#61  transpose_2_60:1   [2,48,17776,64] bf16  @attn1"),
    ("head split", "partly", TABLE + "LayerNorm   [2, 48, 17776, 64]   [2, 48, 17776, 64]    128"),
    ("head split", "no", "transpose [2, 17776, 3072]"),
    ("rope", "yes", tree("query[:, :, L:]    B h S d    2 48 17550 64   attention_processor.py:2325")),
    ("rope", "yes", 's: "bf16[2, 48, 17550, 64]" = torch.ops.aten.slice.Tensor(q, 2, 226, 9223372036854775807)'),
    ("rope", "yes",
     OPEN + 'neg_2: "Sym(-s31)" = -x\ns: "f32[2, 48, s87*((s20//2))*((s66//2)), 64]" = slice(q, 2, 226, x)'),
    ("rope", "partly", box("__getitem__", "(2, 48, 17776, 64)", "(2, 48, 17550, 64)")),
    ("rope", "no", "slice_1 (2, 3072)"),
    ("rope", "no", TABLE + "LayerNorm   [2, 48, 17550, 64]   [2, 48, 17550, 64]    128"),
    ("attention", "yes", SDPA.format(line=607)),
    ("attention", "yes", "#102  scaleddotproductattention_1_101:1   [2,48,17776,64] bf16"),
    ("attention", "wrong", "aten._safe_softmax.default (2, 48, 17776, 17776)"),
    ("attention", "no", TABLE + "Attention   --                   [2, 17550, 3072]      --"),
    ("both outputs", "yes", box("CogVideoXBlock", "(2, 1)", "(2, 17550, 3072), (2, 226, 3072)")),
    ("both outputs", "wrong", TABLE + "CogVideoXBlock   --             [2, 17550, 3072]      --"),
    ("both outputs", "wrong", "0..41 (CogVideoXBlock x42)  (2, 226, 3072)  5.55G"),
    ("both outputs", "wrong", box("CogVideoXBlock", "(2, 17550, 3072), (2, 226, 3072)", "(2, 226, 3072)")),
    ("both outputs", "no", "CogVideoXBlock"),
    ("both outputs", "no", "norm1 (2, 17550, 3072) (2, 226, 3072)"),
    ("block inputs", "yes", "CogVideoXBlock {hidden_states: Tensor(shape=(2, 17550, 3072)), encoder_hidden_states: "
                              "Tensor(shape=(2, 226, 3072))} -> [[2, 17550, 3072]]"),
    ("block inputs", "partly", box("CogVideoXBlock", "(2, 17550, 3072), (2, 226, 3072)", "(2, 226, 3072)")),
    ("block inputs", "partly", 'def forward(self, hidden_states: "f32[2]", encoder_hidden_states: "f32[2]"):'),
    ("block inputs", "partly", TABLE + "CogVideoXBlock   [2, 17550, 3072]   [2, 17550, 3072]      --"),
    ("block inputs", "no", TABLE + "CogVideoXBlock   --             [2, 17550, 3072]      --"),
    ("unpatchify", "yes", "reshape (2, 13, 30, 45, 16, 2, 2)\nflatten (2, 13, 16, 60, 90)"),
    ("unpatchify", "partly", "flatten (2, 13, 16, 60, 90)"),
    ("unpatchify", "no", "reshape (2, 13, 30, 45, 64)"),
    ("named dimensions", "yes", tree("scaled_dot_product_attention   B h L+S d    2 48 17776 64")),
    ("named dimensions", "partly", OPEN + f'cat: "f32[2, {JOINED}, 3072]" = torch.ops.aten.cat.default([a, b], 1)'),
    ("named dimensions", "no", SDPA.format(line=607)),
    ("named dimensions", "no", 'cat: "f32[2, 17776, 3072]" = torch.ops.aten.cat.default([to, to_2, to_4], 1)'),
    ("formulas", "yes", tree("scaled_dot_product_attention   B h L+S d    2 48 17776 64")),
    ("formulas", "yes", OPEN + f'cat: "f32[2, {JOINED}, 3072]" = torch.ops.aten.cat.default([a, b], 1)'),
    ("formulas", "wrong", OPEN + 'cat: "f32[2, s31 + s87, 3072]" = torch.ops.aten.cat.default([a, b], 1)'),
    ("formulas", "yes",
     OPEN + f'cat: "f32[2, s31 + 1, 3072]" = cat([a, b], 1)\ncat_1: "f32[2, {JOINED}, 3072]" = cat(c)'),
    ("formulas", "no", SDPA.format(line=607)),
    ("source line", "yes", SDPA.format(line=2329)),
    ("source line", "yes",
     tree("q   attention_processor.py:2325\n└─ scaled_dot_product_attention  2 48 17776 64  :2329")),
    ("source line", "wrong", SDPA.format(line=607)),
    ("source line", "no", "scaled_dot_product_attention [2, 48, 17776, 64]"),
    ("folding", "yes", "0..41 (CogVideoXBlock x42)"),
    ("folding", "yes", "CogVideoXBlock ×42"),
    ("folding", "no", "CogVideoXBlock (0)\nCogVideoXBlock (1)  x420"),
    ("explanation", "yes", " ".join(PROSE.format(" " + word) for word in ("a", "b", "c", "d", "e"))),
    ("explanation", "no", PROSE.format("") + "Graph 4877 ops, 38 rows shown."),
    ("config fields", "yes", "num_attention_heads = 48 · attention_head_dim = 64"),
    ("config fields", "no", "num_attention_heads = 480 · attention_head_dim"),
]  # fmt: skip


@pytest.mark.parametrize(("question", "answer", "text"), CASES)
def test_questions(question, answer, text):
    found = QUESTIONS[question][1](Output("it", text, symbols_of(text, INPUTS)), facts())
    assert found.answer == answer, found


def test_every_question_has_a_hit_and_a_miss():
    for question in QUESTIONS:
        answers = {answer for name, answer, _ in CASES if name == question}
        assert {"yes", "no"} <= answers <= set(ANSWERS), question


def test_the_best_output_speaks_for_a_tool():
    no, partly = Output("a", "nothing"), Output("b", "cat_1 [2,17776,3072]")
    assert judge([no, partly], facts())["concat"]["output"] == "b"
    assert judge([no], facts())["concat"]["answer"] == "no"


def test_a_shape_is_not_found_in_a_longer_one():
    assert has("(2, 226, 3072)", (2, 226, 3072))
    assert has("x [2,226,3072] bf16", (2, 226, 3072))
    assert has("B L D  2 226 3072   4.2 %", (2, 226, 3072))
    for text in ("(12, 226, 3072)", "(2, 226, 30720)", "(5, 2, 226, 3072)", "2 226 3072 7", "(2, 226)"):
        assert not has(text, (2, 226, 3072)), text


def test_formulas_come_to_numbers():
    assert value("F·(H/2)·(W/2)", {"F": 13, "H": 60, "W": 90}) == 17550
    assert value("s31 + s87*((s20//2))", {"s31": 1, "s87": 2, "s20": 7}) == 7
    assert value("L+S", {"L": 1}) is None
    assert value("-s31", {"s31": 226}) == -226
    assert symbols_of(OPEN + 'neg_2: "Sym(-s31)" = -x', INPUTS)["neg_2"] == -226
    assert value("torch.ops", {"torch": 1, "ops": 2}) is None
    assert reading.evaluated('"f32[s1, 4, s2]" [s1]', {"s1": 3}) == '"f32[s1, 4, s2]" [3]'


@pytest.mark.parametrize("name", FULL)
def test_the_arithmetic_is_that_of_our_trace(name, traces):
    trace = traces[name]
    with opened(name) as subject:
        found = subject.facts
    assert found.flops == trace.root.cost.flops.size
    assert found.symbols.items() <= trace.values.items()
    shapes = {tuple(spec.sizes) for call in trace.walk() for spec in call.outputs.values()}
    wanted = {found.heads, found.attention, found.turned, found.grid, found.latents, *found.streams}
    assert wanted | {joined for *_, joined in found.joins} <= shapes


def test_who_calls_attention_is_seen_in_a_run():
    import torch

    with opened(TINY) as subject, attention_lines() as lines:
        real = subject.model(**subject.inputs)[0]
        assert torch.nn.functional.scaled_dot_product_attention.__name__ == "scaled_dot_product_attention"
    assert len(lines) == 1
    assert torch.equal(real, subject.model(**subject.inputs)[0])
    assert torch.nn.functional.scaled_dot_product_attention is not None


@pytest.fixture(scope="module")
def data():
    return json.loads(peers.DATA.read_text(encoding="utf-8"))


def test_the_file_has_every_answer_of_every_tool(data):
    results = {(entry["tool"], entry["model"]): entry for entry in data["results"]}
    assert list(results) == [(tool, model) for tool in TOOLS for model in (*FULL, TINY)]
    assert list(data["questions"]) == list(QUESTIONS)
    for (tool, model), entry in results.items():
        if not entry["ran"]:
            assert entry["error"], (tool, model)
            assert entry["says"].endswith("."), (tool, model)
        elif model != TINY:
            assert list(entry["shows"]) == list(QUESTIONS), (tool, model)
            assert {found["answer"] for found in entry["shows"].values()} <= set(ANSWERS)
    text = peers.DATA.read_text(encoding="utf-8")
    assert not re.search(r"/(?:tmp|home|root|work|usr)/|https?://|code: ", text)
    pins = dict(re.findall(r"^([\w-]+)==(\S+)$", (SITE_CODE.parents[1] / "constraints.txt").read_text(), re.MULTILINE))
    for name in ("torch", "diffusers", "torchinfo", "torchlens", "torchview"):
        assert data["versions"][name] == pins[name]


@pytest.mark.parametrize("name", FULL)
def test_our_own_answers_are_those_of_the_same_questions(name, data, traces):
    from tracer.views.tree import render_text

    entry = next(e for e in data["results"] if (e["tool"], e["model"]) == (OURS, name))
    with opened(name) as subject, attention_lines() as lines:
        subject.model(**subject.inputs)
    given = _ours_given((traces[name], render_text(traces[name])))
    outputs = [Output(label, text, symbols_of(text, INPUTS)) for label, text in given.outputs.items()]
    from dataclasses import replace

    found = judge(outputs, replace(subject.facts, lines=tuple(sorted(lines))))
    assert {k: v["answer"] for k, v in found.items()} == {k: v["answer"] for k, v in entry["shows"].items()}
    assert given.flops == entry["flops"] == data["models"][name]["flops by hand"]
    assert given.params == entry["parameters"]


def cells(page, heading):
    """The rows of the first table below a heading."""
    part = page.split(f"## {heading}\n")[1]
    lines = [line for line in part.split("\n## ")[0].splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if not line.startswith("| ---")]


def test_the_page_says_what_the_file_says(data):
    page = peers.page(data)
    results = {(entry["tool"], entry["model"]): entry for entry in data["results"]}
    head, *rows = cells(page, "What each output shows")
    assert head[1:] == [tool for tool in TOOLS if tool != peers.REFUSES]
    for (key, question), row in zip(data["questions"].items(), rows, strict=True):
        assert row[0] == question["title"]
        for tool, cell in zip(head[1:], row[1:], strict=True):
            answers = [results[tool, m]["shows"][key]["answer"] for m in FULL if results[tool, m]["ran"]]
            assert cell.split(" / ") == list(dict.fromkeys(answers))
    for row in cells(page, "What it costs")[1:]:
        for i, model in enumerate(FULL):
            entry = results[row[0], model]
            assert row[2 + 2 * i] == (f"{entry['ratio']:.1f}×" if entry["ran"] else "did not run")
    for row in cells(page, "Parameters and FLOPs")[2:]:
        for i, model in enumerate(FULL):
            entry = results[row[0], model]
            if entry["ran"] and entry["parameters"]:
                assert row[1 + 2 * i].replace(",", "") == str(entry["parameters"])
    assert data["date"] in page
    assert all(f"{name} {version}" in page for name, version in data["versions"].items())


def test_a_changed_file_changes_the_page(data):
    other = copy.deepcopy(data)
    entry = next(e for e in other["results"] if e["tool"] == "torchinfo")
    entry["ratio"], entry["shows"]["folding"]["answer"], entry["flops"] = 123.4, "wrong", entry["flops by hand"]
    before, after = peers.page(data), peers.page(other)
    assert "123.4×" in after
    assert "123.4×" not in before
    assert after.count("exactly") == before.count("exactly") + 1
    assert "wrong / no" in after


def test_the_words_of_the_page_hold(data):
    """Each sentence of ADVICE that says something about an output, against the file."""
    results = {(entry["tool"], entry["model"]): entry for entry in data["results"]}

    def answers(tool, question):
        return {results[tool, m]["shows"][question]["answer"] for m in FULL if results[tool, m]["ran"]}

    def far(tool):
        return max(results[tool, m]["flops by hand"] / results[tool, m]["flops"] for m in FULL)

    assert answers("torchinfo", "attention") == {"no"}
    assert far("torchinfo") > 1000
    assert all(results["torchinfo", m]["parameters"] == results[OURS, m]["parameters"] for m in FULL)
    assert answers("torchlens", "folding") == answers(OURS, "folding") == {"yes"}
    assert "yes" in answers("torchview", "both outputs")
    assert answers("torchview", "folding") == {"no"}
    assert max(results["torchview", FULL[0]]["lines"].values()) > 10000
    assert answers("torch.export", "both outputs") == {"no"}
    assert answers("torch.export, Dim.AUTO", "formulas") == {"yes"}
    assert answers("torch.export, Dim.AUTO", "named dimensions") == {"partly"}
    assert {results[peers.REFUSES, m]["ran"] for m in FULL} == {False}
    tried = {what: done for e in data["results"] for what, done in e.get("also", {}).items()}
    assert len(tried) == sum(len(tool.extras) for tool in TOOLS.values())
    assert set(tried.values()) == {True}
    for url in re.findall(r"https?://[^)]+", peers.page(data)):
        assert url.startswith("https://github.com/")
