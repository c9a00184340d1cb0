"""A whole pipeline at its published size, without weights: its own __call__, from the prompt to the pixels.

Every model is on the meta device. What the code reads (token ids, masks, timesteps) is known all the same, because
it is made of numbers: `tracer.known` carries it along.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import nn

from tracer import api, families
from tracer.build import build_model, first_line, full_config
from tracer.calls import Call, Remark, Trace
from tracer.components import Component, Layout, Picture, Pipeline, Saying, check_steps
from tracer.configs import DTYPES, check_sizes
from tracer.errors import BadConfig, BadRequest, ForwardFailed, RecordingError, TracerError, UnknownName
from tracer.families.base import Checkpoint, Config, Family, Request
from tracer.frames import plan
from tracer.graft import graft
from tracer.known import Known
from tracer.pipelines import record_pipeline
from tracer.shorten import shortened
from tracer.standins import PictureProcessor, Tokenizer, prompt


def trace_pipeline(
    model: str = "cogvideox",
    *,
    frames: int | None = None,
    height: int | None = None,
    width: int | None = None,
    batch: int = 1,
    steps: int = 2,
    dtype: str | None = None,
    config: Mapping[str, Any] | None = None,
    formulas: bool = True,
    lines: bool = False,
) -> Trace:
    """Trace a published pipeline's own call at real size, without weights: text encoders, steps, VAE, pixels.

    model: family, checkpoint or hub id. frames, height, width: of the video, in pixels; by default the checkpoint's
    published ones. batch: prompts. steps: denoising steps. dtype: of the models that have none of their own. config:
    changed fields of the transformer. formulas: inside the transformer's calls, where the sizes are those of
    `tracer.trace`. lines: count which lines of the source ran.

    Returns one tree from `__call__` to the video, equal steps folded. Raises UnknownName, BadRequest, BadConfig, or
    ForwardFailed with the partial trace where the pipeline itself raises.
    """
    family, checkpoint = families.find(model)
    pipeline = families.pipeline_of(family, checkpoint)
    fields = full_config(family.model, {**checkpoint.config, **(config or {})})
    asked = {"frames": frames, "height": height, "width": width}
    request = api.make_request(family.adapt(fields, checkpoint.request), asked)
    check_sizes({"batch": batch})
    check_steps(steps, pipeline.least_steps)
    findings = family.check(fields, request)
    if findings.errors:
        raise BadRequest(" ".join(findings.errors))
    _refuse_fault(family, fields, request)
    dtype = dtype or checkpoint.dtype
    if dtype not in DTYPES:
        raise UnknownName("dtype", dtype, DTYPES)
    with _quiet():
        pipe = build_pipeline(pipeline, build_model(family.model, fields, dtype=dtype), dtype)
        seen, first, granted = _run(pipe, arguments(pipe, pipeline, request, batch, steps), family, fields, lines)
    inner = _inner(first, seen, family, checkpoint, request, dtype, fields, config, formulas)
    return _joined(seen, inner, granted, family, checkpoint, pipeline, request, findings.warnings, dtype)


def _refuse_fault(family: Family, config: Config, request: Request) -> None:
    """Raise BadRequest for a number of frames at which the pipeline is known to fail."""
    if family.frames is None:
        return
    found = plan(family.frames, config, request.frames, request.height, request.width)
    if found.fault:
        near = " or ".join(str(n) for n in (found.below, found.above) if n is not None)
        use = f"; use {near}" if near else ""
        raise BadRequest(f"--frames {request.frames}: {found.fault.rstrip('.')}{use}.")


# building


def build_pipeline(pipeline: Pipeline, transformer: nn.Module, dtype: str) -> Any:
    """The pipeline of diffusers with a transformer and all its other parts, which have shapes and no memory."""
    import diffusers

    kind = getattr(diffusers, pipeline.kind, None)
    if kind is None:
        raise BadConfig(
            f"diffusers {diffusers.__version__} has no {pipeline.kind}; install a newer one: pip install -U diffusers."
        )
    parts = {name: build_part(part, dtype) for name, part in pipeline.parts.items()}
    pipe = kind(transformer=transformer, **parts)
    pipe.set_progress_bar_config(disable=True)
    if pipeline.tiled:
        pipe.vae.enable_tiling()
    return pipe


def build_part(part: Component, dtype: str) -> Any:
    """One component: a model on the meta device, a scheduler, or a stand-in for what reads a vocabulary file."""
    if isinstance(part, Layout):
        return Tokenizer(part)
    if isinstance(part, Picture):
        return PictureProcessor(part)
    import diffusers
    import transformers

    dtype = part.dtype or dtype
    if hasattr(diffusers, part.kind):
        kind = getattr(diffusers, part.kind)
        is_model = isinstance(kind, type) and issubclass(kind, nn.Module)
        return build_model(part.kind, part.config, dtype=dtype) if is_model else kind(**part.config)
    kind = getattr(transformers, part.kind)
    with torch.device("meta"):
        model = kind(kind.config_class(**part.config))
    return model.to(getattr(torch, dtype)).eval()


def arguments(pipe: Any, pipeline: Pipeline, request: Request, batch: int, steps: int) -> dict[str, Any]:
    """What the pipeline's call is given: a prompt of so many tokens, sizes, a black picture where it takes one."""
    from PIL import Image

    names = inspect.signature(pipe.__call__).parameters
    words = prompt(pipeline.prompt, quoted=pipeline.quoted)
    given: dict[str, Any] = {
        "prompt": words if batch == 1 else [words] * batch, "num_inference_steps": steps, "output_type": "pt",
        "num_frames" if "num_frames" in names else "video_length": request.frames, "return_dict": False,
    }  # fmt: skip
    if pipeline.sized:
        given |= {"height": request.height, "width": request.width}
    if pipeline.picture:
        picture = Image.new("RGB", (request.width, request.height))
        given["image"] = picture if batch == 1 else [picture] * batch
    return given | dict(pipeline.arguments)


# running


def _run(
    pipe: Any, given: Mapping[str, Any], family: Family, config: Config, lines: bool
) -> tuple[Trace, dict[str, Any], list[str]]:
    """The recorded call, the arguments that the transformer got first, and what was taken for granted of them."""
    first: dict[str, Any] = {}
    granted: dict[str, str] = {}
    known = Known()
    assumed = {item.name: item for item in family.inputs(config) if item.assume}

    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        bound = inspect.signature(module.forward).bind(*args, **kwargs).arguments
        if not first:
            first.update(bound)
        with torch._C.DisableTorchFunction():  # no part of the run
            for name, item in assumed.items():
                tensor = bound.get(name)
                if isinstance(tensor, torch.Tensor) and known.value(tensor) is None:
                    known.assume(tensor, torch.full(tensor.shape, item.fill != "zeros", dtype=tensor.dtype))
                    granted[name] = f"{name}: {item.assume}"

    handle = pipe.transformer.register_forward_pre_hook(before, with_kwargs=True)
    recording = record_pipeline(pipe, lines=lines)
    try:
        with torch.no_grad(), _tidy(pipe), known, recording:
            pipe(**given)
    except Exception as error:  # whatever a pipeline says to what it does not take
        try:
            partial = recording.trace
        except RecordingError:
            raise BadRequest(f"{type(pipe).__name__} refuses this: {first_line(error)}") from error
        raise ForwardFailed(f"{type(pipe).__name__} {partial.header.error}: {first_line(error)}", partial) from error
    finally:
        handle.remove()
    return recording.trace, first, list(granted.values())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what diffusers and transformers have to say to a run that is not for its result."""
    import diffusers
    import transformers

    speakers = [diffusers.utils.logging, transformers.utils.logging]
    levels = [speaker.get_verbosity() for speaker in speakers]
    for speaker in speakers:
        speaker.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for speaker, level in zip(speakers, levels, strict=True):
            speaker.set_verbosity(level)


def _tidy(pipe: Any) -> Any:
    """A context in which the pipeline's module has ftfy, which mends broken prompts; this one has no faults."""
    module = sys.modules[type(pipe).__module__]
    tidy = SimpleNamespace(fix_text=lambda text: text)
    return mock.patch.object(module, "ftfy", getattr(module, "ftfy", tidy), create=True)


# what the transformer's own trace says


def _inner(
    first: Mapping[str, Any], seen: Trace, family: Family, checkpoint: Checkpoint, request: Request, dtype: str,
    config: Config, changes: Mapping[str, Any] | None, formulas: bool,
) -> Trace | str:  # fmt: skip
    """The trace of the transformer alone at the sizes that the pipeline gave it, or why there is none."""
    video, sizes = seen.root.output, _given_sizes(first, family, config)
    if video is None or not {"B", "L"} <= sizes.keys():
        return "what the pipeline gave it has not the axes that are known."
    height, width = video.sizes[-2:]
    try:
        return api.trace(
            checkpoint.name, frames=request.frames, height=height, width=width, batch=sizes["B"],
            text_tokens=sizes["L"], dtype=dtype, config=changes, formulas=formulas,
        )  # fmt: skip
    except TracerError as error:
        return str(error)


def _given_sizes(first: Mapping[str, Any], family: Family, config: Config) -> dict[str, int]:
    """The letters that stand for whole axes of the transformer's arguments, and what they were."""
    found: dict[str, int] = {}
    for item in family.inputs(config):
        value = first.get(item.name)
        axes = item.axes.split()
        if isinstance(value, torch.Tensor) and value.dim() == len(axes):
            for axis, size in zip(axes, value.shape, strict=True):
                found.setdefault(axis, size)
    return found


def _joined(
    seen: Trace, inner: Trace | str, granted: list[str], family: Family, checkpoint: Checkpoint, pipeline: Pipeline,
    request: Request, remarks: list[str], dtype: str,
) -> Trace:  # fmt: skip
    notes = [*remarks, *seen.header.warnings]
    header = seen.header
    if isinstance(inner, str):
        notes.append(f"no formulas inside the transformer: {inner}")
    else:
        seen, missed = graft(seen, inner, "transformer")
        notes += [w for w in inner.header.warnings if w not in notes]
        notes += [f"no formulas for {path}: the pipeline calls it another way." for path in missed]
        header = dataclasses.replace(
            inner.header, model=header.model, params=header.params, buffers=header.buffers, error=header.error,
            sources=header.sources,
        )  # fmt: skip
    asked = {k: v for k, v in request.as_dict().items() if k in ("frames", "height", "width")}
    assumed = [f"a prompt of {pipeline.prompt} tokens, as many as fit"]
    if pipeline.picture:
        assumed.append(f"a picture of {request.height}×{request.width} pixels")
    header = dataclasses.replace(
        header, family=family.name, checkpoint=checkpoint.name, dtype=dtype, request={**header.request, **asked},
        warnings=tuple(notes), assumptions=(*assumed, *granted),
    )  # fmt: skip
    return explained(shortened(dataclasses.replace(seen, header=header)), pipeline.sayings)


def explained(trace: Trace, sayings: Sequence[Saying]) -> Trace:
    """The trace with what its pipeline's calls are for."""
    said = {saying.call: saying for saying in sayings}

    def remark(call: Call) -> Call:
        saying = said.get(call.name) if call.kind == "function" else None
        if saying is None:
            return call
        shapes = "|".join(" ".join(map(str, spec.sizes)) for spec in call.outputs.values())
        place = call.defined or call.source
        because = f"source:{place.file.removesuffix('.py').replace('/', '.')}:{place.function}" if place else ""
        return dataclasses.replace(call, remark=Remark(call.name, shapes, saying.why, because))

    return trace.map(remark)
