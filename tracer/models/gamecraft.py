"""Hunyuan-GameCraft's transformer: HunyuanVideo's, with 33 input channels and a network for the camera.

diffusers has no class for it. What the original does (hymm_sp/modules/models.py, embed_layers.py and cameranet.py of
github.com/Tencent-Hunyuan/Hunyuan-GameCraft-1.0 at 07afcd4) is built here from diffusers' parts; the forward
that runs is diffusers' own. Names of weights within the camera network are the original's.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from diffusers import HunyuanVideoTransformer3DModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.transformer_hunyuan_video import HunyuanVideoPatchEmbed
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d

TWO_CLIPS = (66, 34)
"""Frame counts that `compress_time` takes for two clips of equal length: 33 + 33, and 17 + 17 one halving later."""

IMAGE_POSES = 4
"""Empty poses that stand for the one latent frame of the start image."""


def halve(clip: Tensor) -> tuple[Tensor, ...]:
    """Half as many frames of (rows, channels, frames): pairs averaged, the first frame of an odd clip kept apart."""
    if clip.shape[-1] % 2 == 0:
        return (avg_pool1d(clip, 2),)
    first, rest = clip[..., :1], clip[..., 1:]
    return (first, avg_pool1d(rest, 2)) if rest.shape[-1] else (first,)


def compress_time(x: Tensor, frames: int) -> Tensor:
    """About half as many frames: (B·frames, C, H, W) to (B·frames', C, H, W).

    33 become 17 and 17 become 9, as in the causal VAE; 66 and 34 are two clips, each with a first frame of its own;
    any other even count is averaged in pairs throughout.
    """
    _, channels, rows, columns = x.shape
    x = x.reshape(-1, frames, channels, rows, columns).permute(0, 3, 4, 2, 1).contiguous().flatten(0, 2)
    clips = x.chunk(2, dim=-1) if frames in TWO_CLIPS else (x,)
    x = torch.cat([part for clip in clips for part in halve(clip)], dim=-1)
    x = x.reshape(-1, rows, columns, channels, x.shape[-1])
    return x.permute(0, 4, 3, 1, 2).contiguous().flatten(0, 1)


class CameraNet(nn.Module):
    """Poses as tokens: (B, N, channels, height, width) in pixels to (B, S, hidden).

    A pose is a picture of `channels` numbers a pixel: the ray through it, as moment and direction. N poses become
    (N-1)/4 + 1 latent frames. The last 1×1 convolution starts at zero, so a fresh network adds nothing.
    """

    def __init__(self, channels: int, down: int, out_channels: int, patch: tuple[int, int, int], hidden: int) -> None:
        super().__init__()
        folded = channels * down**2
        widths = (folded, folded // 2, folded // 4)
        self.unshuffle = nn.PixelUnshuffle(down)
        self.encode_first = _encoder(widths[0], widths[1])
        self.encode_second = _encoder(widths[1], widths[2])
        self.final_proj = nn.Conv2d(widths[2], out_channels, 1)
        self.camera_in = HunyuanVideoPatchEmbed(patch, out_channels, hidden)
        self.scale = nn.Parameter(torch.ones(1))
        for zero in (self.final_proj.weight, self.final_proj.bias, self.camera_in.proj.bias):
            nn.init.zeros_(cast(Tensor, zero))

    def forward(self, poses: Tensor) -> Tensor:
        """Tokens of the poses, frame by frame."""
        batch, frames = poses.shape[:2]
        x = self.unshuffle(poses.flatten(0, 1))
        x = compress_time(self.encode_first(x), frames)
        x = compress_time(self.encode_second(x), x.shape[0] // batch)
        x = self.final_proj(x)
        x = x.reshape(batch, -1, *x.shape[1:]).transpose(1, 2)
        return cast(Tensor, self.camera_in(x) * self.scale)


def _encoder(into: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(into, out, 1), nn.GroupNorm(2, out), nn.ReLU())


class CameraPatchEmbed(HunyuanVideoPatchEmbed):  # type: ignore[misc]
    """HunyuanVideo's patch embedding, which adds the camera's tokens where there are any."""

    camera: Tensor | None = None

    def forward(self, hidden_states: Tensor) -> Tensor:
        """(B, C, F, H, W) to (B, S, hidden)."""
        tokens = super().forward(hidden_states)
        return cast(Tensor, tokens if self.camera is None else tokens + self.camera)


class GameCraftTransformer(HunyuanVideoTransformer3DModel):  # type: ignore[misc]
    """HunyuanVideo's transformer without guidance embedding, whose video tokens are told where the camera looks.

    Input channels: latents to denoise, latents of the history (zero where there is none), and a mask that is one on
    the history. clip_frames: poses of one action, which is what the model makes at a time; of the form 4k+1, and 33
    in the published weights. The original has this number written into its code.
    """

    @register_to_config  # type: ignore[untyped-decorator]
    def __init__(
        self, in_channels: int = 33, out_channels: int = 16, num_attention_heads: int = 24,
        attention_head_dim: int = 128, num_layers: int = 20, num_single_layers: int = 40, num_refiner_layers: int = 2,
        mlp_ratio: float = 4.0, patch_size: int = 2, qk_norm: str = "rms_norm", text_embed_dim: int = 4096,
        pooled_projection_dim: int = 768, rope_theta: float = 256.0, rope_axes_dim: tuple[int, ...] = (16, 56, 56),
        camera_in_channels: int = 6, camera_down_coef: int = 8, clip_frames: int = 33,
    ) -> None:  # fmt: skip
        if clip_frames % 4 != 1:
            raise ValueError(f"clip_frames {clip_frames} is not of the form 4k+1, as 33 is")
        super().__init__(
            in_channels=in_channels, out_channels=out_channels, num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim, num_layers=num_layers, num_single_layers=num_single_layers,
            num_refiner_layers=num_refiner_layers, mlp_ratio=mlp_ratio, patch_size=patch_size, qk_norm=qk_norm,
            guidance_embeds=False, text_embed_dim=text_embed_dim, pooled_projection_dim=pooled_projection_dim,
            rope_theta=rope_theta, rope_axes_dim=rope_axes_dim,
        )  # fmt: skip
        patch, hidden = (1, patch_size, patch_size), num_attention_heads * attention_head_dim
        self.x_embedder = CameraPatchEmbed(patch, in_channels, hidden)
        self.camera_net = CameraNet(camera_in_channels, camera_down_coef, out_channels, patch, hidden)

    def camera_tokens(self, poses: Tensor, latent_frames: int) -> Tensor:
        """One token for each video token: (B, clip_frames, channels, height, width) to (B, S, hidden).

        Latent frames before the action get the tokens of empty poses. Raises ValueError for a number of poses or of
        latent frames that the original has no branch for.
        """
        clip = self.config.clip_frames
        action = (clip - 1) // 4 + 1
        if poses.shape[1] != clip:
            raise ValueError(f"there are {poses.shape[1]} camera poses, and an action has {clip}")
        if latent_frames not in (action, action + 1, 2 * action):
            raise ValueError(
                f"{latent_frames} latent frames do not go with {clip} camera poses: those are {action} latent frames "
                f"alone, {action + 1} behind a start image, {2 * action} behind another action"
            )
        tokens: Tensor = self.camera_net(poses)
        if latent_frames == action:
            return tokens
        history = torch.zeros_like(poses[:, :IMAGE_POSES] if latent_frames == action + 1 else poses)
        return torch.cat([self.camera_net(history), tokens], dim=1)

    def forward(
        self, hidden_states: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, encoder_attention_mask: Tensor,
        pooled_projections: Tensor, camera_states: Tensor | None = None,
        attention_kwargs: dict[str, Any] | None = None, return_dict: bool = True,
    ) -> tuple[Tensor] | Transformer2DModelOutput:  # fmt: skip
        """One denoising step: the velocity (B, out_channels, F, H, W) of all latent frames, history included.

        hidden_states: (B, in_channels, F, H, W). camera_states: (B, clip_frames, camera_in_channels, height, width) in
        pixels; without them it is HunyuanVideo's forward. Raises ValueError as `camera_tokens` does.
        """
        if camera_states is not None:
            self.x_embedder.camera = self.camera_tokens(camera_states, hidden_states.shape[2])
        try:
            out: tuple[Tensor] | Transformer2DModelOutput = super().forward(
                hidden_states, timestep, encoder_hidden_states, encoder_attention_mask, pooled_projections,
                attention_kwargs=attention_kwargs, return_dict=return_dict,
            )  # fmt: skip
        finally:
            self.x_embedder.camera = None
        return out
