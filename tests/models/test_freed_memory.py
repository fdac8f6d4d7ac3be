"""What a tensor leaves behind serves the next one."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
# By its path: the package would import all networks.
FAULTS = """
import resource, runpy, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
runpy.run_path('models/freed_memory.py')['keep_freed_memory']()
for _ in range(6):  # until what is kept has taken its places
    faults()
print(plain, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep it")
def test_the_same_memory_again_costs_no_page_faults() -> None:
    """40 MB five times: 10,000 pages each, or 20 large ones."""
    command = [sys.executable, "-c", FAULTS]
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True).stdout
    plain, kept = map(int, said.split())
    assert kept < plain / 4
