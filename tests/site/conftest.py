"""What the tests of the site share: the helper code of the site, and a built site behind a local server."""

import functools
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest
from browsing import FLAGS

ROOT = Path(__file__).parents[2]
SITE_CODE = ROOT / "walkthroughs" / "_site"

if str(SITE_CODE) not in sys.path:  # the hook imports its neighbours the same way
    sys.path.insert(0, str(SITE_CODE))


class Site(NamedTuple):
    """A built site that is being served."""

    url: str
    pages: list[str]
    folder: Path


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files and keeps its log to itself."""

    def log_message(self, *args):
        pass


def need(condition: object, reason: str) -> None:
    """Skips where something is not installed; in CI everything is, so there it fails."""
    if condition:
        return
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set: nothing may be missing)")
    pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium."""
    path = shutil.which("chromium")
    need(path, "no chromium on this machine: apt-get install chromium")
    return str(path)


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator:
    """One browser for all visits, with a profile of its own."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, headless=True, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def axe() -> Path:
    """The path of axe-core's script."""
    path = SITE_CODE / "node_modules" / "axe-core" / "axe.min.js"
    need(path.exists(), "axe-core is not installed: run `npm ci` in walkthroughs/_site")
    return path


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole site, built strictly into a folder of its own and served on this machine."""
    need(find_spec("material"), "no site to look at, the docs extra is missing: pip install -e '.[docs]'")
    folder = tmp_path_factory.mktemp("site")
    build = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "SITE_URL": "", "SITE_REPOSITORY": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(QuietHandler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        pages = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.html"))
        yield Site(f"http://127.0.0.1:{server.server_port}/", pages, folder)
        server.shutdown()
        thread.join()
