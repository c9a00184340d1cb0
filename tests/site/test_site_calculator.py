"""The calculator in a real browser: its numbers against fresh traces and plans, refusals, address, keys and looks."""

import json
import random

import pytest
from browsing import LOOKS, Visit, sideways, violations
from generated import calculator
from stored import stored

import tracer
from tracer import families
from tracer.errors import BadRequest
from tracer.settings import MOST, settings_of
from tracer.views.page import attention
from tracer.words import percent

pytestmark = pytest.mark.browser

WIDEST = {"frames": 257, "height": 1280, "width": 1280, "batch": 6, "text_tokens": 600}
"""How far random settings reach."""

READ = """() => {
  const row = (name) => document.querySelector(`#answer [data-of="${name}"] dd`);
  const text = (name) => row(name)?.firstChild.textContent.trim() ?? null;
  const exact = (name) => row(name)?.querySelector("small")?.textContent.replaceAll(",", "") ?? null;
  return {
    came: text("frames that come out"), latents: text("latent frames"), grid: text("latents, rows by columns"),
    tokens: text("video tokens") ?? text("image tokens"), attention: text("attention"), forwards: text("forwards"),
    flops: exact("FLOPs a forward"), bytes: exact("activations written"),
    total: exact("FLOPs a video") ?? exact("FLOPs an image"), parameters: text("parameters"),
    near: [...document.querySelectorAll("#answer-near button")].map((b) => b.textContent),
    why: [...document.querySelectorAll("#answer-why li")].map((li) => li.textContent),
    said: Object.fromEntries(
      [...document.querySelectorAll(".calculator-field p")].map((p) => [p.id.slice(5), p.textContent])),
  };
}"""


@pytest.fixture
def opened(browser, site):
    """Opens the page: opened('cogvideox-5b', frames=33). Afterwards nothing may have been logged or asked of others."""
    visits = []

    def visit(name="cogvideox-5b", rest="", width=1280, scheme="light", **sizes):
        context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
        state = "&".join([name, *(f"{k}={v}" for k, v in sizes.items())])
        seen = Visit(context, f"{site.url}calculator/{rest or '#' + state}")
        visits.append((context, seen))
        seen.page.wait_for_selector("#calculate[data-ready]")
        return seen

    yield visit
    for context, seen in visits:
        assert seen.errors == []
        assert all(url.startswith((site.url, "data:")) for url in seen.requests)
        context.close()


def fill(page, **sizes):
    for name, value in sizes.items():
        page.fill(f"#ask-{name}", str(value))


def random_sizes(name, seed):
    """Settings that the model takes, with steps and passes."""
    pick, trace = random.Random(f"{name} {seed}"), stored(name)
    sizes = {
        s.name: pick.choice([n for n in range(1, min(s.most, WIDEST[s.name]) + 1) if not s.at(n).errors])
        for s in settings_of(trace)
        if not s.fixed
    }
    return sizes, {"steps": pick.randint(1, 60), "passes": pick.randint(1, 3)}


def returned(plan):
    """How the page says what comes out."""
    if plan.frames is None:
        return "none: the pipeline fails"
    more = f"{plan.gained:,} more than asked" if plan.gained > 0 else f"{-plan.gained:,} fewer than asked"
    grey = f", {plan.blank} of them grey" if plan.blank else ""
    return f"{plan.frames:,}, {more if plan.gained else 'as asked'}{grey}"


def offered(plan):
    """The counts that the page offers."""
    near = [f"{n:,}" for n in (plan.below, plan.above) if n is not None]
    return near or [f"{n:,} to get {get:,}" for n, get in plan.instead]


def disagreements(seen, fresh, plan, forwards):
    """Where what the page shows is not what a fresh trace and a fresh plan have."""
    cost, values = fresh.root.cost, fresh.values
    runs = plan.runs if plan is not None else 1
    wanted = {
        "flops": str(cost.flops.size),
        "bytes": str(cost.bytes.size),
        "tokens": f"{values['S']:,}",
        "grid": f"{values['H']} × {values['W']}",
        "attention": f"{percent(attention(fresh.root).size / cost.flops.size)} of the FLOPs",
        "parameters": f"{cost.params.size:,}",
        "total": str(cost.flops.size * forwards * runs),
        "forwards": f"{forwards * runs:,}" + (f", in {runs:,} runs" if runs > 1 else ""),
    }
    if plan is not None:
        more = f", {plan.seen:,} in one forward" if plan.seen != plan.latents else ""
        wanted |= {"came": returned(plan), "latents": f"{plan.latents:,}{more}"}
    if values["B"] == 1 and 0 <= int(seen["bytes"]) - cost.bytes.size < 1e-4 * cost.bytes.size:
        del wanted["bytes"]  # one sample is handed on where several are copied, as the page says
    return [f"{name}: {seen[name]}, not {value}" for name, value in wanted.items() if seen[name] != value]


@pytest.mark.parametrize(
    "name", ["cogvideox-5b", "cogvideox1.5-5b", "hunyuanvideo", "wan2.1-t2v-1.3b", "ltx-video", "allegro", "sd3-medium"]
)
def test_numbers_are_those_of_fresh_traces_and_plans(opened, name):
    page = opened(name).page
    family, _ = families.find(name)
    fresh = tracer.trace(name, formulas=False)
    plan = tracer.plan_frames(name, costs=False) if family.video else None
    steps = int(page.input_value("#ask-steps"))
    problems = [f"as published: {d}" for d in disagreements(page.evaluate(READ), fresh, plan, steps)]
    for seed in range(2):
        sizes, how = random_sizes(name, seed)
        fill(page, **sizes, **how)
        seen = page.evaluate(READ)
        fresh = tracer.trace(name, formulas=False, **sizes)
        if family.video:
            pixels = {k: sizes[k] for k in ("height", "width") if k in sizes}
            plan = tracer.plan_frames(name, sizes["frames"], **pixels, costs=False)
            published = tracer.plan_frames(name, sizes["frames"], costs=False)
            assert seen["near"] == offered(plan)
            assert seen["why"] == [line.text for line in published.lines if "rows from" not in line.text]
        problems += [f"{sizes}: {d}" for d in disagreements(seen, fresh, plan, how["steps"] * how["passes"])]
        assert page.locator("#calculate.stale").count() == 0
    assert problems == []


def test_the_comparison_can_fail(opened):
    page = opened(frames=33).page
    fresh, plan = tracer.trace("cogvideox-5b", formulas=False), tracer.plan_frames("cogvideox-5b", costs=False)
    kinds = {d.partition(":")[0] for d in disagreements(page.evaluate(READ), fresh, plan, 50)}
    assert kinds >= {"flops", "bytes", "tokens", "attention", "total", "came", "latents"}


@pytest.mark.parametrize("frames", [50, 66, 400])
def test_clips_that_differ_are_added_up(opened, frames):
    seen = opened("gamecraft", frames=frames, steps=7).page.evaluate(READ)
    plan = tracer.plan_frames("gamecraft", frames)
    assert seen["total"] == str(sum(clip.flops * clip.times for clip in plan.clips) * 7)
    assert seen["came"] == returned(plan)
    assert seen["near"] == offered(plan)


def test_sections_repeat_the_forward(opened):
    seen = opened("framepack", frames=200, steps=3).page.evaluate(READ)
    plan = tracer.plan_frames("framepack", 200, costs=False)
    assert disagreements(seen, stored("framepack"), plan, 3) == []
    assert seen["near"] == offered(plan)
    assert any(" to get " in text for text in seen["near"])


@pytest.mark.parametrize("wrong", [{"height": 487}, {"width": 488}, {"height": 3, "width": 4}], ids=str)
def test_what_the_model_rejects_is_said_in_its_words(opened, wrong):
    page = opened().page
    before = page.evaluate(READ)
    fill(page, **wrong)
    seen = page.evaluate(READ)
    with pytest.raises(BadRequest) as refusal:
        tracer.trace("cogvideox-5b", **wrong)
    assert " ".join(seen["said"][name] for name in wrong) == str(refusal.value)
    assert seen | {"said": before["said"]} == before
    assert page.locator("#calculate.stale").count() == 1
    page.click("#calculate button[type=reset]")
    assert page.evaluate(READ) == before


def test_words_and_numbers_beyond_what_was_read_are_refused(opened):
    page = opened().page
    for text in ("", "0", "-3", "4.5", "1e3", "99999999999999999999"):
        page.fill("#ask-steps", text)
        assert page.inner_text("#said-steps") == "This page reads whole numbers from 1 to 1,000 here."
        assert page.locator("#calculate.stale").count() == 1


def test_a_count_in_clips_reaches_as_far_as_its_plans(opened):
    page = opened("gamecraft", frames=MOST["frames"]).page
    assert page.inner_text("#said-frames") == ""
    page.fill("#ask-frames", str(MOST["frames"] + 1))
    assert page.inner_text("#said-frames") == f"This page reads whole numbers from 1 to {MOST['frames']:,} here."


def test_what_cannot_be_changed_says_why(opened):
    page = opened("latte-1").page
    fixed = {s.name: s.fixed for s in settings_of(stored("latte-1")) if s.fixed}
    assert {name: page.inner_text(f"#said-{name}") for name in fixed} == {n: f"fixed: {w}" for n, w in fixed.items()}
    assert all(page.get_attribute(f"#ask-{name}", "readonly") is not None for name in fixed)


def test_a_count_that_works_can_be_chosen_with_the_keyboard(opened):
    page = opened(frames=61).page
    page.locator("#answer-near button").first.focus()
    page.keyboard.press("Enter")
    chosen = page.input_value("#ask-frames")
    assert tracer.plan_frames("cogvideox-5b", int(chosen), costs=False).exact
    assert page.evaluate("() => document.activeElement.id") == "ask-frames"
    assert page.url.endswith(f"#cogvideox-5b&frames={chosen}")


def test_the_state_is_in_the_address(opened):
    first = opened().page
    first.select_option("#ask-model", "hunyuanvideo")
    first.wait_for_selector("#calculate[data-ready=hunyuanvideo]")
    fill(first, frames=61, height=544, steps=30)
    address = first.evaluate("() => location.hash")
    assert address == "#hunyuanvideo&frames=61&height=544&steps=30"
    assert opened(rest=address).page.evaluate(READ) == first.evaluate(READ)
    link = first.get_attribute("#answer-links a", "href")
    first.goto(link)
    assert first.input_value("#ui-frames") == "61"
    assert first.input_value("#ui-height") == "544"


@pytest.mark.parametrize("rest", ["#nothing", "#&frames=x", "#cogvideox-5b&frames=-1&nobody=3", "#%E0%A4%A"])
def test_an_address_that_makes_no_sense_shows_the_page(opened, rest):
    seen = opened(rest=rest).page.evaluate(READ)
    assert seen["flops"] == str(stored("cogvideox-5b").root.cost.flops.size)


def test_without_javascript_the_commands_are_named(browser, site):
    context = browser.new_context(java_script_enabled=False)
    page = Visit(context, site.url + "calculator/").page
    assert page.is_visible("text=plan-frames cogvideox-5b 50")
    assert not page.is_visible("#calculate")
    context.close()


@LOOKS
def test_it_fits_and_can_be_read_by_everyone(opened, axe, width, scheme):
    visit = opened("hunyuanvideo", frames=50, width=width, scheme=scheme)
    fill(visit.page, height=487)
    visit.page.click("#answer-why summary")
    assert sideways(visit) + violations(visit, axe) == []


def test_the_latent_frames_of_plans_are_those_of_the_formulas():
    """The page takes frames from the plan and costs from the settings: both have to mean the same latents."""
    for family in families.all_families():
        for checkpoint in family.checkpoints:
            trace = stored(checkpoint.name)
            moving = next((s for s in settings_of(trace) if s.name == "frames" and not s.fixed), None)
            if moving is None:
                continue
            plans = calculator.planned(family, trace)
            for n in range(1, moving.most + 1):
                if not moving.at(n).errors:
                    assert moving.at(n).letters["F"] == plans.at(n).letters["seen"], (checkpoint.name, n)


def test_data_hold_no_more_than_they_should():
    data = json.loads(dict(calculator.files())["assets/calculator/gamecraft.json"])
    assert set(data["kinds"]) == {"", "34", "66"}
    assert all(set(k["at"]) == {"flops", "bytes", "attention", "tokens"} for k in data["kinds"].values())
