"""Family files in a folder of the user's: found, traced by name and by config, and refused in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from tracer import families
from tracer.errors import BadConfig

FAMILY = """
from dataclasses import replace

from tracer.families import load

FAMILY = replace(load("latte"), name="{name}", title="Mine", model="{model}")
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder for families; all is as before when the test is over."""
    before, modules = list(families.__path__), set(sys.modules)
    monkeypatch.delenv(families.FOLDERS, raising=False)
    yield tmp_path
    families.__path__[:] = before
    for name in set(sys.modules) - modules:
        if name.startswith("tracer.families."):
            del sys.modules[name]


def write(folder, name, text):
    (folder / f"{name}.py").write_text(text, encoding="utf-8")


def test_a_folder_that_is_named_is_looked_into(folder):
    own = families.names()
    write(folder, "mine", FAMILY.format(name="mine", model="LatteTransformer3DModel"))
    assert families.names() == own
    families.look_in(folder)
    families.look_in(str(folder))
    assert families.names() == sorted([*own, "mine"])
    assert families.__path__.count(str(folder.resolve())) == 1
    trace = tracer.trace("mine", formulas=False)
    assert trace.header.family == "mine"
    assert trace.root == tracer.trace("latte", formulas=False).root


def test_a_family_of_the_package_is_not_replaced(folder):
    write(folder, "cogvideox", "raise AssertionError('not to be read')")
    families.look_in(folder)
    assert families.family("cogvideox").title == "CogVideoX"
    assert families.names().count("cogvideox") == 1


def test_a_file_that_was_written_after_the_folder_was_named_is_found(folder):
    families.look_in(folder)
    write(folder, "late", FAMILY.format(name="late", model="LatteTransformer3DModel"))
    families.look_in(folder)
    assert families.family("late").title == "Mine"


@pytest.mark.parametrize("text", ["", "FAMILY = 1\n", FAMILY.format(name="other", model="LatteTransformer3DModel")])
def test_a_file_without_a_family_of_its_name_is_refused(folder, text):
    write(folder, "wrong", text)
    families.look_in(folder)
    with pytest.raises(BadConfig, match=r"^'.*wrong\.py' is no family file: it has no FAMILY = Family\(name=\"wrong\""):
        families.all_families()


def test_a_folder_that_is_not_there_is_refused(folder):
    with pytest.raises(BadConfig, match=r"^There is no folder '.*nowhere' to look for families in\.$"):
        families.look_in(folder / "nowhere")


def command(*words, folders, cwd):
    program = Path(sys.executable).with_name("trace-shapes")
    env = os.environ | {"TRACER_FAMILIES": os.pathsep.join(map(str, folders))}
    return subprocess.run([program, *words], cwd=cwd, env=env, capture_output=True, text=True, check=False)


def test_commands_find_the_folders_of_the_variable(folder):
    write(folder, "mine", FAMILY.format(name="mine", model="LatteTransformer3DModel"))
    assert "\nmine alone" not in command("--list", folders=[], cwd=folder).stdout
    done = command("--list", folders=["", folder], cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "\nmine alone means latte-1" in done.stdout


def test_commands_refuse_a_folder_that_is_not_there(folder):
    done = command("cogvideox", folders=["nowhere"], cwd=folder)
    assert done.returncode == 2
    assert done.stderr == "trace-shapes: There is no folder 'nowhere' to look for families in.\n"
    assert done.stdout == ""
