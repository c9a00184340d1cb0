"""The clips the pocket models learn: one shape moves over a still background.

The prompt decides colour, shape and direction. It leaves open the background (brightness, gradient, a faint tint), the
shape's place, size, brightness and speed: what a model has to choose for itself, early.

A shape travels about half of the shorter side. Slower ones, or backgrounds with more structure, take a small model so
long to tell from noise that it learns colours within minutes and directions not within an hour.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

COLOURS = {"red": (1.0, -1.0, -1.0), "green": (-1.0, 1.0, -1.0), "blue": (-1.0, -1.0, 1.0), "yellow": (1.0, 1.0, -1.0)}
SHAPES = ("disc", "square", "triangle")
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}  # rows grow downwards
FRAMES = (1, 2, 3, 4, 5)
SIDES = (8, 10, 12, 14, 16)
NOMINAL = (5, 12, 12)
"""Latent frames, height and width of the size that half of the training has."""
PIXELS = (4 * (NOMINAL[0] - 1) + 1, 8 * NOMINAL[1], 8 * NOMINAL[2])
"""The same in frames and pixels of the decoded video."""
TRAVEL = (0.45, 0.6)  # of the shorter side in five latent frames


@dataclass(frozen=True)
class Clips:
    """A batch of clips. `video` is (n, F, 3, H, W) in [-1, 1]; `prompts` has (colour, shape, direction) of each."""

    video: torch.Tensor
    prompts: list[tuple[str, str, str]]


def generate(n: int, frames: int, height: int, width: int, generator: torch.Generator) -> Clips:
    """Draw `n` clips of `frames` x `height` x `width` latent pixels from a seeded CPU generator."""

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    def choose(many: int) -> torch.Tensor:
        return torch.randint(many, (n,), generator=generator)

    colour, shape, direction = choose(len(COLOURS)), choose(len(SHAPES)), choose(len(DIRECTIONS))
    still = background(n, height, width, generator)

    short = min(height, width)
    sides = torch.tensor([float(height), float(width)])
    radius = uniform(0.17, 0.25).mul(short)
    way = torch.tensor(list(DIRECTIONS.values()), dtype=torch.float32)[direction]  # (n, 2)
    room = way.abs() @ sides - 2 * radius
    speed = torch.minimum(uniform(*TRAVEL).mul(short), room) / (FRAMES[-1] - 1)  # pixels a frame

    # The centre of the path lies where the whole path stays within the frame.
    half = way.abs() * (speed * (frames - 1) / 2)[:, None] + radius[:, None]
    slack = (sides - 2 * half).clamp(min=0)
    middle = sides / 2 + slack * (torch.rand(n, 2, generator=generator) - 0.5)
    when = torch.arange(frames) - (frames - 1) / 2
    centre = middle[:, None] + way[:, None] * (speed[:, None] * when)[..., None]  # (n, F, 2)

    mask = coverage(shape, centre, radius, height, width)[:, :, None]
    paint = torch.tensor(list(COLOURS.values()))[colour] * uniform(0.85, 1.0)[:, None]
    video = still[:, None] * (1 - mask) + paint[:, None, :, None, None] * mask
    names = zip(colour.tolist(), shape.tolist(), direction.tolist(), strict=True)
    return Clips(video, [(list(COLOURS)[c], SHAPES[s], list(DIRECTIONS)[d]) for c, s, d in names])


def background(n: int, height: int, width: int, generator: torch.Generator) -> torch.Tensor:
    """Still backgrounds (n, 3, H, W): brightness is wide and smooth, the tint far below that of any shape."""
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None, :]

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(n, *shape, generator=generator)

    level = 0.8 * normal(1, 1) + 0.4 * normal(1, 1) * y + 0.4 * normal(1, 1) * x
    tint = normal(3)
    tint = tint - tint.mean(1, keepdim=True)
    tint = 0.3 * tint / tint.norm(dim=1, keepdim=True) * torch.rand(n, 1, generator=generator)
    still: torch.Tensor = 0.8 * torch.tanh(level)[:, None] + tint[:, :, None, None]
    return still


def coverage(shape: torch.Tensor, centre: torch.Tensor, radius: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """How much of each pixel the shape covers, (n, F, H, W) in [0, 1], from its distance to the outline."""
    y = torch.arange(height)[:, None] + 0.5 - centre[..., 0, None, None]
    x = torch.arange(width)[None, :] + 0.5 - centre[..., 1, None, None]
    r = radius[:, None, None, None]
    disc = torch.hypot(x, y) - r
    square = torch.maximum(x.abs(), y.abs()) - 0.88 * r
    # Three half planes, apex up; the corners lie on a circle a little larger than the disc.
    slope = math.sqrt(3) / 2
    triangle = torch.maximum(slope * x.abs() - y / 2, y) - 0.62 * r
    outline: torch.Tensor = torch.stack([disc, square, triangle], 1)[torch.arange(len(shape)), shape]
    return (0.5 - outline).clamp(0, 1)


def bucket(generator: torch.Generator, *, nominal: float = 0.5) -> tuple[int, int, int]:
    """A (frames, height, width) to train on: `NOMINAL` with probability `nominal`, else any."""
    if torch.rand((), generator=generator) < nominal:
        return NOMINAL
    frames, height, width = (int(torch.randint(len(c), (), generator=generator)) for c in (FRAMES, SIDES, SIDES))
    return FRAMES[frames], SIDES[height], SIDES[width]


def tokens(frames: int, height: int, width: int) -> int:
    """Video tokens of a latent clip at patch size 2."""
    return frames * (height // 2) * (width // 2)
