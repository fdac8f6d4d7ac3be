"""From images to latents and back."""

from typing import Any

import numpy as np
from diffusers import AutoencoderKL
from numpy.typing import NDArray
from torch import Tensor


def encode(vae: AutoencoderKL, images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> the most likely latents, (B, C, h, w) float32, not scaled."""
    latents: Tensor = vae.encode(images.to(vae.dtype) * 2 - 1).latent_dist.mode().float()
    return latents


def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Latents, scaled as the UNet sees them, -> (B, 3, H, W) float32, about -1 to 1."""
    decoded: Tensor = vae.decode((latents / vae.config.scaling_factor).to(vae.dtype), return_dict=False)[0].float()
    return decoded


def to_unit(decoded: Tensor) -> NDArray[np.float32]:
    """(B, 3, H, W), about -1 to 1, -> (B, H, W, 3) in [0, 1]."""
    images: NDArray[np.float32] = (decoded / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy()
    return images


def as_pixels(images: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """0..1 to uint8, as diffusers rounds."""
    return np.asarray((images * 255).round().astype(np.uint8))
