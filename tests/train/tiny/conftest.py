"""A micro base: eight pixels of latents, a handful of steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.conftest import tiny_dataset
from train.tiny.config import parse_config
from train.tiny.train import train_tiny

__all__ = ["tiny_dataset"]
Arguments = Callable[..., list[str]]
CONFIG = Path(__file__).parents[3] / "configs" / "tiny_base.yaml"


@pytest.fixture
def arguments(tmp_path: Path, tiny_dataset: Path) -> Arguments:
    """Command line of a micro training into `tmp_path / out`; more arguments may follow and win."""
    scenes = tmp_path / "scenes"
    built = scenes / "seed-1-scenes-6" / "dataset-32"
    built.parent.mkdir(parents=True)
    built.symlink_to(tiny_dataset)

    def make(out: str, *more: str) -> list[str]:
        values = {
            "config": CONFIG,
            "data.folder": scenes,
            "data.releases": "[{seed: 1, scenes: 6}]",
            "data.patch": 32,
            "data.resolution": 32,
            "networks.vae_channels": "[8, 8]",
            "networks.latent_channels": 4,
            "networks.unet_channels": "[16, 16]",
            "networks.text_width": 16,
            "networks.text_layers": 1,
            "networks.vocabulary": 600,
            "networks.discriminator_width": 8,
            "autoencoder.crop": 16,
            "autoencoder.releases": 1,
            "autoencoder.adversarial_from": 2,
            "validation.every": 2,
            "validation.images": 4,
            "validation.timesteps": 2,
            "validation.shown": 1,
            "run.out": tmp_path / out,
            "run.threads": 1,
            "run.log_every": 1,
            "run.save_every": 2,
        }
        for stage in ("autoencoder", "denoiser"):
            values |= {f"{stage}.{name}": value for name, value in STAGE.items()}
        return [*(f"--{name}={value}" for name, value in values.items()), *more]

    return make


STAGE = {"steps": 5, "batch": 2, "warmup_steps": 1, "decay_steps": 2}


def run(argv: list[str]) -> int:
    """Train in this process."""
    return train_tiny(parse_config(argv))
