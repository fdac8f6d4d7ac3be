"""Our trainer without one of its speed optimisations, to measure its effect (benchmarks/speed/gains.py).

python -m benchmarks.speed.without --config configs/demo.yaml --data.dataset D --run.out R --without='layers for CPUs'
"""

import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch import nn

from models.cpu.precision import compute_type
from models.denoiser import Denoiser
from train import networks
from train.__main__ import main


def weights_cast_in_every_step() -> None:
    """Keep the frozen UNet in float32 and autocast it, like the trained weights."""
    load = networks.build_denoiser

    def build(base: Any, model: Any, precision: str, seed: int, device: torch.device) -> Denoiser:  # noqa: ANN401
        with patch("train.networks.use_cpu_layers"):
            denoiser = load(base, model, "fp32", seed, device)
        denoiser.compute_dtype = compute_type(precision, device)
        autocast, forward = denoiser._autocast, denoiser.unet.forward

        def casting(noisy: torch.Tensor, *args: Any, **named: Any) -> Any:  # noqa: ANN401
            with autocast(noisy):
                return forward(noisy, *args, **named)

        denoiser.unet.forward = casting
        return denoiser

    patch("train.loop.build_denoiser", build).start()


def plain_layers() -> None:
    """Leave PyTorch's layers as they are; these need their weights in the type that they compute in."""

    def keep(network: nn.Module, *, stored: torch.dtype, computed: torch.dtype) -> None:
        if stored != computed == torch.float32:
            network.float()

    patch("train.networks.use_cpu_layers", keep).start()


def plain_optimizer() -> None:
    """Use PyTorch's default AdamW."""

    def optimizer_of(weights: list[nn.Parameter], settings: Any) -> torch.optim.Optimizer:  # noqa: ANN401
        return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)

    patch("train.loop.optimizer_of", optimizer_of).start()


PARTS: dict[str, Callable[[], object]] = {
    "frozen weights in the compute type": weights_cast_in_every_step,
    "layers for CPUs": plain_layers,
    "the fused optimizer": plain_optimizer,
    "freed memory kept": patch("train.loop.keep_freed_memory").start,
}


if __name__ == "__main__":
    PARTS[sys.argv.pop().removeprefix("--without=")]()
    sys.exit(main())
