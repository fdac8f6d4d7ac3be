"""One training step of a full-size base with random weights: does it fit, and in how much memory?

    python -m benchmarks.real_size --configs ../shared/base_configs/stable-diffusion-2-1 --dataset DATASET --work WORK

Runs the real trainer (cache, ControlNet, AdamW, checkpoint) in a process of its own and prints its peak memory.
"""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

from jsonargparse import auto_cli

from models.random_base import write_random_base


def real_size(
    *, configs: Path, dataset: Path, work: Path, resolution: int = 256, batch: int = 1, precision: str = "fp32"
) -> dict[str, float]:
    """Train one step and report.

    Args:
        configs: a diffusers folder with config files only.
        dataset: a built dataset; its `train` split is used.
        work: folder for the random base (about 2.5 GB for Stable Diffusion 2.1) and the run.
        resolution: px.
        batch: examples of the step.
        precision: fp32 or bf16.
    """
    base = work / "base"
    if not base.exists():
        write_random_base(configs, base)
    settings = {
        "data.dataset": dataset,
        "data.resolution": resolution,
        "data.mirror": "false",
        "model.base": base,
        "train.steps": 1,
        "train.global_batch": batch,
        "train.micro_batch": batch,
        "train.warmup_steps": 0,
        "train.precision": precision,
        "run.out": work / f"run-{precision}-{os.getpid()}",
        "run.cache": work / "cache",
        "run.log_every": 1,
        "run.workers": 1,
        "run.trackers": "[]",
    }
    command = [sys.executable, "-m", "train", *(f"--{name}={value}" for name, value in settings.items())]
    subprocess.run(command, check=True)
    metrics = json.loads((Path(str(settings["run.out"])) / "metrics.jsonl").read_text().splitlines()[-1])
    peak_gb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9  # Linux counts in KiB
    found = {
        "peak_memory_gb": round(peak_gb, 2),
        "seconds_per_step": round(batch / metrics["examples_per_second"], 1),
        "loss": round(metrics["loss"], 4),
    }
    print(json.dumps(found))
    return found


if __name__ == "__main__":
    auto_cli(real_size, as_positional=False)
