"""The model's own source on a page: filled at build from what is installed, or refused in one sentence."""

import inspect
import logging
import re
from html import unescape
from pathlib import Path

import pytest
import source
from diffusers.models.transformers.cogvideox_transformer_3d import CogVideoXBlock
from mkdocs.commands.build import build
from mkdocs.config import load_config
from mkdocs.exceptions import Abort

HOOK = Path(source.__file__).with_name("hook.py")


def asks(checkpoint="cogvideox-5b", function="CogVideoXBlock.forward", more=""):
    return f'<div class="model-source" data-checkpoint="{checkpoint}" data-function="{function}"{more}></div>'


@pytest.fixture
def built(tmp_path, caplog):
    """Builds a site of one page with the real hook: built(text) -> its HTML."""

    def build_site(text):
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "demo.md").write_text(text)
        config_file = tmp_path / "mkdocs.yml"
        config_file.write_text(
            f"site_name: demo\nstrict: true\ntheme: mkdocs\nplugins: []\nhooks: ['{HOOK}']\n"
            "markdown_extensions: [md_in_html, attr_list]\n"
        )
        with caplog.at_level(logging.ERROR, "mkdocs"):
            build(load_config(str(config_file), site_dir=str(tmp_path / "site")))
        return (tmp_path / "site" / "demo" / "index.html").read_text()

    return build_site


def code_of(page):
    """The lines of source on a page by their numbers in the file."""
    found = re.findall(r"<li[^>]*><i[^>]*>(\d+)</i><code>(.*?)</code>", page, re.DOTALL)
    return {int(number): unescape(text) for number, text in found}


def test_a_page_shows_the_installed_lines_with_shapes_beside_them(built):
    page = built(f"# Demo\n\nBefore.\n\n{asks()}\n\nAfter.\n")
    lines, first = inspect.getsourcelines(CogVideoXBlock.forward)
    shown = code_of(page)
    assert shown[first] == lines[0].strip()
    assert [shown[first + n] for n in range(len(lines))] == [line.rstrip()[4:] for line in lines]
    assert "<span>2 17550 3072</span>" in page
    assert page.index("Before.") < page.index("tracer-source") < page.index("After.")
    assert "trace-shapes cogvideox-5b --source CogVideoXBlock.forward" in page
    assert "data-search-exclude" in page


def test_a_page_carries_the_style_once():
    one, two = (source.fill(asks() * n).count("<style>") for n in (1, 2))
    assert (one, two) == (1, 1)
    assert source.fill(asks() * 2).count("<figure>") == 2


def test_a_fold_is_closed_and_has_its_title():
    page = source.fill(asks(more=' data-fold="Its block &amp; norm"'))
    assert page.startswith("<details ")
    assert "<summary>Its block &amp; norm</summary>" in page
    assert " open" not in page.partition(">")[0]


def test_a_page_that_asks_for_nothing_is_left_alone():
    text = "<p>&lt;div class=&quot;model-source&quot;&gt;</p>"
    assert source.fill(text) == text


@pytest.mark.parametrize(
    ("element", "sentence"),
    [
        (asks(checkpoint="cogvidoex-5b"), "No model is called 'cogvidoex-5b': did you mean cogvideox-5b?"),
        (asks(checkpoint="cogvideox"), "'cogvideox' is the checkpoint cogvideox-5b: write data-checkpoint="),
        (asks(function="CogVideoXBlok"), "No function or stage of this trace is called 'CogVideoXBlok': did you mean"),
        (asks(function=""), "A div of the class model-source has no data-function: it takes data-checkpoint,"),
        (asks(more=' data-flod="x"'), "A div of the class model-source has data-flod, which means nothing"),
        (asks().replace("></div>", ">text</div>"), "An element of the class model-source is not empty"),
    ],
    ids=["checkpoint", "family", "function", "missing", "strange", "filled"],
)
def test_what_cannot_be_shown_is_refused_in_one_sentence(element, sentence):
    with pytest.raises(source.SourceError, match="^" + re.escape(sentence)) as refused:
        source.fill(element)
    assert "\n" not in str(refused.value)


def test_a_build_ends_with_the_page_and_the_sentence(built, caplog):
    with pytest.raises(Abort):
        built(asks(function="nothing_like_it"))
    assert "demo.md: No function or stage of this trace is called 'nothing_like_it'" in caplog.text
