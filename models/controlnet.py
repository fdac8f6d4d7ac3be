"""The zero-convolution ControlNet that reads the pre-event image."""

from pathlib import Path

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

# Widths of the conditioning embedding for Stable Diffusion (ControlNet, section 3.3); narrower bases get no wider ones.
CONDITIONING_CHANNELS = (16, 32, 96, 256)


def controlnet_from_unet(unet: UNet2DConditionModel, *, vae_scale_factor: int, seed: int) -> ControlNetModel:
    """Copy the UNet's encoder; zero convolutions make step 0 equal to the base (ControlNet, section 3.1).

    Args:
        unet: the frozen denoiser.
        vae_scale_factor: pixels per latent cell; the conditioning embedding downsamples as much as the VAE.
        seed: of the only fresh weights, those of the conditioning embedding.
    """
    stages = vae_scale_factor.bit_length()  # one width at full resolution, one more for each halving
    widths = [min(width, unet.config.block_out_channels[0]) for width in CONDITIONING_CHANNELS[:stages]]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=tuple(widths)).float()


def load_controlnet(folder: Path, dtype: torch.dtype = torch.float32) -> ControlNetModel:
    """Load a plain diffusers ControlNet folder, frozen."""
    return ControlNetModel.from_pretrained(folder, torch_dtype=dtype).requires_grad_(False).eval()
