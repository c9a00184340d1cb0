"""How a notebook becomes a page, and which notebooks must not become one."""

import logging
from pathlib import Path

import nbformat
import pages
import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

HOOK = Path(pages.__file__).with_name("hook.py")


def lesson(*cells):
    return new_notebook(cells=[new_markdown_cell("# Title"), *cells])


def shows(count=1, source="tree", tags=(), **data):
    """A code cell that ran and displayed one thing; `html="<p>"` stands for `text/html`, and so on."""
    kinds = {"html": "text/html", "svg": "image/svg+xml", "png": "image/png", "text": "text/plain"}
    output = new_output("display_data", data={kinds[kind]: value for kind, value in data.items()})
    return new_code_cell(source, execution_count=count, outputs=[output], metadata={"tags": list(tags)})


def raises():
    error = new_output("error", ename="ZeroDivisionError", evalue="division by zero", traceback=[])
    return new_code_cell("1 / 0", execution_count=1, outputs=[error])


def page(*cells):
    """The Markdown of a lesson with its outputs put back, without the trip through the Markdown renderer."""
    return pages.unpack(pages.to_markdown(lesson(*cells), download="demo.ipynb"))


@pytest.fixture
def built(tmp_path, caplog):
    """Builds a site of one lesson with the real hook: built(notebook) -> the HTML of its page."""

    def build_site(notebook):
        docs = tmp_path / "docs"
        docs.mkdir()
        (docs / "demo.py").write_text("# %%\n")
        if notebook is not None:
            nbformat.write(notebook, docs / "demo.ipynb")
        config_file = tmp_path / "mkdocs.yml"
        config_file.write_text(
            f"site_name: demo\nstrict: true\ntheme: mkdocs\nplugins: []\nhooks: ['{HOOK}']\n"
            "exclude_docs: '*.py'\nmarkdown_extensions: [pymdownx.superfences, tables]\n"
        )
        with caplog.at_level(logging.ERROR, "mkdocs"):
            build(load_config(str(config_file), site_dir=str(tmp_path / "site")))
        return (tmp_path / "site" / "demo" / "index.html").read_text()

    return build_site


class TestContent:
    def test_text_and_code_keep_their_order(self):
        text = page(new_markdown_cell("first"), shows(source="x = 1", text="second"), new_markdown_cell("third"))
        assert text.index("first") < text.index("x = 1") < text.index("second") < text.index("third")

    def test_html_reaches_the_page_byte_for_byte(self, built):
        # Blank lines, fences, headings, pipes and unclosed tags are all things that Markdown would rewrite.
        tricky = '<div data-a="1 & 2">\n\n# not a heading\n\n```\n| a | b |\n|---|\n*no em* &lt;\n\n<p>open'
        assert tricky in built(lesson(shows(html=tricky, text="plain")))

    def test_html_goes_before_every_other_form(self):
        text = page(shows(html="<b>html</b>", svg="<svg/>", png="aGk=", text="plain"))
        assert "<b>html</b>" in text
        assert "plain" not in text
        assert "<svg/>" not in text

    def test_svg_goes_before_png_before_text(self):
        assert "<svg/>" in page(shows(svg="<svg/>", png="aGk=", text="plain"))
        assert 'src="data:image/png;base64,aGk="' in page(shows(png="aGk=\n", text="plain"))

    def test_a_picture_says_what_it_shows(self):
        cell = shows(png="aGk=")
        cell.outputs[0].metadata = nbformat.from_dict({"image/png": {"alt": 'Sizes "by" block'}})
        assert 'alt="Sizes &quot;by&quot; block"' in page(cell)

    def test_text_is_escaped_and_loses_its_colour_codes(self):
        assert "<pre>a &lt; b\n└─ c</pre>" in page(shows(text="\x1b[31ma < b\x1b[0m\n└─ c\n"))

    def test_a_stream_is_shown_as_text(self):
        cell = new_code_cell("print(1)", execution_count=1, outputs=[new_output("stream", text="1 <\n")])
        assert "<pre>1 &lt;</pre>" in page(cell)

    def test_hide_input_hides_the_code_and_nothing_else(self):
        hidden = page(shows(source="secret()", text="shown", tags=["hide-input"]))
        assert "secret()" not in hidden
        assert "shown" in hidden
        assert "secret()" in page(shows(source="secret()", text="shown"))

    def test_a_fence_inside_the_code_does_not_end_the_code(self):
        assert pages.fence('"""```"""').startswith("```` python\n")

    def test_the_page_knows_its_notebook(self):
        assert page().startswith('---\nnotebook: "demo.ipynb"\n---\n')

    def test_a_table_of_the_text_can_scroll_and_be_reached(self, built):
        html = built(lesson(new_markdown_cell("| a | b |\n|---|---|\n| 1 | 2 |")))
        assert '<div class="lesson-table" role="group" aria-label="Table" tabindex="0">\n<table>' in html


class TestRefusal:
    @pytest.mark.parametrize(
        ("notebook", "sentence"),
        [
            pytest.param(
                lesson(raises()),
                "demo.ipynb: cell 1 ended in ZeroDivisionError: division by zero. "
                "Mend the lesson, then run `make notebooks`.",
                id="error",
            ),
            pytest.param(
                lesson(new_code_cell("1 + 1")),
                "demo.ipynb: cell 1 was never executed. Run `make notebooks`.",
                id="never-executed",
            ),
            pytest.param(
                lesson(shows(count=2), shows(count=1)),
                "demo.ipynb: cell 1 was executed out of order. Run `make notebooks`.",
                id="out-of-order",
            ),
            pytest.param(None, "demo.py has no executed notebook demo.ipynb. Run `make notebooks`.", id="missing"),
        ],
    )
    def test_a_build_ends_with_one_sentence(self, built, caplog, notebook, sentence):
        with pytest.raises(Abort):
            built(notebook)
        assert sentence in caplog.text

    def test_a_file_that_is_no_notebook_is_named(self, tmp_path):
        path = tmp_path / "demo.ipynb"
        path.write_text("{")
        with pytest.raises(pages.LessonError, match=r"^demo\.ipynb is not a readable notebook: .*make notebooks"):
            pages.read_lesson(path)

    def test_an_empty_cell_needs_no_run(self):
        pages.check_executed(lesson(new_code_cell("  ")), "demo.ipynb")
