"""A module run by two processes as torchrun runs it, forked from a server that has imported the libraries once."""

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from pathlib import Path

import torch

from tests.worlds import REPOSITORY

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["train.run", "generate.run", "caption.run"])


def in_two_processes(module: str, *argv: str) -> None:
    """Run `python -m MODULE ARGV` with torchrun's environment variables; both processes must end with status 0.

    The real launcher is started by tests/train/test_lost_peer.py and tests/train/processes/test_processes.py.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    world = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        said = [Path(folder, f"process-{rank}") for rank in (0, 1)]
        processes = []
        for rank, log in enumerate(said):
            log.touch()
            environment = os.environ | place | world | {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            processes.append(SERVER.Process(target=_run, args=(module, argv, dict(environment), log)))
            processes[-1].start()
        for process in processes:
            process.join(timeout=300)
        for process in processes:
            process.kill()
        assert [process.exitcode for process in processes] == [0, 0], "\n".join(log.read_text()[-3000:] for log in said)


def _run(module: str, argv: tuple[str, ...], environment: dict[str, str], log: Path) -> None:
    """In the new process."""
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(REPOSITORY)
    os.environ.clear()
    os.environ.update(environment)
    torch.set_num_threads(1)  # the libraries have read OMP_NUM_THREADS before
    sys.argv = [module, *argv]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
