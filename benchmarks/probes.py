"""What a probe costs a step of HunyuanVideo's pipeline with random weights: ratios to the same pipeline without it.

Bare and probed runs take turns in one process, and the fastest of each are compared: what else the machine does only
ever lengthens a run. The column `again` is the bare pipeline against itself, measured the same way: what differs from 1
there is the machine. On the CPU the time is the process's own. The full-size model runs where a CUDA device has room.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, NamedTuple

WAYS: dict[str, dict[str, Any] | None] = {"bare": None, "default": {}, "all": {"signals": "all", "metrics": "all"}}
NEEDED = 40 * 2**30
"""Bytes of a CUDA device that the full-size model needs: 25 GiB of weights, activations, and every signal's copies."""


class Size(NamedTuple):
    """A pipeline and a call: transformer config, text tokens, pixels, frames, steps; and how many runs a round has."""

    name: str
    config: dict[str, Any]
    text: int
    height: int
    width: int
    frames: int
    steps: int
    rounds: int


POCKET = Size(
    "pocket, CPU, float32",
    {
        "in_channels": 3, "out_channels": 3, "num_attention_heads": 4, "attention_head_dim": 32, "num_layers": 2,
        "num_single_layers": 4, "num_refiner_layers": 1, "mlp_ratio": 3.0, "text_embed_dim": 32,
        "pooled_projection_dim": 32, "rope_axes_dim": (8, 12, 12), "guidance_embeds": False,
    },
    text=3, height=128, width=128, frames=17, steps=10, rounds=3,
)  # fmt: skip
FULL = Size("full size, CUDA, bfloat16", {}, text=256, height=544, width=960, frames=61, steps=4, rounds=1)


def pipeline(size: Size, device: str, dtype: Any) -> Callable[..., Any]:
    """A call of HunyuanVideoPipeline without text encoders and VAE, guided, with random weights; `run.pipe` has it."""
    import diffusers
    import torch

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            transformer = diffusers.HunyuanVideoTransformer3DModel(**size.config).eval()
    finally:
        torch.set_default_dtype(before)
    pipe = diffusers.HunyuanVideoPipeline(
        text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, vae=None, transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    config = transformer.config
    prompt = {
        "prompt_embeds": torch.randn(1, size.text, config.text_embed_dim, device=device, dtype=dtype),
        "pooled_prompt_embeds": torch.randn(1, config.pooled_projection_dim, device=device, dtype=dtype),
        "prompt_attention_mask": torch.ones(1, size.text, device=device, dtype=dtype),
    }
    given = prompt | {f"negative_{name}": value for name, value in prompt.items()}

    def run() -> Any:
        return pipe(
            **given, true_cfg_scale=6.0, height=size.height, width=size.width, num_frames=size.frames,
            num_inference_steps=size.steps, output_type="latent", generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    run.pipe = pipe  # type: ignore[attr-defined]
    return run


def measure(size: Size, device: str, dtype: Any, rounds: int) -> dict[str, Any]:
    """Seconds of a bare step, the ratio to it of every way, and the bytes that copies took between steps."""
    import torch

    from tracer.probes.attach import L1Probe

    run = pipeline(size, device, dtype)
    kept: dict[str, int] = {}
    clock = time.perf_counter if device == "cuda" else time.process_time

    def timed(way: str) -> float:
        options = WAYS[way]
        gc.collect()
        start = clock()
        if options is None:
            run()
        else:
            with L1Probe(run.pipe, **options) as probe:  # type: ignore[attr-defined]
                run()
            kept[way] = probe.bytes
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    for way in WAYS:
        timed(way)
    times: dict[str, list[float]] = {way: [] for way in ("again", *WAYS)}
    for _ in range(rounds * size.rounds):
        for way in ("bare", "default", "again", "all"):
            times[way].append(timed("bare" if way == "again" else way))
    fastest = {way: min(found) for way, found in times.items()}
    bare = fastest.pop("bare")
    return {
        "seconds": bare / size.steps,
        "ratios": {way: found / bare for way, found in fastest.items()},
        "bytes": kept,
    }


def has_room() -> bool:
    """Whether there is a CUDA device with room for the full-size model."""
    import torch

    return torch.cuda.is_available() and torch.cuda.mem_get_info()[0] >= NEEDED


def report(rounds: int) -> None:
    """Measure and print."""
    import torch

    heads = ["again", *list(WAYS)[1:], *(f"copies, {way}" for way in list(WAYS)[1:])]
    print(f"{'a step of HunyuanVideo':<28}{'bare':>10}" + "".join(f"{head:>17}" for head in heads))
    sizes = [(POCKET, "cpu", torch.float32)]
    if has_room():
        sizes.append((FULL, "cuda", torch.bfloat16))
    for size, device, dtype in sizes:
        found = measure(size, device, dtype, rounds)
        cells = [f"{ratio:.3f}×" for ratio in found["ratios"].values()]
        cells += [f"{taken / 2**20:,.2f} MiB" for taken in found["bytes"].values()]
        print(f"{size.name:<28}{1000 * found['seconds']:>7,.1f} ms" + "".join(f"{cell:>17}" for cell in cells))
    if len(sizes) == 1:
        print(f"{FULL.name}: not measured, no CUDA device with {NEEDED / 2**30:.0f} GiB free.")
