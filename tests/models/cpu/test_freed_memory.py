"""What a tensor leaves behind serves the next one."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]
# By its path: the package would import all networks.
FAULTS = """
import resource, runpy, torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
plain = faults()
runpy.run_path('models/cpu/freed_memory.py')['keep_freed_memory']()
for _ in range(6):  # until what is kept has taken its places
    faults()
print(plain, faults())
"""

RESIDENT = """
import runpy, psutil, torch
functions = runpy.run_path('models/cpu/freed_memory.py')
functions['keep_freed_memory']()
held = [torch.ones(1_000_000) for _ in range(50)]
held = held[-1:]  # the highest stays, what lies under it is free
before = psutil.Process().memory_info().rss
functions['give_back_freed_memory']()
print(before, psutil.Process().memory_info().rss)
"""
GLIBC = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be asked to keep it")


def said_by(code: str) -> tuple[int, int]:
    """Two numbers that a new process prints."""
    command = [sys.executable, "-c", code]
    environment = {"CUDA_VISIBLE_DEVICES": ""}
    said = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True).stdout
    first, second = map(int, said.split())
    return first, second


@GLIBC
def test_the_same_memory_again_costs_no_page_faults() -> None:
    """40 MB five times: 10,000 pages each, or 20 large ones."""
    plain, kept = said_by(FAULTS)
    assert kept < plain / 4


@GLIBC
def test_what_is_free_is_given_back() -> None:
    """49 of 50 times 4 MB."""
    before, after = said_by(RESIDENT)
    assert before - after > 150e6
