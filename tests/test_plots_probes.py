"""Figures of logs and schedules: what is drawn is what a log has, by names that tell runs apart, in whole files."""

import re
import subprocess
import sys
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest

from tracer.errors import BadRequest, UnknownName, Unwritable
from tracer.plots import picture
from tracer.plots import probes as figures
from tracer.plots import schedules as compared
from tracer.plots.looks import MOST, looks
from tracer.probes import reference, spread, spread_log
from tracer.probes.groups import curves, groups
from tracer.probes.log import ProbeLog, Row
from tracer.probes.named import schedule
from tracer.probes.shifts import flow

pytest.importorskip("matplotlib")

METRICS = ("mean_abs", "rel_l1", "rel_l1_per_dt", "cosine")


def run(steps=10, shift=7.0, seed=0, *, sigmas=True, branches=("cond", "uncond", "combined"), **facts):
    """A log of one made-up run; every value is another one."""
    levels = [float(x) for x in flow(shift).sigmas(steps)]
    draw = np.random.default_rng([steps, round(10 * shift), seed])
    rows = []
    for signal, names in (("latents", ("",)), ("prediction", branches)):
        for branch in names:
            for metric in METRICS if sigmas else METRICS[:2]:
                first = 0 if signal == "latents" or metric == "mean_abs" else 1
                rows += [
                    Row(0, i, 1000 * levels[i], levels[i] if sigmas else None,
                        levels[i + 1] - levels[i] if sigmas else None, 6.0, signal, branch, metric, "", "float32", None,
                        float(draw.uniform(0.01, 1)))
                    for i in range(first, steps)
                ]  # fmt: skip
    told = {
        "pipeline": "HunyuanVideoPipeline", "scheduler": "FlowMatchEulerDiscreteScheduler" if sigmas else "DDIM",
        "scheduler_config": {"shift": shift}, "arguments": {"num_inference_steps": steps, "num_frames": 17},
        "latents": [1, 3, 5, 16, 16], "seed": seed, "steps": steps, "bytes": seed, "forwards_per_step": 2,
    }  # fmt: skip
    return ProbeLog(rows, {0: told | ({"sigmas": levels} if sigmas else {}) | facts})


def grid(**lists):
    """One log of all combinations."""
    cells = [{}]
    for name, values in lists.items():
        cells = [cell | {name: value} for cell in cells for value in values]
    return ProbeLog.merge(run(**cell) for cell in cells)


def drawn(shown, kind="lines"):
    """What every panel has, by its name and the curve's: points (n, 2)."""
    out = {}
    for axes in shown.figure.axes:
        items = axes.lines if kind == "lines" else axes.collections
        out[axes.get_label()] = {
            item.get_gid(): item.get_xydata() if kind == "lines" else item.get_paths()[0].vertices for item in items
        }
    return out


def values(log, number, signal, metric, branch=""):
    return [r for r in log if (r.run, r.signal, r.metric, r.branch) == (number, signal, metric, branch)]


@pytest.mark.parametrize(("signal", "branch"), [("prediction", "cond"), ("latents", "")])
def test_the_articles_panels_for_two_step_counts(signal, branch):
    log = grid(steps=[10, 20])
    found = drawn(figures.panels(log, signal, branch=branch))
    assert [name for name, lines in found.items() if lines] == ["steps", "timesteps", "schedule", "sigma", "per dt"]
    for number, name in enumerate(["10 steps", "20 steps"]):
        steps = log.runs[number]["steps"]
        rows = values(log, number, signal, "rel_l1", branch)
        assert found["steps"][name].tolist() == [[r.step / steps, r.value] for r in rows]
        assert found["timesteps"][name].tolist() == [[1000 - r.timestep, r.value] for r in rows]
        assert found["sigma"][name].tolist() == [[r.sigma, r.value] for r in rows]
        slopes = values(log, number, signal, "rel_l1_per_dt", branch)
        assert found["per dt"][name].tolist() == [[r.sigma, r.value] for r in slopes]
        whole = [[i / steps, 1000 - 1000 * sigma] for i, sigma in enumerate(log.runs[number]["sigmas"][:-1])]
        assert found["schedule"][name].tolist() == whole


@pytest.mark.parametrize(("band", "ends"), [("range", (0, 1)), ("quartiles", (0.25, 0.75))])
def test_a_band_over_seeds(band, ends):
    log = grid(shift=[1.0, 7.0], seed=[0, 1, 2, 3, 4])
    shown = figures.panels(log, branch="cond", band=band)
    lines, bands = drawn(shown), drawn(shown, "collections")
    for at, name in enumerate(["shift 1", "shift 7"]):
        runs = range(5 * at, 5 * at + 5)
        every = np.array([[r.value for r in values(log, n, "prediction", "rel_l1", "cond")] for n in runs])
        assert lines["steps"][name][:, 1].tolist() == np.quantile(every, 0.5, axis=0).tolist()
        edges = [np.quantile(every, end, axis=0) for end in ends]
        corners = {(x, y) for x, y in bands["steps"][f"{name}: band"].tolist()}
        for edge in edges:
            assert {(step / 10, y) for step, y in zip(range(1, 10), edge.tolist(), strict=True)} <= corners
    key = next(axes for axes in shown.figure.axes if axes.get_label() == "key").get_legend()
    assert key.get_title().get_text() == f"5 runs each: median, band {dict(figures.BANDS)[band][0]}"
    assert [text.get_text() for text in key.get_texts()] == ["shift 1", "shift 7"]
    assert "median of 5 runs" in shown.text
    assert drawn(figures.panels(log.filter(run=[0, 5])), "collections")["steps"] == {}


def test_what_a_log_does_not_have_is_not_drawn():
    without = drawn(figures.panels(run(sigmas=False), branch="cond"))
    assert [name for name, lines in without.items() if lines] == ["steps", "timesteps", "schedule"]
    sizes = drawn(figures.panels(run(), "latents", "mean_abs"))
    assert [name for name, lines in sizes.items() if lines] == ["steps", "timesteps", "schedule", "sigma"]
    both = figures.panels(ProbeLog.merge([run(), run(sigmas=False)]), branch="cond")
    names = {name: set(lines) for name, lines in drawn(both).items()}
    assert len(names["steps"]) == 2
    assert names["sigma"] == names["per dt"] == {"FlowMatchEulerDiscreteScheduler"} < names["steps"]


def test_the_combined_prediction_is_meant():
    assert figures.panels(run()).title == "prediction, combined: relative L1"
    with pytest.raises(BadRequest, match=r"prediction has the branches cond, uncond; choose one with branch='cond'"):
        figures.panels(run(branches=("cond", "uncond")))


@pytest.mark.parametrize(
    ("settings", "labels"),
    [
        ({"steps": [10, 20]}, ["10 steps", "20 steps"]),
        ({"shift": [1.0, 17.0], "steps": [10, 20]}, None),
        ({"shift": [7.0], "frames": [1, 9]}, ["1 frame", "9 frames"]),
        ({"cfg": [1.0, 6.0]}, ["CFG 1", "CFG 6"]),
        ({"snr_shift": [1.0, 3.0]}, ["SNR shift 1", "SNR shift 3"]),
        ({"colour": ["red", "blue"]}, ["colour red", "colour blue"]),
        ({"seed": [0, 1, 2]}, [""]),
    ],
)
def test_runs_are_named_by_what_differs(settings, labels):
    log = grid(**settings)
    expected = labels or ["shift 1, 10 steps", "shift 1, 20 steps", "shift 17, 10 steps", "shift 17, 20 steps"]
    found = groups(log)
    assert [group.label for group in found] == expected
    assert [number for group in found for number in group.runs] == list(log.runs)


def test_other_sigmas_are_another_group():
    one = run()
    other = ProbeLog(one.rows, {0: one.runs[0] | {"sigmas": [1.0, *([0.5] * 10)]}})
    assert [group.label for group in groups(ProbeLog.merge([one, other]))] == ["sigmas … 0.875 …", "sigmas … 0.5 …"]
    scheduled = [run(shift=s).noted(schedule=f"flow:{s:g}", shift=s) for s in (1.0, 7.0)]
    assert [group.label for group in groups(ProbeLog.merge(scheduled))] == ["flow:1", "flow:7"]


def test_runs_without_the_signal_count_for_nothing():
    log = ProbeLog.merge([run(), run(steps=20, branches=("cond",))])
    assert [curve.group.label for curve in curves(log, "prediction", branch="uncond")] == [""]


def test_looks_can_be_told_apart():
    pairs = [{"shift": f"shift {s}", "steps": f"{n} steps"} for s in (1, 3, 7) for n in (10, 20, 50, 100)]
    for settings in (pairs, [{"shift": str(i)} for i in range(MOST)], [{str(i): "x"} for i in range(MOST)]):
        found = looks(settings)
        assert len({(look["color"], str(look["linestyle"])) for look in found}) == len(settings)
    by_shift = {s["shift"]: look["color"] for s, look in zip(pairs, looks(pairs), strict=True)}
    assert len(by_shift) == len(set(by_shift.values())) == 3
    with pytest.raises(BadRequest, match=f"17 curves in one figure .* choose up to {MOST}"):
        looks([{"shift": str(i)} for i in range(17)])


def test_the_reference_is_laid_over_sizes_alone():
    log = grid(steps=[50], shift=[1.0], seed=[0, 1])
    shown = figures.panels(log, "prediction", "mean_abs", "cond", reference=True)
    lines = drawn(shown)["steps"]
    name = "measured on HunyuanVideo, mean|x|"
    assert lines[name].tolist() == [[row.step / 50, row.cond] for row in reference.measured()]
    assert set(lines) == {"mean of 2 runs", name}
    assert name in shown.text
    with pytest.raises(BadRequest, match=r"mean\|x\|, no differences: lay them over mean_abs, not rel_l1\."):
        figures.panels(log, reference=True)
    with pytest.raises(BadRequest, match=r"The article has no prediction uncond; it has latents, latents_after, "):
        figures.panels(log, "prediction", "mean_abs", "uncond", reference=True)


def test_files_of_a_sweep(tmp_path):
    log = grid(steps=[4, 5], shift=[1.0, 7.0, 17.0], frames=[1, 9, 17], branches=[("combined",)])  # 18 groups
    files = figures.save_all(log, tmp_path / "a" / "figures")
    parts = ("1-frame", "9-frames", "17-frames")
    names = [f"{signal}_{part}.svg" for signal in ("latents", "prediction-combined") for part in parts]
    assert [path.name for path in files] == names
    assert sorted(path.name for path in (tmp_path / "a" / "figures").iterdir()) == sorted(names)
    root = ElementTree.fromstring(files[1].read_text())
    assert root.attrib["aria-label"] == "latents: relative L1; 9 frames"
    words = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    assert {"shift 17, 5 steps", "step / steps", "1000 - timestep", "sigma"} <= words
    small = figures.save_all(run().filter(signal="latents"), tmp_path, "mean_abs", kind=".png")
    assert [path.read_bytes()[:4] for path in small] == [b"\x89PNG"]
    many = ProbeLog.merge(run(steps=3, shift=float(s)) for s in range(1, 18)).filter(signal="latents")
    assert [path.stem for path in figures.save_all(many, tmp_path)] == ["latents_part-1", "latents_part-2"]


def test_nothing_is_written_where_something_cannot_be(tmp_path, monkeypatch):
    with pytest.raises(Unwritable, match=r"'\.gif' is no format of a figure: it is \.svg, \.png, \.pdf\."):
        figures.save_all(run(), tmp_path, kind=".gif")
    with pytest.raises(BadRequest, match="This log has no metric 'rel_l2'"):
        figures.save_all(run(), tmp_path, "rel_l2")
    with pytest.raises(BadRequest, match="A band over seeds is range or quartiles, not 'deviation'"):
        figures.save_all(run(), tmp_path, band="deviation")
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="cannot be a folder"):
        figures.save_all(run(), tmp_path / "file")
    (tmp_path / "prediction-cond.svg").mkdir()
    with pytest.raises(Unwritable, match="is a folder"):
        figures.save_all(run(), tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "prediction-cond.svg"]
    (tmp_path / "latents.svg").write_text("before")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(Unwritable, match="No space left on device"):
        figures.save_all(run().filter(signal="latents"), tmp_path)
    assert (tmp_path / "latents.svg").read_text() == "before"


def test_on_a_page():
    shown = [figures.panels(grid(shift=[1.0, 7.0], seed=[0, 1]), branch="cond"), compared.compare(list(BAD), 20)]
    for one in shown:
        page = one.html()
        ids = re.findall(r' id="([^"]+)"', page)
        assert len(ids) == len(set(ids))
        colours = set(re.findall(r"#[0-9a-f]{6}\b", page.partition("<svg")[2]))
        assert colours <= set(picture.EITHER.values())
        assert max(map(len, one.text.splitlines())) <= 90
        assert one.title in page
        assert one.svg() == one.svg()
    assert figures.panels(run()).svg() == figures.panels(run()).svg()


# schedules

BAD = ("article-lq:1.57", "g:7", "h:7", "uniform:1", "sign:1", "sign:0")
GOOD = ("linear", "flow:7", "flow:17", "moviegen:250", "normal:1", "cauchy:2", "snr:3")


@pytest.mark.parametrize("steps", [1, 2, 20, 50])
def test_schedules_beside_each_other(steps):
    names = [*GOOD, *BAD]
    shown = compared.compare(names, steps)
    found = drawn(shown)
    for name in names:
        one = schedule(name)
        sigmas = one.sigmas(steps) if name in GOOD else one.values(steps)
        sizes = found["sizes"][name]
        assert np.array_equal(sizes, np.c_[np.arange(steps), sigmas[:-1] - sigmas[1:]]), name
        curve = found["values"][name]
        if name == "snr:3":
            assert np.array_equal(curve[1:], np.c_[np.arange(1, 1001) / 1000, one.levels])
            rows = one.timesteps(steps) + 1
            assert np.array_equal(curve[rows, 1], sigmas[:-1])
            continue
        known = curve[~np.isnan(curve[:, 1])]
        assert np.array_equal(known[:, 1], one.for_steps(steps).value(known[:, 0])), name
        assert (name in BAD) == (f"{name}: {one.reason}" in words(shown)), name
    legend = next(axes for axes in shown.figure.axes if axes.get_label() == "key").get_legend()
    labels = {text.get_text() for text in legend.get_texts()}
    assert labels == {*GOOD, *(f"{name}, no bijection" for name in BAD)}


def words(shown):
    return " ".join(text.get_text() for axes in shown.figure.axes for text in axes.texts).replace("\n", " ")


def test_jumps_are_where_they_are():
    ((at, under, over),) = compared.jumps(schedule("article-lq:1.57"))
    assert at == pytest.approx(0.5, abs=1e-9)
    assert over - under == pytest.approx(0.00314, abs=1e-5)
    assert [round(at, 9) for at, _, _ in compared.jumps(schedule("sign:0"))] == [0, 1]
    assert [round(at, 9) for at, _, _ in compared.jumps(schedule("sign:-2"))] == [1]
    for name in ("flow:1000", "normal:3", "uniform:1", "moviegen:250"):
        assert compared.jumps(schedule(name)) == []
    shown = compared.compare(["article-lq:1.57", "sign:0"], 50)
    assert "jump 0.00314" in words(shown)
    left = drawn(shown)["values"]
    assert left["article-lq:1.57: jump"].tolist() == [[at, under], [at, over]]
    for name in ("article-lq:1.57", "sign:0"):
        y = left[name][:, 1]
        crossed = [abs(b - a) for a, b in pairwise(y) if not np.isnan(a + b)]
        assert max(crossed) < 0.1
        assert np.isnan(y).sum() == len(compared.jumps(schedule(name)))


def test_schedules_as_they_are():
    even = spread.equal_change([1.0, 0.6, 0.1, 0.0], [1.0, 2.0, 3.0])
    assert set(drawn(compared.compare([even, flow(3)], 10))["values"]) == {"equal-change", "flow:3"}
    with pytest.raises(BadRequest, match="nothing to compare: give up to 16 schedules"):
        compared.compare([], 10)
    with pytest.raises(BadRequest, match="17 curves"):
        compared.compare([f"flow:{s}" for s in range(1, 18)], 10)
    with pytest.raises(UnknownName, match="did you mean flow"):
        compared.compare(["fow:7"], 10)
    with pytest.raises(BadRequest, match="0 steps cannot be sampled"):
        compared.compare(["linear"], 0)


# answers


def test_a_log_whose_change_a_shift_spreads_evenly():
    """A run at shift 3 whose steps change as much as t of f_s goes on: f_s spreads that evenly."""
    for wanted in (1.0, 5.0):
        shares = flow(wanted).inverse(flow(3.0).sigmas(40))
        log = run(steps=40, shift=3.0)
        rows = [
            row._replace(value=float(shares[row.step] - shares[row.step + 1]))
            for row in log.filter(signal="latents", metric="rel_l1")
        ]
        log = ProbeLog(rows, log.runs)
        fit = spread_log.fit_shift(log, "latents")
        assert fit.shift == pytest.approx(wanted, rel=2e-3)
        assert fit.largest < 2e-3  # straight lines between the sigmas
        even = spread_log.equal_change(log, "latents")
        assert np.allclose(even.value(shares), flow(3.0).sigmas(40), atol=1e-12)
        (answer,) = spread_log.answers(log, "latents")
        assert answer.peak_fitted == pytest.approx(1, abs=1e-2)
        assert answer.peak == pytest.approx(40 * max(row.value for row in rows))
        assert answer.shifts == (fit.shift, fit.shift)


def test_answers_of_several_runs():
    log = grid(shift=[1.0, 7.0], seed=[0, 1, 2])
    found = spread_log.answers(log, branch="cond")
    assert [one.label for one in found] == ["shift 1", "shift 7"]
    for one in found:
        every = [log.curve("prediction", branch="cond", run=n)[1] for n in one.runs]
        mean = np.mean(every, axis=0)
        assert one.largest == (pytest.approx(mean.max()), 1 + int(mean.argmax()))
        assert one.least == (pytest.approx(mean.min()), 1 + int(mean.argmin()))
        sigmas = log.spans("prediction", branch="cond", run=one.runs[0])[0]
        assert one.fit == spread.fit_shift(sigmas, mean)
        each = [spread.fit_shift(sigmas, values).shift for values in every]
        assert one.shifts == (min(each), max(each))
    said = spread_log.text(found, "the title").splitlines()
    assert said[0] == "the title"
    assert said[1].split()[:2] == ["steps", "runs"]
    assert said[2].startswith("shift 1")
    assert f"{found[0].fit.shift:.3g} ({found[0].shifts[0]:.3g} to {found[0].shifts[1]:.3g})" in said[2]
    assert len({len(line.rstrip()) for line in said[1:]}) == 1


def test_change_per_dt_is_the_same_change():
    log = run().filter(signal="latents", metric="rel_l1")
    slopes = [row._replace(metric="rel_l1_per_dt", value=row.value / -row.dt) for row in log]
    per_dt = ProbeLog(slopes, log.runs)
    one, other = spread_log.fit_shift(log, "latents"), spread_log.fit_shift(per_dt, "latents", "rel_l1_per_dt")
    assert one.shift == pytest.approx(other.shift)


def test_sigmas_that_count_upward():
    """Mochi's scheduler: the same run with 1 - sigma in its place."""
    log = run(shift=3.0)
    told = log.runs[0] | {"sigmas": [1 - s for s in log.runs[0]["sigmas"]]}
    told["scheduler_config"] = told["scheduler_config"] | {"invert_sigmas": True}
    upward = ProbeLog([row._replace(sigma=1 - row.sigma, dt=-row.dt) for row in log], {0: told})
    assert spread_log.fit_shift(upward).shift == pytest.approx(spread_log.fit_shift(log).shift)
    for one, ends in ((log, (1, 0)), (upward, (0, 1))):
        axes = next(a for a in figures.panels(one).figure.axes if a.get_label() == "sigma")
        assert axes.get_xlim() == pytest.approx(ends, abs=0.021)


def test_ratios_that_are_no_number_leave_a_gap():
    log = grid(seed=[0, 1])
    odd = {3: float("inf"), 5: float("nan")}
    broken = ProbeLog([row._replace(value=odd.get(row.step, row.value)) for row in log], log.runs)
    line = drawn(figures.panels(broken))["steps"]["mean of 2 runs"]
    assert np.isfinite(line[:, 1]).tolist() == [step not in odd for step in range(1, 10)]
    figures.panels(broken.filter(run=0)).svg()


def test_what_cannot_be_spread():
    log = grid(shift=[1.0, 7.0])
    with pytest.raises(BadRequest, match=r"mean_abs is no amount of change .*: take rel_l1 or rel_l1_per_dt\."):
        spread_log.equal_change(log, "latents", "mean_abs")
    with pytest.raises(BadRequest, match="The runs walk different sigmas"):
        spread_log.fit_shift(log, "latents")
    assert spread_log.fit_shift(log, "latents", run=1).shift > 0
    with pytest.raises(BadRequest, match="DDIM has no sigmas"):
        spread_log.equal_change(run(sigmas=False), "latents")
    (answer,) = spread_log.answers(run(sigmas=False), "latents")
    assert answer.fit is None
    assert answer.largest[0] > answer.least[0]
    said = spread_log.text([answer])
    assert said.endswith("DDIM has no sigmas to lay a curve over.")


def test_matplotlib_is_loaded_late():
    code = "import sys, tracer.plots.probes, tracer.plots.schedules\n"
    code += "assert not {'matplotlib', 'torch', 'pandas', 'pyarrow'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# real runs


@pytest.fixture(scope="module")
def measured():
    """The real pipeline on the analytic mixture: two step counts, two shifts, two seeds."""
    from test_probes_oracle import sample

    from tracer.probes.analytic import Mixture

    law = Mixture.clips(count=64, seed=1)
    return ProbeLog.merge(
        sample(law, shift=shift, steps=steps, seed=seed, metrics=["rel_l1", "rel_l1_per_dt"])[0].noted(seed=seed)
        for steps in (10, 20) for shift in (7.0, 17.0) for seed in (0, 1)
    )  # fmt: skip


def test_figures_of_real_runs(measured, tmp_path):
    names = {"shift 7, 10 steps", "shift 17, 10 steps", "shift 7, 20 steps", "shift 17, 20 steps"}
    shown = figures.panels(measured, "latents")
    assert all(set(lines) == names for panel, lines in drawn(shown).items() if panel != "key")
    assert len(drawn(shown)) == 6
    assert drawn(shown)["schedule"]["shift 7, 10 steps"][0].tolist() == [0, 0]
    assert [path.name for path in figures.save_all(measured, tmp_path)] == [
        "latents.svg", "prediction-cond.svg", "prediction-combined.svg",
    ]  # fmt: skip


def test_linear_steps_spread_the_change_of_latents(measured):
    """It follows dt, so that a shift bunches it in the last steps, and shift 1 would spread it."""
    for answer in spread_log.answers(measured, "latents"):
        assert answer.peak > 3.5
        assert 0.7 < answer.fit.shift < 1.4
        assert answer.peak_fitted < 1.3
        assert answer.fit.rms < 0.03
