"""The page of a trace in a real browser: its numbers against fresh traces, its links, keys and looks."""

import random
from itertools import groupby
from urllib.parse import quote

import pytest
from browsing import LOOKS, Visit, sideways, violations
from tracing import TRACES

import tracer
from tracer.errors import BadRequest
from tracer.notes import shown
from tracer.settings import settings_of
from tracer.views.page import ROWS, TENSORS, render_page
from tracer.words import percent

pytestmark = pytest.mark.browser

MODELS = ["cogvideox-5b", "hunyuanvideo"]
BY_NAME = pytest.mark.parametrize("name", MODELS)
ALIKE = {"latte-1": {"batch": 3}, "framepack": {"text_tokens": 100}, "mochi-1-preview": {"frames": 31, "height": 320}}
"""Models with many rows that are alike, and sizes to ask them for."""
WIDEST = {"frames": 257, "height": 1536, "width": 1536, "batch": 8, "text_tokens": 600}
"""How far random settings reach."""

READ = """() => {
  const exact = (e) => e.title.split(" ")[0].replaceAll(",", "");  // a text: the numbers go beyond 2^53
  const costs = (where, unit) => [...where.querySelectorAll(`:scope [data-u=${unit}]`)].map(exact);
  const rows = [...document.querySelectorAll("#ui-tree li")].map((li) => {
    const details = li.firstElementChild, panel = details.querySelector(":scope > .x");
    return {
      label: details.querySelector(".n").innerText,
      results: [...details.querySelectorAll(":scope > summary b")].map((b) => b.textContent),
      more: details.querySelector(":scope > summary .t").textContent.includes(" more"),
      tensors: [...panel.querySelectorAll("tr")].map((tr) =>
        [tr.cells[0].textContent.split(" ")[0], tr.cells[tr.cells.length - 1].textContent]),
      flops: costs(panel, "FLOP"), bytes: costs(panel, "B"),
      share: details.querySelector(":scope > summary .p")?.textContent ?? "",
    };
  });
  const stages = [...document.querySelectorAll("nav li")].map((li) =>
    [li.firstElementChild.textContent, li.querySelector(".p").textContent]);
  const totals = document.querySelector("aside dl");
  const legend = Object.fromEntries([...document.querySelectorAll(".legend tbody tr")].map((tr) =>
    [tr.cells[0].textContent, Number(tr.cells[1].textContent.replaceAll(",", ""))]));
  const said = [...document.querySelectorAll(".field .said")].map((p) => p.textContent).filter(Boolean);
  return { rows, stages, legend, said, flops: costs(totals, "FLOP"), bytes: costs(totals, "B"),
    tokens: totals.querySelector("[data-c]").textContent };
}"""


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Pages by the checkpoint's name, as addresses."""
    folder, made = tmp_path_factory.mktemp("pages"), {}

    def address(name):
        if name not in made:
            path = folder / f"{name}.html"
            path.write_text(render_page(TRACES[name]), encoding="utf-8")
            made[name] = path.as_uri()
        return made[name]

    return address


@pytest.fixture
def opened(browser, files):
    """Opens a page: opened(name, '#rope'). Afterwards nothing may have been logged or asked for."""
    visits, addresses = [], set()

    def visit(name, rest="", width=1280, scheme="light", **more):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme, **more)
        addresses.add(files(name))
        visits.append((context, Visit(context, files(name) + rest)))
        return visits[-1][1]

    yield visit
    for context, seen in visits:
        assert seen.errors == []
        assert {url.partition("#")[0] for url in seen.requests if not url.startswith("data:")} <= addresses
        context.close()


def fill(page, **sizes):
    for name, value in sizes.items():
        page.fill(f"#ui-{name}", str(value))


# numbers


def rows_of(trace):
    """The calls that have rows: all but the one operation of a module that is nothing else."""

    def visit(call):
        yield call
        inner = call.children
        same = len(inner) == 1 and call.kind == "module" and inner[0].kind == "op"
        same = same and inner[0].stage is None and inner[0].remark is None and inner[0].repeat == 1
        if same and [s.sizes for s in inner[0].outputs.values()] == [s.sizes for s in call.outputs.values()]:
            return
        for child in inner:
            yield from visit(child)

    return list(visit(trace.root))


def text_of(spec):
    return " ".join(map(str, spec.sizes)) or "scalar"


def spread(texts):
    """'2 3072 ×6' as six texts."""
    return [t.partition(" ×")[0] for t in texts for _ in range(int(t.partition(" ×")[2] or 1))]


def disagreements(seen, fresh):
    """Where what the page shows is not what a fresh trace has."""
    out = []
    calls = rows_of(fresh)
    if len(calls) != len(seen["rows"]):
        return [f"{len(seen['rows'])} rows, {len(calls)} calls"]
    cost = fresh.root.cost
    for row, call in zip(seen["rows"], calls, strict=True):
        wanted, given = [text_of(s) for s in shown(call)], spread(row["results"])
        if given != (wanted[: len(given)] if row["more"] else wanted):
            out.append(f"{row['label']}: {given}, not {wanted}")
        kinds = [("in", call.inputs), ("out", call.outputs if call.kind != "op" else {}), ("weight", call.weights)]
        tensors = [[k, text_of(s)] for k, specs in kinds for s in list(specs.values())[:TENSORS]]
        if row["tensors"] != tensors:
            out.append(f"{row['label']}: {row['tensors']}, not {tensors}")
        for unit, dim in (("flops", call.cost.flops), ("bytes", call.cost.bytes)):
            if row[unit] != [str(dim.size)] * bool(dim.size):
                out.append(f"{row['label']}: {unit} {row[unit]}, not {dim.size}")
    if (seen["flops"], seen["bytes"]) != ([str(cost.flops.size)], [str(cost.bytes.size)]):
        out.append(f"totals {seen['flops']} {seen['bytes']}, not {cost.flops.size} {cost.bytes.size}")
    stages = [[k, c.flops.size / cost.flops.size] for k, c in fresh.stage_costs().items()]
    if sorted(seen["stages"]) != sorted([k, percent(s) if s >= 0.0005 else ""] for k, s in stages):
        out.append(f"stages {seen['stages']}, not {stages}")
    if seen["legend"] != fresh.values:
        out.append(f"letters {seen['legend']}, not {fresh.values}")
    if seen["tokens"] != f"{fresh.values['S']:,}":
        out.append(f"tokens {seen['tokens']}")
    if sorted(seen["said"]) != sorted(fresh.header.warnings):
        out.append(f"said {seen['said']}, not {fresh.header.warnings}")
    return out


def random_sizes(trace, count):
    """Random settings that the model takes."""
    pick = random.Random(f"{trace.header.checkpoint} {count}")
    takes = {
        s.name: [n for n in range(1, min(s.most, WIDEST[s.name]) + 1) if not s.at(n).errors] for s in settings_of(trace)
    }
    return [{name: pick.choice(values) for name, values in takes.items()} for _ in range(count)]


@BY_NAME
def test_every_number_is_that_of_a_fresh_trace_at_random_sizes(opened, name):
    page = opened(name).page
    problems = [f"as published: {d}" for d in disagreements(page.evaluate(READ), TRACES[name])]
    before = page.evaluate(READ)
    for sizes in random_sizes(TRACES[name], 25):
        fill(page, **sizes)
        seen = page.evaluate(READ)
        assert seen["rows"] != before["rows"]
        fresh = tracer.trace(name, formulas=False, **sizes)
        problems += [f"{sizes}: {d}" for d in disagreements(seen, fresh)]
        assert page.locator("body.stale, body.off").count() == 0
    assert problems == []
    page.click("#ui-reset")
    assert page.evaluate(READ) == before


@pytest.mark.parametrize("name", ALIKE)
def test_rows_that_are_written_once_are_in_all_their_places(opened, name):
    def others(fresh):
        """Disagreements but for the sentences, as fields that cannot be changed say why."""
        return [d for d in disagreements(page.evaluate(READ), fresh) if not d.startswith("said ")]

    page = opened(name).page
    assert page.locator("p.r").count() == 0
    assert others(TRACES[name]) == []
    ids = page.eval_on_selector_all("[id]", "(all) => all.map((e) => e.id)")
    assert len(ids) == len(set(ids))
    fill(page, **ALIKE[name])
    assert others(tracer.trace(name, formulas=False, **ALIKE[name])) == []
    paths = page.eval_on_selector_all("#ui-tree .m > details > .x > .g", "(all) => all.map((e) => e.textContent)")
    wanted = [c.pattern for c in rows_of(TRACES[name]) if c.kind == "module" and c.path]
    named = [text for text in paths if " parameters" in text or " · " in text]
    assert len(paths) == len([c for c in rows_of(TRACES[name]) if c.kind == "module"])
    assert [p for p in wanted if not any(p in text.split(" · ") for text in named)] == []


def test_without_javascript_what_is_written_once_is_referred_to(opened):
    page = opened("latte-1", java_script_enabled=False).page
    links = page.locator("#ui-tree p.r a")
    assert links.count() > 50
    places = links.evaluate_all("(all) => all.map((a) => document.getElementById(a.hash.slice(1)) !== null)")
    assert all(places)


def test_the_comparison_can_fail(opened):
    page = opened("cogvideox-5b").page
    assert disagreements(page.evaluate(READ), TRACES["cogvideox-5b"]) == []
    fill(page, frames=33)
    kinds = " ".join(disagreements(page.evaluate(READ), TRACES["cogvideox-5b"]))
    assert all(word in kinds for word in ("totals", "letters", "tokens", "in', '", "flops"))


@BY_NAME
@pytest.mark.parametrize(
    "wrong", [{"height": 487}, {"width": 488}, {"height": 3, "width": 4}, {"frames": 50, "height": 1000}], ids=str
)
def test_what_the_model_rejects_is_marked_with_the_reason(opened, name, wrong):
    page = opened(name).page
    fill(page, **{n: value for n, value in wrong.items() if n == "frames"})  # any number of frames is taken
    before = page.evaluate(READ)
    fill(page, **wrong)
    with pytest.raises(BadRequest) as refusal:
        tracer.trace(name, **wrong)
    sentences = page.eval_on_selector_all(".said.bad", "(all) => all.map((p) => p.textContent)")
    assert " ".join(sentences) == str(refusal.value)
    marked = page.eval_on_selector_all("[aria-invalid=true]", "(all) => all.map((e) => e.name)")
    assert set(marked) == {n for n in wrong if n != "frames"}
    assert page.locator("body.stale").count() == 1
    assert "still those of" in page.inner_text("#ui-said")
    assert page.evaluate(READ)["rows"] == before["rows"]
    page.click("#ui-reset")
    assert page.locator("body.stale, .said.bad:not(:empty)").count() == 0


def test_words_and_numbers_beyond_what_was_read_are_refused(opened):
    page = opened("cogvideox-5b").page
    for text in ("", "0", "-3", "4.5", "1e3", "99999999999999999999"):
        page.fill("#ui-batch", text)
        assert page.inner_text("#ui-batch-said") == "This page reads whole numbers from 1 to 64 here."
    fill(page, batch=64)
    assert page.locator("body.stale").count() == 0


def test_a_slider_goes_through_the_values_that_come_out_as_asked(opened):
    page = opened("hunyuanvideo").page
    slider = page.locator("[data-of=frames]")
    seen = []
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
        seen.append(page.input_value("#ui-frames"))
    assert seen == ["125", "121", "117"]
    assert slider.get_attribute("aria-valuetext") == "117"
    assert page.evaluate(READ)["rows"][0]["results"] == ["1 16 30 90 160"]


# links, folding, search


def shown_rows(page):
    return page.evaluate(
        "() => [...document.querySelectorAll('#ui-tree summary')].filter((s) => s.checkVisibility())"
        ".map((s) => s.querySelector('.n').innerText)"
    )


def at_its_place(page, slug):
    """Whether the row of a stage is open, in sight below the bar, and has the focus."""
    row = page.locator(f"[id='{slug}'] > details")
    page.wait_for_function(
        "(slug) => document.activeElement === document.getElementById(slug).firstElementChild.firstElementChild",
        arg=slug,
    )
    box, bar = row.locator("summary").first.bounding_box(), page.locator("#ui-tools").bounding_box()
    seen = bar["y"] + bar["height"] <= box["y"] + 1 and box["y"] + min(box["height"], 40) <= 844
    return seen and row.evaluate("(d) => d.open") and slug in row.locator("summary").first.inner_text()


@BY_NAME
def test_a_link_to_a_stage_opens_its_parents(opened, name):
    slugs = TRACES[name].stages()
    page = opened(name, f"#{slugs[-3]}").page
    assert at_its_place(page, slugs[-3])
    for slug in slugs:
        page.click("#ui-fold")
        page.evaluate("(slug) => { location.hash = slug; }", slug)
        assert at_its_place(page, slug), slug


def test_a_click_on_a_stage_does_the_same_and_keeps_the_sizes(opened):
    page = opened("cogvideox-5b").page
    fill(page, frames=33)
    page.click("nav a[href='#attention']")
    page.wait_for_function("() => location.hash === '#attention&frames=33'")  # the page hears of it a moment later
    assert page.input_value("#ui-frames") == "33"
    assert page.locator("#attention > details").evaluate("(d) => d.open")
    page.go_back()
    assert page.input_value("#ui-frames") == "33"


def test_the_state_is_in_the_address(opened, files):
    first = opened("cogvideox-5b").page
    fill(first, frames=81, height=768, batch=1)
    first.fill("#ui-find", "to_q & ü")
    first.select_option("#ui-stage", "qkv")
    first.select_option("#ui-show", "numbers")
    first.check("#ui-ops")
    first.wait_for_function("() => location.hash.includes('q=') && location.hash.includes('ops=1')")
    second = opened("cogvideox-5b", first.evaluate("() => location.hash")).page
    for id_ in ("frames", "height", "width", "batch", "text_tokens", "find", "stage", "show"):
        assert second.input_value(f"#ui-{id_}") == first.input_value(f"#ui-{id_}")
    assert second.is_checked("#ui-ops")
    assert second.evaluate(READ) == first.evaluate(READ)
    assert shown_rows(second) == shown_rows(first)


@pytest.mark.parametrize(
    "rest", ["#nothing", "#&frames=x&height=-1", "#&stage=nothing&show=%ZZ", "#%E0%A4%A", "#&&=&frames"]
)
def test_an_address_that_makes_no_sense_shows_the_page(opened, rest):
    page = opened("cogvideox-5b", rest).page
    assert len(shown_rows(page)) > 10


def test_folding(opened):
    page = opened("cogvideox-5b").page
    page.click("#ui-fold")
    names = shown_rows(page)
    assert names[0].startswith("CogVideoXTransformer3DModel")
    assert not any("norm1" in n for n in names)
    page.click("#ui-unfold")
    assert sum("apply_rotary_emb()" in n for n in shown_rows(page)) == 2
    casts = sum("cast to" in n for n in shown_rows(page))
    page.check("#ui-ops")
    assert sum("cast to" in n for n in shown_rows(page)) > casts == 0
    assert len(shown_rows(page)) == len(rows_of(TRACES["cogvideox-5b"]))


def test_search_finds_names_shapes_and_notes_and_gives_the_tree_back(opened):
    page = opened("hunyuanvideo").page
    before = shown_rows(page)
    for words, label in (("norm_added_q", "norm_added_q"), ("b·h l l", "view"), ("look at nothing like it", "")):
        page.fill("#ui-find", words)
        page.wait_for_function("(text) => location.hash.includes(text)", arg=f"q={quote(words)}")
        found = page.eval_on_selector_all("#ui-tree .found", "(all) => all.map((e) => e.innerText)")
        assert page.inner_text("#ui-found").startswith(f"{len(found)} of ")
        assert (len(found) > 0) == bool(label)
        assert not label or any(label in text for text in found)
    assert page.inner_text("#ui-found").endswith("nothing matches")
    page.press("#ui-find", "Escape")
    assert shown_rows(page) == before


def test_one_stage_alone(opened):
    page = opened("cogvideox-5b").page
    page.select_option("#ui-stage", "rope")
    found = page.eval_on_selector_all(
        "#ui-tree .found > details > summary em", "(all) => all.map((e) => e.textContent)"
    )
    assert set(found) == {"rope"}
    page.click("nav a[href='#norm-out']")  # a link out of what is filtered shows all again, a moment later
    page.wait_for_function("() => document.getElementById('ui-stage').value === ''")
    assert page.locator("#norm-out > details > summary").is_visible()


def test_keys_walk_the_tree(opened):
    page = opened("cogvideox-5b").page
    page.keyboard.press("/")
    assert page.evaluate("() => document.activeElement.id") == "ui-find"
    page.locator("#ui-tree summary").first.focus()

    def here():
        return page.evaluate("() => document.activeElement.querySelector('.n code').textContent")

    walked = []
    for key in ("ArrowDown", "ArrowDown", "ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp", "Home"):
        page.keyboard.press(key)
        walked.append(here())
    assert walked[:5] == ["time_proj", "time_embedding", "time_embedding", "linear_1", "act"]
    assert walked[5:] == ["time_embedding", "time_proj", "CogVideoXTransformer3DModel"]
    page.keyboard.press("Enter")
    assert len(shown_rows(page)) == 1


# looks

OVERLAPS = """() => {
  const problems = [];
  const boxes = (e) => [...e.children].filter((c) => c.checkVisibility() && c.textContent.trim() + (c.value ?? ""))
    .map((c) => [c, c.getBoundingClientRect()]);
  const name = (e) => `${e.tagName}.${e.className} ${e.textContent.slice(0, 40)}`;
  const groups = "#ui-tree summary, #ui-tree .t, .tools, .field, aside dl div, nav li, header, .x, tr";
  for (const group of document.querySelectorAll(groups)) {
    if (!group.checkVisibility()) continue;
    const all = boxes(group);
    all.forEach(([a, p], i) => all.slice(i + 1).forEach(([b, q]) => {
      const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
      const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
      if (wide > 1 && high > 1) problems.push(`${name(a)} over ${name(b)}`);
    }));
    for (const [e, r] of all) {
      if (e.scrollWidth > e.clientWidth + 1 && e.clientWidth && getComputedStyle(e).overflowX === "visible")
        problems.push(`${name(e)} is wider than its place`);
      if (r.right > innerWidth + 1) problems.push(`${name(e)} leaves the page`);
    }
  }
  return problems;
}"""


@LOOKS
@BY_NAME
def test_pages_fit_and_can_be_read_by_everyone(opened, axe, name, width, scheme):
    visit = opened(name, width=width, scheme=scheme)
    page = visit.page
    fill(page, frames=50, height=487)
    page.fill("#ui-find", "rope")
    page.locator("#ui-found:not(:empty)").wait_for()
    problems = sideways(visit) + page.evaluate(OVERLAPS)
    problems += (
        violations(visit, axe) if name == "cogvideox-5b" else []
    )  # the other has the same parts, and more of them
    page.press("#ui-find", "Escape")
    page.check("#ui-ops")
    page.click("#ui-unfold")
    problems += sideways(visit) + page.evaluate(OVERLAPS)
    assert "\n".join(problems) == ""
    paper = "() => getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(paper)
    assert (before == "rgb(20, 23, 26)") == (scheme == "dark")
    page.click("#ui-theme")
    assert page.evaluate(paper) != before


def test_the_layout_check_can_fail(opened):
    page = opened("cogvideox-5b").page
    assert page.evaluate(OVERLAPS) == []
    page.evaluate("() => { document.querySelector('#ui-tree .t').style.marginLeft = '-9rem'; }")
    assert any("over" in p for p in page.evaluate(OVERLAPS))


def test_without_javascript_all_of_it_is_there(opened):
    page = opened("cogvideox-5b", "#rope", java_script_enabled=False).page
    assert not page.is_visible("#ui-ask")
    assert not page.is_visible("#ui-tools")
    assert page.is_visible("text=frames of 480×720 pixels")
    assert page.is_visible("#rope > details > summary")  # the browser itself opens what a link leads to
    page.click("#rope > details > summary")
    assert page.is_visible("#rope >> text=attention_processor.py")
    assert "2 48 17550 64" in page.inner_text("#rope > details > summary")


def test_equal_neighbours_are_counted_and_long_lists_cut():
    """What `spread` and the limit of rows rely on."""
    texts = [b for call in rows_of(TRACES["cogvideox-5b"]) for b, _ in groupby(text_of(s) for s in shown(call))]
    assert len(texts) < ROWS * len(rows_of(TRACES["cogvideox-5b"]))
    assert spread(["2 3072 ×6", "7"]) == ["2 3072"] * 6 + ["7"]
