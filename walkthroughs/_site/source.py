"""Puts the model's own source on a page at build, with shapes in its margin.

A page asks for a function with an empty element of its own:

    <div class="model-source" data-checkpoint="cogvideox-5b" data-function="CogVideoXBlock.forward"></div>

The lines are read from the installed diffusers and go into the built page only; nothing of them is committed.
`data-fold="Title"` puts them into a fold that is closed at first. The index of the search leaves them out.
"""

import html
import re
from functools import cache
from html.parser import HTMLParser
from typing import TYPE_CHECKING

from stored import stored

if TYPE_CHECKING:
    from tracer.calls import Trace

_ASKED = re.compile(r'<div\s[^<>]*\bclass="model-source"[^<>]*>\s*</div>')
_CLASS = 'class="model-source"'
_NEEDED = ("data-checkpoint", "data-function")
_TAKEN = {"class", "data-fold", *_NEEDED}


class SourceError(Exception):
    """Source that was asked for and cannot be shown; the message says what to write."""


def fill(page: str) -> str:
    """Fills every element of a finished page that asks for source. Raises SourceError for what cannot be shown."""
    if _CLASS not in page:
        return page
    styled = False

    def filled(match: re.Match[str]) -> str:
        nonlocal styled
        shown = _shown(match[0], style=not styled)
        styled = True
        return shown

    page = _ASKED.sub(filled, page)
    if _CLASS in page:
        raise SourceError("An element of the class model-source is not empty, or is not written as a div.")
    return page


def _shown(element: str, *, style: bool) -> str:
    asked = _attributes(element)
    missing = [name for name in _NEEDED if not asked.get(name)]
    strange = sorted(asked.keys() - _TAKEN)
    if missing or strange:
        problem = f"has no {missing[0]}" if missing else f"has {strange[0]}, which means nothing"
        raise SourceError(f"A div of the class model-source {problem}: it takes {', '.join(_NEEDED)} and data-fold.")
    body = listing(asked["data-checkpoint"], asked["data-function"])
    if style:
        from tracer.views.source_html import STYLE

        body = f"<style>{STYLE}</style>{body}"
    about = f'class="shown-source" data-search-exclude data-function="{html.escape(asked["data-function"])}"'
    fold = asked.get("data-fold")
    if fold:
        return f"<details {about}><summary>{html.escape(fold)}</summary>\n{body}\n</details>"
    return f"<div {about}>\n{body}\n</div>"


@cache
def listing(checkpoint: str, function: str) -> str:
    """The figures of a function as it ran in a checkpoint, without their style."""
    from tracer import families
    from tracer.errors import TracerError
    from tracer.listings.installed import Reader
    from tracer.listings.listed import listings
    from tracer.views.source_html import STYLE, render_html

    try:
        known = families.find(checkpoint)[1].name
        if known != checkpoint:
            raise SourceError(f"'{checkpoint}' is the checkpoint {known}: write data-checkpoint=\"{known}\".")
        trace = _trace(checkpoint)
        found, _ = listings(trace, Reader(trace.header.sources), function)
    except TracerError as problem:
        raise SourceError(str(problem)) from None
    made = f"diffusers {trace.header.versions['diffusers']}, as it is installed here, in a run of {checkpoint}"
    command = html.escape(f"trace-shapes {checkpoint} --source {function}")
    foot = f'<p class="soft">{html.escape(made)} · <code>{command}</code></p>'
    return render_html(trace, found).replace(f"<style>{STYLE}</style>", "").removesuffix("</div>") + foot + "</div>"


@cache
def _trace(checkpoint: str) -> "Trace":
    return stored(checkpoint, lines=True)


def _attributes(element: str) -> dict[str, str]:
    """The attributes of the first tag in a piece of HTML."""
    found: dict[str, str] = {}

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.update({name: value or "" for name, value in attrs})

    Reader().feed(element)
    return found
