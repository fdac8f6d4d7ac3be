"""The denoising loss of a ControlNet beside a frozen UNet."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor

Network = Callable[..., Any]  # a ControlNet, or what is called like one


def denoising_loss(
    unet: UNet2DConditionModel, controlnet: Network, schedule: DDPMScheduler, batch: dict[str, Tensor]
) -> Tensor:
    """Mean squared error of the base's own prediction type, per example.

    Args:
        unet: frozen, in any float type.
        controlnet: trained; its residuals are cast to the UNet's type.
        schedule: noise schedule and prediction type of the base.
        batch: what `Examples` gives, with a leading axis B, on the device.

    Returns:
        (B,) float32.
    """
    latents, noise, timesteps = batch["latents"], batch["noise"], batch["timestep"]
    predicted = predict(unet, controlnet, schedule.add_noise(latents, noise, timesteps), timesteps, batch)
    target = prediction_target(schedule, latents, noise, timesteps)
    return F.mse_loss(predicted, target, reduction="none").mean(dim=(1, 2, 3))


def predict(
    unet: UNet2DConditionModel, controlnet: Network, noisy: Tensor, timesteps: Tensor, batch: dict[str, Tensor]
) -> Tensor:
    """What the base and the ControlNet beside it say of noisy latents, (B, C, h, w) float32."""
    states = batch["encoder_hidden_states"]
    down, mid = controlnet(
        noisy, timesteps, states, controlnet_cond=batch["pre_pixels"].float() / 255, return_dict=False
    )
    (predicted,) = unet(
        noisy.to(unet.dtype),
        timesteps,
        states.to(unet.dtype),
        down_block_additional_residuals=[residual.to(unet.dtype) for residual in down],
        mid_block_additional_residual=mid.to(unet.dtype),
        return_dict=False,
    )
    prediction: Tensor = predicted.float()
    return prediction


def prediction_target(schedule: DDPMScheduler, latents: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
    """What the network should say: the noise, the velocity (Salimans and Ho 2022, appendix D) or the clean latents."""
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
