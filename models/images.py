"""From images to latents and back."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class LatentScale:
    """How a VAE's latents are moved and scaled to about unit variance, as the denoiser sees them."""

    factor: float
    shift: float = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "LatentScale":
        """Of a VAE's config."""
        return cls(float(config.get("scaling_factor", 0.18215)), float(config.get("shift_factor") or 0.0))

    def scaled(self, latents: Tensor) -> Tensor:
        """From the VAE to the denoiser."""
        return (latents - self.shift) * self.factor

    def unscaled(self, latents: Tensor) -> Tensor:
        """From the denoiser to the VAE."""
        return latents / self.factor + self.shift


def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the most likely latents, (B, C, h, w) float32, not scaled."""
    latents: Tensor = vae.encode(images.to(vae.dtype) * 2 - 1).latent_dist.mode().float()
    return latents


def condition_latents(encoded: Tensor, shown: Tensor) -> Tensor:
    """Latents of an image together with what else is shown, for a ControlNet on latents.

    Args:
        encoded: (B, C, h, w), scaled as the denoiser sees them.
        shown: (B, K, H, W) in [0, 1], the image in its first 3 channels.

    Returns:
        (B, C + K - 3, h, w): of further channels, such as a mask's, the mean in each cell.
    """
    if shown.shape[1] == 3:
        return encoded
    height, width = encoded.shape[-2:]
    return torch.cat([encoded, F.adaptive_avg_pool2d(shown[:, 3:], (height, width))], 1)


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents, scaled as the denoiser sees them, -> (B, 3, H, W) float32, about -1 to 1."""
    unscaled = LatentScale.of(vae.config).unscaled(latents)
    decoded: Tensor = vae.decode(unscaled.to(vae.dtype), return_dict=False)[0].float()
    return decoded


def to_unit(decoded: Tensor) -> NDArray[np.float32]:
    """(B, 3, H, W), about -1 to 1, -> (B, H, W, 3) in [0, 1]."""
    images: NDArray[np.float32] = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return images


def as_pixels(images: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """0..1 to uint8, as diffusers rounds."""
    return np.asarray((images * 255).round().astype(np.uint8))
