"""Editing without training, on the same base."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import (
    StableDiffusionImg2ImgPipeline,
    StableDiffusionInstructPix2PixPipeline,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from PIL import Image

from generate.editing.base import STRENGTH
from generate.editing.methods import METHODS
from generate.errors import GenerateError
from generate.generator import Generator, load_untrained
from generate.inputs import Inputs, Mask
from generate.sampling import Sampling
from models import load_base
from tests.generate.test_generator import noise_image
from tests.generate.worlds import RESOLUTION
from tests.worlds import unmapped

SAMPLING = Sampling(steps=4)


@pytest.fixture(scope="module")
def networks(micro_base: Path) -> Generator:
    """The micro base alone."""
    return load_untrained(load_base(micro_base), SAMPLING, 1)


def inputs(buildings: Mask | None = None, count: int = 1) -> Inputs:
    """Random images."""
    return Inputs(
        pre=[noise_image(i) for i in range(count)],
        prompts=["after a flood"] * count,
        seeds=[7 + i for i in range(count)],
        buildings=[buildings] * count,
        source_prompts=["before a flood"] * count,
    )


def test_sdedit_is_stock_image_to_image(networks: Generator, micro_base: Path) -> None:
    """diffusers alone, from the base's folder; steps are told."""
    seen: list[int] = []
    ours = METHODS["sdedit"](networks, inputs(), SAMPLING, seen.append)
    stock = unmapped(StableDiffusionImg2ImgPipeline.from_pretrained(micro_base, safety_checker=None))
    theirs = stock(
        "after a flood", Image.fromarray(noise_image(0)), strength=STRENGTH, num_inference_steps=4,
        guidance_scale=1.0, generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.array_equal(ours[0], np.asarray(theirs))
    assert seen == [1, 2, 3]  # three quarters of four


def test_instruct_is_stock_instruct_pix2pix(micro_base: Path, tmp_path: Path) -> None:
    """A UNet of twice the channels, in a folder of its own; guided by caption and image."""
    shutil.copytree(micro_base, tmp_path / "ip2p")
    torch.manual_seed(3)
    wide = UNet2DConditionModel.from_config(load_base(micro_base).config("unet") | {"in_channels": 8})
    wide.save_pretrained(tmp_path / "ip2p/unet")
    sampling = Sampling(steps=4, guidance_scale=3.0)
    networks = load_untrained(load_base(tmp_path / "ip2p", instruct=True), sampling, 1)
    ours = METHODS["instruct"](networks, inputs(), sampling, lambda done: None)
    stock = unmapped(StableDiffusionInstructPix2PixPipeline.from_pretrained(tmp_path / "ip2p", safety_checker=None))
    theirs = stock(
        "after a flood", Image.fromarray(noise_image(0)), num_inference_steps=4, guidance_scale=3.0,
        image_guidance_scale=1.5, generator=torch.Generator().manual_seed(7),
    ).images[0]  # fmt: skip
    assert np.abs(ours[0].astype(int) - np.asarray(theirs)).max() <= 1


def test_inpainting_touches_buildings_only(networks: Generator) -> None:
    """Everything else is the pre image to the last bit."""
    mask = np.zeros((RESOLUTION, RESOLUTION), bool)
    mask[9:20, 3:14] = True
    made = METHODS["inpaint"](networks, inputs(mask, count=2), SAMPLING, lambda done: None)
    for i in range(2):
        assert np.array_equal(made[i][~mask], noise_image(i)[~mask])
        assert (made[i][mask] != noise_image(i)[mask]).mean() > 0.9


def test_inpainting_of_everything_is_the_base_alone(networks: Generator, micro_base: Path) -> None:
    """Nothing is kept, so the plain pipeline from the same noise says the same."""
    everything = np.ones((RESOLUTION, RESOLUTION), bool)
    ours = METHODS["inpaint"](networks, inputs(everything), SAMPLING, lambda done: None)
    stock = unmapped(StableDiffusionPipeline.from_pretrained(micro_base, safety_checker=None))
    theirs = stock(
        "after a flood", num_inference_steps=4, guidance_scale=1.0, generator=torch.Generator().manual_seed(7)
    ).images[0]
    assert np.array_equal(ours[0], np.asarray(theirs))


def test_inpainting_without_buildings(networks: Generator) -> None:
    """No building, no change; buildings that are not known are named."""
    nowhere = np.zeros((RESOLUTION, RESOLUTION), bool)
    made = METHODS["inpaint"](networks, inputs(nowhere), SAMPLING, lambda done: None)
    assert np.array_equal(made[0], noise_image(0))
    with pytest.raises(GenerateError, match="no damage mask"):
        METHODS["inpaint"](networks, inputs(None), SAMPLING, lambda done: None)
