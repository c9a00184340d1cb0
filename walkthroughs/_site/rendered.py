"""What is made from stored traces, kept in an ignored folder: pages and data that a build would make again."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import stored

FOLDER = stored.CACHE / "pages"


def keeper(maker: str) -> Callable[[str, Callable[[], str]], str]:
    """For the code of one file: a function that takes a name and what makes the text, and reads or makes and keeps it.

    A text is kept for one state of traces, package and that file. To be called when the file is imported: what is
    kept is then of the code that runs.
    """
    made = hashlib.sha256(stored.key().encode())
    package = [path for path in (stored.ROOT / "tracer").rglob("*") if path.suffix in (".py", ".js", ".css")]
    for path in (*sorted(package), Path(maker)):
        made.update(path.relative_to(stored.ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    folder = FOLDER / made.hexdigest()[:16]

    def kept(name: str, make: Callable[[], str]) -> str:
        text = stored.kept(folder / f"{name}.json", make)
        assert isinstance(text, str)
        return text

    return kept
