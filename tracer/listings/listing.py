"""The functions that ran, line by line: their source with what each line made. Reads a trace and text, renders nothing.

A listing stands for all calls of one function in which the same lines ran; the shapes are those of the first.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import islice
from types import CodeType

from tracer.calls import Call, Remark, Source
from tracer.listings.statements import blocks, owners
from tracer.shapes import TensorSpec
from tracer.words import clean

Read = Callable[[str], str]
"""The text of a file by its name in a trace; raises a TracerError that says why there is none."""

Def = ast.FunctionDef | ast.AsyncFunctionDef
_DOC = 3
"""Lines of a docstring that is shown whole."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of source.

    ran: False for what did not. times: passes of the loop that begins here, or how often a branch was taken that is not
    taken every time; None for most lines. made: tensors that came out here, or into the parameters here, each with its
    name if it needs one. remarks: notes on the calls made here, each with its stage. hidden: lines left out after it.
    """

    number: int
    text: str
    ran: bool = True
    comment: bool = False
    times: int | None = None
    made: tuple[tuple[str, TensorSpec], ...] = ()
    remarks: tuple[tuple[str, Remark], ...] = ()
    hidden: int = 0


@dataclass(frozen=True, slots=True)
class Listing:
    """One function as it ran.

    calls: those it stands for, all with the same lines. times: how often each ran. where: the first one's path.
    trouble: why there are no lines to show.
    """

    name: str
    file: str
    first: int
    calls: tuple[Call, ...]
    times: tuple[int, ...]
    where: str = ""
    lines: tuple[Line, ...] = ()
    trouble: str = ""

    @property
    def said(self) -> list[str]:
        """Which calls these are, in words."""
        shapes = [(list(c.inputs.values()), list(c.outputs.values())) for c in self.calls]
        total = sum(self.times)
        unlike = sum(n for n, shape in zip(self.times, shapes, strict=True) if shape != shapes[0])
        out = [clean(self.where)] if self.where else []
        out += [f"ran ×{total:,}"] if total > 1 else []
        out += [f"×{unlike:,} of them with other shapes"] if unlike else []
        return out


@dataclass(slots=True)
class Function:
    """A function before its lines are read."""

    file: str
    name: str
    node: Def | None
    trouble: str
    calls: list[Call] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    where: str = ""


def place_in(call: Call) -> Source | None:
    """A line inside the function that a call ran."""
    if call.kind == "function":
        return call.defined
    for child in inside_of(call):
        if child.source is not None and child.source.line in (call.lines or {}):
            return child.source
    return None


def inside_of(call: Call) -> Iterator[Call]:
    """What a function called, the passes of its loops opened."""
    for child in call.children:
        if child.kind == "step":
            yield from inside_of(child)
        else:
            yield child


@lru_cache(maxsize=64)
def _definitions(text: str) -> list[tuple[str, Def]]:
    """Every function of a file with its full name, in the order of the text."""
    out: list[tuple[str, Def]] = []

    def visit(node: ast.AST, name: str) -> None:
        for child in ast.iter_child_nodes(node):
            inner = f"{name}.{child.name}".removeprefix(".") if isinstance(child, Def | ast.ClassDef) else name
            if isinstance(child, Def):
                out.append((inner, child))
            visit(child, inner)

    visit(ast.parse(text), "")
    return out


@lru_cache(maxsize=64)
def _compiled(text: str) -> CodeType:
    return compile(text, "<source>", "exec", dont_inherit=True)


def definition_at(text: str, line: int) -> tuple[str, Def | None]:
    """The innermost function around a line, and its full name."""
    inside = [(name, node) for name, node in _definitions(text) if node.lineno <= line <= (node.end_lineno or 0)]
    return inside[-1] if inside else ("", None)


def _coded(code: CodeType, first: int, last: int) -> set[int]:
    """The lines that have instructions, in the functions that begin between two lines."""
    out: set[int] = set()
    if first <= code.co_firstlineno <= last:
        out = {line for _, _, line in islice(code.co_lines(), 1, None) if line is not None}
    return out.union(*(_coded(c, first, last) for c in code.co_consts if isinstance(c, CodeType)))


def listing_of(f: Function, read: Read) -> Listing:
    """The lines of a function, with what they made in the first of its calls."""
    if f.node is None:
        return Listing(f.name, f.file, 0, tuple(f.calls), tuple(f.times), f.where, trouble=f.trouble)
    node, text = f.node, read(f.file)
    first, last = min([node.lineno, *(d.lineno for d in node.decorator_list)]), node.end_lineno or node.lineno
    counts = _counts(f, node.lineno, last)
    owner = owners(node)
    coded = _coded(_compiled(text), first, last)
    begun = {owner[n] for n in counts if n in owner}
    made_of = {owner[n] for n in coded if n in owner}  # the others, such as `pass`, have no instructions
    states: dict[int, bool] = {}
    for n in range(first, last + 1):
        if n in owner and (owner[n] in begun or owner[n] in made_of):
            states[n] = n in counts or (owner[n] in begun and n not in coded)
    states |= dict.fromkeys(range(first, node.body[0].lineno), True)
    made, remarks, times = _made(f.calls[0], node, counts), _remarks(f, node), _times(node, counts)
    doc = _doc(node)
    out: list[Line] = []
    source = text.splitlines()[first - 1 : last]
    indent = len(source[0]) - len(source[0].lstrip())
    following = True
    for n, raw in zip(range(last, first - 1, -1), reversed(source), strict=True):
        following = states.get(n, following)  # comments and `else:` are as what comes after them
        text_here = raw[indent:] if not raw[:indent].strip() else raw.lstrip()
        comment = raw.lstrip().startswith("#") or n in doc
        ran = True if n in doc else following
        out.append(Line(n, text_here.rstrip(), ran, comment, times.get(n), made.get(n, ()), remarks.get(n, ())))
    return Listing(
        f.name, f.file, node.lineno, tuple(f.calls), tuple(f.times), f.where, tuple(_without_doc(out[::-1], doc))
    )


def _doc(node: Def) -> range:
    """The lines of the docstring."""
    body = node.body[0]
    if ast.get_docstring(node, clean=False) is None:
        return range(0)
    return range(body.lineno, (body.end_lineno or body.lineno) + 1)


def _without_doc(lines: Sequence[Line], doc: range) -> Iterator[Line]:
    """The lines with a long docstring cut down to its first ones."""
    last = _DOC
    texts = {line.number: line.text for line in lines}
    while last > 1 and len(doc) > _DOC and not texts[doc[last - 1]]:
        last -= 1
    for line in lines:
        if len(doc) <= _DOC + 1 or line.number not in doc[last - 1 :]:
            yield line
        elif line.number == doc[last - 1]:
            yield replace(line, hidden=len(doc) - last)


def _counts(f: Function, first: int, last: int) -> dict[int, int]:
    """How often each line ran, those of functions inside this one too."""
    counts = dict(f.calls[0].lines or {})
    for call in f.calls[0].walk():
        at = call.defined
        if call.kind == "function" and at is not None and at.file == f.file and first < at.line <= last:
            for line, count in (call.lines or {}).items():
                counts[line] = max(count, counts.get(line, 0))
    return counts


def _made(call: Call, node: Def, counts: dict[int, int]) -> dict[int, tuple[tuple[str, TensorSpec], ...]]:
    """The tensors in the margin, by line."""
    at: dict[int, list[Call]] = {}
    for child in inside_of(call):
        line = child.source.line if child.source is not None else 0
        if node.lineno < line <= (node.end_lineno or 0):
            at.setdefault(line, []).append(child)
    out = {line: _results(calls) for line, calls in at.items()}
    returns = [n for n in _own(node) if isinstance(n, ast.Return) and n.lineno in counts]
    if len(returns) == 1 and call.outputs:
        out[returns[0].lineno] = tuple(("", spec) for spec in call.outputs.values())
    everything = [a for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs) if a.arg != "self"]
    given: dict[int, list[tuple[str, TensorSpec]]] = {}
    for argument in everything:
        for key, spec in call.inputs.items():
            if key.partition(".")[0] == argument.arg:
                given.setdefault(argument.lineno, []).append((key, spec))
    lines = [a.lineno for a in everything]
    for line, named in given.items():
        out[line] = tuple((key if lines.count(line) > 1 else "", spec) for key, spec in named)
    return {line: specs for line, specs in out.items() if specs}


def _own(node: ast.AST) -> Iterator[ast.AST]:
    """Everything in a function but what is in the functions inside it."""
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, Def | ast.Lambda):
            yield from _own(child)


def _results(calls: Sequence[Call]) -> tuple[tuple[str, TensorSpec], ...]:
    """What a line made: what it gave a name to, else what came last; every shape once."""
    giving = [c for c in calls if c.outputs]
    named = [(k, spec) for c in giving for k, spec in c.outputs.items() if not k[:1].isdigit()]
    if giving and all(k[:1].isdigit() for k in giving[-1].outputs):  # what has a name was made on the way
        last = [c for c in giving if (c.kind, c.name) == (giving[-1].kind, giving[-1].name)]
        named = [(k, spec) for c in last for k, spec in c.outputs.items()]
    return tuple(("", spec) for _, spec in dict.fromkeys(named))


def _remarks(f: Function, node: Def) -> dict[int, tuple[tuple[str, Remark], ...]]:
    out: dict[int, dict[tuple[str, Remark], None]] = {}
    for child in inside_of(f.calls[0]):
        at = child.source
        if child.remark is not None and at is not None and node.lineno < at.line <= (node.end_lineno or 0):
            out.setdefault(at.line, {})[child.stage or "", child.remark] = None
    return {line: tuple(found) for line, found in out.items()}


def _times(node: Def, counts: dict[int, int]) -> dict[int, int]:
    """Passes of loops at their headers, and at the first line of a branch how often it was taken, where not always."""
    owner = owners(node)
    began: dict[int, int] = {}  # how often a statement did, by its first line
    for line, count in counts.items():
        first = owner.get(line, line)
        began[first] = max(count, began.get(first, 0))
    out: dict[int, int] = {}

    def visit(outer: ast.AST, usual: int) -> None:
        for block in blocks(outer):
            taken = max(began.get(owner.get(s.lineno, 0), 0) for s in block)
            if isinstance(outer, ast.For | ast.AsyncFor | ast.While) and block is outer.body:
                if outer.lineno in began:
                    out[outer.lineno] = taken
            elif isinstance(outer, Def):
                if taken > usual:
                    out[outer.lineno] = taken
            elif taken and taken != usual:
                out[block[0].lineno] = taken
            for inner in block:
                visit(inner, taken or usual)

    visit(ast.Module(list(node.body), []), 1)
    return out
