"""What of a whole pipeline fits one screen: its functions, the components they call, its steps, their blocks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby

from tracer.calls import Call, Cost, Trace
from tracer.words import Words, clean, label_of

SETTINGS = (
    "num_frames", "video_length", "height", "width", "num_inference_steps", "guidance_scale", "true_cfg_scale",
)  # fmt: skip
"""Arguments of a call that are said at its head."""


MOST = 3
"""Results of a function that are called by their names."""

TOWER = 8
"""Equal blocks in a list from which on they are shown, however little they take: text and vision towers."""


@dataclass(frozen=True)
class Line:
    """A call of the overview: how far inside it stands, how often what is around it runs, what it is called."""

    call: Call
    level: int
    times: int
    label: str


def is_pipeline(trace: Trace) -> bool:
    """Whether the trace is of a pipeline's call, not of one model."""
    return trace.root.kind == "function"


def overview(trace: Trace, words: Words) -> list[Line]:
    """The lines of a pipeline: one for every part of it, and for each kind of step the first."""
    return [Line(trace.root, 0, 1, label_of(trace.root, words)), *_inside(trace.root, 1, 1, words, top=True)]


def _inside(call: Call, level: int, times: int, words: Words, *, top: bool) -> Iterator[Line]:
    shown: dict[object, Call] = {}  # steps by the lines they have
    for child in _joined(call.children):
        label = label_of(child, words)
        more = times * child.repeat
        if child.kind == "step":
            lines = list(_inside(child, level + 1, more, words, top=True))
            key = tuple((n.level, n.label, *(s.sizes for s in n.call.outputs.values())) for n in lines)
            first = shown.setdefault((child.name, key), child)
            if first is not child:
                yield Line(child, level, times, f"{label}: as {_numbered(first, words)}{_but(first, child)}")
                continue
            yield Line(child, level, times, label)
            yield from lines
        elif child.kind == "module":
            context = child.attrs.get("cache_context")
            yield Line(child, level, times, f"{label}, {clean(str(context))}" if context else label)
            yield from (
                Line(b, level + 1, more, _long(b, n, child)) for b, n in _counted(child) if _is_much(b, n, child)
            )
        elif child.kind == "function":
            if len(child.outputs) > MOST:
                label = f"{clean(child.name)}()"
            own = top or child.name.startswith(f"{child.path}.")
            if own:
                yield Line(child, level, times, label)
            yield from _inside(child, level + own, more, words, top=False)
        elif child.stage == "guidance":
            yield Line(child, level, times, f"guidance: {label}")
        elif child.name == "cat" and (top or child.repeat > 1):
            yield Line(child, level, times, label)


def _joined(calls: tuple[Call, ...]) -> Iterator[Call]:
    """The calls, with operations of one line of source in a row as one, and the operations of guidance as their last.

    The sizes shown are then those of the last.
    """
    for i, call in enumerate(calls):
        after = calls[i + 1] if i + 1 < len(calls) else None
        if call.kind == "op" and after is not None:
            if call.stage == "guidance" == after.stage and after.kind == "op":
                continue
            if _same_place(call, after):
                continue
        n = 1
        while call.kind == "op" and i - n >= 0 and _same_place(call, calls[i - n]):
            n += 1
        yield replace(call, repeat=n) if n > 1 else call


def _same_place(a: Call, b: Call) -> bool:
    return a.kind == b.kind == "op" and a.name == b.name and a.source == b.source


def _blocks(call: Call) -> Iterator[Call]:
    """The topmost modules below a call that stand in a list, and what leads from one model to the next."""
    for child in call.children:
        if child.kind == "module" and (child.path.rpartition(".")[2].isdecimal() or _is_projector(child)):
            yield child
        else:
            yield from _blocks(child)


def _counted(call: Call) -> Iterator[tuple[Call, int]]:
    """The topmost blocks of a model and how often they run: those of a list and a class are counted together.

    They are where some are equal, and the first or the last of them is not: the call is then that of the equal ones,
    with what all of them cost.
    """
    for _, group in groupby(_blocks(call), lambda b: (b.path.rpartition(".")[0], b.name)):
        blocks = list(group)
        most = max(blocks, key=lambda b: b.repeat)
        if len(blocks) == 1 or most.repeat == 1:
            yield from ((b, b.repeat) for b in blocks)
        else:
            cost = sum((b.all_cost for b in blocks), Cost())
            yield replace(most, path=blocks[0].path, cost=cost, repeat=1), sum(b.repeat for b in blocks)


def _is_projector(call: Call) -> bool:
    """Whether a module brings the vectors of one model to the width of another."""
    return "projector" in call.path.rpartition(".")[2]


def _is_much(block: Call, times: int, whole: Call) -> bool:
    """Whether repeated blocks are what a model mostly consists of, or a tower of their own."""
    much = block.all_cost.flops.size * 4 > whole.cost.flops.size
    return _is_projector(block) or times >= TOWER or (times > 1 and much)


def _long(block: Call, times: int, parent: Call) -> str:
    """Blocks' label with their path below the component: `encoder.block.* T5Block ×24`."""
    inner, _, last = block.path.removeprefix(f"{parent.path}.").rpartition(".")
    if not last.isdecimal():
        return clean(f"{inner}.{last} {block.name}".lstrip("."))
    return clean(f"{inner}.* {block.name}") + f" ×{times}"


def _but(first: Call, step: Call) -> str:
    """Which calls of a step are not what they are in another step, in words."""
    same = [_kind(c) for c in first.children]
    others = [c for c in step.children if _kind(c) not in same]
    names = dict.fromkeys(label for c in others if (label := c.path if c.kind == "module" else c.name))
    if not others and len(step.children) == len(same):
        return ""
    return " but for " + (", ".join(map(clean, names)) or "what is left out")


def _kind(call: Call) -> object:
    """What a call is and does, without plain numbers and without how its weights are counted."""
    sizes = tuple((s.sizes, s.dtype) for s in (*call.inputs.values(), *call.outputs.values()))
    return (call.kind, call.path, call.name, call.repeat, sizes, *map(_kind, call.children))


def _numbered(step: Call, words: Words) -> str:
    return ", ".join(f"{k}={words.attr(v)}" for k, v in step.attrs.items() if v is not None) or "above"
