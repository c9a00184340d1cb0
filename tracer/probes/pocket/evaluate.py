"""The fixed evaluation of a pocket model: what the card says, measured through the real pipeline.

Accuracy: 64 prompts, all 48 combinations and the first 16 again, seeds 0 to 63, judged by the checker. The U: relative
L1 of consecutive conditional predictions, mean|v_i - v_{i-1}| / mean|v_{i-1}|, over the first 8 of those prompts.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch

from tracer.probes.pocket import words
from tracer.probes.pocket.card import card
from tracer.probes.pocket.checker import check
from tracer.probes.pocket.clips import COLOURS, DIRECTIONS, NOMINAL, SHAPES, generate
from tracer.probes.pocket.load import Pocket, load

CHOICES = [*itertools.product(COLOURS, SHAPES, DIRECTIONS)]
SAMPLES = 64
CFG = 4.0
STEPS = 30


def sample(pocket: Pocket, choices: list[tuple[str, str, str]], *, seed: int = 0, **call: Any) -> torch.Tensor:
    """Clips (n, F, 3, H, W) in [-1, 1] of prompts, through the pipeline, before decoding."""
    prompts = [words.sentence(c) for c in choices]
    options: dict[str, Any] = {"steps": STEPS, "cfg": CFG, "seed": seed, "output_type": "latent"} | call
    latents: torch.Tensor = pocket(prompts, **options).frames
    scale: float = pocket.pipe.vae.config.scaling_factor
    return pocket.form.frames_first(latents) / scale


def accuracy(pocket: Pocket, n: int = SAMPLES, *, batch: int = 16, **call: Any) -> dict[str, float]:
    """Share of `n` samples whose colour and direction are those of the prompt, and the samples' standard deviation."""
    choices = [CHOICES[k * 19 % len(CHOICES)] for k in range(n)]  # 19 and 48 share no factor: all 48, well mixed
    parts = [sample(pocket, choices[k : k + batch], seed=k, **call) for k in range(0, n, batch)]
    clips = torch.cat(parts).cpu()
    seen = [check(clip) for clip in clips]
    pairs = [*zip(seen, choices, strict=True)]
    return {
        "samples": n,
        "colour": sum(s.colour == c[0] for s, c in pairs) / n,
        "direction": sum(s.direction == c[2] for s, c in pairs) / n,
        "std": round(float(clips.std()), 4),
    }


def changes(pocket: Pocket, n: int = 8, *, steps: int = 50, **call: Any) -> list[float]:
    """Relative L1 between consecutive conditional predictions: (steps - 1) means over `n` guided samples."""
    conditional: list[torch.Tensor] = []
    calls = itertools.count()

    def keep(_module: Any, _args: Any, output: Any) -> None:
        v = output[0].float()
        if len(v) == 2 * n:  # one call holds both branches, the unconditional first
            conditional.append(v[n:])
        elif next(calls) % 2 == 0:  # two calls a step, the conditional first
            conditional.append(v)

    handle = pocket.pipe.transformer.register_forward_hook(keep)
    try:
        sample(pocket, [CHOICES[k * 19 % len(CHOICES)] for k in range(n)], steps=steps, **call)
    finally:
        handle.remove()

    def mean(x: torch.Tensor) -> torch.Tensor:
        return x.abs().flatten(1).mean(1)

    return [float((mean(b - a) / mean(a)).mean()) for a, b in itertools.pairwise(conditional)]


def arms(curve: list[float]) -> dict[str, Any]:
    """Both arms of a curve: the largest value of the first and last fifth, each over the curve's minimum."""
    fifth, low = (len(curve) + 1) // 5, min(curve)
    return {
        "minimum": round(low, 5),
        "left": round(max(curve[:fifth]) / low, 2),
        "right": round(max(curve[-fifth:]) / low, 2),
        "curve": [round(x, 5) for x in curve],
    }


@torch.no_grad()
def held_out(pocket: Pocket, n: int = 256) -> float:
    """Loss of the stored weights on `n` clips of nominal size that training never drew, full prompts, fixed noise."""
    generator = torch.Generator().manual_seed(1)
    total = 0.0
    for _ in range(n // 32):
        clips = generate(32, *NOMINAL, generator)
        rows = torch.tensor([words.ids(words.sentence(p)) for p in clips.prompts])
        noisy, timestep, target = pocket.form.noised(clips.video * pocket.pipe.vae.config.scaling_factor, generator)
        device = pocket.pipe.device
        answer = pocket.form.predict(
            pocket.pipe.transformer, noisy.to(device), timestep.to(device), pocket.table[rows.to(device)]
        )
        total += float((answer.cpu() - target).square().mean())
    return round(total / (n // 32), 5)


def evaluate(pocket: Pocket) -> dict[str, Any]:
    """Everything the card says. About ten minutes on one CPU core."""
    real = generate(400, *NOMINAL, torch.Generator().manual_seed(2))
    seen = [check(clip) for clip in real.video]
    return {
        "parameters": sum(p.numel() for p in pocket.pipe.transformer.parameters()),
        "checker": {
            "clips": len(seen),
            "colour": sum(s.colour == p[0] for s, p in zip(seen, real.prompts, strict=True)) / len(seen),
            "direction": sum(s.direction == p[2] for s, p in zip(seen, real.prompts, strict=True)) / len(seen),
            "std": round(float(real.video.std()), 4),
        },
        "held_out_loss": held_out(pocket),
        "accuracy": {f"cfg {cfg:g}": accuracy(pocket, cfg=cfg) for cfg in (CFG, 1.0, 6.0)},
        "sizes": {
            f"{frames} frame{'s' * (frames > 1)} {height} x {width}": accuracy(
                pocket, 16, frames=frames, height=height, width=width
            )
            for frames, height, width in ((1, 96, 96), (9, 96, 96), (9, 64, 112), (17, 128, 128), (17, 64, 64))
        },
        "schedules": {label: under(pocket, *variant) for label, variant in pocket.form.variants.items()},
    }


def under(pocket: Pocket, scheduler: str, changed: dict[str, Any]) -> dict[str, Any]:
    """Accuracy of 16 samples and the arms of the U under another scheduler; the pipeline gets its own one back."""
    import diffusers

    own = pocket.pipe.scheduler
    try:
        pocket.pipe.scheduler = getattr(diffusers, scheduler).from_config(own.config, **changed)
        return {**accuracy(pocket, 16), **arms(changes(pocket))}
    finally:
        pocket.pipe.scheduler = own


def write(folder: Path, name: str, device: str) -> dict[str, Any]:
    """Evaluate the weights in a folder; write evaluation.json and MODEL_CARD.md beside them."""
    pocket = load(name, folder=folder, device=device)
    found = evaluate(pocket)
    (folder / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(card(pocket.config, found), encoding="utf-8")
    return found
