"""plan_frames("cogvideox", 50): what a pipeline makes of N frames, and what a step of the transformer costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tracer import families
from tracer.configs import check_sizes
from tracer.errors import BadRequest, TracerError
from tracer.families.base import Checkpoint, Family, Request
from tracer.frames import FrameRule, Plan, check_count, plan, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tracer.calls import Trace
    from tracer.shapes import Dim

AROUND = 4
"""Counts on either side of N that the table shows; the nearest exact ones are shown wherever they are."""


def plan_frames(
    model: str = "cogvideox",
    frames: int | None = None,
    *,
    height: int | None = None,
    width: int | None = None,
    chunk: int | None = None,
    actions: int | None = None,
    costs: bool = True,
) -> Plan:
    """What a published model's pipeline makes of N frames.

    model: family, checkpoint or hub id. frames: N; height, width: of the video, in pixels; all default to the
    checkpoint's published request. chunk: frames of one clip or section, for models that make a video in such.
    actions: a length in actions instead of N, for models that answer them. costs: trace the transformer for the
    FLOPs and activations of one pass.

    Raises UnknownName, and BadRequest for counts below 1, sizes that the model does not take, and lengths or
    clips that it does not have.
    """
    return Planner(model, height=height, width=width, chunk=chunk).plan(frames, actions=actions, costs=costs)


def check(model: str, frames: int | None, actions: int | None, chunk: int | None) -> tuple[Family, FrameRule]:
    """A model's family and frame rule. Raises what can be known without torch, in one sentence."""
    family, _ = families.find(model)
    if not family.video:
        raise BadRequest(f"{model} is an image model and has no frames to plan; trace-shapes {model} shows its shapes.")
    if family.frames is None:
        raise BadRequest(f"no frame rule is known for {model}; known are {', '.join(_known())}.")
    if frames is not None:
        check_count(frames)
    check_sizes({"chunk": chunk, "actions": actions})
    rule = family.frames
    if chunk is not None:
        if rule.chunk is None:
            clipped = [f.name for f in families.all_families() if f.frames and f.frames.chunk]
            raise BadRequest(
                f"--chunk is for models that make a video in clips ({', '.join(clipped)}); {model} denoises all "
                "frames at once."
            )
        rule = rule.of_chunk(chunk)
    if actions is not None and not rule.by_action:
        acting = [f.name for f in families.all_families() if f.frames and f.frames.by_action]
        raise BadRequest(f"--actions is for models that answer actions ({', '.join(acting)}); {model} takes N.")
    if actions is not None and frames is not None:
        raise BadRequest(f"N {frames} and --actions {actions} are two lengths; give one of them.")
    return family, rule


def _known() -> list[str]:
    return [f.name for f in families.all_families() if f.frames is not None]


@dataclass(frozen=True)
class Answer:
    """A plan with what stands around it: the model, the request, the plans of other N, and why costs are missing."""

    family: Family
    checkpoint: Checkpoint
    rule: FrameRule
    published: int
    request: Request
    plan: Plan
    near: tuple[Plan, ...]
    trouble: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The answer as plain data."""
        return {
            "model": self.family.model,
            "family": self.family.name,
            "checkpoint": self.checkpoint.name,
            "dtype": self.checkpoint.dtype,
            "request": self.request.as_dict(),
            "published": self.published,
            "vae": dict(vars(self.rule.vae)),
            "chunk": self.rule.chunk,
            "plan": to_json(self.plan),
            "near": [to_json(found) for found in self.near],
            "trouble": self.trouble,
        }


class Planner:
    """Plans for one model at one size. The transformer is traced once, when a cost is first asked for.

    Raises UnknownName, or BadRequest for sizes and clips that the model does not take.
    """

    def __init__(
        self, model: str, *, height: int | None = None, width: int | None = None, chunk: int | None = None
    ) -> None:
        from tracer.api import make_request
        from tracer.build import full_config

        self.family, self.rule = check(model, None, None, chunk)
        self.checkpoint = families.find(model)[1]
        field = self.rule.chunk_field
        self._changed: dict[str, Any] = {field: chunk} if field and chunk is not None else {}
        self._trouble: str | None = None
        self._clip_costs: dict[int | None, tuple[int | None, int | None]] = {}
        self.config = full_config(self.family.model, self.checkpoint.config)
        default = self.family.adapt(self.config, self.checkpoint.request)
        self.request: Request = make_request(default, {"height": height, "width": width})
        findings = self.family.check(self.config, self.request)
        if findings.errors:
            raise BadRequest(" ".join(findings.errors))

    @property
    def published(self) -> int:
        """The N that the checkpoint is published with; one action where it answers actions."""
        return (self.rule.by_action and self.rule.chunk) or self.request.frames

    def plan(self, frames: int | None = None, *, actions: int | None = None, costs: bool = True) -> Plan:
        """The plan for N frames, or for that many actions; the published length where neither is given."""
        check(self.checkpoint.name, frames, actions, None)
        if actions is not None:
            frames = actions * (self.rule.chunk or 0)
        n = self.published if frames is None else frames
        found = plan(self.rule, self.config, n, self.request.height, self.request.width)
        return self._with_costs(found) if costs else found

    def answer(self, frames: int | None = None, *, actions: int | None = None) -> Answer:
        """The plan with its neighbours, costs and the model's header."""
        found = self.plan(frames, actions=actions)
        step = (self.rule.by_action and self.rule.chunk) or 1
        counts = {found.asked + step * k for k in range(-AROUND, AROUND + 1)} | {found.below, found.above}
        near = tuple(self.plan(n) for n in sorted(n for n in counts if n is not None and n > 0))
        return Answer(
            self.family, self.checkpoint, self.rule, self.published, self.request, found, near, self._trouble,
        )  # fmt: skip

    @cached_property
    def _trace(self) -> Trace | None:
        return self._traced(None)

    def _traced(self, frames: int | None) -> Trace | None:
        from tracer.api import trace

        try:
            return trace(
                self.checkpoint.name, frames=frames, height=self.request.height, width=self.request.width,
                config=self._changed or None,
            )  # fmt: skip
        except TracerError as error:  # the frames are right without their cost
            self._trouble = f"No costs: the trace failed. {error}"
            return None

    def _clip_cost(self, count: int | None) -> tuple[int | None, int | None]:
        """FLOPs and bytes of one pass in a clip; each kind of clip takes a path of its own and is traced alone."""
        if count not in self._clip_costs:
            seen = self._traced(count)
            cost = seen.root.cost if seen is not None else None
            self._clip_costs[count] = (cost.flops.size, cost.bytes.size) if cost is not None else (None, None)
        return self._clip_costs[count]

    def _with_costs(self, found: Plan) -> Plan:
        if found.fault:
            return found
        if found.clips:
            clips = []
            for clip in found.clips:
                flops, written = self._clip_cost(clip.count)
                clips.append(replace(clip, flops=flops, written=written))
            last = clips[-1]
            return replace(found, clips=tuple(clips), flops=last.flops, written=last.written)
        if self._trace is None:
            return found
        cost, home = self._trace.root.cost, self._trace.values
        if found.seen == home.get("F"):
            return replace(found, flops=cost.flops.size, written=cost.bytes.size)
        whole = replace(self.request, frames=self.rule.vae.frames(found.seen))
        values = {**home, **self.family.sizes(self.config, whole), "F": found.seen}
        flops, written = _at(cost.flops, values), _at(cost.bytes, values)
        if flops is None:
            self._trouble = f"Costs are known at {home.get('F')} latent frames only: the trace has no formula for them."
        return replace(found, flops=flops, written=written)


def _at(dim: Dim, values: Mapping[str, int]) -> int | None:
    """A cost at another number of latent frames, from its formula; None where it has none that speaks of them."""
    if dim.formula is None or "F" not in dim.formula.symbols:
        return None
    try:
        return dim.formula.evaluate(values)
    except (KeyError, ValueError):
        return None
