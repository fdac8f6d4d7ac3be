"""What a run must carry from one process to the next: weights, moments, average, step. Everything else is derived."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.checkpoint import CheckpointError, read_state, write_checkpoint
from models.denoiser import Denoiser
from models.trained import load_trained, save_trained

OPTIMIZER = "optimizer.safetensors"


@dataclass
class TrainState:
    """The trained weights with their optimizer, their average and the number of updates done."""

    denoiser: Denoiser
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler  # of the loss; does nothing but for fp16
    ema: dict[str, Tensor] = field(default_factory=dict)  # parameter name -> float32 average; empty = none is kept
    step: int = 0

    @cached_property
    def weights(self) -> dict[str, nn.Parameter]:
        """Name -> weight of everything that is trained; looked up once, not in every step."""
        return self.denoiser.trained()

    def update_ema(self, decay: float) -> None:
        """Move the average towards the weights."""
        weights = [self.weights[name].detach() for name in self.ema]
        torch._foreach_lerp_(list(self.ema.values()), weights, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The average in the place of the weights, as generation uses it; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, average in self.ema.items():
            self.ema[name], self.weights[name].data = self.weights[name].data, average

    def save(self, folder: Path, description: dict[str, Any]) -> None:
        """Write a whole checkpoint; see `models.checkpoint`.

        Args:
            folder: checkpoints/step-*.
            description: for state.json, beside the step.
        """

        def write_files(partial: Path) -> None:
            save_trained(partial, self.denoiser, self.weights)
            if self.ema:
                save_trained(partial / "ema", self.denoiser, self.ema)
            save_file(self._moments(), partial / OPTIMIZER)

        state = {"format": 2, "step": self.step, "loss_scaler": self.scaler.state_dict(), **description}
        write_checkpoint(folder, state, write_files)

    def load(self, folder: Path, step: int) -> None:
        """Go back to what `save` wrote.

        Raises:
            CheckpointError: the files belong to another network.
        """
        _copy_into(self.weights, load_trained(folder), folder)
        if self.ema:
            _copy_into(self.ema, load_trained(folder / "ema"), folder)
        for name, moment in load_file(folder / OPTIMIZER).items():
            parameter, _, key = name.rpartition(".")
            # bitsandbytes counts its steps in a plain number.
            plain = key == "step" and moment.dtype == torch.int64
            weight = self.weights[parameter]
            # A moment lies in memory as its weight does.
            like = torch.empty_like(weight, dtype=moment.dtype) if moment.shape == weight.shape else None
            value = int(moment) if plain else moment.to(weight.device) if like is None else like.copy_(moment)
            self.optimizer.state[weight][key] = value
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(read_state(folder)["loss_scaler"])
        self.step = step

    def _moments(self) -> dict[str, Tensor]:
        moments: dict[str, Tensor] = {}
        seen: set[int] = set()
        for name, parameter in self.weights.items():
            for key, moment in self.optimizer.state[parameter].items():
                tensor = torch.as_tensor(moment).detach().contiguous()
                # bitsandbytes has one code book for all parameters; a file holds no tensor twice.
                moments[f"{name}.{key}"] = tensor.clone() if tensor.data_ptr() in seen else tensor
                seen.add(tensor.data_ptr())
        return moments


def new_state(denoiser: Denoiser, optimizer: torch.optim.Optimizer, *, keep_ema: bool, scale_loss: bool) -> TrainState:
    """The average starts at the weights.

    Args:
        denoiser: with everything that is trained.
        optimizer: of exactly that.
        keep_ema: whether to average.
        scale_loss: whether gradients would be too small for the compute type, i.e. for fp16.
    """
    weights = denoiser.trained()
    ema = {name: weight.detach().clone() for name, weight in weights.items()} if keep_ema else {}
    device = next(iter(weights.values())).device.type
    return TrainState(denoiser, optimizer, torch.amp.GradScaler(device, enabled=scale_loss), ema)


@torch.no_grad()
def _copy_into(weights: dict[str, Tensor] | dict[str, nn.Parameter], saved: dict[str, Tensor], folder: Path) -> None:
    if weights.keys() != saved.keys() or any(weights[name].shape != saved[name].shape for name in saved):
        raise CheckpointError(f"{folder}: its weights do not fit this base. Resume with the base it was trained on.")
    for name, weight in weights.items():
        weight.copy_(saved[name])
