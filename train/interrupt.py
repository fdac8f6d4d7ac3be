"""Ctrl-C and SIGTERM: a flag that the loop reads at a step boundary, so that nothing is lost."""

import atexit
import multiprocessing
import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again to go on


class Interrupt:
    """Whether a stop was asked for within its `with` block. The second signal stops at once."""

    def __enter__(self) -> "Interrupt":
        self.requested = False
        self._before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


def ignore_signals(worker: int) -> None:
    """For data workers: only the training process decides when to stop."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def end_workers() -> None:
    """After an error: multiprocessing would wait forever for workers that ignore its SIGTERM."""
    for child in multiprocessing.active_children():
        child.kill()
