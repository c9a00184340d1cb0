"""Reading installed source: which file a call stands in, what its results are called, where it is defined."""

from __future__ import annotations

import ast
import hashlib
import linecache
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

from tracer.calls import Source
from tracer.listings.statements import owners

Position = tuple[int, int, int, int]
"""Line, end line, column, end column, as the compiler notes them."""


@cache
def relative(filename: str) -> str:
    """A file's path from its outermost package on; outside a package, its bare name."""
    path = Path(filename)
    top = path.parent
    while (top / "__init__.py").is_file() and top.parent != top:
        top = top.parent
    return path.relative_to(top).as_posix() if top != path.parent else path.name


@cache
def class_line(kind: type) -> Source | None:
    """Where a class is defined; None for classes without a source file."""
    module = sys.modules.get(kind.__module__)
    filename = getattr(module, "__file__", None)
    if not filename:
        return None
    starts = re.compile(rf"\s*class {re.escape(kind.__name__)}\b")
    found = [i for i, line in enumerate(linecache.getlines(filename), 1) if starts.match(line)]
    if len(found) > 1:  # several of this name: it is the last one before its own methods
        codes = [code for f in vars(kind).values() if (code := getattr(f, "__code__", None)) is not None]
        first = min((c.co_firstlineno for c in codes if c.co_filename == filename), default=found[0])
        found = [line for line in found if line <= first][-1:]
    return Source(relative(filename), found[0], kind.__qualname__) if found else None


def function_line(code: CodeType) -> Source:
    """Where a function is defined: the line of its `def`, below any decorators."""
    line = code.co_firstlineno
    lines = linecache.getlines(code.co_filename)
    while line <= len(lines) and not re.match(r"\s*(async )?def |.*lambda", lines[line - 1]):
        line += 1
    if line > len(lines):
        line = code.co_firstlineno
    return Source(relative(code.co_filename), line, code.co_qualname)


@cache
def _positions(code: CodeType) -> list[Position | None]:
    out: list[Position | None] = []
    for line, end, column, end_column in code.co_positions():
        known = line is not None and end is not None and column is not None and end_column is not None
        out.append((line, end, column, end_column) if known else None)  # type: ignore[arg-type]
    return out


def place_of(node: ast.expr | ast.stmt) -> Position:
    """Where the compiler says a node is: a method call over several lines begins at the method's name."""
    line, end, column, end_column = (
        node.lineno,
        node.end_lineno or 0,
        node.col_offset,
        node.end_col_offset or 0,
    )
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        name = node.func
        if name.end_lineno != line and name.end_lineno is not None and name.end_col_offset is not None:
            return (name.end_lineno, end, name.end_col_offset - len(name.attr.encode()), end_column)
    return (line, end, column, end_column)


def position_at(code: CodeType, instruction: int) -> Position | None:
    """Where an instruction stands in the source."""
    table = _positions(code)
    index = instruction // 2
    return table[index] if 0 <= index < len(table) else None


def line_at(code: CodeType, instruction: int) -> int:
    """The line of an instruction."""
    position = position_at(code, instruction)
    return position[0] if position is not None else code.co_firstlineno


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
            self.targets[place_of(value)] = [n for n in names if n]

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        name = _name(node.target)
        if name:
            self.targets[place_of(node)] = [name]
        self.operands[place_of(node)] = [name, _name(node.value)]
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        values: list[ast.expr] = []
        for argument in node.args:
            values.extend(argument.elts if isinstance(argument, ast.List | ast.Tuple) else [argument])
        if isinstance(node.func, ast.Attribute) and _root(node.func) not in (
            "torch",
            "F",
            "nn",
            "functional",
        ):
            values.insert(0, node.func.value)
        self.operands[place_of(node)] = [_name(v) for v in values]
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        self.operands[place_of(node)] = [_name(node.left), _name(node.right)]
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:
        self.operands[place_of(node)] = [_name(node.value)]
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


@cache
def _names(code: CodeType) -> _Names:
    found = _Names()
    tree = _tree(code)
    if tree is not None:
        found.visit(tree)
    return found


@cache
def _tree(code: CodeType) -> ast.Module | None:
    """The syntax tree of a function, its lines numbered as in its file."""
    lines = linecache.getlines(code.co_filename)
    spans = [p[1] for p in _positions(code) if p]
    if not lines or not spans:
        return None
    first = code.co_firstlineno
    body = "".join(lines[first - 1 : max(spans)])
    indented = body[:1].isspace()
    try:
        tree = ast.parse(("if True:\n" if indented else "") + body)
    except SyntaxError:  # a lambda, or source that changed since it was imported: names stay positions
        return None
    ast.increment_lineno(tree, first - 1 - (1 if indented else 0))
    return tree


@cache
def statements(code: CodeType) -> dict[int, int]:
    """For every line of a function, the first line of its statement; nothing where there is no source."""
    tree = _tree(code)
    return owners(tree) if tree is not None else {}


def digest(filename: str, codes: Iterable[CodeType]) -> str | None:
    """A short digest of a file that these code objects come from.

    Empty where the file as it is now would not make them: it was changed after it was imported, or rewritten while it
    was. None where there is no source.
    """
    linecache.checkcache(filename)
    text = "".join(linecache.getlines(filename))
    if not text:
        return None
    try:
        whole = compile(text, filename, "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return ""
    made = {(c.co_qualname, c.co_firstlineno): c for c in nested(whole)}
    same = all(_alike(code, made.get((code.co_qualname, code.co_firstlineno))) for code in codes)
    return fingerprint(text) if same else ""


def fingerprint(text: str) -> str:
    """Sixteen hexadecimal digits that tell one text from another."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def nested(code: CodeType) -> Iterator[CodeType]:
    """A code object and all those in it."""
    yield code
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from nested(part)


def _alike(code: CodeType, made: CodeType | None) -> bool:
    if made is None or (code.co_code, code.co_names) != (made.co_code, made.co_names):
        return False
    return _constants(code) == _constants(made) and list(code.co_lines()) == list(made.co_lines())


def _constants(code: CodeType) -> list[tuple[type, Any]]:
    plain = [c for c in code.co_consts if not isinstance(c, CodeType)]
    return [(type(c), repr(c) if isinstance(c, float | complex) else c) for c in plain]  # nan is not equal to itself


def names_at(code: CodeType, instruction: int) -> tuple[list[str], list[str | None]]:
    """What the value computed at an instruction is assigned to, and the names of what it is computed from.

    Empty lists where the source does not say.
    """
    position = position_at(code, instruction)
    if position is None:
        return [], []
    names = _names(code)
    return names.targets.get(position, []), names.operands.get(position, [])


def returned_at(code: CodeType, instruction: int) -> ast.expr | None:
    """The expression that a function gives back when it ends at an instruction; None where it gives nothing.

    A `return` inside `with` or `try ... finally` ends elsewhere: at the `with`, at the last line of the
    `finally`. It is meant there if the block cannot end in another way.
    """
    tree, position = _tree(code), position_at(code, instruction)
    if tree is None or position is None:
        return None
    for node in ast.walk(tree):
        if isinstance(node, ast.Return) and place_of(node) == position:
            return node.value
        if isinstance(node, ast.With) and position[0] == node.lineno:
            return _only_return(node.body)
        if isinstance(node, ast.Try) and node.finalbody and position == place_of(node.finalbody[-1]):
            return _only_return(node.body)
    return None


def _only_return(body: list[ast.stmt]) -> ast.expr | None:
    returns = [node for part in body for node in ast.walk(part) if isinstance(node, ast.Return)]
    last = body[-1]
    while isinstance(last, ast.With) or (isinstance(last, ast.Try) and not last.handlers):
        last = last.body[-1]
    return returns[0].value if len(returns) == 1 and returns[0] is last else None


class Loop(NamedTuple):
    """A `for` or `while` of a function.

    line: of its header. instruction: the first one there. names: the variables that the header sets and the
    body leaves alone, so that they tell one pass from another; none for `while`.
    """

    line: int
    instruction: int
    names: tuple[str, ...]


@cache
def _loops(code: CodeType) -> list[tuple[tuple[int, int], tuple[int, int], Loop]]:
    """Where the body of each loop begins and ends (line and column), outer loops first."""
    out = []
    for node in ast.walk(_tree(code) or ast.Module([], [])):
        if isinstance(node, ast.For | ast.While):
            header, last = node.lineno, node.body[-1]
            lines = [position[0] if position else 0 for position in _positions(code)]
            names: list[str] = []
            if isinstance(node, ast.For):
                inside = {n.id for part in node.body for n in ast.walk(part)
                          if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}  # fmt: skip
                names = [n.id for n in ast.walk(node.target) if isinstance(n, ast.Name) and n.id not in inside]
            if header in lines:  # else it belongs to a function inside
                start, end = (node.body[0].lineno, node.body[0].col_offset), (last.end_lineno or 0, last.end_col_offset)
                out.append((start, (end[0], end[1] or 0), Loop(header, lines.index(header) * 2, tuple(names))))
    return sorted(out)


def loops_at(code: CodeType, instruction: int) -> list[Loop]:
    """The loops in whose bodies an instruction stands, outermost first."""
    position = position_at(code, instruction)
    if position is None:
        return []
    place = (position[0], position[2])
    return [loop for start, end, loop in _loops(code) if start <= place < end]


def context_at(code: CodeType, instruction: int, method: str) -> str | None:
    """The text given to a method in the innermost `with x.method("text"):` around an instruction."""
    tree, position = _tree(code), position_at(code, instruction)
    if tree is None or position is None:
        return None
    found = None
    for node in ast.walk(tree):  # outer ones first
        if isinstance(node, ast.With) and node.body[0].lineno <= position[0] <= (node.end_lineno or 0):
            for item in node.items:
                match item.context_expr:
                    case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str(text)), *_]):
                        found = text if name == method else found
    return found
