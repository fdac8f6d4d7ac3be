"""What a run must carry from one process to the next: weights, moments, average, step. Everything else is derived."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.checkpoint import CheckpointError, write_checkpoint

OPTIMIZER = "optimizer.safetensors"


@dataclass
class TrainState:
    """The trained network with its optimizer, its average and the number of updates done."""

    controlnet: ControlNetModel
    optimizer: torch.optim.AdamW
    ema: dict[str, Tensor] = field(default_factory=dict)  # parameter name -> float32 average; empty = none is kept
    step: int = 0

    def update_ema(self, decay: float) -> None:
        """Move the average towards the weights."""
        weights = dict(self.controlnet.named_parameters())
        torch._foreach_lerp_(list(self.ema.values()), [weights[name].detach() for name in self.ema], 1 - decay)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The average in the place of the weights, as generation uses it; nothing is copied."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        weights = dict(self.controlnet.named_parameters())
        for name, average in self.ema.items():
            self.ema[name], weights[name].data = weights[name].data, average

    def save(self, folder: Path, description: dict[str, Any]) -> None:
        """Write a whole checkpoint; see `models.checkpoint`.

        Args:
            folder: checkpoints/step-*.
            description: for state.json, beside the step.
        """

        def write_files(partial: Path) -> None:
            self.controlnet.save_pretrained(partial / "controlnet")
            if self.ema:
                with self.averaged():
                    self.controlnet.save_pretrained(partial / "ema")
            save_file(self._moments(), partial / OPTIMIZER)

        write_checkpoint(folder, {"format": 1, "step": self.step, **description}, write_files)

    def load(self, folder: Path, step: int) -> None:
        """Go back to what `save` wrote.

        Raises:
            CheckpointError: the files belong to another network.
        """
        weights = dict(self.controlnet.named_parameters())
        _copy_into(weights, load_file(folder / "controlnet" / "diffusion_pytorch_model.safetensors"), folder)
        if self.ema:
            _copy_into(self.ema, load_file(folder / "ema" / "diffusion_pytorch_model.safetensors"), folder)
        for name, moment in load_file(folder / OPTIMIZER).items():
            parameter, _, key = name.rpartition(".")
            device = weights[parameter].device
            self.optimizer.state[weights[parameter]][key] = moment.to(device)
        self.step = step

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{name}.{key}": moment.detach().contiguous()
            for name, parameter in self.controlnet.named_parameters()
            for key, moment in self.optimizer.state[parameter].items()
        }


def new_state(controlnet: ControlNetModel, *, learning_rate: float, weight_decay: float, keep_ema: bool) -> TrainState:
    """Fused AdamW over everything that is trained; the average starts at the weights."""
    optimizer = torch.optim.AdamW(controlnet.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    ema = {name: weight.detach().clone() for name, weight in controlnet.named_parameters()} if keep_ema else {}
    return TrainState(controlnet, optimizer, ema)


@torch.no_grad()
def _copy_into(
    weights: dict[str, Tensor] | dict[str, torch.nn.Parameter], saved: dict[str, Tensor], folder: Path
) -> None:
    if weights.keys() != saved.keys() or any(weights[name].shape != saved[name].shape for name in saved):
        raise CheckpointError(f"{folder}: its weights do not fit this base. Resume with the base it was trained on.")
    for name, weight in weights.items():
        weight.copy_(saved[name])
