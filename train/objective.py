"""The denoising loss: the base's own target, weighted by timestep and by location."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.families.noise import Noise

TOLD = ("metadata", "cond_metadata", "pooled", "time_ids")  # of a batch, where a family has them


def denoising_loss(
    denoiser: nn.Module, schedule: Noise, batch: dict[str, Tensor], *, min_snr_gamma: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Squared error of what the base predicts, per example.

    Args:
        denoiser: a `models.denoiser.Denoiser`, or anything with its call signature.
        schedule: noise process of the base, and what it predicts.
        batch: from `Examples`, with a leading axis B, on the device. `noise` defines the target,
            `input_noise` is added to the latents: they differ under input perturbation (Ning et al. 2023,
            algorithm 1). With `loss_weights` (B, h, w), the squared error of a cell is multiplied by it.
        min_snr_gamma: see `Noise.min_snr_weight`; 0 = uniform.

    Returns:
        weighted (B,) float32, to be minimised; plain (B,) float32, the unweighted mean squared error, no grad.
    """
    latents, noise, timesteps = batch["latents"], batch["noise"], batch["timestep"]
    noisy = schedule.add(latents, batch["input_noise"], timesteps)
    predicted = predict(denoiser, noisy, schedule.told(timesteps), batch)
    target = schedule.target(latents, noise, timesteps)
    error = F.mse_loss(predicted, target, reduction="none").mean(1)
    plain = error.detach().mean((1, 2))
    weighted = (error * batch["loss_weights"] if "loss_weights" in batch else error).mean((1, 2))
    if min_snr_gamma:
        weighted = weighted * schedule.min_snr_weight(timesteps, min_snr_gamma)
    return weighted, plain


def predict(denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Prediction for noisy latents (B, C, h, w) at timesteps (B,), as the network is told them, of a batch."""
    condition = batch["condition"] if batch["condition"].is_floating_point() else batch["condition"].float() / 255
    told = {name: batch[name] for name in TOLD if name in batch}
    prediction: Tensor = denoiser(noisy, timesteps, batch["encoder_hidden_states"], condition, **told)
    return prediction


def damage_weights(mask: Tensor, weights: list[float], size: int) -> Tensor:
    """Loss weight of each latent cell, from the damage mask.

    Args:
        mask: (H, W) uint8: 0 background, 1 to 4 damage classes, 255 not assessable.
        weights: of the values 0 to 4; 255 always has weight 0.
        size: latent cells along each axis.

    Returns:
        (size, size) float32: the mean weight of the pixels in a cell, divided by the share of the patch that is
        assessable. With all weights 1 the loss is thus the mean squared error over the assessable part.
    """
    of_value = torch.zeros(256)
    of_value[: len(weights)] = torch.tensor(weights)
    assessable = (mask != 255).float().mean().clamp(min=1 / mask.numel())  # nothing assessable: weights are 0 anyway
    cells = F.adaptive_avg_pool2d(of_value[mask.long()][None], size)[0]
    return cells / assessable
