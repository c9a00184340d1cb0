"""Traces as JSON: both ways, by the published schema, and what is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tracer
from tracer.calls import Call, Cost, Header, Remark, Slice, Source, Symbol, Trace
from tracer.errors import BadConfig
from tracer.formula import Formula
from tracer.shapes import Dim, TensorSpec

SCHEMA = json.loads((Path(tracer.__file__).parent / "trace.schema.json").read_text(encoding="utf-8"))
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
CHECKPOINTS = ["cogvideox-5b", "cogvideox1.5-5b-i2v", "hunyuanvideo"]


def faults(data):
    return [f"{e.json_path}: {e.message[:200]}" for e in VALIDATOR.iter_errors(data)]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["properties"]["schema"]["const"] == 1


def test_the_schema_says_what_everything_is():
    def visit(node, where):
        if isinstance(node, dict):
            if node.get("type") == "object" and "properties" in node:
                assert node.get("title"), where
                assert node.get("description"), where
                assert node.get("additionalProperties") is False, where
                for name, inner in node["properties"].items():
                    only = len(node["properties"]) == 1  # its object has said it
                    assert only or "description" in inner or "$ref" in inner, f"{where}/{name}"
            for key, inner in node.items():
                visit(inner, f"{where}/{key}")
        elif isinstance(node, list):
            for i, inner in enumerate(node):
                visit(inner, f"{where}/{i}")

    visit(SCHEMA, "")


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_real_traces(traces, name):
    seen = traces[name]
    data = seen.to_json()
    assert faults(data) == []
    text = json.dumps(data, allow_nan=False)
    assert Trace.from_json(text) == seen
    assert Trace.from_json(text).to_json() == data


@pytest.mark.parametrize(
    "path",
    [("header", "model"), ("header", "legend", 0, "symbol"), ("root", "kind"), ("root", "path"), ("root", "name"),
     ("root", "inputs", "hidden_states", "dtype"), ("root", "source", "line"), ("header",), ("root",), ("schema",)],
)  # fmt: skip
def test_what_is_missing_is_refused_by_schema_and_reader(traces, path):
    data = json.loads(json.dumps(traces["cogvideox-5b"].to_json()))
    *way, last = path
    part = data
    for step in way:
        part = part[step]
    del part[last]
    assert faults(data)
    with pytest.raises(BadConfig, match="trace") as error:
        Trace.from_json(data)
    one_sentence(error.value)


def test_what_is_added_is_refused_by_schema_and_reader(traces):
    for way in ((), ("header",), ("root",), ("header", "legend", 0), ("root", "source"), ("root", "cost", "flops")):
        data = json.loads(json.dumps(traces["cogvideox-5b"].to_json()))
        part = data
        for step in way:
            part = part[step]
        part["extra"] = 1
        assert faults(data), way
        with pytest.raises(BadConfig) as error:
            Trace.from_json(data)
        one_sentence(error.value)


def one_sentence(error):
    text = str(error)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 400


@pytest.mark.parametrize(
    ("given_text", "words"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[]", "the top level of its JSON is not an object"),
        ("3", "the top level of its JSON is not an object"),
        ("{}", "its schema is 'None', 1 is expected"),
        ('{"schema": 2}', "its schema is '2', 1 is expected"),
        ('{"schema": true}', "1 is expected"),
        ('{"schema": 1}', "'header' is missing"),
        ('{"schema": 1, "header": {}, "root": {}}', "missing"),
        ('{"schema": 1, "header": 3, "root": {}}', "not a whole trace"),
        ('{"schema": 1, "header": {"model": "M"}, "root": 3}', "not a whole trace"),
        ('{"schema": 1, "header": {"model": "M"}, "root": {"kind": "x", "path": "", "name": ""}}', "no kind of call"),
    ],
)
def test_sentences(given_text, words):
    with pytest.raises(BadConfig, match="This is not a") as error:
        Trace.from_json(given_text)
    assert words in str(error.value)
    one_sentence(error.value)


CALL = {"kind": "op", "path": "", "name": "x"}


@pytest.mark.parametrize(
    "part",
    [
        {"outputs": {"0": {"dtype": "f", "shape": ["a"]}}},
        {"outputs": {"0": {"dtype": "f", "shape": [1.5]}}},
        {"outputs": {"0": {"dtype": "f", "shape": [True]}}},
        {"outputs": {"0": {"dtype": 3, "shape": []}}},
        {"outputs": [1]},
        {"attrs": {"a": {"nothing": 1}}},
        {"attrs": {"a": {"slice": [1]}}},
        {"cost": {"flops": {"size": 1, "formula": [["1/0", {}]]}}},
        {"cost": {"flops": {"size": 1, "formula": [[1, {"a": "b"}]]}}},
        {"cost": {"work": 1}},
        {"children": 5},
        {"repeat": "many"},
        {"lines": {"a": 1}},
        {"remark": {"label": "a"}},
    ],
)
def test_broken_calls(part):
    data = {"schema": 1, "header": {"model": "M"}, "root": CALL | part}
    assert faults(data) or "1/0" in str(part)
    with pytest.raises(BadConfig) as error:
        Trace.from_json(data)
    one_sentence(error.value)


def test_calls_nested_without_end():
    call = CALL
    for _ in range(2000):
        call = CALL | {"children": [call]}
    with pytest.raises(BadConfig, match="nested too deep"):
        Trace.from_json({"schema": 1, "header": {"model": "M"}, "root": call})


def test_numbers_rewritten_by_another_tool():
    """jq writes 1.0 as 1."""
    call = Call("op", "", "dropout", attrs={"p": 1.0})
    data = json.loads(json.dumps(Trace(Header("M"), call).to_json()).replace("1.0", "1"))
    assert faults(data) == []
    assert Trace.from_json(data).root == call


texts = st.text(max_size=8)
symbols = st.sampled_from(["B", "F", "H", "L", "p"])
formulas = st.lists(
    st.tuples(st.fractions(-5, 5, max_denominator=4), st.dictionaries(symbols, st.integers(-2, 3), max_size=3)),
    max_size=3,
).map(lambda terms: sum((_term(c, m) for c, m in terms), Formula.constant(0)))
dims = st.builds(Dim, st.integers(0, 2**70), st.none() | formulas, st.none() | texts)
specs = st.builds(TensorSpec, st.lists(dims, max_size=3).map(tuple), st.sampled_from(["float32", "bool"]))
named = st.dictionaries(texts, specs, max_size=2)
attrs = st.recursive(
    dims | st.builds(Slice, *[st.none() | dims] * 3) | texts | st.booleans() | st.none() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3).map(tuple),
    max_leaves=4,
)
sources = st.none() | st.builds(Source, texts, st.integers(0, 9999), texts)
costs = st.builds(Cost, dims, dims, dims)
remarks = st.none() | st.builds(Remark, texts, texts, texts, texts, st.booleans())


def _term(coefficient, powers):
    monomial = tuple(sorted((s, e) for s, e in powers.items() if e))
    return Formula.of({monomial: coefficient})


def calls(children):
    return st.builds(
        Call, st.sampled_from(["module", "function", "op"]), texts, texts, inputs=named, outputs=named,
        attrs=st.dictionaries(texts, attrs, max_size=3), weights=named, fresh=st.lists(st.booleans()).map(tuple),
        source=sources, defined=sources, cost=costs, children=children, repeat=st.integers(1, 50),
        repeat_formula=st.none() | formulas, stage=st.none() | texts, remark=remarks, opaque=st.none() | texts,
        lines=st.none() | st.dictionaries(st.integers(1, 999), st.integers(1, 99), max_size=2),
    )  # fmt: skip


leaves = calls(st.just(()))
roots = calls(st.lists(leaves, max_size=3).map(tuple))
plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
letters = st.builds(
    Symbol, st.text(min_size=1, max_size=3), texts, st.integers(), texts, st.none() | formulas,
    st.none() | texts, st.none() | texts, st.booleans(),
)  # fmt: skip
headers = st.builds(
    Header, texts, st.none() | texts, st.none() | texts, st.none() | texts,
    st.dictionaries(st.sampled_from(["frames", "height"]), st.integers(1, 99)),
    st.dictionaries(texts, texts, max_size=2),
    st.dictionaries(texts, plain, max_size=2), st.lists(letters, max_size=2).map(tuple),
    st.lists(texts, max_size=2).map(tuple), st.lists(texts, max_size=2).map(tuple), st.integers(0, 99),
    st.integers(0, 99), st.none() | texts, st.none() | texts,
)  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(headers, roots)
def test_any_trace_comes_back(header, root):
    seen = Trace(header, root)
    data = json.loads(json.dumps(seen.to_json(), allow_nan=False))
    assert faults(data) == []
    assert Trace.from_json(data) == seen


def test_what_json_cannot_write_comes_back():
    call = Call("op", "", "masked_fill", attrs={"value": -math.inf, "other": math.inf})
    seen = Trace(Header("M", config={"limit": math.inf, "nested": {"a": [1]}}), call)
    data = json.loads(json.dumps(seen.to_json(), allow_nan=False))
    assert faults(data) == []
    assert Trace.from_json(data).root == call
    assert data["header"]["config"] == {"limit": "inf", "nested": {"a": [1]}}
    assert math.isnan(Trace.from_json({**data, "root": CALL | {"attrs": {"a": {"float": "nan"}}}}).root.attrs["a"])


def test_empty_and_missing_are_told_apart():
    call = Call("module", "", "M", lines={})
    assert Trace.from_json(Trace(Header("M"), call).to_json()).root.lines == {}
    assert Trace.from_json(Trace(Header("M"), replace(call, lines=None)).to_json()).root.lines is None
