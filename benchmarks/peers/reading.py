"""Texts of very different tools as rows of one kind: what goes in, what comes out, and from which source line."""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

GAP = r"(?:, ?| |x|×)"
_SYMBOLIC = re.compile(r"\[([^\[\]\"]*\b[su]\d+\b[^\[\]\"]*)\]")
_SIZE_OF = re.compile(r"(\w+): \"Sym\((\w+)\)\" = torch\.ops\.aten\.sym_size\.int\((\w+), (\d+)\)")
_SIZE_NAMED = re.compile(r"(\w+): \"Sym\(([^\"]*)\)\"")
_NAMED = re.compile(r"(?<![\w.])(\w+)(?: \(.*?\))?: \"\w*(\[[^\]\"]*\])")
_LEGEND = re.compile(r"(?<![\w.])([A-Za-z_]\w{0,7}) (?:= [^=\n]*? = )?(\d+)(?= ·|\s*$)", re.MULTILINE)
_PLACE = re.compile(r"(\w+\.py)[\": ]*(?:line )?:?(\d+)")
_SHORT_PLACE = re.compile(r"(?<=\s):(\d+)(?=\s|$)")
_BRANCH = re.compile(r"^[│ ]*[├└]─ ?")


@dataclass(frozen=True)
class Row:
    """One row, statement or box of an output."""

    text: str
    given: str = ""
    """What the row says about inputs; empty where it says nothing."""
    made: str = ""
    at: str = ""
    """file.py:line"""


@dataclass(frozen=True)
class Output:
    """One text that a tool gives, and what is known of its symbols."""

    name: str
    text: str
    symbols: Mapping[str, int] = field(default_factory=dict)

    @cached_property
    def rows(self) -> list[Row]:
        """Its rows, with every size that is a formula of known symbols written as its number."""
        return list(rows(evaluated(self.text, self.symbols)))


def has(text: str, shape: Sequence[int]) -> bool:
    """Whether a shape stands in a text, in whatever notation, and not as a part of a longer one."""
    sizes = GAP.join(map(str, shape))
    return re.search(rf"(?<![\w.])(?<!\d )(?<!\d, )(?<!\d,){sizes}(?![\w.])(?!, ?\d)(?! \d)", text) is not None


def rows(text: str) -> Iterator[Row]:
    """The rows of a text. Its kind is told by how it begins: graphviz, a table by columns, a tree, or plain lines."""
    if text.startswith(("digraph", "strict digraph")):
        yield from _boxes(text)
    elif text.startswith("level,"):
        yield from _cells(text)
    elif re.search(r"^[├└]─ \w", text, re.MULTILINE) and "Input Shape" not in text:
        yield from _branches(text)
    else:
        yield from _lines(text)


def _boxes(text: str) -> Iterator[Row]:
    for label in re.findall(r"label=<(.*?)>\s*fillcolor", text, re.DOTALL):
        plain = " ".join(html.unescape(re.sub(r"<[^>]*>", " ", label)).split())
        given, _, made = plain.partition("output:")
        yield Row(plain, given.partition("input:")[2], made)


def _cells(text: str) -> Iterator[Row]:
    for cells in csv.DictReader(text.splitlines()):
        where = cells.get("source") or ""
        yield Row(
            f"{cells['name']} | {cells['inputs']} -> {cells['outputs']} | {cells['formulas']} | {where}",
            cells["inputs"], cells["outputs"], where.rsplit("/", 1)[-1],
        )  # fmt: skip


def _branches(text: str) -> Iterator[Row]:
    """A tree: a row is a branch with the lines below it that are no branch. A bare :LINE is in the file named above."""
    file, held = "", []

    def row() -> Row:
        nonlocal file
        whole = "   ".join(held)
        found, short = _PLACE.search(held[0]), _SHORT_PLACE.search(held[0])
        if found:
            file = found[1]
        at = found.expand(r"\1:\2") if found else f"{file}:{short[1]}" if short and file else ""
        return Row(whole, made=whole, at=at)

    for line in text.splitlines():
        if _BRANCH.match(line):
            if held:
                yield row()
            held = [_BRANCH.sub("", line)]
        elif held:
            held.append(line.strip("│ "))
    if held:
        yield row()


def _lines(text: str) -> Iterator[Row]:
    """Lines. A '# File:' comment holds for those after it; columns are told by their heads; names are followed."""
    lines = text.splitlines()
    shapes = dict(_NAMED.findall(text))
    head = next((x for x in lines if "Input Shape" in x and "Output Shape" in x), None)
    at = ""
    for line in lines:
        place = _PLACE.search(line)
        if line.lstrip().startswith("# File:"):
            at = place.expand(r"\1:\2") if place else ""
            continue
        if not line.strip():
            at = ""
        where = place.expand(r"\1:\2") if place else at
        if head is not None:
            first, second = head.index("Input Shape"), head.index("Output Shape")
            after = line[second:].split("]")[0] + "]"
            yield Row(line, line[first:second], after, where)
        elif "def forward(self" in line:
            yield Row(line, line, "", where)
        elif '" = ' in line:
            made, _, call = line.partition('" = ')
            used = [f"{n} {shapes[n]}" for n in re.findall(r"\w+", call.partition(";")[0]) if n in shapes]
            yield Row(line, " ".join(used), made, where)
        elif " -> " in line:
            given, _, made = line.partition(" -> ")
            yield Row(line, given, made, where)
        else:
            yield Row(line, "", line, where)


def symbols_of(text: str, inputs: Mapping[str, Sequence[int]]) -> dict[str, int]:
    """The symbols that a text itself ties to a size: of an input's axis, or in a legend of names and numbers."""
    found = {name: int(value) for name, value in _LEGEND.findall("\n".join(text.splitlines()[:8]))}
    for name, symbol, tensor, axis in _SIZE_OF.findall(text):
        if tensor in inputs:
            found |= dict.fromkeys((name, symbol), inputs[tensor][int(axis)])
    for name, formula in _SIZE_NAMED.findall(text):
        if (number := value(formula, found)) is not None:
            found[name] = number
    return found


def value(formula: str, symbols: Mapping[str, int]) -> int | None:
    """The number that a formula comes to, or None where it is none or has unknown symbols."""
    plain = formula.replace("·", "*").replace("//", "/").replace("/", "//")
    if not re.fullmatch(r"[\w\s+*/()-]+", plain) or not re.search(r"[\d\w]", plain):
        return None
    if not all(word.isdigit() or word in symbols for word in re.findall(r"\w+", plain)):
        return None
    try:
        return int(eval(plain, {"__builtins__": {}}, dict(symbols)))
    except (SyntaxError, TypeError, ZeroDivisionError):
        return None


def evaluated(text: str, symbols: Mapping[str, int]) -> str:
    """The text with every bracketed shape of known symbols as numbers."""

    def numbers(match: re.Match[str]) -> str:
        sizes = [value(size, symbols) for size in match[1].split(", ")]
        return match[0] if None in sizes else f"[{', '.join(map(str, sizes))}]"

    text = _SYMBOLIC.sub(numbers, text)
    named = {name for name, _ in _SIZE_NAMED.findall(text)} & symbols.keys()
    return (
        text
        if not named
        else re.sub(r"(?<![\w.])\w+(?![\w:.(])", lambda m: str(symbols[m[0]]) if m[0] in named else m[0], text)
    )


def symbolic(text: str, shape: Sequence[int]) -> list[str] | None:
    """The sizes of a shape as formulas, where a row has them: in brackets, or as columns before the numbers."""
    for inside in re.findall(r"\[([^\[\]\"]*[A-Za-z][^\[\]\"]*)\]", text):
        sizes = inside.split(", ")
        if len(sizes) == len(shape) and any(re.fullmatch(r"[su]?\d+", size) for size in sizes):  # no list of names
            return sizes
    column = rf"(\S+(?: \S+){{{len(shape) - 1}}})\s{{2,}}(?:→ )?"
    found = re.search(column + " ".join(map(str, shape)) + r"(?!\S)", text)
    return found[1].split(" ") if found and re.search("[A-Za-z]", found[1]) else None
