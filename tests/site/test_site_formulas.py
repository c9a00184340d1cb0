"""TeX in a lesson becomes MathML on the page."""

import formulas
import markdown
import pytest

pytest.importorskip("latex2mathml", reason="formulas need latex2mathml: pip install latex2mathml")


@pytest.fixture
def render():
    """Markdown -> HTML with the extension and the setting that mkdocs.yml names."""
    converter = markdown.Markdown(
        extensions=["pymdownx.arithmatex"], extension_configs={"pymdownx.arithmatex": {"generic": True}}
    )
    return lambda text: formulas.to_mathml(converter.convert(text))


def test_a_formula_in_a_sentence_stays_in_its_sentence(render):
    page = render(r"The grid has $H \cdot W < S$ patches.")
    assert page.startswith("<p>The grid has <math")
    assert "<mi>H</mi>" in page
    assert "arithmatex" not in page


def test_a_formula_on_its_own_lines_gets_a_box(render):
    page = render("Before.\n\n$$\nF = \\frac{N - 1}{4} + 1\n$$\n\nAfter.")
    assert '<div class="lesson-formula" role="group" aria-label="Formula" tabindex="0"><math' in page
    assert 'display="block"' in page
    assert "<mfrac>" in page


def test_prices_and_code_are_no_formulas(render):
    assert "<math" not in render("It costs $5 or `$x$`, not $6.")


def test_a_page_without_formulas_is_left_alone():
    assert formulas.to_mathml("<p>\\(x\\)</p>") == "<p>\\(x\\)</p>"


def test_bars_and_leading_minus_signs_stand_close(render):
    page = render(r"Sizes are $\operatorname{mean}|a|$, and $(-b, a)$ of $(a - b)$.")
    assert page.count('<mo lspace="0" rspace="0"') == 2  # both bars
    assert page.count('<mo form="prefix">&#x02212;') == 1  # and not the minus between two
