"""The stages of a pipeline: which part a call belongs to, told by component, function and place in the step."""

from __future__ import annotations

import dataclasses

from tracer.calls import Call, Trace

_PARTS = {
    "text_encoder": "text-encoder", "tokenizer": "text-encoder", "image_encoder": "image-encoder",
    "feature_extractor": "image-encoder", "scheduler": "scheduler-step", "guider": "guidance",
    "video_processor": "post-processing", "image_processor": "post-processing",
}  # fmt: skip
_FUNCTIONS = (
    ("encode_prompt", "text-encoder"), ("prompt_embeds", "text-encoder"), ("encode_image", "image-encoder"),
    ("image_embeds", "image-encoder"), ("prepare_latents", "latents"), ("image_latents", "latents"),
    ("timesteps", "schedule"), ("rescale_noise_cfg", "guidance"), ("rotary", "rope-tables"),
)  # fmt: skip
_CASTS = ("to", "float", "half", "bfloat16", "double", "type_as", "detach")


def staged(trace: Trace) -> Trace:
    """The trace with the stage of every call between the modules that says what it is for."""
    return dataclasses.replace(trace, root=_visit(trace.root))


def _visit(call: Call) -> Call:
    children = call.children
    if call.kind == "step" and call.name == "denoising step":
        children = _with_guidance(children)
    children = tuple(
        c if c.kind == "module" or c.kind == "op" else _visit(c) for c in (_with_stage(c) for c in children)
    )
    return dataclasses.replace(call, children=children)


def _with_stage(call: Call) -> Call:
    stage = call.stage or stage_of(call)
    return dataclasses.replace(call, stage=stage) if stage else call


def stage_of(call: Call) -> str | None:
    """The stage of a function, module or pass of a pipeline; None where it is that of the call around it."""
    if call.kind == "op":
        return None
    if call.kind == "step":
        return "denoising-step" if call.name == "denoising step" else None
    part, name = call.path.partition(".")[0], call.name.rpartition(".")[2]
    if part.startswith("vae"):
        return "vae-encode" if "encode" in name.lower() else "vae-decode" if "decode" in name.lower() else None
    if part.endswith("scheduler") and name not in ("step", "scale_model_input"):
        return "schedule"
    if part.endswith("_processor") and name.startswith("preprocess"):
        return "pre-processing"
    for begin, stage in _PARTS.items():
        if part.startswith(begin):
            return stage
    if call.kind == "function" and not part:
        return next((stage for word, stage in _FUNCTIONS if word in name), None)
    return None


def _with_guidance(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """The operations that put several predictions together: between the last model and the scheduler's step."""
    end = next((i for i, c in enumerate(calls) if c.name.endswith(".step")), len(calls))
    models = [i for i, c in enumerate(calls[:end]) if c.kind == "module"]
    if not models:
        return calls
    first = next((i for i in range(models[-1] + 1, end) if calls[i].name not in _CASTS), end)
    while end > first and calls[end - 1].name in _CASTS:
        end -= 1
    window = calls[first:end]
    if not any(c.name in ("sub", "rsub", "lerp") or "cfg" in c.name for c in window):
        return calls
    return tuple(
        dataclasses.replace(c, stage="guidance") if first <= i < end and c.kind != "module" else c
        for i, c in enumerate(calls)
    )
