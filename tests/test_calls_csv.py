"""The calls as CSV: RFC 4180, sums that are the totals, and nothing that a spreadsheet would run."""

import csv
import io

import pytest
from hostile import NAMES, hostile
from test_markdown import timeless

from tracer.views.calls_csv import COLUMNS, inert, render_csv


def read(text):
    return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))


def test_golden(traces, golden):
    golden("views/cogvideox-5b.csv", render_csv(timeless(traces["cogvideox-5b"])).replace("\r\n", "\n"))


def sums(trace):
    found = read(render_csv(trace))
    columns = [("flops", "flops"), ("parameters", "params"), ("bytes", "bytes")]
    for column, cost in columns:
        assert sum(int(row[column]) for row in found) == getattr(trace.root.cost, cost).size
        for stage, part in trace.stage_costs().items():
            rows = [int(row[column]) for row in found if (row["stage"] or "other") == stage]
            assert sum(rows) == getattr(part, cost).size
    assert len(found) == len(list(trace.walk()))
    return found


def test_columns_add_up(seen):
    found = sums(seen)
    assert sum(int(row["times"]) for row in found) == len(list(seen.unfold().walk()))
    assert {row["kind"] for row in found} <= {"module", "function", "op"}


def test_columns_of_a_pipeline_add_up(pipeline):
    assert "step" in {row["kind"] for row in sums(pipeline)}


def test_rows(traces):
    found = read(render_csv(traces["cogvideox-5b"]))
    assert tuple(found[0]) == COLUMNS
    block = next(row for row in found if row["name"] == "CogVideoXBlock")
    assert (block["level"], block["repeat"], block["times"], block["stage"]) == ("1", "42", "42", "block")
    assert block["formulas"] == "hidden_states B S D; encoder_hidden_states B L D"
    assert block["outputs"].startswith("hidden_states 2 17550 3072 bfloat16; ")
    attention = next(row for row in found if row["name"] == "scaled_dot_product_attention")
    assert (attention["repeat"], attention["times"], attention["stage"]) == ("1", "42", "attention")
    assert attention["source"].startswith("diffusers/models/attention_processor.py:")


def test_rfc_4180():
    text = render_csv(hostile(stages=True))
    lines = text.split("\r\n")
    assert lines[0] == ",".join(COLUMNS)
    assert lines[-1] == ""
    assert "\n" not in text.replace("\r\n", "")
    assert {len(row) for row in csv.reader(lines[:-1], strict=True)} == {len(COLUMNS)}
    assert len(text) < 100_000


@pytest.mark.parametrize("stages", [True, False])
def test_no_cell_is_a_formula(stages):
    found = read(render_csv(hostile(stages)))
    assert len(found) == len(NAMES) + 1
    for row in found:
        for cell in row.values():
            assert cell.lstrip()[:1] not in ("=", "+", "-", "@", "＝")
            assert cell.isprintable()
    assert {"'=cmd()", "'+1", "'-2", "'@SUM(A1)"} <= {row["name"] for row in found}
    assert inert("B L+S D") == "B L+S D"
