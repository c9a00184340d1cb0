"""Which lines of the model's own Python ran, and how often: counted while a recording runs.

`sys.settrace` gives a function every call in this thread; lines are asked for only in frames of model code, so torch
and the standard library run at nearly their own speed. Of Python's newer way, `sys.monitoring`, 3.11 has nothing.

What is counted is how often a statement began. A statement over several lines is one, though the interpreter comes
back to its first line at its end; so is a loop's header, however many passes its body has. Lines inside a statement
(an argument, one arm of `a if b else c`, a comprehension, a lambda) count once for each time it ran and came by there;
so do those of generators.

Limits, one line each:
- a statement of a loop on one line with others shares their count;
- a forward that was put in the place of its class's own has no lines, nor has compiled code;
- another tracer (coverage, a debugger) sees nothing of the model meanwhile; it is back when the recording ends.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable
from types import CodeType, FrameType
from typing import Any

from tracer.sources import digest, relative, statements

Counts = dict[int, int]
Listener = Callable[[FrameType, str, Any], Any]

_NOTHING, _FUNCTION, _PART = range(3)
_RESUMED = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR
_CHEAP = sys.version_info < (3, 12)
"""Whether listening can be switched off and on at every operation; later, Python rewrites all its code for that."""
_ASIDE = (
    "another tracer ({name}) was set aside while lines were counted; it saw nothing of the model and is back in place."
)
_TAKEN = "another tracer ({name}) was set while lines were counted: some that ran are missing."


class _Function:
    """One running function: its counts, and which statement it is in."""

    __slots__ = ("all", "counts", "entries", "now", "owners", "touched")

    def __init__(self, owners: dict[int, int], outer: list[Counts]) -> None:
        self.owners = owners  # line: first line of its statement
        self.counts: Counts = {}
        self.all = [self.counts, *outer]  # a function inside another counts for both
        self.entries: dict[int, int] = {}  # the instruction at which a statement was first begun
        self.touched: dict[int, set[int]] = {}
        self.now = 0

    def at(self, line: int, instruction: int) -> None:
        """A line begins, or the interpreter comes back to it."""
        statement = self.owners.get(line, line)
        self.now = statement
        if self.entries.setdefault(statement, instruction) == instruction:
            self.touched[statement] = set()
        self.part(line)

    def part(self, line: int) -> None:
        """Something at a line runs, as a part of the running statement."""
        touched = self.touched.setdefault(self.now, set())
        if line not in touched:
            touched.add(line)
            for counts in self.all:
                counts[line] = counts.get(line, 0) + 1


class Lines:
    """Counts the lines of functions while it is on, in the thread that started it.

    wanted: whether a code object is model code. begun: told of every function that starts, with its counts, which go
    on growing until it ends; it says whether it keeps them.
    """

    def __init__(self, wanted: Callable[[CodeType], bool], begun: Callable[[CodeType, Counts], bool]) -> None:
        self._wanted = wanted
        self._begun = begun
        self._kinds: dict[int, int] = {}
        self._codes: dict[int, CodeType] = {}  # held, so that an id stays its own
        self._kept: dict[int, CodeType] = {}
        self._owners: dict[int, dict[int, int]] = {}
        self._inside: dict[tuple[int, int], bool] = {}
        self._running: dict[int, _Function] = {}
        self._mine: Listener | None = None
        self._before: Any = None
        self.remarks: list[str] = []

    def start(self) -> None:
        """Begin to listen; a tracer that is on is set aside."""
        self._before = sys.gettrace()
        if self._before is not None:
            self.remarks.append(_ASIDE.format(name=_name(self._before)))
        self._mine = self._call
        sys.settrace(self._mine)

    def stop(self) -> None:
        """Put back what was there; runs again harmlessly."""
        if self._mine is None:
            return
        now = sys.gettrace()
        if now is self._mine:
            sys.settrace(self._before)
        else:
            self.remarks.append(_TAKEN.format(name=_name(now)))
        self._mine = self._before = None
        self._running.clear()

    def without(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call something that is no model code with nobody listening: on meta tensors torch makes hundreds of calls."""
        if sys.gettrace() is not self._mine or not _CHEAP:
            return func(*args, **kwargs)
        sys.settrace(None)
        try:
            return func(*args, **kwargs)
        finally:
            sys.settrace(self._mine)

    def of(self, frame: FrameType) -> Counts | None:
        """The counts of a running function; they grow until it ends."""
        running = self._running.get(id(frame))
        if running is None:
            return None
        self._kept[id(frame.f_code)] = frame.f_code
        return running.counts

    def sources(self) -> dict[str, str]:
        """A digest of every file whose counts were kept; an empty one where the file is not what ran."""
        files: dict[str, list[CodeType]] = {}
        for code in self._kept.values():
            files.setdefault(code.co_filename, []).append(code)
        found = {relative(name): digest(name, codes) for name, codes in files.items()}
        return {name: text for name, text in found.items() if text is not None}

    # what Python calls

    def _call(self, frame: FrameType, event: str, arg: Any) -> Listener | None:
        code = frame.f_code
        kind = self._kinds.get(id(code))
        if kind is None:
            kind = self._learn(code)
        if kind == _NOTHING:
            return None
        around = self._around(frame) if "<locals>" in code.co_qualname else None
        if kind == _PART:
            return self._parts(frame, around) if around is not None else None
        function = _Function(self._owners[id(code)], around.all if around is not None else [])
        self._running[id(frame)] = function
        if self._begun(code, function.counts):
            self._kept[id(code)] = code

        def listen(frame: FrameType, event: str, arg: Any) -> Listener:
            if event == "line":
                function.at(frame.f_lineno, frame.f_lasti)
            elif event == "return":
                self._running.pop(id(frame), None)
            return listen

        return listen

    def _parts(self, frame: FrameType, function: _Function) -> Listener:
        """Listens to a comprehension, a generator or a lambda inside a function."""
        self._running[id(frame)] = function

        def listen(frame: FrameType, event: str, arg: Any) -> Listener:
            if event == "line":
                function.part(frame.f_lineno)
            elif event == "return":
                self._running.pop(id(frame), None)
            return listen

        return listen

    def _learn(self, code: CodeType) -> int:
        self._codes[id(code)] = code
        kind = _NOTHING
        if code.co_flags & inspect.CO_OPTIMIZED and self._wanted(code):
            kind = _PART if code.co_name.startswith("<") or code.co_flags & _RESUMED else _FUNCTION
            if kind == _FUNCTION:
                self._owners[id(code)] = statements(code)
        self._kinds[id(code)] = kind
        return kind

    def _around(self, frame: FrameType) -> _Function | None:
        """The running function in whose text this one is written."""
        code = frame.f_code
        outer = frame.f_back
        while outer is not None:
            function = self._running.get(id(outer))
            if function is not None:
                key = (id(outer.f_code), id(code))
                if key not in self._inside:
                    self._inside[key] = any(c is code for c in outer.f_code.co_consts)
                if self._inside[key]:
                    return function
            outer = outer.f_back
        return None


def _name(tracer: Any) -> str:
    kind = tracer if hasattr(tracer, "__qualname__") else type(tracer)
    return f"{getattr(kind, '__module__', '?')}.{getattr(kind, '__qualname__', '?')}"
