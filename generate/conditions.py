"""What images are conditioned on while they are sampled."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from models.denoiser import Shown

METADATA = ("metadata", "cond_metadata")


@dataclass(frozen=True)
class Conditions:
    """What B images are conditioned on; under guidance B rows without caption and metadata come before theirs."""

    states: Tensor  # (B or 2 B, tokens, D) from the text encoder
    pre: Shown | None = None  # as `Denoiser.forward` takes it; None = not conditioned on an image
    told: Mapping[str, Tensor] = field(default_factory=dict)  # (B or 2 B, ...), see `Denoiser.forward`
    guided: bool = False

    def repeated(
        self, row: int, count: int, pre: Shown | None = None, placed: Mapping[str, Tensor] | None = None
    ) -> "Conditions":
        """One of the images, `count` times.

        Args:
            row: of the image.
            count: how often.
            pre: (count, ...) the conditioning image of each.
            placed: what the networks are told of where each lies, see `Family.placed`; None = all lie alike.
        """
        halves = 1 + self.guided

        def repeat(rows: Tensor) -> Tensor:
            one: Tensor = rows.unflatten(0, (halves, -1))[:, row : row + 1]
            return one.expand(-1, count, *one.shape[2:]).flatten(0, 1)

        told = {name: repeat(rows) for name, rows in self.told.items()}
        told |= {name: torch.cat([rows] * halves) for name, rows in (placed or {}).items()}
        return Conditions(repeat(self.states), times(pre, halves), told, self.guided)


def times(pre: Shown | None, halves: int) -> Shown | None:
    """Rows of `pre`, and once more under guidance."""
    if pre is None or isinstance(pre, Tensor):
        return pre if pre is None else torch.cat([pre] * halves)
    return [torch.cat([feature] * halves) for feature in pre]
