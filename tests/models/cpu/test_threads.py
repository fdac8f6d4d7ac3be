"""Threads of a process: the user's word counts, a launcher's default does not."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models.cpu.threads import usable_cores

REPOSITORY = Path(__file__).parents[3]
LAUNCHER = r"""
import os, subprocess, sys
os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun and accelerate do
os.environ.update({"TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": sys.argv[1]})
trainer = "import os; os.sched_getaffinity = lambda pid: range(12)\n"
# By its path: the package would import all networks, which takes longer than all else here.
trainer += "import runpy; print(runpy.run_path('models/cpu/threads.py')['set_threads']())"
sys.exit(subprocess.run([sys.executable, "-c", trainer]).returncode)
"""


@pytest.mark.parametrize(
    ("asked", "processes", "said"),
    [
        (None, 4, "3 per process, 4 process(es) on 12 cores here; OMP_NUM_THREADS was not set"),
        (None, 24, "1 per process, 24 process(es) on 12 cores here; OMP_NUM_THREADS was not set"),
        ("1", 4, "1 per process, 4 process(es) on 12 cores here; OMP_NUM_THREADS was set"),
        ("2", 4, "2 per process, 4 process(es) on 12 cores here; OMP_NUM_THREADS was set"),
    ],
)
def test_a_launcher_s_one_thread_becomes_a_share_of_the_cores(asked: str | None, processes: int, said: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "CUDA_"))}
    environment |= {"OMP_NUM_THREADS": asked} if asked else {}
    environment["CUDA_VISIBLE_DEVICES"] = ""
    command = [sys.executable, "-c", LAUNCHER, str(processes)]
    result = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == said


def test_a_system_that_does_not_tell_which_cores_gives_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS, whose `os` has no `sched_getaffinity`."""
    monkeypatch.delattr(os, "sched_getaffinity")
    assert usable_cores() == os.cpu_count()
