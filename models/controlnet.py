"""The zero-convolution ControlNet that reads the pre-event image or its latents: a new one, and one from a folder."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from models.sat_controlnet import SatControlNet
from models.sat_controlnet_3d import SatControlNet3D

# Widths of the conditioning embedding for Stable Diffusion (ControlNet, section 3.3); narrower bases get no wider ones.
CONDITIONING_CHANNELS = (16, 32, 96, 256)


def controlnet_from_unet(
    unet: UNet2DConditionModel,
    *,
    vae_scale_factor: int,
    seed: int,
    channels: int = 3,
    latents: bool = False,
    kind: type[ControlNetModel] = ControlNetModel,
    **settings: Any,  # noqa: ANN401 (arguments of `kind`)
) -> ControlNetModel:
    """Copy the UNet's encoder; zero convolutions make step 0 equal to the base (ControlNet, section 3.1).

    Args:
        unet: the frozen denoiser.
        vae_scale_factor: pixels per latent cell; the conditioning embedding downsamples as much as the VAE.
        seed: of the fresh weights, those of the conditioning embedding above all.
        channels: of a condition in pixels.
        latents: the condition is latents: one convolution and the zero-initialised one, without downsampling.
        kind: diffusers' ControlNetModel, or SatControlNet or SatControlNet3D, which are told metadata.
        settings: further arguments of its `from_unet`, e.g. `conditioning_channels`.
    """
    stages = vae_scale_factor.bit_length()  # one width at full resolution, one more for each halving
    widths = [min(width, unet.config.block_out_channels[0]) for width in CONDITIONING_CHANNELS[:stages]]
    if latents:
        channels, widths = unet.config.in_channels, widths[-1:]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        settings = {"conditioning_embedding_out_channels": tuple(widths), "conditioning_channels": channels} | settings
        return kind.from_unet(unet, **settings).float()


def load_controlnet(folder: Path, dtype: torch.dtype = torch.float32) -> ControlNetModel:
    """Load a plain diffusers ControlNet folder, with or without metadata, frozen."""
    return controlnet_class(folder).from_pretrained(folder, torch_dtype=dtype).requires_grad_(False).eval()


def controlnet_class(folder: Path) -> type[ControlNetModel]:
    """Which network a folder's config.json describes. DiffusionSat's 2D one is also called ControlNetModel there."""
    config = json.loads((Path(folder) / "config.json").read_text())
    kind: type[ControlNetModel] = ControlNetModel
    if "use_metadata" in config:
        kind = SatControlNet3D if "use_temporal_transformer" in config else SatControlNet
    return kind


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
