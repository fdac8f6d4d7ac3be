"""Two real processes: they stop together, save once, and say so to the shell."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from models.checkpoint import fault_of, steps_in
from tests.train.conftest import Arguments
from train.saving.run_files import read_metrics

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
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    while len(read_metrics(out)) < 3:
        assert os.read(process.stderr.fileno(), 1000), "it ended before the third step"
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 4  # two trainers, a data worker each
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 75
    (saved,) = steps_in(out / "checkpoints")
    assert fault_of(saved) is None
    assert not [child for child in children if child.is_running()]
