"""What a trace looks like: nothing cut, nothing lost, nothing dangerous, in the terminal and in a notebook."""

import io
import itertools
import re
from html.parser import HTMLParser

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from torch import nn

import tracer
from tracer.calls import Call, Header, Remark, Source, Trace
from tracer.errors import UnknownName
from tracer.notes import STAGES
from tracer.outline import Options, growth, rows, title
from tracer.shapes import Dim, TensorSpec
from tracer.views.notebook import LIMIT, render_html
from tracer.views.tree import _wrap, render_text
from tracer.words import Words, amount, clean, counted, label_of, percent, pixels_of

CHECKPOINTS = ["cogvideox-5b", "cogvideox1.5-5b-i2v", "hunyuanvideo"]
VIEWS = [
    Options(), Options(notes=True), Options(depth=1), Options(depth=4), Options(ops=True), Options(depth=2, ops=True),
    Options(show="numbers"), Options(show="formulas"), Options(pixels=True), Options(stage="rope"),
    Options(stage="block"), Options(stage="attention", notes=True), Options(depth=2, pixels=True),
]  # fmt: skip


@pytest.fixture(params=CHECKPOINTS)
def seen(request, traces):
    return traces[request.param]


# nothing is cut, nothing is lost


def words_of(text):
    """Words in order, without tree lines: what must not depend on the width."""
    return re.sub(r"[│├└─|]", " ", text).split()


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
@pytest.mark.parametrize("options", VIEWS, ids=str)
def test_no_line_is_wider_and_every_axis_is_whole(seen, options, width):
    text = render_text(seen, options, width=width)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text.replace("= …", "")
    printed = set(words_of(text))
    for row in rows(seen, options):
        parts = []
        parts += row.shapes if options.show != "numbers" else ()
        parts += row.sizes if options.show != "formulas" else ()
        for part in parts:
            assert set(words_of(part)) <= printed, (row.label, part)
        if " " not in row.hang:  # the longest class names are broken in deep trees
            assert set(words_of(row.label)) <= printed, row.label


@pytest.mark.parametrize("width", [60, 80, 100])
@pytest.mark.parametrize("options", VIEWS[:3], ids=str)
def test_the_same_words_at_every_width(seen, options, width):
    def words(w):
        skip = {"stage", "call", "formula", "numbers", "FLOPs", "source", "·"}
        return sorted(w for w in words_of(render_text(seen, options, width=w)) if w not in skip and ":" not in w)

    assert words(width) == words(300)


def test_one_screen(seen):
    assert len(render_text(seen, width=100).splitlines()) <= 50
    assert len(render_text(seen, width=80).splitlines()) <= 60


@pytest.mark.parametrize("options", [Options(depth=3), Options(ops=True)], ids=str)
def test_wrapped_labels_keep_the_tree(seen, options):
    """Below a branch that goes on, each line shows its bar; no line of the table starts at the margin."""
    lines = render_text(seen, options, width=80).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("call"))
    table = lines[start + 2 : lines.index("", start)]
    assert all(line[0] in "├│└ " for line in table)
    for above, below in itertools.pairwise(table):
        if above.startswith("├"):
            assert below[0] in "├│└"
        for i, sign in enumerate(below):
            if sign in "├└" and i < len(above) and i > 0 and above[i] not in "├│":
                assert above[i - 3] in "├└"  # a first child stands below its parent's name


def test_deeper_never_loses_a_row(seen):
    def labels(**options):
        return [(r.label, r.shapes) for r in rows(seen, Options(**options))]

    for ops in (False, True):
        for depth in range(5):
            shallow, deep = labels(depth=depth, ops=ops), iter(labels(depth=depth + 1, ops=ops))
            assert all(row in deep for row in shallow)
    quiet = iter(labels(ops=True))
    assert all(row in quiet for row in labels(depth=99))


specs = st.builds(
    lambda sizes: {"0": TensorSpec(tuple(map(Dim, sizes)), "float32")}, st.lists(st.integers(0, 9**9), max_size=3)
)
names = st.sampled_from(["to", "cat", "Linear", "a_very_long_name_of_something_indeed", "x", "מודול", "模块"])


def call(children):
    kinds = st.sampled_from(["module", "function", "op"])
    return st.builds(Call, kinds, st.just("a.b"), names, outputs=specs, inputs=specs, children=children)


trees = st.recursive(call(st.just(())), lambda inner: call(st.lists(inner, max_size=4).map(tuple)), max_leaves=20)


@settings(max_examples=60, deadline=None)
@given(trees, st.integers(20, 120))
def test_any_tree_at_any_width(root, width):
    seen = Trace(Header("M"), root)
    before = []
    for depth in range(4):
        found = [(r.level, r.label) for r in rows(seen, Options(depth=depth))]
        deeper = iter(found)
        assert all(row in deeper for row in before)
        before = found
        text = render_text(seen, Options(depth=depth), width=width)
        assert max(map(cell_len, text.splitlines())) <= width
    balanced(render_html(seen))


@given(st.text("ab ·│", max_size=40), st.integers(1, 20))
def test_wrapping_loses_nothing(text, width):
    lines = _wrap(text, width, 2)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert all(cell_len(line) <= max(width, 3) for line in lines)


# what the views say


def test_the_head_says_each_thing_once(seen):
    head = "\n".join(" · ".join(line) for line in title(seen))
    assert head.count("parameters") == 1
    assert "in bfloat16" in head
    for s in seen.header.legend:
        if not s.number:
            assert len(re.findall(rf" {s.symbol} (?:= \S+ = )?{s.value}\b", " " + head)) == 1, s.symbol
    assert len(set(head.split(" · "))) == len(head.split(" · "))


def test_columns_have_names(seen):
    assert re.search(r"^stage +call +formula +numbers +FLOPs$", render_text(seen), re.M)
    assert re.search(r"^call +formula +numbers +FLOPs +source$", render_text(seen, Options(depth=1), width=140), re.M)
    assert re.search(r"^stage +call +numbers +FLOPs$", render_text(seen, Options(show="numbers")), re.M)


def test_every_stage_view(seen):
    for stage in seen.stages():
        text = render_text(seen, Options(stage=stage), width=100)
        lines = text.splitlines()
        assert f"{stage}: {STAGES[stage]}" in lines
        others = " ".join(text[text.index("other stages: ") :].split())
        assert others == "other stages: " + ", ".join(s for s in seen.stages() if s != stage)
        found = rows(seen, Options(stage=stage))
        assert found[0].above.endswith(".py")
        assert re.search(rf" {found[0].source.line}$", text, re.M)
    with pytest.raises(UnknownName, match="No stage is called 'nothing'"):
        rows(seen, Options(stage="nothing"))


def test_a_stage_shows_what_goes_in_and_what_comes_out(traces):
    found = rows(traces["cogvideox-5b"], Options(stage="concat"))
    cat = next(r for r in found if "cat" in r.label)
    assert cat.shapes == ("B L D", "B S D", "→ B L+S D")
    assert cat.sizes == ("2 226 3072", "2 17550 3072", "→ 2 17776 3072")


def test_casts_and_moves_read_well(seen):
    labels = {r.label.rpartition(" = ")[2] for r in rows(seen, Options(ops=True))}
    assert "cast to float32" in labels
    assert "cast to bfloat16" in labels
    assert not any(label.startswith(("to ", "float")) or label.endswith("device=device") for label in labels)


def test_pixels(seen):
    text = render_text(seen, Options(pixels=True), width=120)
    r = seen.header.request
    assert f"frames N = {r['frames']} · height = {r['height']} · width = {r['width']} pixels" in text
    assert pixels_of(seen) is not None
    numbers = dict(N=r["frames"], height=r["height"], width=r["width"], **seen.values)
    words = Words(seen, pixels=True)
    for c in seen.walk():
        for spec in c.outputs.values():
            for dim in spec.shape:
                formula = words.axis(dim)
                assert not set(re.findall(r"\b[FHWS]\b", formula)), formula
                python = formula.replace("−", "-").replace("·", "*").replace("⌊", "int(").replace("⌋", ")")
                python = re.sub(r"([A-Za-z_]+)([²³])", lambda m: f"{m[1]}**{'0123'['01²³'.index(m[2])]}", python)
                assert eval(python, {}, numbers) == dim.size, formula


def test_a_trace_of_no_video_has_no_pixels():
    assert pixels_of(Trace(Header("M"), Call("module", "", "M"))) is None


def test_growth_is_what_a_longer_run_takes(traces):
    seen = traces["cogvideox-5b"]
    longer = tracer.trace("cogvideox-5b", frames=101, formulas=False)  # 26 latent frames, twice 13
    assert growth(seen, "F") == longer.root.cost.flops.size / seen.root.cost.flops.size
    assert growth(seen, "F") == growth(traces["cogvideox-5b"], "F", 2)
    assert growth(seen, "Z") is None
    assert growth(longer, "F") is None


def test_amounts():
    assert [amount(n, "B") for n in (0, 7, 999, 1000, 9995, 99_950, 999_400, 999_600, 664e12)] == [
        "0 B", "7 B", "999 B", "1.00 kB", "10.0 kB", "100 kB", "999 kB", "1.00 MB", "664 TB"
    ]  # fmt: skip
    assert [percent(s) for s in (0.001, 0.0512, 0.0996, 0.4949, 1)] == ["0.1 %", "5.1 %", "10 %", "49 %", "100 %"]
    assert counted(["a", "a", "b"]) == ("a ×2", "b")
    assert counted([str(i) for i in range(500)])[-1] == "… 489 more"


# a model of one's own


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(8, 8), nn.GELU()) for _ in range(6))

    def forward(self, x):
        for block in self.blocks:
            x = x + block(x)
        return x, x.mean()


@pytest.fixture
def own():
    model = Net()
    with tracer.record(model) as recording:
        model(torch.zeros(3, 8))
    return recording.trace


def test_a_trace_of_ones_own(own):
    text = str(own)
    head, blank, columns, *table = text.splitlines()
    assert head.startswith("Net")
    assert blank == ""
    assert columns.split() in (["call", "numbers"], ["call", "numbers", "FLOPs"], ["call", "numbers", "source"],
                               ["call", "numbers", "FLOPs", "source"])  # fmt: skip
    assert any("blocks.*" in line and "×6" in line for line in table) or text.count("Sequential") == 6
    assert "scalar" in text
    assert "formula" not in text
    assert "  3 8" in text


def test_the_default_depth_fits_a_screen(own):
    many = Call("module", "", "M", children=own.root.children * 40)
    found = rows(Trace(own.header, many), Options())
    assert {r.level for r in found} <= {0, 1}
    assert len(rows(own, Options())) <= 40


# notebooks


class Balance(HTMLParser):
    """Checks that every tag is closed in its turn, and collects what is there."""

    def __init__(self):
        super().__init__(convert_charrefs=True)
        self.open, self.tags, self.attributes, self.text = [], set(), [], []

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes += attrs
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1] != "style":
            self.text.append(data)


def balanced(html):
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


ALLOWED = {"div", "style", "p", "table", "thead", "tbody", "tr", "th", "td", "br", "details", "summary"}


@pytest.mark.parametrize("options", VIEWS, ids=str)
def test_html(seen, options):
    html = render_html(seen, options)
    page = balanced(html)
    assert page.tags <= ALLOWED
    assert {name for name, _ in page.attributes} <= {
        "class", "tabindex", "role", "aria-label", "scope", "title", "colspan"
    }  # fmt: skip
    text = "".join(page.text)
    for row in rows(seen, options):
        assert row.label in text
    assert "script" not in html
    assert len(html) < 600_000


def test_both_views_come_with_a_trace(traces):
    seen = traces["cogvideox-5b"]
    bundle = seen._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html"}
    assert bundle["text/plain"] == str(seen)
    assert STAGES["rope"] in bundle["text/html"]


HOSTILE = [
    "<img src=x onerror=alert(1)>", "</style><script>alert(1)</script>", '" onload="x', "&lt;", "\x1b[31mred\x07",
    "\u202egnp.exe", "a\nb\r\nc", "\u2066\u200f", "[bold]markup[/bold]", "x" * 10_000_000, "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("bad", HOSTILE, ids=lambda bad: ascii(bad[:20]))
def test_hostile_names_are_inert_and_bounded(bad):
    spec = TensorSpec((Dim(2),), bad)
    inner = Call("module", bad, bad, outputs={bad: spec}, attrs={bad: bad}, stage=bad,
                 source=Source(bad, 1, bad), remark=Remark(bad, "B", bad[:999], bad))  # fmt: skip
    op = Call("op", bad, bad, inputs={bad: spec}, outputs={bad: spec}, attrs={bad: (bad,) * 9, "0": bad})
    fn = Call("function", "a", "f", children=(op, inner), stage="rope", source=Source(bad, 1, "f"))
    header = Header(bad, bad, dtype=bad, versions={"diffusers": bad}, constraints=(bad,), warnings=(bad,), error=bad)
    seen = Trace(header, Call("module", "", bad, children=(fn, inner)))
    for options in (Options(), Options(ops=True), Options(stage="rope"), Options(notes=True)):
        page = balanced(render_html(seen, options))
        assert page.tags <= ALLOWED
        assert not [name for name, _ in page.attributes if name.startswith("on")]
        text = render_text(seen, options, width=100)
        for shown in (text, "".join(page.text)):
            assert len(shown) < 60_000
            assert bad not in shown or bad.isprintable()
            assert not set(shown) & set("\x1b\x07\r\u202e\u2066\u200f\ud800")
    assert len(label_of(op, Words(seen))) <= 260


def test_clean():
    assert clean("a\x1bb") == "a\\u001bb"
    assert clean("x" * 500, 10) == "x" * 9 + "…"
    assert clean("模块 é 🎬") == "模块 é 🎬"


def test_html_is_bounded():
    root = Call("module", "", "M", children=tuple(Call("module", str(i), f"N{i}") for i in range(LIMIT + 5)))
    html = render_html(Trace(Header("M"), root))
    assert "… 6 more rows" in html
    assert html.count("<tr") == LIMIT + 1


def test_the_costs_of_all_stages_add_up_to_the_total(traces):
    from rich.console import Console

    from tracer.views.costs import renderable as costs

    trace = traces["cogvideox-5b"]
    console = Console(width=80, file=io.StringIO(), color_system=None)
    console.print(costs(trace, 80))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    table = lines[: lines.index("FLOPs as formulas")]
    rows_of = {line.split()[0]: line.split()[1:] for line in table if line.split()[:1]}
    params = {
        stage: int(next((n for n in cells if re.fullmatch(r"[\d,]{5,}", n)), "0").replace(",", ""))
        for stage, cells in rows_of.items() if stage in (*STAGES, "other", "total")
    }  # fmt: skip
    total = params.pop("total")
    assert total == trace.header.params
    assert sum(params.values()) == total
    assert any("168·(L+S)²" in line for line in lines)
