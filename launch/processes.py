"""torchrun for trainings that may be interrupted: signals reach the trainers, and their status 75 reaches the shell.

    python -m launch.processes --nproc_per_node 8 -m train --config configs/xbd_sd21_512.yaml

torchrun itself ends with status 1 whatever its processes end with, and kills them 30 seconds after a SIGTERM, which may
be too soon for a large checkpoint. All options are torchrun's.
"""

import os
import signal
import sys
from types import FrameType

import psutil
from torch.distributed import run as torchrun
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from train.processes.interrupt import EXIT_INTERRUPTED

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SHUTDOWN_SECONDS = "600"  # for the others to save after one process has died; torchrun's default is 30


def forward(number: int, frame: FrameType | None) -> None:
    """Pass a signal on to the processes started here; they decide when to end."""
    children = psutil.Process().children()
    for child in children:
        child.send_signal(number)
    if not children:  # none is started yet
        sys.exit(EXIT_INTERRUPTED)


def main() -> int:
    """Run torchrun; the exit status is 0, or that of the process that made the run end."""
    for number in FORWARDED:
        signal.signal(number, forward)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_SECONDS)
    try:
        torchrun.main(["--signals_to_handle", "SIGHUP,SIGQUIT", *sys.argv[1:]])
    except ChildFailedError as error:
        return status_of(list(error.failures.values()))
    return 0


def status_of(failures: list[ProcessFailure]) -> int:
    """That of the first process with its own reason: others save and exit, or are stopped, because of it.

    A signal is reported as by a shell.
    """
    first = min(
        failures,
        key=lambda failure: (
            failure.exitcode == -signal.SIGTERM,  # torchrun's way to end those that are left
            failure.exitcode == EXIT_INTERRUPTED,
            failure.timestamp,
        ),
    )
    return first.exitcode if first.exitcode >= 0 else 128 - first.exitcode


if __name__ == "__main__":
    sys.exit(main())
