"""The loss against formulas written out by hand."""

import pytest
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn

from models.families.noise import Diffusion
from train.objective import damage_weights, denoising_loss


def schedule(prediction_type: str) -> Diffusion:
    return Diffusion(
        DDPMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type=prediction_type
        )
    )


def alphas_cumprod(timesteps: Tensor) -> Tensor:
    """Stable Diffusion's schedule from its definition: betas linear in their square roots."""
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return (1 - betas).cumprod(0)[timesteps].float().view(-1, 1, 1, 1)


class Echo(nn.Module):
    """Stands for the denoiser: predicts what it is told, whatever it sees; keeps what it was shown."""

    def __init__(self, prediction: Tensor) -> None:
        super().__init__()
        self.prediction = prediction

    def forward(self, noisy: Tensor, timesteps: Tensor, states: Tensor, condition: Tensor) -> Tensor:
        self.noisy, self.condition = noisy, condition
        return self.prediction


TIMESTEPS = torch.tensor([10, 700])


def drawn() -> tuple[Tensor, dict[str, Tensor]]:
    """A prediction and a batch of two examples."""
    generator = torch.Generator().manual_seed(0)
    latents, noise, prediction = torch.randn(3, 2, 4, 4, 4, generator=generator)
    batch = {
        "latents": latents,
        "noise": noise,
        "input_noise": noise,
        "timestep": TIMESTEPS,
        "encoder_hidden_states": torch.zeros(2, 77, 8),
        "condition": torch.full((2, 3, 32, 32), 51, dtype=torch.uint8),
    }
    return prediction, batch


def target_of(prediction_type: str, batch: dict[str, Tensor]) -> Tensor:
    kept = alphas_cumprod(TIMESTEPS)
    return {
        "epsilon": batch["noise"],
        "v_prediction": kept.sqrt() * batch["noise"] - (1 - kept).sqrt() * batch["latents"],
        "sample": batch["latents"],
    }[prediction_type]


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_loss_is_the_error_of_the_base_s_own_prediction(prediction_type: str) -> None:
    prediction, batch = drawn()
    denoiser = Echo(prediction)
    loss, plain = denoising_loss(denoiser, schedule(prediction_type), batch)
    kept = alphas_cumprod(TIMESTEPS)
    torch.testing.assert_close(denoiser.noisy, kept.sqrt() * batch["latents"] + (1 - kept).sqrt() * batch["noise"])
    torch.testing.assert_close(denoiser.condition, torch.full((2, 3, 32, 32), 0.2))
    expected = ((prediction - target_of(prediction_type, batch)) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(plain, expected)


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction", "sample"])
def test_min_snr_is_the_same_objective_in_every_prediction(prediction_type: str) -> None:
    """The clean latents that a prediction implies, their error weighted by min(SNR, gamma): Hang et al., eq. 7."""
    prediction, batch = drawn()
    loss, plain = denoising_loss(Echo(prediction), schedule(prediction_type), batch, min_snr_gamma=5.0)
    kept = alphas_cumprod(TIMESTEPS).double()
    noisy = kept.sqrt() * batch["latents"] + (1 - kept).sqrt() * batch["noise"]
    clean = {
        "epsilon": (noisy - (1 - kept).sqrt() * prediction) / kept.sqrt(),
        "v_prediction": kept.sqrt() * noisy - (1 - kept).sqrt() * prediction,
        "sample": prediction.double(),
    }[prediction_type]
    snr = (kept / (1 - kept)).flatten()
    assert snr[0] > 5 > snr[1]  # both sides of the clamp
    expected = snr.clamp(max=5) * ((clean - batch["latents"]) ** 2).flatten(1).mean(1)
    torch.testing.assert_close(loss.double(), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(plain, ((prediction - target_of(prediction_type, batch)) ** 2).flatten(1).mean(1))


def test_min_snr_at_the_end_of_a_rescaled_schedule() -> None:
    """SNR 0: the limit for the noise, nothing to learn for the others; never NaN."""
    for prediction_type, weight in (("epsilon", 1.0), ("v_prediction", 0.0), ("sample", 0.0)):
        rescaled = DDPMScheduler(prediction_type=prediction_type, rescale_betas_zero_snr=True)
        rescaled.alphas_cumprod[999] = 0.0
        assert Diffusion(rescaled).min_snr_weight(torch.tensor([999]), 5.0).tolist() == [weight]


def test_perturbed_input_has_the_clean_target() -> None:
    prediction, batch = drawn()
    batch["input_noise"] = batch["noise"] + 0.1
    denoiser, kept = Echo(prediction), alphas_cumprod(TIMESTEPS)
    loss, _ = denoising_loss(denoiser, schedule("epsilon"), batch)
    noisy = kept.sqrt() * batch["latents"] + (1 - kept).sqrt() * (batch["noise"] + 0.1)
    torch.testing.assert_close(denoiser.noisy, noisy)
    torch.testing.assert_close(loss, ((prediction - batch["noise"]) ** 2).flatten(1).mean(1))


def test_a_weighted_cell_counts_that_often() -> None:
    prediction, batch = drawn()
    weights = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(1))
    loss, plain = denoising_loss(Echo(prediction), schedule("sample"), batch | {"loss_weights": weights})
    error = (prediction - batch["latents"]) ** 2
    expected = [
        sum(float(error[b, c, y, x] * weights[b, y, x]) for c in range(4) for y in range(4) for x in range(4)) / 64
        for b in range(2)
    ]
    assert loss.tolist() == pytest.approx(expected)
    torch.testing.assert_close(plain, error.flatten(1).mean(1))


def test_weights_of_a_damage_mask() -> None:
    """2 x 2 cells of 2 x 2 px: half destroyed; background; a quarter not assessable; nothing assessable."""
    mask = torch.tensor([[4, 4, 0, 0], [0, 0, 0, 0], [255, 1, 255, 255], [2, 3, 255, 255]], dtype=torch.uint8)
    found = damage_weights(mask, [1.0, 2.0, 3.0, 4.0, 5.0], 2)
    expected = torch.tensor([[(5 + 5 + 1 + 1) / 4, 1.0], [(0 + 2 + 3 + 4) / 4, 0.0]]) / (11 / 16)
    torch.testing.assert_close(found, expected)
    # With all weights 1, the mean over the cells is the mean over what is assessable.
    assert damage_weights(mask, [1.0] * 5, 2).mean() == pytest.approx(1.0)
    nothing = torch.full((4, 4), 255, dtype=torch.uint8)
    assert damage_weights(nothing, [1.0] * 5, 2).tolist() == [[0, 0], [0, 0]]


def test_an_unknown_prediction_type_is_named() -> None:
    strange = schedule("epsilon")
    strange.schedule.register_to_config(prediction_type="flow")
    with pytest.raises(ValueError, match="prediction_type is 'flow'"):
        strange.target(torch.zeros(1, 4, 4, 4), torch.zeros(1, 4, 4, 4), torch.tensor([1]))
