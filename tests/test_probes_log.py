"""ProbeLog: a tidy table that comes back from Parquet as it went in, whole or not at all."""

import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.errors import BadRequest, Unwritable
from tracer.probes.log import ProbeLog, Row

TOLD = {"pipeline": "P", "scheduler": "S", "steps": 2, "complete": True, "forwards_per_step": 2}


def row(run=0, step=0, signal="prediction", branch="cond", metric="rel_l1", value=0.5, **more):
    given = {"timestep": 1000.0 - step, "sigma": None, "dt": None, "guidance": 1.0, "method": "", "dtype": "float32"}
    return Row(
        run=run, step=step, signal=signal, branch=branch, metric=metric, value=value, **given | {"bound": None} | more
    )


numbers = st.floats(allow_nan=True, allow_infinity=True)
maybe = st.none() | st.floats(allow_nan=False, allow_infinity=False)
words = st.text(st.characters(codec="utf-8"), max_size=8)
plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | words, lambda x: st.lists(x, max_size=3), max_leaves=4
)


@st.composite
def logs(draw, most=8):
    count = draw(st.integers(0, 3))
    runs = {n: draw(st.dictionaries(words, plain, max_size=3)) for n in range(count)}
    rows = st.builds(
        Row, st.integers(0, max(count - 1, 0)), st.integers(0, 99), maybe, maybe, maybe, maybe, words, words, words,
        words, words, maybe, numbers,
    )  # fmt: skip
    return ProbeLog(draw(st.lists(rows, max_size=most)) if count else [], runs)


@settings(max_examples=60, deadline=None)
@given(log=logs())
def test_parquet_gives_back_what_it_got(tmp_path_factory, log):
    path = tmp_path_factory.mktemp("log") / "a.parquet"
    assert log.to_parquet(path) == path
    assert ProbeLog.from_parquet(path) == log
    assert [p.name for p in path.parent.iterdir()] == ["a.parquet"]
    again = path.with_name("b.parquet")
    ProbeLog.from_parquet(path).to_parquet(again)
    assert path.read_bytes() == again.read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.lists(logs(), max_size=4))
def test_merging_keeps_every_row_and_every_run(parts):
    whole = ProbeLog.merge(parts)
    assert len(whole) == sum(map(len, parts))
    assert list(whole.runs) == list(range(sum(len(p.runs) for p in parts)))
    start = 0
    for part in parts:
        own = range(start, start + len(part.runs))
        mine = whole.filter(run=own)
        assert list(mine.runs.values()) == list(part.runs.values())
        back = ProbeLog([r._replace(run=r.run - start) for r in mine], {n - start: t for n, t in mine.runs.items()})
        assert back == part
        start += len(part.runs)


@settings(max_examples=60, deadline=None)
@given(log=logs(20), column=st.sampled_from(["signal", "metric", "branch"]))
def test_filters_part_the_rows(log, column):
    names = log.names(column)
    parts = [log.filter(**{column: name}) for name in names]
    assert sum(map(len, parts)) == len(log)
    for name, part in zip(names, parts, strict=True):
        assert part.names(column) == [name]
        assert part.runs == log.runs
    by_run = [log.filter(run=n) for n in log.runs]
    assert sum(map(len, by_run)) == len(log)


def test_pandas_has_the_columns_of_a_row():
    log = ProbeLog([row(), row(step=1, sigma=0.5, dt=-0.1, bound=1e-8)], {0: TOLD})
    frame = log.to_pandas()
    assert list(frame.columns) == list(Row._fields)
    assert frame["sigma"].isna().tolist() == [True, False]
    assert (frame["run"].dtype, frame["value"].dtype, frame["sigma"].dtype) == ("int32", "float64", "float64")
    assert frame.groupby(["signal", "branch"])["value"].mean().loc["prediction", "cond"] == 0.5
    assert list(ProbeLog([], {}).to_pandas().columns) == list(Row._fields)


def test_a_curve_is_steps_and_values():
    rows = [row(step=i, value=float(i), branch=b) for b in ("cond", "uncond", "combined") for i in (1, 2)]
    rows += [row(step=i, signal="latents", branch="", value=0.1) for i in (0, 1)]
    log = ProbeLog(rows, {0: TOLD})
    assert log.curve("prediction") == ([1, 2], [1.0, 2.0])
    assert log.curve("latents", "rel_l1") == ([0, 1], [0.1, 0.1])
    assert log.curve("prediction", branch="uncond") == ([1, 2], [1.0, 2.0])
    two = ProbeLog.merge([log, log])
    assert two.curve("latents", run=1) == log.curve("latents")
    more = ProbeLog([r._replace(value=3 * r.value) for r in rows], {0: TOLD})
    both = ProbeLog.merge([log, more])
    assert both.curve("latents", run=both.runs) == ([0, 1], [pytest.approx(0.2)] * 2)
    assert both.curve("prediction", branch="cond", run=(0, 1)) == ([1, 2], [2.0, 4.0])
    other = ProbeLog.merge([log, ProbeLog(rows[:-1], {0: TOLD})])
    with pytest.raises(BadRequest, match="values at different steps"):
        other.curve("latents", run=other.runs)


REFUSED = {
    "run": (lambda log: log.filter(run=7), "This log has no run 7; its runs are 0, 1."),
    "signal": (lambda log: log.filter(signal="x"), "This log has no signal 'x'; it has modulated."),
    "metric": (lambda log: log.curve("modulated", "cosine", run=0), "no metric 'cosine'; it has rel_l1."),
    "branch": (lambda log: log.curve("modulated", branch="x", run=0), "no branch 'x'; it has cond, uncond."),
    "runs": (
        lambda log: log.curve("modulated"),
        "has 2 runs with that curve; choose one with run=0, or their mean with",
    ),
    "branches": (lambda log: log.curve("modulated", run=1), "modulated has the branches cond, uncond; choose one"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_log_does_not_have(name):
    one = ProbeLog([row(signal="modulated", branch=b) for b in ("cond", "uncond")], {0: TOLD})
    call, says = REFUSED[name]
    with pytest.raises(BadRequest) as raised:
        call(ProbeLog.merge([one, one]))
    assert says in str(raised.value)


def test_spans_are_sigmas_and_what_changed_between_them():
    rows = [row(step=i, value=float(i)) for i in (1, 2)]
    rows += [
        row(step=i, signal="latents", branch="", metric=m, value=i / 8)
        for i in (0, 1, 2)
        for m in ("rel_l1", "mean_abs")
    ]
    log = ProbeLog(rows, {0: TOLD | {"sigmas": [1.0, 0.75, 0.5, 0.0]}})
    assert log.spans("prediction") == ([1.0, 0.75, 0.5], [1.0, 2.0])
    assert log.spans("latents", run=0) == ([1.0, 0.75, 0.5, 0.0], [0.0, 0.125, 0.25])
    with pytest.raises(BadRequest, match="mean_abs is of no change"):
        log.spans("latents", "mean_abs")
    with pytest.raises(BadRequest, match="S has no sigmas to lay a curve over"):
        ProbeLog(rows, {0: TOLD}).spans("latents")


def test_logs_do_not_change():
    log = ProbeLog([row()], {0: TOLD})
    noted = log.noted(shift=7.0, cell="a")
    assert noted.runs[0] == TOLD | {"shift": 7.0, "cell": "a"}
    assert log.runs[0] == TOLD
    assert noted != log
    assert log != "a log"
    with pytest.raises(TypeError, match="unhashable"):
        hash(log)


def test_a_log_is_shown_in_a_few_lines():
    rows = [row(branch=b, metric=m) for b in ("cond", "uncond") for m in ("rel_l1", "cosine")]
    log = ProbeLog.merge([ProbeLog(rows, {0: TOLD | {"complete": False}})] * 20)
    lines = repr(log).splitlines()
    assert lines[0] == "ProbeLog: 20 runs, 80 values"
    assert lines[1] == "  run 0: P with S, 2 steps, 2 forwards each, stopped early"
    assert lines[9] == "  … 12 more"
    assert lines[10] == "  prediction (cond, uncond): rel_l1, cosine"
    assert len(lines) == 11
    html = ProbeLog([row(signal="<b>")], {0: TOLD})._repr_html_()
    assert "&lt;b&gt;" in html
    assert len(html.splitlines()) <= 4


# files


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.parquet"
    ProbeLog([row()], {0: TOLD}).to_parquet(path)
    before = path.read_bytes()

    def half(table, where):
        where.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(Unwritable, match=r"a\.parquet cannot be written: No space left on device\."):
        ProbeLog([row(value=1.0)], {0: TOLD}).to_parquet(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(Unwritable, match="cannot be written: No such file or directory"):
        ProbeLog([row()], {0: TOLD}).to_parquet(tmp_path / "none" / "a.parquet")


def test_files_that_are_no_logs(tmp_path):
    with pytest.raises(BadRequest, match="There is no file"):
        ProbeLog.from_parquet(tmp_path / "none.parquet")
    other = tmp_path / "other.parquet"
    pq.write_table(pa.table({"a": [1]}), other)
    with pytest.raises(BadRequest, match=r"not one that ProbeLog\.to_parquet wrote"):
        ProbeLog.from_parquet(other)
    log = tmp_path / "log.parquet"
    ProbeLog([row()], {0: TOLD}).to_parquet(log)
    for cut in (0, 10, log.stat().st_size // 2, log.stat().st_size - 1):
        other.write_bytes(log.read_bytes()[:cut])
        with pytest.raises(BadRequest, match="is not a whole Parquet file"):
            ProbeLog.from_parquet(other)
    table = pq.read_table(log)
    pq.write_table(table.replace_schema_metadata({b"tracer.probes": b'{"format": 99, "runs": {}}'}), other)
    with pytest.raises(BadRequest, match="has format 99; this version reads format 1"):
        ProbeLog.from_parquet(other)


@pytest.mark.parametrize("package", ["pandas", "pyarrow"])
def test_what_is_missing_is_said_in_a_sentence(package, monkeypatch, tmp_path):
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [_Refuse(package), *sys.meta_path])
    log = ProbeLog([row()], {0: TOLD})
    with pytest.raises(BadRequest) as raised:
        log.to_pandas() if package == "pandas" else log.to_parquet(tmp_path / "a")
    assert str(raised.value) == (
        f"This needs {package}, which is not installed: pip install -e '.[probes]' in the clone."
    )


class _Refuse:
    def __init__(self, package):
        self.package = package

    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == self.package:
            raise ImportError(name)


def test_logs_and_signals_are_light():
    code = (
        "import sys, tracer.probes.log, tracer.probes.signals\n"
        "print([n for n in ('torch', 'diffusers', 'matplotlib', 'pandas', 'pyarrow', 'numpy') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_probes_load_no_diffusers_and_no_plots():
    code = (
        "import sys, tracer.probes.attach, tracer.probes.metrics, tracer.probes.analytic\n"
        "print([n for n in ('diffusers', 'matplotlib', 'pandas', 'pyarrow') if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
