"""trace-shapes with --diff, and with a trace file for MODEL."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
from commands import answer, refusal

from tracer.calls import Trace
from tracer.cli import loading
from tracer.cli.trace_shapes import main
from tracer.diffs.diff import diff
from tracer.outline import Options
from tracer.views.diff import render_markdown, render_text
from tracer.views.tree import render_text as render_tree


@pytest.fixture
def saved(tmp_path, traces, monkeypatch):
    """Two traces in files of the working folder: old.json and new.json."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "100")
    for name, checkpoint in (("old", "cogvideox-2b"), ("new", "cogvideox-5b")):
        (tmp_path / f"{name}.json").write_text(json.dumps(traces[checkpoint].to_json()))
    return traces["cogvideox-2b"], traces["cogvideox-5b"]


@pytest.fixture
def asked(traces, monkeypatch):
    """What the API was asked for, answered by the session's traces."""
    calls = []

    def trace(model, **options):
        calls.append({"model": model, **{k: v for k, v in options.items() if v is not None}})
        return traces["cogvideox-2b" if "2b" in model else "cogvideox-5b"]

    monkeypatch.setattr("tracer.api.trace", trace)
    return calls


def code_of(capsys, *argv):
    code = main(list(argv))
    assert capsys.readouterr().err == ""
    return code


def refused(capsys, *argv):
    return refusal(main, capsys, argv, "trace-shapes")


# two sides


def test_two_files(saved, capsys):
    out = answer(main, capsys, ["old.json", "--diff", "new.json"])
    assert out == render_text(diff(*saved), width=100)
    assert "\x1b" not in out


def test_exit_codes(saved, capsys):
    assert code_of(capsys, "old.json", "--diff", "new.json") == 0
    assert code_of(capsys, "old.json", "--diff", "new.json", "--exit-code") == 1
    assert code_of(capsys, "old.json", "--diff", "old.json", "--exit-code") == 0
    assert code_of(capsys, "old.json", "--diff", "new.json", "--exit-code", "--format", "json") == 1
    assert code_of(capsys, "old.json", "--diff", "new.json", "--exit-code", "-o", "diff.txt") == 1
    refused(capsys, "old.json", "--diff", "missing.json", "--exit-code")


def test_the_same_says_so(saved, capsys):
    out = answer(main, capsys, ["new.json", "--diff", "new.json"])
    assert "No difference: 195 calls, with the same formulas and the same numbers." in out


def test_files_of_traces_that_nothing_tells_apart_are_called_by_their_names(saved, capsys, tmp_path):
    _, new = saved
    other = replace(new, root=replace(new.root, name="Another"))
    (tmp_path / "b.json").write_text(json.dumps(other.to_json()))
    out = answer(main, capsys, ["new.json", "--diff", "b.json"])
    assert out.startswith("cogvideox-5b · new.json → b.json\n")


def test_formats(saved, capsys, tmp_path):
    d = diff(*saved)
    assert json.loads(answer(main, capsys, ["old.json", "--diff", "new.json", "--format", "json"])) == d.to_json()
    texts = {"txt": render_text(d, width=100), "md": render_markdown(d), "json": json.dumps(d.to_json()) + "\n"}
    for suffix, text in texts.items():
        assert answer(main, capsys, ["old.json", "--diff", "new.json", "-o", f"d.{suffix}"]) == ""
        assert (tmp_path / f"d.{suffix}").read_text() == text
    words = refused(capsys, "old.json", "--diff", "new.json", "-o", "d.csv")
    assert words == "'d.csv' does not say which format: a name ends in .txt, .json or .md, or --format tells."


def test_one_stage(saved, capsys):
    out = answer(main, capsys, ["old.json", "--diff", "new.json", "--stage", "position-embedding"])
    assert "- + sincos table" in out  # only the old side has it
    assert "parameters " not in out
    words = refused(capsys, "old.json", "--diff", "new.json", "--stage", "camera")
    assert words.startswith("Neither side has a stage 'camera'; their stages are time-embedding, ")


def test_two_requests(asked, capsys):
    answer(main, capsys, ["cogvideox-5b", "--frames", "33", "--diff", "cogvideox-5b --frames 17"])
    assert [(a["model"], a["frames"]) for a in asked] == [("cogvideox-5b", 33), ("cogvideox-5b", 17)]


def test_without_a_model_it_is_the_first_one(asked, capsys):
    answer(main, capsys, ["cogvideox-5b", "--diff", "--frames 17 --batch 1"])
    answer(main, capsys, ["cogvideox-5b", "--diff=--frames=17"])
    assert [a.get("frames") for a in asked] == [None, 17, None, 17]
    assert asked[1] == {"model": "cogvideox-5b", "frames": 17, "batch": 1}


def test_options_hold_for_both_sides(asked, capsys):
    answer(main, capsys, ["cogvideox-2b", "--frames", "17", "--height", "256", "--diff", "cogvideox-5b --height 320"])
    assert asked[0] == {"model": "cogvideox-2b", "frames": 17, "height": 256}
    assert asked[1] == {"model": "cogvideox-5b", "frames": 17, "height": 320}


def test_a_model_and_a_file(saved, asked, capsys):
    out = answer(main, capsys, ["old.json", "--diff", "cogvideox-5b --frames 49"])
    assert out == render_text(diff(*saved), width=100)
    answer(main, capsys, ["cogvideox-5b", "--frames", "49", "--diff", "old.json"])
    assert [a.get("frames") for a in asked] == [49, 49]


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--exit-code"], "--exit-code is for --diff; give both."),
        (
            ["--diff", ""],
            '--diff takes a MODEL or a trace file, with options in quotes: --diff "cogvideox --frames 17".',
        ),
        (["--diff", "'a"], "--diff ''a' has a quote that does not end."),
        (["--diff", "cogvidoex"], "No model is called 'cogvidoex': did you mean cogvideox?"),
        (["--diff", "cogvideox --notes"], "'--notes' has no place inside --diff: it takes a MODEL and --frames, "),
        (["--diff", "cogvideox -o x.json"], "'--output' has no place inside --diff"),
        (["--diff", "cogvideox wan"], "'wan' has no place inside --diff"),
        (["--diff", "cogvideox --frames 0"], "--frames 0"),
        (["--diff", "cogvideox", "--notes"], "--diff and --notes are two views; give one of them."),
        (["--diff", "cogvideox", "--costs"], "--diff and --costs are two views; give one of them."),
        (["--diff", "cogvideox", "--depth", "0"], "--diff and --depth are two views; give one of them."),
        (["--diff", "cogvideox", "--stage", "nothing"], "No stage is called 'nothing'"),
    ],
)
def test_refusals(argv, words, asked, capsys):
    said = refused(capsys, "cogvideox", *argv)
    assert said.startswith(words) or words in said
    assert asked == []


def test_a_pipeline_and_a_model_alone(saved, capsys, tmp_path):
    old, _ = saved
    whole = replace(old, root=replace(old.root, kind="function"))
    (tmp_path / "whole.json").write_text(json.dumps(whole.to_json()))
    words = refused(capsys, "old.json", "--diff", "whole.json")
    assert words == "One trace is of a whole pipeline, the other of a model alone: give --pipeline for both."


# a file for MODEL


def test_a_file_gives_the_same_views_as_its_model(saved, capsys):
    _, new = saved
    for argv, options in (
        ([], Options()), (["--stage", "rope"], Options(stage="rope")), (["--depth", "2"], Options(depth=2)),
        (["--notes"], Options(notes=True)), (["--pixels"], Options(pixels=True)),
    ):  # fmt: skip
        assert answer(main, capsys, ["new.json", *argv]) == render_tree(new, options, width=100)
    assert Trace.from_json(answer(main, capsys, ["new.json", "--format", "json"])) == new
    assert "attention" in answer(main, capsys, ["new.json", "--costs"])


def test_files_need_no_torch(saved):
    code = "import sys; from tracer.cli.trace_shapes import main; main(['old.json', '--diff', 'new.json']); "
    code += "main(['new.json']); assert not {'torch', 'diffusers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_what_was_made_before_cannot_be_changed(saved, capsys):
    for option in (["--frames", "33"], ["--dtype", "float32"], ["--pipeline"], ["--torchinfo"], ["--steps", "3"]):
        words = refused(capsys, "new.json", *option)
        assert words == f"'new.json' is a trace that was made before; {option[0]} cannot change it."
    assert "--frames cannot change it" in refused(capsys, "old.json", "--diff", "new.json --frames 33")


def nested(text, n, end):
    return text * n + "1" + end * n


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "'x.json' is no whole trace: it is not JSON (line 1, column 1)."),
        ("hello", "'x.json' is no whole trace: it is not JSON (line 1, column 1)."),
        (b"\xff\xfe\x00", "'x.json' is no trace: it is not text in UTF-8."),
        ('{"schema": 1, "header": {"mod', "'x.json' is no whole trace: it ends in the middle."),
        ('{"schema": 1, "header": {', "'x.json' is no whole trace: it ends in the middle."),
        ("[1, 2]", "'x.json' is not a trace: the top level of its JSON is not an object."),
        ("{}", "'x.json' is no trace: it has no schema version, 1 is expected."),
        ('{"schema": 2}', "'x.json' is not a trace this version reads: its schema is '2', 1 is expected."),
        ('{"schema": 1, "header": {"model": "M"}}', "'x.json' is not a whole trace: 'root' is missing."),
        ('{"_class_name": "WanTransformer3DModel"}', "'x.json' is a config, not a trace: type --from 'x.json'."),
        ('{"diff": 1}', "'x.json' is a diff, not a trace; a diff is made anew from its two traces."),
        (nested("[", 100_000, "]"), "'x.json' is no trace: it is nested too deep."),
        (nested('{"a":', 500, "}"), "'x.json' is no trace: it has no schema version, 1 is expected."),
        (nested('{"schema":', 500, "}"), "'x.json' is no trace: it is nested too deep."),
        ('{"schema": 1, "n": 1' + "0" * 5000 + "}", "'x.json' is no trace: it has a number beyond all sizes."),
        ('{"schema": 1, "n": 1' + "0" * 40 + "}", "'x.json' is no trace: it has a number beyond all sizes."),
        ('{"schema": 1, "formula": [[1, {"a": 99}]]}', "'x.json' is no trace: a formula has a power beyond 16."),
        ('{"schema": 1, "\\u0007": 1}', "'x.json' is not a whole trace: it has a part '\\u0007' that nobody knows."),
    ],
)  # fmt: skip
def test_what_is_no_trace(content, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert refused(capsys, "x.json") == words


def test_files_that_cannot_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert refused(capsys, "x.json") == "There is no file 'x.json'; trace-shapes MODEL -o FILE.json writes one."
    (tmp_path / "folder.json").mkdir()
    assert refused(capsys, "folder.json") == "'folder.json' cannot be read: Is a directory."
    (tmp_path / "big.json").write_text(" " * 100)
    monkeypatch.setattr(loading, "LARGEST_FILE", 99)
    assert refused(capsys, "big.json").startswith("'big.json' is no trace: it has more than ")


@pytest.mark.parametrize(
    "header",
    [
        {"model": "M", "params": "many"},
        {"model": "M", "legend": [{"symbol": "D", "name": "d", "value": "x", "meaning": "m"}]},
        {"model": "M", "request": {"frames": [], "height": {}, "width": None}, "legend": 3},
        {"model": "M", "legend": [{"symbol": "p", "name": "p", "value": 0, "meaning": "", "number": True,
                                   "formula": [[1, {"q": -1}]]}]},
        {"model": {"a": 1}, "checkpoint": ["b"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("second", [[], ["--diff", "new.json"], ["--costs"], ["--stage", "rope"]])
def test_parts_that_do_not_fit_give_an_answer_or_a_sentence(header, second, saved, capsys, tmp_path):
    tensor = {"dtype": "float32", "shape": [{"size": 3, "formula": [[1, {"D": 1, "q": -1}]]}]}
    root = {"kind": "module", "path": "", "name": "M", "stage": "rope", "outputs": {"x": tensor},
            "cost": {"flops": {"size": 4, "formula": [[1, {"F": 1}]]}}}  # fmt: skip
    (tmp_path / "x.json").write_text(json.dumps({"schema": 1, "header": header, "root": root}))
    code = main(["x.json", *second])
    out, err = capsys.readouterr()
    assert code in (0, 2)
    assert "Traceback" not in err
    assert bool(out) == (code == 0)
    assert err == "" or (err.startswith("trace-shapes: 'x.json'") and err.count("\n") == 1)


def test_hostile_strings_in_a_file_are_inert(saved, capsys, tmp_path):
    text = (tmp_path / "new.json").read_text()
    for word in ("CogVideoXBlock", "cogvideox-5b", "hidden_states", "attention", "2.13.0"):
        text = text.replace(word, f"\\u001b]0;x\\u0007\\u202e{word}[red]")
    (tmp_path / "bad.json").write_text(text)
    for argv in (["bad.json"], ["old.json", "--diff", "bad.json"], ["bad.json", "--diff", "old.json"]):
        out = answer(main, capsys, argv)
        assert not {c for c in out if not c.isprintable() and c != "\n"}
        assert "[red]" in out
    capsys.readouterr()
