"""The terminal's tree as SVG and as text: the same words, no request to anywhere, light and dark."""

import re
from xml.etree import ElementTree

import pytest
from hostile import hostile
from test_markdown import timeless

from tracer.drawing import DARK, LIGHT
from tracer.outline import Options
from tracer.views.svg import render_svg
from tracer.views.tree import plain_lines, render_text, renderable

SVG = "{http://www.w3.org/2000/svg}"
CHECKPOINTS = ["cogvideox-5b", "hunyuanvideo"]


def drawn(trace, options=None, width=100):
    return render_svg(plain_lines(renderable(trace, options, width=width), width), "a tree")


def self_contained(text):
    """Parsed, after checking that nothing in it asks for, runs or leads to anything."""
    root = ElementTree.fromstring(text)
    tags = {e.tag.removeprefix(SVG) for e in root.iter()}
    assert tags <= {"svg", "title", "style", "rect", "text", "tspan", "g", "path"}
    names = {name for e in root.iter() for name in e.attrib}
    assert not any(name.startswith("on") or ":" in name or "href" in name or name == "style" for name in names)
    spoken = [value for e in root.iter() for value in e.attrib.values()]  # what is not text to read
    spoken += [e.text or "" for e in root.iter(f"{SVG}style")]
    assert not re.search(r"url\(|@import|@font-face|data:|://", "\n".join(spoken))
    return root


def words(root):
    return ["".join(e.itertext()).replace("\u00a0", " ") for e in root.iter(f"{SVG}text")]


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_text(name, width, traces, golden):
    golden(f"views/{name}-{width}.txt", render_text(timeless(traces[name]), width=width))


@pytest.mark.parametrize("width", [60, 100, 120])
@pytest.mark.parametrize("options", [Options(), Options(notes=True), Options(depth=3), Options(stage="rope")], ids=str)
def test_the_words_of_the_terminal(traces, options, width):
    text = drawn(traces["hunyuanvideo"], options, width)
    lines = [line.strip() for line in render_text(traces["hunyuanvideo"], options, width=width).splitlines()]
    assert words(self_contained(text)) == [line for line in lines if line]
    assert len(text) < 200_000


def test_default_tree_is_small(seen):
    text = drawn(seen)
    root = self_contained(text)
    assert len(text) < 16_000
    wide, high = (float(root.attrib[side]) for side in ("width", "height"))
    assert wide <= 850
    for text in root.iter(f"{SVG}text"):
        assert float(text.attrib["x"]) + float(text.attrib["textLength"]) <= wide
        assert 0 < float(text.attrib["y"]) < high


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_contrast(palette):
    for name in ("ink", "soft", "stage", "shape", "share", "warn"):
        for ground in ("page", "box", "group"):
            a, b = sorted((luminance(palette[name]), luminance(palette[ground])))
            assert (b + 0.05) / (a + 0.05) >= 4.5, (name, ground)


@pytest.mark.parametrize("stages", [True, False])
def test_hostile_names_are_text(stages):
    text = drawn(hostile(stages), Options(notes=True))
    root = self_contained(text)
    assert any("<script>alert(1)</script>" in line for line in words(root))
    assert len(text) < 200_000
