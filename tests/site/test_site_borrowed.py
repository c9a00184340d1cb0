"""Nothing that is committed for the site holds lines of diffusers' source: not as text, not in an output.

Texts are cut into lines as code has them, without what a view puts around them: numbers, bars, shapes in the margin,
tags. Three lines in a row that also stand in a row somewhere in diffusers are borrowed.
"""

import html
import importlib.util
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIFFUSERS = Path(importlib.util.find_spec("diffusers").origin).parent
ROW = 3
"""Lines that must follow each other to count. Fewer are found by chance: everybody writes `x = self.norm(x)`."""
TOKENS = 6
"""Words and signs of a line that says something; shorter ones are skipped on both sides."""

_BEFORE = re.compile(r"^\s*\d*\s*[│┊⋮▏|]\s?")
_AFTER = re.compile(r"\s{2,}[\d×| ]+$")
_TAG = re.compile(r"<[^<>]*>")
_TOKEN = re.compile(r"\w+|[^\w\s]")


def lines(text: str) -> Iterator[str]:
    """The lines of a text that say something, in one form: tokens with one space between them."""
    for raw in text.splitlines():
        tokens = _TOKEN.findall(_AFTER.sub("", _BEFORE.sub("", raw)))
        code = " ".join(tokens)
        if len(tokens) >= TOKENS and re.search("[A-Za-z_]", code) and not code.startswith(("import ", "from ")):
            yield code


def rows(text: str) -> Iterator[str]:
    """Every few lines of a text that follow each other."""
    found = list(lines(text))
    return ("\n".join(found[n : n + ROW]) for n in range(len(found) - ROW + 1))


def texts(path: Path) -> Iterator[str]:
    """What a committed file says: of a notebook each source and each output, of markup its text too."""
    content = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        for cell in json.loads(content)["cells"]:
            yield "".join(cell["source"])
            for output in cell.get("outputs", []):
                for kind, data in {"text/plain": output.get("text", ""), **output.get("data", {})}.items():
                    if kind.startswith("text/") or kind == "image/svg+xml":
                        yield from spoken("".join(data))
    else:
        yield from spoken(content)


def spoken(text: str) -> Iterator[str]:
    """A text, and what is left of it without its tags."""
    yield text
    if "<" in text:
        yield html.unescape(_TAG.sub("\n", text))


def borrowed(text: str, known: set[int]) -> list[str]:
    """The rows of a text that stand in diffusers."""
    return [row for row in rows(text) if hash(row) in known]


@pytest.fixture(scope="module")
def known() -> set[int]:
    """Every row of diffusers' source, as hashes."""
    return {hash(row) for path in DIFFUSERS.rglob("*.py") for row in rows(path.read_text(encoding="utf-8"))}


def committed() -> list[Path]:
    """The files that pages are made of."""
    folder = ROOT / "walkthroughs"
    kinds = [path for kind in ("*.ipynb", "*.md", "*.py", "*.html") for path in folder.rglob(kind)]
    return sorted(path for path in kinds if "node_modules" not in path.parts)


@pytest.mark.xdist_group("borrowed")
class TestBorrowed:
    def test_no_file_of_the_site_has_lines_of_diffusers(self, known):
        found = {
            path.name: rows for path in committed() if (rows := [r for t in texts(path) for r in borrowed(t, known)])
        }
        assert found == {}

    def test_the_files_looked_at_are_those_of_the_site(self):
        names = {path.relative_to(ROOT / "walkthroughs").as_posix() for path in committed()}
        assert {"cogvideox.py", "cogvideox.ipynb", "index.md", "_site/generated/models.py"} <= names

    @pytest.mark.parametrize("view", ["as it is", "terminal", "page", "notebook"])
    def test_source_in_any_view_is_found(self, known, view, tmp_path):
        import source
        from stored import stored

        from tracer.listings.installed import Reader
        from tracer.listings.listed import listings
        from tracer.views.source import renderable
        from tracer.views.tree import plain

        name = "CogVideoXBlock.forward"
        trace = stored("cogvideox-5b", lines=True)
        reader = Reader(trace.header.sources)
        if view == "as it is":
            found, _ = listings(trace, reader, name)
            text = "\n".join(reader(found[0].file).splitlines()[found[0].first :][:30])
        elif view == "terminal":
            text = plain(renderable(trace, *listings(trace, reader, name), width=100), 100)
        else:
            text = source.listing("cogvideox-5b", name)
        if view == "notebook":
            output = {"output_type": "display_data", "data": {"text/html": [text]}}
            path = tmp_path / "demo.ipynb"
            path.write_text(json.dumps({"cells": [{"source": [], "outputs": [output]}]}))
            assert [row for t in texts(path) for row in borrowed(t, known)]
        else:
            assert [row for t in spoken(text) for row in borrowed(t, known)]

    def test_ordinary_code_is_not(self, known):
        text = (
            "import torch\nfrom torch import nn\nx = torch.zeros(2)\ny = my_own_function(x, scale=3)\nprint(x + y, x)"
        )
        assert borrowed(text, known) == []
