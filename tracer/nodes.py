"""The recorder's own tree while a forward runs: small, mutable, folded as it grows."""

from __future__ import annotations

import re
from types import CodeType
from typing import Any

import torch

Site = tuple[int, int, int]
"""Where a call was made: id of the code object, index of the instruction, line. Code objects hash slowly."""


class Spec:
    """Shape and dtype as they were seen; equal ones are one object, so they compare by identity."""

    __slots__ = ("dtype", "shape")

    def __init__(self, shape: tuple[Any, ...], dtype: str) -> None:
        self.shape = shape
        self.dtype = dtype

    def __str__(self) -> str:
        return f"{self.dtype}{list(self.shape)}"


class Specs:
    """Gives every shape and dtype its one Spec."""

    def __init__(self) -> None:
        self._known: dict[Any, Spec] = {}

    def of(self, tensor: torch.Tensor) -> Spec:
        """The Spec of a tensor; sizes may be torch's symbolic integers."""
        key: Any = (tensor.shape, tensor.dtype)
        try:
            spec = self._known.get(key)
        except TypeError:  # symbolic sizes do not hash, their texts do
            key = (str(key[0]), key[1])
            spec = self._known.get(key)
        if spec is None:
            spec = self._known[key] = Spec(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))
        return spec


Named = list[tuple[str, Spec]]
_NONE: Any = ()


class Node:
    """A call in the making. Sequences start as the empty tuple and are replaced when there is something."""

    __slots__ = (
        "attrs", "children", "closed", "code", "exports", "fresh", "id", "inputs", "kind", "module", "name",
        "opaque", "outputs", "parent", "path", "repeat", "site", "weights",
    )  # fmt: skip

    def __init__(self, kind: str, name: str, path: str, parent: Node | None, site: Site | None) -> None:
        self.kind = kind
        self.name = name
        self.path = path
        self.parent = parent
        self.site = site
        self.inputs: Named = _NONE
        self.outputs: Named = _NONE
        self.attrs: list[tuple[str, Any]] = _NONE
        self.weights: list[tuple[str, Spec, bool]] = _NONE
        self.fresh: tuple[bool, ...] = ()
        self.children: list[Node] = _NONE
        self.exports: list[Node] = _NONE
        self.module: Any = None
        self.code: CodeType | type | None = None
        self.opaque: str | None = None
        self.closed = False
        self.repeat = 1
        self.id = -1

    def add(self, child: Node) -> None:
        """Append a call, or count it when it equals the module call before."""
        if not self.children:
            self.children = [child]
            return
        if child.id >= 0:
            before = self.children[-1]
            if before.id == child.id and before.kind == "module":
                before.repeat += 1
                return
        self.children.append(child)

    def last(self) -> Node | None:
        """The last operation below this node."""
        for child in reversed(self.children):
            found = child if child.kind == "op" else child.last()
            if found is not None:
                return found
        return None


_NUMBER = re.compile(r"\d+")


def freeze(node: Node, intern: dict[Any, int]) -> None:
    """Settle a closed node: its functions' outputs, and the id that equal calls share.

    Two calls are equal when kind, name, shapes, dtypes, arguments, source position and everything below
    them are equal; the numbers of the blocks they belong to are left out.
    """
    node.closed = True
    parts: list[Any] = []
    for child in node.children:
        child.parent = None  # no cycles: a block that is folded away is freed at once
        if child.id < 0:
            if child.kind == "op":
                key: Any = (
                    child.name, *child.inputs, *child.outputs, *child.attrs, child.fresh, child.site
                )  # fmt: skip
                child.id = _number(key, intern)
            else:
                freeze(child, intern)
        parts.append((child.id, child.repeat))
    if node.kind == "function" and not node.outputs and node.children:
        makers = node.exports or node.children[-1:]
        specs = [spec for maker in makers for _, spec in maker.outputs]
        node.outputs = [(str(i), spec) for i, spec in enumerate(specs)]
    node.exports = _NONE
    path = _NUMBER.sub("*", node.path) if node.kind == "module" else ""
    node.id = _number(
        (
            node.kind, path, node.name, tuple(node.inputs), tuple(node.outputs), tuple(node.attrs),
            tuple(node.weights), node.site, node.opaque, tuple(parts),
        ),
        intern,
    )  # fmt: skip


def _number(key: Any, intern: dict[Any, int]) -> int:
    try:
        return intern.setdefault(key, len(intern))
    except TypeError:  # an argument that does not hash: such a call equals no other
        intern[object()] = len(intern)
        return len(intern) - 1
