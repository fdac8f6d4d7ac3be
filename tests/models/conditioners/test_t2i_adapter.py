"""T2I-Adapters at step 0, and how they learn from there."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models import BaseError, load_base
from models.conditioners.t2i_adapter import new_adapter
from models.denoiser import Denoiser
from tests.families import ADAPTED, MICRO, write_sdxl


def adapted(folder: Path, kind: str) -> tuple[Denoiser, dict[str, Any]]:
    """A denoiser with a new adapter, and inputs of two rows."""
    write, trained = ADAPTED[kind]
    base = load_base(write(folder))
    unet = base.load_unet()
    settings = {"conditioning_channels": 3, "vae_scale_factor": 8}
    adapter = new_adapter(unet, light=trained.endswith("light"), seed=0, **settings).train()
    generator = torch.Generator().manual_seed(0)
    told = base.encode(base.load_text_encoder(), base.tokenize(["a flood", ""]))
    told |= base.family.placed(torch.tensor([[64.0, 64, 0, 32, 32, 32]] * 2))
    inputs = {"noisy": torch.randn(2, 4, 4, 4, generator=generator), "timesteps": torch.tensor([3, 900])}
    inputs |= {"condition": torch.rand(2, 3, 32, 32, generator=generator), **told}
    return Denoiser(base.family, unet, adapter), inputs


@pytest.mark.parametrize("kind", ADAPTED)
def test_step_zero_is_the_base_and_every_weight_learns(tmp_path: Path, kind: str) -> None:
    denoiser, inputs = adapted(tmp_path / "base", kind)
    prediction = denoiser(**inputs)
    with denoiser.without_control():
        plain = denoiser(**inputs)
    assert torch.equal(prediction, plain)
    optimizer = torch.optim.SGD(denoiser.trained().values(), lr=0.1)
    before = {name: weight.detach().clone() for name, weight in denoiser.trained().items()}
    for _ in range(3):
        optimizer.zero_grad()
        (denoiser(**inputs) - plain.detach() - 1).square().mean().backward()
        # DDP waits for a gradient of every weight.
        assert all(weight.grad is not None for weight in denoiser.trained().values())
        optimizer.step()
    assert all(not torch.equal(weight, before[name]) for name, weight in denoiser.trained().items())
    assert all(name.startswith("controlnet.") for name in before)


@pytest.mark.parametrize("kind", ADAPTED)
def test_the_first_convolution_learns_from_the_features_of_every_level(tmp_path: Path, kind: str) -> None:
    denoiser, inputs = adapted(tmp_path / "base", kind)
    given = denoiser.prepared(inputs["condition"])
    first = max(denoiser.controlnet.named_parameters(), key=lambda named: named[1].shape[1:2])[1]
    for feature in given:
        (gradient,) = torch.autograd.grad(feature.sum(), first, retain_graph=True)
        assert gradient.abs().max() > 0


def test_levels_that_no_adapter_of_diffusers_has(tmp_path: Path) -> None:
    shown: dict[str, Any] = {"conditioning_channels": 3, "vae_scale_factor": 8, "seed": 0}
    two = load_base(write_sdxl(tmp_path / "two")).empty_unet()
    with pytest.raises(BaseError, match=r"no T2I-Adapter for a UNet of levels DownBlock2D, CrossAttnDownBlock2D with"):
        new_adapter(two, light=False, **shown)
    narrow = load_base(MICRO["stable_diffusion"](tmp_path / "narrow")).empty_unet()
    with pytest.raises(BaseError, match=r"no light T2I-Adapter .* channels \[16, 32\]\. Choose another"):
        new_adapter(narrow, light=True, **shown)
