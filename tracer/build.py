"""From a checkpoint to a model and its inputs, without weights. Only this file imports diffusers to build."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from tracer.configs import misfit
from tracer.errors import BadConfig, BadRequest
from tracer.families.base import Input
from tracer.known import LARGEST, Known
from tracer.notation import parse


def first_line(error: BaseException) -> str:
    """The first sentence of what an error says."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].partition(". ")[0].rstrip(". ") + "."


def model_class(name: str) -> type[nn.Module]:
    """A model class of diffusers, of `tracer.models` for what diffusers has not, or of the file of its family.

    Raises BadConfig where there is none of that name.
    """
    import diffusers

    from tracer import families, models

    found = getattr(models if hasattr(models, name) else diffusers, name, None) or families.brought(name)
    if found is None:
        raise BadConfig(
            f"diffusers {diffusers.__version__} has no class {name}: install a newer one (pip install -U diffusers), "
            "or import your own class in its family's file."
        )
    kind: type[nn.Module] = found
    return kind


def fields_of(name: str) -> dict[str, Any]:
    """The config fields that a class takes, with their defaults; `inspect.Parameter.empty` where there is none."""
    parameters = inspect.signature(model_class(name)).parameters.items()
    return {k: p.default for k, p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}


def full_config(name: str, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The class's constructor defaults with changes.

    A field that the class does not take, or a value of another kind than its default, raises BadConfig; a field that
    has no default and is not among the changes is missing from the result.
    """
    takes = fields_of(name)
    config = {k: default for k, default in takes.items() if default is not inspect.Parameter.empty}
    unknown = [k for k in changes if k not in takes]
    if unknown:
        raise BadConfig(f"{name} takes no field '{unknown[0]}'; it takes {', '.join(takes)}.")
    for field, value in changes.items():
        expected = misfit(config.get(field), value)
        if expected:
            given = repr(value)[:60]
            raise BadConfig(f"config field '{field}' is {given}, where {expected} is expected.")
    return config | dict(changes)


def build_model(name: str, config: Mapping[str, Any], *, device: str = "meta", dtype: str = "bfloat16") -> nn.Module:
    """The model at a config, in evaluation mode; on 'meta' it has shapes and no memory.

    Parts have the dtypes that `from_pretrained` gives them: those that the class keeps in float32 stay there, and what
    is computed in the constructor and not stored stays as the constructor made it. Raises BadConfig with the
    constructor's own words where it refuses the config.
    """
    kind = model_class(name)
    wanted: torch.dtype = getattr(torch, dtype)
    try:
        with torch.device(device), _default_dtype(wanted):
            model = kind(**config)
    except Exception as error:  # whatever a constructor says to a config it does not take
        raise BadConfig(f"{name} does not accept this config: {first_line(error)}") from error
    kept = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for path, tensor in model.state_dict(keep_vars=True).items():
        if tensor.is_floating_point():
            tensor.data = tensor.data.to(torch.float32 if kept & set(path.split(".")) else wanted)
    return model.eval()


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def ready(
    inputs: Sequence[Input], values: Mapping[str, int], *, device: str = "meta", dtype: str = "bfloat16"
) -> Iterator[dict[str, Any]]:
    """The context to run a forward in, without gradients; gives its arguments.

    On the meta device, what the model reads and the family declares is known inside it.
    """
    known = Known() if device == "meta" and any(i.assume for i in inputs) else None
    given = build_inputs(inputs, values, device=device, dtype=dtype, known=known)
    with torch.no_grad(), known or nullcontext():
        yield given


def build_inputs(
    inputs: Sequence[Input], values: Mapping[str, int], *, device: str = "meta", dtype: str = "bfloat16",
    known: Known | None = None,
) -> dict[str, Any]:  # fmt: skip
    """The arguments of one forward at these values of the letters.

    On a real device they hold what `fill` says, noise being small. On the meta device those that the model reads
    are declared to `known`, the context that the forward is run in. Raises BadRequest for more numbers than torch can
    count.
    """
    out: dict[str, Any] = {}
    for item in inputs:
        try:
            sizes = [parse(axis).evaluate(values) for axis in item.axes.split()]
        except KeyError as letter:
            raise BadConfig(
                f"The input {item.name} has the axes '{item.axes}', and there is no letter {letter.args[0]}; "
                f"there are {', '.join(values)}."
            ) from None
        kind = getattr(torch, dtype if item.dtype == "model" else item.dtype)
        value: Any
        if item.fill == "number":
            value = sizes[0]
        elif device != "meta":
            value = _filled(item.fill, sizes, kind, device)
        elif item.assume and known is not None:
            if math.prod(sizes) > LARGEST:
                shape = "×".join(map(str, sizes))
                raise BadRequest(
                    f"{item.name} would be {shape}, and the model reads its values: at most {LARGEST:,} can be given."
                )
            value = known.declare(_filled(item.fill, sizes, kind, "cpu"))
        else:
            try:
                value = torch.empty(sizes, device=device, dtype=kind)
            except (RuntimeError, TypeError):  # more elements than 63 bits count
                shape = "×".join(map(str, sizes))
                raise BadRequest(f"{item.name} would be {shape}, which is more than torch can count.") from None
        name, *places = item.name.split(".")
        out[name] = _placed(out.get(name), [int(i) for i in places], value)
    return out


def _placed(held: Any, places: Sequence[int], value: Any) -> Any:
    """A value put at its place in tuples of tuples, which are given in order."""
    if not places:
        return value
    held, first = held or (), places[0]
    inner = _placed(held[first] if first < len(held) else None, places[1:], value)
    return (*held[:first], inner, *held[first + 1 :])


def _filled(fill: str, sizes: Sequence[int], kind: torch.dtype, device: str) -> torch.Tensor:
    if fill == "noise" and kind.is_floating_point:
        return torch.randn(sizes, device=device).to(kind)
    if fill == "count":
        return torch.arange(sizes[-1], device=device, dtype=kind).expand(*sizes).contiguous()
    return torch.full(sizes, fill != "zeros", device=device, dtype=kind)
