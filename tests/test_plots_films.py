"""Strips of pictures: what is drawn is what was given, in its place, and the page stays light."""

import base64
import io
import re
from itertools import pairwise

import numpy as np
import pytest

from tracer.errors import BadRequest
from tracer.plots.films import MOST, SIDE, strips
from tracer.plots.picture import WIDTH

pytest.importorskip("matplotlib")
Image = pytest.importorskip("PIL.Image")


def pictures(count=3, height=8, width=6, seed=0):
    """Bytes (count, height, width, 3), every picture another one."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def drawn(shown):
    """The pixels of every axes, by its name."""
    return {axes.get_label(): np.asarray(axes.images[0].get_array()) for axes in shown.figure.axes}


def embedded(svg):
    """The pictures inside an SVG, in its order."""
    found = re.findall(r'href="data:image/png;base64,\s*([^"]+)"', svg)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


@pytest.mark.parametrize("page", [False, True])
def test_every_pixel_is_in_the_file(page):
    first, second = pictures(seed=1), pictures(seed=2)
    found = embedded(strips({"first": first, "second": second}, "two rows").svg(page=page))
    assert len(found) == 6
    for image, wanted in zip(found, [*first, *second], strict=True):
        assert (image == wanted).all() or (image[::-1] == wanted).all()  # an SVG may hold it upside down


def test_floats_bytes_and_pillow_are_the_same_pictures():
    given = pictures()
    floats = strips({"row": given.astype(np.float64) / 255}, "t")
    pillow = strips({"row": [Image.fromarray(one) for one in given]}, "t")
    assert all((drawn(floats)[f"row {i}"] == one).all() for i, one in enumerate(given))
    assert str(floats) == str(pillow) == str(strips({"row": given}, "t"))
    assert floats.svg() == pillow.svg()


def test_what_is_brighter_than_white_is_white():
    low, high = (np.full((1, 2, 2, 3), value) for value in (-0.5, 1.5))
    assert "#000000" in strips({"row": low}, "t").text
    assert "#ffffff" in strips({"row": high}, "t").text


def test_the_text_has_the_mean_colours_under_the_columns():
    row = np.zeros((2, 4, 4, 3), np.uint8)
    row[0, :2, :, 0] = 255  # half red
    row[1, ..., 2] = 16
    shown = strips({"a red disc\nmoving left": row}, "Videos", ["frame 0", "frame 4"])
    assert str(shown) == (
        "Videos\n\na red disc moving left: 2 pictures of 4×4, mean colours\n       frame 0 #800000, frame 4 #000010"
    )
    assert "frame 4" in shown.svg()


def test_pictures_stand_in_a_grid_and_keep_their_shape():
    shown = strips({"one": pictures(4), "another\nlonger name": pictures(4)}, "t", list("abcd"))
    wide, high = WIDTH, shown.figure.get_figheight()
    boxes = {axes.get_label(): axes.get_position() for axes in shown.figure.axes}
    for box in boxes.values():
        assert box.height * high == pytest.approx(box.width * wide * 8 / 6)
        assert box.x0 >= 0
        assert box.x1 <= 1
        assert box.y0 >= 0
    for row in ("one", "another\nlonger name"):
        places = [boxes[f"{row} {i}"] for i in range(4)]
        assert all(a.x1 < b.x0 and a.y0 == b.y0 for a, b in pairwise(places))
    assert boxes["one 0"].y0 > boxes["another\nlonger name 0"].y1
    backend = pytest.importorskip("matplotlib.backends.backend_agg")
    canvas = backend.FigureCanvasAgg(shown.figure).get_renderer()
    for words in shown.figure.texts:
        assert words.get_window_extent(canvas).x0 >= 0  # no name is cut off
    assert all(words.get_window_extent(canvas).y1 <= shown.figure.bbox.y1 for words in shown.figure.texts)


@pytest.mark.parametrize(("height", "width", "wanted"), [(96, 96, (64, 64)), (48, 128, (24, 64)), (SIDE, 10, (64, 10))])
def test_large_pictures_are_made_smaller(height, width, wanted):
    row = np.full((1, height, width, 3), 77, np.uint8)
    shown = strips({"row": row}, "t")
    (image,) = drawn(shown).values()
    assert image.shape[:2] == wanted
    assert (image == 77).all()
    assert f"1 picture of {height}×{width}, mean colours" in shown.text


def test_the_same_bytes_each_time():
    row = pictures()
    assert strips({"row": row}, "t").html() == strips({"row": row}, "t").html()


def test_no_colour_of_a_picture_is_taken_for_one_of_the_page():
    svg = strips({"row": pictures()}, "t", ["a", "b", "c"]).svg(page=True)
    assert "currentColor" in svg  # the words
    assert len(embedded(svg)) == 3


@pytest.mark.parametrize(
    ("rows", "columns", "sentence"),
    [
        ({}, (), "There is nothing to show: give at least one row"),
        ({"row": []}, (), r"'row' is no row of pictures: .* not nothing\."),
        ({"row": np.zeros((2, 4, 4))}, (), r"not float64 of shape \(4, 4\)\."),
        ({"row": np.zeros((2, 3, 4, 4))}, (), r"not float64 of shape \(3, 4, 4\)\."),
        ({"row": np.zeros((1, 4, 4, 3), int)}, (), r"not int64 of shape \(4, 4, 3\)\."),
        ({"row": [np.zeros((2, 2, 3)), np.zeros((4, 4, 3))]}, (), r"not several kinds\."),
        ({"row": np.full((1, 2, 2, 3), np.nan)}, (), "'row' has values that are no finite numbers"),
        ({"a": pictures(2), "b": pictures(3)}, (), "not a: 2 of 8×6, b: 3 of 8×6"),
        ({"a\nb": pictures(2), "c": pictures(2, 4)}, (), "not a b: 2 of 8×6, c: 2 of 4×6"),
        ({"row": pictures(MOST + 1)}, (), "19 pictures in a row are too small to see: take up to 18"),
        ({"row": pictures(3)}, ("a", "b"), "2 names do not belong to 3 columns"),
    ],
)
def test_what_cannot_be_shown_is_said_in_a_sentence(rows, columns, sentence):
    with pytest.raises(BadRequest, match=sentence):
        strips(rows, "t", columns)


def test_the_most_that_can_be_shown():
    assert len(drawn(strips({"row": pictures(MOST)}, "t"))) == MOST
