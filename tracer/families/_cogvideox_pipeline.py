"""What CogVideoX's pipelines are put together from."""

from __future__ import annotations

from tracer.components import Part, Pipeline, Saying
from tracer.families._encoders import T5_TOKENS, T5_XXL
from tracer.families.base import Checkpoint

_SCHEDULE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
    "prediction_type": "v_prediction", "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
}  # fmt: skip
_CONVERTER = "diffusers' convert_cogvideox_to_diffusers.py; THUDM/CogVideo sat/configs"
_SAYINGS = (
    Saying(
        "encode_prompt",
        "Guidance needs the empty prompt, too, so T5 runs twice. It gets no mask: what fills a prompt up to 226 tokens "
        "is encoded, and later attended to, like words.",
    ),
    Saying(
        "vae.decode",
        "Two latent frames at a time, the first time three when their number is odd. Each convolution keeps the last "
        "two frames that it saw for the next chunk. An odd number L of latent frames gives 4·(L - 1) + 1 frames, an "
        "even one 4·L.",
    ),
)


def pipeline(checkpoint: Checkpoint) -> Pipeline:
    """The pipeline of a checkpoint."""
    name, config = checkpoint.name, checkpoint.config
    small, newer = name == "cogvideox-2b", bool(config.get("patch_size_t"))
    picture = config.get("in_channels") == 32
    vae = Part(
        "AutoencoderKLCogVideoX",
        {"scaling_factor": 1.15258426 if small else 0.7, "invert_scale_latents": newer},
        "vae/config.json of THUDM/CogVideoX-2b" if small
        else "vae/config.json of THUDM/CogVideoX1.5-5B" if newer
        else f"{_CONVERTER}, scale_factor",
        "derived" if picture or not (small or newer) else "verified", 215_583_907,
    )  # fmt: skip
    scheduler = Part(
        "CogVideoXDDIMScheduler", {**_SCHEDULE, "snr_shift_scale": 3.0 if small else 1.0},
        "scheduler_config.json of THUDM/CogVideoX-2b" if small else _CONVERTER, "verified" if small else "derived",
    )  # fmt: skip
    return Pipeline(
        "CogVideoXImageToVideoPipeline" if picture else "CogVideoXPipeline",
        {"vae": vae, "scheduler": scheduler, "text_encoder": T5_XXL, "tokenizer": T5_TOKENS},
        prompt=225, picture=picture, sayings=_SAYINGS,
    )  # fmt: skip
