"""Goldens of every checkpoint: the facts of its trace, one call a line, and the default tree as text.

`pytest --bless` writes them anew. Their columns are added up too, so that no wrong total can be blessed.
"""

import dataclasses
import json
import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from tracer.calls import Trace
from tracer.families import all_families
from tracer.views.tree import render_text
from tracer.words import Words

GOLDENS = Path(__file__).parent / "goldens"
LINES = {100: 50, 80: 60}  # columns of the terminal, and the most lines that are one screen


def folded(trace):
    """Every call with how often it happens in the whole forward, and its cost without its children's."""

    def visit(call, times):
        times *= call.repeat
        params = call.cost.params.size - sum(c.cost.params.size * c.repeat for c in call.children)
        flops = call.cost.flops.size - sum(c.cost.flops.size * c.repeat for c in call.children)
        yield call, times, params, flops
        for child in call.children:
            yield from visit(child, times)

    return visit(trace.root, 1)


def facts(trace):
    """Totals, costs of the stages, and a row for each call."""
    words = Words(trace)
    rows = []
    for call, times, params, flops in folded(trace):
        outputs = [
            f"{name}: {words.shape(spec)} = {' '.join(map(str, spec.sizes))} {spec.dtype}"
            for name, spec in call.outputs.items()
        ]
        rows.append([call.path, call.kind, call.name, times, params * times, flops * times, call.stage, outputs])
    return {
        "checkpoint": trace.header.checkpoint,
        "params": trace.header.params,
        "buffers": trace.header.buffers,
        "flops": trace.root.cost.flops.size,
        "calls": sum(times for _, times, _, _ in folded(trace)),
        "columns": ["path", "kind", "name", "times", "params", "flops", "stage", "outputs"],
        "stages": {slug: [c.params.size, c.flops.size] for slug, c in trace.stage_costs().items()},
        "rows": rows,
    }


def as_text(data):
    """JSON in which each row and each stage has a line of its own."""

    def block(pairs, opening, closing):
        return opening + "\n" + ",\n".join(f"    {line}" for line in pairs) + "\n  " + closing

    def line(value):
        return json.dumps(value, ensure_ascii=False)

    parts = []
    for key, value in data.items():
        if key == "rows":
            text = block(map(line, value), "[", "]")
        elif key == "stages":
            text = block((f"{line(k)}: {line(v)}" for k, v in value.items()), "{", "}")
        else:
            text = line(value)
        parts.append(f"  {line(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def add_up(data, case):
    """The sums that the facts must fulfil, from the rows alone."""
    columns = data["columns"]
    rows = [dict(zip(columns, row, strict=True)) for row in data["rows"]]
    for column in ("params", "flops"):
        assert sum(row[column] for row in rows) == data[column]
        assert all(row[column] >= 0 for row in rows)
    assert sum(row["times"] for row in rows) == data["calls"]
    assert [sum(column) for column in zip(*data["stages"].values(), strict=True)] == [
        data["params"],
        data["flops"],
    ]
    assert data["params"] == case.checkpoint.params
    assert {row["stage"] for row in rows} - {None} | {"other"} == set(data["stages"]) | {"other"}
    for row in rows:
        for output in row["outputs"]:
            formula, sizes = re.fullmatch(r".*?: (.*) = (.*) \w+", output).groups()
            scalar = formula == "scalar"
            assert scalar or len(formula.split()) == len(sizes.split()), output


def plain(trace):
    """A trace without what differs between machines: versions of Python and its packages."""
    return dataclasses.replace(trace, header=dataclasses.replace(trace.header, versions={}))


def test_facts(case, seen, golden):
    data = facts(seen)
    add_up(data, case)
    assert json.loads(as_text(data)) == data
    golden(f"{case.name}.json", as_text(data))


def test_blessed_facts_add_up(case):
    data = json.loads((GOLDENS / f"{case.name}.json").read_text(encoding="utf-8"))
    add_up(data, case)
    assert len(data["rows"]) > 100
    total = sum(row[data["columns"].index("times")] for row in data["rows"])
    assert total == data["calls"] > 2000


def test_facts_that_do_not_add_up_are_refused(case, seen):
    for column in (3, 4, 5):
        data = facts(seen)
        next(row for row in data["rows"] if row[column])[column] += 1
        with pytest.raises(AssertionError):
            add_up(data, case)
    data = facts(seen)
    next(costs for costs in data["stages"].values() if costs[1])[1] += 1
    with pytest.raises(AssertionError):
        add_up(data, case)


def test_folding_loses_no_call(seen):
    assert len(list(seen.unfold().walk())) == sum(times for _, times, _, _ in folded(seen))


def test_default_tree(case, seen, golden):
    golden(f"{case.name}.txt", render_text(plain(seen), width=100))


@pytest.mark.parametrize("columns", LINES)
def test_the_default_tree_fits_one_screen(seen, columns):
    lines = render_text(seen, width=columns).splitlines()
    assert len(lines) <= LINES[columns]
    assert max(map(len, lines)) <= columns


def test_the_same_tree_comes_from_json(seen):
    again = Trace.from_json(json.dumps(seen.to_json()))
    assert render_text(again) == render_text(seen)
    assert facts(again) == facts(seen)


def test_goldens_know_no_machine(case):
    for suffix in ("json", "txt"):
        text = (GOLDENS / f"{case.name}.{suffix}").read_text(encoding="utf-8")
        for word in (os.sep + "home", "site-packages", "/usr", "/tmp", "python", "diffusers", version("diffusers")):
            assert word not in text.lower(), word
        assert text.endswith("\n")


def test_there_is_a_golden_for_each_checkpoint_and_no_other():
    names = [checkpoint.name for family in all_families() for checkpoint in family.checkpoints]
    assert sorted(p.name for p in GOLDENS.iterdir() if p.is_file()) == sorted(
        f"{n}.{s}" for n in names for s in ("json", "txt")
    )
