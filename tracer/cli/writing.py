"""Which formats an answer can have, which views go with which, and the text that is written."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

from tracer.errors import BadRequest

if TYPE_CHECKING:
    from tracer.calls import Trace
    from tracer.outline import Options

SUFFIXES = {
    ".txt": "tree", ".json": "json", ".html": "html", ".md": "markdown", ".csv": "csv", ".svg": "svg",
    ".mmd": "mermaid",
}  # fmt: skip
"""Formats by the suffix that asks for them; the first is the default."""

_VIEWS = ("stage", "depth", "notes", "ops", "costs", "torchinfo", "source")
_LOOKS = ("numbers", "formulas", "pixels")
_WHOLE = {"csv": "a CSV has a row for every call", "html": "a page shows the whole trace"}


def drawn(args: argparse.Namespace, kind: str) -> bool:
    """Whether the answer is the diagram: asked for, or in a format that only a diagram has."""
    return bool(args.diagram) or kind == "mermaid"


def check_kind(args: argparse.Namespace, kind: str) -> None:
    """Refuse options that a format has no room for. Raises BadRequest."""
    views = [name for name in _VIEWS if getattr(args, name) not in (None, False)]
    if drawn(args, kind):
        if kind not in ("tree", "svg", "mermaid"):
            raise BadRequest(f"--diagram is drawn as .svg or written as .mmd, not as {kind}.")
        if views:
            raise BadRequest(f"the diagram and --{views[0]} are two views; give one of them.")
    elif kind in _WHOLE:
        chosen = [*views, *(name for name in _LOOKS if getattr(args, name))]
        if chosen:
            raise BadRequest(f"--{chosen[0]} chooses what is printed, and {_WHOLE[kind]}; leave it out.")
    elif kind == "markdown":
        for name in ("torchinfo", "source"):
            if name in views:
                raise BadRequest(f"--{name} has no Markdown; leave it out, or write it as .txt or .svg.")


def written(trace: Trace, args: argparse.Namespace, kind: str, options: Options, lines: Any) -> str:
    """The answer as text in a format; `lines` gives those of the terminal, for an SVG of them."""
    if kind == "json":
        return json.dumps(trace.to_json()) + "\n"  # ASCII: any terminal and any file name can take it
    if drawn(args, kind):
        return _diagram(trace, args, kind)
    if kind == "html":
        from tracer.views.page import render_page

        return render_page(trace)
    if kind == "csv":
        from tracer.views.calls_csv import render_csv

        return render_csv(trace)
    if kind == "markdown":
        from tracer.views.markdown import render_costs, render_markdown

        return render_costs(trace) if args.costs else render_markdown(trace, options)
    from tracer.outline import title
    from tracer.views.svg import render_svg

    return render_svg(lines(), " · ".join(title(trace, options)[0][:2]))


def _diagram(trace: Trace, args: argparse.Namespace, kind: str) -> str:
    from tracer.diagrams.diagram import flow

    seen = flow(trace, pixels=args.pixels)
    if kind == "svg":
        from tracer.views.diagram_svg import render_diagram

        return render_diagram(seen, formulas=not args.numbers, numbers=not args.formulas)
    from tracer.views.diagram_mermaid import render_mermaid

    return render_mermaid(seen, formulas=not args.numbers, numbers=not args.formulas)
