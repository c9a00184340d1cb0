"""Boxes and arrows of a flow, and which of them are one thing to a reader."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from tracer.calls import Call
from tracer.diagrams.handed import Value
from tracer.words import clean

NodeKind = Literal["input", "stage", "output"]


@dataclass(eq=False, slots=True)
class Group:
    """A block that is repeated, or the passes of a loop.

    times: how often it runs. turns: whether others run between.
    """

    label: str
    call: Call
    times: int
    turns: bool = False

    @property
    def title(self) -> str:
        """What stands at its head."""
        if self.times == self.call.repeat or self.call.kind == "step":
            label = self.label
        else:  # a note of the first speaks of the first
            label = clean(f"{self.call.path.rpartition('.')[0]} {self.call.name}".strip())
        return f"{label} ×{self.times}{', in turn' * self.turns}" if self.times > 1 else label


@dataclass(eq=False, slots=True)
class Node:
    """A box: a stage, or a tensor that the whole or a group is given or gives.

    aside: names of the tensors it uses that have no arrow. flops: of the whole run. far: arrows that end here and
    pass a whole group. after: how many groups ran before it.
    """

    kind: NodeKind
    label: str
    group: Group | None = None
    stage: str = ""
    aside: list[str] = field(default_factory=list)
    flops: int = 0
    began: frozenset[Value] = frozenset()
    plain: bool = True
    far: list[Edge] = field(default_factory=list)
    after: int = 0

    def alike(self, other: Node) -> bool:
        """Whether another box is of the same stage in the same place."""
        return self is not other and (self.kind, self.label, self.group) == (
            other.kind, other.label, other.group,
        )  # fmt: skip


@dataclass(eq=False, slots=True)
class Edge:
    """An arrow and the tensors it hands on: formulas and numbers, equal neighbours counted.

    skips: whether there is a longer way between the same boxes, as beside a residual branch. far: whether it passes a
    whole group, as the time vector does on its way to the last norm.
    """

    source: Node
    target: Node
    shapes: tuple[str, ...]
    sizes: tuple[str, ...]
    skips: bool
    far: bool


@dataclass(frozen=True)
class Flow:
    """Boxes in the order of the run, arrows from earlier boxes to later ones, groups."""

    title: str
    head: tuple[tuple[str, ...], ...]
    total: int
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    groups: tuple[Group, ...]


Arrow = tuple[Node, Node, Value]


class Graph:
    """A flow in the making. An arrow is two boxes and the tensor that one hands to the other."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.groups: list[Group] = []
        self.arrows: dict[Arrow, None] = {}
        self.side: dict[Value, bool] = {}

    def beside(self, value: Value) -> bool:
        """Whether a tensor is none of a block's streams: the time vector, rotary tables, masks."""
        return self.side.get(value.tensor, False)

    def leads(self, start: Node, ends: Iterable[Node]) -> bool:
        """Whether arrows lead from a box to one of some others."""
        wanted, seen, todo = set(ends), {start}, [start]
        while todo and wanted:
            here = todo.pop()
            for source, target, _ in self.arrows:
                if source is here and target not in seen:
                    if target in wanted:
                        return True
                    seen.add(target)
                    todo.append(target)
        return False

    def into(self, node: Node) -> list[Arrow]:
        """The arrows to a box."""
        return [a for a in self.arrows if a[1] is node]

    def from_(self, node: Node) -> list[Arrow]:
        """The arrows from a box."""
        return [a for a in self.arrows if a[0] is node]

    def _join_aside(self, node: Node) -> bool:
        """What is made of side tensors alone goes into the box of its stage that uses it, or its only user."""
        arrows = self.into(node)
        if node.group is None or not arrows or not all(self.beside(v) for _, _, v in arrows):
            return False
        users = list(dict.fromkeys(a[1] for a in self.from_(node) if a[1].group is node.group))
        same = [n for n in users if n.alike(node)] or (users if len(users) == 1 else [])
        same += [n for n in self.nodes if n.alike(node)]
        return any(self._merged(node, n) for n in same)

    def _join_along(self, node: Node) -> bool:
        """A stage that only goes on is one box."""
        return any(a[1].alike(node) and self._merged(node, a[1]) for a in self.from_(node))

    def _join_beside(self, node: Node) -> bool:
        """Join a box with one of its stage that works beside it: queries, keys and values of one stream."""
        for other in self.nodes[: self.nodes.index(node)]:
            like = self._handed(node) == self._handed(other) and self._akin(node, other)
            if other.alike(node) and (like or self._ends(node, other)) and self._merged(node, other):
                return True
        return False

    def _merged(self, gone: Node, kept: Node) -> bool:
        """Make two boxes one, unless a way from one to the other leads through a third."""
        for a, b in ((gone, kept), (kept, gone)):
            between = [arrow[1] for arrow in self.from_(a) if arrow[1] is not b]
            if any(self.leads(n, [b]) for n in between):
                return False
        for source, target, value in list(self.arrows):
            if gone in (source, target):
                del self.arrows[source, target, value]
                new = (kept if source is gone else source, kept if target is gone else target)
                if new[0] is not new[1]:
                    self.arrows[*new, value] = None
        kept.flops += gone.flops
        kept.plain = kept.plain and gone.plain
        self.nodes.remove(gone)
        return True

    def _pass_on(self) -> None:
        """Boxes that a reader would not miss: reshaped, or scaled by side tensors, between two others."""
        for node in [n for n in self.nodes if n.kind == "stage" and n.plain]:
            streams = [a for a in self.into(node) if not self.beside(a[2])]
            before = {a[0] for a in streams}
            sizes = {a[2].spec.numel for a in (*streams, *self.from_(node))}
            if len(before) == 1 and len(sizes) == 1 and next(iter(before)).kind == "stage":
                self._merged(node, next(iter(before)))

    def _ends(self, node: Node, other: Node) -> bool:
        """Whether boxes behind all blocks hand their tensors to the same: there is but one stream left."""
        users = {a[1] for a in self.from_(node)} & {a[1] for a in self.from_(other)}
        return bool(users) and node.group is None and 0 < len(self.groups) == node.after == other.after

    def _handed(self, node: Node) -> set[tuple[int, ...]]:
        return {v.spec.sizes for _, _, v in self.from_(node) if not self.beside(v)}

    def _akin(self, *nodes: Node) -> bool:
        """Whether boxes come from a common stage, or all from nothing."""
        before = []
        for node in nodes:
            seen: set[Node] = set()
            todo = [node]
            while todo:
                here = todo.pop()
                for source, _, value in self.into(here):
                    if source not in seen and source.kind == "stage" and not self.beside(value):
                        seen.add(source)
                        todo.append(source)
            before.append(seen)
        return bool(set.intersection(*before)) or not any(self.into(node) for node in nodes)

    def settle(self) -> None:
        """Join what is one thing to a reader, and name what has no arrow."""
        for join in (self._join_aside, self._join_along, self._join_beside, self._join_along):
            while any(node.kind == "stage" and join(node) for node in self.nodes):
                pass
        self._pass_on()
        while any(node.kind == "stage" and self._join_along(node) for node in self.nodes):
            pass
        self._drop_useless()
        for source, target, value in list(self.arrows):
            if target.group is not None and source.group is target.group and self.beside(value):
                del self.arrows[source, target, value]
                tied = any(a[:2] == (source, target) for a in self.arrows)
                target.aside += [source.label] * (source.label not in target.aside and not tied)
        for group in self.groups:
            first = group.call.repeat
            for node in self.nodes:
                if node.group is group and group.times != first:
                    node.flops = node.flops // first * group.times
        self.nodes = self._sorted()

    def _drop_useless(self) -> None:
        """Leave out what neither a block uses nor a result comes from; a trace without results keeps all."""
        useful: set[Node] = set()
        todo = [n for n in self.nodes if n.kind == "output" and self.into(n)]
        todo += [n for n in self.nodes if n.kind == "stage" and n.group is not None and todo]
        while todo:
            useful.add(todo[-1])
            todo += [a[0] for a in self.into(todo.pop()) if a[0] not in useful]
        if useful:
            self.nodes = [n for n in self.nodes if n in useful]
            self.arrows = {a: None for a in self.arrows if a[1] in useful}

    def _sorted(self) -> list[Node]:
        """The boxes with those of a group together, every arrow from an earlier to a later one."""
        waiting = list(self.nodes)
        done: list[Node] = []
        while waiting:
            open_ = [n for n in waiting if all(a[0] not in waiting for a in self.into(n))]
            inside = [n for n in open_ if done and done[-1].group is not None and n.group is done[-1].group]
            done.append(min(inside or open_, key=lambda n: (n.after, n.group is not None)))
            waiting.remove(done[-1])
        return done
