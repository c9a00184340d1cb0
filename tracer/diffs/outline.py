"""Which calls of a diff are shown, stage by stage, in which words: for every view. Renders nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from tracer.calls import Call
from tracer.diffs.diff import Change, Diff, Pair
from tracer.diffs.facts import calls_of
from tracer.notes import shown
from tracer.outline import QUIET
from tracer.shapes import Dim, TensorSpec
from tracer.words import Words, clean, counted, sizes_of

MOST_ROWS, MOST_SIZES, MOST_DETAILS, MOST_NAME = 6, 10, 3, 40
"""Rows of a stage, sizes, phrases on a call and signs of a label, where no stage was asked for."""


@dataclass(frozen=True)
class Tensors:
    """What one side of a call gives, one text for each tensor: formulas and numbers."""

    shapes: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Row:
    """A call that differs. sign: '+' new, '-' gone, '~' changed, '=' the same but for numbers, or wholly.

    times: how many such rows in this group look alike. details: what else differs, as phrases.
    important: a module, a function or a call with a note, rather than a mere operation.
    """

    sign: str
    label: str
    old: Tensors = Tensors()
    new: Tensors = Tensors()
    details: tuple[str, ...] = ()
    times: int = 1
    important: bool = False


@dataclass
class Group:
    """The calls of one stage, outside blocks or in blocks of one kind.

    title: the block that begins here. level: 1 inside blocks. kept: calls that are the same, but for numbers perhaps.
    hidden: calls that differ and have no row. flops and params: of the group's own calls, old and new.
    """

    stage: str
    title: str = ""
    level: int = 0
    rows: list[Row] = field(default_factory=list)
    kept: int = 0
    hidden: int = 0
    flops: tuple[int, int] = (0, 0)
    params: tuple[int, int] = (0, 0)
    sides: tuple[bool, bool] = (False, False)

    @property
    def sign(self) -> str:
        """'+' for a stage that only the new side has, '-' for the old side, '~' where calls differ, '=' else."""
        if self.sides != (True, True):
            return "+" if self.sides[1] else "-"
        return "~" if self.rows or self.hidden or "→" in self.title else "="


@dataclass(frozen=True)
class Sizes:
    """Results that have other numbers and the same formula (or none): how many calls give them."""

    formula: str
    old: str
    new: str
    calls: int


# calls


def groups(d: Diff, stage: str | None = None) -> list[Group]:
    """The calls by stage, in the order of the runs. Of a stage that is asked for, every call has a row."""
    found = _Grouping(d, stage).found()
    if stage is not None:
        return [replace(g, rows=_merged(g.rows)) for g in found if g.stage == stage]
    out = []
    for group in found:
        rows = _merged(group.rows)
        first = [r for r in rows if r.important or not any(r.important for r in rows)][:MOST_ROWS]
        hidden = group.hidden + sum(r.times for r in rows) - sum(r.times for r in first)
        out.append(replace(group, rows=first, hidden=hidden))
    return sorted(out, key=lambda g: g.stage == "other" and not g.level)


def _merged(rows: list[Row]) -> list[Row]:
    """Rows that look alike as one, at the place of the first."""
    times = Counter(rows)
    return [replace(row, times=n) for row, n in times.items()]


class _Grouping:
    """Puts each pair into its group, and says it."""

    def __init__(self, d: Diff, stage: str | None) -> None:
        self.d, self.stage = d, stage
        self.words = Words(d.old), Words(d.new)
        self._groups: dict[tuple[str, str], Group] = {}

    def found(self) -> list[Group]:
        self._visit(self.d.root, (1, 1), (1, 1), "", frozenset())
        return list(self._groups.values())

    def _visit(
        self, pair: Pair, times: tuple[int, int], modules: tuple[int, int], block: str, told: frozenset[Any],
        *, inner: bool = False,
    ) -> None:  # fmt: skip
        """Put a pair and what is inside it. inner: inside a module of one operation, which speaks for both."""
        sides = pair.old, pair.new
        title = ""
        if any(c is not None and c.stage == "block" for c in sides):
            block, title = pair.call.pattern, self._label(pair, "")
        key = (block, pair.stage)
        group = self._groups.setdefault(key, Group(pair.stage, level=int(bool(block) and pair.stage != "block")))
        group.title = group.title or title
        group.sides = (group.sides[0] or sides[0] is not None, group.sides[1] or sides[1] is not None)
        repeats = [c.repeat if c is not None else 1 for c in sides]
        runs = times[0] * repeats[0], times[1] * repeats[1]
        steps = pair.call.kind == "step"  # the passes of a loop share their parameters
        owned = modules if steps else (modules[0] * repeats[0], modules[1] * repeats[1])
        alone = pair.old is None or pair.new is None
        flops, params = ([_own(c, part, alone) for c in sides] for part in ("flops", "params"))
        group.flops = group.flops[0] + flops[0] * runs[0], group.flops[1] + flops[1] * runs[1]
        group.params = group.params[0] + params[0] * owned[0], group.params[1] + params[1] * owned[1]
        if inner and self.stage is None:
            group.hidden += pair.status not in ("same", "numbers")
            group.kept += pair.status in ("same", "numbers")
        else:
            told = self._put(pair, group, block, told)
        leaf = pair.call.kind == "module" and all(c is None or _single(c) for c in sides)
        for child in pair.children:
            self._visit(child, runs, owned, block, told, inner=inner or leaf)

    def _put(self, pair: Pair, group: Group, block: str, told: frozenset[Any]) -> frozenset[Any]:
        """A row for the pair, or a count; returns what the rows around its children have told."""
        differing = [c for c in pair.changes if not c.follows]
        texts = frozenset((self._text(c.old, 0), self._text(c.new, 1)) for c in differing)
        alone = pair.old is None or pair.new is None
        if self.stage is not None:
            if pair.stage == self.stage:
                group.rows.append(self._row(pair, block, all_details=True))
        elif not alone and all(map(_only_numbers, differing)):
            group.kept += 1
        elif pair.call.name in QUIET or (not alone and (texts <= told or all(map(_only_names, differing)))):
            group.hidden += 1
        else:
            group.rows.append(self._row(pair, block))
        return told | texts

    def _row(self, pair: Pair, block: str, *, all_details: bool = False) -> Row:
        sign = {"added": "+", "removed": "-", "changed": "~"}.get(pair.status, "=")
        label = self._label(pair, block)
        old, new = self._tensors(pair.old, 0), self._tensors(pair.new, 1)
        differing = [c for c in pair.changes if not c.follows and c.part != "repeat"]
        alone = pair.old is None or pair.new is None
        moved = old != new and any(c.part == ("output" if pair.call.outputs else "input") for c in differing)
        if not (moved or alone or all_details):
            old = new = Tensors()
        if moved and not all_details:  # the rest follows from it
            differing = [c for c in differing if c.part == "stage"]
        details = [self._phrase(c) for c in differing if c.name or c.part != "name"]
        if pair.old is not None and pair.new is not None and pair.old.name != pair.new.name and " → " not in label:
            details.insert(0, clean(f"{pair.old.name} → {pair.new.name}", 160))
        if alone:
            inside = sum(1 for _ in pair.call.walk()) - 1
            details = [f"with {calls_of(inside)} inside"] if inside else []
        if not all_details and len(details) > MOST_DETAILS:
            details = [*details[: MOST_DETAILS - 1], f"{len(details) - MOST_DETAILS + 1} more changes"]
        important = pair.call.kind != "op" or any(c is not None and c.remark is not None for c in (pair.old, pair.new))
        return Row(sign, label, old, new, tuple(details), important=important)

    def _tensors(self, call: Call | None, side: int) -> Tensors:
        if call is None:
            return Tensors()
        specs = shown(call)
        sizes = counted([sizes_of(s) for s in specs], 3)
        shapes = counted([self.words[side].shape(s) for s in specs], 3)
        return Tensors(shapes if shapes != sizes else (), sizes)

    def _label(self, pair: Pair, block: str) -> str:
        calls = [c for c in (pair.old, pair.new) if c is not None]
        repeats = [c.repeat for c in calls]
        noted = [c for c in calls if c.remark is not None]
        text = _called(noted[-1] if noted else calls[-1], block)
        labels = {c.remark.label for c in noted if c.remark}
        if calls[0].name != calls[-1].name and not (len(noted) == 1 or len(labels) == 1):
            text = _called(calls[-1], block, f"{calls[0].name} → {calls[-1].name}")
            text = text if len(text) <= MOST_NAME else _called(calls[-1], block, "") or calls[0].name
        if set(repeats) != {1}:
            text += " " + " → ".join(f"×{n}" for n in dict.fromkeys(repeats))
        return clean(text, 120)

    def _text(self, value: Any, side: int) -> str:
        words = self.words[side]
        if isinstance(value, TensorSpec):
            return f"{words.shape(value)} ({sizes_of(value)}) {value.dtype}"
        if isinstance(value, Dim):
            return words.axis(value)
        return clean(str(value), 60) if isinstance(value, str) else words.attr(value)

    def _phrase(self, c: Change) -> str:
        return clean(self._worded(c), 160)

    def _worded(self, c: Change) -> str:
        name = clean(c.name, 60)
        if c.part == "name":
            return f"{name} is called {clean(str(c.new), 60)}"
        if c.part == "memory":
            return "other results are views"
        what = {"input": "input", "output": "result", "weight": "weight", "argument": "argument", "path": "path",
                "stage": "stage", "inside": "inside"}[c.part]  # fmt: skip
        values = [self._said(v, side) for side, v in enumerate((c.old, c.new))]
        if c.part == "argument" and (c.old is None or c.new is None):
            values = [self.words[0].attr(v[0]) if isinstance(v, tuple) else "" for v in (c.old, c.new)]
        what = f"{what} {name}".rstrip()
        if c.old is None or c.new is None:
            return f"{'+' if c.old is None else '-'} {what} {values[0] if c.new is None else values[1]}"
        if values[0] == values[1]:  # the same words: the dtype, or what is too long to be said
            values = [self._text(v, side) for side, v in enumerate((c.old, c.new))]
        return f"{what} {values[0]} → {values[1]}"

    def _said(self, value: Any, side: int) -> str:
        return self.words[side].shape(value) if isinstance(value, TensorSpec) else self._text(value, side)


def _single(call: Call) -> bool:
    """Whether a module is one operation, in its function perhaps: Linear, Conv2d."""
    while len(call.children) == 1:
        call = call.children[0]
    return not call.children


def _only_names(c: Change) -> bool:
    """Whether a variable is called otherwise, and that is all."""
    return c.part == "name" and bool(c.name)


def _only_numbers(c: Change) -> bool:
    """Whether a change is one of numbers that have no formula: told among the sizes."""
    if c.part in ("input", "output", "weight") and isinstance(c.old, TensorSpec) and isinstance(c.new, TensorSpec):
        dims = [d for s in (c.old, c.new) for d in s.shape]
        return c.part != "weight" and len(c.old.shape) == len(c.new.shape) and c.old.dtype == c.new.dtype and all(
            a.formula == b.formula and (a.size == b.size or a.formula is None)
            for a, b in zip(c.old.shape, c.new.shape, strict=True)
        ) and bool(dims)  # fmt: skip
    return False


def _called(call: Call, block: str, name: str | None = None) -> str:
    """A call by the label of its note, else by its place in its block and its name, or another name."""
    if call.remark is not None and name is None:
        return call.remark.label
    name = call.name if name is None else name
    where = call.pattern
    if block and (where == block or where.startswith(f"{block}.")):
        where = where[len(block) + 1 :]
    while len(where) > MOST_NAME // 2 and "." in where:
        where = f"…{where.partition('.')[2]}"
    if call.kind == "module":
        return f"{where} {name}".strip()
    return f"{where}: {name}" if where and name else where or name


def _own(call: Call | None, part: str, whole: bool) -> int:
    """FLOPs or parameters of a call; without those of its children where they are told apart."""
    if call is None:
        return 0
    total: int = getattr(call.cost, part).size
    return total if whole else total - sum(getattr(c.all_cost, part).size for c in call.children)


def sizes(d: Diff) -> tuple[list[Sizes], int]:
    """Results with other numbers by the same formula, or without one; the most frequent, and how many more."""
    words = Words(d.new)
    found: Counter[tuple[str, str, str]] = Counter()
    for pair in d.root.walk():
        here = set()
        for c in pair.changes:
            if c.part == "output" and isinstance(c.old, TensorSpec) and isinstance(c.new, TensorSpec) and (
                c.follows or _only_numbers(c)
            ) and c.old.sizes != c.new.sizes:  # fmt: skip
                formula = words.shape(c.new)
                here.add((formula if formula != sizes_of(c.new) else "", sizes_of(c.old), sizes_of(c.new)))
        found.update(here)
    most = {key for key, _ in found.most_common(MOST_SIZES)}
    return [Sizes(*key, n) for key, n in found.items() if key in most], len(found) - len(most)
