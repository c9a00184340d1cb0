"""What the site costs: the build with its traces made or kept, each lesson, and the largest pages."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SITE_CODE = ROOT / "walkthroughs" / "_site"
LARGEST = 8
"""How many pages are named."""


def report() -> None:
    """Measure and print. The kept traces are set aside for the first build and come back afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        kept, aside, site = ROOT / ".cache", Path(folder) / "kept", Path(folder) / "site"
        if kept.exists():
            shutil.move(kept, aside)
        try:
            first, again = _build(site), _build(site)
        finally:
            if aside.exists():
                shutil.rmtree(kept, ignore_errors=True)
                shutil.move(aside, kept)
        print(f"{'site, traces made':<28}{first:>8.1f} s\n{'site, traces kept':<28}{again:>8.1f} s")
        pages = sorted(site.rglob("*.html"), key=lambda page: -page.stat().st_size)
        for page in pages[:LARGEST]:
            print(f"  {page.relative_to(site).as_posix():<42}{page.stat().st_size / 1000:>8.0f} kB")
        print(f"  {len(pages)} pages")
    _lessons()


def _build(site: Path) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(site)],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, check=True,
    )  # fmt: skip
    return time.perf_counter() - start


def _lessons() -> None:
    """Each lesson in a fresh kernel, one after the other; the committed notebooks are left as they are."""
    sys.path.insert(0, str(SITE_CODE))
    import notebooks

    os.environ.update(notebooks.KERNEL_ENV)
    total = 0.0
    for lesson in sorted(notebooks.LESSONS.glob("*.py")):
        start = time.perf_counter()
        notebooks.execute(lesson)
        seconds = time.perf_counter() - start
        total += seconds
        print(f"{lesson.name:<28}{seconds:>8.1f} s")
    print(f"{'all lessons':<28}{total:>8.1f} s")
