"""Family files in a folder of the user's: found, traced by name and by config, and refused in a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import tracer
from tracer import families
from tracer.errors import BadConfig, BadRequest

FAMILY = """
from dataclasses import replace

from tracer.families import load

FAMILY = replace(load("latte"), name="{name}", title="Mine", model="{model}")
"""


OWN = """
import torch
from torch import nn

from tracer.families.base import Checkpoint, Family, Findings, Input, Letter, Request


class OwnDiT(nn.Module):
    def __init__(self, width, depth=2, patch=2):
        super().__init__()
        self.patch = nn.Conv3d(4, width, (1, patch, patch), (1, patch, patch))
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(depth))

    def forward(self, latents, text):
        tokens = torch.cat([text, self.patch(latents).flatten(2).mT], 1)
        for block in self.blocks:
            tokens = block(tokens)
        return tokens


FAMILY = Family(
    name="own", title="Own", model="OwnDiT", summary="one stream",
    checkpoints=(Checkpoint("own-base", "", {"width": 64}, Request(1, 5, 64, 96, 7), 0, "float32", "mine", "derived"),),
    letters=lambda config: [
        Letter("p", "patch_size", "patch", "rows and columns of a patch", number=True),
        Letter("D", "width", "width", "width of the stream"),
    ],
    inputs=lambda config: [Input("latents", "B 4 F H W"), Input("text", "B L D")],
    sizes=lambda config, r: {"B": r.batch, "F": r.frames, "H": r.height // 8, "W": r.width // 8, "L": r.text_tokens},
    check=lambda config, r: Findings(), constraints=lambda config: [], depths=("depth",),
)
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


def test_a_class_of_your_own_stands_in_its_family_file(folder):
    write(folder, "own", OWN)
    families.look_in(folder)
    trace = tracer.trace("own")
    joined = trace.one("", "cat").output.shape[1]
    assert joined.size == 7 + 5 * (8 // 2) * (12 // 2)
    assert joined.formula.evaluate({**trace.values, "L": 9, "H": 16}) == 9 + 5 * (16 // 2) * (12 // 2)
    assert trace.header.warnings == ()
    assert trace.short.keys() == {"S"}  # D is a letter here; h and d it has none
    place = folder / "config.json"
    place.write_text('{"_class_name": "OwnDiT", "width": 32, "depth": 3}', encoding="utf-8")
    again = tracer.trace(config=str(place))
    assert (again.values["D"], again.one("blocks.*").repeat) == (32, 3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("import torch\n", "import torhc\n", r"own\.py cannot be loaded: ModuleNotFoundError: .*torhc'\.$"),
        ("import torch\n", "import torch)\n", r"own\.py cannot be loaded: SyntaxError: unmatched '\)'"),
        ("class OwnDiT", "class Other", r"has no class OwnDiT: .*, or import your own class in its family's file\.$"),
        ('"B 4 F H W"', '"B C F H W"', r"latents has the axes 'B C F H W', and there is no letter C; there"),
        ('"width", "width",', '"width", "size",', r"letter D of own is config field 'size', .* depth, patch, width"),
        ('depths=("depth"', 'depths=("layers"', r"^'layers' counts the blocks of own, and the config has depth,"),
        ('{"width": 64}', '{"wide": 64}', r"^OwnDiT takes no field 'wide'; it takes width, depth, patch\.$"),
        ('{"width": 64}', "{}", r"letter D of own is config field 'width', and the config has no whole number there"),
    ],
)
def test_a_mistake_in_a_family_file_ends_in_a_sentence(folder, old, new, words):
    assert old in OWN
    write(folder, "own", OWN.replace(old, new))
    families.look_in(folder)
    with pytest.raises(BadConfig, match=words):
        tracer.trace("own")


def test_sizes_that_make_no_whole_patches_are_refused_where_the_family_does_not_look(folder):
    write(folder, "own", OWN)
    families.look_in(folder)
    with pytest.raises(BadRequest, match=r"^These sizes make no whole number of tokens: .* with F 5, H 9, W 9, p 2\.$"):
        tracer.trace("own", height=72, width=72)


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
