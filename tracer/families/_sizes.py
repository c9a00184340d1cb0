"""How requests become latents, and what is said of those that do not fit: what many families have in common."""

from __future__ import annotations

from tracer.families.base import Findings, Request, nearest
from tracer.frame_steps import counted


def causal(frames: int, time: int) -> int:
    """Latent frames of a video whose first frame is folded alone: (frames - 1)//time + 1."""
    return (frames - 1) // time + 1


def latents(request: Request, frames: int, space: int) -> dict[str, int]:
    """B, F, H, W and L of a request, for a VAE that folds `space` rows and columns into one."""
    return {
        "B": request.batch, "F": frames, "H": request.height // space, "W": request.width // space,
        "L": request.text_tokens,
    }  # fmt: skip


def refuse_parts(found: Findings, request: Request, checked: int, step: int, most: int | None = None) -> None:
    """Add an error for a height or width that makes no whole patches.

    checked: what the pipeline itself divides by. step: pixels of one patch. most: the largest size that works.
    """
    for name, value in (("height", request.height), ("width", request.width)):
        use = nearest(value, step, most)
        if value % checked:
            more = f", and by {step} to be cut into patches" if step != checked else ""
            found.errors.append(
                f"--{name} {value} is rejected by the pipeline: it must be divisible by {checked}{more}; use {use}."
            )
        elif value % step:
            found.errors.append(
                f"--{name} {value} passes the pipeline's check, but cannot be cut into whole patches: it must be "
                f"divisible by {step}; use {use}."
            )


def say_lost(found: Findings, frames: int, time: int) -> None:
    """Add a warning where a causal VAE returns fewer frames than asked."""
    made = time * (causal(frames, time) - 1) + 1
    if made != frames:
        found.warnings.append(
            f"{frames} frames are {counted(causal(frames, time), 'latent frame')}, and those decode to "
            f"{counted(made, 'frame')}; nothing in the pipeline says so. {made} and {made + time} frames come out "
            "as asked."
        )
