"""`pre2post evaluate` without sampling beside a bare loop of scikit-image on as many cores.

    python -m benchmarks.speed.evaluate_speed --release sim12 --work OUT

Both hold the pre image of every patch against the post image (the row `copy`). The bare loop decodes the two and takes
mean squared error and structural similarity of the whole image. `evaluate` also measures inside and outside the change
and every damage class, with intervals, and writes tables, `results.json` and `report.html`. Imports do not count.
"""

import io
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from statistics import median

import numpy as np
import psutil
from datasets import Dataset, Image
from jsonargparse import auto_cli
from PIL import Image as Pictures
from skimage.metrics import mean_squared_error, structural_similarity

from benchmarks.results import RESULTS, write_section
from benchmarks.speed.build_speed import multiplied
from benchmarks.watch import processor_seconds
from data.build import build
from data.dataset.open import open_dataset
from data.sources.release import find_release
from data.workers import WorkerPool
from evaluation.run import evaluate
from generate.images.items import spread
from generate.sampling import Sampling
from models.cpu.threads import usable_cores

PATCHES_OF_A_SCENE = 16  # of 256 px


def evaluate_speed(
    *, release: Path, work: Path, patches: int = 1000, turns: int = 3, size: int = 256, results: Path = RESULTS
) -> None:
    """Compare in turns and write a section.

    Args:
        release: simulated scenes of 1024 px; they are taken again and again.
        work: folder for the dataset, which is reused, and the evaluation.
        patches: to measure.
        turns: of both.
        size: of the patches, px.
        results: the file to write to.
    """
    built, cores = work / "dataset", usable_cores()
    if not built.exists():
        scenes = multiplied(find_release(release).scenes, work / "release", -(-patches // PATCHES_OF_A_SCENE))
        build(source=scenes, out=built, size=size, workers=cores)
    dataset = open_dataset(built, "train")
    rows = spread(len(dataset), patches)

    def ours(limit: int = patches) -> None:
        with redirect_stdout(io.StringIO()):
            evaluate(
                checkpoint=Path("tiny"), dataset=built, out=work / "evaluated", split="train", limit=limit,
                methods="copy", networks="none", overwrite=True, sampling=Sampling(size=size),
            )  # fmt: skip

    with WorkerPool(cores) as pool:
        programs: dict[str, Callable[[], object]] = {
            "bare": lambda: list(pool.map(bare, _files(dataset, rows))),
            "ours": ours,
        }
        list(pool.map(bare, _files(dataset, rows[:cores])))  # imports
        ours(limit=1)
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in programs}
        for turn in range(turns):
            for name in list(programs)[:: 1 if turn % 2 == 0 else -1]:
                before = clocks()
                programs[name]()
                found[name].append((clocks()[0] - before[0], clocks()[1] - before[1]))
                print(name, found[name][-1], flush=True)
    title = f"Evaluation without sampling: {len(rows):,} patches of {size} px, cores: {cores}"
    write_section(title, report(found, len(rows)), results)


def report(found: dict[str, list[tuple[float, float]]], patches: int) -> str:
    """The table, in Markdown: a rate above 1 is in our favour."""
    lines = [
        "| clock | bare loop, ms/patch | ours, ms/patch | rate of ours, median (each turn) |",
        "|---|---:|---:|---|",
    ]
    for number, clock in enumerate(("processor", "wall")):
        bare_s, ours_s = ([turn[number] for turn in found[name]] for name in ("bare", "ours"))
        rates = [bare / our for bare, our in zip(bare_s, ours_s, strict=True)]
        spent = " | ".join(f"{median(seconds) / patches * 1000:.1f}" for seconds in (bare_s, ours_s))
        lines.append(f"| {clock} | {spent} | {median(rates):.2f} ({', '.join(f'{rate:.2f}' for rate in rates)}) |")
    return "\n".join(lines)


def clocks() -> tuple[float, float]:
    """Seconds of the processor, in this process and its children, and of the wall."""
    alive = [child.cpu_times() for child in psutil.Process().children()]
    return processor_seconds() + sum(times.user + times.system for times in alive), time.perf_counter()


def bare(files: tuple[bytes, bytes]) -> tuple[float, float]:
    """Metrics of one patch."""
    pre, post = (np.asarray(Pictures.open(io.BytesIO(file)).convert("RGB")) for file in files)
    alike = structural_similarity(pre, post, channel_axis=-1, gaussian_weights=True, data_range=255)
    return float(mean_squared_error(pre, post)), float(alike)


def _files(dataset: Dataset, rows: list[int]) -> list[tuple[bytes, bytes]]:
    columns = dataset.select_columns(["pre", "post"])
    for name in ("pre", "post"):
        columns = columns.cast_column(name, Image(decode=False))
    return [(row["pre"]["bytes"], row["post"]["bytes"]) for row in (columns[row] for row in rows)]


if __name__ == "__main__":
    auto_cli(evaluate_speed, as_positional=False)
