"""A decoder without parameters: latents are RGB, and pixels lie between them."""

from __future__ import annotations

from types import SimpleNamespace

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.modeling_utils import ModelMixin


class PixelVAE(ModelMixin, ConfigMixin):  # type: ignore[misc]
    """Takes the place of a pipeline's VAE: 8 times the height and width, 4 (F - 1) + 1 frames, by interpolation.

    The latents of a clip are its RGB values in [-1, 1] times `scaling_factor`, which gives them about unit variance;
    pipelines divide by it before they call `decode`. The names of the config are those that HunyuanVideoPipeline
    and CogVideoXPipeline read. There is no encoder: training clips are drawn as latents.
    """

    config_name = "config.json"

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self,
        latent_channels: int = 3,
        scaling_factor: float = 2.0,
        temporal_compression_ratio: int = 4,
        spatial_compression_ratio: int = 8,
        block_out_channels: tuple[int, ...] = (3, 3, 3, 3),  # CogVideoX counts them: 2 ** (4 - 1) is the ratio in space
    ) -> None:
        super().__init__()
        self.temporal_compression_ratio = temporal_compression_ratio
        self.spatial_compression_ratio = spatial_compression_ratio
        self.register_buffer("place", torch.zeros(1), persistent=False)  # pipelines ask a module's device and dtype

    def decode(self, z: torch.Tensor, return_dict: bool = True) -> SimpleNamespace | tuple[torch.Tensor]:
        """(B, 3, F, H, W) in [-1, 1] to (B, 3, 4 (F - 1) + 1, 8 H, 8 W).

        Frames 0, 4, 8 ... are the latent frames; those between are blends of two.
        """
        frames, height, width = z.shape[2:]
        ratio = self.spatial_compression_ratio
        flat = z.float().transpose(1, 2).flatten(0, 1)
        wide = torch.nn.functional.interpolate(flat, scale_factor=float(ratio), mode="bilinear", align_corners=False)
        clip = wide.view(-1, frames, *wide.shape[1:]).transpose(1, 2)
        size = (self.temporal_compression_ratio * (frames - 1) + 1, height * ratio, width * ratio)
        video = torch.nn.functional.interpolate(clip, size=size, mode="trilinear", align_corners=True).clamp(-1, 1)
        return SimpleNamespace(sample=video) if return_dict else (video,)
