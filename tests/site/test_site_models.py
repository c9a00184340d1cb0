"""Pages of checkpoints: every number again from the trace, every link, sizes, and what is kept."""

import ast
import os
import re
from pathlib import Path

import pytest
import stored as storing
from generated import calculator, explore, models
from rendered import keeper
from stored import ROOT, stored

from tracer import families
from tracer.views.page import render_page
from tracer.words import amount

NAMES = [c.name for f in families.all_families() for c in f.checkpoints]
BY_NAME = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(scope="module")
def made():
    """All that the three modules make, by its path."""
    return {path: text for module in (explore, models, calculator) for path, text in module.files()}


def test_every_checkpoint_has_a_page_an_explorer_and_data(made):
    assert [p for p in made if p.startswith("explore/")] == [f"explore/{n}.html" for n in NAMES]
    assert {p for p in made if p.startswith("models/")} == {f"models/{n}.md" for n in [*NAMES, "index"]}
    assert {p for p in made if p.endswith(".json")} == {f"assets/calculator/{n}.json" for n in NAMES}


@BY_NAME
def test_pages_are_small(made, name):
    assert len(made[f"explore/{name}.html"].encode()) < 300_000
    assert len(made[f"models/{name}.md"].encode()) < 200_000
    assert len(made[f"assets/calculator/{name}.json"].encode()) < 50_000


def cells(text):
    """Rows of the pipe tables of a page, by their first cell."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| [")]
    return {re.match(r"\[([^\]]*)\]", row[0])[1]: row for row in lines}


@BY_NAME
def test_the_table_says_what_the_checkpoint_and_its_formulas_say(made, name):
    family, checkpoint = families.find(name)
    row, trace = cells(made["models/index.md"])[name], stored(name)
    config, request = trace.header.config, checkpoint.request
    assert row[1] == f"{checkpoint.params:,}"  # which was counted and compared with what was published
    sizes = family.sizes(config, family.adapt(config, request))
    values = trace.values | sizes
    tokens = next((s.formula for s in trace.header.legend if s.symbol == "S"), None)
    assert row[4] == (f"{tokens.evaluate(values):,}" if tokens is not None else f"{trace.values['S']:,}")
    assert row[5] == amount(trace.root.cost.flops.formula.evaluate(values), "FLOP")
    assert row[6] == checkpoint.confidence


@BY_NAME
def test_a_page_has_every_stage_reason_and_place_to_go(made, name):
    page, trace = made[f"models/{name}.md"], stored(name)
    headings = re.findall(r"(?m)^#{2,5} `([a-z0-9-]+)`$", page)
    assert set(headings) >= {c.stage for c in trace.walk() if c.remark and c.remark.brief} - {None}
    assert f"{trace.root.cost.params.size:,} parameters" in page
    assert f"](../explore/{name}.html)" in page
    assert f'href="../../calculator/#{name}"' in page
    assert f"\ntrace-shapes {name}\n" in page
    for other in re.findall(r"\]\(\.\./([a-z-]+)\.md", page):
        assert (ROOT / "walkthroughs" / f"{other}.py").exists() or other == "glossary", other


def test_a_diagram_keeps_its_style_to_itself_and_follows_the_page(made):
    page = made["models/cogvideox-5b.md"]
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    selectors = [one for rule in re.findall(r"([^{}]+)\{", style) for one in rule.split(",")]
    assert len(selectors) > 10
    assert all(re.match(r"(\[data-md-color-scheme=slate\] )?\.model-diagram ", one) for one in selectors)
    assert "prefers-color-scheme" not in page
    assert page.count("<svg ") == 1


def test_the_navigation_has_every_page_once():
    (entry,) = models.with_models([{"Models": "models/index.md"}])
    text = repr(entry)
    assert [text.count(f"'models/{name}.md'") for name in [*NAMES, "index"]] == [1] * (len(NAMES) + 1)
    assert models.with_models([{"Start": "index.md"}]) == [{"Start": "index.md"}]
    assert models.with_models(None) is None


# rows that are written once


def test_rows_that_are_alike_are_written_once_and_referred_to():
    trace = stored("latte-1")
    page = render_page(trace)
    blocks = [c for c in trace.walk() if c.stage == "block" and c.name == "BasicTransformerBlock"]
    places = set(re.findall(r"<ul id=(ui-like-\d+)>", page))
    referred = re.findall(r'<p class=r[^>]*>inside as in <a href="#(ui-like-\d+)">', page)
    assert len(blocks) == 56
    assert len(referred) >= len(blocks) - 4  # the first ones of each kind are written
    assert set(referred) <= places
    assert all(page.index(f"<ul id={place}>") < page.index(f'href="#{place}"') for place in set(referred))


# what is kept


def test_what_is_kept_is_made_once_for_a_state_of_its_file(tmp_path, monkeypatch):
    monkeypatch.setattr("rendered.FOLDER", tmp_path / "kept")
    monkeypatch.setattr(storing, "ROOT", tmp_path)
    monkeypatch.setattr(storing, "key", lambda: "traces")
    maker, calls = tmp_path / "maker.py", []
    maker.write_text("1")

    def make():
        calls.append(1)
        return f"text {len(calls)}"

    first = keeper(str(maker))
    assert (first("a", make), first("a", make)) == ("text 1", "text 1")
    maker.write_text("2")
    assert keeper(str(maker))("a", make) == "text 2"
    assert first("a", make) == "text 1"


def test_old_states_are_forgotten_and_what_is_in_use_is_not(tmp_path):
    for n in range(storing.LATEST + 3):
        path = tmp_path / "pages" / f"state-{n:02}" / "a.json"
        storing.kept(path, lambda: 1)
        os.utime(path.parent, (n, n))
    in_use = tmp_path / "pages" / "state-00"
    storing.kept(in_use / "a.json", lambda: 2)
    storing.forget(tmp_path)
    left = sorted(path.name for path in (tmp_path / "pages").iterdir())
    assert left == ["state-00", *(f"state-{n:02}" for n in range(4, storing.LATEST + 3))]
    assert storing.kept(in_use / "a.json", lambda: 2) == 1


def imported(path):
    """Modules of the package that a file imports, wherever in it."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tracer":
            yield node.module
            yield from (f"{node.module}.{name.name}" for name in node.names)


def test_a_trace_needs_nothing_of_what_its_key_leaves_out():
    """But for how a trace shows and compares itself, which `calls` loads when it is asked to."""
    package = ROOT / "tracer"
    late = {"tracer.views", "tracer.diffs"}
    named = [
        f"tracer.{place}.{path.stem}" for place in ("families", "models") for path in (package / place).glob("*.py")
    ]
    seen, left = set(), ["tracer.api", *named]  # those are found by listing their folders
    while left:
        module = left.pop()
        place = Path(ROOT, *module.split("."))
        path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if module in seen or not path.exists() or module == "tracer":
            continue
        seen.add(module)
        own = list(imported(path))
        if module == "tracer.calls":
            own = [m for m in own if not m.startswith(tuple(late))]
        left += own
    reached = {p for m in seen for p in (m.split(".")[1], f"{m.split('.')[1]}.py")}
    assert {"recorder.py", "families", "derive.py"} <= reached
    assert reached & set(storing.AFTER) == set()
    assert all((package / name).exists() for name in storing.AFTER)
