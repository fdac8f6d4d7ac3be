"""`python -m MODULE` in processes that are forked from a server that has imported the libraries once.

The real launchers are started by tests/train/test_lost_peer.py and tests/train/processes/test_processes.py.
"""

import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path

import torch

from tests.worlds import REPOSITORY

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["train.run", "generate.run", "generate.region.run", "caption.run", "evaluation.run"])


def in_two_processes(module: str, *argv: str) -> None:
    """With the environment variables of torchrun; both must end with status 0."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    world = place | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        logs = [Path(folder, f"process-{rank}") for rank in (0, 1)]
        ranks = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in (0, 1)]
        processes = [forked(log, world | rank, module, *argv) for log, rank in zip(logs, ranks, strict=True)]
        status = [ended(process) for process in processes]
        assert status == [0, 0], "\n".join(log.read_text()[-3000:] for log in logs)


def forked(log: Path, environment: Mapping[str, str], module: str, *argv: str) -> BaseProcess:
    """Start it with more environment variables; what it prints goes to a file."""
    log.touch()
    process = SERVER.Process(target=_run, args=(log, dict(os.environ | environment), module, argv))
    process.start()
    return process


def ended(process: BaseProcess) -> int:
    """Its exit status; -N if signal N ended it."""
    process.join(timeout=300)
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def _run(log: Path, environment: dict[str, str], module: str, argv: tuple[str, ...]) -> None:
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
