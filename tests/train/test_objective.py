"""The loss against formulas written out by hand."""

from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from train.objective import denoising_loss, prediction_target


def schedule(prediction_type: str) -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type
    )


def alphas_cumprod(timesteps: Tensor) -> Tensor:
    """Stable Diffusion's schedule from its definition: betas linear in their square roots."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)[timesteps].float().view(-1, 1, 1, 1)


class Echo(nn.Module):
    """Stands for the UNet: predicts what it is told, whatever it sees; keeps the noisy latents."""

    dtype = torch.float32

    def __init__(self, prediction: Tensor) -> None:
        super().__init__()
        self.prediction = prediction

    def forward(self, noisy: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor]:
        self.noisy = noisy
        return (self.prediction,)


def no_control(*args: Any, **kwargs: Any) -> tuple[list[Tensor], Tensor]:
    return [], torch.zeros(1)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_loss_is_the_error_of_the_base_s_own_prediction(prediction_type: str) -> None:
    generator = torch.Generator().manual_seed(0)
    latents, noise, prediction = torch.randn(3, 2, 4, 4, 4, generator=generator)
    timesteps = torch.tensor([10, 700])
    kept = alphas_cumprod(timesteps)
    target = {
        "epsilon": noise,
        "v_prediction": kept.sqrt() * noise - (1 - kept).sqrt() * latents,
        "sample": latents,
    }[prediction_type]
    batch = {
        "latents": latents,
        "noise": noise,
        "timestep": timesteps,
        "encoder_hidden_states": torch.zeros(2, 77, 8),
        "pre_pixels": torch.zeros(2, 3, 32, 32, dtype=torch.uint8),
    }
    unet = Echo(prediction)
    loss = denoising_loss(unet, no_control, schedule(prediction_type), batch)  # type: ignore[arg-type]
    torch.testing.assert_close(unet.noisy, kept.sqrt() * latents + (1 - kept).sqrt() * noise)
    torch.testing.assert_close(loss, ((prediction - target) ** 2).flatten(1).mean(1))


def test_an_unknown_prediction_type_is_named() -> None:
    strange = schedule("epsilon")
    strange.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="prediction_type is 'flow'"):
        prediction_target(strange, torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), torch.tensor([1]))
