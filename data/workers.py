"""Worker processes: results in the order of the tasks, little memory, safe to interrupt."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from types import TracebackType
from typing import TypeVar

from data.errors import DataError

Task = TypeVar("Task")
Result = TypeVar("Result")

# One thread per worker: numpy's own pool, a thread per processor in every worker, takes twice the time in waiting.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def default_workers() -> int:
    """The processors that this process may use; of those, its share if a launcher started several here."""
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, processors // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def checked_workers(workers: int | None) -> int:
    """The number that the user asks for, or the default."""
    if workers is not None and workers < 1:
        raise DataError(f"workers is {workers}; expected 1 or more, or leave it out to use all processors.")
    return workers or default_workers()


class WorkerPool:
    """Processes for as long as the `with` block lasts; with one worker the tasks run in this process."""

    def __init__(self, workers: int) -> None:
        """Start nothing yet: processes start with the first tasks."""
        self._workers = workers
        # Spawned, not forked: pyarrow and GDAL have threads here, and a fork would copy their locks.
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(workers, context, _follow_parent) if workers > 1 else None

    def __enter__(self) -> "WorkerPool":
        """The pool itself."""
        self._environment = {name: os.environ.get(name) for name in ONE_THREAD}
        self._others = set(multiprocessing.active_children())
        if self._pool is not None:
            os.environ.update(ONE_THREAD)  # read by the workers as they start
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the workers; after an error or Ctrl-C immediately."""
        if self._pool is not None:
            with _interrupts_later():
                if kind is not None:  # nobody waits for what has begun
                    for worker in set(multiprocessing.active_children()) - self._others:
                        worker.kill()
                self._pool.shutdown(wait=True, cancel_futures=True)
        for name, value in self._environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value

    def map(self, function: Callable[[Task], Result], tasks: Sequence[Task]) -> Iterator[Result]:
        """Yield the results in the order of the tasks, with at most two tasks per worker in flight."""
        if self._pool is None:
            yield from map(function, tasks)
            return
        queue, remaining = deque[Future[Result]](), iter(tasks)
        try:
            for task in islice(remaining, 2 * self._workers):
                queue.append(self._submit(function, task))
            while queue:
                yield queue.popleft().result()
                for task in islice(remaining, 1):
                    queue.append(self._submit(function, task))
        except BrokenProcessPool:
            raise DataError(
                f"one of {self._workers} worker processes was killed, most likely for lack of memory. "
                f"Try --workers {self._workers // 2}."
            ) from None

    def _submit(self, function: Callable[[Task], Result], task: Task) -> Future[Result]:
        assert self._pool is not None
        with _interrupts_later():  # a worker that starts here inherits that and leaves Ctrl-C to the parent
            return self._pool.submit(function, task)


@contextmanager
def _interrupts_later() -> Iterator[None]:
    """Defer a Ctrl-C to the end of the block; processes that start within it never receive it.

    The mask is what they inherit. It does not hold the signal back here: another thread (tqdm has one) may take it, and
    Python runs the handler in the main thread nevertheless. So the handler waits as well.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    in_main = threading.current_thread() is threading.main_thread()
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number)) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if came:
            signal.raise_signal(came[0])


def _follow_parent() -> None:
    """End with the parent even if it is killed: nobody else would end this process."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None, "this is a worker"
    parent.join()
    os._exit(1)
