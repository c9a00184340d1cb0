"""MODEL_CARD.md of a pocket model, written from what its evaluation measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tracer.probes.pocket.clips import COLOURS, DIRECTIONS, FRAMES, PIXELS, SHAPES, SIDES
from tracer.probes.pocket.forms import FORMS


def card(config: dict[str, Any], found: dict[str, Any]) -> str:
    """The card in Markdown. `config` is config.json, `found` evaluation.json."""
    form, training = FORMS[config["form"]], config["training"]
    checker, asked = found["checker"], found["asked"]
    frames, height, width = PIXELS
    video = f"{frames} frames of {height} x {width}"
    pipeline = {"pocket-hunyuanvideo": "HunyuanVideoPipeline", "pocket-cogvideox": "CogVideoXPipeline"}[form.name]
    settings = ", ".join(f"{key} {training[key]:g}" for key in ("steps", "batch", "rate", "warmup", "decay", "drop"))
    accuracy = [
        (label, f"{row['samples']}", f"{row['colour']:.1%}", moved(label, row), f"{row['std']:.3f}")
        for label, row in (found["accuracy"] | found["sizes"]).items()
    ]
    arms = [
        (label, f"{row['minimum']:.4f}", f"{row['left']:.1f}", f"{row['right']:.1f}", f"{row['direction']:.0%}")
        for label, row in found["schedules"].items()
    ]
    return "\n\n".join(
        [
            f"# {form.name}",
            f"{found['parameters'] / 1e6:.2f} M parameters, trained from nothing on generated clips, for `{pipeline}` "
            "of diffusers. A small model to try instruments on: it draws one moving shape and says nothing about what "
            "large models do.",
            f"`load({form.name!r})('a red disc moving left')` gives a video of {video}. "
            f"Colours: {', '.join(COLOURS)}. Shapes: {', '.join(SHAPES)}. Directions: {', '.join(DIRECTIONS)}. "
            f"A prompt may leave any of them out. `{form.guidance}` is classifier-free guidance.",
            "## Data",
            f"Clips of {FRAMES[0]} to {FRAMES[-1]} latent frames with sides of {SIDES[0]} to {SIDES[-1]} latent "
            "pixels, drawn on the fly from a seed: a shape of random place, size, speed and brightness on a still "
            "background of random brightness, gradient and faint tint. Latents are RGB values; there is no "
            f"encoder. Standard deviation of the clips: {checker['std']:.3f}.",
            "## Training",
            f"AdamW, cosine rate, running average of the weights: {settings}, seed {training['seed']}. "
            f"{training['minutes']:g} minutes on {training['device']} with {training['threads']} thread(s). "
            f"Mean loss of the last 200 steps {training['loss']:.4f}, on clips that training never drew "
            f"{found['held_out_loss']:.4f}.",
            f"    python -m tracer.probes.pocket.train {form.name} --out DIR",
            "## What the samples show",
            "The checker finds colour and motion of the largest blob by fixed rules. On "
            f"{checker['clips']} real clips it is right in {checker['colour']:.1%} (colour) and "
            f"{checker['direction']:.1%} (direction). Samples: fixed prompts and seeds, {asked['steps']} "
            f"steps; guidance {asked['cfg']:g} and {video} where nothing else is said.",
            table(("samples of", "number", "colour right", "direction right", "standard deviation"), accuracy),
            "## Change of the prediction",
            f"Relative L1 between consecutive conditional predictions, {asked['curve_steps']} steps, guidance "
            f"{asked['cfg']:g}, {asked['curve_samples']} samples: its minimum, "
            "and the largest value in the first and in the last fifth of the steps, each over the minimum.",
            table(("schedule", "minimum", "first fifth", "last fifth", f"direction right in {asked['few']}"), arms),
        ]
    ) + "\n"  # fmt: skip


def moved(label: str, row: dict[str, Any]) -> str:
    """The share of right directions, which one frame does not have."""
    return "-" if label.startswith("1 frame") else f"{row['direction']:.1%}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, tuple("---" for _ in head), *rows))
