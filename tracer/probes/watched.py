"""A method of one object, watched: put in its place on the instance, and put back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any


class Watched:
    """A method of one object, put in its place on the instance; `around` is handed the method and its arguments.

    A deep copy of the owner has its own method again, not this one of the original.
    """

    def __init__(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        self._owner, self._name, self._around = owner, name, around
        self._original = getattr(owner, name)
        functools.update_wrapper(self, self._original)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """The method, as `around` has it."""
        return self._around(self._original, *args, **kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        twin = memo.get(id(self._owner))
        return self._original if twin is None else getattr(type(twin), self._name).__get__(twin)


def put(owner: Any, name: str, value: Any, undo: ExitStack) -> None:
    """Set an attribute of an instance, and have it as it was on leaving; one that somebody else set since stays."""
    table = owner.__dict__
    had, old = name in table, table.get(name)

    def back() -> None:
        if table.get(name) is value:
            if had:
                table[name] = old
            else:
                del table[name]

    table[name] = value
    undo.callback(back)
