"""How the processes of one run find each other, share results, and divide the work.

Waiting for others to finish work of their own happens on the CPU and may take days; joint work has the same timeout as
training (`run.peer_timeout`). Neither is NCCL's ten minutes.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import PartialState
from accelerate.utils import gather, pad_across_processes
from torch import Tensor

from data.dataset.processes import PATIENCE, Processes
from data.disk import look
from data.storage import locked
from generate.errors import GenerateError
from models.cpu.freed_memory import keep_freed_memory
from models.cpu.threads import set_threads

PEER_TIMEOUT = timedelta(seconds=1800)  # the default of run.peer_timeout
ALONE = Processes()

T = TypeVar("T")
Piece = TypeVar("Piece", bound=Sequence[Any])


def join_processes() -> PartialState:
    """Join the other processes of `accelerate launch` or torchrun, each with its share of the cores.

    Call this before anything else creates the state.
    """
    keep_freed_memory()
    set_threads()
    # Without cpu=True several processes without GPUs would each consider itself the only one.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PEER_TIMEOUT)


def everyone() -> Processes:
    """This process among all those of the run."""
    state = PartialState()
    return Processes(state.process_index, state.num_processes)


def from_main(act: Callable[[], T]) -> T:
    """Run `act` in the first process and broadcast its result, or its error, to all."""
    if everyone().number == 1:
        return act()
    outcome: list[Any] = [None, None]
    if everyone().is_main:
        try:
            outcome[0] = act()
        except Exception as error:
            outcome[1] = error
    with _noticing_losses():
        dist.broadcast_object_list(outcome, src=0, group=_patient())
    found, met = outcome
    if met is not None:
        raise met
    return found  # type: ignore[no-any-return]


def wait_for_everyone() -> None:
    """Wait until every process is here, however long one takes."""
    if everyone().number > 1:
        with _noticing_losses():
            dist.barrier(group=_patient())


@contextmanager
def sole_writer(out: Path) -> Iterator[None]:
    """Check that an output folder is writable and hold its lock, for all processes of this command.

    Raises:
        DataError: another command writes there, or it is not writable; raised in every process.
    """
    with ExitStack() as held:

        def take() -> None:
            held.enter_context(locked(out))
            look(out)

        from_main(take)
        yield


def in_turn(
    work: Sequence[Piece], compute: Callable[[Piece], Tensor], team: Processes
) -> Iterator[tuple[Piece, Tensor]]:
    """All pieces of work with their results, in order; each process of the team computes its share and receives all.

    The pieces, and the order in which a caller sums their results, are those of a single process: so are the bits.

    Args:
        work: the same in every process.
        compute: returns a tensor with a row for each part of a piece, on the process's device.
        team: everyone, or this process alone.
    """
    for start in range(0, len(work), team.number):
        pieces = work[start : start + team.number]
        # A process with no piece left repeats the last one, and its result is dropped.
        result = compute(pieces[min(team.index, len(pieces) - 1)])
        if team.number == 1:
            yield pieces[0], result
            continue
        with _noticing_losses():
            results = gather(pad_across_processes(result)).chunk(team.number)
        for piece, one in zip(pieces, results, strict=False):
            yield piece, one[: len(piece)]


@cache
def _patient() -> Any:  # noqa: ANN401  # torch has no public name for it
    """All processes, connected by gloo over the network: waiting keeps no GPU busy."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)


@contextmanager
def _noticing_losses() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:  # gloo and NCCL have no own type for a lost connection
        raise GenerateError(
            f"process {everyone().index}: another process of this run has ended ({str(error).splitlines()[0][:200]}); "
            "its message says why. What is finished is kept: the same command continues from there."
        ) from error
