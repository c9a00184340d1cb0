"""CogVideoX's noise levels: a grid of 1000 alphas with the signal-to-noise ratio divided by c.

They are no function of t in [0, 1] but a table, from which a sampler picks rows. Seen as flow matching sees noise, a
row is u = sqrt(1 - abar) / (sqrt abar + sqrt(1 - abar)), the share of noise where both are scaled to a sum of 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracer.errors import BadRequest
from tracer.probes.schedules import Array, positive, step_count, written


@dataclass(frozen=True)
class SnrShift:
    """The grid of CogVideoX's schedulers: 3 for CogVideoX-2b (and the class default), 1 for 5b.

    scale: c, by which the signal-to-noise ratio abar / (1 - abar) is divided: abar' = abar / (c + (1 - c) abar).
    zero_snr: whether the grid is then stretched so that its last row is noise alone (arXiv 2305.08891, algorithm 1), as
    the published checkpoints do. train_steps, beta_start, beta_end: of the grid, with scaled_linear betas. Source:
    diffusers schedulers/scheduling_ddim_cogvideox.py. Raises BadRequest unless the scale is above 0.
    """

    scale: float = 3.0
    zero_snr: bool = True
    train_steps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", positive("SNR shift", self.scale, "snr:3"))
        step_count(self.train_steps)

    @property
    def name(self) -> str:
        """As `tracer.probes.named.schedule` reads it."""
        return f"snr:{written(self.scale)}"

    @property
    def alphas(self) -> Array:
        """The abar of each training timestep, from nearly clean to noise: shape (train_steps,)."""
        betas = np.linspace(self.beta_start**0.5, self.beta_end**0.5, self.train_steps) ** 2
        grid = np.cumprod(1 - betas)
        grid = grid / (self.scale + (1 - self.scale) * grid)
        if self.zero_snr:
            root = np.sqrt(grid)
            grid = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
        out: Array = grid
        return out

    @property
    def levels(self) -> Array:
        """The u of each training timestep, the share of noise in [0, 1]: shape (train_steps,)."""
        alphas = self.alphas
        signal, noise = np.sqrt(alphas), np.sqrt(1 - alphas)
        out: Array = noise / (signal + noise)
        return out

    def timesteps(self, steps: Any) -> npt.NDArray[np.int64]:
        """The rows that N steps use, "trailing" from the last row down: shape (N,).

        Raises BadRequest for steps below 1 and above the rows of the grid.
        """
        count = step_count(steps)
        if count > self.train_steps:
            raise BadRequest(f"{count} steps are more than the {self.train_steps} rows of the grid; take fewer.")
        rows = np.round(np.arange(self.train_steps, 0, -(self.train_steps / count))).astype(np.int64) - 1
        return rows[:count]

    def landings(self, steps: Any) -> Array:
        """The u that each of N steps of CogVideoX's DDIM and DPM lands on: shape (N,).

        They step down by train_steps // N rows, not to the next of their rows. Where N does not divide the rows, the
        next call is told a level that is up to one row off, and for some N (6, 7, 11, ...) the last step ends on row 0
        and not on 0. Source: step in diffusers schedulers/scheduling_ddim_cogvideox.py; huggingface/diffusers issue
        9261. Raises BadRequest for steps below 1 and above the rows of the grid.
        """
        rows = self.timesteps(steps) - self.train_steps // step_count(steps)
        return np.where(rows >= 0, self.levels[rows], 0.0)

    def sigmas(self, steps: Any) -> Array:
        """The u at the rows that N steps use, and the 0 that the last one is to end on: shape (N + 1,).

        Raises BadRequest for steps below 1 and above the rows of the grid.
        """
        return np.append(self.levels[self.timesteps(steps)], 0.0)
