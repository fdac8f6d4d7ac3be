"""The rules of the estimate, against counts by PyTorch, a real forward pass, and arithmetic by hand."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.floor import step_flops
from models import load_base
from models.base import Base
from models.denoiser import Denoiser
from tests.families import MICRO
from train.config import Config, DataConfig, ModelConfig, RunConfig
from train.estimate import (
    OVERHEAD_GB,
    OVERHEAD_SHARE,
    PASSES,
    UPDATE_BYTES,
    Speed,
    Work,
    memory_gb,
    seconds_per_step,
    work_of,
)
from train.inputs.recipe import Recipe, recipe_of
from train.networks import _with_trained, build_denoiser, meta_denoiser
from train.stages import Stage

RESOLUTION = 32


def config_of(**model: object) -> Config:
    return Config(data=DataConfig(dataset=Path("d")), run=RunConfig(out=Path("r")), model=ModelConfig(**model))  # type: ignore[arg-type]


def recipe(base: Base, config: Config) -> Recipe:
    return recipe_of(config, base, base.load_noise_schedule(), RESOLUTION)


def work(base: Base, **model: object) -> Work:
    config = config_of(**model)
    return work_of(meta_denoiser(base, config.model), recipe(base, config), config, base.empty_told())


def test_operations_are_those_that_pytorch_counts_forward_and_backward(micro_base: Path) -> None:
    base = load_base(micro_base)
    counted = step_flops(base, resolution=RESOLUTION, batch=1)["needed"]
    assert work(base).flops == counted


@pytest.mark.parametrize("trained", ["controlnet", "controlnet-lora", "controlnet+lora"])
@pytest.mark.parametrize("kind", MICRO)
def test_operations_of_every_family_are_those_of_a_real_step(tmp_path: Path, kind: str, trained: str) -> None:
    """Counted by PyTorch on the CPU; checkpointing by diffusers itself."""
    base = load_base(MICRO[kind](tmp_path / "base"))
    condition = "latents" if "model.condition" in base.family.only else "pixels"
    settings: dict[str, Any] = {"trained": trained, "condition": condition, "lora_rank": 2}
    for recompute in (False, True):
        settings |= {"gradient_checkpointing": recompute, "base_checkpointing": recompute}
        config = config_of(**settings)
        denoiser, shapes = Denoiser(base.family, base.load_unet()), recipe(base, config)
        denoiser.controlnet = _with_trained(base, denoiser.unet, config.model, 0)
        if recompute:
            denoiser.controlnet.enable_gradient_checkpointing()
            denoiser.unet.enable_gradient_checkpointing()
        shown = shapes.latent_shape if condition == "latents" else (3, RESOLUTION, RESOLUTION)
        told = base.encode(base.load_text_encoder(), base.tokenize(["a"])) | base.family.placed(torch.zeros(1, 6))
        told |= {"metadata": torch.zeros(1, 7), "cond_metadata": torch.zeros(1, 7)}
        with FlopCounterMode(display=False) as counted, sdpa_kernel(SDPBackend.MATH):
            noisy, timesteps = torch.zeros(1, *shapes.latent_shape), torch.zeros(1, dtype=torch.int64)
            denoiser(noisy, timesteps, condition=torch.zeros(1, *shown), **told).sum().backward()
        # PyTorch stops recomputing a block at the last value that the backward pass needs.
        found = work(base, **settings).flops
        assert counted.get_total_flops() <= found <= (1.02 if recompute else 1) * counted.get_total_flops()


def test_kept_values_are_those_of_a_real_forward_pass(micro_base: Path) -> None:
    """By their bytes on the CPU, each piece of memory once, without the weights."""
    base = load_base(micro_base)
    config = config_of()
    network, shapes = build_denoiser(base, config.model, "fp32", 0, torch.device("cpu")), recipe(base, config)
    plain = Denoiser(base.family, base.load_unet(), network.controlnet)
    weights = {weight.untyped_storage().data_ptr() for weight in plain.parameters()}
    kept: dict[int, torch.Tensor] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    latents = torch.zeros(1, *shapes.latent_shape)
    states = torch.zeros(1, 77, base.config("unet")["cross_attention_dim"])
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        plain(latents, torch.zeros(1, dtype=torch.int64), states, torch.zeros(1, 3, RESOLUTION, RESOLUTION))
    size = sum(tensor.untyped_storage().nbytes() for pointer, tensor in kept.items() if pointer not in weights)
    assert work(base).kept == pytest.approx(size / 4, rel=0.25)  # convolutions of the CPU keep a little otherwise


def test_recomputing_keeps_less_and_costs_operations(micro_base: Path) -> None:
    base = load_base(micro_base)
    plain, both = work(base), work(base, gradient_checkpointing=True, base_checkpointing=True)
    assert both.kept + both.recomputed < plain.kept and both.flops > plain.flops and plain.recomputed == 0


@pytest.mark.parametrize("trained", ["lora", "controlnet+lora", "lora+concat"])
def test_lora_passes_gradients_through_all_of_the_unet(micro_base: Path, trained: str) -> None:
    base = load_base(micro_base)
    assert work(base, trained=trained).kept > 0
    alone = work(base).flops
    assert (work(base, trained=trained).flops > alone) is (trained == "controlnet+lora")


def stage(global_batch: int, micro_batch: int) -> Stage:
    return Stage(0, 10, 0, Path("d"), None, global_batch, micro_batch, "train.micro_batch")


def test_memory_by_hand() -> None:
    """Frozen 2 GB, trained 1, gradients 1, moments 2; a micro-batch of 4 keeps 4 x 0.3 billion values of 2 bytes."""
    weights = {
        "frozen weights": 2_000_000_000,
        "trained weights": 1_000_000_000,
        "gradients": 1_000_000_000,
        "optimizer": 2_000_000_000,
    }
    one = Work(flops=0, kept=2e8, recomputed=1e8)

    def total(global_batch: int, on_gpu: bool) -> float:
        all_of_it = memory_gb(one, stage(global_batch, 4), weights, torch.bfloat16, 1, on_gpu=on_gpu)
        return (all_of_it - OVERHEAD_GB) / (1 + OVERHEAD_SHARE)

    assert total(4, on_gpu=False) == pytest.approx(5 + 2.4)  # the gradients come as what is kept goes
    assert total(8, on_gpu=False) == pytest.approx(5 + 2.4 + 1)  # they stay for the second micro-batch
    assert total(4, on_gpu=True) == pytest.approx(5 + 2.4 + 0.5)  # autocast's copies


def test_seconds_by_hand() -> None:
    """16 examples a process of 2e9 operations at 1e11 a second; what is moved at 1e10 bytes a second."""
    one, speed = Work(flops=2e9, kept=1e6, recomputed=0), Speed(flops=1e11, bandwidth=1e10)
    moved = PASSES * 1e6 * 4 * 16 + UPDATE_BYTES * 500_000
    assert seconds_per_step(one, stage(32, 4), 500_000, torch.float32, 2, speed) == pytest.approx(0.32 + moved / 1e10)
