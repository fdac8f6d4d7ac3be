"""Pixel metrics of `pre2post evaluate` beside a bare loop of scikit-image on as many cores, on synthetic results.

    python -m benchmarks.speed.evaluate_speed --work OUT --patches 1000

Both decode the real and the generated image of every patch and compare generating and copying with the truth. The bare
loop takes mean squared error and structural similarity of the whole image; ours also measures inside and outside the
changed area, and knows the captions. Nothing is sampled: a generated image is the real one with noise.
"""

import io
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import numpy as np
from datasets import Dataset, Image
from jsonargparse import auto_cli
from PIL import Image as Pictures
from skimage.metrics import mean_squared_error, structural_similarity

from benchmarks.results import RESULTS, write_section
from benchmarks.speed.train_step import simulated_dataset
from data.dataset.open import open_dataset
from evaluation.metrics.judges import Judges
from evaluation.metrics.measure import measure
from evaluation.output import image_file
from evaluation.patches import patches_at
from models.cpu.threads import usable_cores


def evaluate_speed(*, work: Path, patches: int = 200, turns: int = 3, results: Path = RESULTS) -> None:
    """Compare in turns and write a section.

    Args:
        work: folder for a simulated dataset, whose 16 patches of 256 px are taken again and again.
        patches: to measure.
        turns: of both.
        results: the file to write to.
    """
    dataset, out, cores = open_dataset(simulated_dataset(work), "train"), work / "evaluated", usable_cores()
    rows = [number % len(dataset) for number in range(patches)]
    write_images(dataset, out)
    files = [(*pair, out / image_file(name, "generated")) for *pair, name in _files(dataset)]
    seconds: dict[str, list[float]] = {"bare": [], "ours": []}
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        list(pool.map(bare, files[:cores]))  # imports
        for turn in range(turns):
            for name in ("bare", "ours")[:: 1 if turn % 2 == 0 else -1]:
                started = time.perf_counter()
                if name == "bare":
                    list(pool.map(bare, [files[row] for row in rows], chunksize=8))
                else:
                    ours(dataset, out, rows)
                seconds[name].append(time.perf_counter() - started)
                print(name, seconds[name][-1], flush=True)
    rates = [a / b for a, b in zip(seconds["bare"], seconds["ours"], strict=True)]
    each = ", ".join(f"{rate:.2f}" for rate in rates)
    text = f"Rate of ours relative to the bare loop: {median(rates):.2f} ({each}). Seconds: " + ", ".join(
        f"{name} {median(times):.1f}" for name, times in seconds.items()
    )
    write_section(
        f"Evaluation without sampling: {patches:,} patches of {dataset[0]['size']} px, {cores} cores",
        f"{text}.",
        results,
    )


def ours(dataset: Dataset, out: Path, rows: list[int]) -> None:
    """As `pre2post evaluate --methods generated,copy --networks none` measures."""
    prompts = ["after a flood"] * len(rows)
    patches = patches_at(dataset, rows, prompts, resolution=dataset[0]["size"])
    measure(out, patches, {"generated": prompts, "copy": prompts}, [[0] for _ in rows], Judges({}, None, None))


def bare(files: tuple[bytes, bytes, Path]) -> list[float]:
    """Metrics of one patch."""
    pre, post = (np.asarray(Pictures.open(io.BytesIO(file)).convert("RGB")) for file in files[:2])
    with Pictures.open(files[2]) as opened:
        made = np.asarray(opened.convert("RGB"))
    found = []
    for image in (made, pre):
        found.append(float(mean_squared_error(image, post)))
        found.append(float(structural_similarity(image, post, channel_axis=-1, gaussian_weights=True, data_range=255)))
    return found


def write_images(dataset: Dataset, out: Path) -> None:
    """The generated images of an evaluation: real ones with noise."""
    rng = np.random.default_rng(0)
    for row in dataset.select_columns(["patch_id", "post"]):
        path = out / image_file(row["patch_id"], "generated")
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(row["post"]) + rng.normal(0, 8, (row["post"].height, row["post"].width, 3))
        Pictures.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)


def _files(dataset: Dataset) -> list[tuple[bytes, bytes, str]]:
    columns = dataset.select_columns(["pre", "post", "patch_id"])
    for name in ("pre", "post"):
        columns = columns.cast_column(name, Image(decode=False))
    return [(row["pre"]["bytes"], row["post"]["bytes"], row["patch_id"]) for row in columns]


if __name__ == "__main__":
    auto_cli(evaluate_speed, as_positional=False)
