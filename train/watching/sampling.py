"""Images from the networks as they stand in the middle of training: nothing is loaded twice but the decoder."""

from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler
from numpy.typing import NDArray
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]  # noisy latents (B, C, h, w), timesteps (B,) -> prediction


def sample(predict: Predict, sampler: DDIMScheduler, noise: Tensor, steps: int, on_step: Callable[[], None]) -> Tensor:
    """Deterministic DDIM without guidance, as `pre2post generate` does by default.

    Args:
        predict: what the trained network says of noisy latents; captions and conditions are its own business.
        sampler: of the base.
        noise: (B, C, h, w), what the images start from.
        steps: denoising steps.
        on_step: called after each.

    Returns:
        (B, C, h, w) scaled latents.
    """
    sampler.set_timesteps(steps, device=noise.device)
    latents: Tensor = noise * sampler.init_noise_sigma
    for timestep in sampler.timesteps:
        predicted = predict(sampler.scale_model_input(latents, timestep), timestep.expand(len(latents)))
        latents = sampler.step(predicted.float(), timestep, latents).prev_sample
        on_step()
    return latents


def decode(vae: AutoencoderKL, latents: Tensor) -> list[NDArray[np.uint8]]:
    """Images (H, W, 3) of scaled latents, one by one: a decoder's activations outgrow a whole training step's."""
    images = []
    for latent in latents.split(1):
        (pixels,) = vae.decode(latent.to(vae.dtype) / vae.config.scaling_factor, return_dict=False)
        pixels = ((pixels[0].float() / 2 + 0.5).clamp(0, 1) * 255).round()
        images.append(pixels.permute(1, 2, 0).to(torch.uint8).cpu().numpy())
    return images
