"""A process of the run is lost. The others notice, save their state, and exit; none waits forever.

Gradient exchange between hosts (gloo) fails within its own step: no update is half done, and the weights of every
process are those of the last completed step. On GPUs (NCCL) a failure may surface after the update that it corrupted,
so nothing is saved there beyond the last checkpoint.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from models.checkpoint import fault_of, step_folder
from train.boundary import Run, writing
from train.errors import TrainingError
from train.processes.interrupt import EXIT_INTERRUPTED
from train.processes.replicas import is_sharded

# Messages of gloo, the store and NCCL, which have no own exception type for it.
SIGNS = re.compile(
    r"Connection (closed|reset|refused)|Timed out waiting|timed out after|Broken pipe|remote process exited"
    r"|Application timeout caused pair closure|Read timeout|Failed to (recv|send)",
    re.IGNORECASE,
)


class PeerLost(TrainingError):
    """Another process does not respond; `status` is the exit status."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def is_lost(error: RuntimeError) -> bool:
    """Whether an error means that another process does not respond."""
    return SIGNS.search(str(error)) is not None


def first_sentence(error: RuntimeError) -> str:
    """The first sentence of gloo's message, without source location and advice."""
    return re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).partition(". ")[0]


@contextmanager
def noticing_losses(run: Run) -> Iterator[None]:
    """Within the block, the loss of another process saves the completed steps, if intact here.

    Raises:
        PeerLost: with status 75 if everything is saved.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        saved = _save(run)
        step, reason = run.state.step, first_sentence(error)
        me = f"process {run.accelerator.process_index}"
        raise PeerLost(
            f"{me}: another process was lost after step {step} ({reason}). {saved or run.log.last_good()} "
            "Run the same command again to resume, with as many processes as are available.",
            EXIT_INTERRUPTED if saved else 2,
        ) from error


def _save(run: Run) -> str:
    """Write a checkpoint of the last completed step, unless another process has; empty if there is none to write."""
    state = run.state
    folder = step_folder(run.config.run.out / "checkpoints", state.step)
    if (
        not state.step
        or run.accelerator.device.type != "cpu"
        or is_sharded(state.weights)
        or not run.log.is_finite_here()
    ):
        return ""
    with writing(run.config.run.out):
        if fault_of(folder) is not None:
            state.saving(folder, run.descriptions[run.stage] | {"validation_loss": None})()
    return f"Saved {folder}."
