"""What is seen in a clip: colour and motion of its largest blob. Fixed rules, nothing learned.

1. A pixel's chroma is its RGB less its own mean. Backgrounds are near grey, so a pixel with chroma >= 0.8 (the four
   colours at full brightness have 1.63; no background exceeds 0.3) belongs to the colour whose chroma points most
   nearly the same way.
2. Blobs are 4-connected pixels of one colour. Each frame keeps its largest blob of each colour; the clip's colour is
   the one whose blobs are largest in sum.
3. Motion is the least-squares slope of that blob's centre against the frame number. The longer axis names the
   direction if it travels at least `MOVES` of the clip's shorter side and 1.5 times as far as the other axis.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from tracer.probes.pocket.clips import COLOURS, DIRECTIONS

CHROMA = 0.8
MOVES = 0.03


@dataclass(frozen=True)
class Seen:
    """Colour and direction as words, None where there is none to be seen (no blob; one frame; hardly any motion)."""

    colour: str | None
    direction: str | None


def check(video: torch.Tensor) -> Seen:
    """Look at one clip (F, 3, H, W) with values in [-1, 1], latent or decoded."""
    chroma = (video - video.mean(1, keepdim=True)).float()
    wheel = torch.tensor(list(COLOURS.values()))
    wheel = wheel - wheel.mean(1, keepdim=True)
    wheel = wheel / wheel.norm(dim=1, keepdim=True)
    nearest = torch.einsum("kc,fchw->fkhw", wheel, chroma).argmax(1)
    strong = chroma.norm(dim=1) >= CHROMA
    masks = torch.stack([strong & (nearest == k) for k in range(len(wheel))])  # (colours, F, H, W)
    blobs = torch.stack([largest(m) for m in masks.flatten(0, 1)]).view_as(masks)
    sizes = blobs.flatten(1).sum(1)
    if not sizes.any():
        return Seen(None, None)
    best = int(sizes.argmax())
    return Seen(list(COLOURS)[best], motion(blobs[best]))


def largest(mask: torch.Tensor) -> torch.Tensor:
    """The largest 4-connected blob of a (H, W) mask, as a mask; labels spread until they stand still."""
    height, width = mask.shape
    labels = torch.arange(1, height * width + 1).view(height, width) * mask
    while True:
        padded = torch.nn.functional.pad(labels, (1, 1, 1, 1))
        beside = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        spread = torch.stack([labels, *beside]).amax(0) * mask
        if torch.equal(spread, labels):
            break
        labels = spread
    counts = labels.flatten().bincount()
    counts[0] = 0
    return (labels == counts.argmax()) & mask


def motion(blob: torch.Tensor) -> str | None:
    """The direction in which the blob of a (F, H, W) mask moves, or None."""
    there = blob.flatten(1).any(1).nonzero().flatten()
    if len(there) < 2:
        return None
    centres = torch.stack([frame.nonzero().float().mean(0) for frame in blob[there]])
    when = there.float() - there.float().mean()
    travel = (when @ (centres - centres.mean(0))) / (when @ when) * (len(blob) - 1)  # rows, columns
    far, near = travel.abs().max(), travel.abs().min()
    if far < MOVES * min(blob.shape[1:]) or far < 1.5 * near:
        return None
    axis = int(travel.abs().argmax())
    step = tuple(int(travel[axis].sign()) if a == axis else 0 for a in (0, 1))
    return next(name for name, way in DIRECTIONS.items() if way == step)
