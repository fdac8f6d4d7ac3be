"""Ctrl-C and SIGTERM: a flag that the loop reads at a step boundary, so that nothing is lost."""

import atexit
import multiprocessing
import signal
from types import FrameType

EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again to go on


class Interrupt:
    """Whether a stop was asked for. The second signal stops at once."""

    def __init__(self) -> None:
        self.requested = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def ignore_signals(worker: int) -> None:
    """For data workers: only the training process decides when to stop."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def end_workers() -> None:
    """After an error: multiprocessing would wait forever for workers that ignore its SIGTERM."""
    for child in multiprocessing.active_children():
        child.kill()
