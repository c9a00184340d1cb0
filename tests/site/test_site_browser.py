"""Every page in a real browser: on a desktop and on a phone, light and dark; and what a reader does on them."""

import re
from urllib.parse import urlsplit

import pytest
from browsing import LOOKS, Visit, sideways, violations

pytestmark = pytest.mark.browser

MADE = ("explore/", "models/")
"""Folders whose pages are all made by one template: each is opened in one look, some of them in every look.
Of those one is read closely; what their settings do has tests of its own."""
SOME = 3
FIRST_LOOK = (1280, "light")
READ_CLOSELY = (FIRST_LOOK, (390, "dark"))
"""Looks in which axe reads the pages, which takes longest: each width and each palette once."""


def opened(site, look, kind):
    """The pages of a kind to open in a look, with whether they are also read closely."""
    if kind == "written":
        yield from ((name, look in READ_CLOSELY) for name in site.pages if not name.startswith(MADE))
        return
    for folder in MADE:
        same = [name for name in site.pages if name.startswith(folder)]
        some = same[:: max(1, len(same) // SOME)][:SOME]
        yield from ((name, name == same[0] and look in READ_CLOSELY) for name in (same if look == FIRST_LOOK else some))


@pytest.fixture
def context(browser, width, scheme):
    """One look for all pages of a test."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    yield context
    context.close()


@LOOKS
@pytest.mark.parametrize("kind", ["written", "made"])
def test_pages_are_quiet_stay_home_fit_and_can_be_read_by_everyone(context, site, axe, width, scheme, kind):
    problems = []
    for name, closely in opened(site, (width, scheme), kind):
        visit = Visit(context, site.url + name, until="load")
        problems += [f"{name}: {problem}" for problem in sideways(visit)]
        problems += [f"{name}: {problem}" for problem in (violations(visit, axe) if closely else [])]
        problems += [f"{name}: console error: {error}" for error in visit.errors]
        problems += [f"{name}: asks another host: {url}" for url in other_hosts(visit.requests, site)]
        background = visit.page.evaluate("() => getComputedStyle(document.body).backgroundColor")
        if is_dark(background) != (scheme == "dark"):
            problems.append(f"{name}: has the background {background} for a reader who prefers {scheme}")
        visit.page.close()
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


DESKTOP = pytest.mark.parametrize(("width", "scheme"), [FIRST_LOOK])


@DESKTOP
def test_a_lesson_offers_its_notebook_and_shows_its_outputs(context, site):
    page = Visit(context, site.url + "cogvideox/index.html").page
    assert page.locator(".lesson-output").count() > 0
    with page.expect_download() as download:
        page.click(".lesson-download a[download]")
    assert download.value.suggested_filename == "cogvideox.ipynb"


@DESKTOP
def test_the_front_page_says_all_on_one_screen(browser, site, width, scheme):
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page = Visit(context, site.url).page
    for part in ("h1", ".front-text pre", ".front-text ul", "figure.front-tree"):
        box = page.locator(part).first.bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= 800, part
    assert "17550 64" in page.inner_text("figure.front-tree")
    stage = page.locator("figure.front-tree details:has(> summary > b:text-is('rope'))")
    assert not stage.locator("text=turn query").is_visible()
    stage.locator("summary").click()
    assert stage.locator("text=turn query").is_visible()
    context.close()


@DESKTOP
def test_the_address_of_a_stage_leads_to_its_row(context, site):
    page = Visit(context, site.url + "cogvideox/index.html#rope").page
    row = page.locator("#rope")
    assert row.inner_text() == "rope"
    assert 0 <= row.bounding_box()["y"] < 844


SEARCHES = {
    "rope": "reference/rope/",
    "patch": "cogvideox/",
    "unpatchify": "cogvideox/",
    "apply_rotary_emb": "rope/",
    "旋转": "glossary/",
    "位置": "glossary/",
    "時間": "glossary/",
    "回転位置埋め込み": "glossary/",
    "パッチ": "glossary/",
}
"""What readers type, and a page that has to be among what is found, at one of its sections."""


@DESKTOP
@pytest.mark.parametrize("typed", SEARCHES)
def test_the_search_finds_sections_in_three_languages(context, site, typed):
    visit = Visit(context, site.url)
    visit.page.click(".md-search__input")
    visit.page.keyboard.insert_text(typed)
    visit.page.keyboard.press("Shift")  # the theme reads the field when a key comes up
    found = re.compile(rf"^{re.escape(site.url)}{SEARCHES[typed]}(\?h=[^#]*)?#.")
    visit.page.wait_for_selector(".md-search-result__link[href*='#']", state="attached", timeout=10_000)
    links = visit.page.eval_on_selector_all(".md-search-result__link", "all => all.map(a => a.href)")
    assert [link for link in links if found.match(link)], links
    assert visit.errors == []
    assert other_hosts(visit.requests, site) == []


@DESKTOP
def test_a_search_for_nothing_of_this_site_finds_nothing(context, site):
    page = Visit(context, site.url).page
    page.click(".md-search__input")
    page.keyboard.insert_text("砂糖菓子")
    page.keyboard.press("Shift")
    page.wait_for_selector("text=No matching documents", timeout=10_000)


@DESKTOP
def test_the_page_for_a_missing_one_shows_the_ways_on(context, site):
    page = Visit(context, site.url + "404.html").page
    assert "not here" in page.inner_text("h1")
    page.click("article a:text-is('Rotary positions')")
    assert page.url == site.url + "rope/"


def is_dark(colour):
    """Whether a colour, as browsers write it, is nearer to black than to white."""
    return sum(float(number) for number in re.findall(r"[\d.]+", colour)[:3]) < 3 * 128


def other_hosts(requests, site):
    """The addresses a page asked for that are not its own server's."""
    home = urlsplit(site.url).netloc
    return [url for url in requests if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != home]
