"""The stages of a trace as a flow: which hands which tensors to which. Data for a drawing, from the trace alone.

Operations become the stage they belong to; what belongs to none only passes tensors on. A stage that comes twice is
two boxes, and so is one that works on two streams apart. Repeated blocks, and the steps of a pipeline, are groups.
What a block is given and does not give back (the time vector, rotary tables, masks) is named in the boxes that use it,
so that the arrows inside a block are the streams.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from tracer.calls import Call, Trace
from tracer.diagrams.graph import Edge, Flow, Graph, Group, Node, NodeKind
from tracer.diagrams.handed import Follower, Value
from tracer.outline import title
from tracer.overview import is_pipeline
from tracer.words import Words, clean, counted, label_of, sizes_of


def flow(trace: Trace, *, pixels: bool = False) -> Flow:
    """The flow of a model's trace or of a pipeline's. Without stages the parts of the root are the boxes."""
    builder = _Builder(trace)
    results = builder.walk(trace.root)
    for value in dict.fromkeys(v.tensor for v in results.values()):
        builder.connect(builder.node("output", "output"), value)
    builder.settle()
    return builder.drawn(Words(trace, pixels=pixels))


class _Builder(Follower, Graph):
    """Boxes and arrows while the tensors are followed."""

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self.trace = trace
        self.words = Words(trace)
        self.pipeline = is_pipeline(trace)
        self.staged = any(c.stage for c in trace.walk())
        self._around: list[Call] = []
        self._group: Group | None = None
        self._maker: dict[Value, Node] = {}
        self._known: dict[Value, tuple[tuple[Node, Value], ...]] = {}
        self._fixed: set[Value] = set()
        self._drawn: dict[object, tuple[Group, dict[str, Value]]] = {}

    # the walk

    def given(self, key: str, value: Value) -> None:
        """A tensor that the root is given."""
        name = _whole(key)
        known = next((n for n in self.nodes if n.label == clean(name)), None)
        self._maker[value] = known or self.node("input", name)

    def opens(self, call: Call) -> bool:
        """Modules of a pipeline stay shut, and so do the methods of its components."""
        if self.pipeline:
            return call.kind == "step" or (call.kind == "function" and not call.path and _has_parts(call))
        return bool(call.children) and self.staged

    def enter(self, call: Call, given: dict[str, Value]) -> dict[str, Value] | None:
        """At the border of a group each tensor gets a box."""
        self._around.append(call)
        if not self._is_group(call):
            return given
        same = self._drawn.get(_kind(call))
        if same is not None:
            same[0].times += call.repeat
            same[0].turns = same[0].turns or same[0] is not self.groups[-1]
            return None
        self._group = Group(_title(call, self.words), call, call.repeat)
        self.groups.append(self._group)
        if call.kind == "step":
            return given
        streams = _streams(call)
        inner = {}
        ports: dict[str, Node] = {}
        for key, value in given.items():
            port = inner[key] = Value(key, value.spec, (value.tensor,))
            name = _whole(key)
            self._maker[port] = ports.get(name) or ports.setdefault(name, self.node("input", name))
            self.connect(self._maker[port], value.tensor)
            from_block = any(n.group is not None for n, _ in self._origins(value))
            self.side[port] = key not in streams and not from_block
        return inner

    def leave(self, call: Call, results: dict[str, Value]) -> dict[str, Value]:
        """The results of a group; of one that was drawn before, those it had then."""
        self._around.pop()
        if self._group is not None and self._group.call is call:
            self._drawn[_kind(call)] = self._group, results
            self._group = None
        elif self._is_group(call):
            before = self._drawn[_kind(call)][1]
            return {key: before[key] for key in call.outputs if key in before}
        return results

    def operation(self, call: Call, given: Mapping[str, Value], results: Mapping[str, Value]) -> None:
        """Put an operation into a box, if it is of a stage."""
        data = list(dict.fromkeys(v for result in results.values() for v in result.sources))
        moving = [v for v in data if v not in self._fixed]
        if not moving:  # made of numbers and parameters alone
            self._fixed.update(results.values())
        side = bool(moving) and all(self.side.get(v, False) for v in moving)
        self.side.update(dict.fromkeys(results.values(), side))
        stage = self._stage_of(call)
        if stage is None or (self.pipeline and call.kind == "op" and call.stage is None):
            return
        label = _part_label(call) if self.pipeline and call.path else stage
        node = self._box(label, stage, data)
        node.plain = node.plain and _is_plain(call)
        node.flops += call.cost.flops.size * self._times()
        for value in data:
            self.connect(node, value)
        self._maker.update(dict.fromkeys(results.values(), node))

    # what belongs where

    def _is_group(self, call: Call) -> bool:
        if self._group is not None and self._group.call is not call:
            return False
        return call.stage == ("denoising-step" if self.pipeline else "block") and call.kind in ("step", "module")

    def _stage_of(self, call: Call) -> str | None:
        if not self.staged or (self.pipeline and call.kind == "module" and call.stage is None):
            return label_of(call, self.words) if call.kind in ("module", "function") else None  # a part of its own
        around = self._around[-1] if self._around else self.trace.root
        if call.name == "cat" and call.stage is None:  # a note speaks of the first of several
            like = [c.stage for c in around.children if c.name == "cat" and c.stage is not None]
            if like:
                return like[0]
        for one in (call, *reversed(self._around)):
            if (self._group is not None and one is self._group.call) or one.kind == "step":
                return None
            if one.stage is not None:
                return one.stage
        return None

    def _times(self) -> int:
        times = 1
        for call in self._around:
            times *= call.repeat
        return times

    # boxes and arrows

    def node(self, kind: NodeKind, label: str, stage: str = "", began: Iterable[Value] = ()) -> Node:
        """A new box in the group that is open."""
        node = Node(kind, clean(label), self._group, stage, began=frozenset(began))
        node.after = len(self.groups) - (self._group is not None)
        self.nodes.append(node)
        return node

    def connect(self, target: Node, value: Value) -> None:
        """Arrows to a box from all that a tensor comes from."""
        for source, handed in self._origins(value):
            if source is not target:
                self.arrows[source, target, handed] = None

    def _origins(self, value: Value) -> tuple[tuple[Node, Value], ...]:
        """The boxes that a tensor comes from, and what they handed on."""
        value = value.tensor
        if value in self._maker:
            return ((self._maker[value], value),)
        if value not in self._known:
            found = dict.fromkeys(o for source in value.sources for o in self._origins(source))
            if len(found) == 1:  # what arrives is what is shown: cut, cast and turned on the way
                found = {(node, value): None for node, _ in found}
            self._known[value] = tuple(found)
        return self._known[value]

    def _found(self, data: Iterable[Value]) -> list[Node]:
        return list(dict.fromkeys(node for value in data for node, _ in self._origins(value)))

    def _box(self, label: str, stage: str, data: list[Value]) -> Node:
        """The box that an operation goes on with, or a new one.

        It goes on with a box of its stage that hands it something or works on the same tensors, unless another stage
        stands between them. A component of a pipeline is one box, however often it is called.
        """
        sources = self._found(data)
        began = frozenset(v for v in data if not self.side.get(v, False))
        for node in reversed(self.nodes):
            if (node.kind, node.label, node.group) != ("stage", clean(label), self._group):
                continue
            same = node in sources or (node.began == began and (began or not data)) or label != stage
            if same and not self.leads(node, [n for n in sources if n is not node]):
                return node
        return self.node("stage", label, stage, began)

    # the whole

    def drawn(self, words: Words) -> Flow:
        """The flow, with its arrows in words."""
        between: dict[tuple[Node, Node], list[Value]] = {}
        for source, target, value in self.arrows:
            between.setdefault((source, target), []).append(value)
        groups = [g for g in self.groups if any(n.group is g for n in self.nodes)]
        begins = {g: min(i for i, n in enumerate(self.nodes) if n.group is g) for g in groups}
        place = {n: i for i, n in enumerate(self.nodes)}
        edges = []
        for (source, target), values in between.items():
            specs = [v.spec for v in dict.fromkeys(values)]
            first = {spec.sizes: i for i, spec in reversed(list(enumerate(specs)))}
            specs.sort(key=lambda spec: first[spec.sizes])
            shapes = counted([words.shape(s) for s in specs], 3)
            sizes = counted([sizes_of(s) for s in specs], 3)
            others = [a[1] for a in self.from_(source) if a[1] is not target]
            skips = any(n is not target and self.leads(n, [target]) for n in others)
            passed = (g for g in groups if g not in (source.group, target.group))
            far = any(place[source] < begins[g] < place[target] for g in passed)
            edges.append(Edge(source, target, shapes, sizes, skips, far))
            if far:
                target.far.append(edges[-1])
        named, *head = title(self.trace)
        return Flow(" · ".join(named[:2]), tuple(head), self.trace.root.cost.flops.size, tuple(self.nodes),
                    tuple(edges), tuple(groups))  # fmt: skip


def _whole(key: str) -> str:
    """The argument that a tensor came in: `rotary` for `rotary.1`, one of a tuple."""
    return re.split(r"\.\d", key, maxsplit=1)[0] or key


def _title(call: Call, words: Words) -> str:
    if call.kind == "step":
        return clean(call.name)
    return clean(call.remark.label if call.remark is not None else label_of(call, words))


def _has_parts(call: Call) -> bool:
    """Whether a component of the pipeline is called in a function."""
    return any(c.path for c in call.walk() if c.kind in ("module", "function"))


def _part_label(call: Call) -> str:
    """A call of a pipeline's component: `text_encoder T5EncoderModel`, `vae.decode`."""
    name = call.name if call.name.startswith(f"{call.path}.") else f"{call.path} {call.name}"
    return name if call.kind == "module" else call.name if "." in call.name else f"{call.path}.{call.name}"


def _is_plain(call: Call) -> bool:
    """Whether no note speaks of an operation: it has its stage from others of its name."""
    return call.kind == "op" and call.stage is not None and call.remark is None


def _kind(call: Call) -> object:
    """What equal blocks have in common; the passes of a loop are all alike."""
    if call.kind == "step":
        return call.name
    inside = tuple((c.kind, c.name) for c in call.walk())
    return call.pattern, inside, *((k, s.sizes, s.dtype) for k, s in (*call.inputs.items(), *call.outputs.items()))


def _streams(call: Call) -> set[str]:
    """The inputs of a block that it gives back: those of the same name and shape, or else of a shape it returns."""
    back = {(key, spec.sizes) for key, spec in call.outputs.items()}
    same = {key for key, spec in call.inputs.items() if (key, spec.sizes) in back}
    shapes = {spec.sizes for spec in call.outputs.values()}
    return same or {key for key, spec in call.inputs.items() if spec.sizes in shapes} or set(call.inputs)
