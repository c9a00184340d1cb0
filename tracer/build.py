"""From a checkpoint to a model and its inputs, without weights. Only this file imports diffusers to build."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from tracer.configs import misfit
from tracer.errors import BadConfig, BadRequest
from tracer.families.base import Input
from tracer.notation import parse


def first_line(error: BaseException) -> str:
    """The first sentence of what an error says."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0].rstrip(". ") + "."


def model_class(name: str) -> type[nn.Module]:
    """A model class of diffusers. Raises BadConfig where the installed version has none of that name."""
    import diffusers

    try:
        found: type[nn.Module] = getattr(diffusers, name)
    except AttributeError:
        raise BadConfig(
            f"diffusers {diffusers.__version__} has no class {name}; install a newer one: pip install -U diffusers."
        ) from None
    return found


def full_config(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The class's constructor defaults with changes.

    A field that the class does not take, or a value of another kind than its default, raises BadConfig.
    """
    parameters = inspect.signature(model_class(name).__init__).parameters
    config = {k: p.default for k, p in parameters.items() if p.default is not p.empty}
    unknown = [k for k in changes if k not in config]
    if unknown:
        raise BadConfig(f"{name} takes no field '{unknown[0]}'; it takes {', '.join(config)}.")
    for field, value in changes.items():
        expected = misfit(config[field], value)
        if expected:
            given = repr(value)[:60]
            raise BadConfig(f"config field '{field}' is {given}, where {expected} is expected.")
    return config | dict(changes)


def build_model(name: str, config: Mapping[str, Any], *, device: str = "meta", dtype: str = "bfloat16") -> nn.Module:
    """The model at a config, in evaluation mode; on 'meta' it has shapes and no memory.

    Raises BadConfig with the constructor's own words where it refuses the config.
    """
    kind = model_class(name)
    try:
        with torch.device(device):
            model = kind(**config)
    except Exception as error:  # whatever a constructor says to a config it does not take
        raise BadConfig(f"{name} does not accept this config: {first_line(error)}") from error
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
            try:
                tensor = torch.empty(sizes, device=device, dtype=kind)
            except (RuntimeError, TypeError):  # more elements than 63 bits count
                shape = "×".join(map(str, sizes))
                raise BadRequest(f"{item.name} would be {shape}, which is more than torch can count.") from None
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
