"""Turns one executed notebook into the Markdown of one page.

Cell outputs travel through the Markdown renderer packed in base64: they reach the page byte for byte, and no
extension can take a line of a tree for a fence, a table or a heading. `unpack` puts them back afterwards.
"""

import base64
import html
import json
import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter
from nbformat import NotebookNode
from traitlets.config import Config

TEMPLATES = Path(__file__).parent / "templates"

OUTPUT_KINDS = ["text/html", "image/svg+xml", "image/png", "text/plain"]
"""What a page can show, best first; of several forms of one output only the first is shown."""

_PACKED = re.compile(r'<div class="packed" data-output="([A-Za-z0-9+/=]*)"></div>')
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class LessonError(Exception):
    """A notebook that must not become a page; the message says what to do."""


def read_lesson(path: Path) -> NotebookNode:
    """Reads a notebook and refuses it unless every cell ran, in order and without an error."""
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, nbformat.reader.NotJSONError, nbformat.ValidationError) as problem:
        raise LessonError(f"{path.name} is not a readable notebook: {problem}. Run `make notebooks`.") from None
    check_executed(notebook, path.name)
    return notebook


def check_executed(notebook: NotebookNode, name: str) -> None:
    """Raises LessonError for a notebook with a cell that never ran, ran out of order, or failed."""
    code = [(i, cell) for i, cell in enumerate(notebook.cells) if cell.cell_type == "code" and cell.source.strip()]
    for nth, (index, cell) in enumerate(code, start=1):
        for output in cell.outputs:
            if output.output_type == "error":
                raise LessonError(
                    f"{name}: cell {index} ended in {output.ename}: {output.evalue}. "
                    "Mend the lesson, then run `make notebooks`."
                )
        if cell.execution_count is None:
            raise LessonError(f"{name}: cell {index} was never executed. Run `make notebooks`.")
        if cell.execution_count != nth:
            raise LessonError(f"{name}: cell {index} was executed out of order. Run `make notebooks`.")


def to_markdown(notebook: NotebookNode, download: str) -> str:
    """Renders a checked notebook; `download` is where the page offers it."""
    exporter = MarkdownExporter(
        extra_template_basedirs=[str(TEMPLATES)],
        template_name="lesson",
        filters={"fence": fence, "pack": pack, "as_text": as_text, "as_image": as_image},
        config=Config(
            ExtractOutputPreprocessor={"enabled": False},  # a page carries its pictures inside
            HighlightMagicsPreprocessor={"enabled": False},
            NbConvertBase={"display_data_priority": OUTPUT_KINDS},
        ),
    )
    body, _ = exporter.from_notebook_node(notebook)
    return f"---\nnotebook: {json.dumps(download)}\n---\n\n{body.strip()}\n"


def unpack(page: str) -> str:
    """Puts every packed output back into the finished HTML of a page, each in a box of its own."""

    def boxed(match: re.Match[str]) -> str:
        return box(base64.b64decode(match[1]).decode(), "lesson-output", "Output")

    return _PACKED.sub(boxed, page)


def box_tables(page: str) -> str:
    """Gives every table that came from Markdown a box that scrolls."""
    return re.sub(r"<table>.*?</table>", lambda match: box(match[0], "lesson-table", "Table"), page, flags=re.DOTALL)


def part_cells(page: str) -> str:
    """Puts a line break between the cells of tables: the search reads cells that touch as one word."""
    return re.sub(r"(</t[dh]>)(?=<t[dh])", r"\1\n", page)


def box(content: str, kind: str, label: str) -> str:
    """A box that may scroll by itself, and can therefore be reached from the keyboard."""
    return f'<div class="{kind}" role="group" aria-label="{label}" tabindex="0">\n{content}\n</div>'


def pack(output: str) -> str:
    """Hides a piece of HTML from the Markdown renderer."""
    return f'<div class="packed" data-output="{base64.b64encode(output.encode()).decode()}"></div>'


def fence(source: str) -> str:
    """A highlighted code block; its fence is longer than any run of backticks in the source."""
    longest = max((len(run) for run in re.findall(r"`+", source)), default=0)
    ticks = "`" * max(3, longest + 1)
    return f"{ticks} python\n{source}\n{ticks}"


def as_text(text: str) -> str:
    """Terminal text as a `<pre>`, without its colour codes."""
    return f"<pre>{html.escape(_ANSI.sub('', text).rstrip())}</pre>"


def as_image(data: str, metadata: NotebookNode) -> str:
    """A PNG inside the page; a lesson gives the words for it as `alt` in the metadata of the output."""
    alt = metadata.get("image/png", metadata).get("alt", "Figure drawn by the code above")
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{"".join(data.split())}">'
