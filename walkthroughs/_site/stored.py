"""Traces of published checkpoints, made once and kept in an ignored folder; and how such folders stay small.

A kept trace is used only while everything it came from is as it was: this package's source, and the versions of
torch, diffusers and transformers. The site, its pages and their checks read the same ones.
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tracer.calls import Trace

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / ".cache"
FOLDER = CACHE / "traces"
LATEST = 12
"""States that stay of each kind: a branch that is left and taken up again finds its own."""
FROM = ("torch", "diffusers", "transformers")
AFTER = (
    "alike.py", "cli", "diagrams", "diffs", "outline.py", "overview.py", "planning.py", "plots", "probes",
    "settings.py", "tables.py", "views",
)  # fmt: skip
"""Parts of the package that read traces or have nothing to do with them: a change there leaves a trace as it is."""


@cache
def key() -> str:
    """A name for the state of everything that a trace depends on."""
    made = hashlib.sha256(" ".join(f"{name} {version(name)}" for name in FROM).encode())
    made.update(".".join(map(str, sys.version_info[:2])).encode() + Path(__file__).read_bytes())
    home = ROOT / "tracer"
    for path in sorted(home.rglob("*.py")):
        if path.relative_to(home).parts[0] not in AFTER:
            made.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return made.hexdigest()[:16]


def stored(name: str, *, lines: bool = False) -> "Trace":
    """The default trace of a checkpoint, read or made and kept. `lines` keeps which source lines ran with it."""
    from tracer.calls import Trace

    return Trace.from_json(kept(place(name, lines=lines), lambda: traced(name, lines=lines)))


def place(name: str, *, lines: bool = False) -> Path:
    """Where the trace of a checkpoint is kept."""
    return FOLDER / key() / f"{name}{'-lines' * lines}.json"


def traced(name: str, *, lines: bool) -> dict[str, Any]:
    """The default trace of a checkpoint, made now, as data."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import tracer

    return tracer.trace(name, lines=lines).to_json()


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """Plain data that is read where it lies, or made and written there."""
    from tracer.files import write

    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = json.dumps(make()).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        write(path, data)
    path.parent.touch()  # what is in use is not old
    return json.loads(data)


def forget(cache: Path = CACHE) -> None:
    """Deletes what was kept for earlier states, but for the latest of each kind."""
    for kind in cache.glob("*/"):
        states = sorted(kind.glob("*/"), key=lambda path: path.stat().st_mtime)
        for state in states[:-LATEST]:
            shutil.rmtree(state, ignore_errors=True)
