"""The zero-convolution ControlNet that reads the pre-event image, or its latents."""

from pathlib import Path

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

# Widths of the conditioning embedding for Stable Diffusion (ControlNet, section 3.3); narrower bases get no wider ones.
CONDITIONING_CHANNELS = (16, 32, 96, 256)


def controlnet_from_unet(
    unet: UNet2DConditionModel, *, vae_scale_factor: int, seed: int, channels: int = 3, latents: bool = False
) -> ControlNetModel:
    """Copy the UNet's encoder; zero convolutions make step 0 equal to the base (ControlNet, section 3.1).

    Args:
        unet: the frozen denoiser.
        vae_scale_factor: pixels per latent cell; the conditioning embedding downsamples as much as the VAE.
        seed: of the only fresh weights, those of the conditioning embedding.
        channels: of a condition in pixels.
        latents: the condition is latents: one convolution and the zero-initialised one, without downsampling.
    """
    stages = vae_scale_factor.bit_length()  # one width at full resolution, one more for each halving
    widths = [min(width, unet.config.block_out_channels[0]) for width in CONDITIONING_CHANNELS[:stages]]
    if latents:
        channels, widths = unet.config.in_channels, widths[-1:]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        controlnet = ControlNetModel.from_unet(
            unet, conditioning_embedding_out_channels=tuple(widths), conditioning_channels=channels
        )
    return controlnet.float()


def load_controlnet(folder: Path, dtype: torch.dtype = torch.float32) -> ControlNetModel:
    """Load a plain diffusers ControlNet folder, frozen."""
    return ControlNetModel.from_pretrained(folder, torch_dtype=dtype).requires_grad_(False).eval()


class EncodesPixels(nn.Module):
    """A conditioning embedding on latents that takes pixels, for pipelines that know only those."""

    def __init__(self, embedding: nn.Module, vae: AutoencoderKL) -> None:
        super().__init__()
        self.embedding = embedding
        self._vae = [vae]  # in a list: not a part of the ControlNet, and not saved with it
        self._last: tuple[Tensor, Tensor] | None = None

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, width, h, w); encodes once for all denoising steps."""
        if self._last is None or self._last[0] is not pixels:
            vae = self._vae[0]
            latents = vae.encode(pixels.to(vae.dtype) * 2 - 1).latent_dist.mode() * vae.config.scaling_factor
            self._last = pixels, latents.to(pixels.dtype)
        embedded: Tensor = self.embedding(self._last[1])
        return embedded


def take_pixels(controlnet: ControlNetModel, vae: AutoencoderKL) -> None:
    """Let a ControlNet that was trained on latents be shown pixels."""
    controlnet.controlnet_cond_embedding = EncodesPixels(controlnet.controlnet_cond_embedding, vae)
