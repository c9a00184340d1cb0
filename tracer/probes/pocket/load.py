"""`load("pocket-hunyuanvideo")`: a trained model in its real pipeline, with the word table that reads its prompts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from tracer.errors import BadRequest, UnknownName
from tracer.probes.pocket import words
from tracer.probes.pocket.clips import PIXELS
from tracer.probes.pocket.forms import FORMS, Form

NAMES = tuple(FORMS)
WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Pocket:
    """A pocket model. `pipe` is the diffusers pipeline; `config` says how the model was built and trained."""

    form: Form
    pipe: Any
    table: torch.Tensor  # (words, TEXT)
    config: dict[str, Any]

    @property
    def name(self) -> str:
        """What `load` calls it."""
        return self.form.name

    def embeds(self, prompt: str | list[str], negative: str = "") -> dict[str, torch.Tensor]:
        """The arguments that stand for `prompt` and `negative_prompt` in a call of `pipe`.

        Raises UnknownName for a word that is not in the table, BadRequest for two colours, shapes or directions.
        """
        prompts = [prompt] if isinstance(prompt, str) else prompt
        given = self._vectors(prompts)
        against = self._vectors([negative] * len(prompts))
        return self.form.embeds(given) | self.form.embeds(against, "negative_")

    def __call__(
        self,
        prompt: str | list[str],
        *,
        frames: int = PIXELS[0],
        height: int = PIXELS[1],
        width: int = PIXELS[2],
        steps: int = 30,
        cfg: float = 4.0,
        negative: str = "",
        seed: int = 0,
        **options: Any,
    ) -> Any:
        """Call the pipeline; what it returns has `frames`. `options` go to the pipeline as they are.

        Every prompt of a list has a seed of its own, counted up from `seed`, so that a video does not depend on its
        neighbours. `cfg` is classifier-free guidance in both models; 1 switches it off. Raises BadRequest for frames
        that are not 4 n + 1 and sides that are not multiples of 16.
        """
        if frames < 1 or (frames - 1) % 4:
            near = sorted({max(1, frames - (frames - 1) % 4), max(1, frames - (frames - 1) % 4 + 4)})
            raise BadRequest(
                f"{self.name} makes 4 n + 1 frames, not {frames}: ask for {' or '.join(str(n) for n in near)}."
            )
        if min(height, width) < 16 or height % 16 or width % 16:
            raise BadRequest(
                f"{self.name} makes sides that are multiples of 16, not {height} x {width}: "
                f"ask for {max(16, height // 16 * 16)} x {max(16, width // 16 * 16)}."
            )
        many = 1 if isinstance(prompt, str) else len(prompt)
        return self.pipe(
            **self.embeds(prompt, negative),
            num_frames=frames,
            height=height,
            width=width,
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(seed + k) for k in range(many)],
            **{self.form.guidance: cfg, **options},
        )

    def _vectors(self, prompts: list[str]) -> torch.Tensor:
        return self.table[torch.tensor([words.ids(p) for p in prompts])]


def load(name: str, *, folder: Path | None = None, device: str = "cpu") -> Pocket:
    """A pocket model in float32 with its pipeline's progress bar off.

    `folder` is where `train` wrote other weights of the same name; otherwise the packaged ones are read. Raises
    UnknownName where there is no such model.
    """
    if name not in FORMS:
        raise UnknownName("pocket model", name, NAMES)
    form, place = FORMS[name], folder or WEIGHTS / name
    config = json.loads((place / "config.json").read_text(encoding="utf-8"))
    held = {key: tensor.float() for key, tensor in load_file(place / "model.safetensors").items()}
    table = held.pop("words").to(device)
    transformer = form.build(config["transformer"])
    transformer.load_state_dict({key.removeprefix("transformer."): tensor for key, tensor in held.items()})
    pipe = form.pipeline(transformer.eval().requires_grad_(False), config["scheduler"]).to(device)
    pipe.set_progress_bar_config(disable=True)
    return Pocket(form, pipe, table, config)
