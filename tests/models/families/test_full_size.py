"""Networks of full size from the config files of the real bases, on the meta device."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel, UNet2DConditionModel

from models.base import Base
from models.base_config import read_json
from models.conditioners.few_bits import few_bit_tensors
from models.families import FAMILIES, family_of
from models.families.family import Family, NewControlNet
from tests.real import real
from train.config import ModelConfig
from train.networks import meta_denoiser


@pytest.fixture(scope="module")
def configs() -> Path:
    return real("base_configs")


def millions(network: Any) -> float:
    count: int = sum(weight.numel() for weight in network.parameters())
    return round(count / 1e6, 1)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "kind", "size", "controlnets"),
    [
        ("sdxl-turbo", UNet2DConditionModel, 2567.5, {None: 1251.0}),
        ("stable-diffusion-3", SD3Transformer2DModel, 2028.3, {6: 538.8, 12: 1062.9, None: 1062.9}),
    ],
)
def test_numbers_of_parameters(
    configs: Path, name: str, kind: Any, size: float, controlnets: dict[int | None, float]
) -> None:
    family: Family = family_of(configs / name)
    with torch.device("meta"):
        network = kind.from_config(read_json(configs / name / family.network / "config.json"))
        assert millions(network) == size
        for blocks, expected in controlnets.items():
            asked = NewControlNet(seed=0, vae_scale_factor=8, blocks=blocks)
            assert millions(family.new_controlnet(network, asked)) == expected


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "linear", "others"),
    [
        ("stable-diffusion-2-1", 301.2, 564.7),
        ("sdxl-turbo", 2232.6, 334.8),
        ("stable-diffusion-3", 2027.1, 1.2),
    ],
)
def test_bytes_of_a_base_in_few_bits(configs: Path, name: str, linear: float, others: float) -> None:
    """A number for each weight of a linear layer, and four bytes for 64 of them; two bytes for each other weight."""
    base = Base(name, configs / name)
    condition: Any = "latents" if "model.condition" in base.family.only else "pixels"
    for bits in (8, 4):
        model = ModelConfig(trained="controlnet-lora", condition=condition, base_bits=bits)  # type: ignore[arg-type]
        denoiser = meta_denoiser(base, model)
        plain = sum(2 * weight.numel() for weight in denoiser.parameters() if not weight.requires_grad)
        held = plain + sum(values.nbytes for values in few_bit_tensors(denoiser))
        assert held / 1e6 == pytest.approx(linear * (bits / 8 + 4 / 64) + 2 * others, rel=2e-3)


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("stable-diffusion-2-1", [364.2, 14.1, 77.4, 18.7]),
        ("sdxl-turbo", [1251.0, 19.1, 79.0]),
        ("stable-diffusion-3", [1041.6, 30.8]),
    ],
)
def test_numbers_of_trained_parameters(configs: Path, name: str, expected: list[float]) -> None:
    base = Base(name, configs / name)
    condition: Any = "latents" if "model.condition" in base.family.only else "pixels"
    kinds: list[Any] = ["controlnet", "controlnet-lora", "t2i-adapter", "t2i-adapter-light"]
    for kind, number in zip(kinds, expected, strict=False):
        trained = meta_denoiser(base, ModelConfig(trained=kind, condition=condition)).trained()
        assert round(sum(weight.numel() for weight in trained.values()) / 1e6, 1) == number


@pytest.mark.real
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("stable-diffusion-2-1", "stable_diffusion"),
        ("diffusionsat-512", "diffusionsat"),
        ("sdxl-turbo", "sdxl"),
        ("stable-diffusion-3", "stable_diffusion_3"),
    ],
)
def test_real_bases_are_recognised(configs: Path, name: str, key: str) -> None:
    assert family_of(configs / name).key == key
    assert sum(family.key == key for family in FAMILIES) == 1
