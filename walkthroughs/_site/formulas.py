r"""Turns the TeX of a page, `$...$` and `$$...$$`, into MathML: browsers set it without any script.

The Markdown extension arithmatex finds the formulas and leaves them as `\(...\)` and `\[...\]` in elements of
its own; here they are exchanged in the finished HTML.
"""

import html
import re

_INLINE = re.compile(r'<span class="arithmatex">\\\((.*?)\\\)</span>', re.DOTALL)
_BAR = re.compile(r"<mo((?: [a-z]+=\"[^\"]*\")*)>(?=(?:\||&#x0007C;)</mo>)")
_MINUS = re.compile(r"(&#x00028;</mo>|&#x0002C;</mo>)<mo>(?=&#x02212;</mo>)")
_DISPLAY = re.compile(r'<div class="arithmatex">\s*\\\[(.*?)\\\]\s*</div>', re.DOTALL)


def to_mathml(page: str) -> str:
    """Exchanges every formula on a page that arithmatex has marked."""
    if "arithmatex" not in page:
        return page
    # Not at the top of the file: a site without formulas needs no converter.
    from latex2mathml.converter import convert as plain

    def convert(tex: str, display: str = "inline") -> str:
        return spaced(plain(tex, display=display))

    def inline(match: re.Match[str]) -> str:
        return convert(html.unescape(match[1]).strip())

    def display(match: re.Match[str]) -> str:
        formula = convert(html.unescape(match[1]).strip(), display="block")
        return f'<div class="lesson-formula" role="group" aria-label="Formula" tabindex="0">{formula}</div>'

    return _DISPLAY.sub(display, _INLINE.sub(inline, page))


def spaced(mathml: str) -> str:
    """MathML whose bars and leading minus signs stand close: browsers give both the room of an operator between two."""
    mathml = _BAR.sub(r'<mo lspace="0" rspace="0"\1>', mathml)
    return _MINUS.sub(r'\1<mo form="prefix">', mathml)
