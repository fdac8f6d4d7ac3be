"""Overlapping windows over a scene, and how their predictions are blended.

Every cell is the weighted mean of all windows over it; a window's weight falls to nearly 0 at its border, so that
no border shows (MultiDiffusion, Bar-Tal et al. 2023, equation 5, with the smooth weights of Mixture of Diffusers,
Barbero Jimenez 2023). Windows and weights are products of a row and a column part; so is the sum of all weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Grid:
    """Square windows over an area of cells; cell (0, 0) is the upper left one."""

    height: int  # cells, at least `side`
    width: int
    side: int  # of a window, cells
    stride: int  # 1..side; the last window of a row or column may overlap more

    @property
    def tops(self) -> list[int]:
        """First row of each row of windows."""
        return starts(self.height, self.side, self.stride)

    @property
    def lefts(self) -> list[int]:
        """First column of each column of windows."""
        return starts(self.width, self.side, self.stride)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(top, left) of every window, row by row."""
        return ((top, left) for top in self.tops for left in self.lefts)

    def __len__(self) -> int:
        return len(self.tops) * len(self.lefts)

    def scaled(self, factor: int) -> "Grid":
        """The same windows in smaller cells, `factor` to one along an axis."""
        return Grid(*(factor * length for length in (self.height, self.width, self.side, self.stride)))


def starts(length: int, side: int, stride: int) -> list[int]:
    """Start positions of windows of `side` that cover 0..length: every `stride`, and one at the very end."""
    return [*range(0, length - side, stride), length - side]


def weights(side: int) -> Floats:
    """(side,) weight of a window's cells along one axis: half a sine wave squared, never 0."""
    return np.sin(np.pi * (np.arange(side) + 0.5) / side).astype(np.float32) ** 2


def weight_sums(length: int, side: int, stride: int) -> Floats:
    """(length,) sum of the weights of all windows over each cell, along one axis."""
    total = np.zeros(length, np.float32)
    for start in starts(length, side, stride):
        total[start : start + side] += weights(side)
    return total
