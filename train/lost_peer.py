"""A process of the run is gone. The others notice, save what they have, and end; nobody waits for ever.

Gradients that travel between hosts (gloo) fail in the step that they are for: no update is half done, and the weights
of every process are those of the last whole step. On GPUs (NCCL) a failure may come after the update that it spoilt, so
nothing is saved there beyond the last checkpoint.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from models.checkpoint import fault_of, step_folder
from train.boundary import Run, writing
from train.errors import TrainingError
from train.processes.interrupt import EXIT_INTERRUPTED
from train.processes.replicas import is_sharded

# What gloo, the store and NCCL say; they have no exception of their own for it.
SIGNS = re.compile(
    r"Connection (closed|reset|refused)|Timed out waiting|timed out after|Broken pipe|remote process exited"
    r"|Application timeout caused pair closure|Read timeout|Failed to (recv|send)",
    re.IGNORECASE,
)


class PeerLost(TrainingError):
    """Another process does not answer; `status` is for the shell."""

    def __init__(self, message: str, status: int = 2) -> None:
        super().__init__(message)
        self.status = status


def is_lost(error: RuntimeError) -> bool:
    """Whether an error says that another process does not answer."""
    return SIGNS.search(str(error)) is not None


def first_sentence(error: RuntimeError) -> str:
    """Of what gloo says; the place in its source goes before, its advice follows."""
    return re.sub(r"^\[\S+\] ", "", str(error).splitlines()[0]).partition(". ")[0]


@contextmanager
def noticing_losses(run: Run) -> Iterator[None]:
    """Within the block, the loss of another process saves the steps done, if they are whole here.

    Raises:
        PeerLost: with status 75 if everything that was done is saved.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        saved = _save(run)
        step, said = run.state.step, first_sentence(error)
        me = f"process {run.accelerator.process_index}"
        raise PeerLost(
            f"{me}: another process was lost after step {step} ({said}). {saved or run.log.last_good()} "
            "Run the same command again to go on, with as many processes as there are.",
            EXIT_INTERRUPTED if saved else 2,
        ) from error


def _save(run: Run) -> str:
    """Write a checkpoint of the last whole step, unless another process has; empty if there is none to write."""
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
