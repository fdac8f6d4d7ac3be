"""SIGTERM to a training of two processes: what remains, and how does it exit?

    python -m benchmarks.resume.preempt_test --work WORK

Once under `python -m launch.processes`, once under plain torchrun.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from jsonargparse import auto_cli

from benchmarks.small_runs import REPOSITORY, TORCHRUN, metrics, settings, write_world
from models.checkpoint import fault_of, steps_in

LAUNCHERS = {
    "launch.processes": ["-m", "launch.processes", *TORCHRUN[2:]],
    "torchrun": TORCHRUN,
}


def preempt_test(*, work: Path) -> None:
    """Stop both runs and check them, without resuming.

    Args:
        work: folder for everything.
    """
    write_world(work)
    for name, launcher in LAUNCHERS.items():
        _preempt(name, launcher, work)


def _preempt(name: str, launcher: list[str], work: Path) -> None:
    out, log = work / f"preempted-{name}", work / f"{name}.log"
    arguments = settings(work, out.name, train__steps=100_000, run__save_every=100_000, run__keep_last=0)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [sys.executable, *launcher, "2", *arguments], cwd=REPOSITORY, stdout=sink, stderr=sink
        )
    while process.poll() is None and (not (out / "metrics.jsonl").is_file() or len(metrics(out)) < 20):
        time.sleep(0.01)
    children = psutil.Process(process.pid).children(recursive=True)
    trainers = [child for child in children if child.ppid() == process.pid]
    at, began = metrics(out)[-1]["step"], time.monotonic()
    process.send_signal(signal.SIGTERM)
    status = process.wait()
    seconds = time.monotonic() - began
    orphans = [child for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE]
    saved = steps_in(out / "checkpoints")
    print(
        f"{name}: {len(trainers)} trainers, {len(children) - len(trainers)} other processes; SIGTERM after {at} steps; "
        f"saved {[folder.name for folder in saved]}, faults {[fault_of(folder) for folder in saved]}; "
        f"exit status {status} after {seconds:.1f} s; orphans {len(orphans)}"
    )
    output = log.read_text().splitlines()
    print("    " + "; ".join(line.strip() for line in output if "exitcode" in line or "Interrupted" in line))


if __name__ == "__main__":
    auto_cli(preempt_test, as_positional=False)
