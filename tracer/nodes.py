"""The recorder's own tree while a forward runs: small, mutable, folded as it grows."""

from __future__ import annotations

import dataclasses
from types import CodeType
from typing import Any, NamedTuple

import torch
from torch.overrides import resolve_name

from tracer.calls import Kind
from tracer.shapes import DTYPE_SHORT

Site = tuple[int, int]
"""Where a call was made: id of the code object and index of the instruction. Code objects hash slowly, and
their line tables are slow to read, so both wait until the tree is assembled."""


class Spec:
    """Shape and dtype as they were seen; equal ones are one object, so they compare by identity."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[Any, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype

    def __str__(self) -> str:
        return f"{DTYPE_SHORT.get(self.dtype, self.dtype)}[{', '.join(map(str, self.shape))}]"


class Symbolic:
    """A symbolic number among the arguments: equal where it reads the same, because SymInts do not hash."""

    __slots__ = ("text", "value")

    def __init__(self, value: Any) -> None:
        self.value = value
        self.text = str(value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Symbolic) and other.text == self.text

    def __hash__(self) -> int:
        return hash(self.text)


class Place(NamedTuple):
    """A slice among the arguments; slices do not hash before Python 3.12."""

    start: Any
    stop: Any
    step: Any


Named = list[tuple[str, Spec]]
_AS_THEY_ARE = frozenset({type(None), int, str, torch.dtype})
_SEQUENCES = (tuple, list)  # named once: a union that is written out is built anew at every use
_SYMBOLIC = (torch.SymInt, torch.SymFloat, torch.SymBool)
_ALL = Place(None, None, None)
_NONE: Any = ()


class Specs:
    """Gives every shape and dtype its one Spec, and every other argument a form that hashes."""

    def __init__(self) -> None:
        self._known: dict[Any, Spec] = {}

    def of(self, tensor: torch.Tensor) -> Spec:
        """The Spec of a tensor; sizes may be torch's symbolic integers."""
        return self.at(tensor.shape, tensor.dtype)

    def at(self, shape: torch.Size, dtype: torch.dtype) -> Spec:
        """The Spec of a shape and a dtype."""
        key: Any = (shape, dtype)
        try:
            spec = self._known.get(key)
        except TypeError:  # symbolic sizes do not hash, their texts do
            key = (str(shape), dtype)
            spec = self._known.get(key)
        if spec is None:
            spec = self._known[key] = Spec(tuple(shape), str(dtype).removeprefix("torch."))
        return spec

    def joined(self, key: list[Any]) -> list[Any]:
        """A list in which every shape and the dtype after it have become a Spec."""
        out: list[Any] = []
        rest = iter(key)
        for value in rest:
            size = value.value if isinstance(value, Symbolic) else value
            out.append(self.at(size, next(rest)) if isinstance(size, torch.Size) else value)
        return out

    def plain(self, value: Any) -> Any:
        """An argument as hashable data: tensors as Specs, lists as tuples, other objects as their type."""
        kind = type(value)
        if kind in _AS_THEY_ARE:
            return value
        if kind is slice:
            if value.start is None and value.stop is None and value.step is None:
                return _ALL
            return Place(self.plain(value.start), self.plain(value.stop), self.plain(value.step))
        if isinstance(value, torch.Tensor):
            return self.of(value)
        if isinstance(value, _SEQUENCES):
            return tuple([self.plain(v) for v in value])
        if kind is bool or kind is float:
            return _Typed(kind, value)  # 1, 1.0 and True are equal to Python, but not to a reader
        if isinstance(value, _SYMBOLIC):
            return Symbolic(value)
        if value is Ellipsis:
            return "..."
        if kind is torch.device:
            return "device"  # a trace does not tell meta, fake and real tensors apart
        if kind is torch.layout or kind is torch.memory_format:
            return str(value).removeprefix("torch.")
        return f"<{kind.__name__}>"

    def found(self, value: Any, name: str = "") -> Named:
        """Every tensor in a value, keyed by its place in it."""
        if isinstance(value, torch.Tensor):
            return [(name or "0", self.of(value))]
        return [(key, self.of(tensor)) for key, tensor in tensors(value, name)]


class Varied(list[Any]):
    """The values of a number that is another one in every pass of a loop."""

    __slots__ = ()


class _Typed(NamedTuple):
    kind: type
    value: bool | float


def bare(value: Any) -> Any:
    """An argument from its hashable form, with a number as a number."""
    return value.value if isinstance(value, _Typed) else value


def tensors(value: Any, name: str = "") -> list[tuple[str, torch.Tensor]]:
    """Every tensor in a value: a tensor, or tuples, lists, dicts and dataclasses of them, keyed by place."""
    if isinstance(value, torch.Tensor):
        return [(name or "0", value)]
    if isinstance(value, dict):
        items: Any = value.items()
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        items = zip(value._fields, value, strict=True)
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        items = [(f.name, getattr(value, f.name, None)) for f in dataclasses.fields(value)]
    else:
        return []
    out: list[tuple[str, torch.Tensor]] = []
    for key, inner in items:
        out.extend(tensors(inner, f"{name}.{key}" if name else str(key)))
    return out


class Op:
    """A tensor operation. Equal ones are one object, so a block like the last one needs no memory."""

    __slots__ = ("attrs", "fresh", "id", "inputs", "name", "outputs", "site")

    def __init__(
        self, number: int, name: str, site: Site | None, inputs: Named, attrs: list[tuple[str, Any]],
        outputs: Named, fresh: tuple[bool, ...],
    ) -> None:  # fmt: skip
        self.id = number
        self.name = name
        self.site = site
        self.inputs = inputs
        self.attrs = attrs
        self.outputs = outputs
        self.fresh = fresh


class Node:
    """A module or function call in the making; sequences are replaced when there is something in them."""

    __slots__ = (
        "attrs", "children", "code", "id", "inputs", "kind", "lines", "name", "opaque", "outputs", "parent", "path",
        "repeat", "site", "twin", "weights",
    )  # fmt: skip

    def __init__(
        self, kind: Kind, name: str, path: str, parent: Node | None, site: Site | None, code: CodeType | type
    ) -> None:
        self.kind = kind
        self.name = name
        self.path = path
        self.parent = parent
        self.site = site
        self.code = code
        self.inputs: Named = _NONE
        self.outputs: Named = _NONE
        self.attrs: list[tuple[str, Any]] = _NONE
        self.weights: list[tuple[str, Spec, bool]] = _NONE
        self.children: list[Node | Op] = []
        self.opaque: str | None = None
        self.lines: dict[int, int] | None = None  # grows while the function runs
        self.repeat = 1
        self.id = -1  # until it is closed
        self.twin = -1  # the id it would have if it were the first to use its weights

    def last(self) -> Op | None:
        """The last operation below this node."""
        for child in reversed(self.children):
            found = child if isinstance(child, Op) else child.last()
            if found is not None:
                return found
        return None


class Equals:
    """Numbers for calls, the same for calls that are equal; the ground on which repeats are folded."""

    def __init__(self, specs: Specs) -> None:
        self.lines = False  # whether calls have them
        self._specs = specs
        self._calls: dict[Any, int] = {}
        self._ops: dict[Any, Op] = {}

    def op(self, key: Any) -> Op | None:
        """The operation known by a key."""
        return self._ops.get(key)

    def learn(self, name: str, key: list[Any], positions: int, keywords: int) -> Op:
        """The row of an operation, from what it is known by."""
        given = self._specs.joined(key[2:-1])
        inputs: Named = []
        attrs: list[tuple[str, Any]] = []

        position = 0
        for value in given[:positions]:
            elements = elements_of(value)
            if elements:  # cat([a, b]): each counts as an argument of its own
                inputs += [(str(position + i), spec) for i, spec in enumerate(elements)]
            elif isinstance(value, Spec):
                inputs.append((str(position), value))
            else:
                attrs.append((str(position), value))
            position += len(elements) or 1
        for keyword, value in given[positions : positions + keywords]:
            elements = elements_of(value)
            if elements:
                inputs += [(f"{keyword}.{i}", spec) for i, spec in enumerate(elements)]
            elif isinstance(value, Spec):
                inputs.append((keyword, value))
            else:
                attrs.append((keyword, value))
        outputs: Named = []
        for value in given[positions + keywords :]:
            outputs = [("0", value)] if isinstance(value, Spec) else list(value)
        fresh = key[-1] if isinstance(key[-1], tuple) else (key[-1],) * len(outputs)
        op = self._ops[tuple(key)] = Op(len(self._ops), name, key[1], inputs, attrs, outputs, fresh)
        return op

    def close(self, node: Node) -> None:
        """Settle a call that has ended: give it its number, and count it with the equal call before it.

        Two calls are equal when kind, class, shapes, dtypes, arguments, source position and everything below
        them are equal. Their own paths may differ; the paths below them may not, seen from them.
        """
        start = len(node.path) + 1 if node.path else 0
        parts: list[Any] = []
        twins: list[Any] = []
        again = False  # whether something below uses weights for another time
        for child in node.children:
            if isinstance(child, Op):
                parts.append(child.id)
                twins.append(child.id)
            else:
                inside = not start or child.path.startswith(f"{node.path}.")
                name = child.path[start:] if inside else child.path
                name = name if child.kind == "module" else ""
                parts.append((child.id, child.repeat, name))
                twins.append((child.twin, child.repeat, name))
                again = again or child.twin != child.id
        weights = tuple(node.weights)
        head = (node.kind, id(node.code), tuple(node.inputs), tuple(node.outputs), tuple(node.attrs))
        tail = (node.site, node.opaque)
        node.id = node.twin = self._number((head, weights, tail, tuple(parts)))
        if again or not all(first for _, _, first in weights):
            weights = tuple((name, spec, True) for name, spec, _ in weights)
            node.twin = self._number((head, weights, tail, tuple(twins)))
        parent, node.parent = node.parent, None  # no cycles: a call that is folded away is freed at once
        if parent is None or len(parent.children) < 2 or node.kind != "module":
            return
        before = parent.children[-2]
        if isinstance(before, Node) and before.id == node.id and _follows(node.path, before):
            before.repeat += 1
            parent.children.pop()
            if self.lines:
                join_lines(before, node)

    def _number(self, key: Any) -> int:
        return self._calls.setdefault(key, len(self._calls))


def join_lines(into: Node, other: Node) -> None:
    """Where one call comes to stand for two: of each line, there and below, the most that one of them ran it."""
    if other.lines is not None and other.lines != into.lines:
        into.lines = into.lines or {}
        for line, count in other.lines.items():
            into.lines[line] = max(count, into.lines.get(line, 0))
    for a, b in zip(into.children, other.children, strict=True):
        if isinstance(a, Node) and isinstance(b, Node):
            join_lines(a, b)


def _follows(path: str, before: Node) -> bool:
    """Whether a path is the next in a row: `blocks.3` after 3 times `blocks.0`, or the same name again."""
    head, _, number = before.path.rpartition(".")
    if not number.isdecimal():
        return path == before.path
    return path == (f"{head}." if head else "") + str(int(number) + before.repeat)


def elements_of(value: Any) -> list[Spec]:
    """The tensors of a list of tensors; an index that holds some is none."""
    listed = isinstance(value, tuple) and bool(value) and isinstance(value[0], Spec)
    return [v for v in value if isinstance(v, Spec)] if listed else []


class Function(NamedTuple):
    """What is known of a torch function: its name, and whether its results are new memory (None: look)."""

    name: str
    fresh: bool | None


class Functions(dict[Any, Function]):
    """The torch functions met so far."""

    def learn(self, func: Any) -> Function:
        """What its name says of a torch function."""
        name = getattr(func, "__name__", None) or str(func)
        if name in ("__get__", "__set__"):  # a property: resolve_name says which
            name = (resolve_name(func) or name).split(".")[-2]
        name = name.strip("_") if name.startswith("__") else name
        fresh = True if name in _NEW else False if name in _VIEWS else None
        known = self[func] = Function(name, fresh)
        return known


def storage(tensor: torch.Tensor) -> int:
    """A number that tensors on the same memory share."""
    try:
        number: int = tensor.untyped_storage()._cdata
        return number
    except (NotImplementedError, RuntimeError):  # sparse and wrapped tensors have none to show
        return id(tensor)


# the other operations may give a view or not: their storages are compared
_VIEWS = frozenset({
    "chunk", "expand", "permute", "split", "transpose", "unbind", "unflatten", "unsqueeze", "view",
})  # fmt: skip
_NEW = frozenset({
    "add", "arange", "bmm", "cat", "conv1d", "conv2d", "conv3d", "cos", "div", "empty", "exp", "full", "gelu",
    "group_norm", "layer_norm", "linear", "matmul", "mean", "mul", "neg", "ones", "pow", "relu", "rms_norm",
    "rsqrt", "rsub", "scaled_dot_product_attention", "sigmoid", "silu", "sin", "softmax", "sqrt", "stack",
    "sub", "sum", "tanh", "truediv", "zeros",
})  # fmt: skip
