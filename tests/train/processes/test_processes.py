"""Two real processes: they stop together, save once, and say so to the shell."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from models.checkpoint import fault_of, steps_in
from tests.train.conftest import Arguments, wait_for_steps

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.slow
def test_sigterm_to_two_processes_leaves_one_whole_checkpoint(tmp_path: Path, arguments: Arguments) -> None:
    out = tmp_path / "run"
    endless = ["--train.steps=100000", "--run.save_every=100000", "--run.workers=1", "--run.keep_last=0"]
    launcher = [sys.executable, "-m", "launch.processes", "--standalone", "--nproc_per_node=2", "-m", "train"]
    process = subprocess.Popen(
        [*launcher, *arguments("run", *endless)],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_steps(process, out, 3)
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 4  # two trainers, a data worker each
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) == 75
    (saved,) = steps_in(out / "checkpoints")
    assert fault_of(saved) is None
    assert not [child for child in children if child.is_running()]
