"""Where a run's values come from: plain facts read from the pipeline and its running call. No dates, no addresses."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING, Any

from tracer.probes.schedules import HANDED
from tracer.scopes import forget

if TYPE_CHECKING:
    from tracer.probes.run import Chosen

_PROMPTS = ("prompt", "negative_prompt")
_LIBRARIES = ("torch", "diffusers")
_DIGITS = 16
"""Of a prompt's SHA-256: enough to tell prompts apart, and no way back to the text."""


def of(
    pipe: Any, transformers: Mapping[str, Any], scheduler: Any, frame: FrameType | None, chosen: Chosen
) -> dict[str, Any]:
    """What a run is, as JSON has it; `frame` is that of the pipeline's call, None for a loop of your own."""
    first = next(iter(transformers.values()))
    told: dict[str, Any] = {
        "pipeline": type(pipe).__name__,
        "transformer": {name: type(getattr(m, "_orig_mod", m)).__name__ for name, m in transformers.items()},
        "transformer_dtype": str(getattr(first, "dtype", None)).removeprefix("torch."),
        "device": str(getattr(getattr(first, "device", None), "type", None)),
        "scheduler": type(scheduler).__name__,
        "scheduler_config": _plain(getattr(scheduler, "config", {})),
        "signals": list(chosen.signals),
        "metrics": list(chosen.metrics),
        "versions": {n: str(getattr(sys.modules[n], "__version__", "")) for n in _LIBRARIES if n in sys.modules},
    }
    if hasattr(scheduler, HANDED):
        told["schedule"] = getattr(scheduler, HANDED)
    if "rel_l1_computed" in chosen.metrics:
        told["threshold"] = chosen.threshold
    if frame is None:
        return told
    code, local = frame.f_code, frame.f_locals
    names = code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    given = {name: local[name] for name in names if name in local}
    latents = local.get("latents")
    forget(local)
    told["arguments"] = {k: v for k, v in given.items() if isinstance(v, int | float)}
    if latents is not None and hasattr(latents, "shape"):
        told["latents"] = list(latents.shape)
    for name in _PROMPTS:
        if isinstance(given.get(name), str | list):
            text = json.dumps(given[name])
            told[f"{name}_sha256"] = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    generators = given.get("generator")
    if generators is not None:
        each = generators if isinstance(generators, list) else [generators]
        seeds = [g.initial_seed() for g in each]
        told["seed"] = seeds if isinstance(generators, list) else seeds[0]
    return told


def embeds(frame: FrameType | None) -> Any:
    """What stands for the text where a pipeline's call was given no text: embeddings of the prompt, or None.

    Of a tensor of both branches it is the second half, the conditional one, as pipelines stack them.
    """
    if frame is None:
        return None
    local = frame.f_locals
    found: Any = local.get("prompt_embeds")
    text, latents = local.get("prompt"), local.get("latents")
    forget(local)
    if text is not None or not hasattr(found, "shape"):
        return None
    both = latents is not None and found.shape[0] == 2 * latents.shape[0]
    return found.chunk(2)[1] if both else found


def digest(tensor: Any) -> str:
    """A hash of a tensor's dtype, shape and bytes; it waits for the device."""
    import torch

    plain = tensor.detach().cpu().contiguous()
    found = hashlib.sha256(f"{plain.dtype} {tuple(plain.shape)}".encode())
    found.update(plain.flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:_DIGITS]


def _plain(config: Any) -> dict[str, Any]:
    """A config without private entries, as JSON would give it back."""
    public = {k: v for k, v in dict(config).items() if not k.startswith("_")}
    plain: dict[str, Any] = json.loads(json.dumps(public, default=_value))
    return plain


def _value(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else str(value)
