"""show-rope: what is printed where, that it is so, and each refusal in one sentence."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from commands import answer, refusal
from rich.cells import cell_len
from rich.console import Console

import tracer
from tracer import families
from tracer.cli.show_rope import _FIGURES, main, parser
from tracer.errors import BadRequest, UnknownName
from tracer.plots import rope as plots
from tracer.rope.anatomy import Band, Plane, similarity
from tracer.rope.asking import models
from tracer.rope.rope3d import Rope3D
from tracer.rope.said import figure
from tracer.rope.scores import moved
from tracer.rope.showing import compare_ropes, show_rope
from tracer.rope.signs import arrow, mark, shaded, sparkline, spread
from tracer.rope.variants import CHANGES, PLAIN, changed, published
from tracer.views.rope import compared, renderable

COMMAND = [sys.executable, "-m", "tracer.cli.show_rope"]


@pytest.fixture
def said(capsys):
    """Runs the command line; returns stdout. Nothing may be on stderr."""

    return lambda *argv: answer(main, capsys, argv)


@pytest.fixture
def refused(capsys):
    """Runs the command line and returns the one sentence it is refused with."""

    return lambda *argv: refusal(main, capsys, argv, "show-rope")


def printed(view, width):
    console = Console(width=width, color_system=None, highlight=False)
    with console.capture() as caught:
        console.print(view)
    return caught.get()


def as_data(shown):
    return json.loads(json.dumps(shown.to_json()))


# tables, ranges and sizes are those of the models


@pytest.mark.parametrize("name", ["cogvideox-5b", "flux.1-dev"])
def test_table_shapes_are_the_traced_ones(name, traces):
    """The shape that is shown is what the model hands to attention, in its dtype; FLUX has rows for text."""
    shown, trace = show_rope(name), traces[name]
    seen = {v for call in trace.root.walk() if call.stage == "rope-tables" for v in call.outputs.values()}
    seen |= {v for k, v in trace.root.inputs.items() if "rotary" in k}
    rows = shown.number(shown.rows)
    full = [v for v in seen if [n for n in v.sizes if n != 1] == [rows, shown.rope.head_dim]]
    assert full
    assert {v.dtype for v in full} == {shown.rope.dtype}
    formulas = {d.formula.substitute(shown.numbers) for v in full for d in v.shape if d.size == rows}
    assert formulas == {shown.rows.substitute(shown.numbers)}  # p_t is 1 where the families leave it out
    first, end = check_sequence(shown, trace)
    text = trace.header.request["text_tokens"]
    assert (first, end) == shown.rope.placement.video(math.prod(shown.sizes), text)


@pytest.mark.parametrize("name", ["framepack", "hunyuanvideo1.5-480p-t2v", "gamecraft", "allegro"])
def test_shapes_and_sequences_are_those_of_other_models(name):
    """Tables for each axis, tables with rows for a history, sequences with more than text."""
    shown, trace = show_rope(name), tracer.trace(name, formulas=False)
    check_sequence(shown, trace)
    rotations = [call for call in trace.root.walk() if call.name.startswith("apply_rotary_emb")]
    assert rotations
    for call in rotations:
        held = [v for k, v in call.inputs.items() if k.startswith("freqs")]
        assert [tuple(n for n in v.sizes if n != 1) for v in held] == [
            tuple(shown.number(n) for n in shape) for shape in shown.tables
        ]
        assert {v.dtype for v in held} == {shown.rope.dtype}
    if name == "allegro":
        assert sum(math.prod(v.sizes) for v in held) * 4 == shown.memory.kept


def check_sequence(shown, trace):
    """The longest sequence that is attended to is the one shown; returns where the video's tokens stand in it."""
    calls = [call for call in trace.root.walk() if call.name == "scaled_dot_product_attention"]
    assert max(next(iter(call.inputs.values())).sizes[-2] for call in calls) == shown.number(shown.length)
    first, end = map(shown.number, shown.turned)
    assert end - first == math.prod(shown.sizes) == shown.number(shown.video)
    return first, end


SMALL = {"frames": 9, "height": 64, "width": 96}


@pytest.mark.parametrize("name", ["cogvideox", "hunyuanvideo", "wan", "gamecraft", "allegro"])
def test_bytes_are_those_of_the_arrays(name):
    shown = show_rope(name, **(SMALL if name != "gamecraft" else {"height": 64, "width": 96}))
    cos, sin = (table.astype(shown.rope.dtype) for table in shown.rope.tables(shown.sizes))
    assert cos.shape == (shown.number(shown.rows), shown.rope.head_dim)
    assert shown.memory.whole == cos.nbytes + sin.nbytes
    angles = shown.rope.angles(shown.sizes).astype(shown.rope.dtype)
    assert shown.memory.halved == np.cos(angles).nbytes + np.sin(angles).nbytes
    parts = [np.outer(*two) for two in zip(shown.rope.positions(shown.sizes), shown.rope.frequencies(), strict=True)]
    assert shown.memory.axes == 2 * sum(part.astype(shown.rope.dtype).nbytes for part in parts)


def test_text_that_is_turned_has_rows():
    shown = show_rope("flux", height=64, width=64, text_tokens=7)
    assert shown.number(shown.rows) == 7 + 16
    assert shown.memory.whole == 2 * 23 * 128 * 4
    assert show_rope("sat-pnp").memory is None
    assert show_rope("sat-pnp", grid=(1, 2, 3), text_tokens=5).memory.whole == 2 * 11 * 64 * 4


def test_axes():
    t, h, w = show_rope("cogvideox", frames=97).axes
    assert (t.numbers, h.numbers, w.numbers) == (16, 24, 24)
    assert t.tokens == 25
    assert t.positions == tuple(range(25))
    assert t.wavelengths[0] == pytest.approx(2 * math.pi)
    assert t.wavelengths[-1] == pytest.approx(2 * math.pi * 10000 ** (14 / 16))
    assert t.in_video[0] == pytest.approx(8 * math.pi)  # a position is 4 frames
    assert h.in_video[0] == pytest.approx(32 * math.pi)  # and 16 pixels
    assert t.turns[0] == pytest.approx(25 / (2 * math.pi))
    assert [w.pairs[0], w.pairs[-1]] == [(40, 41), (62, 63)]


def test_a_crop_has_more_pixels_to_a_position():
    """960 rows are 60 tokens on the 30 positions of the base grid."""
    _, h, w = show_rope("cogvideox", height=960, width=1440).axes
    assert h.step == pytest.approx(h.positions[-1] / 59)
    assert h.in_video[0] == pytest.approx(2 * math.pi * 16 / h.step)
    assert w.per_token == 16


def test_similarity_by_distance_is_that_of_any_query():
    shown = show_rope("hunyuanvideo", frames=33, height=128, width=160)
    for axis, along in zip(shown.axes, similarity(shown.rope, shown.sizes, (4, 3, 2)), strict=True):
        at = {"frame": 4, "row": 3, "column": 2}[axis.name]
        assert list(axis.similarity[: axis.tokens - at]) == pytest.approx(along[at:].tolist())


def test_the_plane_is_that_of_the_middle():
    """Against distances along rows and columns."""
    shown = show_rope("cogvideox", frames=9)
    plane, (_, rows, columns) = shown.plane, shown.axes
    assert plane.query == (15, 22)
    assert plane.values().shape == shown.sizes[1:]
    assert plane.values()[15, 22] == 1
    assert plane.values()[12, 30] == pytest.approx(rows.similarity[3] + columns.similarity[8] - 1)


# what is printed


def test_one_page(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    out = said("cogvideox")
    assert "49 frames at 480×720 → F 13 · H 60 · W 90 · L 226" in out
    assert "S = F·(H/2)·(W/2) = 13 × 30 × 45 = 17,550 · one token is 4 frames × 16 × 16 pixels" in out
    assert "tokens [L, L+S) = [226, 17,776) of L+S = 17,776; text stays as it is" in out
    assert "cos and sin, each (S, d) = (17,550, 64) float32" in out
    assert "show-rope cogvideox-5b --frames 97 goes beyond." in " ".join(out.split())
    assert "! " not in out
    assert len(out.splitlines()) <= 45
    assert said("cogvideox") == said("THUDM/CogVideoX-5b") == said("CogVideoX-5b")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hunyuanvideo", "tokens [0, S) = [0, 118,800) of S+L = 119,056; text stays as it is"),
        ("wan", "tokens [0, S) = [0, 32,760), the whole sequence; text is reached by cross-attention, without angles"),
        ("flux", "tokens [L, L+S) = [512, 4,608) of L+S = 4,608; text goes through the rotation too, at position 0,"),
        ("framepack", "L 256 · I 729 (image tokens) · P 4,000 (history tokens)"),
        ("framepack", "tokens [P, P+S) = [4,000, 18,400) of P+S+L+I = 19,385; the history, [0, P), turns as well"),
        ("hunyuanvideo15", "image tokens (I), glyph tokens (G) stay as they are"),
        ("sat-pnp", "tokens [L, L+S) of L+S;"),
        ("sat-pnp", "text goes through the rotation too; with a coordinate of -1 it comes out as it was"),
        ("sat-pnp", "none of cos and sin; angles, (13, 30, 45, 64) float32"),
        ("sat-pnp", "rounded to the queries' dtype"),
        ("allegro", "cos and sin for each axis, (22, 32), (45, 32), (80, 32) float32, looked up by place"),
        ("allegro", "37.6 kB as the code keeps them · 60.8 MB whole"),
        ("cogvideox-sat", "whole numbers, the first of a table (frame 13, row 30, column 45)"),
        ("scail", "cosines and sines over 2×2 places, which is no rotation"),
        ("kaleido", "subject stands at frame k, or k frames after the video's last with end_concat"),
        ("sat-pnp", "positions      whole numbers; a token with a coordinate of -1 stays as it is"),
        ("allegro", "linear 2.2 × 2 × 2"),
        ("cogvideox-5b-i2v", "a learned table is added to the tokens as well"),
        ("cogvideox1.5-5b", "! 81 frames are 21 latent frames; the pipeline adds 1 to fill a temporal patch"),
    ],
)
def test_what_is_said_of_each(said, monkeypatch, name, words):
    monkeypatch.setenv("COLUMNS", "200")
    assert words in said(name)


EVERYTHING = [*models(), *PLAIN]


@pytest.mark.parametrize("name", EVERYTHING)
def test_every_width(name):
    """No line is wider, none ends in blanks, and no number or word is lost on the way to 80 columns."""
    shown = show_rope(name)

    def words(text):
        return sorted(w for w in re.findall(r"[\w.,×…]{3,}", text) if w not in ("frame", "row", "column"))

    whole = words(printed(renderable(shown, 200), 200).partition("Bands")[0])
    for width in (60, 80, 100, 120):
        for view in (renderable(shown, width), renderable(shown, width, turns=True, plane=True)):
            lines = printed(view, width).splitlines()
            assert max(map(cell_len, lines)) <= width
            assert [line for line in lines if line != line.rstrip() and not set(line) <= set(" ·░▒▓█")] == []
        text = printed(renderable(shown, width), width).partition("Bands")[0]
        if width >= 80:  # on narrower ones long names of code are broken
            assert words(text) == whole
            assert len(text.splitlines()) <= 32


def test_tables_are_folded_and_not_broken(said, monkeypatch):
    """On a narrow terminal a row of a table stays one line: as many columns as fit, the others below."""
    headings = ["numbers", "pairs", "columns", "positions", "theta", "wavelength", "in the video", "whole turns"]
    for width in range(48, 140, 4):
        monkeypatch.setenv("COLUMNS", str(width))
        table = said("hunyuanvideo").split("\n\n")[1].splitlines()
        assert [line.split()[0] for line in table if line[0] != " "] == ["frame", "row", "column"] * (len(table) // 4)
        shown = " ".join(" ".join(table[::4]).split())
        assert shown == " ".join(headings)
        assert max(map(cell_len, table)) <= width


def test_a_request_beyond_the_trained_grid(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    argv = ["hunyuanvideo", "--frames", 257, "--height", 1088, "--width", 1920]
    out = said(*argv)
    assert "from the published 33×45×80 tokens (129 frames at 720×1280), to\n65×68×120" in out
    rows = {
        line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith(("none", "linear", "ntk"))
    }
    data = json.loads(said(*argv, "--format", "json"))
    assert [s["kind"] for s in data["stretches"]] == list(rows) == ["none", "linear", "ntk"]
    for stretch in data["stretches"]:
        assert "/".join(map(str, stretch["unseen"])) in rows[stretch["kind"]]
        assert rows[stretch["kind"]][-1] == "/".join(figure(100 * f) for f in stretch["fresh"])
    assert rows["linear"][0] == "1.97/1.51/1.5"
    assert data["beyond_trained"] is True
    assert max(map(cell_len, out.splitlines())) <= 80


def test_one_frame_more_is_beyond():
    assert not show_rope("hunyuanvideo").beyond
    assert show_rope("hunyuanvideo", frames=133).beyond
    finer = show_rope("cogvideox", height=960, width=1440)  # more tokens on the same positions
    assert finer.closer
    assert not finer.beyond
    for name in models():
        shown = show_rope(name)
        options = re.findall(r"--(\w+) (\d+)", shown.further)
        assert show_rope(name, **{k: int(v) for k, v in options}).beyond
    assert show_rope("cogvideox", frames=50).further == "--frames 97"  # 99 would come out as 97
    assert show_rope("cogvideox", frames=9).further == "--frames 97"
    assert show_rope("cogvideox-sat").further is None  # its table ends there


@pytest.mark.parametrize("change", CHANGES)
def test_variants(said, monkeypatch, change):
    monkeypatch.setenv("COLUMNS", "120")
    out = said("wan", "--variant", change, "--frames", 161)
    assert f"variant {change}: {CHANGES[change]}" in out
    idle = change in ("interleaved", "six-way")
    assert ("weights of the published wan2.1-t2v-14b" in " ".join(out.split())) != idle
    data = json.loads(said("wan", "--variant", change, "--frames", 161, "--format", "json"))
    same = change in ("interleaved", "six-way", "whole", "crop")  # what Wan has, or the same at its rows and columns
    assert (data["moved"]["error"]["video"] < 1e-9) == same
    assert ("give the same scores" in out) == (same and not idle)
    if change in ("linear", "ntk"):
        assert data["interpolation"][change] == [41 / 21, 1, 1]
    if change == "ntk":
        assert "10,000 → " in out


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("wan:interleaved", "wan2.1-t2v-14b has that already, so nothing is changed"),
        ("wan:six-way", "wan2.1-t2v-14b has that already, so nothing is changed"),
        ("scail-half:half", "scail-half has that already, so nothing is changed"),
        ("cogvideox:linear", "nothing is changed within that grid, --frames 97 goes beyond"),
        ("cogvideox-sat:ntk", "fits the trained grid; nothing is changed within that grid S = F·H·W"),
    ],
)
def test_why_nothing_is_changed(said, name, reason):
    out = " ".join(said(name).split())
    assert reason in out
    assert "give the same scores" not in out  # which is no reason where nothing was changed
    assert show_rope(name).idle == (name.partition(":")[2],)


def test_why_scores_stay():
    """The same angles on this grid alone, or other angles with the same differences."""
    same, apart = show_rope("cogvideox:whole"), compare_ropes("wan", "scail")
    assert same.idle == ()
    assert same.moved.alike
    assert not apart.moved.alike
    assert "both turn its tokens by the same angles" in " ".join(str(same).split())
    assert "attention sees differences of positions alone" in " ".join(str(apart).split())
    assert not show_rope("cogvideox:whole", height=960, width=1440).moved.alike


def test_changes_add_up(said):
    data = json.loads(said("wan", "--variant", "NTK", "--variant", "half", "--frames", 161, "--format", "json"))
    assert data["variant"] == "half:ntk"
    assert data["pairing"] == "half"
    assert data["interpolation"]["ntk"] == [41 / 21, 1, 1]
    assert data == json.loads(said("wan:half", "--variant", "ntk", "--frames", 161, "--format", "json"))
    assert data == as_data(show_rope("wan", variant=["half", "ntk"], frames=161))
    assert [s["kind"] for s in data["stretches"]] == ["none", "linear", "ntk"]
    assert data["stretches"][0]["interpolation"]["ntk"] == [1, 1, 1]
    assert show_rope("wan", variant="ntk", frames=161).stretches == show_rope("wan", frames=161).stretches
    out = said("wan:half:ntk", "--frames", 161)
    assert "variant half: " in out
    assert "variant ntk: " in out


def test_only_the_pairing():
    """A permutation of rows mends it, and the mended scores are the published ones."""
    own = published("scail")
    off = moved(own, published("scail-half"), (3, 4, 5))
    assert off.error.video > 0.3
    assert off.permuted.video < 1e-9
    assert off.tokens == 60
    assert moved(own, own, (3, 4, 5)).error.largest < 1e-9


def test_only_equal_splits_are_permuted():
    """With other parts a permutation brings each pair to another axis: there is none to offer."""
    own = published("hunyuanvideo")
    split = changed(own, "six-way")
    assert split.thetas() == own.thetas()
    assert moved(own, split, (2, 3, 4)).permuted is None
    assert moved(own, changed(split, "half"), (2, 3, 4)).permuted is None
    assert moved(own, changed(own, "half"), (2, 3, 4)).permuted.largest < 1e-9
    assert moved(own, published("six-way-64"), (3, 4, 5)) is None


def test_comparing(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = said("--compare", "cogvideox", "hunyuanvideo")
    assert "cogvideox-5b" in out.splitlines()[0]
    assert "hunyuanvideo" in out.splitlines()[0]
    assert re.search(r"split +16/24/24 +16/56/56\n", out)
    assert "equal " in out
    assert "heads of unequal size" in out
    data = json.loads(said("--compare", "cogvideox", "hunyuanvideo", "--format", "json"))
    assert [data[k]["split"] for k in ("first", "second")] == [[16, 24, 24], [16, 56, 56]]
    assert data["moved"] is None
    both = " ".join(said("--compare", "wan", "scail-half").split())
    assert "The pairing alone does it" in both
    assert "under scail-half are off by" in both
    assert "0.0" not in both.split("are off by")[1].split()[0]
    shifted = " ".join(said("--compare", "wan", "scail").split())  # frames from 1 on: the same differences
    assert "give the same scores under scail on a grid of 21×30×52" in shifted
    assert "! cogvideox1.5-5b: 81 frames" in said("--compare", "cogvideox", "cogvideox1.5-5b")


def test_comparing_with_a_change(said):
    out = " ".join(said("--compare", "wan", "wan:half").split())
    assert out.startswith("wan2.1-t2v-14b wan2.1-t2v-14b:half pairing ")
    assert "The pairing alone does it" in out
    assert out.count("transformer_wan.py") == 1  # one code, said once
    half = json.loads(said("--compare", "wan", "wan:half", "--format", "json"))["second"]
    assert half == as_data(show_rope("wan", variant="half"))


def test_ropes_are_compared_where_they_part():
    """A crop of 30×45 and whole numbers are the same up to there."""
    both = compare_ropes(show_rope("cogvideox"), show_rope("cogvideox1.5-5b"))
    assert both.moved.grid == (13, 48, 85)
    assert both.moved.error.video > 0.1
    assert moved(both.first.rope, both.second.rope, (11, 30, 45)).error.largest < 1e-9
    long = compare_ropes(show_rope("scail", grid=(1100, 2, 2)), show_rope("wan"))  # Wan's table ends at 1,024
    assert long.moved.grid == (21, 2, 2)


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("names", [("cogvideox", "hunyuanvideo"), ("wan", "scail-half"), ("flux", "sat-pnp")])
def test_comparisons_fit(names, width):
    text = printed(compared(compare_ropes(*map(show_rope, names)), width), width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert all(line == line.rstrip() for line in text.splitlines())


def test_json_agrees_with_the_page(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    text, data = said("allegro"), json.loads(said("allegro", "--format", "json"))
    for axis in data["axes"]:
        row = next(line for line in text.splitlines() if line.startswith(axis["axis"]))
        for key in ("wavelengths", "turns", "in_video"):
            assert f"{figure(axis[key][0])} … {figure(axis[key][-1])}" in row
        assert f"{figure(axis['theta'])}" in row
        assert len(axis["similarity"]) == len(axis["positions"]) == axis["tokens"]
        assert len(axis["pairs"]) == len(axis["wavelengths"]) == axis["numbers"] // 2
    shapes = [[n["size"] for n in shape] for shape in data["tables"]["shapes"]]
    assert shapes == [[22, 32]] * 2 + [[45, 32]] * 2 + [[80, 32]] * 2
    assert data["tables"]["bytes"]["kept"] == sum(map(math.prod, shapes)) * 4
    assert data["tables"]["bytes"]["whole"] == 2 * math.prod(data["grid"]) * data["head_dim"] * 4
    assert [len(data["plane"][k]) for k in ("rows", "columns")] == data["grid"][1:]
    assert data["source"] in " ".join(text.split())


def test_an_image_is_no_video(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    assert "in pixels" in said("flux")
    assert "in the video" not in said("flux")
    assert "in the video" in said("wan")
    assert "in pixels" not in said("wan")


def test_one_token(said):
    out = said("six-way-64", "--grid", 1, 1, 1)
    assert out.count("one token") == 3
    assert "█" not in out  # there is no scale of one value


def test_turns_and_plane(said, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    out = said("cogvideox", "--turns")
    fastest = next(line for line in out.splitlines() if line.startswith("(0, 1)")).split()[3:]
    assert fastest == [arrow(float(k)) for k in range(13)]
    assert "Bands" not in out
    out = said("cogvideox", "--plane")
    assert "row 15, column 22" in out
    assert sum("█" in line for line in out.splitlines()) >= 1
    assert "column axis" in said("flux", "--turns")


def test_files(said, tmp_path):
    page = tmp_path / "rope.txt"
    assert said("wan", "-o", page) == ""
    assert page.read_text().startswith("wan2.1-t2v-14b · Wan 2.1 · WanTransformer3DModel\n")
    data = tmp_path / "rope.json"
    said("wan", "-o", data)
    assert json.loads(data.read_text())["head_dim"] == 128


def test_pictures_are_handed_on(said, tmp_path, monkeypatch):
    drawn = []
    assert set(_FIGURES) == set(plots.FIGURES)
    monkeypatch.setattr(plots, "save", lambda *given, **options: drawn.append((given, options)))
    path = str(tmp_path / "rope.svg")
    assert said("cogvideox", "--frames", 97, "--variant", "half", "-o", path, "--figure", "pairs") == ""
    ((given, options),) = drawn
    assert given[0] == path
    assert (given[1].pairing, given[2], options["figure"]) == ("half", (25, 30, 45), "pairs")


@pytest.mark.parametrize(("change", "options"), [("ntk", ()), ("linear", ("--figure", "stretch"))])
def test_a_figure_of_stretching_starts_where_the_page_does(said, tmp_path, change, options):
    """Not from the rope that is stretched already."""
    shown = show_rope("wan", variant=change, frames=161)
    page = tmp_path / "stretch.svg"
    said("wan", "--variant", change, "--frames", 161, "-o", page, *options)
    text = " ".join(page.read_text().split())
    for stretch in shown.stretches:
        first = 0
        for step, unseen, axis in zip(stretch.finest, stretch.unseen, shown.axes, strict=True):
            n = len(axis.pairs)
            turns = " ".join(figure(reach / (2 * math.pi)) for reach in stretch.reach[first : first + n])
            assert f"{stretch.kind} finest step ×{step:.3g}; {unseen} of {n} pairs see new angles {turns}" in text
            first += n


def test_two_ropes_are_drawn(said, tmp_path):
    path = tmp_path / "two.svg"
    for options, title in (
        ([], "wan2.1-t2v-14b over wan2.1-t2v-14b:half: wavelengths"),
        (["--figure", "pairs"], "wan2.1-t2v-14b and wan2.1-t2v-14b:half: which columns turn together"),
    ):
        assert said("--compare", "wan", "wan:half", "--frames", 161, "-o", path, *options) == ""
        assert title in path.read_text()
        assert ("41 positions, trained on 21" in path.read_text()) == (not options)


def test_a_list(said, monkeypatch):
    for width in (80, 120):
        monkeypatch.setenv("COLUMNS", str(width))
        out = said("--list")
        assert max(map(cell_len, out.splitlines())) <= width
        words = out.replace(",", "").split()
        assert {*PLAIN, *CHANGES, "cogvideox-5b", "wan2.1-t2v-14b"} <= set(words)
        assert "cogvideox-2b" not in words
    assert set(models()) == {f.name for f in families.all_families()} - {"latte", "ltx", "mochi", "sd3"}


# signs


def test_signs():
    turning = [Band("frame", 0, (0, 1), 1.0, 2 * math.pi, 1.0, t * 2 * math.pi) for t in (1.1, 1.0, 0.99, 0.5, 0.49)]
    assert [band.kind for band in turning] == ["whole", "whole", "half", "half", "less"]
    assert [mark(band) for band in turning] == ["●", "●", "◐", "◐", "○"]
    assert "".join(arrow(k * math.pi / 4) for k in range(-1, 8)) == "↘→↗↑↖←↙↓↘"
    assert sparkline([1.0, 0.5, 0.0], 0.0, 10) == "█▅▁"
    assert sparkline([1.0, 1.0, 0.0, 0.0], 0.0, 2) == "█▁"
    assert sparkline([1.0], 1.0, 5) in "▁█"
    assert spread(5, 12) == [0, 1, 2, 3, 4]
    assert spread(28, 12)[0] == 0
    assert spread(28, 12)[-1] == 27
    plane = Plane((5, 9), tuple(float(i == 5) for i in range(10)), tuple(float(j == 9) for j in range(18)))
    for room in ((24, 80), (4, 80), (24, 9)):
        lines, low, steps = shaded(plane, room)
        assert (max(steps) > 1) == (room != (24, 80))
        assert len(lines) <= room[0]
        assert max(map(len, lines)) <= room[1]
        assert low == -1
        assert "█" in "".join(lines)  # the query itself is always shown


# refusals


BEFORE_TORCH = [
    ([], "no MODEL is given: type show-rope cogvideox; show-rope --list shows them all."),
    (["cogvidoex"], "No rope is called 'cogvidoex': did you mean cogvideox? show-rope --list shows them all."),
    (["cogvideox", "wan"], "one MODEL at a time, 'wan' is one too many."),
    (["cogvideox", "--variant", "halb"], "No variant is called 'halb': did you mean half?"),
    (["cogvideox", "--frames", "abc"], "--frames: 'abc' is not a whole number, such as 49."),
    (["cogvideox", "--frames", "0"], "--frames 0 is not possible: it is a whole number from 1 on."),
    (["cogvideox", "--width", "9999999"], "is too large: sizes up to 1,000,000 can be traced."),
    (["cogvideox", "--grid", "13", "30", "45"], "cogvideox takes --frames, --height and --width."),
    (["flux", "--grid", "1", "30", "45"], "flux takes --height and --width."),
    (["flux", "--frames", "9"], "flux is an image model and has no frames; leave --frames 9 out."),
    (["sat-pnp", "--height", "480"], "--height means nothing to it: --grid T H W gives its tokens."),
    (["sat-pnp", "--grid", "13", "0", "45"], "a grid of (13, 0, 45) tokens: it has three "),
    (["sat-pnp", "--grid", "13", "45"], "--grid: expected 3 arguments."),
    (["sat-pnp", "--grid", "1", "1", "100000"], "--grid 100000 is too large: up to 10,000 tokens along an axis"),
    (["--compare", "wan"], "--compare: expected 2 arguments."),
    (["--compare", "wan", "wann"], "No rope is called 'wann': did you mean wan?"),
    (
        ["cogvideox", "--compare", "wan", "scail"],
        "--compare takes two ropes and shows them whole; leave MODEL 'cogvideox'",
    ),
    (["--compare", "wan", "scail", "--variant", "half"], "as in wan:half; leave --variant half out."),
    (["--compare", "wan", "wan:halb"], "No variant is called 'halb': did you mean half?"),
    (["cogvideox", "--variant", "half", "--variant", "interleaved"], "half and interleaved both change the pairing"),
    (["wan:crop", "--variant", "whole"], "crop and whole both change the grid; leave one of them out."),
    (["scail", "--text-tokens", "10"], "scail has no text in its sequence; leave --text-tokens 10 out."),
    (["--list", "--format", "json"], "--list shows all names as text and takes nothing else; leave --format out."),
    (["wan", "--list"], "leave MODEL 'wan' out."),
    (
        ["cogvideox", "--turns", "--format", "json"],
        "--turns is for text; leave it out, its numbers are among the data.",
    ),
    (["cogvideox", "--plane", "-o", "a.svg"], "--plane is for text; leave it out, --figure similarity draws it."),
    (["--compare", "wan", "scail", "--turns"], "leave --turns out."),
    (["--compare", "wan", "scail", "--frames", "9"], "scail is a variant without a model"),
    (["--compare", "wan", "scail", "-o", "a.gif"], "'a.gif' is for a clip of one rope; --compare takes a file .svg"),
    (
        ["--compare", "wan", "scail", "--figure", "clip", "-o", "a.svg"],
        "--compare takes bands or pairs, or no --figure",
    ),
    (["cogvideox", "--figure", "bands"], "--figure bands goes into a picture; add -o FILE ending in .svg or .png"),
    (["cogvideox", "--figure", "bandz", "-o", "a.svg"], "No figure is called 'bandz': did you mean bands?"),
    (["cogvideox", "--format", "xml"], "--format: 'xml' is no format; it is table or json."),
    (["cogvideox", "--format", "json", "-o", "a.svg"], "'a.svg' and --format json are two formats"),
    (["cogvideox", "-o", "page.html"], "'page.html' does not say which format"),
    (["cogvideox", "-o", "nowhere/a.txt"], "'nowhere/a.txt' cannot be written: there is no folder 'nowhere'."),
    (["cogvideox", "--turnz"], "no option is called '--turnz': did you mean --turns?"),
]


@pytest.mark.parametrize(("argv", "words"), BEFORE_TORCH)
def test_sentences(refused, argv, words):
    assert words in refused(*argv)


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["cogvideox", "--height", "484"], "use 480 or 496."),
        (["cogvideox1.5-5b", "--height", "4800"], "use at most 2400."),
        (["hunyuanvideo", "--width", "8"], "use 16."),
        (["cogvideox-2b"], "cogvideox-2b adds a sincos table to its tokens and turns nothing; cogvideox-5b has a rope"),
        (["sd3"], "turns nothing; cogvideox-5b has a rope to show."),
        (["mochi"], "learns its frequencies"),
        (["ltx"], "spreads its frequencies over all heads together"),
        (["latte"], "turns nothing"),
        (["scail", "--variant", "crop"], "scail names no trained grid to spread positions over; wan and"),
        (["scail", "--variant", "ntk"], "scail names no trained grid to stretch from; wan and cogvideox-sat do"),
        (["nonsense"], "cogvideox1.5-5b-i2v, flux, "),  # no name there that is then refused
        (["six-way-64", "--variant", "quarter", "--figure", "stretch", "-o", "a.txt"], "goes into a picture"),
    ],
)
def test_what_the_model_refuses(refused, argv, words):
    assert words in refused(*argv)


def test_answers_before_torch():
    """All of them in one process, and --help: neither torch nor diffusers is loaded."""
    program = f"""
import contextlib, io, sys
from tracer.cli.show_rope import main
for argv in {[argv for argv, _ in BEFORE_TORCH] + [["--help"]]!r}:
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        with contextlib.suppress(SystemExit):
            main(argv)
    assert not {{"torch", "diffusers", "transformers", "matplotlib", "numpy"}} & set(sys.modules), argv
main(["scail", "--format", "json"])  # needs numbers: this check can fail
assert "numpy" in sys.modules
assert not {{"torch", "diffusers"}} & set(sys.modules)  # a variant without a model is there at once
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert '"name": "scail"' in done.stdout


def test_help_names_every_option(said):
    with pytest.raises(SystemExit) as left:
        parser().parse_args(["--help"])
    assert left.value.code == 0


def test_a_pipe():
    done = subprocess.run([*COMMAND, "six-way-192"], capture_output=True, text=True, check=True)
    assert "\x1b" not in done.stdout
    assert "64" in done.stdout
    assert max(map(cell_len, done.stdout.splitlines())) <= 120


# the function


def test_the_function_refuses_the_same():
    with pytest.raises(UnknownName, match="did you mean cogvideox"):
        show_rope("cogvidoex")
    with pytest.raises(BadRequest, match="--frames True is not possible"):
        show_rope("cogvideox", frames=True)
    with pytest.raises(BadRequest, match="a grid of"):
        show_rope("scail", grid=(1, 2))
    with pytest.raises(BadRequest, match=r"write it as a tuple, \(1, 2, 3\)\."):
        show_rope("scail", grid=np.array([1, 2, 3]))
    with pytest.raises(BadRequest, match="a rope is given by its name, not by 3"):
        show_rope(3)
    with pytest.raises(BadRequest, match="a variant is given by its name, not by 3"):
        show_rope("wan", variant=3)


def test_ropes_of_ones_own():
    """A Rope3D is shown and compared as a name is, without commands that do not know it."""
    mine = Rope3D("mine", (16, 24, 24), theta=256.0, trained=(3, 4, 5))
    shown = show_rope(mine)
    assert (shown.name, shown.sizes, shown.own) == ("mine", (3, 4, 5), True)
    assert show_rope(mine, variant="half", grid=(6, 4, 5)).beyond
    said = " ".join(str(shown).split())
    assert said.startswith("mine · a rope of your own S = F·H·W = 3 × 4 × 5 = 60")
    assert "grid=(T, H, W) gives others" in said
    assert "--" not in said
    assert shown.to_json()["what"] is None
    both = compare_ropes("cogvideox", mine)
    assert both.moved.grid == (13, 30, 45)
    assert both.to_json() == compare_ropes(show_rope("cogvideox"), shown).to_json()
    assert compare_ropes("wan:half", "wan").moved.permuted.video < 1e-9
    with pytest.raises(BadRequest, match="mine has no text in its sequence"):
        show_rope(mine, text_tokens=3)
    with pytest.raises(BadRequest, match="a rope is given by its name, not by 7"):
        compare_ropes("wan", 7)


def test_more_of_what_is_shown():
    """What show_rope returned keeps its request and its changes."""
    for name, first, then in (
        ("wan:half", {"frames": 9}, {"frames": 161, "variant": "ntk"}),
        ("flux", {"height": 64, "text_tokens": 7}, {"width": 128}),
        ("sat-pnp", {"grid": (2, 3, 4), "text_tokens": 5}, {}),
    ):
        again, once = show_rope(show_rope(name, **first), **then), show_rope(name, **first | then)
        assert again.to_json() == once.to_json()


def test_a_suffix_in_capitals(said, tmp_path):
    said("scail", "-o", tmp_path / "rope.JSON")
    assert json.loads((tmp_path / "rope.JSON").read_text())["name"] == "scail"
