"""The statements of a function, by line: which lines are one, and where its branches and loops begin. No torch."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

Block = Sequence[ast.stmt]


def owners(tree: ast.AST) -> dict[int, int]:
    """For every line of the statements in a tree, the first line of the innermost one that it belongs to.

    A compound statement owns its header: from `for` to before its body, decorators included. `except` and `case` are
    headers of their own; lines with nothing but `else:` belong to nobody.
    """
    out: dict[int, int] = {}
    for first, last in _spans(tree):
        for line in range(first, last + 1):
            out[line] = first
    return out


def _spans(tree: ast.AST) -> Iterator[tuple[int, int]]:
    """First and last line of what is one statement or one header, outer ones before inner ones."""
    for node in ast.walk(tree):
        first = getattr(node, "lineno", 0)
        if isinstance(node, ast.match_case):
            yield node.pattern.lineno, max(node.pattern.lineno, node.body[0].lineno - 1)
        elif isinstance(node, ast.Match):
            yield first, node.cases[0].pattern.lineno - 1
        elif isinstance(node, ast.stmt | ast.ExceptHandler):
            first = _first(node)
            body: Block = getattr(node, "body", ())
            yield first, max(first, _first(body[0]) - 1) if body else node.end_lineno or first


def _first(node: ast.stmt | ast.ExceptHandler) -> int:
    decorators: list[ast.expr] = getattr(node, "decorator_list", [])
    return min([node.lineno, *(d.lineno for d in decorators)])


def blocks(node: ast.AST) -> Iterator[Block]:
    """The blocks of a compound statement, in the order of the text."""
    for name in ("body", "handlers", "orelse", "finalbody", "cases"):
        part = getattr(node, name, [])
        for inner in part:
            if isinstance(inner, ast.ExceptHandler | ast.match_case):
                yield inner.body
        if part and isinstance(part[0], ast.stmt):
            yield part
