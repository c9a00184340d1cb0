"""The stages of a pipeline: which part a call belongs to, told by component, function and place in the step."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from tracer.calls import Call, Trace

_PARTS = {
    "text_encoder": "text-encoder", "tokenizer": "text-encoder", "image_encoder": "image-encoder",
    "scheduler": "scheduler-step", "guider": "guidance",
}  # fmt: skip
_FUNCTIONS = (
    ("encode_prompt", "text-encoder"), ("prompt_embeds", "text-encoder"), ("encode_image", "image-encoder"),
    ("image_embeds", "image-encoder"), ("prepare_latents", "latents"), ("image_latents", "latents"),
    ("timesteps", "schedule"), ("rescale_noise_cfg", "guidance"), ("rotary", "rope-tables"),
)  # fmt: skip
_CASTS = ("to", "float", "half", "bfloat16", "double", "type_as", "detach")
_LOOKS = ("image_processor", "feature_extractor")  # components that may make a picture ready for an image encoder
_APART = ("sub", "rsub", "lerp")
_TOGETHER = ("add", "mul", "lerp")


def staged(trace: Trace) -> Trace:
    """The trace with the stage of every call between the modules that says what it is for."""
    return dataclasses.replace(trace, root=_visit(trace.root, {}, set(_before_image_encoders(trace.root))))


def _before_image_encoders(root: Call) -> Iterator[int]:
    """The ids of the calls that prepare what the next model sees, where that is an image encoder."""
    ready: list[int] = []
    for call in _between(root):
        if call.kind == "function" and _part(call).startswith(_LOOKS):
            ready.append(id(call))
        elif call.kind == "module":
            if _part(call).startswith("image_encoder"):
                yield from ready
            ready = []


def _between(call: Call) -> Iterator[Call]:
    """Everything between the modules, and these without what is inside, in the order of the run."""
    for child in call.children:
        yield child
        if child.kind != "module":
            yield from _between(child)


def _visit(call: Call, around: dict[str, str], looks: set[int]) -> Call:
    """A call with stages below it. around: the stages of the components whose methods are running."""
    children = call.children
    if call.kind == "step" and call.name == "denoising step":
        children = _with_guidance(children)
    if call.kind == "function" and call.path and call.stage:
        around = {_part(call): call.stage} | around
    return dataclasses.replace(call, children=tuple(_below(c, around, looks) for c in children))


def _below(call: Call, around: dict[str, str], looks: set[int]) -> Call:
    stage = call.stage or ("image-encoder" if id(call) in looks else stage_of(call))
    if stage and call.kind != "step":
        stage = around.get(_part(call), stage)  # what a method calls of its own component is part of it
    if stage:
        call = dataclasses.replace(call, stage=stage)
    return call if call.kind in ("module", "op") else _visit(call, around, looks)


def _part(call: Call) -> str:
    """The component of a call; empty for the pipeline's own."""
    return call.path.partition(".")[0]


def stage_of(call: Call) -> str | None:
    """The stage of a function, module or pass of a pipeline; None where it is that of the call around it."""
    if call.kind == "op":
        return None
    if call.kind == "step":
        return "denoising-step" if call.name == "denoising step" else None
    part, name = _part(call), call.name.rpartition(".")[2]
    if part.startswith("vae"):
        return "vae-encode" if "encode" in name.lower() else "vae-decode" if "decode" in name.lower() else None
    if part.endswith("scheduler") and name not in ("step", "scale_model_input"):
        return "schedule"
    if part.endswith("_processor"):
        begins = {"preprocess": "pre-processing", "postprocess": "post-processing"}
        return next((stage for begin, stage in begins.items() if name.startswith(begin)), None)
    for begin, stage in _PARTS.items():
        if part.startswith(begin):
            return stage
    if call.kind == "function" and not part:
        return next((stage for word, stage in _FUNCTIONS if word in name), None)
    return None


def _with_guidance(calls: tuple[Call, ...]) -> tuple[Call, ...]:
    """The operations that put several predictions together: between the last model and the scheduler's step.

    They end where the difference has been added; a learned variance is split off after that.
    """
    end = next((i for i, c in enumerate(calls) if c.name.endswith(".step")), len(calls))
    models = [i for i, c in enumerate(calls[:end]) if c.kind == "module"]
    if not models:
        return calls
    first = next((i for i in range(models[-1] + 1, end) if calls[i].name not in _CASTS), end)
    apart = next((i for i in range(first, end) if calls[i].name in _APART or "cfg" in calls[i].name), None)
    if apart is None:
        return calls
    last = max(
        (i for i in range(apart, end) if calls[i].name in _TOGETHER or "cfg" in calls[i].name), default=end - 1
    )  # fmt: skip
    return tuple(
        dataclasses.replace(c, stage="guidance") if first <= i <= last and c.kind != "module" else c
        for i, c in enumerate(calls)
    )
