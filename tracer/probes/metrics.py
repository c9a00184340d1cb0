"""How much a tensor changes: pure functions of tensors, each one number on the tensors' own device.

All count in float32 (float64 stays float64) whatever the tensors' dtype, over all elements of all samples. Nothing is
moved to the host. Where the tensor before, or dt, is zero, a ratio is inf or nan, as division has it.
"""

from __future__ import annotations

import torch
from torch import Tensor

METRICS = {
    "mean_abs": "mean|a|",
    "rel_l1": "mean|a - b| / mean|b|, b of the step before",
    "rel_l1_per_dt": "the same, divided by |sigma - sigma of b|",
    "magnitude_ratio": "mean over tokens of |a|₂ / |b|₂, b of the step before",
    "cosine": "mean over tokens of the cosine between a and b, b of the step before",
    "rel_l1_computed": "mean|a - b| / mean|b|, b of the last step that a first-block cache would have computed",
}

DEFAULT_METRICS = ("mean_abs", "rel_l1", "rel_l1_per_dt", "magnitude_ratio", "cosine")
"""All that do with one copy, that of the step before."""

_LEAST = 1e-8
"""Of the product of two lengths, as in torch's cosine_similarity."""


def wide(a: Tensor) -> Tensor:
    """The tensor in float32, or as it is in float64."""
    return a.to(torch.promote_types(a.dtype, torch.float32))


def mean_abs(a: Tensor) -> Tensor:
    """mean|a|. A 0-dim tensor.

    By `mean`, not by `vector_norm`: on the CPU that adds up one after the other, and is 0.6 % low for 2·10⁷ normal
    numbers.
    """
    return a.abs().mean(dtype=torch.promote_types(a.dtype, torch.float32))


def relative(change: Tensor, b: Tensor) -> Tensor:
    """mean|change| / mean|b|. A 0-dim tensor."""
    return mean_abs(change) / mean_abs(b)


def rel_l1(a: Tensor, b: Tensor) -> Tensor:
    """mean|a - b| / mean|b|. A 0-dim tensor.

    With b of the step before it is TeaCache's distance (ali-vilab/TeaCache, teacache_sample_video.py of HunyuanVideo),
    with b of the last computed step that of diffusers' FirstBlockCache (hooks/first_block_cache.py).
    """
    return relative(wide(a) - b, b)


def per_dt(value: Tensor, dt: Tensor | float) -> Tensor:
    """A value divided by |dt|. A 0-dim tensor."""
    return value / (dt.abs() if isinstance(dt, Tensor) else abs(dt))


def rel_l1_per_dt(a: Tensor, b: Tensor, dt: Tensor | float) -> Tensor:
    """rel_l1(a, b) / |dt|: comparable between schedules; dt in units of sigma. A 0-dim tensor."""
    return per_dt(rel_l1(a, b), dt)


def magnitude_ratio(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Mean over tokens of |a|₂ / |b|₂, a token being what lies along `dim`. A 0-dim tensor.

    With residuals of all blocks it is MagCache's ratio (arXiv 2506.09045; diffusers hooks/mag_cache.py).
    """
    return (_dot(a, a, dim) / _dot(b, b, dim)).sqrt().mean()


def cosine(a: Tensor, b: Tensor, dim: int = -1) -> Tensor:
    """Mean over tokens of the cosine between a and b; MagCache's calibration prints one minus it. A 0-dim tensor."""
    lengths = (_dot(a, a, dim) * _dot(b, b, dim)).sqrt()
    return (_dot(a, b, dim) / lengths.clamp_min(_LEAST)).mean()


def _dot(a: Tensor, b: Tensor, dim: int) -> Tensor:
    # vector_norm and cosine_similarity take ten times as long along an axis that is not the last
    return (wide(a) * wide(b)).sum(dim)


def euler_change(prediction: Tensor, dt: Tensor | float) -> Tensor:
    """The change of the latents in one step of flow-matching Euler, prediction · dt, shaped as the prediction.

    The scheduler rounds the sum of latents and change to the prediction's dtype: in bfloat16 a small step moves
    about half of the elements not at all, and a difference of latents measures too little.
    """
    return wide(prediction) * dt


def rounding_bound(after: Tensor, before: Tensor) -> Tensor:
    """How far rounding to the dtype of `after` can move rel_l1(after, before): u · mean|after| / mean|before|.

    u is half of the dtype's epsilon. What a scheduler loses before its last rounding is not counted. A 0-dim tensor.
    """
    return relative(after, before) * (torch.finfo(after.dtype).eps / 2)


def changes(
    metrics: tuple[str, ...], a: Tensor, b: Tensor, change: Tensor, dt: Tensor | float | None, dim: int
) -> dict[str, Tensor]:
    """The asked metrics of a step from b to a = b + change, by name; per dt only where there is a dt."""
    out = {}
    if "rel_l1" in metrics or "rel_l1_per_dt" in metrics:
        size = relative(change, b)
        if "rel_l1" in metrics:
            out["rel_l1"] = size
        if "rel_l1_per_dt" in metrics and dt is not None:
            out["rel_l1_per_dt"] = per_dt(size, dt)
    if "magnitude_ratio" in metrics:
        out["magnitude_ratio"] = magnitude_ratio(a, b, dim)
    if "cosine" in metrics:
        out["cosine"] = cosine(a, b, dim)
    return out
