r"""Memory and time of training steps of a full-size base with random weights.

    python -m benchmarks.speed.real_size --configs real/base_configs/stable-diffusion-2-1 --dataset DATASET \
        --work WORK --options '["--model.gradient_checkpointing=true"]'

Runs the real trainer (cache, networks, AdamW, checkpoint) in a separate process and prints its peak memory. The
first run also fills the cache; measure a later one.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from jsonargparse import auto_cli

from models.random_base import write_random_base
from train.saving.run_files import METRICS


def real_size(
    *,
    configs: Path,
    dataset: Path,
    work: Path,
    resolution: int = 256,
    batch: int = 1,
    precision: str = "fp32",
    steps: int = 1,
    options: Sequence[str] = (),
) -> dict[str, float]:
    """Train and report the last step.

    Args:
        configs: a diffusers folder with config files only.
        dataset: a built dataset; its `train` split is used.
        work: folder for the random base (about 2.5 GB for Stable Diffusion 2.1) and the run.
        resolution: px.
        batch: examples per step, in one micro-batch.
        precision: fp32, bf16 or fp16.
        steps: the first is slower than the others; with two or more, CPU time is measured too, which is
            more reliable than seconds on a shared machine.
        options: more settings of the trainer, e.g. `--model.trained=lora`.
    """
    base = work / "base"
    if not base.exists():
        write_random_base(configs, base)
    settings: dict[str, object] = {
        "data.dataset": dataset,
        "data.resolution": resolution,
        "data.mirror": "false",
        "model.base": base,
        "train.steps": steps,
        "train.global_batch": batch,
        "train.micro_batch": batch,
        "train.warmup_steps": 0,
        "train.precision": precision,
        "run.cache": work / "cache",
        "run.log_every": 1,
        "run.workers": 1,
        "run.trackers": "[]",
    }
    with tempfile.TemporaryDirectory(prefix="run-", dir=work) as folder:
        settings["run.out"] = run = Path(folder) / "run"
        arguments = [*(f"--{name}={value}" for name, value in settings.items()), *options]
        cpu_seconds, metrics = _watch([sys.executable, "-m", "train", *arguments], run)
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
    found = {
        "peak_memory_gb": round(peak_gb, 2),
        "seconds_per_step": round(batch / metrics["examples_per_second"], 1),
        "core_seconds_per_step": round(cpu_seconds[-1] - cpu_seconds[-2], 1) if len(cpu_seconds) > 1 else math.nan,
        "loss": round(metrics["loss"], 4),
    }
    print(json.dumps({"options": list(options), "precision": precision} | found))
    return found


def _watch(command: list[str], out: Path) -> tuple[list[float], dict[str, float]]:
    """Run the trainer; returns its CPU time at the end of each step, and the last line of its metrics."""
    process, metrics = subprocess.Popen(command), out / METRICS
    seen: list[float] = []
    while process.poll() is None:
        if metrics.is_file() and metrics.read_text().count("\n") > len(seen):
            fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
            seen.append((int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"))  # user and system, all threads
        time.sleep(0.1)
    if process.returncode:
        raise SystemExit(process.returncode)
    return seen, json.loads(metrics.read_text().splitlines()[-1])


if __name__ == "__main__":
    auto_cli(real_size, as_positional=False)
