"""`make demo`: simulate, build, train, generate, measure. Every part that is there already is used again."""

import os
import subprocess
import sys
from pathlib import Path

from data.build import build
from data.simulate import simulate
from evaluation.run import evaluate
from generate.sampling import Sampling

CONFIG = Path(__file__).parent.parent / "configs" / "demo.yaml"


def demo(*, out: Path = Path("out/demo"), scenes: int = 60, seed: int = 0) -> None:
    """Do the whole job on simulated scenes with the tiny base; a few minutes on two CPU cores.

    Args:
        out: folder for everything; run the same command again to go on where it stopped.
        scenes: simulated locations; every fifth is held out for the test.
        seed: of the simulation.
    """
    release, dataset, run, results = (out / name for name in ("release", "dataset", "run", "results"))
    if not release.exists():
        headline("1/4 simulate", f"{scenes} places before and after a disaster, as an xView2 release: {release}")
        simulate(out=release, scenes=scenes, seed=seed)
    if not dataset.exists():
        headline("2/4 build", f"256 px patches with masks, captions and metadata: {dataset}")
        build(source=release, out=dataset, size=256)
    headline("3/4 train", f"a ControlNet on the frozen tiny base: {run}")
    launch_training("--config", str(CONFIG), "--data.dataset", str(dataset), "--run.out", str(run))
    headline("4/4 generate and measure", f"scenes that training never saw: {results}")
    evaluate(
        checkpoint=run,
        dataset=dataset,
        out=results,
        limit=64,
        networks="none",
        sampling=Sampling(steps=25),
        overwrite=True,
    )


def headline(part: str, what: str) -> None:
    """Say what comes now."""
    print(f"\n=== {part}: {what}", flush=True)


def launch_training(*arguments: str) -> None:
    """`accelerate launch -m train ...` on this machine, one process.

    Raises:
        SystemExit: with the status of a training that failed or was interrupted.
    """
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_processes", "1", "--num_machines", "1"]
    command += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    # accelerate's own default of one thread per process would leave the other cores idle.
    command += ["--num_cpu_threads_per_process", str(os.cpu_count() or 1)]
    status = subprocess.run([*command, "-m", "train", *arguments], check=False).returncode
    if status:
        sys.exit(status)
