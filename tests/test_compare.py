"""torchinfo on the same forward: its table, folded, and what it says less."""

import pytest

from tracer.calls import Call, Header, Trace
from tracer.compare import MISSES, _folded, torchinfo_table
from tracer.errors import BadRequest
from tracer.views.tree import beside, plain, renderable


@pytest.fixture(scope="module")
def compared(traces):
    return torchinfo_table(traces["cogvideox-5b"])


def test_its_parameters_are_ours_and_its_work_is_not(compared, traces):
    seen = traces["cogvideox-5b"]
    parameters, work, misses = compared.remarks
    assert parameters == "parameters: torchinfo 5,570,283,072, here 5,570,283,072"
    assert seen.header.params == 5_570_283_072
    assert work.startswith("work: torchinfo 36.3 GFLOP (twice its mult-adds), here 664 TFLOP: ")
    assert work.endswith(" times as much")
    assert misses == MISSES


def test_equal_blocks_are_folded(compared):
    blocks = [line for line in compared.table if "CogVideoXBlock" in line or "more like it" in line]
    assert len(blocks) == 3
    assert "(0)" in blocks[0]
    assert "… 40 more like it" in blocks[1]
    assert "(41)" in blocks[2]
    assert any(line.startswith("Total params: 5,570,283,072") for line in compared.table)


def test_folding_keeps_what_is_not_equal():
    lines = ["M", "├─A (0)  1", "├─A (1)  1", "├─B (2)  1", "├─A (3)  2", "├─A (x)  1"]
    assert _folded(lines) == lines
    assert _folded([f"  ├─A ({i})  1" for i in range(5)]) == ["  ├─A (0)  1", "  ├─… 3 more like it", "  ├─A (4)  1"]


def test_beside_where_it_fits_and_below_where_not(compared, traces):
    seen = traces["cogvideox-5b"]
    view = renderable(seen, width=90)
    wide = plain(beside(view, 90, compared.table, compared.remarks, 260), 260)
    assert any("time-embedding" in line and "(" in line for line in wide.splitlines())
    narrow = plain(beside(view, 90, compared.table, compared.remarks, 120), 1000)
    for line in (*compared.table, *plain(view, 90).splitlines()):
        assert line.rstrip() in narrow
        assert line.strip() in wide
    assert all(" ".join(remark.split()) in " ".join(wide.split()) for remark in compared.remarks)


def test_a_trace_of_no_family():
    with pytest.raises(BadRequest, match="this trace is of none"):
        torchinfo_table(Trace(Header("M"), Call("module", "", "M")))
