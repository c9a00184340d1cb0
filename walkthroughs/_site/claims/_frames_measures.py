"""What the claims on GameCraft's frames are measured with: the package's account of its code, its traces, the VAE."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

from stored import stored

from claims import _tiny as tiny


@cache
def clips(chunk: int | None = None) -> tuple[Any, ...]:
    """The clip after a picture and the clip after a clip, as planned."""
    import tracer

    return tracer.plan_frames("gamecraft", actions=2, chunk=chunk, costs=False).clips


def rule() -> Any:
    """GameCraft's frame rule; its fps are the rate that is written and the rate that the paper names."""
    from tracer.gamecraft_frames import frame_rule

    return frame_rule()


def planned(field: str) -> Callable[[], Any]:
    """A field of the plan for three actions."""

    def measure() -> Any:
        import tracer

        return getattr(tracer.plan_frames("gamecraft", actions=3, costs=False), field)

    return measure


def seen(checkpoint: str) -> int:
    """Latent frames that the traced transformer was handed."""
    return stored(checkpoint).root.inputs["hidden_states"].sizes[2]


def positions(checkpoint: str) -> int:
    """Positions in time of the rotary table that the traced transformer made: its rows, by the tokens of a frame."""
    trace = stored(checkpoint)
    rows = next(call.output for call in trace.walk() if call.stage == "rope-tables" and call.output).sizes[0]
    height, width = trace.root.inputs["hidden_states"].sizes[3:]
    return rows // (height // 2 * (width // 2))


def told(n: int, code: str = "884-16c-hy0801") -> int:
    """Latent frames that the pipeline makes of a count it is told."""
    from tracer.gamecraft_frames import latent_count

    return latent_count(n, code)


def rotary(n: int, code: str = "884-16c-hy0801") -> int:
    """Positions in time that the sampler makes of a count it is told."""
    from tracer.gamecraft_frames import rope_frames

    return rope_frames(n, code)


def smallest(of: Callable[[int], int], value: int) -> int:
    """The smallest count that a formula makes a value of, found by trying."""
    return next(n for n in range(2, 1000) if of(n) == value)


def vae_named(name: str) -> Any:
    """What the name of a VAE says, as the package reads it."""
    from tracer.frame_steps import Vae

    return Vae.parse(name)


def ratios() -> tuple[int, int, int]:
    """How many frames, rows and columns one latent frame, row and column stands for."""
    many, one = tiny.latents(33, 64, 48), tiny.latents(1, 64, 48)
    return 32 // (many[0] - one[0]), 64 // many[1], 48 // many[2]


def digits(ratio: int) -> tuple[str, ...]:
    """Which digits of 884 are that number."""
    return tuple(name for name, digit in zip(("first", "second", "third"), "884", strict=True) if int(digit) == ratio)


@cache
def first_changed(*, norms: bool) -> tuple[int, ...]:
    """The first latent frame that a change of each of nine frames moves; norms: with the group norms as they are."""
    import torch

    vae = tiny.seeded(lambda: type(tiny.hunyuan_vae())(**tiny.CHANNELS))
    for module in vae.modules():
        if isinstance(module, torch.nn.GroupNorm) and not norms:
            module.forward = lambda x: x
    clip = tiny.seeded(lambda: torch.nn.Embedding(9 * 3, 16 * 16)).weight.reshape(1, 9, 3, 16, 16).transpose(1, 2)
    moved = []
    with torch.no_grad():
        before = vae.encode(clip).latent_dist.mean
        for frame in torch.eye(9):
            after = vae.encode(clip + frame.reshape(1, 1, 9, 1, 1)).latent_dist.mean
            change = (before - after).abs().amax((0, 1, 3, 4))
            moved.append(int((change > 1e-5).nonzero()[0]))
    return tuple(moved)


def frames_of_latents() -> tuple[int, ...]:
    """How many frames come in with each latent frame, the group norms set aside."""
    first = first_changed(norms=False)
    return tuple(first.count(n) for n in range(max(first) + 1))


def pooled(frames: int) -> list[float]:
    """The means that CameraNet's compress_time makes of frames that hold their own number."""
    import torch

    from tracer.models.gamecraft import compress_time

    ramp = torch.arange(float(frames)).reshape(-1, 1, 1, 1)
    return compress_time(ramp, frames).flatten().tolist()


def kept_apart(frames: int) -> tuple[int, ...]:
    """The frames that come through compress_time as they were."""
    return tuple(int(value) for value in pooled(frames) if value == int(value))


def pool_sizes(frames: int) -> tuple[int, ...]:
    """How many frames each other result is the mean of: the means lie that far apart within a clip."""
    means = [value for value in pooled(frames) if value != int(value)]
    return (int(min(b - a for a, b in pairwise(means))),)


@cache
def pose_counts() -> tuple[int, ...]:
    """The counts that compress_time is called with in runs behind a picture and behind a clip."""
    from unittest.mock import patch

    import torch

    import tracer.models.gamecraft as code

    model = tiny.seeded(lambda: code.GameCraftTransformer(**tiny.GAMECRAFT))
    with patch.object(code, "compress_time", wraps=code.compress_time) as calls, torch.no_grad():
        for latents in (seen("gamecraft"), seen("gamecraft-continue")):
            model(
                hidden_states=torch.zeros(1, 33, latents, 2, 2), timestep=torch.zeros(1),
                encoder_hidden_states=torch.zeros(1, 3, 12), encoder_attention_mask=torch.ones(1, 3),
                pooled_projections=torch.zeros(1, 6), camera_states=torch.zeros(1, 33, 6, 16, 16),
            )  # fmt: skip
    return tuple(sorted({call.args[1] for call in calls.call_args_list}))


def faults_of_17() -> int:
    """What goes wrong with clips of 17 frames when the numbers told are changed and nothing else."""
    from tracer.gamecraft_frames import faults

    return len(faults(17, vae_named("884-16c-hy0801")))


def camera_frames_after_a_clip_of_17() -> int | None:
    """Camera frames that the transformer makes for the latent frames of two clips of 17."""
    from tracer.gamecraft_frames import camera_branch

    return camera_branch(clips(17)[1].latents, 17)


def flops(clip_frames: int) -> int:
    """FLOPs of one pass behind a picture with clips of that many frames, traced."""
    if clip_frames == 33:
        return stored("gamecraft").root.cost.flops.size
    import tracer

    count = clips(clip_frames)[0].count
    changed = {"clip_frames": clip_frames}
    return tracer.trace("gamecraft", frames=count, config=changed, formulas=False).root.cost.flops.size


def megabytes(frames: int, dtype: str) -> float:
    """A million bytes each, of RGB frames at GameCraft's size."""
    import torch

    height, width = (8 * n for n in stored("gamecraft").root.inputs["hidden_states"].sizes[3:])
    return torch.empty(frames, 3, height, width, dtype=getattr(torch, dtype), device="meta").nbytes / 1e6


def fewer(before: int, after: int) -> float:
    """By which share a count falls."""
    return (before - after) / before


def refused_by_ratio(ratio: int) -> bool:
    """Whether diffusers' class of this VAE refuses that compression in time."""
    try:
        tiny.seeded(lambda: type(tiny.hunyuan_vae())(**tiny.CHANNELS, temporal_compression_ratio=ratio))
    except ValueError:
        return True
    return False


def unchanged(numbers: range) -> tuple[int, ...]:
    """The counts that come back from the VAE as they went in."""
    return tuple(n for n in numbers if tiny.there_and_back(n) == n)


def unchanged_by_rule(name: str, numbers: range) -> tuple[int, ...]:
    """The same by the arithmetic of a VAE's name."""
    vae = vae_named(name)
    return tuple(n for n in numbers if vae.frames(vae.latents(n)) == n)
