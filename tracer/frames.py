"""Frame arithmetic: what a pipeline really makes of N frames. Whole numbers only.

A family states its rule as data: a VAE and the steps from the frames asked for to the frames returned, each
with the place in the code that does it. `plan` runs the steps and keeps a sentence for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from tracer.errors import BadRequest
from tracer.frame_steps import Chunked, Clip, Config, Line, State, Step, Vae, ceil, counted

SEARCH = 256
"""How far from N the nearest exact count is looked for; two clips, where those are longer."""


@dataclass(frozen=True)
class FrameRule:
    """How a family's pipelines go from N to the frames they return.

    rope: whether frames turn by rotary positions; a config field says so where it is named. history: latent
    frames of earlier sections that the transformer sees beside the noise, with their patch in time and in space.
    by_action: whether a clip answers an action, so that a length is asked for in actions. chunk_field: the config
    field that holds the frames of a clip, where there is one. fps: frames a second. origin:
    whose code the places are in.
    """

    vae: Vae
    steps: tuple[Step, ...]
    rope: bool | str = True
    history: tuple[tuple[int, int, int], ...] = ()
    by_action: bool = False
    chunk_field: str | None = None
    fps: tuple[int, ...] = ()
    origin: str = "diffusers"

    @property
    def chunk(self) -> int | None:
        """Frames of one clip or section, None where the whole video is denoised at once."""
        return next((step.chunk for step in self.steps if isinstance(step, Chunked)), None)

    def of_chunk(self, frames: int) -> FrameRule:
        """The rule with clips of another length; a rule without clips stays as it is."""
        return replace(self, steps=tuple(s.of_chunk(frames) if isinstance(s, Chunked) else s for s in self.steps))


@dataclass(frozen=True)
class Plan:
    """What N frames become.

    asked: N. latents: latent frames that are decoded. seen: latent frames in one pass of the transformer.
    rope: positions in time, None without rotary positions. tokens: video tokens of one pass. frames: what the
    pipeline returns, None where it fails (`fault` says why). blank: frames among them without content.
    runs: how often the denoising loop runs. below, above: the nearest N that come out as asked. instead: where
    none does, (N to ask for, frames returned) of the nearest counts that come out at all. lines: the
    rules that were at work. clips: the runs one by one, where they differ. breaks: what
    the published code has against the plan, where it would have to be changed. flops, written: of one pass of the
    transformer, from the trace's formulas; None where they were not asked for.
    """

    asked: int
    height: int
    width: int
    latents: int
    seen: int
    rope: int | None
    tokens: int
    frames: int | None
    blank: int = 0
    runs: int = 1
    fault: str | None = None
    lines: tuple[Line, ...] = ()
    below: int | None = None
    above: int | None = None
    instead: tuple[tuple[int, int], ...] = ()
    clips: tuple[Clip, ...] = ()
    breaks: tuple[Line, ...] = ()
    flops: int | None = field(default=None, compare=False)
    written: int | None = field(default=None, compare=False)

    @property
    def gained(self) -> int:
        """Frames that come out beyond those asked for; negative where frames are lost."""
        return (self.frames or 0) - self.asked

    @property
    def exact(self) -> bool:
        """Whether as many come out as were asked for, all with content."""
        return self.frames == self.asked and not self.blank

    def __str__(self) -> str:
        returned = "and it fails" if self.frames is None else f"{self.frames:,} returned"
        return "\n".join(
            [f"{counted(self.asked, 'frame')} asked for, {returned}.", *(line.text for line in self.lines)]
        )


def patch_of(config: Config) -> tuple[int, int, int]:
    """Frames, rows and columns of one patch, however the config writes them."""
    patch = config["patch_size"]
    if isinstance(patch, int):
        return config.get("patch_size_t") or 1, patch, patch
    frames, rows, columns = patch
    return int(frames), int(rows), int(columns)


def check_count(frames: int) -> None:
    """Raise BadRequest for an N that is no whole number from 1 on."""
    if type(frames) is not int or frames < 1:  # True is an int, too
        raise BadRequest(f"N {frames} is not possible: it is a whole number from 1 on.")


def run(rule: FrameRule, config: Config, frames: int, height: int, width: int) -> Plan:
    """What N frames become, without a look at other N. Raises BadRequest for sizes below 1 or no whole patches."""
    check_count(frames)
    p_t, *patch = patch_of(config)
    grid = []
    for name, value, side in zip(("height", "width"), (height, width), patch, strict=True):
        step = rule.vae.spatial * side
        if type(value) is not int or value < 1 or value % step:
            low = value // step * step if type(value) is int else 0
            near = f"{low} or {low + step}" if low > 0 else f"{step}"
            raise BadRequest(
                f"--{name} {value} makes no whole patches: it must be divisible by {step} "
                f"({rule.vae.spatial} of the VAE, {side} of a patch); use {near}."
            )
        grid.append(value // step)
    state = State(rule.vae, config, height, width, frames, frames)
    for step_of in rule.steps:
        state = step_of(state)
        if state.fault:
            break
    turns = config[rule.rope] if isinstance(rule.rope, str) else rule.rope
    tokens = ceil(state.seen, p_t) * grid[0] * grid[1]
    rows, columns = height // rule.vae.spatial, width // rule.vae.spatial
    tokens += sum(ceil(n, t) * ceil(rows, s) * ceil(columns, s) for n, t, s in rule.history)
    clips = tuple(replace(clip, tokens=ceil(clip.latents, p_t) * grid[0] * grid[1]) for clip in state.clips)
    return Plan(
        frames, height, width, state.latents, state.seen, ceil(state.seen, p_t) if turns else None, tokens,
        None if state.fault else state.frames, state.blank, state.runs, state.fault, state.lines, clips=clips,
        breaks=state.breaks,
    )  # fmt: skip


def plan(rule: FrameRule, config: Config, frames: int, height: int, width: int) -> Plan:
    """What a pipeline makes of N frames of height by width pixels, and the nearest N that come out as asked.

    config: the transformer's. Raises BadRequest for an N below 1 and for sizes that make no whole patches.
    """

    def exact(n: int) -> bool:
        return run(rule, config, n, height, width).exact

    reach = max(SEARCH, 2 * (rule.chunk or 0))
    found = run(rule, config, frames, height, width)
    below = next((n for n in range(frames - 1, max(0, frames - 1 - reach), -1) if exact(n)), None)
    above = next((n for n in range(frames + 1, frames + 1 + reach) if exact(n)), None)
    if found.exact or below or above:
        return replace(found, below=below, above=above)
    made: dict[int, int] = {}
    for n in range(max(1, frames - reach), frames + reach):
        other = run(rule, config, n, height, width)
        if other.frames and not other.blank:
            made.setdefault(other.frames, n)
    fewer, more = max((n for n in made if n < frames), default=0), min((n for n in made if n >= frames), default=0)
    return replace(found, instead=tuple((made[n], n) for n in (fewer, more) if n))


def to_json(found: Plan) -> dict[str, Any]:
    """A plan as plain data, for JSON."""
    out = {name: getattr(found, name) for name in found.__dataclass_fields__}
    return out | {
        "lines": [line._asdict() for line in found.lines],
        "breaks": [line._asdict() for line in found.breaks],
        "clips": [dict(vars(clip)) for clip in found.clips],
        "gained": found.gained,
        "exact": found.exact,
    }
