"""Options of this room's commands; `--help` reads them here without importing the networks."""

import math
from dataclasses import dataclass

from evaluation.errors import EvaluationError

NETWORKS = ("lpips_vgg", "lpips_alex", "inception", "clip")  # that judge images


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a damage model is trained.

    Raises:
        EvaluationError: a value is invalid.
    """

    steps: int = 2000
    """Optimizer steps."""
    batch: int = 16
    """Pairs per step."""
    learning_rate: float = 5e-3
    """Peak, after a linear warm-up; then it decays along a cosine."""
    width: int = 32
    """Channels of the first level: 16 has 0.1 million weights, 32 has 0.5."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "width"):
            if not 0 < getattr(self, name) < math.inf:
                raise EvaluationError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if self.width % 8:
            raise EvaluationError(f"width is {self.width}; expected a multiple of 8.")


DEFAULT = Training()
