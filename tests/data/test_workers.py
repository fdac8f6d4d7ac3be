"""Workers end with what started them."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import pytest

from data.workers import WorkerPool


def interrupt_parent_and_never_end(first: bool) -> None:
    if first:
        os.kill(os.getppid(), signal.SIGINT)
    threading.Event().wait()


def test_a_second_interrupt_while_the_pool_is_closed_leaves_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    real = ProcessPoolExecutor.shutdown

    def shutdown(pool: ProcessPoolExecutor, *args: Any, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        real(pool, *args, **options)

    monkeypatch.setattr(ProcessPoolExecutor, "shutdown", shutdown)
    others = threading.Event()
    thread = threading.Thread(target=others.wait)  # as tqdm has one: it takes signals that the main thread holds back
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt), WorkerPool(2) as pool:
            list(pool.map(interrupt_parent_and_never_end, [True, False]))
    finally:
        others.set()
        thread.join()
    assert multiprocessing.active_children() == []
