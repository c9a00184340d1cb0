"""plan-frames: what is printed where, and each refusal in one sentence."""

import json
import os
import subprocess
import sys

import pytest
from commands import answer, refusal

import tracer
from tracer.cli.plan_frames import main, parser
from tracer.errors import BadRequest, ForwardFailed, UnknownName
from tracer.planning import Planner, plan_frames

COMMAND = [sys.executable, "-m", "tracer.cli.plan_frames"]


@pytest.fixture
def ready(monkeypatch, traces):
    """Takes the session's traces for costs; tells what was traced."""
    made, real = [], tracer.trace

    def trace(name, **options):
        made.append((name, {k: v for k, v in options.items() if v is not None}))
        if name not in traces:
            traces[name] = real(name)
        return traces[name]

    monkeypatch.setattr("tracer.api.trace", trace)
    return made


@pytest.fixture
def said(capsys):
    """Runs the command line; returns stdout. Nothing may be on stderr."""

    return lambda *argv: answer(main, capsys, argv)


@pytest.fixture
def refused(capsys):
    """Runs the command line and returns the one sentence it is refused with."""

    return lambda *argv: refusal(main, capsys, argv, "plan-frames")


# answers


def test_a_count_between_two(ready, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = said("cogvideox-5b", 50)
    assert "50 asked → 13 latent frames → 17,550 tokens → 49 returned, 1 fewer\n" in out
    assert "→ 50" in out
    assert "Nearest that come out as asked: 49 below, 56 above." in out
    assert "50 frames are (50 - 1)//4 + 1 = 13 latent frames; 1 of them fills none." in out
    assert "pipelines/cogvideo/pipeline_cogvideox.py: prepare_latents" in out
    assert "664 TFLOP" in out


def test_the_default_is_the_published_count(ready, said):
    out = said("hunyuanvideo")
    assert out.startswith("hunyuanvideo · 129 frames at 720×1280 · VAE 8×8 in space, 4 in time\n")
    assert "129 asked → 33 latent frames → 118,800 tokens → 129 returned, as asked" in out
    assert "Also as asked: 125 below, 133 above." in out


def test_where_no_count_is_exact(ready, said):
    out = " ".join(said("hunyuanvideo-i2v-33ch", 129).split())
    assert "125 returned, 4 fewer" in out
    assert "No count near 129 comes out as asked: ask 129 to get 125 or 133 to get 129." in out
    assert "With image_condition_type latent_concat the pipeline drops the first 4 decoded frames" in out


def test_without_rotary_positions_there_is_no_column_for_them(ready, said):
    assert "rope" not in said("cogvideox-2b", 49)
    assert "rope" in said("cogvideox-5b", 49)


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120])
@pytest.mark.parametrize("argv", [("cogvideox1.5-5b", 50), ("cogvideox-5b", 100_000), ("hunyuanvideo-i2v-33ch", 129)])
def test_it_fits(ready, said, monkeypatch, argv, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = said(*argv)
    places = ("    pipelines/", "    models/")  # a place stays whole, so that it can be copied
    assert all(len(line) <= columns or line.startswith(places) for line in out.splitlines())
    assert "\x1b" not in out
    assert "…" not in out
    if columns != 60:  # there it depends on how many digits N has
        assert ("FLOPs" in out) == ("written\n" in out) == ("bytes written" in out) == (columns >= 80)


def test_costs_are_those_of_a_trace_of_that_count(traces):
    found = plan_frames("cogvideox-2b", 50)
    cost = tracer.trace("cogvideox-2b", frames=49, formulas=False).root.cost
    assert (found.flops, found.written) == (cost.flops.size, cost.bytes.size)
    padded = plan_frames("cogvideox1.5-5b", 9, height=96, width=128)  # three latent frames and one that is added
    cost = tracer.trace("cogvideox1.5-5b", frames=9, height=96, width=128, formulas=False).root.cost
    assert (padded.flops, padded.written) == (cost.flops.size, cost.bytes.size)
    assert padded.tokens == 2 * 6 * 8


def test_costs_are_left_out_on_demand_and_where_the_trace_fails(ready, monkeypatch, said):
    assert plan_frames("cogvideox", 49, costs=False).flops is None
    assert ready == []

    def fails(*_, **__):
        raise ForwardFailed("it stopped.", None)

    monkeypatch.setattr("tracer.api.trace", fails)
    out = said("cogvideox", 49)
    assert "49 returned" in out
    assert "No costs: the trace failed. it stopped." in out
    assert "FLOP" not in out


def test_one_trace_at_the_size_asked_for(ready, said):
    said("cogvideox-5b", 50, "--height", 96, "--width", 128)
    assert ready == [("cogvideox-5b", {"height": 96, "width": 128})]


def test_json(ready, said):
    out = said("cogvideox-5b", 50, "--format", "json")
    assert out.isascii()
    assert out.count("\n") == 1
    data = json.loads(out)
    plan = data["plan"]
    assert (plan["asked"], plan["frames"], plan["latents"], plan["tokens"]) == (50, 49, 13, 17_550)
    assert (plan["below"], plan["above"], plan["gained"], plan["exact"]) == (49, 56, -1, False)
    assert plan["flops"] > 10**14
    assert plan["lines"][0]["source"] == "pipelines/cogvideo/pipeline_cogvideox.py: prepare_latents"
    assert [p["asked"] for p in data["near"]] == [46, 47, 48, 49, 50, 51, 52, 53, 54, 56]
    assert (data["checkpoint"], data["published"]) == ("cogvideox-5b", 49)
    assert data["vae"] == {"spatial": 8, "temporal": 4, "channels": 16}


@pytest.mark.parametrize("name", ["out.txt", "out.json"])
def test_files(ready, said, tmp_path, name):
    path = tmp_path / name
    assert said("cogvideox-5b", 50, "-o", path) == ""
    text = path.read_text(encoding="utf-8")
    assert ("\n" in text.strip()) == name.endswith("txt")
    assert "prepare_latents" in text


def test_help(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    for action in parser()._actions:
        assert action.help, action.dest
        assert all(option in out for option in action.option_strings)


# GameCraft


def test_actions(ready, said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = said("gamecraft", "--actions", 5)
    rows = [line.split() for line in out.splitlines() if line.endswith("FLOP")]
    assert [row[0] for row in rows] == ["1", "2", "3", "4", "5"]
    assert rows[0][1:11] == ["a", "picture", "34", "37", "10", "33,440", "33", "1.38", "s", "1.32"]
    assert rows[4][1:11] == ["a", "clip", "66", "69", "18", "60,192", "165", "6.88", "s", "6.60"]
    assert "places in Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at 07afcd4c" in out
    assert all(len(line) <= 80 for line in out.splitlines())


def test_many_actions_share_rows(ready, said):
    assert "2-400" in said("gamecraft", "--actions", 400)


def test_a_chunk_that_breaks_the_code(ready, said):
    out = " ".join(said("gamecraft", "--chunk", 17).split())
    assert "What --chunk 17 breaks in the published code" in out
    assert "Poses of an action: 33 would have to be 17. hymm_sp/sample_inference.py:211" in out
    assert ("gamecraft", {"frames": 18, "height": 704, "width": 1216, "config": {"clip_frames": 17}}) in ready


# refusals

BEFORE_TORCH = [
    ([], "no MODEL is given: type plan-frames cogvideox 50; trace-shapes --list shows them all."),
    (["cogvidoex", "50"], "did you mean cogvideox?"),
    (["cogvideox", "0"], "N 0 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "-5"], "N -5 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "abc"], "N: 'abc' is not a whole number, such as 49."),
    (["cogvideox", "4.5"], "N: '4.5' is not a whole number, such as 49."),
    (["cogvideox", "9" * 5000], "is too large: up to 1,000,000 frames can be planned."),
    (["cogvideox", "1000001"], "N 1000001 is too large: up to 1,000,000 frames can be planned."),
    (["cogvideox", "--height", "0"], "--height 0 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "--width", "9999999"], "is too large: sizes up to 1,000,000 can be traced."),
    (["cogvideox", "49", "60"], "one MODEL at a time, '60' is one too many."),
    (["cogvideox", "--frames", "3"], "no option is called '--frames'"),
    (["cogvideox", "--format", "xml"], "--format: 'xml' is no format; it is table or json."),
    (["cogvideox", "-o", "page.html"], "'page.html' does not say which format: a name ends in .txt or .json"),
    (["cogvideox", "-o", "nowhere/a.txt"], "'nowhere/a.txt' cannot be written: there is no folder 'nowhere'."),
    (["gamecraft", "--chunk", "0"], "--chunk 0 is not possible: it is a whole number from 1 on."),
    (["gamecraft", "--chunk", "3"], "--chunk 3 is not possible: a clip is two latent frames at least, 5 frames"),
    (["gamecraft", "--chunk", "2000000"], "--chunk 2000000 is too large"),
    (["framepack", "--chunk", "34"], "which stand for 4k + 1 frames; use 33 or 37."),
    (["gamecraft", "--actions", "0"], "--actions 0 is not possible: it is a whole number from 1 on."),
    (["gamecraft", "--actions", "40000"], "N 1320000 is too large: up to 1,000,000 frames can be planned."),
    (["gamecraft", "33", "--actions", "2"], "N 33 and --actions 2 are two lengths; give one of them."),
    (["cogvideox", "--chunk", "17"], "cogvideox denoises all frames at once."),
    (["cogvideox", "--actions", "2"], "--actions is for models that answer actions (gamecraft); cogvideox takes N."),
    (["flux", "49"], "flux is an image model and has no frames to plan; trace-shapes flux shows its shapes."),
    (["sd3"], "sd3 is an image model and has no frames to plan"),
]


@pytest.mark.parametrize(("argv", "words"), BEFORE_TORCH)
def test_sentences(refused, argv, words):
    assert words in refused(*argv)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["cogvideox", "--height", "484"], "use 480 or 496."),
        (["cogvideox1.5-5b", "--height", "4800"], "use at most 2400."),
        (["hunyuanvideo", "--width", "8"], "use 16."),
        (["gamecraft", "--width", "100"], "use 96 or 112."),
    ],
)
def test_sizes(refused, argv, words):
    assert words in refused(*argv)


def test_answers_before_torch():
    """All of them in one process, and --help: neither torch nor diffusers is loaded."""
    program = f"""
import contextlib, io, sys
from tracer.cli.plan_frames import main
for argv in {[argv for argv, _ in BEFORE_TORCH] + [["--help"]]!r}:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(argv)
    assert not {{"torch", "diffusers", "transformers"}} & set(sys.modules), argv
main(["cogvideox", "--height", "484"])  # needs diffusers: this check can fail
assert {{"torch", "diffusers"}} <= set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "484 is rejected" in done.stderr


def test_a_pipe():
    """As in `plan-frames ... | head -1`: whole lines, no colours, and no failure when it is closed early."""
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "FORCE_COLOR")}
    done = subprocess.run(
        [*COMMAND, "cogvideox-2b", "50", "--height", "32", "--width", "32"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert "\x1b" not in done.stdout
    assert all(line == line.rstrip() for line in done.stdout.splitlines() if line.startswith("  "))


# the function


def test_the_function_refuses_the_same():
    with pytest.raises(UnknownName, match="did you mean cogvideox"):
        plan_frames("cogvidoex")
    for arguments, words in (
        ({"frames": 0}, "N 0 is not possible"),
        ({"frames": True}, "N True is not possible"),
        ({"frames": 4.0}, r"N 4\.0 is not possible"),
        ({"chunk": 17}, "denoises all frames at once"),
        ({"actions": 3}, "takes N"),
        ({"height": 484}, "use 480 or 496"),
    ):
        with pytest.raises(BadRequest, match=words):
            plan_frames("cogvideox", costs=False, **arguments)


def test_a_planner_keeps_its_trace(ready):
    planner = Planner("cogvideox-5b")
    assert planner.plan(49).flops < planner.plan(81).flops
    assert len(ready) == 1
