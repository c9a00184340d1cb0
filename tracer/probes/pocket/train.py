"""Train a pocket model from nothing: `python -m tracer.probes.pocket.train pocket-hunyuanvideo --out DIR`.

The same command continues a run that was stopped. Every step draws its clips, noise and dropped words from a generator
seeded with the step, so a continued run is the uninterrupted one. At the end the averaged weights are written in
half precision, evaluated and described in MODEL_CARD.md.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from tracer.errors import BadConfig
from tracer.probes.pocket import evaluate, words
from tracer.probes.pocket.clips import bucket, generate, tokens
from tracer.probes.pocket.forms import FORMS, SEED, TEXT, Form
from tracer.probes.pocket.vae import PixelVAE

CHECKPOINT = "checkpoint.safetensors"


@dataclass(frozen=True)
class Settings:
    """What decides a run, beside the form.

    `batch` is in video tokens, so small clips come in larger batches; the rate falls to zero on a cosine.
    """

    steps: int = 8000
    batch: int = 1800
    rate: float = 2e-3
    warmup: int = 100
    decay: float = 0.999  # of the running average of the weights
    drop: float = 0.1  # prompts without any word, for classifier-free guidance; as many again lose some words
    seed: int = SEED


class Run:
    """Model, averaged weights and optimiser of a run, with what it has seen so far."""

    def __init__(self, form: Form, settings: Settings, device: torch.device) -> None:
        self.form, self.settings, self.device = form, settings, device
        torch.manual_seed(settings.seed)
        self.model = form.build(form.transformer).to(device).train()
        self.names = [name for name, _ in self.model.named_parameters()]
        self.weights = list(self.model.parameters())
        self.average = [p.detach().clone() for p in self.weights]
        self.optimizer = torch.optim.AdamW(self.weights, lr=settings.rate, betas=(0.9, 0.99), weight_decay=0.01)
        self.table = words.table(TEXT, settings.seed).to(device)
        self.losses: list[float] = []
        self.seconds = 0.0

    def step(self) -> None:
        """One batch of one size, one update."""
        done, plan = len(self.losses), self.settings
        generator = torch.Generator().manual_seed(plan.seed * 1_000_003 + done)
        size = bucket(generator)
        clips = generate(max(1, min(48, plan.batch // tokens(*size))), *size, generator)
        rows = torch.tensor([words.ids(words.sentence(p)) for p in clips.prompts])
        rows = rows * kept(len(rows), plan.drop, generator)
        clean = clips.video * PixelVAE().config.scaling_factor
        noisy, timestep, target = (x.to(self.device) for x in self.form.noised(clean, generator))

        answer = self.form.predict(self.model, noisy, timestep, self.table[rows.to(self.device)])
        loss = (answer - target).square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        for group in self.optimizer.param_groups:
            group["lr"] = plan.rate * ramp(done, plan)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        decay = min(plan.decay, (1 + done) / (10 + done))
        torch._foreach_lerp_(self.average, [p.detach() for p in self.weights], 1 - decay)
        self.losses.append(float(loss.detach()))

    def save(self, folder: Path) -> None:
        """Write the checkpoint whole or not at all."""
        held = {"losses": torch.tensor(self.losses, dtype=torch.float64)}
        for name, weight, average in zip(self.names, self.weights, self.average, strict=True):
            state = self.optimizer.state[weight]
            parts = {"weight": weight, "average": average, "mean": state["exp_avg"], "square": state["exp_avg_sq"]}
            held |= {f"{part}.{name}": tensor.detach() for part, tensor in parts.items()}
        about = {"form": self.form.name, "settings": json.dumps(asdict(self.settings)), "seconds": str(self.seconds)}
        write(folder / CHECKPOINT, {k: v.cpu().contiguous() for k, v in held.items()}, about)

    def resume(self, folder: Path) -> None:
        """Take up the checkpoint of a folder. Raises BadConfig where it is one of another run."""
        with safe_open(folder / CHECKPOINT, framework="pt") as file:
            about = file.metadata()
            self.losses = file.get_tensor("losses").tolist()
            before = Settings(**json.loads(about["settings"]))
            if about["form"] != self.form.name or before != self.settings:
                raise BadConfig(
                    f"{folder} holds {len(self.losses)} steps of {about['form']} with settings {about['settings']}: "
                    "give the same ones to continue it, or another folder."
                )
            self.seconds = float(about["seconds"])
            for name, weight, average in zip(self.names, self.weights, self.average, strict=True):
                weight.data.copy_(file.get_tensor(f"weight.{name}"))
                average.copy_(file.get_tensor(f"average.{name}"))
                self.optimizer.state[weight] = {
                    "step": torch.tensor(float(len(self.losses))),
                    "exp_avg": file.get_tensor(f"mean.{name}").to(self.device),
                    "exp_avg_sq": file.get_tensor(f"square.{name}").to(self.device),
                }

    def export(self, folder: Path) -> None:
        """Write what `load` reads: averaged weights and word table in half precision, and the config."""
        held = {f"transformer.{name}": tensor for name, tensor in zip(self.names, self.average, strict=True)}
        held["words"] = self.table
        half = {name: tensor.half().cpu().contiguous() for name, tensor in held.items()}
        write(folder / "model.safetensors", half, {"format": "pt", "words": json.dumps(words.WORDS)})
        config = {
            "form": self.form.name,
            "transformer": self.form.transformer,
            "scheduler": self.form.scheduler,
            "training": {
                **asdict(self.settings),
                "steps_done": len(self.losses),
                "loss": round(sum(self.losses[-200:]) / len(self.losses[-200:]), 5),
                "minutes": round(self.seconds / 60, 1),
                "device": self.device.type,
                "threads": torch.get_num_threads(),
            },
        }
        (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def kept(n: int, drop: float, generator: torch.Generator) -> torch.Tensor:
    """Which words (n, 3) stay: none with probability `drop`, each with one half with the same probability again."""
    lot = torch.rand(n, 1, generator=generator)
    some = torch.rand(n, 3, generator=generator) < 0.5
    return (lot >= 2 * drop) | ((lot >= drop) & some)


def ramp(done: int, plan: Settings) -> float:
    """Share of the full rate at a step: warm-up, then the cosine."""
    return min(1.0, (done + 1) / plan.warmup) * 0.5 * (1 + math.cos(math.pi * done / plan.steps))


def write(path: Path, tensors: dict[str, torch.Tensor], about: dict[str, str]) -> None:
    """A safetensors file that is there whole or not at all."""
    part = path.with_suffix(".part")
    save_file(tensors, part, metadata=about)
    part.replace(path)


def train(form: Form, settings: Settings, folder: Path, device: torch.device, *, every: int = 100) -> None:
    """Run to the end of the settings, with a line and a checkpoint each `every` steps, and export."""
    folder.mkdir(parents=True, exist_ok=True)
    run = Run(form, settings, device)
    if (folder / CHECKPOINT).exists():
        run.resume(folder)
    size = sum(p.numel() for p in run.weights)
    say(f"{form.name}: {size / 1e6:.2f} M parameters, {settings.steps} steps, from step {len(run.losses)}")
    started = time.perf_counter()
    while len(run.losses) < settings.steps:
        run.step()
        if len(run.losses) % every == 0 or len(run.losses) == settings.steps:
            now = time.perf_counter()
            run.seconds, started = run.seconds + now - started, now
            loss = sum(run.losses[-every:]) / len(run.losses[-every:])
            left = run.seconds / len(run.losses) * (settings.steps - len(run.losses)) / 60
            say(f"step {len(run.losses):5d}  loss {loss:.4f}  {run.seconds / 60:5.1f} min, {left:.0f} to go")
            run.save(folder)
            run.export(folder)


def say(line: str) -> None:
    """Talk goes to stderr."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main(argv: list[str] | None = None) -> int:
    """The command: train or continue, evaluate, write the card."""
    parser = argparse.ArgumentParser(prog="python -m tracer.probes.pocket.train", description=__doc__)
    parser.add_argument("name", choices=sorted(FORMS), help="which model")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights, checkpoint and card")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    given = parser.parse_args(argv)
    settings = Settings(steps=given.steps, seed=given.seed)
    train(FORMS[given.name], settings, given.out, torch.device(given.device))
    say("evaluating")
    found = evaluate.write(given.out, given.name, given.device)
    say(json.dumps(found["accuracy"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
