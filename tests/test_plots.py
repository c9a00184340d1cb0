"""Figures show anatomy's numbers, the same bytes each time, in whole files, and on light and dark pages."""

import io
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from math import cos, pi, sin
from xml.etree import ElementTree

import numpy as np
import pytest

from tracer import rope
from tracer.errors import BadRequest, TracerError, UnknownName, Unwritable
from tracer.plots import picture
from tracer.plots import rope as figures
from tracer.plots.clip import LONGEST, clip
from tracer.rope import anatomy
from tracer.rope.grids import AXES

pytest.importorskip("matplotlib")

NAMES = ["cogvideox", "cogvideox1.5-5b", "hunyuanvideo", "wan", "flux", "allegro", "scail-half", "six-way-192"]
STATIC = ("bands", "similarity", "stretch", "pairs")
SMALL = (3, 4, 5)


def grids(one):
    """The trained grid and one that goes beyond it, within the end of a table."""
    trained = one.trained or (5, 6, 7)
    most = getattr(one.grid, "most", (None, None, None))
    beyond = tuple(min(n * 3 // 2 + 1, m or 10**6) for n, m in zip(trained, most, strict=True))
    return trained, beyond


def drawn(one, name, sizes):
    return figures.pairs(one) if name == "pairs" else getattr(figures, name)(one, sizes)


def lines(axes):
    """Points of every line of an axes, by gid."""
    return {line.get_gid(): line.get_xydata() for line in axes.lines if line.get_gid()}


@pytest.fixture(scope="module")
def small():
    """A page's SVG of every figure that stands still, and the clip's."""
    one = replace(rope.published("cogvideox-sat"), name="a <b> & $c$", trained=(2, 3, 4))
    out = {name: drawn(one, name, SMALL) for name in STATIC}
    return out | {"clip": clip(one, SMALL), "compare": figures.compare(one, rope.published("scail-half"))}


@pytest.fixture(scope="module")
def pages(small):
    """What a notebook shows of each, as text and as HTML."""
    return {name: shown._repr_mimebundle_() for name, shown in small.items()}


SHEETS = [("cogvideox", True), ("allegro", True), ("scail-half", True), ("six-way-192", True), ("flux", False)]
"""A crop, interpolation of its own, no trained grid with pairs of two kinds, one frame."""


@pytest.mark.parametrize(("name", "beyond"), SHEETS)
def test_a_sheet_of_many_ropes(name, beyond):
    """Also without a warning: they are errors here."""
    one = rope.published(name)
    shown = figures.sheet(one, grids(one)[beyond])
    assert shown.title.count(one.name) == (4 if one.trained else 3)
    root = ElementTree.fromstring(shown.svg())
    words = {"".join(element.itertext()) for element in root.iter() if element.tag.endswith("text")}
    assert set(shown.title.split("; ")) <= words
    if not beyond or name == "allegro":
        assert clip(one, grids(one)[0]).steps == grids(one)[0][0]


@pytest.mark.parametrize("name", NAMES)
def test_bands_are_anatomys(name):
    one = rope.published(name)
    for sizes in grids(one):
        found = lines(figures.bands(one, sizes).figure.axes[0])
        every = anatomy.bands(one, sizes)
        for axis in AXES:
            own = [band for band in every if band.axis == axis]
            whole = found.get(f"{axis}: a full turn or more", np.empty((0, 2)))[:, 0]
            half = found.get(f"{axis}: half a turn or more", np.empty((0, 2)))[:, 0]
            less = found.get(f"{axis}: less than half a turn", np.empty((0, 2)))[:, 0]
            assert [*whole, *half, *less] == [band.wavelength for band in own]
            assert [len(whole), len(less)] == [sum(b.reach >= 2 * pi for b in own), sum(b.reach < pi for b in own)]


def test_compare_has_both():
    a, b = rope.published("cogvideox"), rope.published("scail")
    found = lines(figures.compare(a, b).figure.axes[0])
    for one in (a, b):
        for axis, waves in zip(AXES, one.wavelengths(), strict=True):
            shown = [x for gid, line in found.items() if gid.startswith(f"{axis}, {one.name}:") for x in line[:, 0]]
            assert shown == waves.tolist()
    with pytest.raises(BadRequest, match=r"scail and kaleido name no trained grid; give sizes, such as"):
        figures.compare(b, rope.published("kaleido"))
    assert "7 positions" in figures.compare(b, rope.published("kaleido"), (7, 8, 9)).text


def test_a_rope_and_its_change_are_told_apart():
    a = rope.published("cogvideox")
    for change in ("half", "ntk"):
        drawn_, b = figures.compare(a, rope.changed(a, change, (26, 30, 45))), f"{a.name}:{change}"
        assert drawn_.title == f"{a.name} over {b}: wavelengths"
        lanes = {gid.rpartition(":")[0] for gid in lines(drawn_.figure.axes[0])}
        assert {f"{axis}, {name}" for axis in AXES for name in (a.name, b)} == lanes


def test_two_ropes_at_sizes_of_their_own():
    a, b = rope.published("cogvideox"), rope.published("wan:half")
    said = figures.compare(a, b, (1, 2, 3), (4, 5, 6)).text
    assert "cogvideox-5b, 1×2×3 tokens" in said
    assert "wan2.1-t2v-14b:half, 4×5×6 tokens" in said
    assert "1 position;" in said  # and not: 1 positions


def test_similarity_is_anatomys():
    one, sizes, query = rope.published("hunyuanvideo"), (5, 6, 7), (1, 2, 3)
    left, right, _ = figures.similarity(one, sizes, query).figure.axes
    found = lines(left)
    for i, (axis, line) in enumerate(zip(AXES, anatomy.similarity(one, sizes, query), strict=True)):
        assert np.array_equal(found[axis][:, 1], line)
        assert found[axis][:, 0].tolist() == [n - query[i] for n in range(sizes[i])]
    assert np.array_equal(right.images[0].get_array(), anatomy.similarity_plane(one, sizes, query))
    middle = figures.similarity(one, sizes)
    assert "frame 2, row 3, column 3" in middle.title


def test_stretch_is_anatomys():
    one, sizes = rope.published("wan"), (30, 40, 60)
    axes = figures.stretch(one, sizes).figure.axes
    every = anatomy.bands(one, sizes)
    for i, axis in enumerate(AXES):
        steps, reaches, alike = (lines(axes[row * 3 + i]) for row in range(3))
        own = [n for n, band in enumerate(every) if band.axis == axis]
        for way in anatomy.stretches(one, sizes):
            assert steps[way.kind][-1, 0] == way.finest[i]
            assert reaches[way.kind][:, 1].tolist() == [way.reach[n] / (2 * pi) for n in own]
            assert reaches["trained"][:, 1].tolist() == [way.trained[n] / (2 * pi) for n in own]
            fitted = one.stretched(way.kind, sizes)
            assert np.array_equal(alike[way.kind][:, 1], anatomy.similarity(fitted, sizes, (0, 0, 0))[i])


@pytest.mark.parametrize("name", ["cogvideox", "scail-half", "allegro"])
def test_arcs_join_the_columns_of_a_pair(name):
    one = rope.published(name)
    axes = figures.pairs(one).figure.axes[0]
    joined = {}
    for patch in axes.patches:
        if patch.get_gid() in AXES:
            points = patch.get_path().vertices.reshape(-1, 3, 2)
            joined[patch.get_gid()] = [(int(p[0, 0]), int(p[2, 0])) for p in points]
    assert [pair for axis in AXES for pair in joined[axis]] == one.pairs
    assert sum(patch.get_width() for patch in axes.patches if hasattr(patch, "get_width")) == one.head_dim


def test_the_text_says_the_same(small, pages):
    said = str(small["bands"])
    assert said.startswith("a <b> & $c$: wavelengths over 3×4×5 tokens\n\nframe")
    one = replace(rope.published("cogvideox-sat"), trained=(2, 3, 4))
    for waves in one.wavelengths():
        for wave in waves:
            assert (f"{wave:.3g}" if wave < 1000 else f"{wave:,.0f}") in said
    for name, shown in small.items():
        assert max(map(len, shown.text.splitlines())) <= 90, name
        assert pages[name]["text/plain"] == str(shown)
    assert "24-25" in str(small["pairs"])
    assert "finest step ×0.75" in str(small["stretch"])


@pytest.mark.parametrize("name", [*STATIC, "compare", "clip"])
def test_svg_on_a_page(small, pages, name):
    page = pages[name]["text/html"]
    root = ElementTree.fromstring("<svg" + page.partition("<svg")[2].partition("</svg>")[0] + "</svg>")
    ids = [element.attrib["id"] for element in root.iter() if "id" in element.attrib]
    assert len(ids) == len(set(ids))
    used = set(re.findall(r"url\(#([^)]+)\)", page)) | set(re.findall(r'href="#([^"]+)"', page))
    assert used == set(ids)
    assert not re.search(
        r'(href|src)="(?!#|data:image/png)|url\((?!#)|@import|<script|http://(?!www.w3.org/2000/svg)', page
    )
    spaced = "{http://www.w3.org/2000/svg}"
    assert root.find(f"{spaced}title").text == small[name].title == root.attrib["aria-label"]
    assert root.find(f"{spaced}desc").text == small[name].text
    assert root.attrib["role"] == "img"
    assert "viewBox" in root.attrib
    assert "width" not in root.attrib
    colours = set(re.findall(r"#[0-9a-f]{6}\b", page.partition("<svg")[2]))
    assert colours <= set(picture.EITHER.values())  # what a page does not say; the rest is the page's own
    assert "currentColor" in page
    assert "*{" not in page
    assert len(page) < 60_000


def test_pictures_on_one_page_do_not_share_ids(pages):
    count = Counter()
    for page in (shown["text/html"] for shown in pages.values()):
        count.update(set(re.findall(r'id="([^"]+)"', page)))
        own = set(re.findall(r"\.(v[0-9a-f]{10})-", page))
        assert len(own) == 1
    assert set(count.values()) == {1}


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(a, b):
    low, high = sorted((luminance(a), luminance(b)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize(
    ("palette", "page", "least"),
    [("LIGHT", "#ffffff", 4.5), ("DARK", "#1e2129", 4.5), ("EITHER", "#ffffff", 3), ("EITHER", "#1e2129", 3)],
)
def test_colours_stand_out(palette, page, least):
    """4.5 is for text, 3 for lines and marks (WCAG 2.2, 1.4.3 and 1.4.11)."""
    for name, colour in getattr(picture, palette).items():
        assert contrast(colour, page) >= least, name


@pytest.mark.parametrize("kind", [".svg", ".png", ".pdf"])
def test_bytes_are_the_same_each_time(kind):
    draw = figures.similarity if kind == ".svg" else figures.pairs  # the former holds an image in vectors
    arguments = (SMALL,) if kind == ".svg" else ()
    first, second = (draw(rope.published("six-way-64"), *arguments) for _ in range(2))
    assert first.data(kind) == second.data(kind) == first.data(kind)


def test_bytes_are_the_same_in_another_process_and_with_other_settings():
    """Where matplotlib is loaded late: neither a rope nor the modules of the figures bring it."""
    code = (
        "import sys, tracer.plots.rope, tracer.plots.clip; from tracer import rope; rope.published('scail')\n"
        "assert 'matplotlib' not in sys.modules\n"
        "import matplotlib; matplotlib.rcParams.update({'font.size': 30, 'axes.grid': True, 'figure.dpi': 40})\n"
        "from tracer.plots import rope as figures; one = rope.published('six-way-64')\n"
        "sys.stdout.write(figures.pairs(one).html()); assert 'matplotlib.pyplot' not in sys.modules\n"
        "assert matplotlib.rcParams['font.size'] == 30"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == figures.pairs(rope.published("six-way-64")).html()


def test_files(tmp_path):
    one = rope.published("six-way-64")
    starts = {".svg": b"<?xml", ".png": b"\x89PNG", ".pdf": b"%PDF", ".gif": b"GIF8", ".PNG": b"\x89PNG"}
    for suffix, start in starts.items():
        path = tmp_path / f"sheet{suffix}"
        figures.save(path, one, (2, 3, 4), None if suffix in (".svg", ".gif") else "pairs")
        assert path.read_bytes().startswith(start)
    assert (tmp_path / "sheet.svg").read_bytes().count(b"six-way-64") >= 3
    for name in ("bands", "clip"):
        figures.save(str(tmp_path / "one.svg"), one, SMALL, name)
        root = ElementTree.fromstring((tmp_path / "one.svg").read_text())
        assert root.attrib["width"] == "540pt"
        assert "var(" not in (tmp_path / "one.svg").read_text().replace("var(--by", "").replace("var(--turn", "")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["one.svg", *(f"sheet{s}" for s in starts)])


def test_the_film_has_a_picture_for_every_position(tmp_path):
    from PIL import Image

    one = rope.published("scail")
    for axis, count in zip(AXES, (4, 2, 3), strict=True):
        film = Image.open(io.BytesIO(clip(one, (4, 2, 3), axis).film()))
        assert film.n_frames == count
    assert Image.open(io.BytesIO(clip(rope.published("flux"), (1, 4, 4)).film())).n_frames == 1


def test_arrows_stand_where_pairs_are():
    one = rope.published("scail")  # its first frame stands at 1
    shown = clip(one, (4, 2, 2))
    fast = next(line for axes in shown.figure.axes for line in axes.lines if line.get_gid() == "arrow 0")
    for step, place in enumerate([1.0, 2.0, 3.0, 4.0]):
        shown.turn(step)
        assert fast.get_xydata()[1] == pytest.approx((cos(place), sin(place)))
    assert float(re.search(r"--turn:([-.\d]+)rad", shown.svg(page=True))[1]) == pytest.approx(-3.0)
    assert "steps(4,jump-none)" in shown.html()
    assert "prefers-reduced-motion:no-preference" in shown.html()
    assert "animation" not in clip(one, (1, 2, 2)).html()


def test_refusals(tmp_path):
    one = rope.published("six-way-64")
    with pytest.raises(UnknownName, match=r"No figure is called 'bnads': did you mean bands\?"):
        figures.save(tmp_path / "a.svg", one, SMALL, "bnads")
    with pytest.raises(Unwritable, match=r"does not say which format: a name ends in \.svg, \.png, \.pdf or \.gif"):
        figures.save(tmp_path / "a.jpg", one, SMALL)
    with pytest.raises(Unwritable, match=r"bands stands still; .* \.gif is the clip"):
        figures.save(tmp_path / "a.gif", one, SMALL, "bands")
    with pytest.raises(Unwritable, match=r"a name ends in \.svg, \.png or \.pdf\."):
        figures.pairs(one).save(tmp_path / "a.gif")
    with pytest.raises(Unwritable, match="there is no folder"):
        figures.save(tmp_path / "none" / "a.svg", one, SMALL)
    with pytest.raises(BadRequest, match="six-way-64 names no trained grid to stretch from"):
        figures.save(tmp_path / "a.svg", one, SMALL, "stretch")
    with pytest.raises(BadRequest, match="outside the grid"):
        figures.similarity(one, SMALL, (3, 0, 0))
    with pytest.raises(BadRequest, match="too large to draw; up to 1,000,000"):
        figures.similarity(one, (1, 2000, 2000))
    with pytest.raises(UnknownName, match="No axis is called 'time'"):
        clip(one, SMALL, "time")
    with pytest.raises(BadRequest, match=f"at most {LONGEST}"):
        clip(one, (LONGEST + 1, 2, 2))
    (tmp_path / "folder.svg").mkdir()
    with pytest.raises(Unwritable, match="is a folder"):
        figures.save(tmp_path / "folder.svg", one, SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.svg"]


def test_files_are_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "a.svg"
    path.write_text("before")

    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(Unwritable, match="No space left on device"):
        figures.pairs(rope.published("six-way-64")).save(path)
    assert path.read_text() == "before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_without_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    one = rope.published("six-way-64")
    sentence = r"^Figures need matplotlib, which is not installed: pip install -e '\.\[figures\]' in the clone\.$"
    for ask in (
        lambda: figures.bands(one, SMALL),
        lambda: clip(one, SMALL),
        lambda: figures.save(tmp_path / "a.png", one, SMALL),
        lambda: figures.save(tmp_path / "a.gif", one, SMALL),
    ):
        with pytest.raises(TracerError, match=sentence):
            ask()
    assert list(tmp_path.iterdir()) == []
