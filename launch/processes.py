"""torchrun for trainings that may be stopped: signals reach the trainers, and their status 75 reaches the shell.

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
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from train.interrupt import EXIT_INTERRUPTED

FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
SHUTDOWN_SECONDS = "600"  # that the others may take to save when one process has died; torchrun's default is 30


def forward(number: int, frame: FrameType | None) -> None:
    """Pass a signal on to the processes started here; they decide when to end."""
    children = psutil.Process().children()
    for child in children:
        child.send_signal(number)
    if not children:  # none is started yet
        sys.exit(EXIT_INTERRUPTED)


def main() -> int:
    """Run torchrun; the exit status is that of the process that ended first with an error, or 0."""
    for number in FORWARDED:
        signal.signal(number, forward)
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", SHUTDOWN_SECONDS)
    try:
        torchrun.main(["--signals_to_handle", "SIGHUP,SIGQUIT", *sys.argv[1:]])
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        # Killed by a signal: as a shell reports it.
        return first.exitcode if first.exitcode >= 0 else 128 - first.exitcode
    return 0


if __name__ == "__main__":
    sys.exit(main())
