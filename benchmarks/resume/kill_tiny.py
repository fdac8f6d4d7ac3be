"""Kill the training of a micro base repeatedly: is its result bit-identical to that of an uninterrupted one?

    python -m benchmarks.resume.kill_tiny --work WORK --kills 10

Every kill is SIGKILL at a random moment after the start: during initialisation, a step, a save, a validation, between
stages. The same command follows. Every run is a separate process, forked from one that has imported everything.
"""

import multiprocessing
import os
import random
import sys
import time
from pathlib import Path

from jsonargparse import auto_cli

from models.checkpoint import newest_valid
from train.saving.run_files import read_metrics
from train.tiny.__main__ import main as train
from train.tiny.state import AVERAGE, OPTIMIZER, WEIGHTS

CONFIG = Path(__file__).parents[2] / "configs" / "tiny_base.yaml"
FORK = multiprocessing.get_context("fork")
STAGES = ("autoencoder", "denoiser")
MICRO = {
    "data.releases": "[{seed: 1, scenes: 6}]",
    "data.resolution": 32,
    "networks.vae_channels": "[8, 8]",
    "networks.latent_channels": 4,
    "networks.unet_channels": "[16, 16]",
    "networks.text_width": 16,
    "networks.text_layers": 1,
    "networks.discriminator_width": 8,
    "autoencoder.crop": 16,
    "autoencoder.adversarial_from": 30,
    "validation.every": 40,
    "validation.images": 8,
    "validation.timesteps": 2,
    "validation.shown": 1,
    "run.threads": 1,
    "run.log_every": 1,
    "run.save_every": 7,
}


def kill_tiny(*, work: Path, kills: int = 10, seed: int = 0, steps: int = 120) -> None:
    """Compare a killed run with an uninterrupted one.

    Args:
        work: folder for everything.
        kills: number of kills.
        seed: of the kill times.
        steps: of each stage.

    Raises:
        SystemExit: a value differs.
    """
    work.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    began = time.monotonic()
    run(work, "straight", steps)
    once = time.monotonic()
    run(work, "warm", steps)  # scenes exist and imports are done: measures the time of a run
    seconds = time.monotonic() - once
    print(f"uninterrupted: {once - began:.0f} s, again {seconds:.0f} s")
    for number in range(kills):
        ended = run(work, "killed", steps, rng.uniform(0, 2 * seconds / kills))
        newest = {stage: newest_valid(work / "killed" / stage / "checkpoints", print) for stage in STAGES}
        print(
            f"kill {number + 1:2}: status {ended}, {[folder.name for folder in newest.values() if folder]}", flush=True
        )
    run(work, "killed", steps)
    compare(work / "straight", work / "killed")


def run(work: Path, out: str, steps: int, kill_after: float | None = None) -> int | None:
    """Train into `work / out`, to the end or until killed; returns the exit status."""
    values = {"config": CONFIG, "data.folder": work / "scenes", "run.out": work / out, **MICRO}
    for stage in STAGES:
        values |= {f"{stage}.steps": steps, f"{stage}.batch": 2, f"{stage}.warmup_steps": 5, f"{stage}.decay_steps": 20}
    process = FORK.Process(
        target=child, args=([f"--{name}={value}" for name, value in values.items()], work / f"{out}.log")
    )
    process.start()
    process.join(kill_after)
    process.kill()
    process.join()
    if kill_after is None and process.exitcode:
        raise SystemExit(f"a run ended with status {process.exitcode}; see {work / out}.log")
    return process.exitcode


def child(arguments: list[str], log: Path) -> None:
    """Run the training; its output goes to a file."""
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(sink, 1)
    os.dup2(sink, 2)
    sys.argv = ["train.tiny", *arguments]
    sys.exit(train())


def compare(straight: Path, killed: Path) -> None:
    """Compare every byte of weights, EMA and moments, and all metrics except speeds."""
    differing = []
    for stage in STAGES:
        folders = [newest_valid(out / stage / "checkpoints") for out in (straight, killed)]
        for file in (WEIGHTS, AVERAGE, OPTIMIZER):
            one, other = ((folder / file).read_bytes() for folder in folders if folder)
            print(f"{stage}/{file}: {'bit-identical' if one == other else 'DIFFERS'}")
            differing += [] if one == other else [file]
        lines = [
            [{**line, "examples_per_second": 0} for line in read_metrics(out / stage)] for out in (straight, killed)
        ]
        same = sum(one == other for one, other in zip(*lines, strict=True))
        print(f"{stage}/metrics.jsonl: {same} of {len(lines[0])} lines equal")
        differing += [] if same == len(lines[0]) else ["metrics.jsonl"]
    if differing:
        raise SystemExit("the runs differ")


if __name__ == "__main__":
    auto_cli(kill_tiny, as_positional=False)
