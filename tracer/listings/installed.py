"""Reading the source of installed packages as it is now, and saying why where it cannot be shown."""

from __future__ import annotations

import importlib.util
import linecache
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from tracer.errors import TracerError
from tracer.sources import fingerprint, relative


class NoSource(TracerError):
    """Source that cannot be shown; the message says why."""


class Reader:
    """Reads files by the names that traces have: `diffusers/models/attention.py`.

    known: the digests of a trace's header. What is read is compared with them, so that no line is shown that is not the
    one that ran.
    """

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known
        self._texts: dict[str, str] = {}

    def __call__(self, file: str) -> str:
        """The text of a file. Raises NoSource where there is none, or where it is not what ran."""
        if file not in self._texts:
            self._texts[file] = self._read(file)
        return self._texts[file]

    def _read(self, file: str) -> str:
        digest = self._known.get(file)
        if digest == "":
            raise NoSource(f"{file} is not what ran: it was changed after it was imported, or rewritten while it was.")
        texts = [text for text in map(_text, _places(file)) if text]
        if not texts or digest is None:
            package = file.partition("/")[0] if "/" in file else "what ran"
            raise NoSource(f"{package} is installed without its source: there is no {file}; a wheel from PyPI has it.")
        same = [text for text in texts if fingerprint(text) == digest]
        if not same:
            raise NoSource(f"{file} is another one than when this trace was made; trace again to see it.")
        return same[0]


def _text(filename: str) -> str:
    linecache.checkcache(filename)
    return "".join(linecache.getlines(filename))


def _places(file: str) -> Iterator[str]:
    """Where a file may be: in its package, in a loaded module, among the cells of a notebook."""
    top, slash, rest = file.partition("/")
    if slash and top.isidentifier() and ".." not in rest.split("/"):  # a trace may come from anywhere
        yield from (str(folder / file) for folder in _folders(top))
    loaded = [str(getattr(module, "__file__", None) or "") for module in list(sys.modules.values())]
    for name in dict.fromkeys([*loaded, *linecache.cache]):
        if name.endswith(file.rpartition("/")[2]) and relative(name) == file:
            yield name


@cache
def _folders(package: str) -> list[Path]:
    """The folders that hold a package; it is not imported."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(place).parent for place in spec.submodule_search_locations or ()] if spec is not None else []
