"""CPU threads of a process that runs networks."""

import os

import psutil
import torch

THREADS = "OMP_NUM_THREADS"


def usable_cores() -> int:
    """The cores that this process may run on; macOS has only their number."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def set_threads() -> str:
    """Give this process its share of the cores if its launcher left it with one; a line for the log about it.

    `accelerate launch` and torchrun set OMP_NUM_THREADS to 1 when the user has not set it. That is right with GPUs;
    without them it leaves cores idle.
    """
    cores, processes = usable_cores(), int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    by_launcher = _one_by_launcher()
    if by_launcher and not torch.cuda.is_available():
        torch.set_num_threads(max(1, cores // processes))
    why = f"{THREADS} was set" if THREADS in os.environ and not by_launcher else f"{THREADS} was not set"
    return f"{torch.get_num_threads()} per process, {processes} process(es) on {cores} cores here; {why}"


def _one_by_launcher() -> bool:
    """Whether the launcher, not the user, chose one thread: then it was itself started without this setting."""
    launched = any(name.startswith(("TORCHELASTIC_", "ACCELERATE_")) for name in os.environ)
    if not launched or os.environ.get(THREADS) != "1":
        return False
    try:
        launcher = psutil.Process(os.getppid())
        # psutil reads the environment that a process was started with.
        return THREADS not in launcher.environ() and "--num_cpu_threads_per_process" not in " ".join(launcher.cmdline())
    except psutil.Error:
        return False
