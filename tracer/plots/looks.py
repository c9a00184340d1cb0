"""Lines that can be told apart: a colour for one setting, dashes for the other, on light and dark pages alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tracer.errors import BadRequest
from tracer.plots.picture import LIGHT

COLOURS = tuple(LIGHT.values())
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (1.2, 1.4)), (0, (6, 1.4, 1.2, 1.4)))
MOST = len(COLOURS) * len(DASHES)
"""Curves of a figure."""

Look = dict[str, Any]


def looks(settings: Sequence[Mapping[str, str]]) -> list[Look]:
    """A colour and dashes for each curve, from what tells the curves apart.

    Where two settings do, and neither has more than four values, one is the colour and the other the dashes; otherwise
    colours go round first. Raises BadRequest for more curves than there are looks.
    """
    if len(settings) > MOST:
        raise BadRequest(
            f"{len(settings)} curves in one figure cannot be told apart: choose up to {MOST}, as with "
            "log.filter(run=...), or let save_all make a figure for each setting."
        )
    names = list(dict.fromkeys(name for one in settings for name in one))
    if len(names) == 2:
        first, second = (list(dict.fromkeys(one.get(name, "") for one in settings)) for name in names)
        places = [(first.index(one.get(names[0], "")), second.index(one.get(names[1], ""))) for one in settings]
        if len(first) <= len(COLOURS) and len(second) <= len(DASHES) and len(set(places)) == len(places):
            return [_look(*place) for place in places]
    return [_look(i % len(COLOURS), i // len(COLOURS)) for i in range(len(settings))]


def _look(colour: int, dash: int) -> Look:
    return {"color": COLOURS[colour], "linestyle": DASHES[dash]}
