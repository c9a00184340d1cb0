"""Whole video pipelines made tiny: the real pipeline, VAE, transformer and scheduler classes with few channels.

`build(name)` gives a pipeline, `call(pipe, name, frames=9)` runs its own __call__ on ready-made prompt
embeddings and random weights. What decides frames and sizes is as published: compression, patch sizes,
conditioning, scheduler settings. Only widths, depths and Allegro's tile in space are small.
"""

import sys
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import diffusers
import torch
from PIL import Image
from torch import nn

sys.path.append(str(Path(__file__).parent / "upstream"))

import tiny_cogvideox

TEXT, TEXT_DIM, IMAGE_TOKENS, IMAGE_DIM = 4, 8, 2, 8
HEADS = {"num_attention_heads": 1, "attention_head_dim": 16}
HUNYUAN = HEADS | {
    "num_layers": 1,
    "num_single_layers": 1,
    "num_refiner_layers": 1,
    "text_embed_dim": TEXT_DIM,
    "pooled_projection_dim": TEXT_DIM,
    "rope_axes_dim": (4, 6, 6),
    "mlp_ratio": 1.0,
}
HUNYUAN_1_5 = {
    "num_attention_heads": 1,
    "attention_head_dim": 16,
    "num_layers": 1,
    "num_refiner_layers": 1,
    "text_embed_dim": TEXT_DIM,
    "text_embed_2_dim": TEXT_DIM,
    "image_embed_dim": IMAGE_DIM,
    "rope_axes_dim": (4, 6, 6),
    "mlp_ratio": 1.0,
    "in_channels": 9,  # noise and picture of 4 channels each, and the mask
    "out_channels": 4,
    "target_size": 16,
}
WAN = HEADS | {"num_layers": 1, "text_dim": TEXT_DIM, "freq_dim": 8, "ffn_dim": 16}
COGVIDEOX = {
    "cogvideox-2b": ("2b", 3.0),
    "cogvideox-5b": ("5b", 1.0),
    "cogvideox-5b-i2v": ("5b-I2V", 1.0),
    "cogvideox1.5-5b": ("1.5", 1.0),
    "cogvideox1.5-5b-i2v": ("1.5-I2V", 1.0),
}
"""The tiny transformer's variant, and the scheduler's snr_shift_scale."""

SMALLEST = {"ltx": (32, 32), "allegro": (16, 32)}
"""Height and width of one patch, where that is not 16 by 16; Allegro's attention fails on a single token."""

SIZED = ("hunyuanvideo15-i2v",)
"""Pipelines that take the size from their picture and have no arguments for it."""


class _Vision(nn.Module):
    """Stands in for a vision encoder: some tokens of noise, whatever the picture."""

    dtype, device = torch.float32, torch.device("cpu")

    def __init__(self):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(1, IMAGE_TOKENS, IMAGE_DIM))

    def forward(self, **_):
        return SimpleNamespace(last_hidden_state=self.tokens, hidden_states=[self.tokens] * 2)


class _Pictures(dict):
    """What a picture processor returns: a mapping with a `.to`."""

    def to(self, *_, **__):
        return self


class _Processor:
    """Stands in for a picture processor; what it makes of a picture is not looked at."""

    def __call__(self, images=None, **_):
        return _Pictures(pixel_values=torch.zeros(1))

    preprocess = __call__


def _nothing(*names):
    return dict.fromkeys(names)


def _hunyuan_vae():
    return diffusers.AutoencoderKLHunyuanVideo(
        block_out_channels=(4, 4, 4, 4), latent_channels=16, layers_per_block=1, norm_num_groups=2
    )


def _flow(shift):
    return diffusers.FlowMatchEulerDiscreteScheduler(shift=shift)


def _cogvideox(name):
    variant, shift = COGVIDEOX[name]
    pipe = tiny_cogvideox.pipeline(
        tiny_cogvideox.tiny(variant, sample_height=2, sample_width=2), tiny_cogvideox.tiny_vae()
    )
    pipe.scheduler = diffusers.CogVideoXDDIMScheduler(
        beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
        prediction_type="v_prediction", rescale_betas_zero_snr=True, snr_shift_scale=shift, timestep_spacing="trailing",
    )  # fmt: skip
    return pipe


def _hunyuanvideo(name):
    image = {
        "hunyuanvideo": {},
        "hunyuanvideo-i2v-33ch": {
            "in_channels": 33,
            "guidance_embeds": False,
            "image_condition_type": "latent_concat",
        },
        "hunyuanvideo-i2v": {"image_condition_type": "token_replace"},
    }[name]
    parts = _nothing("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2") | {
        "transformer": diffusers.HunyuanVideoTransformer3DModel(**HUNYUAN, **image),
        "vae": _hunyuan_vae(),
        "scheduler": _flow(7.0),
    }
    if not image:
        return diffusers.HunyuanVideoPipeline(**parts)
    return diffusers.HunyuanVideoImageToVideoPipeline(**parts, image_processor=None)


def _framepack(_):
    return diffusers.HunyuanVideoFramepackPipeline(
        **_nothing("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"),
        transformer=diffusers.HunyuanVideoFramepackTransformer3DModel(
            **HUNYUAN, has_image_proj=True, image_proj_dim=IMAGE_DIM, has_clean_x_embedder=True
        ),
        vae=_hunyuan_vae(),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        image_encoder=_Vision(),
        feature_extractor=_Processor(),
    )


def _hunyuanvideo15(name):
    parts = _nothing("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2") | {
        "transformer": diffusers.HunyuanVideo15Transformer3DModel(**HUNYUAN_1_5, task_type=name[-3:]),
        "vae": diffusers.AutoencoderKLHunyuanVideo15(
            latent_channels=4, block_out_channels=(8, 8, 8, 8, 8), layers_per_block=1
        ),
        "scheduler": _flow(5.0),
        "guider": diffusers.ClassifierFreeGuidance(guidance_scale=1.0),
    }
    if not name.endswith("i2v"):
        return diffusers.HunyuanVideo15Pipeline(**parts)
    return diffusers.HunyuanVideo15ImageToVideoPipeline(
        **parts, image_encoder=_Vision(), feature_extractor=_Processor()
    )


def _wan(name):
    image = {"in_channels": 36, "image_dim": IMAGE_DIM, "added_kv_proj_dim": 16} if name == "wan2.1-i2v" else {}
    parts = _nothing("tokenizer", "text_encoder") | {
        "transformer": diffusers.WanTransformer3DModel(**WAN, **image),
        "vae": diffusers.AutoencoderKLWan(base_dim=2, num_res_blocks=1),
        "scheduler": diffusers.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
        ),
    }
    if not image:
        return diffusers.WanPipeline(**parts)
    return diffusers.WanImageToVideoPipeline(**parts, image_encoder=_Vision(), image_processor=_Processor())


def _mochi(_):
    return diffusers.MochiPipeline(
        **_nothing("text_encoder", "tokenizer"),
        transformer=diffusers.MochiTransformer3DModel(
            **HEADS, num_layers=2, pooled_projection_dim=8, text_embed_dim=TEXT_DIM, time_embed_dim=4
        ),
        vae=diffusers.AutoencoderKLMochi(
            encoder_block_out_channels=(32, 32, 32, 32),
            decoder_block_out_channels=(32, 32, 32, 32),
            layers_per_block=(1, 1, 1, 1, 1),
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
    )


def _ltx(_):
    return diffusers.LTXPipeline(
        **_nothing("text_encoder", "tokenizer"),
        transformer=diffusers.LTXVideoTransformer3DModel(
            **HEADS, in_channels=4, out_channels=4, cross_attention_dim=16, num_layers=1, caption_channels=TEXT_DIM
        ),
        vae=diffusers.AutoencoderKLLTXVideo(
            latent_channels=4,
            block_out_channels=(4, 4, 4, 4),
            decoder_block_out_channels=(4, 4, 4, 4),
            layers_per_block=(1, 1, 1, 1, 1),
            decoder_layers_per_block=(1, 1, 1, 1, 1),
        ),
        scheduler=diffusers.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
    )


def _latte(_):
    return diffusers.LattePipeline(
        **_nothing("text_encoder", "tokenizer"),
        transformer=diffusers.LatteTransformer3DModel(
            **HEADS, in_channels=4, out_channels=8, num_layers=1, cross_attention_dim=16, attention_bias=True,
            sample_size=2, patch_size=2, activation_fn="gelu-approximate", num_embeds_ada_norm=1000,
            norm_type="ada_norm_single", norm_elementwise_affine=False, norm_eps=1e-6, caption_channels=TEXT_DIM,
        ),
        vae=diffusers.AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 4, 4), norm_num_groups=2,
        ),
        scheduler=diffusers.DDIMScheduler(
            beta_schedule="linear", beta_start=0.0001, beta_end=0.02, clip_sample=False
        ),
    )  # fmt: skip


def _allegro(_):
    vae = diffusers.AutoencoderKLAllegro(block_out_channels=(4, 4, 4, 4), layers_per_block=1, norm_num_groups=2)
    vae.enable_tiling()  # without tiles it refuses to decode
    # 24 frames with 8 of overlap, as published; in space 16 by 32 pixels, where 320 by 320 would take minutes
    vae.kernel, vae.stride = (vae.kernel[0], 16, 32), (vae.stride[0], 8, 24)
    return diffusers.AllegroPipeline(
        **_nothing("text_encoder", "tokenizer"),
        transformer=diffusers.AllegroTransformer3DModel(
            num_attention_heads=1, attention_head_dim=24, num_layers=1, cross_attention_dim=24,
            caption_channels=TEXT_DIM,
        ),
        vae=vae,
        scheduler=diffusers.EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear"),
    )  # fmt: skip


_BUILDERS = {
    **dict.fromkeys(COGVIDEOX, _cogvideox),
    **dict.fromkeys(("hunyuanvideo", "hunyuanvideo-i2v-33ch", "hunyuanvideo-i2v"), _hunyuanvideo),
    "framepack": _framepack,
    **dict.fromkeys(("hunyuanvideo15-t2v", "hunyuanvideo15-i2v"), _hunyuanvideo15),
    **dict.fromkeys(("wan2.1-t2v", "wan2.1-i2v"), _wan),
    "mochi": _mochi,
    "ltx": _ltx,
    "latte": _latte,
    "allegro": _allegro,
}
NAMES = tuple(_BUILDERS)


def build(name):
    """A tiny pipeline of that name, seeded, in evaluation mode and without a progress bar."""
    with torch.random.fork_rng(), _forgiving():
        torch.manual_seed(0)
        pipe = _BUILDERS[name](name)
    for part in pipe.components.values():
        if isinstance(part, nn.Module):
            part.eval()
    pipe.set_progress_bar_config(disable=True)
    return pipe


def call(pipe, name, *, frames, height=None, width=None, steps=None, **changes):
    """The pipeline's own answer for that many frames: a tensor (1, frames, 3, height, width)."""
    rows, columns = SMALLEST.get(name, (16, 16))
    height, width = height or rows, width or columns
    steps = steps or (2 if name == "mochi" else 1)  # Mochi's schedule divides by half the steps
    arguments = _prompts(name) | {"num_inference_steps": steps, "output_type": "pt"}
    arguments["video_length" if name == "latte" else "num_frames"] = frames
    if name not in SIZED:
        arguments |= {"height": height, "width": width}
    with torch.no_grad(), _forgiving():
        return pipe(**arguments | _image(name, height, width) | changes).frames


@contextmanager
def _forgiving():
    """Without two warnings of the libraries: Mochi asks the CPU for float32, Allegro's scheduler meets NumPy 2."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "In CPU autocast", UserWarning)
        warnings.filterwarnings("ignore", "__array__ implementation", DeprecationWarning)
        yield


def _prompts(name):
    text = {"prompt_embeds": torch.randn(1, TEXT, TEXT_DIM)}
    if name in COGVIDEOX:
        return {"prompt_embeds": torch.randn(1, tiny_cogvideox.TEXT, tiny_cogvideox.TEXT_DIM), "guidance_scale": 1.0}
    if name.startswith("hunyuanvideo15"):
        mask = torch.ones(1, TEXT, dtype=torch.long)
        return text | {
            "prompt_embeds_mask": mask,
            "prompt_embeds_2": torch.randn(1, TEXT, TEXT_DIM),
            "prompt_embeds_mask_2": mask,
        }
    mask = {"prompt_attention_mask": torch.ones(1, TEXT, dtype=torch.bool)}
    if name.startswith(("hunyuanvideo", "framepack")):
        return text | mask | {"pooled_prompt_embeds": torch.randn(1, TEXT_DIM)}
    if name == "latte":
        return text | {
            "negative_prompt": None,
            "negative_prompt_embeds": torch.randn(1, TEXT, TEXT_DIM),
            "guidance_scale": 1.0,
        }
    return text | {"guidance_scale": 1.0} | ({} if name.startswith("wan") else mask)


def _image(name, height, width):
    if name != "framepack" and not name.endswith(("-i2v", "-i2v-33ch")):
        return {}
    if name == "hunyuanvideo15-i2v":
        return {"image": Image.new("RGB", (width, height), "gray")}
    return {"image": torch.rand(1, 3, height, width)}
