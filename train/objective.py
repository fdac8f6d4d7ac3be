"""The denoising loss: the base's own prediction type, weighted by timestep and by location."""

import torch
import torch.nn.functional as F
from diffusers import DDPMScheduler
from torch import Tensor, nn


def denoising_loss(
    denoiser: nn.Module, schedule: DDPMScheduler, batch: dict[str, Tensor], *, min_snr_gamma: float = 0.0
) -> tuple[Tensor, Tensor]:
    """Squared error of the base's own prediction type, per example.

    Args:
        denoiser: a `models.denoiser.Denoiser`, or anything with its call signature.
        schedule: noise schedule and prediction type of the base.
        batch: from `Examples`, with a leading axis B, on the device. `noise` defines the target,
            `input_noise` is added to the latents: they differ under input perturbation (Ning et al. 2023,
            algorithm 1). With `loss_weights` (B, h, w), the squared error of a cell is multiplied by it.
        min_snr_gamma: see `min_snr_weight`; 0 = uniform.

    Returns:
        weighted (B,) float32, to be minimised; plain (B,) float32, the unweighted mean squared error, no grad.
    """
    latents, noise, timesteps = batch["latents"], batch["noise"], batch["timestep"]
    noisy = schedule.add_noise(latents, batch["input_noise"], timesteps)
    predicted = predict(denoiser, noisy, timesteps, batch)
    target = prediction_target(schedule, latents, noise, timesteps)
    error = F.mse_loss(predicted, target, reduction="none").mean(1)
    plain = error.detach().mean((1, 2))
    weighted = (error * batch["loss_weights"] if "loss_weights" in batch else error).mean((1, 2))
    if min_snr_gamma:
        weighted = weighted * min_snr_weight(schedule, timesteps, min_snr_gamma)
    return weighted, plain


def predict(denoiser: nn.Module, noisy: Tensor, timesteps: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """Prediction for noisy latents (B, C, h, w) at timesteps (B,) with a batch's captions and conditions."""
    condition = batch["condition"] if batch["condition"].is_floating_point() else batch["condition"].float() / 255
    metadata = {name: batch[name] for name in ("metadata", "cond_metadata") if name in batch}
    prediction: Tensor = denoiser(noisy, timesteps, batch["encoder_hidden_states"], condition, **metadata)
    return prediction


def prediction_target(schedule: DDPMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """The target: the noise, the velocity (Salimans and Ho 2022, appendix D) or the clean latents."""
    match schedule.config.prediction_type:
        case "epsilon":
            return noise
        case "v_prediction":
            velocity: Tensor = schedule.get_velocity(latents, noise, timesteps)
            return velocity
        case "sample":
            return latents
        case other:
            raise ValueError(
                f"scheduler/scheduler_config.json: prediction_type is {other!r}; "
                "expected epsilon, v_prediction or sample."
            )


def min_snr_weight(schedule: DDPMScheduler, timesteps: Tensor, gamma: float) -> Tensor:
    """Weight of an example, min-SNR-gamma (Hang et al. 2023, section 3.4).

    The paper weighs the error of the clean latents by min(SNR, gamma). Equivalently for the other prediction types: the
    error of the noise is SNR times as large, that of the velocity SNR + 1 times.

    Args:
        schedule: gives SNR(t) = alpha_bar / (1 - alpha_bar) and the prediction type.
        timesteps: (B,) int64.
        gamma: 5 in the paper.

    Returns:
        (B,) float32. At SNR 0 that is 1 for the noise (the limit), 0 for the other two.
    """
    kept = schedule.alphas_cumprod.to(timesteps.device)[timesteps]
    snr: Tensor = kept / (1 - kept)
    match schedule.config.prediction_type:
        case "epsilon":
            return (gamma / snr).clamp(max=1.0)
        case "v_prediction":
            return snr.clamp(max=gamma) / (snr + 1)
        case _:
            return snr.clamp(max=gamma)


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
