"""The passes of a pipeline's loops: denoising steps, chunks of a VAE; found by the frames, folded where equal.

Between the modules a pipeline runs plain Python. Every function frame there is followed, and in each the
loops that the running instruction stands in: a new pass begins where a variable that the loop's header sets
has changed, or where the instruction moved backwards. A pass that calls a module is a row of its own; the
other loops leave their operations where they are.

Two passes in a row are equal when kind, classes, shapes, dtypes, source positions and everything below them
are; only plain numbers handed to operations between the modules may differ, and are kept as `Varied`.
"""

from __future__ import annotations

import ast
import weakref
from collections.abc import Callable, Mapping
from itertools import count
from types import CodeType, FrameType, FunctionType
from typing import Any

from tracer.nodes import Equals, Named, Node, Op, Place, Site, Spec, Specs, Varied, bare, join_lines
from tracer.scopes import MOVES, Scopes, forget, is_function
from tracer.sources import Loop, loops_at

DENOISING = "denoising step"
_unlike = count(-2, -1)  # ids of calls that stand for several with other numbers
_AXES = {2: "frames", 3: "rows", 4: "columns"}  # of a video (batch, channels, frames, rows, columns)


class _Pass:
    """One pass of a loop that is running. at: the last instruction seen in it."""

    __slots__ = ("at", "loop", "marks", "node")

    def __init__(self, loop: Loop, marks: list[Any], node: Node, at: int) -> None:
        self.loop = loop
        self.marks = marks
        self.node = node
        self.at = at


class _Running:
    """One function that is running between the modules, with the passes it is in."""

    __slots__ = ("frame", "node", "passes")

    def __init__(self, frame: FrameType, node: Node) -> None:
        self.frame = frame
        self.node = node
        self.passes: list[_Pass] = []

    @property
    def inner(self) -> Node:
        """What new calls go under."""
        return self.passes[-1].node if self.passes else self.node


class PassScopes(Scopes):
    """Scopes whose outermost level is a Python function: its callees and loops are followed, too.

    `named` are the objects whose methods get their names: id to name.
    """

    def __init__(self, specs: Specs, equals: Equals, named: Mapping[int, str]) -> None:
        super().__init__(specs, equals)
        self._named = named
        self._running: list[_Running] = []
        self._loops: dict[Site, list[Loop]] = {}
        self._wrappers: dict[tuple[int, int], bool] = {}

    def start(self, node: Node, frame: FrameType) -> None:
        """The function begins that is the root of everything."""
        self.push(node, None, None)
        self._running = [_Running(frame, node)]

    def pop(self) -> None:
        """The innermost module ends, or the root."""
        if len(self._levels) == 1 and self._running:
            root = self._running[0]
            self._end_functions(1)
            self._end_passes(root, 0)
            root.node.outputs = self.returned(root.frame, root.node) or self._arrays(root.frame)
            self._running = []
        super().pop()

    def _arrays(self, frame: FrameType) -> Named:
        """The arrays among what the root gave back: videos are handed out as numpy's."""
        expression = self._returns.get((id(frame.f_code), frame.f_lasti))
        names = [n.id for n in ast.walk(expression) if isinstance(n, ast.Name)] if expression is not None else []
        local = frame.f_locals
        found: list[tuple[str, Any]] = [(name, local.get(name)) for name in names]
        forget(local)
        return [
            (name, Spec(tuple(value.shape), str(value.dtype)))
            for name, value in found
            if isinstance(getattr(value, "shape", None), tuple) and hasattr(value, "dtype")
        ]

    def clear(self) -> None:
        """Let go of every frame."""
        super().clear()
        self._running = []

    def enter(self, frame: FrameType | None) -> Node | None:
        """Open and close functions and passes to match the running frames; returns what new calls go under."""
        if len(self._levels) > 1:
            return super().enter(frame)
        chain = self._chain(frame)
        while frame is not None and self._is_inner(frame.f_code):
            frame = frame.f_back
        if frame is None or not chain:
            self.site = None
            return None
        self.site = (id(frame.f_code), frame.f_lasti)
        for depth, running in enumerate(chain):
            if depth < len(self._running) and self._running[depth].frame is not running:
                self._end_functions(depth)
            if depth == len(self._running):
                self._running.append(_Running(running, self._call(running, self._running[-1])))
            self._advance(depth)
        self._end_functions(len(chain))
        return self._running[-1].inner

    def _chain(self, frame: FrameType | None) -> list[FrameType]:
        """The functions running between the root and a frame, both included, outermost first.

        None at all where weights are moved about.
        """
        root = self._running[0].frame
        chain: list[FrameType] = []
        below: CodeType | None = None
        while frame is not None and frame is not root:
            code = frame.f_code
            known = self._is_inner(code)
            if known == MOVES:
                return []
            if not known and is_function(code) and not self._wraps(frame, below):
                chain.append(frame)
            below = code
            frame = frame.f_back
        return [root, *reversed(chain)] if frame is root else []

    def _wraps(self, frame: FrameType, below: CodeType | None) -> bool:
        """Whether a frame is a decorator's wrapper around the function that runs right below it."""
        code = frame.f_code
        if below is None or not code.co_freevars:
            return False
        key = (id(code), id(below))
        if key not in self._wrappers:
            self.codes[id(code)], self.codes[id(below)] = code, below
            local = frame.f_locals
            held = [local.get(name) for name in code.co_freevars]
            forget(local)
            self._wrappers[key] = any(isinstance(f, FunctionType) and f.__code__ is below for f in held)
        return self._wrappers[key]

    def where(self) -> str:
        """The passes that are running in the root, in words: ', in the pass with i=1'."""
        passes = self._running[0].passes if self._running else []
        said = [f"{k}={v}" for running in passes for k, v in running.node.attrs]
        return f", in the pass with {', '.join(said)}" if said else ""

    # functions

    def _call(self, frame: FrameType, parent: _Running) -> Node:
        local = frame.f_locals
        owner = self._named.get(id(local.get("self")))
        forget(local)
        above = parent.node.path
        node = self._function(frame, above if owner is None else owner, parent.inner)
        caller = parent.frame  # not the decorator in between
        node.site = (id(caller.f_code), caller.f_lasti)
        if owner and owner != above:
            node.name = f"{owner}.{node.name}"
        return node

    def _end_functions(self, keep: int) -> None:
        while len(self._running) > max(keep, 1):
            running = self._running.pop()
            self._end_passes(running, 0)
            self.finish(running.frame, running.node)

    # passes

    def _advance(self, depth: int) -> None:
        """Bring the passes of a running function up to where it is now."""
        running = self._running[depth]
        code, at = running.frame.f_code, running.frame.f_lasti
        site = (id(code), at)
        if site not in self._loops:
            self._loops[site] = loops_at(code, at)
        loops = self._loops[site]
        if not loops and not running.passes:
            return
        local = running.frame.f_locals
        values = [[local.get(name) for name in loop.names] for loop in loops]
        forget(local)
        keep = 0
        for known, loop, now in zip(running.passes, loops, values, strict=False):
            if known.loop is not loop or not all(map(_same, known.marks, now)):
                break
            keep += 1
        if keep and keep == min(len(loops), len(running.passes)) and at < running.passes[keep - 1].at:
            keep -= 1  # backwards, and no variable says of which loop: the innermost, then
        if keep < len(running.passes):
            self._end_functions(depth + 1)
            self._end_passes(running, keep)
        elif keep < len(loops):
            self._end_functions(depth + 1)
        for known in running.passes:
            known.at = at
        for loop, now in zip(loops[keep:], values[keep:], strict=True):
            parent = running.inner
            node = Node("step", "pass", running.node.path, parent, (id(code), loop.instruction), code)
            node.attrs = [(k, v) for k, v in zip(loop.names, now, strict=True) if type(v) is int]
            parent.children.append(node)
            running.passes.append(_Pass(loop, [_mark(v) for v in now], node, at))

    def _end_passes(self, running: _Running, keep: int) -> None:
        while len(running.passes) > keep:
            node = running.passes.pop().node
            parent = node.parent
            assert parent is not None
            if not any(map(_is_work, node.children)):
                here = parent.children.index(node)
                parent.children[here : here + 1] = node.children
                for child in node.children:
                    if isinstance(child, Node) and child.parent is not None:
                        child.parent = parent
                node.parent = None
                continue
            if node.path.startswith("vae"):
                node.attrs = [*node.attrs, *_window(node)]
            node.name = _title(node)
            if node.name == "section" and not node.attrs:
                node.attrs = [("i", _number(node, parent))]
            self._equals.close(node)
            fold(parent.children)


def _mark(value: Any) -> Any:
    """What a variable is known by: numbers and texts by value, objects without holding on to them."""
    if isinstance(value, int | float | str):
        return (type(value), value)
    try:
        return weakref.ref(value)
    except TypeError:
        return id(value)


def _same(mark: Any, value: Any) -> bool:
    if isinstance(mark, weakref.ref):
        return mark() is value
    return bool(mark == id(value) if isinstance(mark, int) else mark == (type(value), value))


def _is_work(call: Node | Op) -> bool:
    """Whether a module or a scheduler is called."""
    if isinstance(call, Op):
        return False
    return call.kind in ("module", "step") or _is_scheduler(call) or any(map(_is_work, call.children))


def _is_scheduler(call: Node | Op) -> bool:
    return isinstance(call, Node) and call.kind == "function" and call.name.endswith(".step")


def _within(call: Node, test: Callable[[Node | Op], bool]) -> bool:
    """Whether a call in the same pass fits."""
    return any(
        test(c) or (isinstance(c, Node) and c.kind == "function" and _within(c, test)) for c in call.children
    )  # fmt: skip


def _title(node: Node) -> str:
    if _within(node, _is_scheduler):
        return DENOISING
    if _within(node, lambda c: isinstance(c, Node) and c.kind == "step" and c.name == DENOISING):
        return "section"
    if node.path.startswith("vae"):
        tiles = any(k in ("rows", "columns") for k, _ in node.attrs)
        return "tile" if tiles else "chunk"
    return "pass"


def _number(node: Node, parent: Node) -> int:
    """How many passes of the same loop there were before, where no variable of the loop says so."""
    before = (c for c in parent.children if isinstance(c, Node) and c.kind == "step" and c is not node)
    return sum(c.repeat for c in before if c.site == node.site)


def _window(node: Node) -> list[tuple[str, Any]]:
    """Which part of a video the pass takes, where its first cut says so; no more than there is of it."""
    for call in node.children:
        if isinstance(call, Op) and call.name == "getitem" and call.attrs and len(call.inputs[0][1].shape) == 5:
            sizes = call.inputs[0][1].shape
            index = bare(call.attrs[0][1])
            parts = enumerate(index) if isinstance(index, tuple) and not isinstance(index, Place) else ()
            cuts = [(_AXES[i], _clipped(p, sizes[i])) for i, p in parts if i in _AXES and isinstance(p, Place)]
            return [(k, p) for k, p in cuts if p.start is not None or p.stop is not None]
    return []


def _clipped(cut: Place, size: int) -> Place:
    start, stop = (min(v, size) if type(v) is int else v for v in (cut.start, cut.stop))
    return Place(start, stop, cut.step)


# folding


def fold(calls: list[Node | Op]) -> None:
    """Count the last of these calls with the one before it, where both are equal passes of one loop.

    What a pass puts behind all that earlier ones made (`out = cat([out, new])`) is larger every time: such last
    operations are set behind the folded passes, one by one.
    """
    last = calls[-1]
    if not isinstance(last, Node):
        return
    end = last.children[-1]
    join = end if isinstance(end, Op) and end.name == "cat" else None
    i = len(calls) - 2
    while join is not None and i >= 0 and _is_join(calls[i], join):
        i -= 1
    before = calls[i] if i >= 0 else None
    if not isinstance(before, Node) or before.kind != "step":
        return
    if i == len(calls) - 2 and _alike(before, last):
        calls.pop()
    elif join is not None and (i < len(calls) - 2 or _is_join(before.children[-1], join)):
        first = [before.children.pop()] if i == len(calls) - 2 else []
        last.children.pop()
        if not _alike(before, last):
            before.children += first
            last.children.append(join)
            return
        calls[-1:] = [*first, join]
    else:
        return
    _merge(before, last, before.repeat)
    join_lines(before, last)
    before.repeat += 1


def _is_join(call: Node | Op, join: Op) -> bool:
    return isinstance(call, Op) and call.name == join.name and call.site == join.site


def _alike(a: Node | Op, b: Node | Op) -> bool:
    """Whether two calls are equal but for plain numbers between the modules."""
    if isinstance(a, Op) or isinstance(b, Op):
        if a is b or not isinstance(a, Op) or not isinstance(b, Op):
            return a is b
        same = (a.name, a.site, a.inputs, a.outputs, a.fresh) == (b.name, b.site, b.inputs, b.outputs, b.fresh)
        return same and _alike_attrs(a.attrs, b.attrs)
    if (a.kind, a.path, a.name, a.site) != (b.kind, b.path, b.name, b.site) or a.code is not b.code:
        return False
    if a.twin == b.twin:
        return True
    if (a.inputs, a.outputs, a.opaque, len(a.children)) != (b.inputs, b.outputs, b.opaque, len(b.children)):
        return False
    if [w[:2] for w in a.weights] != [w[:2] for w in b.weights] or not _alike_attrs(a.attrs, b.attrs):
        return False
    strict = a.kind == "module"
    return all(_equal(x, y) if strict else _paired(x, y) for x, y in zip(a.children, b.children, strict=True))


def _paired(a: Node | Op, b: Node | Op) -> bool:
    if isinstance(a, Node) and isinstance(b, Node) and a.repeat != b.repeat:
        return False
    return _alike(a, b)


def _equal(a: Node | Op, b: Node | Op) -> bool:
    if isinstance(a, Node) and isinstance(b, Node):
        return a.path == b.path and a.repeat == b.repeat and a.twin == b.twin
    return a is b


def _alike_attrs(a: list[tuple[str, Any]], b: list[tuple[str, Any]]) -> bool:
    return len(a) == len(b) and all(k == n and _alike_value(v, w) for (k, v), (n, w) in zip(a, b, strict=True))


def _alike_value(a: Any, b: Any) -> bool:
    a, b = bare(a), bare(b)
    if isinstance(a, Varied):
        return _alike_value(a[0], b[0] if isinstance(b, Varied) else b)
    if isinstance(a, tuple) and isinstance(b, tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(_alike_value, a, b))
    if type(a) is not type(b):
        return False
    return type(a) in (int, float) or bool(a == b)


def _merge(a: Node, b: Node, times: int) -> None:
    """Note in a call, which stands for so many, the numbers of another one that is alike."""
    a.id = a.twin = next(_unlike)
    a.attrs = _merged(a.attrs, b.attrs, times)
    for i, (x, y) in enumerate(zip(a.children, b.children, strict=True)):
        if isinstance(x, Node) and isinstance(y, Node):
            if x.twin != y.twin:
                _merge(x, y, times)
        elif isinstance(x, Op) and isinstance(y, Op) and x is not y and x.attrs != y.attrs:
            a.children[i] = Op(
                next(_unlike), x.name, x.site, x.inputs, _merged(x.attrs, y.attrs, times), x.outputs, x.fresh
            )


def _merged(a: list[tuple[str, Any]], b: list[tuple[str, Any]], times: int) -> list[tuple[str, Any]]:
    return [(k, v if v == w else _joined(v, w, times)) for (k, v), (_, w) in zip(a, b, strict=True)]


def _joined(a: Any, b: Any, times: int) -> Any:
    if type(a) is type(b) is tuple:  # an index: each of its parts for itself
        return tuple([v if v == w else _joined(v, w, times) for v, w in zip(a, b, strict=True)])
    old = list(a) if isinstance(a, Varied) else [a] * times
    return Varied([*old, *(b if isinstance(b, Varied) else [b])])
