"""What tests of DiffusionSat's networks share."""

from pathlib import Path
from typing import Any

import pytest

from models import load_base
from models.diffusionsat.unet import SatUNet
from tests.models.released import random_weights


@pytest.fixture(scope="module")
def parts(micro_base: Path) -> dict[str, Any]:
    """A micro base, its UNet with metadata that matters."""
    base = load_base(micro_base)
    config = {key: value for key, value in base.config("unet").items() if not key.startswith("_")}
    return {
        "vae": base.load_vae(),
        "text_encoder": base.load_text_encoder(),
        "tokenizer": base.load_tokenizer(),
        "unet": random_weights(SatUNet.from_config(config)).eval(),
        "scheduler": base.load_sampler(),
    }
