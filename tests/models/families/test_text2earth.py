"""Text2Earth's ground resolution: what the networks are told of the metadata, against a UNet called by hand."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from models import BaseError, load_base
from models.denoiser import Denoiser
from models.diffusionsat.metadata import natural_metadata, normalise_metadata
from models.families.family import NewControlNet
from models.families.text2earth import levels
from tests.families import write_text2earth
from tests.models.families.test_every_family import edited


def told(*sizes: float) -> dict[str, Any]:
    """Normalised metadata of images with pixels of so many metres; NaN is unknown."""
    return {"metadata": torch.stack([normalise_metadata(natural_metadata({"gsd": size})) for size in sizes])}


def test_levels_by_hand() -> None:
    """0.5 m at level 18, twice as much at every level below, and no level that it was not trained with."""
    found = levels(told(0.5, 0.6, 1, 2, 3, 128, 1000, 0.3, math.nan), torch.zeros(9))
    assert found.tolist() == [18, 18, 17, 16, 15, 10, 10, 18, 0]
    assert levels({}, torch.zeros(2)).tolist() == [0, 0]


def test_unet_and_controlnet_are_told_the_level(tmp_path: Path) -> None:
    base = load_base(write_text2earth(tmp_path / "base"))
    unet = base.load_unet()
    controlnet = base.family.new_controlnet(unet, NewControlNet(seed=0, vae_scale_factor=8, metadata=True))
    generator = torch.Generator().manual_seed(0)
    noisy, states = torch.randn(2, 4, 4, 4, generator=generator), torch.randn(2, 77, 64, generator=generator)
    pre, timesteps = torch.rand(2, 3, 32, 32, generator=generator), torch.tensor([3, 900])
    with torch.no_grad():
        for weight in controlnet.controlnet_mid_block.parameters():
            weight.add_(0.1)
        labels = {"class_labels": torch.tensor([17, 0])}
        down, mid = controlnet(noisy, timesteps, states, controlnet_cond=pre, return_dict=False, **labels)
        residuals = {"down_block_additional_residuals": down, "mid_block_additional_residual": mid}
        expected = unet(noisy, timesteps, states, **labels, **residuals).sample
        denoiser = Denoiser(base.family, unet, controlnet)
        assert torch.equal(denoiser(noisy, timesteps, states, pre, **told(1.0, math.nan)), expected)
        assert not torch.allclose(denoiser(noisy, timesteps, states, pre, **told(2.0, math.nan))[0], expected[0])


def test_other_labels_are_no_ground_resolution(tmp_path: Path) -> None:
    folder = edited(write_text2earth(tmp_path / "base"), "unet", class_embed_type="projection")
    with pytest.raises(BaseError, match="takes class labels, such as an upscaler"):
        load_base(folder)
