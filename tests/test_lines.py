"""Which lines ran and how often: against functions of which it is known, Python's own tracers, and real models."""

import sys
import trace as stdlib_trace
from dataclasses import replace
from pathlib import Path

import coverage
import pytest
import ran
import torch
from test_recorder import REAL
from tracing import TRACES

import tracer
from tracer.calls import Trace
from tracer.errors import RecordingError
from tracer.lines import Lines
from tracer.recorder import record

TEXT = Path(ran.__file__).read_text().splitlines()
real = pytest.mark.parametrize(("build", "inputs"), REAL, ids=["cogvideox", "hunyuanvideo"])


def marks(function):
    """The numbers at the ends of a function's lines."""
    code = getattr(function, "__wrapped__", function).__code__
    last = max(line for _, _, line in code.co_lines() if line)
    out = {}
    for number in range(code.co_firstlineno, last + 1):
        text = TEXT[number - 1].rpartition("# ")[2].partition(":")[0] if "  # " in TEXT[number - 1] else ""
        if text.strip().isdigit():
            out[number] = int(text)
    return out


def counted(function, *args):
    """The counts of the first run of a function."""
    found = {}
    wanted = getattr(function, "__wrapped__", function).__code__
    lines = Lines(lambda code: code.co_filename == ran.__file__,
                  lambda code, counts: code is wanted and found.setdefault("counts", counts) is counts)  # fmt: skip
    lines.start()
    try:
        function(*args)
    finally:
        lines.stop()
    return found["counts"]


@pytest.mark.parametrize("function", ran.FUNCTIONS, ids=lambda f: f.__name__)
def test_lines_run_as_often_as_is_known(function):
    expected = marks(function)
    counts = counted(function)
    assert {line: counts.get(line, 0) for line in expected} == expected


@pytest.mark.parametrize("function", ran.FUNCTIONS, ids=lambda f: f.__name__)
def test_the_same_lines_as_pythons_own_tracer(function):
    oracle = stdlib_trace.Trace(count=1, trace=0)
    oracle.runfunc(function)
    code = getattr(function, "__wrapped__", function).__code__
    last = max(marks(function))
    inside = {line for file, line in oracle.results().counts
              if file == ran.__file__ and code.co_firstlineno < line <= last}  # fmt: skip
    assert set(counted(function)) == inside


def without(trace):
    """A trace as if lines had not been counted."""
    header = replace(trace.header, sources={})
    return replace(trace.map(lambda c: replace(c, lines=None)), header=header)


@real
def test_lines_change_nothing_else(build, inputs):
    torch.manual_seed(0)
    model, kwargs = build(), inputs()
    with torch.no_grad():
        runs = []
        for lines in (False, True):
            with record(model, lines=lines) as rec:
                runs.append((model(**kwargs)[0], rec))
    (expected, bare), (out, counting) = runs
    assert torch.equal(out, expected)
    assert without(counting.trace) == bare.trace
    assert bare.trace.header.sources == {}
    assert "'lines':" not in str(bare.trace.to_json())
    assert Trace.from_json(counting.trace.to_json()) == counting.trace


def test_lines_change_nothing_at_real_size():
    with_lines, bare = tracer.trace("cogvideox-5b", lines=True), TRACES["cogvideox-5b"]
    assert without(with_lines) == bare
    loop = [line for line, count in with_lines.root.lines.items() if count == 42]
    assert len(loop) == 7
    assert set(with_lines.root.lines.values()) == {1, 42}


@real
def test_the_same_lines_as_pythons_own_tracer_on_real_models(build, inputs):
    model, kwargs = build(), inputs()
    with torch.no_grad():
        with record(model, lines=True) as rec:
            model(**kwargs)
        oracle = stdlib_trace.Trace(count=1, trace=0, ignoredirs=[str(Path(torch.__file__).parent)])
        oracle.runfunc(model, **kwargs)
    ran_there = {}
    for file, line in oracle.results().counts:
        ran_there.setdefault(file.rpartition("site-packages/")[2], set()).add(line)
    ours = {}
    for call in rec.trace.walk():
        at = call.defined
        if call.kind == "function" and at is not None and call.lines:
            ours.setdefault(at.file, set()).update(call.lines)
    for file, lines in ours.items():
        if file.startswith("diffusers/"):
            assert lines <= ran_there[file]
            assert lines, file


def test_calls_that_are_folded_keep_the_most():
    class Odd(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first = True

        def forward(self, x):
            if self.first:
                x = x + 1
                self.first = False
                return x
            return x + 1

    class Block(torch.nn.Module):
        def __init__(self, n):
            super().__init__()
            self.n = n

        def forward(self, x):
            for _ in range(self.n):
                self.n = self.n
            return x * 2

    model = torch.nn.Sequential(Block(1), Block(3), Block(2))
    with record(model, lines=True) as rec:
        model(torch.ones(2))
    (block,) = rec.trace.root.children
    assert block.repeat == 3
    assert sorted(block.lines.values()) == [1, 1, 3]
    model = torch.nn.Sequential(Odd(), Odd())
    with record(model, lines=True) as rec:
        model(torch.ones(2))
    assert [len(c.lines) for c in rec.trace.root.children] == [4]  # not the last return: the first calls are equal


# what was there is there again


def mine(frame, event, arg):
    return mine


def test_nothing_is_left_behind():
    model = ran.Model()
    before = sys.gettrace()
    with record(model, lines=True):
        assert sys.gettrace() is not before
        model(torch.ones(2, 4), pair=(torch.ones(2, 1), torch.ones(2, 3)))
        assert sys.gettrace() is before  # as soon as the forward is over
    with record(model, lines=True):
        pass
    assert sys.gettrace() is before


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_nothing_is_left_behind_by_failures(error):
    class Fails(torch.nn.Module):
        def forward(self, x):
            y = x + 1
            if y.numel():
                raise error
            return y

    model = torch.nn.Sequential(torch.nn.Linear(4, 4), Fails())
    before = sys.gettrace()
    with pytest.raises(error), record(model, lines=True) as rec:
        model(torch.ones(2, 4))
    assert sys.gettrace() is before
    failed = rec.trace.one("1")
    assert len(failed.lines) == 3
    assert rec.trace.header.sources.keys() >= {"test_lines.py"}


def test_a_recording_that_cannot_start_leaves_the_tracer():
    model = ran.Model()
    before = sys.gettrace()
    with record(model), pytest.raises(RecordingError), record(model, lines=True):
        pass
    assert sys.gettrace() is before


def test_another_tracer_is_set_aside_and_said():
    model = ran.Block()
    before = sys.gettrace()
    try:
        sys.settrace(mine)
        with record(model, lines=True) as rec:
            model(torch.ones(2, 4))
        assert sys.gettrace() is mine
    finally:
        sys.settrace(before)
    (said,) = rec.trace.header.warnings
    assert said.startswith("another tracer (test_lines.mine) was set aside")
    assert rec.trace.root.lines


def test_a_tracer_that_takes_over_stays_and_is_said():
    class Debugged(torch.nn.Module):
        def forward(self, x):
            sys.settrace(mine)
            return x + 1

    model = Debugged()
    before = sys.gettrace()
    try:
        with record(model, lines=True) as rec:
            model(torch.ones(2))
        assert sys.gettrace() is mine
    finally:
        sys.settrace(before)
    assert "another tracer (test_lines.mine) was set while lines were counted" in rec.trace.header.warnings[-1]


def test_coverage_goes_on_afterwards(tmp_path):
    before = sys.gettrace()
    watcher = coverage.Coverage(data_file=None, include=[ran.__file__], config_file=False, messages=False)
    watcher.start()
    try:
        ran.branches()
        model = ran.Block()
        with record(model, lines=True) as rec:
            model(torch.ones(2, 4))
        ran.loops()
    finally:
        watcher.stop()
        sys.settrace(before)
    _, _, missing, _ = watcher.analysis(ran.__file__)
    expected = {line for f in (ran.branches, ran.loops) for line, count in marks(f).items() if count}
    assert not expected & set(missing)
    assert rec.trace.root.lines
    if sys.version_info < (3, 14):  # where coverage is a tracer
        assert "CTracer" in rec.trace.header.warnings[0] or "PyTracer" in rec.trace.header.warnings[0]
