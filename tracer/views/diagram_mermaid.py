"""A flow as mermaid text: GitHub, GitLab and many editors draw it. Every name is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tracer.diagrams.graph import Edge, Flow, Node
from tracer.words import clean, percent

_ODD = re.compile(r"[^\w .,:+\-/()·×²³⁴−⌊⌋*=…|']")


def render_mermaid(flow: Flow, *, formulas: bool = True, numbers: bool = True) -> str:
    """Boxes, groups as subgraphs, arrows with formulas and numbers; dotted where an arrow passes other boxes."""
    names = {node: f"n{i}" for i, node in enumerate(flow.nodes)}
    lines = ["---", f"title: {_title(flow.title)}", "---", "flowchart TD"]
    lines += [f"  {_box(node, names[node], flow)}" for node in flow.nodes if node.group is None]
    for i, group in enumerate(flow.groups):
        lines.append(f'  subgraph g{i}["{escape(group.title)}"]')
        lines += [f"    {_box(node, names[node], flow)}" for node in flow.nodes if node.group is group]
        lines.append("  end")
    lines += [f"  {line}" for edge in flow.edges for line in _arrow(edge, names, formulas, numbers)]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text for a quoted label: what is neither a letter nor plain in a formula becomes its number."""
    return _ODD.sub(lambda m: f"#{ord(m[0])};", clean(text))


def _title(text: str) -> str:
    """Text for the head, which is YAML: in quotes, which JSON's are."""
    return '"' + clean(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def _box(node: Node, name: str, flow: Flow) -> str:
    words = [escape(node.label)]
    if node.flops >= 0.0005 * flow.total > 0:
        words[0] += f" {escape(percent(node.flops / flow.total))}"
    if node.aside:
        words.append("with " + escape(", ".join(node.aside)))
    opening, closing = ("[", "]") if node.kind == "stage" else ("([", "])")
    return f'{name}{opening}"{"<br/>".join(words)}"{closing}'


def _arrow(edge: Edge, names: dict[Node, str], formulas: bool, numbers: bool) -> Iterator[str]:
    lines = [edge.shapes] * formulas + [edge.sizes] * (numbers and not (formulas and edge.shapes == edge.sizes))
    label = "<br/>".join(escape(" | ".join(texts)) for texts in lines)
    arrow = "-.->" if edge.skips or edge.far else "-->"
    yield f'{names[edge.source]} {arrow}|"{label}"| {names[edge.target]}'
