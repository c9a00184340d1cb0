"""Tiny pipelines for the probes, with guidance and without: the real classes, ready-made prompts, no VAE.

`run(name, pipe, guided=...)` gives the latents of a seeded call. `CASES` says by hand where each transformer has its
blocks, so that the probes' own table is checked against something.
"""

from collections.abc import Callable
from operator import attrgetter
from types import SimpleNamespace
from typing import NamedTuple

import diffusers
import tiny_pipelines
import torch
from tiny_pipelines import HEADS, TEXT, TEXT_DIM, WAN, _forgiving, tiny_cogvideox


def _nothing(count):
    names = ["text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2", "text_encoder_3", "tokenizer_3"]
    return dict.fromkeys([*names[:count], "vae"])


def _deep(name, **changes):
    """A tiny pipeline with two blocks of each kind, where one block would make all signals of blocks one."""
    pipe = tiny_pipelines.build(name)
    config = {k: v for k, v in pipe.transformer.config.items() if not k.startswith("_")}
    depths = {k: 2 for k in ("num_layers", "num_single_layers") if k in config}
    return {"transformer": type(pipe.transformer)(**config | depths | changes)}


def _hunyuanvideo():
    return diffusers.HunyuanVideoPipeline(
        **_nothing(4), **_deep("hunyuanvideo"), scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=7.0)
    )


def _framepack():
    pipe = tiny_pipelines.build("framepack")
    pipe.transformer = _deep("framepack")["transformer"]
    return pipe


def _hunyuanvideo15():
    pipe = tiny_pipelines.build("hunyuanvideo15-t2v")
    pipe.transformer = _deep("hunyuanvideo15-t2v")["transformer"]
    return pipe


def _cogvideox(scheduler):
    pipe = diffusers.CogVideoXPipeline(
        **_nothing(2), transformer=tiny_cogvideox.tiny("2b", num_layers=2, sample_height=2, sample_width=2),
        scheduler=scheduler(prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True),
    )  # fmt: skip
    pipe.vae_scale_factor_spatial, pipe.vae_scale_factor_temporal = 8, 4
    return pipe


def _wan(**more):
    return diffusers.WanPipeline(
        **_nothing(2), **_deep("wan2.1-t2v"), **more,
        scheduler=diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    )  # fmt: skip


def _wan22():
    return _wan(transformer_2=diffusers.WanTransformer3DModel(**WAN | {"num_layers": 2}), boundary_ratio=0.8)


def _mochi():
    return diffusers.MochiPipeline(
        **_nothing(2),
        **_deep("mochi", num_layers=3),  # the last block gives no text
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
    )


def _ltx():
    return diffusers.LTXPipeline(
        **_nothing(2), **_deep("ltx"),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip


def _allegro():
    pipe = tiny_pipelines.build("allegro")
    pipe.transformer = _deep("allegro")["transformer"]
    return pipe


def _sd3():
    return diffusers.StableDiffusion3Pipeline(
        **_nothing(6),
        transformer=diffusers.SD3Transformer2DModel(
            **HEADS, sample_size=4, patch_size=2, in_channels=4, out_channels=4, num_layers=3, pos_embed_max_size=4,
            caption_projection_dim=16, joint_attention_dim=TEXT_DIM, pooled_projection_dim=TEXT_DIM,
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    )  # fmt: skip


def _flux():
    return diffusers.FluxPipeline(
        **_nothing(4),
        transformer=diffusers.FluxTransformer2DModel(
            **HEADS, in_channels=16, num_layers=2, num_single_layers=2, joint_attention_dim=TEXT_DIM,
            pooled_projection_dim=TEXT_DIM, guidance_embeds=True, axes_dims_rope=(4, 6, 6),
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )  # fmt: skip


def _text(length=TEXT, dim=TEXT_DIM):
    return {"prompt_embeds": torch.randn(1, length, dim)}


def _pooled():
    return {"pooled_prompt_embeds": torch.randn(1, TEXT_DIM)}


def _mask(name="prompt_attention_mask", dtype=torch.bool):
    return {name: torch.ones(1, TEXT, dtype=dtype)}


def _text15():
    return {
        **_text(), **_mask("prompt_embeds_mask", torch.long), "prompt_embeds_2": torch.randn(1, TEXT, TEXT_DIM),
        **_mask("prompt_embeds_mask_2", torch.long),
    }  # fmt: skip


def _cog_text():
    return _text(tiny_cogvideox.TEXT, tiny_cogvideox.TEXT_DIM)


class Case(NamedTuple):
    """How to build and call a pipeline, and by hand where its transformer has what is measured."""

    build: Callable
    prompt: Callable
    sizes: dict
    scale: str  # what guidance is called
    blocks: tuple
    attention: str
    time: str
    video: int = 0  # of what a block returns
    channels: int = 1  # the axis of the latents'

    def inside(self, model):
        """First and last block, first self-attention, and the timestep's MLP."""
        blocks = [block for name in self.blocks for block in getattr(model, name)]
        return SimpleNamespace(
            first=blocks[0],
            last=blocks[-1],
            attention=getattr(blocks[0], self.attention),
            time=attrgetter(self.time)(model),
        )


VIDEO = {"height": 16, "width": 16, "num_frames": 9}
IMAGE = {"height": 32, "width": 32}
LTX = {"height": 64, "width": 64, "num_frames": 9}
ALLEGRO = {"height": 16, "width": 32, "num_frames": 24, "negative_prompt": None}
CFG, TRUE_CFG = "guidance_scale", "true_cfg_scale"
ONE, BOTH = ("transformer_blocks",), ("transformer_blocks", "single_transformer_blocks")
WITH_TEXT = "time_text_embed.timestep_embedder"
ALONE = "time_embed.timestep_embedder"
WANS = CFG, ("blocks",), "attn1", "condition_embedder.time_embedder"
COG = CFG, ONE, "attn1", "time_embedding", 0, 2


def _masked():
    return _text() | _mask()


def _whole():
    return _text() | _mask() | _pooled()


def _short():
    return _text() | _pooled()


def _with_image():
    return _whole() | {"image": torch.rand(1, 3, 16, 16)}


CASES = {
    "hunyuanvideo": Case(_hunyuanvideo, _whole, VIDEO, TRUE_CFG, BOTH, "attn", WITH_TEXT),
    "cogvideox-ddim": Case(lambda: _cogvideox(diffusers.CogVideoXDDIMScheduler), _cog_text, VIDEO, *COG),
    "cogvideox-dpm": Case(
        lambda: _cogvideox(diffusers.CogVideoXDPMScheduler), _cog_text, VIDEO | {"use_dynamic_cfg": True}, *COG
    ),
    "wan2.1": Case(_wan, _text, VIDEO, *WANS),
    "wan2.2": Case(_wan22, _text, VIDEO, *WANS),
    "mochi": Case(_mochi, _masked, VIDEO, CFG, ONE, "attn1", ALONE),
    "ltx": Case(_ltx, _masked, LTX, CFG, ONE, "attn1", "time_embed.emb.timestep_embedder", channels=-1),
    "sd3": Case(_sd3, _short, IMAGE, CFG, ONE, "attn", WITH_TEXT, video=1),
    "flux": Case(_flux, _short, IMAGE, TRUE_CFG, BOTH, "attn", WITH_TEXT, video=1, channels=-1),
    "framepack": Case(_framepack, _with_image, VIDEO | {"latent_window_size": 2}, TRUE_CFG, BOTH, "attn", WITH_TEXT),
    "hunyuanvideo15": Case(_hunyuanvideo15, _text15, VIDEO, "guider", ONE, "attn", ALONE),
    "allegro": Case(_allegro, _masked, ALLEGRO, CFG, ONE, "attn1", "adaln_single.emb.timestep_embedder"),
}
NAMES = tuple(CASES)
SCALE = 4.0


def build(name):
    """The pipeline, seeded, in evaluation mode."""
    with torch.random.fork_rng(), _forgiving():
        torch.manual_seed(0)
        pipe = CASES[name].build()
    for part in pipe.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def run(name, pipe, *, guided=True, steps=4, seed=0, mode=torch.no_grad, **changes):
    """The latents of a call; those of all sections in one row for Framepack."""
    case = CASES[name]
    with torch.random.fork_rng(), mode(), _forgiving():
        torch.manual_seed(seed)
        given, negative = case.prompt(), case.prompt()
        if guided:
            given |= {f"negative_{k}": v for k, v in negative.items() if k != "image"}
        if pipe.transformer.dtype != torch.float32:  # as the pipeline's own text encoders give them
            floats = {k: v for k, v in given.items() if torch.is_tensor(v) and v.is_floating_point()}
            given |= {k: v.to(pipe.transformer.dtype) for k, v in floats.items()}
        if case.scale == "guider":
            pipe.guider.guidance_scale = SCALE if guided else 1.0
        else:
            given[case.scale] = SCALE if guided else 1.0
        out = pipe(**given | case.sizes | {"num_inference_steps": steps, "output_type": "latent"} | changes)[0]
        return torch.cat([part.flatten() for part in out]) if isinstance(out, list) else out
