"""The mkdocs hook: every lesson becomes a page, at build time, from its executed notebook."""

from pathlib import Path

from formulas import to_mathml
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from pages import LessonError, box_tables, read_lesson, to_markdown, unpack

SCHEMA = Path(__file__).parents[2] / "tracer" / "trace.schema.json"
SEARCH_DIALOG = 'data-md-component="search" role="dialog"'


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds one generated page for each notebook, which stays beside it for download, and the schema of traces."""
    files.append(File.generated(config, SCHEMA.name, content=SCHEMA.read_text(encoding="utf-8")))
    try:
        for lesson in sorted(Path(config.docs_dir).glob("*.py")):
            add_page(lesson, files, config)
    except LessonError as problem:
        raise PluginError(str(problem)) from None
    return files


def on_page_content(html: str, **_: object) -> str:
    """Finishes the text, formulas and tables, and then puts the outputs back, which nothing may touch."""
    try:
        html = to_mathml(html)
    except ModuleNotFoundError as missing:
        raise PluginError(f"A page has formulas, which need {missing.name}: pip install {missing.name}") from None
    return unpack(box_tables(html))


def on_post_page(output: str, **_: object) -> str:
    """Names the theme's search dialog, for those who hear the page."""
    return output.replace(SEARCH_DIALOG, f'{SEARCH_DIALOG} aria-label="Search"')


def on_post_template(output_content: str, **_: object) -> str:
    """The same on the page that stands in for a missing one."""
    return on_post_page(output_content)


def add_page(lesson: Path, files: Files, config: MkDocsConfig) -> None:
    """Writes the page of one lesson into the build."""
    notebook = lesson.with_suffix(".ipynb")
    if not notebook.exists():
        raise LessonError(f"{lesson.name} has no executed notebook {notebook.name}. Run `make notebooks`.")
    content = to_markdown(read_lesson(notebook), download=notebook.name)
    files.append(File.generated(config, f"{lesson.stem}.md", content=content))
