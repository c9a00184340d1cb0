"""The trace as Markdown: tables that are tables, every row of the terminal, and text that stays text."""

import dataclasses
import re
from html.parser import HTMLParser

import markdown
import pytest
from hostile import NAMES, hostile
from hypothesis import given, settings
from hypothesis import strategies as st

from tracer.outline import Options, rows
from tracer.views.markdown import code, plain, render_costs, render_markdown

CHECKPOINTS = ["cogvideox-5b", "hunyuanvideo"]
VIEWS = [
    Options(), Options(notes=True), Options(depth=2), Options(stage="rope"), Options(show="numbers"),
    Options(show="formulas"), Options(pixels=True), Options(ops=True),
]  # fmt: skip


def timeless(trace):
    """A trace without what changes with the installed versions."""
    header = dataclasses.replace(trace.header, versions={})
    return dataclasses.replace(trace.map(lambda c: dataclasses.replace(c, source=None)), header=header)


class Page(HTMLParser):
    """The tables, headings and tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.tables, self.headings, self.tags, self.attributes, self.words = [], [], set(), set(), []
        self.inside = []
        self.feed(markdown.markdown(text, extensions=["tables"]))

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.inside.append(tag)
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
        elif tag in ("h1", "h2", "h3"):
            self.headings.append("")

    def handle_endtag(self, tag):
        assert self.inside.pop() == tag

    def handle_data(self, data):
        self.words.append(data)
        if {"td", "th"} & set(self.inside):
            self.tables[-1][-1][-1] += data
        elif {"h1", "h2", "h3"} & set(self.inside):
            self.headings[-1] += data


@pytest.mark.parametrize("name", CHECKPOINTS)
def test_golden(name, traces, golden):
    golden(f"views/{name}.md", render_markdown(timeless(traces[name])))


@pytest.mark.parametrize("options", VIEWS, ids=str)
def test_every_row_is_in_a_table(traces, options):
    seen = traces["hunyuanvideo"]
    text = render_markdown(seen, options)
    page = Page(text)
    assert len(page.tables) == len(re.findall(r"^\| ---", text, re.M))
    assert all(len({len(row) for row in table}) == 1 for table in page.tables)
    found = rows(seen, options)
    cells = [row for table in page.tables for row in table[1:] if table[0][0] == "call"]
    assert [row[0].strip() for row in cells] == [row.label for row in found]
    for row, shown in zip(found, cells, strict=True):
        if options.show != "numbers" and row.shapes != row.sizes:
            assert ", ".join(row.shapes) in shown
        if options.show != "formulas":
            assert ", ".join(row.sizes) in shown
    words = " ".join(page.words)
    for row in found:
        assert row.why in words


def test_stages_are_headings(traces):
    seen = traces["hunyuanvideo"]
    page = Page(render_markdown(seen))
    stages = [row.stage for row in rows(seen, Options()) if row.stage]
    assert page.headings == ["hunyuanvideo", *stages, "costs"]
    assert page.tables[0][0] == ["letter", "name", "here", "meaning"]
    here = {row[0]: row[2] for row in page.tables[0][1:]}
    assert here["S"] == "F·(H/2)·(W/2) = 118800"
    assert here["B"] == "1"


def test_costs_add_up_to_the_total(traces):
    for seen in (traces["cogvideox-5b"], traces["hunyuanvideo"]):
        (table,) = [t for t in Page(render_costs(seen)).tables if t[0][0] == "stage"]
        parameters = [int(row[3].replace(",", "") or 0) for row in table[1:]]
        assert sum(parameters[:-1]) == parameters[-1] == seen.header.params
        assert table[-1][0] == "total"


def test_pipelines_are_one_table(pipeline):
    page = Page(render_markdown(pipeline))
    assert [row[0].strip() for row in page.tables[1][1:]] == [row.label for row in rows(pipeline, Options())]


@pytest.mark.parametrize("stages", [True, False])
@pytest.mark.parametrize("options", [Options(), Options(notes=True), Options(depth=3)], ids=str)
def test_hostile_names_are_text(stages, options):
    text = render_markdown(hostile(stages), options)
    page = Page(text)
    allowed = {"h1", "h2", "h3", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "ul", "li", "strong"}
    assert page.tags <= allowed
    assert page.attributes <= {"style"}  # of flush-right columns
    assert len(text) < 100_000
    assert {c for c in text if not c.isprintable()} <= {"\n", "\u2003"}
    labels = [row.label for row in rows(hostile(stages), options)]
    shown = [row[0].strip() for table in page.tables for row in table[1:] if table[0][0] == "call"]
    assert shown == [label.strip() for label in labels]
    assert not re.search(r"(?<!\\)\]\(|://|www\.", text)
    assert NAMES[0] in "".join(page.words)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(blacklist_categories=("Cs", "Cc", "Cf", "Zl", "Zp", "Zs", "Co", "Cn")), max_size=40))
def test_any_text_comes_back(text):
    for escape in (plain, code):
        page = Page(f"| a |\n| --- |\n| x{escape(text)}x |\n")
        assert page.tables[0][1:] == [[f"x{text}x"]] or escape is code
        assert Page(f"x {plain(text)}").words == [f"x {text}"] or not text
