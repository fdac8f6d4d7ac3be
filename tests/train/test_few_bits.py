"""A base in few bits: step 0 is its own, a run resumes bit for bit, is counted, and is generated from as trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from generate.checkpoint import open_base, open_checkpoint
from generate.generator import generate_images, load_generator
from generate.sampling import Sampling
from models import load_base
from models.checkpoint import CheckpointError, read_state, step_folder
from models.conditioners.few_bits import FewBitLinear, few_bit_tensors, use_few_bits
from publish.snippet import stock_of
from tests.families import MICRO
from tests.train.conftest import Arguments, run
from tests.train.test_what_is_trained import check_resume
from train.config import ModelConfig
from train.errors import ConfigError
from train.networks import build_denoiser, meta_denoiser

KINDS = [("sdxl", "controlnet-lora", 4), ("stable_diffusion_3", "controlnet-lora", 8), ("sdxl", "controlnet", 4)]


def settings(kind: str, trained: str, bits: int | None) -> dict[str, Any]:
    condition = "latents" if kind == "stable_diffusion_3" else "pixels"
    return {"trained": trained, "condition": condition, "base_bits": bits, "lora_rank": 2}


@pytest.mark.parametrize(("kind", "trained", "bits"), KINDS)
def test_step_zero_is_the_base_in_few_bits(tmp_path: Path, kind: str, trained: str, bits: int) -> None:
    base = load_base(MICRO[kind](tmp_path / "base"))
    model = ModelConfig(**settings(kind, trained, bits))
    denoiser = build_denoiser(base, model, "fp32", 0, torch.device("cpu"))
    alone, plain = base.load_unet(), base.load_unet()
    use_few_bits(bits, alone)
    channels = alone.config.in_channels
    told = base.encode(base.load_text_encoder(), base.tokenize(["a"])) | base.family.placed(torch.zeros(1, 6))
    shown = torch.rand(1, *((channels, 4, 4) if model.condition == "latents" else (3, 32, 32)))
    noisy, timesteps = torch.randn(1, channels, 4, 4), torch.tensor([5])
    predicted = denoiser(noisy, timesteps, condition=shown, **told)
    states = told.pop("states")
    expected, other = (base.family.predict(x, noisy, timesteps, states, told, {}) for x in (alone, plain))
    torch.testing.assert_close(predicted, expected, rtol=1e-4, atol=1e-5)
    assert (expected - other).abs().max() > 1e-3
    sizes, counted = (
        sorted(tuple(x.shape) for x in (*each.parameters(), *(y.flatten() for y in few_bit_tensors(each))))
        for each in (denoiser, meta_denoiser(base, model))
    )
    assert sizes == counted  # what --check estimates
    if trained == "controlnet-lora":
        mine, theirs = (
            {x for x in network.modules() if isinstance(x, FewBitLinear)}
            for network in (denoiser.controlnet, denoiser.unet)
        )
        assert mine and mine < theirs


@pytest.mark.parametrize(("kind", "trained", "bits"), KINDS[:2])
def test_resumes_and_generates_as_trained(
    tmp_path: Path, arguments: Arguments, monkeypatch: pytest.MonkeyPatch, kind: str, trained: str, bits: int
) -> None:
    given = settings(kind, trained, bits) | {"base": MICRO[kind](tmp_path / "base")}
    options = [f"--model.{name}={value}" for name, value in given.items()]
    run(arguments("straight", *options, "--train.steps=8", "--train.ema_decay=0.5", "--train.warmup_steps=0",
                  "--train.learning_rate=0.05"))  # fmt: skip
    last = step_folder(tmp_path / "straight/checkpoints", 8)
    check_resume(last, arguments, options)
    checkpoint = open_checkpoint(tmp_path / "straight")
    assert read_state(last)["base_bits"] == checkpoint.base_bits == bits
    parts = open_base(checkpoint)
    assert stock_of(checkpoint, parts) is None
    generator = load_generator(checkpoint, parts, Sampling())
    few = [module for module in generator.denoiser.unet.modules() if isinstance(module, FewBitLinear)]
    assert few and all(module.bits == bits for module in few)
    pre = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    assert generate_images(generator, [pre], ["x"], [5], Sampling(steps=2)).std() > 1
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=f"a base in {bits} bits, which needs the package bitsandbytes: pip inst"):
        open_checkpoint(tmp_path / "straight")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model.trained=controlnet+lora"], "base_bits is 4, but model.trained is controlnet.lora: LoRA in the base"),
        (["--model.compile=true"], "base_bits is 4, but model.compile is true"),
        ([], r"base_bits is 4, but only \d+% of the weights of .* are in linear layers"),
    ],
)
def test_what_cannot_be_is_said_before_any_weight_is_loaded(
    arguments: Arguments, monkeypatch: pytest.MonkeyPatch, options: list[str], said: str
) -> None:
    monkeypatch.setattr("models.base.Base._load", None)
    monkeypatch.setattr("train.networks.LEAST_SHARE", 1.0)
    with pytest.raises(ConfigError, match=said):
        run(arguments("run", "--model.base_bits=4", *options))


def test_without_the_package(arguments: Arguments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.config_checks.is_installed", lambda package: False)
    with pytest.raises(ConfigError, match=r"model\.base_bits is 8, but the package bitsandbytes is not installed"):
        run(arguments("run", "--model.base_bits=8"))
