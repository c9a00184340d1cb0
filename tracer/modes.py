"""Torch's stack of function modes and its tables of hooks, where torch has no public way to change them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


def unhook(module: nn.Module, hook: int) -> None:
    """Take the hooks of this id off a module."""
    for hooks in (
        module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs, module._forward_hooks,
        module._forward_hooks_with_kwargs, module._forward_hooks_always_called,
    ):  # fmt: skip
        hooks.pop(hook, None)


def push(*modes: Any) -> None:
    """Put modes on the stack, the last one on top."""
    for mode in modes:
        torch.overrides._push_mode(mode)  # type: ignore[no-untyped-call]


def pull(mode: Any) -> list[Any]:
    """Take a mode off the stack, wherever it lies; the modes above it stay. Returns those, lowest first."""
    stack = torch.overrides._get_current_function_mode_stack()  # type: ignore[no-untyped-call]
    if not any(m is mode for m in stack):
        return []
    above: list[Any] = []
    while (top := torch.overrides._pop_mode()) is not mode:  # type: ignore[no-untyped-call]
        above.insert(0, top)
    push(*above)
    return above
