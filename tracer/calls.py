"""What a run was seen to do: a tree of calls, and the trace that holds it. Frozen, and free of tensors."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from tracer.errors import BadConfig, UnknownName
from tracer.formula import Formula
from tracer.shapes import ZERO, Dim, TensorSpec

if TYPE_CHECKING:
    from tracer.diffs.diff import Diff

SCHEMA_VERSION = 1
Kind = Literal["module", "function", "step", "op"]


@dataclass(frozen=True, slots=True)
class Source:
    """A place in installed source: file inside its package, line, function."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Slice(NamedTuple):
    """A slice among the arguments of an operation: rows 226.. is Slice(226, None, None)."""

    start: Dim | None
    stop: Dim | None
    step: Dim | None


Attr = Dim | Slice | str | float | bool | None | tuple[Any, ...]
"""An argument that is no tensor: numbers are Dims (they may have formulas), sequences are tuples."""

TENSOR = "<tensor>"
"""Stands in an argument list where a tensor stood."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call takes, children included.

    flops: floating-point operations of matrix products, convolutions and attention (a multiply-add is two);
        elementwise work is not counted, as in torch's FlopCounterMode.
    params: parameters that the call owns, each counted where it is first used.
    bytes: activations written, views apart, in the dtypes of the run.
    """

    flops: Dim = ZERO
    params: Dim = ZERO
    bytes: Dim = ZERO

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.flops + other.flops, self.params + other.params, self.bytes + other.bytes)

    def times(self, n: Dim) -> Cost:
        """The cost of n equal calls."""
        return Cost(self.flops * n, self.params * n, self.bytes * n)


@dataclass(frozen=True, slots=True)
class Remark:
    """What a note says of a call.

    label: the row's name in the walkthrough. shape: the axes it claims, checked against the trace.
    because: the config field, source function or tensor that is the reason.
    brief: whether the one-screen view has a row for it.
    """

    label: str
    shape: str
    why: str
    because: str
    brief: bool = True


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that happened: a module call, a function call, a pass of a loop or a tensor operation.

    inputs and outputs are keyed by parameter or variable name where the source has one, else by position;
    a tuple of tensors in one argument becomes `name.0`, `name.1`. `repeat` says how many equal calls in a
    row this one stands for; `path` is then the first one's. `weights` are the parameters that this call is
    the first to use; `fresh` says of each output whether it is new memory or a view. `lines` says how often each
    line of the function ran, None where lines were not counted; of several calls, the most that one of them did.
    """

    kind: Kind
    path: str
    name: str
    inputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    outputs: Mapping[str, TensorSpec] = field(default_factory=dict)
    attrs: Mapping[str, Attr] = field(default_factory=dict)
    weights: Mapping[str, TensorSpec] = field(default_factory=dict)
    fresh: tuple[bool, ...] = ()
    source: Source | None = None
    defined: Source | None = None
    cost: Cost = Cost()
    children: tuple[Call, ...] = ()
    repeat: int = 1
    repeat_formula: Formula | None = None
    stage: str | None = None
    remark: Remark | None = None
    opaque: str | None = None
    lines: Mapping[int, int] | None = None

    @property
    def times(self) -> Dim:
        """How often, with its formula."""
        return Dim(self.repeat, self.repeat_formula)

    @property
    def all_cost(self) -> Cost:
        """The cost of all the calls this one stands for; the passes of a loop share their parameters."""
        total = self.cost.times(self.times)
        return dataclasses.replace(total, params=self.cost.params) if self.kind == "step" else total

    @property
    def output(self) -> TensorSpec | None:
        """The first output."""
        return next(iter(self.outputs.values()), None)

    @property
    def pattern(self) -> str:
        """The path with every block number starred."""
        return re.sub(r"(?<=\.)\d+(?=\.|$)", "*", self.path)

    def walk(self) -> Iterator[Call]:
        """This call and everything below it, in the order of the run."""
        yield self
        for child in self.children:
            yield from child.walk()

    def find(self, path: str = "*", name: str = "*", kind: Kind | None = None) -> list[Call]:
        """Calls at or below this one whose path and name match the patterns (`*` stands for anything).

        A path alone means the module there: operations carry their module's path, and are asked for by name.
        """
        if path != "*" and name == "*":
            kind = kind or "module"
        return [
            c for c in self.walk()
            if (kind is None or c.kind == kind)
            and (path == "*" or fnmatchcase(c.path, path) or c.pattern == path)
            and fnmatchcase(c.name, name)
        ]  # fmt: skip

    def one(self, path: str = "*", name: str = "*", kind: Kind | None = None) -> Call:
        """The only call at or below this one that matches; LookupError says how many there were."""
        found = self.find(path, name, kind)
        if len(found) != 1:
            raise LookupError(f"{len(found)} calls match path '{path}', name '{name}', where one was expected")
        return found[0]

    # showing: as a trace of its own, whose letters have no legend

    def __str__(self) -> str:
        return str(self._alone())

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield self._alone()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return self._alone()._repr_mimebundle_(include, exclude)

    def _alone(self) -> Trace:
        return Trace(Header(f"{self.path} {self.name}".strip()), self)


@dataclass(frozen=True, slots=True)
class Symbol:
    """A letter of the legend: what it means and what it is in this run.

    formula: set for abbreviations (D = h·d). field: the config field that sets it. fixed: why it cannot be
    changed, where it cannot. number: print its value instead of the letter (patch sizes, odd widths).
    """

    symbol: str
    name: str
    value: int
    meaning: str
    formula: Formula | None = None
    field: str | None = None
    fixed: str | None = None
    number: bool = False


@dataclass(frozen=True)
class Header:
    """What was run: everything about a trace that is not the tree.

    assumptions: values that were taken for granted, because the model reads them. compression: frames, and rows or
    columns of pixels, to one latent. sources: where lines were counted, a digest of each file; empty where the file is
    not what ran.
    """

    model: str
    checkpoint: str | None = None
    family: str | None = None
    dtype: str | None = None
    request: Mapping[str, int] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    legend: tuple[Symbol, ...] = ()
    constraints: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    params: int = 0
    buffers: int = 0
    source: str | None = None
    error: str | None = None
    assumptions: tuple[str, ...] = ()
    compression: tuple[int, int] | None = None
    sources: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Trace:
    """A header and the root call. Two runs compare with `==`; JSON goes both ways."""

    header: Header
    root: Call

    # asking

    def walk(self) -> Iterator[Call]:
        """Every call, in the order of the run."""
        return self.root.walk()

    def find(self, path: str = "*", name: str = "*", kind: Kind | None = None) -> list[Call]:
        """Calls whose path and name match: `trace.find("transformer_blocks.*.attn1", "cat")`."""
        return self.root.find(path, name, kind)

    def one(self, path: str = "*", name: str = "*", kind: Kind | None = None) -> Call:
        """The only call that matches; LookupError says how many there were."""
        return self.root.one(path, name, kind)

    @cached_property
    def values(self) -> dict[str, int]:
        """The number behind every letter of the legend."""
        return {s.symbol: s.value for s in self.header.legend}

    @cached_property
    def short(self) -> dict[str, Formula]:
        """The abbreviations of the legend: S, D."""
        return {s.symbol: s.formula for s in self.header.legend if s.formula is not None}

    def stages(self) -> list[str]:
        """Slugs of the stages in the order of the run."""
        return list(dict.fromkeys(c.stage for c in self.walk() if c.stage))

    def stage_costs(self) -> dict[str, Cost]:
        """The cost of each stage; work outside every stage is under 'other'. The sum is the root's cost."""
        totals: dict[str, Cost] = {}

        def visit(call: Call, times: Dim, modules: Dim, stage: str) -> None:
            stage, times = call.stage or stage, times * call.times
            modules = modules if call.kind == "step" else modules * call.times
            own = call.cost
            for child in call.children:
                visit(child, times, modules, stage)
                own = _minus(own, child.all_cost)
            whole = dataclasses.replace(own.times(times), params=own.params * modules)
            totals[stage] = totals.get(stage, Cost()) + whole

        visit(self.root, Dim(1), Dim(1), "other")
        return totals

    def unfold(self) -> Trace:
        """Every repeated call on its own, with its own path. Exact, because only equal calls were folded.

        Plain numbers that differ between the passes of a pipeline's loop stay listed: `0, 1 … 49`.
        """
        return dataclasses.replace(self, root=_unfold(self.root))

    def map(self, change: Callable[[Call], Call]) -> Trace:
        """A trace with `change` applied to every call, children first."""

        def visit(call: Call) -> Call:
            return change(dataclasses.replace(call, children=tuple(visit(c) for c in call.children)))

        return dataclasses.replace(self, root=visit(self.root))

    def diff(self, other: Trace) -> Diff:
        """What differs from this trace to another: of another checkpoint, request, pipeline or version.

        Printing it gives the view; `.equal` says whether nothing differs, `.to_json()` gives data.
        """
        from tracer.diffs.diff import diff

        return diff(self, other)

    # as data

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version; the JSON schema is `tracer/trace.schema.json`."""
        from tracer.serial import trace_to_json

        return trace_to_json(self)

    @staticmethod
    def from_json(data: Mapping[str, Any] | str) -> Trace:
        """The inverse of `to_json`; takes the data or its text. Raises BadConfig for anything else."""
        from tracer.serial import trace_from_json

        if isinstance(data, str):
            try:
                data = json.loads(data)
            except json.JSONDecodeError as error:
                raise BadConfig(f"This is not a trace: it is not JSON ({error}).") from None
        if not isinstance(data, Mapping):
            raise BadConfig("This is not a trace: the top level of its JSON is not an object.")
        return trace_from_json(data)

    # showing

    def __str__(self) -> str:
        from tracer.views.tree import render_text

        return render_text(self)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        from tracer.views.tree import renderable

        yield renderable(self, width=options.max_width)

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        from tracer.views.notebook import render_html

        views: dict[str, Callable[[], str]] = {"text/plain": self.__str__, "text/html": lambda: render_html(self)}
        return {k: make() for k, make in views.items() if k in (include or views) and k not in (exclude or ())}


def require_stage(trace: Trace, slug: str) -> None:
    """Raise UnknownName unless the trace has this stage."""
    if slug not in trace.stages():
        raise UnknownName("stage", slug, trace.stages())


def _minus(a: Cost, b: Cost) -> Cost:
    def less(x: Dim, y: Dim) -> Dim:
        return x + Dim(-y.size, y.formula * -1 if y.formula is not None else None)

    return Cost(less(a.flops, b.flops), less(a.params, b.params), less(a.bytes, b.bytes))


def _unfold(call: Call) -> Call:
    children: list[Call] = []
    for child in call.children:
        single = dataclasses.replace(_unfold(child), repeat=1, repeat_formula=None)
        head, _, last = child.path.rpartition(".")
        for i in range(child.repeat):
            if i and child.kind == "module" and last.isdigit():
                children.append(_moved(single, child.path, f"{head}.{int(last) + i}" if head else str(int(last) + i)))
            else:
                children.append(single)
    return dataclasses.replace(call, children=tuple(children))


def _moved(call: Call, old: str, new: str) -> Call:
    inside = call.path == old or call.path.startswith(f"{old}.")  # a module from elsewhere may be called in a block
    path = new + call.path[len(old) :] if inside else call.path
    return dataclasses.replace(call, path=path, children=tuple(_moved(c, old, new) for c in call.children))
