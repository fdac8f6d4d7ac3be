"""Small trainings for the tests of docs/resume.md: a random base of a few kilobytes, a release of five scenes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil

from data.build import build
from models.checkpoint import step_folder
from tests.data.tiny_release import write_release
from tests.worlds import write_micro_base

REPOSITORY = Path(__file__).parents[1]
TIMINGS = ("examples_per_second", "data_wait", "peak_memory_gb")
Process = subprocess.Popen[bytes]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]


def write_world(work: Path) -> None:
    """Write base and dataset, once."""
    if not (work / "built").exists():
        write_micro_base(work / "base")
        build(source=write_release(work / "release"), out=work / "built", size=32, workers=1)


def settings(work: Path, out: str, **more: Any) -> list[str]:  # noqa: ANN401 (any setting)
    """Command line of a small run into `work / out`; names are dotted, with `__` for the dot."""
    values = {
        "data.dataset": work / "built",
        "model.base": work / "base",
        "train.global_batch": 4,
        "train.micro_batch": 2,
        "train.learning_rate": 1e-3,
        "train.warmup_steps": 2,
        "train.ema_decay": 0.9,
        "train.precision": "fp32",
        "run.out": work / out,
        "run.cache": work / "cache",
        "run.log_every": 1,
        "run.workers": 1,
        "run.trackers": "[]",
    } | {name.replace("__", "."): value for name, value in more.items()}
    return ["-m", "train", *(f"--{name}={value}" for name, value in values.items())]


def start(arguments: list[str], processes: int = 1, log: Path | None = None) -> Process:
    """Start a run in separate processes; their output goes to a file."""
    launcher = [*TORCHRUN, str(processes)] if processes > 1 else []
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    sink = log.open("ab") if log else subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, *launcher, *arguments], cwd=REPOSITORY, env=environment, stdout=sink, stderr=sink
    )


def family(process: Process) -> list[psutil.Process]:
    """A run's launcher, trainers and data workers; empty if it has ended."""
    if process.poll() is not None:
        return []
    first = psutil.Process(process.pid)
    return [*first.children(recursive=True), first]


def kill(process: Process) -> None:
    """Kill all of it at once, as when a machine is lost; halted or not."""
    for member in family(process):
        if member.is_running():
            member.kill()


def finish(arguments: list[str], processes: int = 1, log: Path | None = None) -> None:
    """Run to the end.

    Raises:
        RuntimeError: the run failed.
    """
    status = start(arguments, processes, log).wait()
    if status:
        raise RuntimeError(f"status {status}; see {log}")


def metrics(out: Path) -> list[dict[str, Any]]:
    """The metrics of a run without those that depend on time and machine."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in TIMINGS} for line in lines]


def weight_files(out: Path, step: int) -> dict[str, Path]:
    """Name -> every tensor file of a checkpoint."""
    folder = step_folder(out / "checkpoints", step)
    return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*.safetensors"))}
