"""Every page in a real browser: on a desktop and on a phone, light and dark."""

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from browsing import LOOKS, Visit, sideways, violations

pytestmark = pytest.mark.browser


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
