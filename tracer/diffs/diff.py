"""Two traces beside each other: what is the same, what only has other numbers, and what differs. Data, no text.

A size whose formula is the same on both sides, and whose letters explain both numbers, does not differ: the letter
does, and is told once. Places in the source, notes, names of checkpoints and versions of packages are no differences.
What a call costs follows from its shapes, so costs are compared by stage and in total.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from tracer.calls import Attr, Call, Cost, Header, Slice, Symbol, Trace
from tracer.diffs.align import align
from tracer.shapes import Dim, TensorSpec
from tracer.words import Words

Status = Literal["same", "numbers", "changed", "removed", "added"]
Verdict = Literal["equal", "follows", "differs"]
Part = Literal["name", "path", "repeat", "stage", "input", "output", "weight", "argument", "memory", "inside"]
Topic = Literal["run", "request", "letter", "config"]


@dataclass(frozen=True, slots=True)
class Fact:
    """Something at the head of two traces that differs; None where a side does not have it.

    topic: 'run' (model class, dtype, counts, constraints), 'request', 'letter' of the legend or field of the 'config'.
    name: field of the header, the request or the config, or the letter. A letter is a `Symbol`.
    """

    topic: Topic
    name: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Change:
    """One part of a call that is not the same on both sides; None where a side does not have it.

    name: of the tensor or argument. follows: only the numbers moved, because letters of the legend or the dtype of the
    run have other values; the formula is the same.
    """

    part: Part
    name: str
    old: Any
    new: Any
    follows: bool = False


@dataclass(frozen=True, slots=True)
class Pair:
    """A call and its fellow; None where there is none, and then nothing is paired inside it.

    stage: the stage that the calls belong to, their own or that around them.
    """

    old: Call | None
    new: Call | None
    stage: str
    changes: tuple[Change, ...] = ()
    children: tuple[Pair, ...] = ()

    @property
    def status(self) -> Status:
        """What became of the call itself, whatever is inside it."""
        if self.old is None or self.new is None:
            return "added" if self.old is None else "removed"
        if not self.changes:
            return "same"
        return "numbers" if all(c.follows for c in self.changes) else "changed"

    @property
    def call(self) -> Call:
        """The new side, or the old one where there is no new one."""
        call = self.new or self.old
        assert call is not None
        return call

    def walk(self) -> Iterator[Pair]:
        """This pair and everything below it, in the order of the runs."""
        yield self
        for child in self.children:
            yield from child.walk()


@dataclass(frozen=True, slots=True)
class StageCosts:
    """What a stage costs on each side; None where a side has no such stage."""

    stage: str
    old: Cost | None
    new: Cost | None


@dataclass(frozen=True)
class Diff:
    """What differs between two traces; `diff(old, new)` makes it."""

    old: Trace
    new: Trace
    facts: tuple[Fact, ...]
    stages: tuple[StageCosts, ...]
    root: Pair

    @property
    def equal(self) -> bool:
        """Whether nothing differs, neither in form nor in numbers."""
        return not self.facts and not self.counts.keys() - {"same"} and all(s.old == s.new for s in self.stages)

    @cached_property
    def counts(self) -> dict[Status, int]:
        """How many calls have each status; what is inside an added or removed call counts with it."""
        out: Counter[Status] = Counter()
        for pair in self.root.walk():
            alone = pair.old is None or pair.new is None
            out[pair.status] += sum(1 for _ in pair.call.walk()) if alone else 1
        return dict(out)

    @property
    def versions(self) -> dict[str, tuple[str | None, str | None]]:
        """Packages whose versions differ, old and new."""
        old, new = self.old.header.versions, self.new.header.versions
        return {k: (old.get(k), new.get(k)) for k in [*old, *(k for k in new if k not in old)]
                if old.get(k) != new.get(k)}  # fmt: skip

    @property
    def moved(self) -> int:
        """How many pairs of calls stand at another place of their source."""
        return sum(
            1 for p in self.root.walk() if p.old is not None and p.new is not None and p.old.source != p.new.source
        )

    def to_json(self) -> dict[str, Any]:
        """Plain data: heads, facts, totals, costs of the stages, and a row for each call that is not the same."""
        from tracer.diffs.data import diff_to_json

        return diff_to_json(self)

    def __str__(self) -> str:
        from tracer.views.diff import render_text

        return render_text(self)


def diff(old: Trace, new: Trace) -> Diff:
    """Compare two traces, of checkpoints, requests, pipelines or versions."""
    sides = _Side(old), _Side(new)
    return Diff(old, new, tuple(_facts(old.header, new.header)), tuple(_stages(old, new)), _Pairing(*sides).root())


# heads


def _facts(old: Header, new: Header) -> Iterator[Fact]:
    for name in ("params", "buffers", "model", "dtype", "compression", "error"):
        yield from _fact("run", name, getattr(old, name), getattr(new, name))
    letters = {s.symbol: s for s in old.legend}, {s.symbol: s for s in new.legend}
    said = {"batch": "B", "text_tokens": "L"}
    for name in _union(old.request, new.request):
        pair = old.request.get(name), new.request.get(name)
        if pair != tuple(s[said[name]].value if name in said and said[name] in s else None for s in letters):
            yield from _fact("request", name, *pair)
    fields = set()
    for name in _union(*letters):
        a, b = letters[0].get(name), letters[1].get(name)
        if _meant(a) != _meant(b):
            yield Fact("letter", name, a, b)
        if a is None or b is None or a.field == b.field:  # the letter has told of the field
            values = [c.get(s.field) == s.value for s, c in ((a, old.config), (b, new.config)) if s and s.field]
            fields |= {s.field for s in (a, b) if s is not None} if all(values) else set()
    for name in _union(old.config, new.config):
        if name not in fields and not name.startswith("_"):
            yield from _fact("config", name, old.config.get(name), new.config.get(name))
    for name in ("constraints", "assumptions", "warnings"):
        a, b = getattr(old, name), getattr(new, name)
        yield from _fact("run", name, tuple(t for t in a if t not in b), tuple(t for t in b if t not in a))


def _fact(topic: Topic, name: str, old: Any, new: Any) -> Iterator[Fact]:
    if repr(_listed(old)) != repr(_listed(new)):
        yield Fact(topic, name, old, new)


def _listed(value: Any) -> Any:
    """A value as JSON keeps it, so that a saved trace compares with a fresh one."""
    if isinstance(value, tuple | list):
        return [_listed(v) for v in value]
    return {str(k): _listed(v) for k, v in value.items()} if isinstance(value, Mapping) else value


def _meant(s: Symbol | None) -> Any:
    return s and (s.value, s.formula)


def _union(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Names of both sides, each once, those of the new side where its order puts them."""
    pairs = align(list(old), list(new), lambda x, y: int(x == y), str)
    return list(dict.fromkeys(x if x is not None else y for x, y in pairs if x is not None or y is not None))  # type: ignore[misc]


def _stages(old: Trace, new: Trace) -> Iterator[StageCosts]:
    costs = old.stage_costs(), new.stage_costs()
    orders = [dict.fromkeys([*(s for s in t.stages() if s in c), *c]) for t, c in zip((old, new), costs, strict=True)]
    for stage in _union(*orders):
        yield StageCosts(stage, costs[0].get(stage), costs[1].get(stage))


# calls


@dataclass(frozen=True, slots=True)
class _Face:
    """What a call looks like from outside: enough to find its fellow."""

    label: str
    outputs: tuple[tuple[str, str], ...]
    inside: Counter[str]


class _Side:
    """One trace with what is asked of it again and again."""

    def __init__(self, trace: Trace) -> None:
        self.trace, self.words = trace, Words(trace)
        self.faces: dict[int, _Face] = {}
        self._holds: dict[Dim, bool] = {}
        self._look(trace.root)

    def _look(self, call: Call) -> Counter[str]:
        inside: Counter[str] = Counter()
        for child in call.children:
            inside.update(self._look(child))
        outputs = tuple((name, self.words.shape(spec)) for name, spec in call.outputs.items())
        self.faces[id(call)] = _Face(f"{call.kind} {call.name}", outputs, inside)
        return inside + Counter([f"{call.kind} {call.name}"])

    def holds(self, dim: Dim) -> bool:
        """Whether a formula and the legend explain the number."""
        if dim not in self._holds:
            try:
                self._holds[dim] = dim.formula is not None and dim.formula.evaluate(self.trace.values) == dim.size
            except (KeyError, ValueError):
                self._holds[dim] = False
        return self._holds[dim]


class _Pairing:
    """Finds fellows and compares them."""

    def __init__(self, old: _Side, new: _Side) -> None:
        self.old, self.new = old, new

    def root(self) -> Pair:
        return self._pair(self.old.trace.root, self.new.trace.root, "", "", "other")

    def _pair(self, old: Call, new: Call, above_old: str, above_new: str, stage: str) -> Pair:
        stage = new.stage or old.stage or stage
        children = []
        for a, b in self._aligned(old, new):
            if a is not None and b is not None:
                children.append(self._pair(a, b, old.path, new.path, stage))
            else:
                one = a or b
                assert one is not None
                children.append(Pair(a, b, one.stage or stage))
        tails = _tail(old.path, above_old), _tail(new.path, above_new)
        return Pair(old, new, stage, tuple(self._changes(old, new, *tails)), tuple(children))

    # fellows

    def _aligned(self, old: Call, new: Call) -> list[tuple[Call | None, Call | None]]:
        def key(pair: tuple[Call, _Face, str]) -> tuple[str, str, str]:
            return pair[1].label, pair[2], str(pair[1].outputs)

        def ready(call: Call, side: _Side) -> list[tuple[Call, _Face, str]]:
            return [(c, side.faces[id(c)], _tail(c.path, call.path)) for c in call.children]

        pairs = align(ready(old, self.old), ready(new, self.new), _likeness, key)
        return _moved([(a[0] if a else None, b[0] if b else None) for a, b in pairs])

    # comparing

    def _changes(self, old: Call, new: Call, tail_old: str, tail_new: str) -> Iterator[Change]:
        for part, a, b in (("name", old.name, new.name), ("stage", old.stage, new.stage),
                           ("inside", old.opaque, new.opaque)):  # fmt: skip
            if a != b:
                yield Change(part, "", a, b)  # type: ignore[arg-type]
        if tail_old != tail_new:
            yield Change("path", "", old.path, new.path)
        yield from self._change("repeat", "", old.times, new.times, self._dims(old.times, new.times))
        yield from self._tensors("input", old.inputs, new.inputs)
        yield from self._tensors("weight", old.weights, new.weights)
        yield from self._tensors("output", old.outputs, new.outputs)
        for name in _union(old.attrs, new.attrs):
            if name in old.attrs and name in new.attrs:
                one, other = old.attrs[name], new.attrs[name]
                yield from self._change("argument", name, one, other, self._attrs(one, other))
            else:
                there, value = name in old.attrs, old.attrs.get(name, new.attrs.get(name))
                yield Change("argument", name, (value,) if there else None, None if there else (value,))
        if old.fresh != new.fresh:
            yield Change("memory", "", old.fresh, new.fresh)

    def _change(self, part: Part, name: str, old: Any, new: Any, verdict: Verdict) -> Iterator[Change]:
        if verdict != "equal":
            yield Change(part, name, old, new, follows=verdict == "follows")

    def _tensors(self, part: Part, old: Mapping[str, TensorSpec], new: Mapping[str, TensorSpec]) -> Iterator[Change]:
        """Tensors of the same name are compared; of the others each is as good as gone or new, but for a mere name."""
        gone, come = [k for k in old if k not in new], [k for k in new if k not in old]
        for name in old:
            if name in new:
                yield from self._change(part, name, old[name], new[name], self._specs(old[name], new[name]))
        for a, b in align(gone, come, lambda x, y: int(self._specs(old[x], new[y]) != "differs"), str):
            if a is not None and b is not None:
                yield Change("name", f"{part} {a}", a, b)
                yield from self._change(part, b, old[a], new[b], self._specs(old[a], new[b]))
            elif a is not None:
                yield Change(part, a, old[a], None)
            elif b is not None:
                yield Change(part, b, None, new[b])

    def _dims(self, a: Dim, b: Dim) -> Verdict:
        if a.formula is None or b.formula is None:
            return "equal" if a.formula is b.formula and a.size == b.size else "differs"
        if a.formula != b.formula and self.old.words.axis(a) != self.new.words.axis(b):
            return "differs"
        if a.size == b.size:
            return "equal"
        return "follows" if self.old.holds(a) and self.new.holds(b) else "differs"

    def _specs(self, a: TensorSpec, b: TensorSpec) -> Verdict:
        if len(a.shape) != len(b.shape):
            return "differs"
        return _worst([self._types(a.dtype, b.dtype), *(self._dims(x, y) for x, y in zip(a.shape, b.shape,
                                                                                       strict=True))])  # fmt: skip

    def _types(self, a: str, b: str) -> Verdict:
        if a == b:
            return "equal"
        return "follows" if (a, b) == (self.old.trace.header.dtype, self.new.trace.header.dtype) else "differs"

    def _attrs(self, a: Attr, b: Attr) -> Verdict:
        if isinstance(a, Dim) and isinstance(b, Dim):
            return self._dims(a, b)
        if isinstance(a, tuple) and isinstance(b, tuple):
            if len(a) != len(b) or isinstance(a, Slice) != isinstance(b, Slice):
                return "differs"
            return _worst([self._attrs(x, y) for x, y in zip(a, b, strict=True)])
        if isinstance(a, str) and isinstance(b, str):
            return self._types(a, b)
        return "equal" if repr(a) == repr(b) else "differs"


def _moved(pairs: list[tuple[Call | None, Call | None]]) -> list[tuple[Call | None, Call | None]]:
    """Modules that stand earlier on one side than on the other are fellows too; they keep the new side's place."""
    gone = [a for a, b in pairs if a is not None and b is None and a.kind == "module"]
    come = [b for a, b in pairs if b is not None and a is None and b.kind == "module"]
    times = [Counter(call.path for call in side) for side in (gone, come)]
    fellows = {id(b): a for a in gone for b in come if a.path == b.path and all(t[a.path] == 1 for t in times)}
    found = set(map(id, fellows.values()))
    out: list[tuple[Call | None, Call | None]] = []
    for a, b in pairs:
        if a is None and id(b) in fellows:
            out.append((fellows[id(b)], b))
        elif b is not None or id(a) not in found:
            out.append((a, b))
    return out


def _worst(verdicts: list[Verdict]) -> Verdict:
    return "differs" if "differs" in verdicts else "follows" if "follows" in verdicts else "equal"


def _tail(path: str, above: str) -> str:
    """The path seen from the call around, so that a renamed block renames nothing inside it."""
    inside = not above or path == above or path.startswith(f"{above}.")
    return path[len(above) :] if inside else f"/{path}"


def _starred(tail: str) -> str:
    return ".".join("*" if part.isdigit() else part for part in tail.split("."))


def _likeness(one: tuple[Call, _Face, str], other: tuple[Call, _Face, str]) -> int:
    """How sure it is that two calls are the same one; 0 where they cannot be."""
    (a, look_a, tail_a), (b, look_b, tail_b) = one, other
    if a.kind != b.kind:
        return 0
    same_name, same_place = a.name == b.name, _starred(tail_a) == _starred(tail_b)
    same_outputs = look_a.outputs == look_b.outputs
    inside = _overlap(look_a.inside, look_b.inside)
    if a.kind == "op":
        alike = same_name or (same_place and same_outputs and a.inputs.keys() == b.inputs.keys())
    else:
        alike = same_name or inside >= 6 or (a.kind == "module" and same_place)
    if not alike:
        return 0
    return (
        1 + 6 * same_name + 4 * same_place * (a.kind == "module") + 2 * (tail_a == tail_b) + inside
        + 2 * (a.outputs.keys() == b.outputs.keys()) + 3 * same_outputs + (a.inputs.keys() == b.inputs.keys())
        + 2 * (a.stage == b.stage) + 3 * ((a.remark and a.remark.label) == (b.remark and b.remark.label))
        + (a.attrs == b.attrs) + (a.repeat == b.repeat)
    )  # fmt: skip


def _overlap(a: Counter[str], b: Counter[str]) -> int:
    """How much of two towers is the same, from 0 to 10."""
    total = a.total() + b.total()
    return 20 * (a & b).total() // total if total else 0
