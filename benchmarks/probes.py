"""What a probe costs a step of the pocket pipelines, and of HunyuanVideo at full size: ratios to the bare pipeline.

Bare and probed runs take turns in one process, and the fastest of each are compared: what else the machine does only
ever lengthens a run. The column `again` is the bare pipeline against itself, measured the same way: what differs from 1
there is the machine. On the CPU the time is the process's own. The full-size model, with random weights, runs where a
CUDA device has room.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any

WAYS: dict[str, dict[str, Any] | None] = {"bare": None, "default": {}, "all": {"signals": "all", "metrics": "all"}}
NEEDED = 40 * 2**30
"""Bytes of a CUDA device that the full-size model needs: 25 GiB of weights, activations, and every signal's copies."""
STEPS = {"cpu": 10, "cuda": 4}
ROUNDS = {"cpu": 3, "cuda": 1}
FULL = "full size, CUDA, bfloat16"


def small(name: str) -> tuple[Any, Callable[[], Any]]:
    """A pocket pipeline, and a guided call of it."""
    from tracer.probes.pocket import load

    pocket = load(name)
    return pocket.pipe, lambda: pocket("a red disc moving left", steps=STEPS["cpu"], output_type="latent")


def full() -> tuple[Any, Callable[[], Any]]:
    """HunyuanVideoPipeline at its published widths with random weights, without text encoders and VAE, and a call."""
    import diffusers
    import torch

    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        with torch.device("cuda"):
            transformer = diffusers.HunyuanVideoTransformer3DModel().eval()
    finally:
        torch.set_default_dtype(before)
    pipe = diffusers.HunyuanVideoPipeline(
        text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None, vae=None, transformer=transformer,
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    config, given = transformer.config, {"device": "cuda", "dtype": torch.bfloat16}
    prompt = {
        "prompt_embeds": torch.randn(1, 256, config.text_embed_dim, **given),
        "pooled_prompt_embeds": torch.randn(1, config.pooled_projection_dim, **given),
        "prompt_attention_mask": torch.ones(1, 256, **given),
    }
    both = prompt | {f"negative_{name}": value for name, value in prompt.items()}

    def run() -> Any:
        return pipe(
            **both, true_cfg_scale=6.0, height=544, width=960, num_frames=61, num_inference_steps=STEPS["cuda"],
            output_type="latent", generator=torch.Generator().manual_seed(0),
        )  # fmt: skip

    return pipe, run


def measure(pipe: Any, run: Callable[[], Any], device: str, rounds: int) -> dict[str, Any]:
    """Seconds of a bare step, the ratio to it of every way, and the bytes that copies took between steps."""
    import torch

    from tracer.probes.attach import L1Probe

    kept: dict[str, int] = {}
    clock = time.perf_counter if device == "cuda" else time.process_time

    def timed(way: str) -> float:
        options = WAYS[way]
        gc.collect()
        start = clock()
        if options is None:
            run()
        else:
            with L1Probe(pipe, **options) as probe:
                run()
            kept[way] = probe.bytes
        if device == "cuda":
            torch.cuda.synchronize()
        return clock() - start

    for way in WAYS:
        timed(way)
    times: dict[str, list[float]] = {way: [] for way in ("again", *WAYS)}
    for _ in range(rounds * ROUNDS[device]):
        for way in ("bare", "default", "again", "all"):
            times[way].append(timed("bare" if way == "again" else way))
    fastest = {way: min(found) for way, found in times.items()}
    bare = fastest.pop("bare")
    return {
        "seconds": bare / STEPS[device],
        "ratios": {way: found / bare for way, found in fastest.items()},
        "bytes": kept,
    }


def has_room() -> bool:
    """Whether there is a CUDA device with room for the full-size model."""
    import torch

    return torch.cuda.is_available() and torch.cuda.mem_get_info()[0] >= NEEDED


def report(rounds: int) -> None:
    """Measure and print."""
    from tracer.probes.pocket import NAMES

    heads = ["again", *list(WAYS)[1:], *(f"copies, {way}" for way in list(WAYS)[1:])]
    print(f"{'a denoising step':<28}{'bare':>10}" + "".join(f"{head:>17}" for head in heads))
    makers: list[tuple[str, str, Callable[[], tuple[Any, Callable[[], Any]]]]]
    makers = [(f"{name}, CPU", "cpu", lambda name=name: small(name)) for name in NAMES]
    if has_room():
        makers.append((FULL, "cuda", full))
    for label, device, make in makers:
        found = measure(*make(), device, rounds)
        cells = [f"{ratio:.3f}×" for ratio in found["ratios"].values()]
        cells += [f"{taken / 2**20:,.2f} MiB" for taken in found["bytes"].values()]
        print(f"{label:<28}{1000 * found['seconds']:>7,.1f} ms" + "".join(f"{cell:>17}" for cell in cells))
    if not has_room():
        print(f"{FULL}: not measured, no CUDA device with {NEEDED / 2**30:.0f} GiB free.")
