"""probe-l1: what is printed where, what lies in the folder, and each refusal in one sentence."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from commands import answer, hears_ctrl_c, refusal
from tiny_saved import saved

from tracer.cli.probe_l1 import main, parser
from tracer.probes.log import ProbeLog

COMMAND = [sys.executable, "-m", "tracer.cli.probe_l1"]
H, C = "pocket-hunyuanvideo", "pocket-cogvideox"
TINY = ["--frames", "1", "--height", "32", "--width", "32", "--workers", "1"]
PATIENCE = 240


@pytest.fixture
def said(capsys, tmp_path):
    """Runs the command line with an --out; returns stdout. Nothing may be on stderr."""
    return lambda *argv: answer(main, capsys, [*argv, "--out", tmp_path / "runs"])


@pytest.fixture
def refused(capsys, tmp_path):
    """Runs the command line and returns the one sentence it is refused with; nothing was written."""

    def ask(*argv, out=True):
        before = sorted(tmp_path.rglob("*"))
        sentence = refusal(main, capsys, [*argv, *(["--out", tmp_path / "runs"] if out else [])], "probe-l1")
        assert sorted(tmp_path.rglob("*")) == before
        return sentence

    return ask


# answers


def test_a_sweep_is_a_table_a_log_and_figures(said, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    argv = [H, "--steps", "6,8", "--shift", "1,7", "--cfg", "6", "--seeds", "2", *TINY]
    out = said(*argv)
    head, table = out.split("\n\n")[:2]
    assert head.splitlines() == [
        "pocket-hunyuanvideo · 4 settings, 8 runs",
        "sampler own · frames 1 · size 32×32",
        "classifier-free guidance 6: 2 forwards a step, cond and uncond",
    ]
    rows = [line.split() for line in table.splitlines()[2:]]
    assert [row[:4] for row in rows] == [[n, "shift", s, "2"] for n in "68" for s in "17"]
    log = ProbeLog.from_parquet(tmp_path / "runs" / "log.parquet")
    first = [log.curve("prediction", "rel_l1", "cond", run=run)[1][0] for run in (0, 1)]
    assert float(rows[0][4]) == pytest.approx(sum(first) / 2, abs=1e-4)
    assert len(list((tmp_path / "runs" / "cells").iterdir())) == len(log.runs) == 8
    figures = {path.name for path in (tmp_path / "runs" / "figures").iterdir()}
    assert {"prediction-cond.svg", "latents.svg"} <= figures
    assert said(*argv) == out
    data = json.loads(said(*argv, "--format", "json"))
    assert data["model"] == H
    assert [(s["cell"]["steps"], s["cell"]["schedule"]) for s in data["settings"]] == [
        (n, f"flow:{s}") for n in (6, 8) for s in (1, 7)
    ]
    assert data["settings"][0]["forwards"] == 2
    assert f"{data['settings'][0]['cond']['first']:.4f}" == rows[0][4]
    assert f"{data['settings'][1]['fit']['shift']:.3g}" == rows[1][-3]


@pytest.mark.parametrize(
    ("model", "cfg", "line"),
    [
        (H, "1", "no classifier-free guidance: 1 forward a step"),
        (C, "1", "no classifier-free guidance: 1 forward a step"),
        (C, "4", "classifier-free guidance 4: 1 forward a step, of two samples: uncond and cond"),
    ],
)
def test_the_forwards_of_a_step_are_printed(said, model, cfg, line):
    assert line in said(model, "--steps", "2", "--cfg", cfg, *TINY).splitlines()


def test_several_guidances_have_a_line_and_a_row_each(said):
    out = said(H, "--steps", "2", "--cfg", "1,6", *TINY)
    assert "no classifier-free guidance: 1 forward a step\nclassifier-free guidance 6: 2 forwards a step" in out
    rows = [line.split()[:2] for line in out.split("\n\n")[1].splitlines()[2:]]
    assert rows == [["none", "1"], ["6", "2"]]


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_the_table_fits(said, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    out = said(H, "--steps", "6", "--shift", "1,7", "--frames", "1,5", "--height", "32", "--width", "32",
               "--workers", "1")  # fmt: skip
    assert max(map(len, out.splitlines())) <= width
    assert "shift 7" in out
    assert "right" in out


def test_names_with_commas_prompts_and_samplers(said, tmp_path):
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("a red disc\na blue square moving up\n")
    out = said(H, "--steps", "4", "--schedule", "lq:0.1,0.75,linear", "--sampler", "euler,unipc", "--prompts", prompts,
               "--signals", "all", "--metrics", "rel_l1,cosine", "--negative", "a green disc", *TINY)  # fmt: skip
    assert "4 settings, 8 runs" in out
    log = ProbeLog.from_parquet(tmp_path / "runs" / "log.parquet")
    assert {told["schedule"] for told in log.runs.values()} == {"lq:0.1,0.75", "linear"}
    assert {told["scheduler"] for told in log.runs.values()} == {
        "FlowMatchEulerDiscreteScheduler",
        "UniPCMultistepScheduler",
    }
    assert {told["prompt"] for told in log.runs.values()} == {"a red disc", "a blue square moving up"}
    assert "residual_all" in log.names("signal")
    assert set(log.names("metric")) == {"rel_l1", "cosine"}


def test_without_matplotlib_figures_are_left_out_and_that_is_said(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main([H, "--steps", "2", *TINY, "--out", str(tmp_path / "runs")]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("pocket-hunyuanvideo · 1 setting, 1 run")
    assert err == (
        "probe-l1: no figures: Figures need matplotlib, which is not installed: "
        "pip install -e '.[figures]' in the clone.\n"
    )
    assert sorted(p.name for p in (tmp_path / "runs").iterdir()) == ["cells", "log.parquet", "sweep.json"]


def test_a_saved_pipeline_says_its_memory_first(capsys, tmp_path):
    folder = saved(tmp_path / "saved")
    capsys.readouterr()
    argv = ["--pipeline", folder, "--steps", "2", "--frames", "9", "--height", "16", "--width", "16", "--cfg", "6"]
    assert main([*map(str, argv), "--workers", "1", "--out", str(tmp_path / "runs")]) == 0
    out, err = capsys.readouterr()
    assert "classifier-free guidance 6: 1 forward a step, of two samples" in out
    assert err.startswith("probe-l1: weights in float32: ")
    assert err.count("\n") == 1


def test_help_needs_no_torch():
    code = "import sys; from tracer.cli.probe_l1 import parser; parser().format_help(); "
    code += "print(*(m for m in ('torch', 'diffusers', 'numpy', 'ray') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert "--embedded-guidance" in parser().format_help()


def test_progress_is_shown_to_a_person_alone(tmp_path):
    ours, theirs = pty.openpty()
    argv = [*COMMAND, H, "--steps", "2", "--seeds", "3", *TINY, "--out", str(tmp_path / "runs")]
    sweep = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=theirs, text=True, env=os.environ | {"TERM": "xterm"})
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # the end of a pty
        while data := os.read(ours, 4096):
            shown += data
    os.close(ours)
    out, _ = sweep.communicate(timeout=PATIENCE)
    assert sweep.returncode == 0
    assert b"probing" in shown
    assert b"3/3" in shown
    assert out.startswith("pocket-hunyuanvideo · 1 setting, 3 runs")


# refusals


REFUSED = [
    ([], "no MODEL is given: type probe-l1 pocket-hunyuanvideo --out runs, or --pipeline DIR."),
    ([H, "--pipeline", "x"], "--pipeline x and MODEL 'pocket-hunyuanvideo' are two models; leave one of them out."),
    (["pocket-hunyuan"], "No pocket model is called 'pocket-hunyuan': did you mean pocket-hunyuanvideo?"),
    ([H, C], f"one MODEL at a time, '{C}' is one too many."),
    ([H, "--shift", "0"], "shift 0 makes no schedule: it is a number above 0, as in flow:7."),
    ([H, "--shift", "-3"], "shift -3 makes no schedule: it is a number above 0, as in flow:7."),
    ([C, "--snr-shift", "0"], "SNR shift 0 makes no schedule"),
    ([H, "--shift", "a"], "--shift: 'a' is not a list such as 1,7,17."),
    ([H, "--steps", "0"], "--steps 0 is not possible: it is a whole number from 1 on."),
    ([H, "--steps", "5,x"], "--steps: '5,x' is not a list such as 10,20,50."),
    ([H, "--steps", "9999999"], "--steps 9999999 is too large: up to 1,000,000 can be run."),
    ([H, "--signals", "latent"], "No signal is called 'latent': did you mean latents?"),
    ([H, "--metrics", "l2"], "No metric is called 'l2'"),
    ([H, "--seeds", "0"], "--seeds 0 is not possible: it is a whole number from 1 on."),
    ([H, "--frames", "8"], "pocket-hunyuanvideo makes 4 n + 1 frames, not 8: ask for 5 or 9."),
    ([H, "--height", "1,2,3", "--width", "1,2"], "--height has 3 values and --width 2: they go in pairs"),
    ([H, "--schedule", "flow:7,"], "flow:7, is not how this schedule is typed: it is flow:7."),
    ([H, "--schedule", "nothing"], "No schedule is called 'nothing'"),
    ([H, "--sampler", "dpm"], "pocket-hunyuanvideo does not take the sampler dpm"),
    ([H, "--snr-shift", "3"], "--snr-shift 3 shifts a grid of alphas, and pocket-hunyuanvideo has none"),
    ([C, "--shift", "7"], "--shift 7 moves the sigmas of flow matching, and pocket-cogvideox has none: it predicts v"),
    ([H, "--embedded-guidance", "6"], "pocket-hunyuanvideo is told no guidance"),
    ([H, "--embedded-guidance", "much"], "--embedded-guidance: 'much' is not a number, such as 6."),
    ([H, "--dtype", "float16"], "--dtype float16 is for --pipeline; pocket-hunyuanvideo is small and float32."),
    ([H, "--engine", "slurm"], "--engine slurm is not possible: it is local or ray."),
    ([H, "--address", "a:1"], "--address a:1 is of a Ray cluster; add --engine ray."),
    ([H, "--workers", "0"], "--workers 0 is not possible: it is a whole number from 1 on."),
    ([H, "--format", "xml"], "--format: 'xml' is no format; it is table or json."),
    ([H, "--step", "3"], "no option is called '--step': did you mean --steps?"),
    (["--pipeline", "x", "--offload", "disk"], "--offload disk is not possible: it is model or sequential."),
    (["--pipeline", "x", "--offload", "model"], "--offload model keeps weights off a device, and --device is cpu"),
    (
        ["--pipeline", "nowhere"],
        "there is no folder 'nowhere'; --pipeline takes a folder or a hub id such as org/name.",
    ),
]


@pytest.mark.parametrize(("argv", "words"), REFUSED, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_refusals(refused, argv, words):
    assert refused(*argv).startswith(words)


def test_no_folder_is_refused(refused):
    assert refused(H, out=False) == "no folder is given for what is recorded: add --out runs."


def test_prompts_that_are_not_there(refused, tmp_path):
    path = tmp_path / "prompts.txt"
    assert refused(H, "--prompts", path) == f"the prompts '{path}' cannot be read: No such file or directory."
    path.write_text("\n")
    assert refused(H, "--prompts", path) == f"the prompts '{path}' are empty; the file has one prompt a line."
    path.write_text("a red disc\na pink disc\n")
    assert "'pink'" in refused(H, "--prompts", path)


def test_a_pipeline_without_a_scheduler(refused, tmp_path):
    index = {"_class_name": "CogVideoXPipeline", "transformer": ["diffusers", "CogVideoXTransformer3DModel"]}
    (tmp_path / "it").mkdir()
    (tmp_path / "it" / "model_index.json").write_text(json.dumps(index))
    assert refused("--pipeline", tmp_path / "it") == (
        f"'{tmp_path / 'it'}', a CogVideoXPipeline, has no scheduler, so there are no steps to record."
    )


def test_without_pyarrow_nothing_is_begun(refused, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert refused(H, *TINY) == (
        "This needs pyarrow, which is not installed: pip install -e '.[probes]' in the clone."
    )  # fmt: skip
    assert not (tmp_path / "runs").exists()


def test_the_folder_of_another_sweep(said, refused, tmp_path):
    said(H, "--steps", "2", *TINY)
    assert "holds another sweep: its steps is [2], this one's [3]" in refused(H, "--steps", "3", *TINY)
    assert (tmp_path / "runs" / "log.parquet").is_file()


# killed and restarted


def children(pid):
    path = Path(f"/proc/{pid}/task/{pid}/children")
    return path.read_text().split() if path.exists() else []


def left_of(workers, end):
    """Those that still live when the time is over."""
    while (left := [w for w in workers if Path(f"/proc/{w}").exists()]) and time.monotonic() < end:
        time.sleep(0.05)
    return left


def test_killed_in_the_middle_and_restarted_it_is_as_if_it_had_not_been(tmp_path):
    grid = [H, "--steps=10,12", "--shift=1,7", "--frames=1,9", "--seeds=4", "--height=48", "--width=48"]

    def command(folder, workers):
        return [*COMMAND, *grid, "--workers", str(workers), "--out", str(folder)]

    straight = subprocess.run(
        command(tmp_path / "a", 1), capture_output=True, text=True, check=True, timeout=PATIENCE
    )  # fmt: skip
    killed = subprocess.Popen(command(tmp_path / "b", 2), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    end = time.monotonic() + PATIENCE
    cells = tmp_path / "b" / "cells"
    while len(list(cells.glob("*.parquet"))) < 3 and killed.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    workers = children(killed.pid)
    killed.kill()
    killed.communicate()
    assert killed.returncode == -9
    done = {path: path.stat().st_mtime_ns for path in cells.glob("*.parquet")}
    assert 3 <= len(done) < 32
    assert not (tmp_path / "b" / "log.parquet").exists()
    assert left_of(workers, end) == []

    again = subprocess.run(command(tmp_path / "b", 2), capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert (again.stdout, again.stderr) == (straight.stdout, straight.stderr)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    files = [{p.relative_to(tmp_path / x): p.read_bytes() for p in (tmp_path / x).rglob("*.*")} for x in "ab"]
    assert files[0] == files[1]


def test_ctrl_c_ends_every_process_without_a_word_and_keeps_what_is_finished(tmp_path):
    out = tmp_path / "runs"
    command = [*COMMAND, H, "--steps=30", "--frames=5", "--seeds=40", "--workers=2", f"--out={out}"]
    sweep = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=hears_ctrl_c,
    )  # fmt: skip
    end = time.monotonic() + PATIENCE
    while not list(out.glob("cells/*.parquet")) and sweep.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    workers = children(sweep.pid)
    assert workers
    os.killpg(sweep.pid, signal.SIGINT)  # as a terminal does: to all of them
    stdout, stderr = sweep.communicate(timeout=PATIENCE)
    assert (sweep.returncode, stdout, stderr) == (130, "", "")
    assert left_of(workers, end) == []
    assert 1 <= len(list(out.glob("cells/*.parquet"))) < 40
