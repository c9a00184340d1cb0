"""Every page in a real browser: on a desktop and on a phone, light and dark."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

pytestmark = pytest.mark.browser

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

LOOKS = pytest.mark.parametrize(
    ("width", "scheme"),
    [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")],
    ids=lambda value: str(value),
)


class Visit:
    """One page, opened, and what was seen while it loaded."""

    def __init__(self, context, url):
        self.page = context.new_page()
        self.requests = []
        self.errors = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on(
            "console",
            lambda message: self.errors.append(message.text) if message.type == "error" else None,
        )
        self.page.goto(url, wait_until="networkidle")


@pytest.fixture(scope="session")
def browser(chromium) -> Iterator:
    """One browser for all visits, with a profile of its own."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def visits(site, browser, width, scheme) -> Iterator[dict[str, Visit]]:
    """Every page of the site, opened in one look."""
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    yield {name: Visit(context, site.url + name) for name in site.pages}
    context.close()


@LOOKS
def test_pages_are_quiet_stay_home_fit_and_can_be_read_by_everyone(visits, site, axe, scheme):
    problems = []
    for name, visit in visits.items():
        problems += [f"{name}: console error: {error}" for error in visit.errors]
        problems += [f"{name}: asks another host: {url}" for url in other_hosts(visit, site)]
        problems += [f"{name}: {problem}" for problem in sideways(visit) + violations(visit, axe)]
        palette = visit.page.get_attribute("body", "data-md-color-scheme")
        if palette != {"light": "default", "dark": "slate"}[scheme]:
            problems.append(f"{name}: shows the palette {palette} to a reader who prefers {scheme}")
    if problems:
        pytest.fail("\n".join(problems), pytrace=False)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light")])
def test_a_lesson_offers_its_notebook_and_shows_its_outputs(visits, site):
    page = visits["cogvideox/index.html"].page
    assert page.locator(".lesson-output").count() > 0
    with page.expect_download() as download:
        page.click(".lesson-download")
    assert download.value.suggested_filename == "cogvideox.ipynb"


def other_hosts(visit, site):
    """The addresses a page asked for that are not its own server's."""
    home = urlsplit(site.url).netloc
    return [url for url in visit.requests if not url.startswith(("data:", "blob:")) and urlsplit(url).netloc != home]


def sideways(visit):
    """How far the page as a whole can be pushed sideways, as a sentence; nothing when it cannot."""
    over = visit.page.evaluate(
        "() => Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
        " - document.documentElement.clientWidth"
    )
    return [f"scrolls sideways by {over} px"] if over > 0 else []


def violations(visit, axe):
    """Serious and critical findings of axe-core, each with the first element it names."""
    visit.page.add_script_tag(path=axe)
    found = visit.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"axe {one['id']} ({one['impact']}, {len(one['nodes'])}×): {one['help']}\n"
        f"  {one['nodes'][0]['html'][:160]}\n  {one['nodes'][0]['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
    ]
