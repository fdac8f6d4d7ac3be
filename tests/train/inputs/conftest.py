"""A base conditioned on metadata."""

from pathlib import Path

import pytest
import torch

from models import load_base
from models.diffusionsat.unet import SatUNet
from tests.worlds import write_micro_base


@pytest.fixture(scope="session")
def sat_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base with random weights whose UNet is told metadata, an unknown number being the number 0."""
    folder = write_micro_base(tmp_path_factory.mktemp("bases") / "sat")
    plain = load_base(folder).config("unet")
    torch.manual_seed(1)
    SatUNet.from_config({name: value for name, value in plain.items() if not name.startswith("_")}).save_pretrained(
        folder / "unet"
    )
    return folder
