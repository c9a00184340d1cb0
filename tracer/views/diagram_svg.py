"""A flow as SVG: boxes from top to bottom, shapes on the arrows, blocks as frames; for light and dark pages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracer.diagrams.graph import Edge, Flow, Group, Node
from tracer.diagrams.layered import Spot, place, tie
from tracer.drawing import page, safe
from tracer.notes import STAGES
from tracer.words import percent

CHAR, SMALL = 7.9, 6.65
"""Widths of a character, in pixels: of names, and of shapes on arrows."""
LINE, MARGIN, PAD, ROOM = 15.0, 20.0, 16.0, 16.0
WIDEST = 34
"""Characters of a name in a box; a longer one is cut, and whole in its title."""
_STYLE = (
    "text{font-size:11px;fill:var(--ink)}.name{font-size:13px}.head{font-size:15px;font-weight:700}"
    ".soft{fill:var(--soft)}.formula{fill:var(--shape)}.share{fill:var(--share)}.title{font-size:13px;font-weight:700;"
    "fill:var(--stage)}.box{fill:var(--box);stroke:var(--line)}.pill{fill:var(--page);stroke:var(--flow)}"
    ".group{fill:var(--group);stroke:var(--rim);stroke-opacity:.55}.flow{fill:none;stroke:var(--flow);stroke-width:1.3}"
    ".title,.given{paint-order:stroke;stroke:var(--group);stroke-width:5px}.tip{fill:var(--flow)}"
    ".skip{stroke-dasharray:5 4}"
)


def render_diagram(flow: Flow, *, formulas: bool = True, numbers: bool = True) -> str:
    """One SVG file. An arrow that would cross a whole block is written into the box it ends at instead."""
    near = [e for e in flow.edges if not e.far]
    rows = _rows(flow, near)
    boxes = {node: _box_spot(node, flow, 2 * rows[node]) for node in flow.nodes if not _is_said(node, near)}
    labels: list[tuple[Spot, Edge, list[tuple[str, str]]]] = []
    ways: list[tuple[Edge, list[Spot]]] = []
    spots = list(boxes.values())
    for edge in near:
        words = _words(edge, formulas, numbers) if _told(edge, near) else []
        way = [boxes[edge.source]]
        for row in range(way[0].row + 1, boxes[edge.target].row):
            if words and row == way[0].row + 1:
                wide = max(len(text) for _, text in words) * SMALL
                spot = Spot(row, wide + 6, len(words) * LINE + 4, 2.0)
                labels.append((spot, edge, words))
            else:
                spot = Spot(row, 8.0, 0.0, 4.0)
            spots.append(spot)
            tie(way[-1], spot)
            way.append(spot)
        for spot in way[1:]:
            spot.chain = [s for s in way[1:] if not s.height]
        tie(way[-1], boxes[edge.target])
        ways.append((edge, [*way, boxes[edge.target]]))
    laid = place(spots)
    wide = max([s.x + s.width / 2 for s in spots] or [0.0])
    said = {g: _said([n for n in flow.nodes if n.group is g and n not in boxes]) for g in flow.groups}
    frames = _rows_down(laid, flow, rows, said)
    head = _head(flow, max(wide + 2 * (MARGIN + PAD), 620.0))
    width = max(wide + 2 * (MARGIN + PAD), 620.0)
    shift, top = (width - wide) / 2, MARGIN + len(head) * (LINE + 3) + 8
    for spot in spots:
        spot.x, spot.y = spot.x + shift, spot.y + top
    bottom = max([s.y + s.height for s in spots] or [top]) + MARGIN + 14
    body = [*_headed(head)]
    body += [x for g in flow.groups for x in _frame(g, frames[g], spots, said[g], front=False)]
    body += [line for edge, way in ways for line in _line(edge, way)]
    body += [x for g in flow.groups for x in _frame(g, frames[g], spots, said[g], front=True)]
    body += [line for spot, _, words in labels for line in _label(spot, words)]
    body += [line for node, spot in boxes.items() for line in _box(node, spot, flow)]
    body.append(
        f'<text class="soft" x="{MARGIN:g}" y="{bottom:.0f}">dashed: past the boxes between · %: of the FLOPs</text>'
    )
    return page(round(width), round(bottom + MARGIN), flow.title, _STYLE, body)


# rows


def _rows(flow: Flow, edges: Iterable[Edge]) -> dict[Node, int]:
    """The row of each box. Groups follow one another; what is between them has rows of its own."""
    edges = list(edges)
    part: dict[Node, int] = {}
    for node in flow.nodes:
        before = [part[e.source] for e in edges if e.target is node]
        group = flow.groups.index(node.group) * 2 + 1 if node.group is not None else 0
        part[node] = group or max([2 * node.after, *(b + b % 2 for b in before)])
    rows: dict[Node, int] = {}
    start = 0
    for number in sorted(set(part.values())):
        inside = [n for n in flow.nodes if part[n] == number]
        within = [e for e in edges if part[e.source] == number == part[e.target]]
        level = dict.fromkeys(inside, 0)
        for node in inside if number else reversed(inside):  # at the top, what a stage needs stands right above it
            if number:
                low = int(node.group is not None and node.kind == "stage")
                level[node] = max([low, *(level[e.source] + 1 for e in within if e.target is node)])
            else:
                level[node] = min([0, *(level[e.target] - 1 for e in within if e.source is node)])
        least = min(level.values())
        rows |= {n: start + level[n] - least for n in inside}
        start = max(rows.values()) + 1
    return rows


def _rows_down(
    laid: list[list[Spot]], flow: Flow, rows: dict[Node, int], said: dict[Group, list[str]]
) -> dict[Group, tuple[int, int]]:
    """Set the height at which each row stands; gives the first and last row of each group."""
    frames = {}
    for group in flow.groups:
        numbers = [2 * rows[n] for n in flow.nodes if n.group is group]
        frames[group] = min(numbers), max(numbers)
    y = 0.0
    for number, row in enumerate(laid):
        y += sum(2.2 * ROOM + len(said[g]) * LINE for g, (first, _) in frames.items() if first == number)
        high = max([s.height for s in row] or [0.0])
        for spot in row:
            spot.y = y + (high - spot.height) / 2
        y += high + ROOM * 0.8
        y += sum(1.2 * ROOM for _, last in frames.values() if last == number)
    return frames


# parts of the drawing


def _share(node: Node, flow: Flow) -> str:
    return percent(node.flops / flow.total) if node.flops >= 0.0005 * flow.total > 0 else ""


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1] + "…"


def _asides(node: Node) -> list[str]:
    return [_cut(f"with {name}") for name in node.aside] + [
        _cut(f"from {e.source.label}  {' | '.join(e.shapes)}") for e in node.far
    ]


def _box_spot(node: Node, flow: Flow, row: int) -> Spot:
    share, asides = _share(node, flow), _asides(node)
    wide = max([(len(_cut(node.label)) + len(share) + bool(share)) * CHAR, *(len(a) * SMALL for a in asides)])
    return Spot(row, wide + 22, 26 + len(asides) * (LINE - 1), 1.0)


def _is_said(node: Node, edges: Iterable[Edge]) -> bool:
    """Whether an entry of a group has no arrow, and is a line at the head of the frame."""
    return node.kind == "input" and bool(node.far) and all(node not in (e.source, e.target) for e in edges)


def _said(nodes: Iterable[Node]) -> list[str]:
    return [f"{_cut(n.label)} from {_cut(e.source.label)}: {' | '.join(e.shapes)}" for n in nodes for e in n.far]


def _told(edge: Edge, edges: Iterable[Edge]) -> bool:
    """Whether an arrow needs its shapes: not where it is what goes into the boxes that it passes."""
    return not edge.skips or all(
        e is edge or e.skips or e.source is not edge.source or e.shapes != edge.shapes for e in edges
    )


def _words(edge: Edge, formulas: bool, numbers: bool) -> list[tuple[str, str]]:
    """Lines of a label with their classes, tensors of different shapes below each other."""
    alike = edge.shapes == edge.sizes
    out = []
    for shape, size in zip(edge.shapes, edge.sizes, strict=False):
        out += [("formula" if not alike else "soft", shape)] * formulas
        out += [("soft", size)] * (numbers and not (formulas and alike))
    return out


def _head(flow: Flow, width: float) -> list[tuple[str, str]]:
    lines = [("head", flow.title)]
    for phrases in flow.head:
        line = ""
        for phrase in phrases:
            if line and (len(line) + 3 + len(phrase)) * SMALL > width - 2 * MARGIN:
                lines.append(("soft", line))
                line = ""
            line += (" · " if line else "") + phrase
        lines += [("soft", line)] * bool(line)
    return lines


def _headed(lines: Iterable[tuple[str, str]]) -> Iterator[str]:
    for i, (kind, text) in enumerate(lines):
        yield f'<text class="{kind}" x="{MARGIN:g}" y="{MARGIN + 12 + i * (LINE + 3):.0f}">{safe(text)}</text>'


def _frame(
    group: Group, rows: tuple[int, int], spots: Iterable[Spot], said: list[str], *, front: bool
) -> Iterator[str]:
    """The frame of a group, or what is written in it, which stands in front of the arrows."""
    inside = [s for s in spots if rows[0] <= s.row <= rows[1]]
    left = min(s.x - s.width / 2 for s in inside) - PAD
    right = max(max(s.x + s.width / 2 for s in inside) + PAD, left + (len(group.title) + 4) * CHAR)
    right = max([right, *(left + 24 + len(line) * SMALL for line in said)])
    y0, y1 = min(s.y for s in inside) - 2.0 * ROOM - len(said) * LINE, max(s.y + s.height for s in inside) + 0.7 * ROOM
    if not front:
        size = f'width="{right - left:.1f}" height="{y1 - y0:.1f}"'
        yield f'<rect class="group" x="{left:.1f}" y="{y0:.1f}" {size} rx="10"/>'
        return
    yield f'<text class="title" x="{left + 12:.1f}" y="{y0 + 19:.1f}">{safe(group.title)}</text>'
    for i, line in enumerate(said):
        yield f'<text class="soft given" x="{left + 12:.1f}" y="{y0 + 19 + (i + 1) * LINE:.1f}">{safe(line)}</text>'


def _box(node: Node, spot: Spot, flow: Flow) -> Iterator[str]:
    left, share, asides = spot.x - spot.width / 2, _share(node, flow), _asides(node)
    kind, radius = ("box", 5.0) if node.kind == "stage" else ("pill", 13.0)
    about = STAGES.get(node.stage, "")
    title = f"{node.label}: {about}" if about else node.label
    yield (
        f'<g><title>{safe(title)}</title><rect class="{kind}" x="{left:.1f}" y="{spot.y:.1f}" '
        f'width="{spot.width:.1f}" height="{spot.height:.1f}" rx="{radius:g}"/>'
    )
    name = safe(_cut(node.label)) + (f' <tspan class="share">{safe(share)}</tspan>' if share else "")
    yield f'<text class="name" text-anchor="middle" x="{spot.x:.1f}" y="{spot.y + 17.5:.1f}">{name}</text>'
    for i, aside in enumerate(asides):
        y = spot.y + 32 + i * (LINE - 1)
        yield f'<text class="soft" text-anchor="middle" x="{spot.x:.1f}" y="{y:.1f}">{safe(aside)}</text>'
    yield "</g>"


def _line(edge: Edge, way: list[Spot]) -> Iterator[str]:
    x0, y0 = way[0].x, way[0].y + way[0].height
    path = f"M{x0:.1f} {y0:.1f}"
    for spot in way[1:]:
        x1, y1 = spot.x, spot.y - (5 if spot is way[-1] else 0)
        middle = (y0 + y1) / 2
        path += f"V{y1:.1f}" if abs(x0 - x1) < 0.5 else (
            f"C{x0:.1f} {middle:.1f} {x1:.1f} {middle:.1f} {x1:.1f} {y1:.1f}"
        )  # fmt: skip
        x0, y0 = x1, y1
        if spot.height and spot is not way[-1]:  # the label stands in the line
            y0 = spot.y + spot.height
            path += f"M{x0:.1f} {y0:.1f}"
    yield f'<path class="flow{" skip" * edge.skips}" d="{path}"/>'
    yield f'<path class="tip" d="M{x0:.1f} {y0 + 5:.1f}l-4 -7h8z"/>'


def _label(spot: Spot, words: list[tuple[str, str]]) -> Iterator[str]:
    for i, (kind, text) in enumerate(words):
        y = spot.y + 12 + i * LINE
        yield f'<text class="{kind}" text-anchor="middle" x="{spot.x:.1f}" y="{y:.1f}">{safe(text)}</text>'
