"""From a checkpoint to a model and its inputs, without weights. The only file that imports diffusers to build."""

from __future__ import annotations

import inspect
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from tracer.errors import BadConfig
from tracer.families.base import Input
from tracer.formula import parse


def model_class(name: str) -> type[nn.Module]:
    """A model class of diffusers. Raises BadConfig where the installed version has none of that name."""
    import diffusers

    try:
        found: type[nn.Module] = getattr(diffusers, name)
    except AttributeError:
        raise BadConfig(
            f"diffusers {diffusers.__version__} has no class {name}; install a newer one: pip install -U diffusers"
        ) from None
    return found


def full_config(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The class's constructor defaults with changes; a field the class does not take raises BadConfig."""
    parameters = inspect.signature(model_class(name).__init__).parameters
    config = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    unknown = [k for k in changes if k not in config]
    if unknown:
        raise BadConfig(f"{name} takes no field '{unknown[0]}'; it takes {', '.join(config)}.")
    return config | dict(changes)


def build_model(
    name: str, config: Mapping[str, Any], *, device: str = "meta", dtype: str = "bfloat16"
) -> nn.Module:
    """The model at a config, in evaluation mode; on 'meta' it has shapes and no memory.

    Raises BadConfig with the constructor's own words where it refuses the config.
    """
    kind = model_class(name)
    try:
        with torch.device(device):
            model = kind(**config)
    except (ValueError, TypeError, RuntimeError, AssertionError, ZeroDivisionError) as error:
        raise BadConfig(f"{name} does not accept this config: {error}") from error
    nn.Module.to(model, getattr(torch, dtype))  # not the class's own .to, which warns about files it never read
    return model.eval()


def build_inputs(
    inputs: Sequence[Input], values: Mapping[str, int], *, device: str = "meta", dtype: str = "bfloat16"
) -> dict[str, Any]:
    """The arguments of one forward at these values of the letters. On a real device they hold small noise."""
    out: dict[str, Any] = {}
    for item in inputs:
        sizes = [parse(axis).evaluate(values) for axis in item.axes.split()]
        kind = getattr(torch, dtype if item.dtype == "model" else item.dtype)
        if device == "meta":
            tensor = torch.empty(sizes, device=device, dtype=kind)
        elif kind.is_floating_point and not item.ones:
            tensor = torch.randn(sizes, device=device).to(kind)
        else:
            tensor = torch.ones(sizes, device=device, dtype=kind)
        name, _, index = item.name.partition(".")
        if index:
            out[name] = (*out.get(name, ()), tensor)
        else:
            out[name] = tensor
    return out


def read_config(place: str) -> tuple[str, dict[str, Any]]:
    """Class name and config of a local diffusers folder or config.json.

    A pipeline folder is followed into its `transformer`. Raises BadConfig with one sentence for anything that
    is missing, unreadable, not JSON, or not a diffusers config.
    """
    path = Path(place)
    if not path.exists():
        raise BadConfig(f"'{place}' does not exist; --from takes a diffusers folder or a config.json.")
    if path.is_dir():
        candidates = [path / "config.json", path / "transformer" / "config.json"]
        found = next((c for c in candidates if c.is_file()), None)
        if found is None:
            raise BadConfig(
                f"'{place}' holds neither config.json nor transformer/config.json; "
                "--from takes a folder saved by diffusers' save_pretrained."
            )
        path = found
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadConfig(f"'{path}' cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise BadConfig(f"'{path}' is not JSON: {error}.") from None
    name = data.get("_class_name") if isinstance(data, dict) else None
    if not isinstance(name, str):
        raise BadConfig(f"'{path}' is no diffusers config: it has no _class_name; saved models carry one.")
    return name, {k: v for k, v in data.items() if not k.startswith("_")}
