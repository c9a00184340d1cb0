"""The explorer of each checkpoint: its trace as one HTML file."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from rendered import keeper
from stored import stored

from tracer import families

kept = keeper(__file__)


def files() -> Iterator[tuple[str, str]]:
    """`explore/CHECKPOINT.html` for every checkpoint."""
    for family in families.all_families():
        for checkpoint in family.checkpoints:
            name = checkpoint.name
            yield f"explore/{name}.html", kept(name, partial(page, name))


def page(name: str) -> str:
    """The file of a checkpoint."""
    from tracer.views.page import render_page

    return render_page(stored(name))
