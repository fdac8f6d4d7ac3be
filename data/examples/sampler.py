"""Which view an example shows: a pure function of (seed, ordinal), whatever the number of processes and workers.

Law 1 of the design. `ordinal` counts every example ever drawn in a run; step n consumes ordinals [n*G, (n+1)*G) for the
global batch size G, and rank r of P takes the r-th of P equal slices. Nothing here has state: resuming needs only n.
"""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np


def example_rng(seed: int, ordinal: int) -> np.random.Generator:
    """The generator of one example: counter-based, so that any ordinal can be reached at once."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, ordinal], dtype=np.uint64)))


def view_of(seed: int, ordinal: int, num_views: int) -> int:
    """The view of an example: every view once per epoch, in an order of that epoch's own.

    Args:
        seed: of the run.
        ordinal: number of the example in the run, from 0.
        num_views: views in the dataset, at least 1.
    """
    epoch, position = divmod(ordinal, num_views)
    return int(_order(seed, epoch, num_views)[position])


@lru_cache(maxsize=2)  # the epoch in use and, at its border, the next
def _order(seed: int, epoch: int, num_views: int) -> np.ndarray:
    # The high word keeps an epoch's key apart from every example's.
    key = np.array([seed, (1 << 63) | epoch], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key)).permutation(num_views)


class OrdinalBatches:
    """Micro-batches of ordinals for one process, from one step to another."""

    def __init__(
        self,
        *,
        first_step: int,
        last_step: int,
        global_batch: int,
        micro_batch: int,
        rank: int,
        num_processes: int,
        first_ordinal: int | None = None,
    ) -> None:
        """`first_step` is taken, `last_step` is not; the batches are counts of examples.

        `global_batch` must be a multiple of `num_processes * micro_batch`. `first_ordinal` is the first example of
        `first_step`; it need not be given if all steps before had the same global batch.
        """
        assert global_batch % (num_processes * micro_batch) == 0
        self.first_ordinal = first_step * global_batch if first_ordinal is None else first_ordinal
        self.first_step, self.last_step = first_step, last_step
        self.global_batch, self.micro_batch = global_batch, micro_batch
        self.rank, self.per_process = rank, global_batch // num_processes

    def __iter__(self) -> Iterator[list[int]]:
        """Yield `accumulation` micro-batches a step."""
        for step in range(self.first_step, self.last_step):
            start = self.first_ordinal + (step - self.first_step) * self.global_batch + self.rank * self.per_process
            for first in range(start, start + self.per_process, self.micro_batch):
                yield list(range(first, first + self.micro_batch))

    def __len__(self) -> int:
        """Micro-batches left."""
        return (self.last_step - self.first_step) * self.per_process // self.micro_batch
