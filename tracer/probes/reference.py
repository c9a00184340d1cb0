"""The 50 measured steps of the real HunyuanVideo that an article prints, and what can be checked about them.

Source of the numbers: nishiha, "HunyuanvideoのL1推移", https://qiita.com/nishiha/items/908e3950d941a06a10cc.
HunyuanVideo in bfloat16, 50 steps of Euler at shift 1, 1 frame of 320×512 pixels, true CFG 6, embedded guidance 1.
Each column is mean|x| of a tensor, not a difference between two steps: most of it follows from noise and data being
mixed in known parts, as `identities` shows.
"""

from __future__ import annotations

import csv
import struct
from collections.abc import Sequence
from importlib import resources
from itertools import pairwise
from math import pi, sqrt
from statistics import median
from typing import NamedTuple

from tracer.probes.log import ProbeLog, Row

TITLE = "HunyuanvideoのL1推移"
WHERE = "https://qiita.com/nishiha/items/908e3950d941a06a10cc"
STEPS, GUIDANCE = 50, 6.0
_FILE = "data/hunyuan_l1_table.csv"
_NORMAL = sqrt(2 / pi)
"""mean|x| of a standard normal x."""
_PLATEAU = slice(2, 47)
"""Steps in which the predictions hardly change their size."""


class Measured(NamedTuple):
    """One step: its timestep, and mean|x| of four tensors in the column's order.

    latent_in: latents that the model is given. cond: conditional prediction. cfg: the prediction after guidance.
    latents: what the scheduler's step returns.
    """

    step: int
    timestep: float
    latent_in: float
    cond: float
    cfg: float
    latents: float

    @property
    def sigma(self) -> float:
        """The noise level, a thousandth of the timestep."""
        return self.timestep / 1000


class Identity(NamedTuple):
    """One thing that is checked: it holds where `measured` lies between `least` and `most`.

    name: short. says: what `measured` is, in a sentence.
    """

    name: str
    says: str
    measured: float
    least: float
    most: float

    @property
    def holds(self) -> bool:
        """Whether the measured number lies within its limits."""
        return self.least <= self.measured <= self.most


def measured() -> list[Measured]:
    """The 50 rows as they are printed, from noise to video."""
    text = resources.files("tracer.probes").joinpath(_FILE).read_text(encoding="utf-8")
    lines = list(csv.reader(text.splitlines()))[1:]
    return [Measured(round(float(line[0])), *map(float, line[1:])) for line in lines]


def mixed(sigma: float, size: float) -> float:
    """mean|x| of x = (1 - sigma) data + sigma noise, both normal, of standard deviations `size` and 1."""
    return _NORMAL * sqrt(((1 - sigma) * size) ** 2 + sigma**2)


def identities(rows: Sequence[Measured] | None = None) -> list[Identity]:
    """What holds of the table, each with the number that was found; of other rows of the same kind where given."""
    rows = measured() if rows is None else rows
    size = rows[-1].latents / _NORMAL
    steps = len(rows)
    numbers = [value for row in rows for value in row[1:]]
    levels = [mixed(row.sigma, size) for row in rows]
    lowest = min(range(steps), key=levels.__getitem__)
    velocity = _NORMAL * sqrt(1 + size**2)
    moved = [row.cfg / row.latent_in / steps for row in rows]
    inner = [row.cond for row in rows[_PLATEAU]]

    def jump(column: str) -> float:
        first, second = getattr(rows[0], column), getattr(rows[1], column)
        return float(abs(second - first) / first)

    return [
        _exactly("timesteps", "largest distance of a timestep from 1000 - 20 i",
                 max(abs(row.timestep - (1000 - 1000 / steps * i)) for i, row in enumerate(rows))),
        _exactly("chain", "largest distance between mean|latents| after a step and mean|latents| into the next",
                 max(abs(a.latents - b.latent_in) for a, b in pairwise(rows))),
        _exactly("bfloat16", "values that are no bfloat16 number, of all in the table",
                 float(sum(not _is_bfloat16(value) for value in numbers))),
        _near("noise", "mean|latents| into the first step over that of standard normal noise, sqrt(2/pi)",
              rows[0].latent_in / _NORMAL, 1, 2**-8),
        Identity("interpolation", "largest relative distance of mean|latents| from that of noise and data mixed by "
                 f"sigma, sqrt(2/pi) sqrt(((1 - sigma) {size:.3f})² + sigma²)",
                 max(abs(row.latent_in / level - 1) for row, level in zip(rows, levels, strict=True)), 0, 0.013),
        _near("minimum", f"least mean|latents| over the least of that formula, {levels[lowest]:.3f} at step {lowest}",
              min(row.latent_in for row in rows) / levels[lowest], 1, 0.013),
        _near("velocity", "median of mean|guided prediction| over that of noise minus data, sqrt(2/pi) "
              f"sqrt(1 + {size:.3f}²)", median(row.cfg for row in rows) / velocity, 1, 0.013),
        Identity("plateau", "largest over least mean|conditional prediction| of steps 2 to 46: the table says little "
                 "about the model there", max(inner) / min(inner), 1, 1.05),
        Identity("first change, conditional", "least relative L1 of the conditional prediction at step 1 that the two "
                 "sizes allow", jump("cond"), 0.44, 1),
        Identity("first change, guided", "least relative L1 of the guided prediction at step 1 that the two sizes "
                 "allow", jump("cfg"), 0.59, 1),
        Identity("last change", "mean|conditional prediction| of the last step over that of five steps before",
                 rows[-1].cond / rows[-6].cond, 0, 0.95),
        _near("first step", "relative L1 of the latents in the first step, dt mean|guided prediction| / mean|latents|",
              moved[0], 0.0874, 0.0005),
        Identity("first step is the largest", "relative L1 of the latents in the first step over the largest "
                 "of all others",
                 moved[0] / max(moved[1:]), 1, float("inf")),
    ]  # fmt: skip


def log() -> ProbeLog:
    """The table as a log, to be merged with others and drawn over them: metric mean_abs alone, in bfloat16."""
    rows = measured()
    sigmas = [*(row.sigma for row in rows), 0.0]
    values = []
    for i, row in enumerate(rows):
        sizes = [("latents", "", row.latent_in), ("prediction", "cond", row.cond),
                 ("prediction", "combined", row.cfg), ("latents_after", "", row.latents)]  # fmt: skip
        values += [
            Row(0, row.step, row.timestep, row.sigma, sigmas[i + 1] - row.sigma, GUIDANCE, signal, branch, "mean_abs",
                "", "bfloat16", None, size)
            for signal, branch, size in sizes
        ]  # fmt: skip
    told = {
        "source": "measured on HunyuanVideo, mean|x|",
        "article": {"title": TITLE, "where": WHERE},
        "pipeline": "HunyuanVideoPipeline",
        "transformer": {"transformer": "HunyuanVideoTransformer3DModel"},
        "transformer_dtype": "bfloat16",
        "scheduler": "FlowMatchEulerDiscreteScheduler",
        "scheduler_config": {"shift": 1.0},
        "arguments": {
            "height": 320, "width": 512, "num_frames": 1, "num_inference_steps": len(rows),
            "true_cfg_scale": GUIDANCE, "guidance_scale": 1.0,
        },
        "forwards_per_step": 2,
        "steps": len(rows),
        "sigmas": sigmas,
    }  # fmt: skip
    return ProbeLog(values, {0: told})


def _exactly(name: str, says: str, number: float) -> Identity:
    return Identity(name, says, number, 0, 0)


def _near(name: str, says: str, number: float, wanted: float, by: float) -> Identity:
    return Identity(name, says, number, wanted - by, wanted + by)


def _is_bfloat16(value: float) -> bool:
    """Whether a value is a float32 whose lower half is empty."""
    whole = struct.pack(">f", value)
    return struct.unpack(">f", whole)[0] == value and whole[2:] == b"\0\0"
