"""Executes the lessons into their notebooks, or checks that the notebooks still belong to them.

python walkthroughs/_site/notebooks.py            writes every walkthroughs/*.ipynb anew
python walkthroughs/_site/notebooks.py --check    compares sources only; runs nothing

The notebooks are committed with their outputs, so they are brought into one normal form: two runs of the same
lesson give the same bytes.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode

LESSONS = Path(__file__).resolve().parents[1]
AGAIN = "Run `make notebooks`."

KERNEL_ENV = {
    "JUPYTER_COLUMNS": "80",  # rich prints as wide as a page
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the kernel's debugger warns about frozen modules
}

METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
"""All that a notebook says about its kernel: enough to open it, nothing that changes with a version."""


class NotebookError(Exception):
    """A lesson and its notebook disagree, or a lesson does not run."""


def read_source(lesson: Path) -> NotebookNode:
    """The cells of a percent-format lesson, not executed, in normal form."""
    return normalise(jupytext.read(lesson, fmt="py:percent"))


def execute(lesson: Path) -> NotebookNode:
    """Runs a lesson in a fresh kernel, beside its file, and returns the notebook in normal form."""
    notebook = read_source(lesson)
    client = NotebookClient(
        notebook, kernel_name="python3", timeout=600, resources={"metadata": {"path": str(lesson.parent)}}
    )
    try:
        client.execute()
    except CellExecutionError as failure:
        raise NotebookError(f"{lesson.name} does not run:\n{failure}") from None
    notebook = normalise(notebook)
    refuse_machine_paths(notebook, lesson.name)
    return notebook


def normalise(notebook: NotebookNode) -> NotebookNode:
    """Keeps of a notebook only what the lesson decides: sources, tags and outputs."""
    cells = []
    for index, cell in enumerate(notebook.cells):
        kept = NotebookNode(id=f"cell-{index:03}", cell_type=cell.cell_type, source=cell.source)
        tags = cell.metadata.get("tags")
        kept.metadata = NotebookNode(tags=tags) if tags else NotebookNode()
        if cell.cell_type == "code":
            kept.execution_count = cell.execution_count
            kept.outputs = merge_streams(cell.outputs)
        cells.append(kept)
    return nbformat.from_dict({"cells": cells, "metadata": METADATA, "nbformat": 4, "nbformat_minor": 5})


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Joins neighbouring pieces of one stream: where the kernel cuts them is a matter of timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(NotebookNode(output))
    return merged


def refuse_machine_paths(notebook: NotebookNode, name: str) -> None:
    """Raises NotebookError when an output names a folder of this machine: it could never be reproduced."""
    folders = {
        LESSONS.parent,
        Path(sys.prefix),
        Path(sys.base_prefix) / "lib",
        Path.home(),
        Path(tempfile.gettempdir()),
    }
    for index, cell in enumerate(notebook.cells):
        outputs = str(cell.get("outputs", ""))
        for folder in folders:
            if f"{folder}{os.sep}" in outputs:
                raise NotebookError(f"{name}: cell {index} prints a path of this machine, under {folder}.")


def write(notebook: NotebookNode, path: Path) -> None:
    """Writes a notebook whole or not at all."""
    nbformat.validate(notebook)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=".", suffix=".tmp", encoding="utf-8", newline="\n", delete=False
    ) as file:
        file.write(nbformat.writes(notebook).rstrip("\n") + "\n")
    draft = Path(file.name)
    draft.chmod(0o644)  # temporary files are born private
    draft.replace(path)


def check(lesson: Path) -> None:
    """Raises NotebookError when the notebook of a lesson is missing or has other sources or tags."""
    path = lesson.with_suffix(".ipynb")
    if not path.exists():
        raise NotebookError(f"{lesson.name} has no notebook {path.name}. {AGAIN}")
    expected = [identity(cell) for cell in read_source(lesson).cells]
    found = [identity(cell) for cell in normalise(nbformat.read(path, as_version=4)).cells]
    if len(expected) != len(found):
        raise NotebookError(f"{path.name} has {len(found)} cells, {lesson.name} has {len(expected)}. {AGAIN}")
    for index, (theirs, ours) in enumerate(zip(found, expected, strict=True)):
        if theirs != ours:
            raise NotebookError(f"{path.name}: cell {index} is not the one in {lesson.name}. {AGAIN}")


def identity(cell: NotebookNode) -> tuple[str, str, tuple[str, ...]]:
    """What makes two cells the same before they run."""
    return cell.cell_type, cell.source, tuple(cell.metadata.get("tags", ()))


def check_all(lessons: list[Path]) -> None:
    """Checks each lesson, and that no notebook lost its lesson."""
    for lesson in lessons:
        check(lesson)
    for path in sorted(LESSONS.glob("*.ipynb")):
        if not path.with_suffix(".py").exists():
            raise NotebookError(f"{path.name} has no lesson {path.stem}.py: delete it, or bring the lesson back.")


def main(arguments: list[str] | None = None) -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(description="Execute the lessons into their notebooks.")
    parser.add_argument("--check", action="store_true", help="only compare the sources")
    parser.add_argument("lessons", nargs="*", type=Path, help="walkthroughs/*.py; all of them by default")
    options = parser.parse_args(arguments)
    lessons = [path.resolve() for path in options.lessons] or sorted(LESSONS.glob("*.py"))
    os.environ.update(KERNEL_ENV)
    try:
        if options.check:
            check_all(lessons)
            return 0
        for lesson in lessons:
            print(f"executing {lesson.name}", file=sys.stderr)
            write(execute(lesson), lesson.with_suffix(".ipynb"))
    except NotebookError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
