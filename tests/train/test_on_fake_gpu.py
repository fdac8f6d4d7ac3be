"""Losses on a GPU that is not there: no operation on two devices, none that waits for the host (law 8)."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException

from data.examples.condition import condition_of
from models import Base, load_base
from models.cpu.precision import DTYPES
from tests.fake_gpu import GPU, fake_gpu
from tests.families import MICRO
from train.config import ModelConfig
from train.networks import build_denoiser
from train.objective import denoising_loss

KINDS = [
    ("controlnet", "pixels"),
    ("controlnet", "latents"),
    ("controlnet", "pixels+mask"),
    ("controlnet", "latents+mask"),
    ("lora", "pixels"),
    ("controlnet+lora", "pixels"),
    ("lora+concat", "pixels"),
    ("t2i-adapter", "pixels"),
    ("controlnet-lora", "pixels"),
]
CASES = [
    (family, "controlnet", "latents" if "3" in family else "pixels") for family in MICRO if family != "stable_diffusion"
]
CASES += [("stable_diffusion", *kind) for kind in KINDS]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    """One of every family."""
    folder = tmp_path_factory.mktemp("bases")
    return {name: load_base(write(folder / name)) for name, write in MICRO.items()}


def batch_of(base: Base, model: ModelConfig) -> dict[str, Tensor]:
    """Two examples as the data worker makes them, on the GPU."""
    condition, channels = condition_of(model.trained, model.condition), base.config("vae")["latent_channels"]

    def gpu(*shape: int, **kind: Any) -> Tensor:
        return torch.zeros(2, *shape, device=GPU, **kind)

    told = base.encode(base.load_text_encoder().to(GPU), base.tokenize(["a flood", ""]).to(GPU))
    pixels = gpu(condition.channels, 32, 32, dtype=torch.uint8)
    return {
        **{name: gpu(channels, 4, 4) for name in ("latents", "noise", "input_noise")},
        "timestep": gpu(dtype=torch.int64),
        "loss_weights": gpu(4, 4),
        "encoder_hidden_states": told.pop("states"),
        "condition": gpu(channels + condition.channels - 3, 4, 4) if condition.latents else pixels,
        **told,
        **base.family.placed(gpu(6)),
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("family", "trained", "condition"), CASES, ids=[" ".join(case) for case in CASES])
def test_losses_of_training_and_validation(
    bases: dict[str, Base], family: str, trained: str, condition: str, precision: str
) -> None:
    base = bases[family]
    model = ModelConfig(base=str(base.folder), trained=trained, condition=condition)  # type: ignore[arg-type]
    gamma = 0.0 if "3" in family else 5.0
    with fake_gpu() as mode:
        denoiser, schedule = build_denoiser(base, model, precision, 0, GPU), base.load_noise_schedule()
        assert {weight.device for weight in denoiser.parameters()} == {GPU}
        with mode:
            batch = batch_of(base, model)
            for losses in denoising_loss(denoiser, schedule, batch, min_snr_gamma=gamma):
                assert (losses.device, losses.dtype, losses.shape) == (GPU, torch.float32, (2,))
            with torch.no_grad(), denoiser.without_control():
                assert denoising_loss(denoiser, schedule, batch)[1].device == GPU
    for weight in denoiser.unet.parameters():
        assert weight.dtype == (torch.float32 if weight.requires_grad else DTYPES[precision])


def test_what_the_law_forbids_is_seen(bases: dict[str, Base]) -> None:
    base = bases["stable_diffusion"]
    model = ModelConfig(base=str(base.folder))
    with fake_gpu() as mode:
        denoiser, schedule = build_denoiser(base, model, "fp32", 0, GPU), base.load_noise_schedule()
        with mode:
            batch = batch_of(base, model)
            losses, _ = denoising_loss(denoiser, schedule, batch)
            with pytest.raises(DataDependentOutputException):
                losses.sum().item()
            with pytest.raises(RuntimeError, match="device"):
                denoising_loss(denoiser, schedule, batch | {"latents": torch.zeros(2, 4, 4, 4)})
