"""Pages that a build makes from the package. Each module here has `files()`: pairs of a path in the site and its text.

A path that ends in .md becomes a page; anything else is copied as it is. Nothing else registers them.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path

SITE_CODE = str(Path(__file__).resolve().parents[1])


def files() -> Iterator[tuple[str, str]]:
    """What all modules of this folder make."""
    if SITE_CODE not in sys.path:  # mkdocs takes the folder of a hook off the path again once the hook is loaded
        sys.path.append(SITE_CODE)
    for found in pkgutil.iter_modules(__path__):
        yield from importlib.import_module(f"{__name__}.{found.name}").files()
