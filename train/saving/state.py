"""State that a run carries from one process to the next: weights, moments, EMA, step. Everything else is derived."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data.strict_json import finite
from models.checkpoint import CheckpointError, read_state, usable, write_checkpoint
from models.denoiser import Denoiser
from models.trained import load_trained, save_trained, weights_in
from train.processes.replicas import copy_into, gathered, local, reshard

OPTIMIZER = "optimizer.safetensors"
EIGHT_BIT = "adamw8bit"  # bitsandbytes; see `optimizer_of`
CODE_BOOKS = ("qmap1", "qmap2")  # of bitsandbytes: one pair for all parameters


@dataclass
class TrainState:
    """The trained weights with their optimizer, their EMA and the number of updates."""

    denoiser: Denoiser
    optimizer: torch.optim.Optimizer
    moments: str  # the optimizer's state format: adamw or adamw8bit, see train.optimizer
    scaler: torch.amp.GradScaler  # of the loss; active with fp16 only
    ema: dict[str, Tensor] = field(default_factory=dict)  # parameter name -> float32 EMA; empty = no EMA
    step: int = 0

    @cached_property
    def weights(self) -> dict[str, nn.Parameter]:
        """Name -> trained weight; looked up once, not in every step."""
        return self.denoiser.trained()

    def update_ema(self, decay: float) -> None:
        """Move the EMA towards the weights."""
        weights = [local(self.weights[name].detach()) for name in self.ema]
        torch._foreach_lerp_([local(average) for average in self.ema.values()], weights, 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Swap the EMA in for the weights, as generation uses it."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        """Values, not tensors: sharding and DDP keep references to the tensors."""
        for name, average in self.ema.items():
            mine, other = local(self.weights[name]), local(average)
            kept = mine.clone()
            mine.copy_(other)
            other.copy_(kept)
        reshard(self.denoiser)

    def saving(self, folder: Path, description: dict[str, Any], *, main: bool = True) -> Callable[[], None]:
        """Return the writer of a checkpoint; see `models.checkpoint`. If weights are sharded, every process calls this.

        Args:
            folder: checkpoints/step-*.
            description: for state.json, besides the step.
            main: whether this process writes; the others keep nothing to write.
        """
        weights, ema, moments = (gathered(part, keep=main) for part in (self.weights, self.ema, self._moments()))
        state = {"format": 2, "step": self.step, "loss_scaler": self.scaler.state_dict(), **description}

        def write_files(partial: Path) -> None:
            save_trained(partial, self.denoiser, weights)
            if ema:
                save_trained(partial / "ema", self.denoiser, ema)
            save_file({name: moment.contiguous() for name, moment in moments.items()}, partial / OPTIMIZER)

        return lambda: write_checkpoint(folder, finite(state), write_files)

    def load(self, folder: Path, step: int) -> list[str]:
        """Restore a saved state.

        Returns:
            What is newly initialised because the checkpoint, trained with other settings, lacks it.

        Raises:
            CheckpointError: the weights belong to another network.
        """
        with usable(folder):
            new = self._load(folder)
        self.step = step
        return new

    def _load(self, folder: Path) -> list[str]:
        new = []
        _copy_into(self.weights, _trained_in(folder, self.denoiser), folder)
        if self.ema and (folder / "ema").is_dir():
            _copy_into(self.ema, _trained_in(folder / "ema", self.denoiser), folder)
        elif self.ema:  # the EMA starts at the weights
            for name, average in self.ema.items():
                local(average).copy_(local(self.weights[name].detach()))
            new.append("the EMA")
        state = read_state(folder)
        if state["config"].get("train", {}).get("optimizer", "adamw") == self.moments:
            self._load_moments(load_file(folder / OPTIMIZER))
        else:
            new.append("the optimizer's moments")
        scale = state["loss_scaler"]
        if self.scaler.is_enabled() and scale:
            self.scaler.load_state_dict(scale)
        elif self.scaler.is_enabled():
            new.append("the loss scale")
        return new

    def _load_moments(self, moments: dict[str, Tensor]) -> None:
        for name, moment in moments.items():
            parameter, _, key = name.rpartition(".")
            weight = self.weights[parameter]
            if key == "step" and self.moments == EIGHT_BIT:
                value: Tensor | int = int(moment)  # it counts its steps in a plain number
            elif key.startswith("exp_avg") and moment.shape != weight.shape:
                raise ValueError(f"{OPTIMIZER}: {name} is of shape {list(moment.shape)}, expected {list(weight.shape)}")
            elif moment.shape == weight.shape and moment.dtype == weight.dtype:
                value = torch.empty_like(weight)
                copy_into(value, moment)
            else:
                value = moment.to(weight.device, copy=True)  # not the file's memory map
            self.optimizer.state[weight][key] = value

    def _moments(self) -> dict[str, Tensor]:
        moments: dict[str, Tensor] = {}
        for name, parameter in self.weights.items():
            for key, moment in self.optimizer.state[parameter].items():
                tensor = torch.as_tensor(moment).detach()
                shared = self.moments == EIGHT_BIT and key in CODE_BOOKS  # and a file holds no tensor twice
                moments[f"{name}.{key}"] = tensor.clone() if shared else tensor
        return moments


def new_state(
    denoiser: Denoiser, optimizer: torch.optim.Optimizer, *, moments: str, keep_ema: bool, scale_loss: bool
) -> TrainState:
    """A new state, whose EMA starts at the weights.

    Args:
        denoiser: with all trained weights.
        optimizer: of exactly these.
        moments: its state format, adamw or adamw8bit.
        keep_ema: whether to keep an EMA.
        scale_loss: whether gradients would underflow in the compute type, i.e. for fp16.
    """
    weights = denoiser.trained()
    ema = {name: weight.detach().clone() for name, weight in weights.items()} if keep_ema else {}
    device = next(iter(weights.values())).device.type
    return TrainState(denoiser, optimizer, moments, torch.amp.GradScaler(device, enabled=scale_loss), ema)


@torch.no_grad()
def start_from(folder: Path, denoiser: Denoiser) -> None:
    """Set what is trained to the weights of a checkpoint, those that images are generated with.

    Raises:
        CheckpointError: the weights belong to another network.
    """
    with usable(folder):
        _copy_into(denoiser.trained(), _trained_in(weights_in(folder), denoiser), folder)


def _trained_in(folder: Path, denoiser: Denoiser) -> dict[str, Tensor]:
    named = (*denoiser.named_parameters(), *denoiser.named_buffers())
    frozen = {name for name, weight in named if not weight.requires_grad}
    return {name: weight for name, weight in load_trained(folder).items() if name not in frozen}


def _copy_into(weights: dict[str, Tensor] | dict[str, nn.Parameter], saved: dict[str, Tensor], folder: Path) -> None:
    if weights.keys() != saved.keys() or any(weights[name].shape != saved[name].shape for name in saved):
        raise CheckpointError(
            f"{folder}: its weights are not those of this config's network. Set `model` to what it was "
            "trained with (config.yaml of its run), or train from scratch in a new run.out."
        )
    for name, weight in weights.items():
        copy_into(weight, saved[name])
