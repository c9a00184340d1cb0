"""Which result each input of a trace is: tensors followed from call to call by name, shape and order.

A trace holds no tensors, but it has what a reader of the source has: inside one function a name is the last result that
was given this name, and a result without a name goes to the next call that takes its shape. A parameter of a callee has
a name of its own; it is the result of this shape that nobody has used, or the one of the same name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from tracer.calls import Call
from tracer.shapes import TensorSpec

_FIRST = frozenset(("type_as", "expand_as", "view_as", "reshape_as", "to"))
"""Operations that take values from their first tensor, and at most a shape or a dtype from another."""


@dataclass(eq=False, slots=True)
class Value:
    """One tensor of a run under one of its names: what it was computed from, and whether a later call took it.

    other: the same tensor in the function around, or inside the one that gave it.
    """

    key: str
    spec: TensorSpec
    sources: tuple[Value, ...] = ()
    other: Value | None = None
    used: bool = False

    @property
    def named(self) -> bool:
        """Whether the source gives it a name."""
        return not self.key[:1].isdigit()

    @property
    def tensor(self) -> Value:
        """The tensor itself, whatever it is called here."""
        value = self
        while value.other is not None:
            value = value.other
        return value


@dataclass(slots=True)
class _Scope:
    """The names and results of one function that runs."""

    call: Call
    names: dict[str, Value] = field(default_factory=dict)
    made: list[Value] = field(default_factory=list)
    given: list[Value] = field(default_factory=list)

    taken: dict[int, dict[str, Value]] = field(default_factory=dict)  # inputs by the place of their call

    def asked(self, value: Value, at: int) -> bool:
        """Whether a tensor is taken by its name after the `at`-th call, before the name is another one's."""
        for call in self.call.children[at + 1 :]:
            spec = call.inputs.get(value.key)
            if spec is not None and _like(value, spec):
                return True
            if value.key in call.outputs:
                return False
        places = (spec for key, spec in self.call.outputs.items() if key[:1].isdigit())
        return value.key in self.call.outputs or any(_like(value, spec) for spec in places)

    def beside(self, at: int, key: str) -> list[Value]:
        """What the call before took as this argument, where it is of the same kind: keys beside queries."""
        call = self.call.children[at]
        for i in range(at - 1, -1, -1):
            other = self.call.children[i]
            if other.kind == call.kind and other.name == call.name:
                return [self.taken[i][key]] if key in self.taken[i] else []
        return []

    def keep(self, value: Value) -> None:
        if value.named:
            self.names[value.key] = value
        self.made.append(value)


class Follower:
    """Walks a call tree in the order of the run and says of every operation which tensors it met.

    The methods are what a walk is for: `opens` says whether to look inside a call, `enter` and `leave` stand at its
    border and may replace the tensors that pass it, `operation` sees each call that is not opened.
    """

    def opens(self, call: Call) -> bool:
        """Whether the walk goes on inside a call."""
        return bool(call.children)

    def given(self, key: str, value: Value) -> None:
        """A tensor that the root is given."""

    def enter(self, call: Call, given: dict[str, Value]) -> dict[str, Value] | None:
        """The tensors as they are inside a call; None to pass it by, `leave` is then asked for its results."""
        return given

    def leave(self, call: Call, results: dict[str, Value]) -> dict[str, Value]:
        """The tensors as they are behind a call."""
        return results

    def operation(self, call: Call, given: Mapping[str, Value], results: Mapping[str, Value]) -> None:
        """A call that was not opened."""

    def walk(self, root: Call) -> dict[str, Value]:
        """Follow everything below a call; returns its results."""
        given = {key: Value(key, spec) for key, spec in root.inputs.items()}
        for key, value in given.items():
            self.given(key, value)
        return self._inside(root, given, None)

    def _inside(self, call: Call, given: Mapping[str, Value], around: _Scope | None) -> dict[str, Value]:
        scope = _Scope(call)
        if around is not None and call.kind == "step":  # a loop shares the names of its function
            scope = _Scope(call, around.names, around.made, around.given)
        for key, value in given.items():
            scope.given.append(Value(key, value.spec, other=value))
            scope.keep(scope.given[-1])
        for i, child in enumerate(call.children):
            inputs = scope.taken[i] = dict(self._inputs(scope, i))
            for value in self._results(scope, child, inputs).values():
                scope.keep(value)
        return _returned(scope, call)

    def _results(self, scope: _Scope, child: Call, inputs: dict[str, Value]) -> dict[str, Value]:
        if self.opens(child):
            inner = self.enter(child, inputs)
            found = {} if inner is None else self._inside(child, inner, scope)
            return {key: Value(key, v.spec, other=v) for key, v in self.leave(child, found).items()}
        specs = dict(child.outputs)
        if not specs and child.kind == "op":  # written in place: what was written into is another tensor from here on
            specs = dict(list(child.inputs.items())[:1])
        sources = tuple(dict.fromkeys(value.tensor for value in _data(child, inputs)))
        results = {key: Value(key, spec, sources) for key, spec in specs.items()}
        self.operation(child, inputs, results)
        return results

    def _inputs(self, scope: _Scope, at: int) -> Iterator[tuple[str, Value]]:
        found: list[tuple[str, Value]] = []
        for key, spec in reversed(list(scope.call.children[at].inputs.items())):  # the last result is the last argument
            own = scope.call.weights.get(key)
            value = None if own is not None and own.sizes == spec.sizes else _resolve(scope, at, key, spec)
            if value is not None:
                value.used = True
                found.append((key, value))
        yield from reversed(found)


def _data(call: Call, inputs: Mapping[str, Value]) -> Iterable[Value]:
    """The inputs whose values go into the result."""
    if call.kind == "op" and (call.name.endswith("_like") or call.name.startswith("new_")):
        return ()
    values = list(inputs.values())
    if call.kind == "op" and call.name in _FIRST:
        return values[:1] if next(iter(call.inputs), None) in inputs else ()
    return values


def _like(value: Value, spec: TensorSpec) -> bool:
    return value.spec.sizes == spec.sizes and value.spec.dtype == spec.dtype


def _resolve(scope: _Scope, at: int, key: str, spec: TensorSpec) -> Value | None:
    """The tensor that a call of a scope, its `at`-th, has as an input."""
    child = scope.call.children[at]
    fitting = [v for v in scope.made if _like(v, spec)]
    called = [v for v in fitting if v.key == key and v.named]
    if not fitting or (child.kind == "op" and called):
        return called[-1] if fitting else None
    digits, part = key[:1].isdigit(), _part(key)

    def rank(i: int) -> tuple[int, ...]:
        value = fitting[i]
        new, same = not value.used, value.key == key
        late = -i if value in scope.given else i  # arguments are used in their order, results from the last one on
        if child.kind == "op":
            return (new and not value.named, same, new and value.key.startswith(f"{key}."), new, late)
        current = not value.named or scope.names[value.key] is value
        new = new and current
        free = new and not (value.named and scope.asked(value, at))
        near = value.named and not digits and (value.key.startswith(key) or key.startswith(value.key))
        changed = new and value.key in child.outputs  # query = norm(query)
        beside = current and value in scope.beside(at, key)
        return (
            new and same, changed, free and near, free, beside, new, same and not digits,
            part is not None and _part(value.key) == part, late,
        )  # fmt: skip

    return fitting[max(range(len(fitting)), key=rank)]


def _part(key: str) -> str | None:
    """The place in a tuple that a key ends in."""
    last = key.rpartition(".")[2]
    return last if last != key and last.isdigit() else None


def _returned(scope: _Scope, call: Call) -> dict[str, Value]:
    """The tensors that a call gives back: the last ones of their shapes that nobody used."""
    out: dict[str, Value] = {}
    taken: set[int] = set()
    for key, spec in reversed(list(call.outputs.items())):
        fitting = [v for v in scope.made if _like(v, spec)]
        free = [v for v in fitting if id(v) not in taken] or fitting
        if not free:
            out[key] = Value(key, spec)
            continue
        best = max(range(len(free)), key=lambda i: (not free[i].used, free[i].key == key, i))
        taken.add(id(free[best]))
        out[key] = free[best]
    return dict(reversed(out.items()))
