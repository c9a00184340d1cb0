"""A model whose velocity is known exactly: flow matching from noise to a mixture of Gaussians.

`Mixture` is the law and its formulas in float64. `AnalyticTransformer` stands where a HunyuanVideo transformer stands,
so that the real HunyuanVideoPipeline runs on it, prompts choosing among the mixture's classes: what a probe measures
there can be checked to rounding.

With x = (1 - s) x₀ + s e, s the scheduler's sigma, a = 1 - s and v = E[e - x₀ | x], each component N(m, t² I) gives

    x | component ~ N(a m, c² I),  c² = a² t² + s²
    v = (s - a t²) / c² · (x - a m) - m

and the mixture's velocity is their mean, weighted by each component's probability given x.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tracer.errors import BadRequest

Array = npt.NDArray[np.float64]

TIMESTEPS = 1000
"""The pipeline hands the model 1000 sigma."""


@dataclass(frozen=True)
class Mixture:
    """A mixture of Gaussians with one width, each component of one class.

    Args:
        means: (components, ...): one latent each, of any shape, float64.
        spread: the standard deviation t of every component, in every direction.
        classes: (components,): the class of each, numbers from 0; by default all are of class 0.
        weights: (components,): how probable each is; by default all the same.

    Raises BadRequest for sizes or values that make no mixture.
    """

    means: Array
    spread: float
    classes: npt.NDArray[np.int64] | None = None
    weights: Array | None = None
    _flat: Array = field(init=False, repr=False)

    def __post_init__(self) -> None:
        count = len(self.means)
        put = object.__setattr__
        put(self, "means", np.asarray(self.means, np.float64))
        put(self, "classes", np.zeros(count, np.int64) if self.classes is None else np.asarray(self.classes, np.int64))
        put(self, "weights", np.full(count, 1 / count) if self.weights is None else np.asarray(self.weights, float))
        put(self, "_flat", self.means.reshape(count, -1))
        assert self.classes is not None
        assert self.weights is not None
        if self.classes.shape != (count,) or self.weights.shape != (count,) or (self.weights <= 0).any():
            raise BadRequest(f"A mixture of {count} takes {count} classes and {count} weights above 0.")
        if not self.spread > 0:
            raise BadRequest(f"A mixture's spread is above 0, not {self.spread}.")

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one latent."""
        return tuple(self.means.shape[1:])

    @property
    def count(self) -> int:
        """How many classes there are."""
        assert self.classes is not None
        return int(self.classes.max()) + 1

    @classmethod
    def clips(
        cls,
        count: int = 256,
        shape: tuple[int, int, int, int] = (4, 5, 16, 16),
        *,
        classes: int = 4,
        spread: float = 0.15,
        seed: int = 0,
    ) -> Mixture:
        """Soft discs that move over a background, as latents of `shape` (channels, frames, height, width).

        The direction is the class; place, size, colour and background are drawn, so that much is left open by it.
        All means together have mean square 1.
        """
        draw = np.random.default_rng(seed)
        channels, frames, height, width = shape
        t, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in (frames, height, width)), indexing="ij")
        kinds = np.arange(count) % classes
        means = np.empty((count, *shape))
        for i, kind in enumerate(kinds):
            angle = 2 * np.pi * kind / classes
            row, column, radius = draw.uniform(0.2, 0.8), draw.uniform(0.2, 0.8), draw.uniform(0.1, 0.3)
            reach = (y - row - 0.4 * np.sin(angle) * (t - 0.5)) ** 2 + (
                x - column - 0.4 * np.cos(angle) * (t - 0.5)
            ) ** 2
            disc = 1 / (1 + np.exp((np.sqrt(reach) - radius) / 0.05))
            front, back = draw.normal(size=(2, channels, 1, 1, 1))
            slope = draw.normal(size=(channels, 1, 1, 1)) * (x - 0.5) + draw.normal(size=(channels, 1, 1, 1)) * (
                y - 0.5
            )
            means[i] = front * disc + (back + slope) * (1 - disc)
        return cls(means / np.sqrt((means**2).mean()), spread, kinds)

    # the formulas

    def posterior(self, x: Array, sigma: float, prompt: Sequence[float] | None = None) -> Array:
        """How probable each component is given x: (samples, components) of x (samples, ...).

        `prompt` weighs the classes; None weighs them all alike.
        """
        a, c2 = 1 - sigma, self._variance(sigma)
        flat = np.asarray(x, np.float64).reshape(len(x), -1)
        # |x - a m|² without |x|², which is the same for all
        logits = (a * flat @ self._flat.T - a * a * (self._flat**2).sum(1) / 2) / c2 + self._log_weights(prompt)
        logits -= logits.max(1, keepdims=True)
        odds = np.exp(logits)
        return np.asarray(odds / odds.sum(1, keepdims=True))

    def velocity(self, x: Array, sigma: float, prompt: Sequence[float] | None = None) -> Array:
        """E[e - x₀ | x], shaped as x (samples, ...), in float64."""
        a, c2 = 1 - sigma, self._variance(sigma)
        x = np.asarray(x, np.float64)
        mean = (self.posterior(x, sigma, prompt) @ self._flat).reshape(x.shape)
        return np.asarray((sigma - a * self.spread**2) / c2 * (x - a * mean) - mean)

    def entropy(self, x: Array, sigma: float, prompt: Sequence[float] | None = None) -> Array:
        """What is left open about the component given x, in nats: (samples,)."""
        p = self.posterior(x, sigma, prompt)
        return np.asarray(-(p * np.log(np.where(p > 0, p, 1))).sum(1))

    def _variance(self, sigma: float) -> float:
        return float((1 - sigma) ** 2 * self.spread**2 + sigma**2)

    def _log_weights(self, prompt: Sequence[float] | None) -> Array:
        assert self.classes is not None
        assert self.weights is not None
        weights = self.weights if prompt is None else self.weights * np.asarray(prompt, float)[self.classes]
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(weights))


class AnalyticTransformer(nn.Module):
    """A mixture's velocity with the call signature and the config fields of HunyuanVideoTransformer3DModel.

    Latents are (B, channels, frames, height, width) of the mixture's shape. A prompt is the weights of the classes:
    `prompt(2)` is class 2, `prompt()` all of them, which is what the unconditional prediction takes. Counts in float64
    and gives the dtype it is given; no text encoder, no VAE.
    """

    def __init__(self, mixture: Mixture, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        if len(mixture.shape) != 4:
            raise BadRequest(
                f"AnalyticTransformer takes latents (channels, frames, height, width), not {mixture.shape}."
            )
        self.mixture = mixture
        self.config = SimpleNamespace(
            in_channels=mixture.shape[0], out_channels=mixture.shape[0], patch_size=1, patch_size_t=1,
            guidance_embeds=False, image_condition_type=None,
        )  # fmt: skip
        assert mixture.classes is not None
        assert mixture.weights is not None
        means = torch.from_numpy(mixture.means.reshape(len(mixture.means), -1))
        self.register_buffer("means", means, persistent=False)
        self.register_buffer("classes", torch.from_numpy(mixture.classes), persistent=False)
        self.register_buffer("weights", torch.from_numpy(mixture.weights), persistent=False)
        self._dtype = dtype

    @property
    def dtype(self) -> torch.dtype:
        """What the pipeline hands in and gets back."""
        return self._dtype

    @property
    def device(self) -> torch.device:
        """Where the means are."""
        return self.get_buffer("means").device

    def cache_context(self, name: str, **_: Any) -> AbstractContextManager[None]:
        """Nothing is cached here."""
        return nullcontext()

    def prompt(self, *classes: int, negative: bool = False) -> dict[str, Tensor]:
        """What the pipeline takes for a prompt of these classes, one sample; none means all of them."""
        for number in classes:
            if number not in range(self.mixture.count):
                raise BadRequest(f"The mixture has the classes 0 to {self.mixture.count - 1}, not {number}.")
        weights = torch.zeros(1, 1, self.mixture.count, dtype=self.dtype, device=self.device)
        weights[..., list(classes) or slice(None)] = 1
        given = {
            "prompt_embeds": weights,
            "pooled_prompt_embeds": weights[:, 0],
            "prompt_attention_mask": torch.ones(1, 1, dtype=self.dtype, device=self.device),
        }
        return {f"negative_{name}": value for name, value in given.items()} if negative else given

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor | None = None,
        pooled_projections: Tensor | None = None,
        guidance: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """The velocity at sigma = timestep / 1000, (B, channels, frames, height, width)."""
        means, classes, weights = self.get_buffer("means"), self.get_buffer("classes"), self.get_buffer("weights")
        x = hidden_states.double().flatten(1)
        sigma = timestep.double()[:, None] / TIMESTEPS
        a = 1 - sigma
        variance = a**2 * self.mixture.spread**2 + sigma**2
        logits = (a * (x @ means.T) - a**2 / 2 * means.square().sum(1)) / variance
        logits = logits + (weights * encoder_hidden_states[:, 0].double()[:, classes]).log()
        mean = logits.softmax(1) @ means
        velocity = (sigma - a * self.mixture.spread**2) / variance * (x - a * mean) - mean
        sample = velocity.reshape(hidden_states.shape).to(hidden_states.dtype)
        return SimpleNamespace(sample=sample) if return_dict else (sample,)
