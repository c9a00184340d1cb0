"""The fixed evaluation of a pocket model: what the card says, measured through the real pipeline.

Accuracy: `SAMPLES` prompts, every combination and the first ones again, a seed for each, judged by the checker. The U:
relative L1 of consecutive conditional predictions, mean|v_i - v_{i-1}| / mean|v_{i-1}|, over the first `SEEDS` of them.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import torch

from tracer.probes.attach import L1Probe
from tracer.probes.pocket import words
from tracer.probes.pocket.card import card
from tracer.probes.pocket.checker import check
from tracer.probes.pocket.clips import COLOURS, DIRECTIONS, NOMINAL, SHAPES, generate
from tracer.probes.pocket.load import Pocket, load

CHOICES = [*itertools.product(COLOURS, SHAPES, DIRECTIONS)]
SAMPLES, FEW = 64, 16
"""How many are looked at at the nominal size, and how many at others and under other schedules."""
CFG, STEPS = 4.0, 30
SEEDS, CURVE = 8, 50
"""Samples and steps of the curves of change."""


def chosen(k: int) -> tuple[str, str, str]:
    """What sample `k` is asked for; 19 and 48 share no factor, so 48 samples have every choice, well mixed."""
    return CHOICES[k * 19 % len(CHOICES)]


def sample(pocket: Pocket, choices: list[tuple[str, str, str]], *, seed: int = 0, **call: Any) -> torch.Tensor:
    """Clips (n, F, 3, H, W) in [-1, 1] of prompts, through the pipeline, before decoding."""
    prompts = [words.sentence(c) for c in choices]
    options: dict[str, Any] = {"steps": STEPS, "cfg": CFG, "seed": seed, "output_type": "latent"} | call
    latents: torch.Tensor = pocket(prompts, **options).frames
    scale: float = pocket.pipe.vae.config.scaling_factor
    return pocket.form.frames_first(latents) / scale


def accuracy(pocket: Pocket, n: int = SAMPLES, *, batch: int = 16, **call: Any) -> dict[str, float]:
    """Share of `n` samples whose colour and direction are those of the prompt, and the samples' standard deviation."""
    choices = [chosen(k) for k in range(n)]
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


def changes(pocket: Pocket, n: int = SEEDS, *, steps: int = CURVE, **call: Any) -> list[float]:
    """Relative L1 between consecutive conditional predictions: (steps - 1) means over `n` guided samples."""
    with L1Probe(pocket.pipe, signals=("prediction",), metrics=("rel_l1",)) as probe:
        for k in range(n):
            sample(pocket, [chosen(k)], seed=k, steps=steps, **call)
    _, values = probe.log.curve("prediction", branch="cond", run=probe.log.runs)
    return values


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
        "asked": {"steps": STEPS, "cfg": CFG, "few": FEW, "curve_steps": CURVE, "curve_samples": SEEDS},
        "held_out_loss": held_out(pocket),
        "accuracy": {f"cfg {cfg:g}": accuracy(pocket, cfg=cfg) for cfg in (CFG, 1.0, 6.0)},
        "sizes": {
            f"{frames} frame{'s' * (frames > 1)} {height} x {width}": accuracy(
                pocket, FEW, frames=frames, height=height, width=width
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
        return {**accuracy(pocket, FEW), **arms(changes(pocket))}
    finally:
        pocket.pipe.scheduler = own


def write(folder: Path, name: str, device: str) -> dict[str, Any]:
    """Evaluate the weights in a folder; write evaluation.json and MODEL_CARD.md beside them."""
    pocket = load(name, folder=folder, device=device)
    found = evaluate(pocket)
    (folder / "evaluation.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(card(pocket.config, found), encoding="utf-8")
    return found
