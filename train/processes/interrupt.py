"""Ctrl-C, SIGTERM and SIGUSR1: a flag on which all processes agree at a step boundary, so that nothing is lost."""

import atexit
import multiprocessing
import signal
import time
from datetime import timedelta
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)  # SIGUSR1: Slurm's `--signal=USR1@120`
EXIT_INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h: run the same command again to resume
EXIT_ABANDONED = 130  # as a shell reports a Ctrl-C
ECHO_SECONDS = 1.0  # a launcher forwards the Ctrl-C that the terminal has already sent to all processes


class Stopped(KeyboardInterrupt):
    """The run exits at once, without saving; `status` is the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Interrupt:
    """Whether a stop was requested within its `with` block.

    Before the first step there is nothing to save, so a signal stops the run at once; so does a second Ctrl-C.
    """

    def __enter__(self) -> "Interrupt":
        self.requested, self.at_step_boundaries, self._first = False, False, 0.0
        self._before = {number: signal.signal(number, self._handle) for number in STOP_SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.at_step_boundaries:
            raise Stopped("interrupted before the first step. Run the same command again.", EXIT_INTERRUPTED)
        if not self.requested:
            self.requested, self._first = True, now
        elif number == signal.SIGINT and now - self._first > ECHO_SECONDS:
            raise Stopped("stopped at once. The last checkpoint is unchanged.", EXIT_ABANDONED)


class Agreement:
    """Makes all processes stop after the same step, at most two steps after the signal.

    At every boundary each process sends its flag and reads the sum of the previous one, which has long arrived. The
    flags are exchanged between hosts (gloo), alongside the gradients: no device waits for them.
    """

    def __init__(self, interrupt: Interrupt, num_processes: int, timeout: timedelta) -> None:
        """`timeout`: a process that sends no flag for so long counts as lost."""
        self.interrupt = interrupt
        self.group: Any = dist.new_group(backend="gloo", timeout=timeout) if num_processes > 1 else None
        self._sent: tuple[Tensor, dist.Work] | None = None

    def stop(self) -> bool:
        """Whether to stop at this boundary; every process gets the same answer at the same one."""
        if self.group is None:
            return self.interrupt.requested
        earlier = self._sent
        flags = torch.tensor(int(self.interrupt.requested))
        work = dist.all_reduce(flags, group=self.group, async_op=True)
        assert work is not None
        self._sent = flags, work
        return earlier is not None and _arrived(*earlier)

    def close(self) -> None:
        """Wait for outstanding flags."""
        if self._sent is not None:
            _arrived(*self._sent)


def _arrived(flags: Tensor, work: dist.Work) -> bool:
    work.wait()
    return bool(flags)


def ignore_signals(worker: int) -> None:
    """For data workers: only the training process decides when to stop."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@atexit.register
def end_workers() -> None:
    """After an error: multiprocessing would wait forever for workers that ignore its SIGTERM."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch would report each of them as lost
    for child in multiprocessing.active_children():
        child.kill()
