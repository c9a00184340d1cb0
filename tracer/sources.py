"""Reading installed source: which file a call stands in, what its results are called, where it is defined."""

from __future__ import annotations

import ast
import linecache
import re
import sys
from functools import lru_cache
from pathlib import Path
from types import CodeType

from tracer.calls import Source

Position = tuple[int, int, int, int]
"""Line, end line, column, end column, as the compiler notes them."""


@lru_cache(maxsize=None)
def relative(filename: str) -> str:
    """A file's path from its outermost package on; outside a package, its bare name."""
    path = Path(filename)
    top = path.parent
    while (top / "__init__.py").is_file() and top.parent != top:
        top = top.parent
    return path.relative_to(top).as_posix() if top != path.parent else path.name


@lru_cache(maxsize=None)
def class_line(kind: type) -> Source | None:
    """Where a class is defined; None for classes without a source file."""
    module = sys.modules.get(kind.__module__)
    filename = getattr(module, "__file__", None)
    if not filename:
        return None
    starts = re.compile(rf"\s*class {re.escape(kind.__name__)}\b")
    for number, line in enumerate(linecache.getlines(filename), 1):
        if starts.match(line):
            return Source(relative(filename), number, kind.__qualname__)
    return None


def function_line(code: CodeType) -> Source:
    """Where a function is defined: the line of its `def`, below any decorators."""
    line = code.co_firstlineno
    lines = linecache.getlines(code.co_filename)
    while line <= len(lines) and not re.match(r"\s*(async )?def |.*lambda", lines[line - 1]):
        line += 1
    if line > len(lines):
        line = code.co_firstlineno
    return Source(relative(code.co_filename), line, code.co_qualname)


@lru_cache(maxsize=None)
def _positions(code: CodeType) -> list[Position | None]:
    out: list[Position | None] = []
    for line, end, column, end_column in code.co_positions():
        known = line is not None and end is not None and column is not None and end_column is not None
        out.append((line, end, column, end_column) if known else None)  # type: ignore[arg-type]
    return out


def _position(node: ast.expr | ast.stmt) -> Position:
    return (node.lineno, node.end_lineno or 0, node.col_offset, node.end_col_offset or 0)


class _Names(ast.NodeVisitor):
    """Collects, by position: what an expression's value is assigned to, and what it is made from."""

    def __init__(self) -> None:
        self.targets: dict[Position, list[str]] = {}
        self.operands: dict[Position, list[str | None]] = {}

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        if isinstance(target, ast.Tuple | ast.List):
            if isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(target.elts):
                for t, v in zip(target.elts, value.elts, strict=True):
                    self._assign(t, v)
                return
            names = [_name(t) for t in target.elts]
        else:
            names = [_name(target)]
        if all(names):
            self.targets[_position(value)] = [n for n in names if n]

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        name = _name(node.target)
        if name:
            self.targets[_position(node)] = [name]
        self.operands[_position(node)] = [name, _name(node.value)]
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        values: list[ast.expr] = []
        for argument in node.args:
            values.extend(argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument])
        if isinstance(node.func, ast.Attribute) and _root(node.func) not in ("torch", "F", "nn", "functional"):
            values.insert(0, node.func.value)
        self.operands[_position(node)] = [_name(v) for v in values]
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.operands[_position(node)] = [_name(node.left), _name(node.right)]
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.operands[_position(node)] = [_name(node.value)]
        self.generic_visit(node)


def _name(node: ast.expr) -> str | None:
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Subscript):
        return _name(node.value)
    return None


def _root(node: ast.expr) -> str | None:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else None


@lru_cache(maxsize=None)
def _names(code: CodeType) -> _Names:
    found = _Names()
    lines = linecache.getlines(code.co_filename)
    spans = [p[1] for p in _positions(code) if p]
    if not lines or not spans:
        return found
    first = code.co_firstlineno
    body = "".join(lines[first - 1 : max(spans)])
    indented = body[:1].isspace()
    try:
        tree = ast.parse(("if True:\n" if indented else "") + body)
    except SyntaxError:  # a lambda, or source that changed since it was imported: names stay positions
        return found
    ast.increment_lineno(tree, first - 1 - (1 if indented else 0))
    found.visit(tree)
    return found


def names_at(code: CodeType, instruction: int) -> tuple[list[str], list[str | None]]:
    """What the value computed at an instruction is assigned to, and the names of what it is computed from.

    Empty lists where the source does not say.
    """
    table = _positions(code)
    index = instruction // 2
    position = table[index] if 0 <= index < len(table) else None
    if position is None:
        return [], []
    names = _names(code)
    return names.targets.get(position, []), names.operands.get(position, [])
