"""Options of this room's commands; `--help` reads them here without importing the networks."""

import math
from collections.abc import Collection
from dataclasses import dataclass

from evaluation.errors import EvaluationError

USUAL_NETWORKS = ("lpips_vgg", "lpips_alex", "inception", "clip")
NETWORKS = (*USUAL_NETWORKS, "dinov3_sat")  # that judge images


@dataclass(frozen=True, kw_only=True)
class Training:
    """How a damage model is trained.

    Raises:
        EvaluationError: a value is invalid.
    """

    steps: int = 2000
    """Optimizer steps; with patience, the most of them."""
    patience: int = 0
    """Stop after so many validations without a lower loss, and keep the weights of the lowest; 0: take all steps."""
    validate_every: int = 100
    """Steps between validations."""
    batch: int = 16
    """Pairs per step."""
    learning_rate: float = 5e-3
    """Peak, after a linear warm-up; then it decays along a cosine, or stays where the end is not known (patience)."""
    width: int = 32
    """Channels of the first level: 16 has 0.1 million weights, 32 has 0.5."""

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "learning_rate", "width", "validate_every"):
            if not 0 < getattr(self, name) < math.inf:
                raise EvaluationError(f"{name} is {getattr(self, name)}; expected a number above 0.")
        if self.patience < 0:
            raise EvaluationError(f"patience is {self.patience}; expected 0 or more, usually 5 to 10.")
        if self.width % 8:
            raise EvaluationError(f"width is {self.width}; expected a multiple of 8.")


DEFAULT = Training()


def judging(networks: str) -> list[str]:
    """The NETWORKS of the option `networks`."""
    return [] if networks == "none" else names_of(networks, "networks", NETWORKS)


def listed(text: str) -> list[str]:
    """Names separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def names_of(text: str, option: str, known: Collection[str]) -> list[str]:
    """The same, in the order of those that there are.

    Raises:
        EvaluationError: another one.
    """
    names = listed(text)
    for name in names:
        if name not in known:
            raise EvaluationError(
                f"{option}: there is no {name!r}. Choose from {', '.join(known)}, separated by commas."
            )
    return [name for name in known if name in names]
