"""The processes of one build, on one machine or on many that share a disk: `accelerate launch -m launch.cli build ...`.

A launcher passes each its index in the environment. The first reads the source and writes what belongs to the whole
dataset; each builds its share of the shards.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

from data.errors import DataError

Item = TypeVar("Item")
PATIENCE = timedelta(days=7)  # of the processes that finish first


@dataclass(frozen=True)
class Processes:
    """This process among those of the build."""

    index: int = 0
    number: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it is the first."""
        return self.index == 0

    def share(self, items: Sequence[Item] = ()) -> list[Item]:
        """This process's share of the first one's items; the others pass none.

        Raises:
            DataError: the first has ended before.
        """
        shared = [list(items)]
        if self.number > 1:
            from accelerate.utils import broadcast_object_list

            self._together(lambda: broadcast_object_list(shared))
        return shared[0][self.index :: self.number]

    def wait(self) -> None:
        """Until every process is here.

        Raises:
            DataError: one has ended before.
        """
        if self.number > 1:
            from accelerate import PartialState

            self._together(PartialState().wait_for_everyone)

    def _together(self, act: Callable[[], object]) -> None:
        try:
            act()
        except RuntimeError as error:  # gloo has no error class of its own for a lost connection
            raise DataError(
                f"process {self.index}: another process of this build has ended; its message says why. What is "
                "finished is kept: the same command continues from there."
            ) from error


def join_processes() -> Processes:
    """Find the others that a launcher started; without one, this is the only process."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Processes()
    # One process alone does without PyTorch: seconds at the start, and 0.2 GB.
    from accelerate import PartialState

    state = PartialState(cpu=True, timeout=PATIENCE)
    return Processes(state.process_index, state.num_processes)
