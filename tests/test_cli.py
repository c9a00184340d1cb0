"""The command line: what is printed where, in a terminal, a pipe and a file."""

import contextlib
import io
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

import pytest
from commands import answer, hears_ctrl_c

from tracer.calls import Trace
from tracer.cli.common import LARGEST, PIPE_WIDTH, write
from tracer.cli.trace_shapes import main, parser
from tracer.errors import Unwritable
from tracer.families import all_families
from tracer.outline import Options
from tracer.views.tree import render_text

COMMAND = [sys.executable, "-m", "tracer.cli.trace_shapes"]


@pytest.fixture
def ready(monkeypatch, traces):
    """Makes the command line show the session's traces, and tells what was asked for."""
    made = {name: traces[name] for name in ("cogvideox-5b", "hunyuanvideo")}
    asked = []

    def trace(model, **options):
        asked.append({"model": model, **{k: v for k, v in options.items() if v is not None}})
        return made["hunyuanvideo" if "hunyuan" in model else "cogvideox-5b"]

    monkeypatch.setattr("tracer.api.trace", trace)
    return asked


@pytest.fixture
def said(capsys):
    """Runs the command line; returns stdout. Nothing may be on stderr."""

    return lambda *argv: answer(main, capsys, argv)


def test_the_default(ready, said, traces, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)  # pytest-xdist sets it
    out = said("cogvideox")
    assert out == render_text(traces["cogvideox-5b"], width=PIPE_WIDTH)
    assert ready == [{"model": "cogvideox"}]


def test_what_is_asked_for_reaches_the_trace(ready, said):
    said("hunyuanvideo", "--frames", 5, "--height", 32, "--width", 48, "--batch", 3, "--text-tokens", 7,
         "--dtype", "float16")  # fmt: skip
    assert ready == [
        {"model": "hunyuanvideo", "frames": 5, "height": 32, "width": 48, "batch": 3, "text_tokens": 7,
         "dtype": "float16"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "options"),
    [
        (["--notes"], Options(notes=True)),
        (["--stage", "rope"], Options(stage="rope")),
        (["--stage", "rope", "--notes"], Options(stage="rope", notes=True)),
        *((["--depth", str(n)], Options(depth=n)) for n in range(5)),
        (["--ops"], Options(ops=True)),
        (["--numbers"], Options(show="numbers")),
        (["--formulas"], Options(show="formulas")),
        (["--pixels"], Options(pixels=True)),
    ],
)
def test_views(ready, said, traces, argv, options, monkeypatch):
    for columns in ("60", "80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        out = said("cogvideox", *argv)
        assert "\n".join(line.rstrip() for line in out.splitlines()) + "\n" == render_text(
            traces["cogvideox-5b"], options, width=int(columns)
        )
        assert "\x1b" not in out


def test_json(ready, said, traces):
    out = said("cogvideox", "--format", "json")
    assert out.isascii()
    assert out.count("\n") == 1
    assert Trace.from_json(out) == traces["cogvideox-5b"]


def test_torchinfo(ready, said):
    out = said("cogvideox", "--torchinfo")
    assert "torchinfo, the same forward:" in out
    assert "not in torchinfo's table: " in out
    assert "stage " in out


def test_list(said, monkeypatch):
    for columns in ("60", "80", "120"):
        monkeypatch.setenv("COLUMNS", columns)
        out = said("--list")
        assert all(len(line) <= int(columns) for line in out.splitlines())
        for family in all_families():
            assert f"{family.name} alone means {family.checkpoints[0].name}" in " ".join(out.split())
            for c in family.checkpoints:
                assert c.name in out.split()
                assert f"{c.params:,}" in out.split()
                assert f"{c.request.height}×{c.request.width}" in out
                assert c.confidence in out


def test_help(capsys):
    with pytest.raises(SystemExit) as left:
        main(["--help"])
    assert left.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    for action in parser()._actions:
        assert action.help, action.dest
        assert all(option in out for option in action.option_strings)


# files


@pytest.mark.parametrize("name", ["out.txt", "out.json", ".txt.json", "a b.json"])
def test_files(ready, said, traces, tmp_path, name):
    path = tmp_path / name
    assert said("cogvideox", "-o", path) == ""
    text = path.read_text(encoding="utf-8")
    if name.endswith("json"):
        assert Trace.from_json(text) == traces["cogvideox-5b"]
    else:
        assert text == render_text(traces["cogvideox-5b"], width=100)
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_a_format_without_a_suffix(ready, said, tmp_path):
    said("cogvideox", "-o", tmp_path / "trace", "--format", "json")
    assert json.loads((tmp_path / "trace").read_text())["schema"] == 1


@pytest.mark.parametrize("place", ["folder.txt", "/dev/full", "/proc/a.txt"])
def test_places_that_take_no_file(ready, capsys, tmp_path, place):
    if not os.path.exists("/proc") and place.startswith("/"):  # noqa: PTH110
        pytest.skip("needs Linux")
    (tmp_path / "folder.txt").mkdir()
    target = tmp_path / place
    assert main(["cogvideox", "-o", str(target), "--format", "tree"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert "cannot be written: " in err or "is a folder" in err
    assert [p.name for p in tmp_path.iterdir()] == ["folder.txt"]


def test_a_file_that_cannot_be_replaced_stays(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_text("before")
    monkeypatch.setattr(os, "access", lambda *a: False)
    with pytest.raises(Unwritable, match="cannot be written: Permission denied"):
        write(path, "after")
    monkeypatch.undo()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(Unwritable, match="No space left on device"):
        write(path, "after")
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link_and_a_mode_a_mode(tmp_path):
    path, link = tmp_path / "a.txt", tmp_path / "b.txt"
    path.write_text("before")
    path.chmod(0o640)
    link.symlink_to(path)
    write(link, "after\ud800")
    assert link.is_symlink()
    assert path.read_text() == "after\\ud800"
    assert path.stat().st_mode & 0o777 == 0o640


# processes


def started(*argv, **options):
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR", "TERM", "FORCE_COLOR")}
    environment |= options.pop("env", {})
    return subprocess.Popen([*COMMAND, *argv], env=environment, **options)


def in_terminal(*argv, columns=80, **env):
    """What a terminal of this width shows."""
    ours, theirs = pty.openpty()
    ioctl(theirs, TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = started(*argv, stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "xterm-256color", **env})
    os.close(theirs)
    out = b""
    with contextlib.suppress(OSError):  # the terminal is closed when the process ends
        while part := os.read(ours, 65536):
            out += part
    os.close(ours)
    assert process.wait(60) == 0
    return out.decode().replace("\r\n", "\n")


def test_a_terminal(traces):
    shown = in_terminal("cogvideox", "--formulas", columns=80)
    assert "\x1b[36m" in shown
    assert "more: trace-shapes cogvideox --notes" in shown
    assert "tracing" in shown


def test_a_terminal_without_colours():
    assert "\x1b" not in in_terminal("--list", TERM="dumb")
    plain = in_terminal("--list", NO_COLOR="1", columns=60)
    assert "\x1b[3" not in plain
    assert all(c.name in plain for family in all_families() for c in family.checkpoints)
    assert "\x1b[1m" in in_terminal("--list")


def test_a_pipe_that_is_closed_early():
    """As in `trace-shapes ... | head -1`: quiet, and no failure."""
    process = started("--list", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 0


def test_a_pipe_that_is_closed_during_a_long_answer(ready, monkeypatch, capsys):
    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError

        def fileno(self):
            return os.open(os.devnull, os.O_WRONLY)

    for argv in (["cogvideox"], ["cogvideox", "--format", "json"]):
        monkeypatch.setattr(sys, "stdout", Closed())
        assert main(argv) == 0
    monkeypatch.undo()
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full: Linux")  # noqa: PTH110
def test_a_full_disk():
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = started("--list", stdout=full, stderr=subprocess.PIPE)
        assert process.stderr.read() == b"trace-shapes: the output cannot be written: No space left on device.\n"
        process.stderr.close()
        assert process.wait(60) == 2


def test_a_terminal_of_few_letters():
    process = started("--list", stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"")
    assert b"480?720" in out


def test_control_c_is_quiet():
    process = started("hunyuanvideo", stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=hears_ctrl_c)
    maps = Path(f"/proc/{process.pid}/maps")
    if not maps.exists():
        pytest.skip("how far the command is, only Linux tells")
    while "libtorch" not in maps.read_text():  # the command has begun its work, and will be at it for seconds
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_from_a_folder(tmp_path, capsys):
    """A pipeline folder is followed into its transformer; a field nobody takes is told."""
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text('{"_class_name": "CogVideoXPipeline"}')
    config = {"_class_name": "CogVideoXTransformer3DModel", "num_layers": 3, "nonsense": 4}
    (tmp_path / "transformer" / "config.json").write_text(json.dumps(config))
    assert main(["--from", str(tmp_path), "--frames", "9", "--height", "32", "--width", "32"]) == 0
    out = capsys.readouterr().out
    assert "CogVideoXBlock ×3" in out
    assert "config field 'nonsense' is not one this diffusers version takes" in " ".join(out.split())
    assert LARGEST >= 10_000
