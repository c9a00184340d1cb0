"""Models that diffusers has no class for, built from its parts. Each class is loaded when it is first asked for."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for module in pkgutil.iter_modules(__path__):
            found = getattr(importlib.import_module(f"{__name__}.{module.name}"), name, None)
            if getattr(found, "__module__", None) == f"{__name__}.{module.name}":
                return found
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
