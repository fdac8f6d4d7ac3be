"""State that a stage carries from one process to the next: weights, moments, EMA, step."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.checkpoint import CheckpointError, read_state, usable, write_checkpoint
from train.tiny.config import StageConfig

WEIGHTS, AVERAGE, OPTIMIZER = "weights.safetensors", "ema.safetensors", "optimizer.safetensors"


@dataclass
class State:
    """Networks by name, with their optimizer and the EMA of those that are shipped."""

    networks: nn.ModuleDict
    optimizer: torch.optim.Optimizer
    average: dict[str, Tensor]  # name of a weight -> float32 EMA
    step: int = 0
    weights: dict[str, nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.weights = dict(self.networks.named_parameters())

    def update_average(self, decay: float) -> None:
        """Move the EMA towards the weights."""
        weights = [self.weights[name].detach() for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), weights, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the EMA in for the weights, without gradients."""
        self._swap()
        try:
            with torch.no_grad():
                yield
        finally:
            self._swap()

    def take_average(self) -> None:
        """Replace the weights with the EMA, when training is finished."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.average.items():
            kept = self.weights[name].clone()
            self.weights[name].copy_(average)
            average.copy_(kept)

    def save(self, folder: Path, description: dict[str, Any]) -> None:
        """Write a checkpoint; see `models.checkpoint`."""
        moments = {
            f"{name}.{key}": moment
            for name, weight in self.weights.items()
            for key, moment in self.optimizer.state[weight].items()
        }
        weights: dict[str, Tensor] = dict(self.weights)
        files = {WEIGHTS: weights, AVERAGE: self.average, OPTIMIZER: moments}

        def write_files(partial: Path) -> None:
            for name, tensors in files.items():
                save_file({key: tensor.detach().contiguous() for key, tensor in tensors.items()}, partial / name)

        write_checkpoint(folder, {"format": 1, "step": self.step, **description}, write_files)

    @torch.no_grad()
    def load(self, folder: Path) -> None:
        """Restore what `save` wrote.

        Raises:
            CheckpointError: the files belong to other networks.
        """
        with usable(folder):
            self._load(folder)

    def _load(self, folder: Path) -> None:
        for file, ours in ((WEIGHTS, dict(self.weights)), (AVERAGE, self.average)):
            saved = load_file(folder / file)
            if {name: x.shape for name, x in saved.items()} != {name: x.shape for name, x in ours.items()}:
                raise CheckpointError(
                    f"{folder / file}: its weights have other shapes. Set networks back as in its state.json, or "
                    "choose a new run.out."
                )
            for name, tensor in ours.items():
                tensor.copy_(saved[name])
        for name, moment in load_file(folder / OPTIMIZER).items():
            parameter, _, key = name.rpartition(".")
            weight = self.weights[parameter]
            # In the memory format of the weight, as the optimizer created it, so that sums run in the same order.
            value = torch.empty_like(weight).copy_(moment) if moment.shape == weight.shape else moment
            self.optimizer.state[weight][key] = value
        self.step = int(read_state(folder)["step"])


def new_state(networks: nn.ModuleDict, averaged: tuple[str, ...], settings: StageConfig) -> State:
    """A new state, whose EMA starts at the weights.

    Args:
        networks: all trained networks.
        averaged: names of those with an EMA.
        settings: of the optimizer.
    """
    weights = {name: weight for name, weight in networks.named_parameters() if weight.requires_grad}
    optimizer = torch.optim.AdamW(
        weights.values(), lr=0.0, betas=(0.9, 0.99), weight_decay=settings.weight_decay, fused=True
    )
    average = {name: weight.detach().clone() for name, weight in weights.items() if name.split(".")[0] in averaged}
    return State(networks, optimizer, average)
