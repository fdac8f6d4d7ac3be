"""A ControlNet that was trained on latents, shown pixels: diffusers' pipelines then work as they are."""

from diffusers import AutoencoderKL, ControlNetModel
from torch import Tensor, nn


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
