"""Long rows of operations that differ in their numbers only, as one row each."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence

from tracer.calls import Attr, Call, Trace

MANY = 16
"""Operations in a row, alike but for their numbers, from which on they are one row."""


def shortened(trace: Trace) -> Trace:
    """The trace with long rows of operations, alike but for their numbers, as one row each.

    Some code fills a mask of thousands of rows one by one. Arguments that differ are told by the first and the last.
    """

    def visit(call: Call) -> Call:
        children = call.children
        if len(children) > MANY:
            children = tuple(_counted(children))
        return dataclasses.replace(call, children=children)

    return trace.map(visit)


def _counted(calls: Sequence[Call]) -> Iterator[Call]:
    i = 0
    while i < len(calls):
        end = i + 1
        while end < len(calls) and calls[i].kind == "op" and _alike(calls[i], calls[end]):
            end += 1
        if end - i < MANY:
            yield from calls[i:end]
        else:
            first, last = calls[i], calls[end - 1]
            attrs: dict[str, Attr] = {
                k: v if v == last.attrs[k] else ("first", v, "last", last.attrs[k]) for k, v in first.attrs.items()
            }
            yield dataclasses.replace(first, attrs=attrs, repeat=end - i)
        i = end


def _alike(a: Call, b: Call) -> bool:
    return (a.name, a.source, a.cost, a.inputs, a.outputs, a.fresh, a.attrs.keys()) == (
        b.name, b.source, b.cost, b.inputs, b.outputs, b.fresh, b.attrs.keys()
    )  # fmt: skip
