"""Gives every stage on a page an address: `cogvideox/#rope` leads to the first row of that stage.

A page may have several trees, and a heading may be called like a stage. The first of them has the address.
"""

import re

_STAGE = re.compile(r'<th class="stage" scope="row"([^<>]*)>([a-z][a-z0-9-]*)</th>')
_ID = re.compile(r'\sid="([^"]*)"')


def add_anchors(page: str) -> str:
    """Makes the name of each stage a link to itself where no other element of the page has that address."""
    taken = set(_ID.findall(page))

    def linked(match: re.Match[str]) -> str:
        about, stage = match.groups()
        if stage in taken:
            return match[0]
        taken.add(stage)
        return f'<th class="stage" scope="row" id="{stage}"{about}><a href="#{stage}">{stage}</a></th>'

    return _STAGE.sub(linked, page)
