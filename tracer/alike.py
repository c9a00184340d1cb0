"""Rows of a page that are there already, but for the module they are in: written once, and referred to afterwards.

Ids and paths are marked while rows are written; rows are alike where all else is the same, and the paths from the
module on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

FEW = 5
"""Rows that are always written; more of them are referred to where they are there already."""

_ID, _PATH, _END = "\x01", "\x02", "\x03"
"""Stand around ids and paths. No cleaned text has these."""
_MARKED = re.compile(f"[{_ID}{_PATH}]([^{_END}]*){_END}")


class _Written(NamedTuple):
    """Rows below a call that are on the page: their id, of which call, at or below which module, and its panel."""

    place: str
    name: str
    home: str
    panel: str


def marked_id(text: str) -> str:
    """The attribute of an element that has an id."""
    return f"{_ID} id={text}{_END}"


def marked_path(text: str) -> str:
    """The path of a module."""
    return f"{_PATH}{text}{_END}"


def unmarked(page: str) -> str:
    """A page without the marks."""
    return _MARKED.sub(r"\1", page)


class Alike:
    """What is on one page. All texts are escaped already."""

    def __init__(self) -> None:
        self._written: dict[str, _Written] = {}

    def inside(self, panel: str, rows: str, name: str, home: str) -> str:
        """What opens under a call: its panel and the rows below it, or where the same ones are already.

        name: of the call. home: the path of the module that it is, or is in.
        """

        def bare(text: str) -> str:
            return _MARKED.sub(lambda m: _PATH + m[1].removeprefix(f"{home}.") if m[0][0] == _PATH else "", text)

        key = bare(rows)
        if key not in self._written:
            place = f"ui-like-{len(self._written)}"
            self._written[key] = _Written(place, name, home, bare(panel))
            return f"{panel}<ul{marked_id(place)}>{rows}</ul>"
        like = self._written[key]
        whole = " data-whole" if bare(panel) == like.panel else ""
        return (
            f'{"" if whole else panel}<p class=r{whole} data-from="{like.home}" data-to="{home}">'
            f'inside as in <a href="#{like.place}">{like.name}</a>'
        )
