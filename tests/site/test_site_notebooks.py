"""The normal form of the notebooks, and the check that they belong to their lessons."""

import json
import tempfile

import nbformat
import notebooks
import pytest

LESSON = '# %% [markdown]\n# # Title\n\n# %% tags=["hide-input"]\nprint(1)\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of lessons with one lesson and its notebook, not executed."""
    monkeypatch.setattr(notebooks, "LESSONS", tmp_path)
    lesson = tmp_path / "demo.py"
    lesson.write_text(LESSON)
    notebooks.write(notebooks.read_source(lesson), tmp_path / "demo.ipynb")
    return tmp_path


def test_two_runs_give_the_same_bytes(folder):
    lesson, path = folder / "demo.py", folder / "demo.ipynb"
    texts = []
    for _ in range(2):
        notebooks.write(notebooks.execute(lesson), path)
        texts.append(path.read_bytes())
    assert texts[0] == texts[1]
    assert json.loads(texts[0])["cells"][1]["outputs"][0]["text"] == ["1\n"]
    assert sorted(path.name for path in folder.iterdir()) == ["demo.ipynb", "demo.py"]


def test_a_lesson_that_raises_leaves_its_notebook_alone(folder, capsys):
    lesson, path = folder / "demo.py", folder / "demo.ipynb"
    before = path.read_bytes()
    lesson.write_text("# %%\n1 / 0\n")
    assert notebooks.main([str(lesson)]) == 1
    assert "demo.py does not run:" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_the_normal_form_keeps_tags_and_drops_the_rest(folder):
    notebook = nbformat.from_dict(
        {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"language_info": {"name": "python", "version": "3.11.7"}, "widgets": {}},
            "cells": [
                {
                    "cell_type": "code",
                    "id": "random",
                    "metadata": {"tags": ["hide-input"], "execution": {"iopub.status.busy": "now"}},
                    "source": "x",
                    "execution_count": 1,
                    "outputs": [
                        {"output_type": "stream", "name": "stdout", "text": "a"},
                        {"output_type": "stream", "name": "stdout", "text": "b"},
                        {"output_type": "stream", "name": "stderr", "text": "c"},
                    ],
                }
            ],
        }
    )
    normal = notebooks.normalise(notebook)
    assert normal.metadata == notebooks.METADATA
    assert normal.cells[0].id == "cell-000"
    assert normal.cells[0].metadata == {"tags": ["hide-input"]}
    assert [output.text for output in normal.cells[0].outputs] == ["ab", "c"]
    nbformat.validate(normal)


def test_a_path_of_this_machine_is_refused():
    text = f"{tempfile.gettempdir()}/x.py:1: UserWarning"
    output = {"output_type": "stream", "name": "stderr", "text": text}
    notebook = nbformat.from_dict({"cells": [{"cell_type": "code", "outputs": [output]}]})
    with pytest.raises(notebooks.NotebookError, match=r"^demo\.py: cell 0 prints a path of this machine"):
        notebooks.refuse_machine_paths(notebook, "demo.py")


class TestCheck:
    def test_a_pair_passes(self, folder):
        assert notebooks.main(["--check"]) == 0

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            (LESSON.replace("print(1)", "print(2)"), "demo.ipynb: cell 1 is not the one in demo.py."),
            (LESSON.replace(' tags=["hide-input"]', ""), "demo.ipynb: cell 1 is not the one in demo.py."),
            (LESSON + "\n# %%\n2\n", "demo.ipynb has 2 cells, demo.py has 3."),
        ],
        ids=["source", "tags", "cells"],
    )
    def test_a_changed_lesson_is_told_in_one_sentence(self, folder, capsys, text, sentence):
        (folder / "demo.py").write_text(text)
        assert notebooks.main(["--check"]) == 1
        assert capsys.readouterr().err == f"{sentence} Run `make notebooks`.\n"

    def test_a_missing_notebook_is_told(self, folder, capsys):
        (folder / "demo.ipynb").unlink()
        assert notebooks.main(["--check"]) == 1
        assert capsys.readouterr().err == "demo.py has no notebook demo.ipynb. Run `make notebooks`.\n"

    def test_a_notebook_without_its_lesson_is_told(self, folder, capsys):
        (folder / "demo.py").unlink()
        assert notebooks.main(["--check"]) == 1
        assert "demo.ipynb has no lesson demo.py" in capsys.readouterr().err
