"""When a damage model has learnt what it can: its validation loss becomes no lower."""

import math
from collections.abc import Callable
from typing import Any

from torch import nn

from evaluation.options import Training


class Stopping:
    """Ends a training whose validation loss has not become lower for a while, and brings back the best weights."""

    def __init__(self, validate: Callable[[], float], training: Training, network: nn.Module) -> None:
        """`validate` returns the loss of the network as it is."""
        self.validate, self.training, self.network = validate, training, network
        self.best, self.best_step, self.weights = math.inf, 0, network.state_dict()

    def is_over(self, step: int) -> bool:
        """Whether to stop after a step; validates where it is time."""
        if step % self.training.validate_every and step != self.training.steps:
            return False
        found = self.validate()
        if found < self.best:
            self.best, self.best_step = found, step
            self.weights = {name: weight.clone() for name, weight in self.network.state_dict().items()}
        return step - self.best_step >= self.training.patience * self.training.validate_every

    def restored(self) -> dict[str, Any]:
        """Bring the best weights back; when they were found, and their loss."""
        self.network.load_state_dict(self.weights)
        return {"best_step": self.best_step, "validation_loss": self.best}
