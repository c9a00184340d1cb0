"""The page of a trace without a browser: its data, its size, and that nothing from a trace gets out of its place."""

import dataclasses
import json
import random
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tracing import TRACES

from tracer import families
from tracer.calls import Call, Header, Remark, Symbol, Trace
from tracer.families.base import Request
from tracer.settings import SIZES, Setting, settings_of, to_data
from tracer.shapes import Dim, TensorSpec
from tracer.tables import Tables
from tracer.views.page import render_page

# what else could be asked


def real(trace):
    return families.family(trace.header.family), Request(**trace.header.request)


def test_every_size_of_every_checkpoint_is_read_or_says_why_not(seen):
    found = settings_of(seen)
    assert [s.name for s in found] == [n for n in SIZES if n != "frames" or "F" in seen.values]
    for s in found:
        assert s.value == seen.header.request[s.name]
        assert s.fixed or s.at(s.value).errors == ()
        assert s.fixed or s.steps


def test_settings_say_what_the_family_says(seen):
    """At sizes other than those that were tried while they were read."""
    family, request = real(seen)
    pick = random.Random(7)
    moving = [s for s in settings_of(seen) if not s.fixed]
    for _ in range(40):
        chosen = {s.name: pick.choice([pick.choice(s.steps), pick.randint(1, s.most)]) for s in moving}
        asked = dataclasses.replace(request, **chosen)
        findings, parts = family.check(seen.header.config, asked), [s.at(chosen[s.name]) for s in moving]
        errors = [e for p in parts for e in p.errors]
        own = [e for e in errors if "does not come out as asked" in e]
        assert set(errors) - set(own) == set(findings.errors)
        letters = {letter: n for p in parts for letter, n in p.letters.items()}
        assert letters.items() <= family.sizes(seen.header.config, asked).items()
        if not errors:
            said = {w for p in parts for w in p.warnings}
            always = set(family.check(seen.header.config, request).warnings)
            assert said <= set(findings.warnings) <= said | always


def test_sizes_that_no_formula_follows_are_fixed_with_the_reason():
    reasons = {
        name: {s.name: s.fixed for s in settings_of(TRACES[name]) if s.fixed}
        for name in ("cogvideox-2b", "cogvideox-5b-i2v", "framepack", "mochi-1-preview", "cogvideox-5b")
    }
    assert reasons["cogvideox-5b"] == {}
    assert reasons["cogvideox-2b"] == {"text_tokens": "the position table has 226 text rows (max_text_seq_length)"}
    assert set(reasons["cogvideox-5b-i2v"]) == {"height", "width", "text_tokens"}
    assert reasons["framepack"]["batch"].startswith("B stays as it is")
    assert reasons["mochi-1-preview"] == {"batch": "each sample of the batch is attended to on its own"}


def test_a_trace_that_nothing_is_known_of_has_no_settings():
    trace = TRACES["cogvideox-5b"]
    header = trace.header

    def settings_with(**changes):
        return settings_of(dataclasses.replace(trace, header=dataclasses.replace(header, **changes)))

    assert settings_with() != ()
    assert settings_with(family="nobody") == settings_with(family=None) == settings_with(error="stopped") == ()
    assert settings_with(config={}) == settings_with(request={"frames": 3}) == ()
    assert settings_with(request={**header.request, "frames": 33}) == ()  # not what the letters say


@pytest.mark.parametrize("value", [0, -1, 4097])
def test_a_value_that_was_not_read_is_refused(value):
    height = next(s for s in settings_of(TRACES["cogvideox-5b"]) if s.name == "height")
    with pytest.raises(ValueError, match=f"height {value} was not read"):
        height.at(value)


# tables


def evaluated(data, letters):
    """The counts of the data, the way the page evaluates them."""
    out = []
    for terms in data["counts"]:
        above, below = 0, 1
        for numerator, denominator, *powers in terms:
            over, under = int(numerator), int(denominator)
            for letter, power in zip(powers[::2], powers[1::2], strict=True):
                if power > 0:
                    over *= letters[letter] ** power
                else:
                    under *= letters[letter] ** -power
            above, below = above * under + over * below, below * under
        out.append(above // below if above % below == 0 else None)
    return out


def test_tables_have_the_numbers_of_the_trace(seen):
    tables = Tables(seen, ["B", "F", "H", "W", "L"])
    places = [(tables.shape(s), s.sizes) for c in seen.walk() for s in (*c.inputs.values(), *c.outputs.values())]
    counts = [(tables.count(d), d.size) for c in seen.walk() for d in (c.cost.flops, c.cost.bytes)]
    data = json.loads(json.dumps(tables.to_data()))
    values = evaluated(data, [seen.values[s] for s in data["letters"]])
    assert [values[i] for i, _ in counts] == [n for _, n in counts]
    shapes = [tuple(values[-1 - n] if n < 0 else n for n in shape) for shape in data["shapes"]]
    assert [shapes[i] for i, _ in places] == [sizes for _, sizes in places]


@given(st.fixed_dictionaries({s: st.integers(1, 10**7) for s in "BFL"} | {s: st.integers(1, 10**6) for s in "HW"}))
@settings(max_examples=20, deadline=None)
def test_tables_evaluate_as_formulas_do(letters):
    trace = TRACES["cogvideox-5b"]
    letters |= {s: 2 * letters[s] for s in "HW"}
    tables = Tables(trace, list(letters))
    place = tables.count(trace.root.cost.flops)
    data = json.loads(json.dumps(tables.to_data()))
    values = evaluated(data, [letters[s] for s in data["letters"]])
    assert values[place] == trace.root.cost.flops.formula.evaluate(trace.values | letters)


# the file


class Reader(HTMLParser):
    """Counts elements, collects attributes and the text of everything but scripts and styles."""

    def __init__(self, page):
        super().__init__()
        self.seen, self.values, self.words, self.open = [], [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.values += attrs
        if tag in ("details", "summary", "ul", "table", "main", "aside", "script", "style"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in ("details", "summary", "ul", "table", "main", "aside", "script", "style"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.words.append(data)


@pytest.mark.parametrize("name", ["cogvideox-5b", "hunyuanvideo", "wan2.1-t2v-1.3b", "flux.1-dev", "framepack"])
def test_one_small_file_that_asks_nobody(name):
    page = render_page(TRACES[name])
    read = Reader(page)
    assert read.open == []
    assert len(page.encode()) < 300_000
    addresses = [v for k, v in read.values if k in ("src", "href", "action", "srcset", "data", "poster")]
    assert all(a.startswith("#") or a == "data:," for a in addresses)
    assert not re.search(r"@import|url\(|https?:|fetch\(|XMLHttp|eval\(|Function\(|innerHTML|insertAdjacent", page)
    assert not [k for k, _ in read.values if k.startswith("on")]
    assert "default-src 'none'" in dict(read.values)["content"] or "default-src 'none'" in page
    ids = [v for k, v in read.values if k == "id"]
    assert len(ids) == len(set(ids))
    assert set(TRACES[name].stages()) <= set(ids)


def test_all_of_it_is_readable_without_a_script():
    trace = TRACES["cogvideox-5b"]
    text = " ".join(Reader(render_page(trace)).words)
    for call in trace.walk():
        assert call.remark is None or call.remark.why in text
        for spec in (*call.inputs.values(), *call.outputs.values()):
            assert " ".join(map(str, spec.sizes)) in text
    assert "B L+S D" in text
    assert "holds while H and W are multiples of 2" in text
    assert "S = F·(H/2)·(W/2)" in text


def test_a_page_of_a_saved_trace_is_the_same():
    trace = TRACES["hunyuanvideo"]
    assert render_page(Trace.from_json(json.loads(json.dumps(trace.to_json())))) == render_page(trace)


def test_limits_that_a_size_may_leave_are_marked_with_their_letters():
    page = render_page(TRACES["cogvideox-2b"])
    marks = [json.loads(v) for k, v in Reader(page).values if k == "data-if"]
    assert marks == [[["F", "=", 13], ["H", "=", 60], ["W", "=", 90]]]


def test_a_trace_without_formulas_says_so():
    trace = TRACES["cogvideox-5b"]
    plain = dataclasses.replace(trace, header=dataclasses.replace(trace.header, family=None))
    page = render_page(plain)
    assert "its numbers stay as they are" in page
    assert " data-s=" not in page.partition("<script")[0]
    assert "2 17776 3072" in page


def test_a_pipeline_shows_its_numbers_and_says_that_they_stay():
    call = Call("op", "", "cat", outputs={"0": TensorSpec((Dim(3),), "float32")})
    trace = Trace(Header("DemoPipeline"), Call("function", "", "__call__", children=(call,)))
    page = render_page(trace)
    assert "Sizes of a whole pipeline are plain numbers" in page
    assert ">3</b>" in page


# what a trace may hold

ATTACKS = [
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "\"'><svg onload=alert(1)>", "&lt;b&gt;",
    "\u202egnp.exe", "שלום עולם", "a\x00b\x1b[2J", "ui-tree", "]]>--><!--", "' style='color:red", "\ud800",
]  # fmt: skip


def hostile(text):
    """A trace with this text wherever a trace has text."""
    spec = TensorSpec((Dim(2), Dim(3)), text)
    op = Call(
        "op", text, text, {text: spec}, {text: spec}, {text: text, "1": "x" * 10_000_000}, stage=text,
        remark=Remark(text, text, text, text), opaque=text,
    )  # fmt: skip
    root = Call("module", text, text, {text: spec}, {text: spec}, weights={text: spec}, children=(op,), stage=text)
    legend = (Symbol(text, text, 3, text, field=text, fixed=text),)
    header = Header(
        text, text, "cogvideox", text, {text: 3}, {text: text}, {text: text}, legend, (text, f"{text} = 3"), (text,),
        5, source=text, error=text, assumptions=(text,),
    )  # fmt: skip
    return Trace(header, root)


@pytest.mark.parametrize("text", ATTACKS, ids=range(len(ATTACKS)))
def test_hostile_names_come_out_inert(text):
    page = render_page(hostile(text))
    read, clean = Reader(page), Reader(render_page(hostile("plain")))
    assert sorted(t for t in read.seen if t != "a") == sorted(t for t in clean.seen if t != "a")
    assert {k for k, _ in read.values} <= {k for k, _ in clean.values}
    assert len(page.encode()) < 100_000
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800]", page)
    ids = [v for k, v in read.values if k == "id"]
    assert len(ids) == len(set(ids))
    assert ids.count("ui-tree") == 1


def test_data_cannot_end_its_element():
    page = render_page(hostile("</script>"))
    held = re.search(r'id="ui-data">(.*?)</script>', page)[1]
    assert "<" not in held
    assert json.loads(held)["letters"] == []


def test_what_is_too_much_is_counted():
    many = Call("op", "", "add", {f"x{i}": TensorSpec((Dim(i),), "float32") for i in range(60)})
    deep = Trace(Header("Demo"), Call("module", "", "Demo", children=(many,) * 10_050))
    page = render_page(deep)
    assert page.count("<details") == 10_000
    assert "… 51 more calls are left out." in page
    assert "… 20 more" in page


def test_settings_are_plain_data():
    data = [to_data(s) for s in settings_of(TRACES["cogvideox-5b"])]
    assert json.loads(json.dumps(data))[0]["name"] == "frames"
    assert to_data(Setting("batch", 2, 64, fixed="so it is")) == {"name": "batch", "value": 2, "fixed": "so it is"}
