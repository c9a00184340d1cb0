"""The mkdocs hook: every lesson becomes a page, at build time, from its executed notebook."""

import os
from pathlib import Path

import front
import generated
import source
import stored
from anchors import add_anchors
from card import card
from formulas import to_mathml
from generated import models
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from pages import LessonError, box_tables, part_cells, read_lesson, to_markdown, unpack

from tracer.errors import TracerError

os.environ.pop("TRACER_FAMILIES", None)  # the site shows the families of this package, not those of who builds it

LESSONS = Path(__file__).resolve().parents[1]
SCHEMA = LESSONS.parent / "tracer" / "trace.schema.json"
BOOSTS = {"models/": 0.2, "reference/": 0.5}
"""What a word counts to the search on pages that have the same words many times, and so in lessons."""
LESSON_BOOST = 4
SEARCH_DIALOG = 'data-md-component="search" role="dialog"'


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Puts a page for each checkpoint where the site's navigation has the table of them."""
    config.nav = models.with_models(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds one generated page for each notebook, which stays beside it for download, and the schema of traces."""
    files.append(File.generated(config, SCHEMA.name, content=SCHEMA.read_text(encoding="utf-8")))
    if Path(config.docs_dir) == LESSONS:  # and not a folder of a test
        for path, text in generated.files():
            files.append(File.generated(config, path, content=text))
        about = "Every shape with its number, its formula and its reason, from a run at real size."
        try:
            files.append(File.generated(config, "assets/card.png", content=card(config.site_name, about)))
        except ModuleNotFoundError as missing:
            name = str(missing.name).partition(".")[0]
            raise PluginError(f"The picture for other sites needs {name}: pip install {name}") from None
    try:
        for lesson in sorted(Path(config.docs_dir).glob("*.py")):
            add_page(lesson, files, config)
    except LessonError as problem:
        raise PluginError(str(problem)) from None
    return files


def on_page_markdown(markdown: str, *, page: Page, **_: object) -> str:
    """Lets the search name lessons before the pages of the reference and of each checkpoint."""
    boost = LESSON_BOOST if "notebook" in page.meta else 1
    boost = next((value for folder, value in BOOSTS.items() if page.file.src_uri.startswith(folder)), boost)
    page.meta.setdefault("search", {"boost": boost})
    return markdown


def on_page_content(html: str, *, page: Page, **_: object) -> str:
    """Finishes the text, formulas, tables and source, and then puts the outputs back, which nothing may touch."""
    try:
        html = to_mathml(html)
    except ModuleNotFoundError as missing:
        raise PluginError(f"A page has formulas, which need {missing.name}: pip install {missing.name}") from None
    try:
        html = front.fill(source.fill(box_tables(html)))
    except (source.SourceError, TracerError) as problem:
        raise PluginError(f"{page.file.src_uri}: {problem}") from None
    return part_cells(add_anchors(unpack(html)))


def on_post_page(output: str, **_: object) -> str:
    """Names the theme's search dialog, for those who hear the page."""
    return output.replace(SEARCH_DIALOG, f'{SEARCH_DIALOG} aria-label="Search"')


def on_post_template(output_content: str, **_: object) -> str:
    """The same on the page that stands in for a missing one."""
    return on_post_page(output_content)


def on_post_build(**_: object) -> None:
    """Keeps the folder of kept traces and pages from growing without end."""
    stored.forget()


def add_page(lesson: Path, files: Files, config: MkDocsConfig) -> None:
    """Writes the page of one lesson into the build."""
    notebook = lesson.with_suffix(".ipynb")
    if not notebook.exists():
        raise LessonError(f"{lesson.name} has no executed notebook {notebook.name}. Run `make notebooks`.")
    content = to_markdown(read_lesson(notebook), download=notebook.name)
    files.append(File.generated(config, f"{lesson.stem}.md", content=content))
