"""Run a function over many tasks in worker processes: results in order, little memory, safe to interrupt."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import TypeVar

from data.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")


def default_workers() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(function: Callable[[Task], Result], tasks: Sequence[Task], workers: int) -> Iterator[Result]:
    """Yield the results in the order of the tasks; one worker means this very process."""
    workers = min(workers, len(tasks))
    if workers <= 1:
        yield from map(function, tasks)
        return
    # Spawned, not forked: pyarrow and GDAL have threads here, and a fork would copy their locks.
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_leave_interrupts_to_parent)
    try:
        queue, remaining = deque[Future[Result]](), iter(tasks)
        for task in islice(remaining, 2 * workers):
            queue.append(pool.submit(function, task))
        while queue:
            yield queue.popleft().result()
            queue.extend(pool.submit(function, task) for task in islice(remaining, 1))
    except BrokenProcessPool:
        raise DataError(
            f"one of {workers} worker processes was killed, most likely for want of memory. Try --workers {workers // 2}."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
