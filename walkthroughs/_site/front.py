"""The tree on the front page: the walk through a checkpoint, one fold for each stage, made from its trace at build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape
from itertools import groupby
from typing import TYPE_CHECKING

from stored import stored

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.outline import Row

_ASKED = re.compile(r'<div class="front-tree" data-checkpoint="([a-z0-9.-]+)"></div>')


def fill(page: str) -> str:
    """Fills the element of a page that asks for the tree of a checkpoint."""
    return _ASKED.sub(lambda match: tree(stored(match[1])), page)


def tree(trace: Trace) -> str:
    """A `<figure>`: what ran, its stages as folds in the order in which they happen, and what it costs."""
    from tracer.outline import Options, rows, summary, title

    first, second = title(trace)
    head = f"<b>{escape(first[0])}</b> <span>{escape(' · '.join((first[2], second[0])))}</span>"
    foot = " · ".join(summary(trace, Options()))
    return (
        '<figure class="front-tree" data-search-exclude>'
        f"<figcaption>{head}</figcaption>\n{''.join(_folds(trace, rows(trace, Options())))}\n"
        f'<p class="front-foot">{escape(foot)}. A run made this when the site was built; open a stage for its reasons.'
        "</p></figure>"
    )


def stages(found: list[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Neighbours of one stage on one level, with the name of the stage, or of the block for the row of one."""
    for (_, stage), group in groupby(found, key=lambda row: (row.level, row.call.stage)):
        members = list(group)
        yield (members[-1].label if members[-1].important else stage or "", members)


def briefly(texts: tuple[str, ...]) -> str:
    """What comes out of a stage, the first two of it."""
    return " | ".join(texts[:2]) + " …" * (len(texts) > 2)


def _shares(trace: Trace) -> dict[str, float]:
    """Which part of the forward's FLOPs each stage takes."""
    total = trace.root.cost.flops.size
    return {stage: cost.flops.size / total for stage, cost in trace.stage_costs().items()}


def _folds(trace: Trace, found: list[Row]) -> Iterator[str]:
    """One fold for each stage, with a link to it on the model's page; those inside a block are inside the block's."""
    from tracer.words import percent

    shares, deep = _shares(trace), False
    place = f"models/{trace.header.checkpoint}/"
    for name, members in stages(found):
        row = members[-1]
        if deep and not row.level:
            yield "</details>"
            deep = False
        share = shares.get(name, 0.0)
        cells = f"<b>{escape(name)}</b><code>{escape(briefly(row.shapes))}</code>"
        sizes = " | ".join(f"<span>{escape(size)}</span>" for size in briefly(row.sizes).split(" | "))
        cells += f"<span>{sizes}</span><i>{percent(share) if share >= 0.0005 else ''}</i>"
        if row.important:
            deep = True
            yield f'<details class="front-block" open><summary>{cells}</summary>'
        else:
            more = f'<div><a href="{place}#{name}">{escape(name)} on the page of {trace.header.checkpoint}</a></div>'
            yield f"<details><summary>{cells}</summary>{''.join(map(_step, members))}{more}</details>"
    if deep:
        yield "</details>"


def _step(row: Row) -> str:
    """A row of the walk: its name, all its shapes, and why."""
    shapes = " ".join(f"<code>{escape(shape)}</code>" for shape in row.shapes)
    sizes = " | ".join(map(escape, row.sizes))
    return (
        f"<div><p><b>{escape(row.label)}</b> {shapes} {sizes}</p>"
        f"<p>{escape(row.why)} <small>{escape(row.grounds)}</small></p></div>"
    )
