"""A whole scene by `pre2post generate` beside its tiles by diffusers' ControlNet pipeline, which blends nothing.

    python -m benchmarks.speed.scene_speed --work OUT

Both read a PNG and write one, with the `tiny` base and a ControlNet of random weights, at equal precision, batch and
number of steps. Windows that overlap are more than tiles, so each has a rate per scene and a rate per window. Each
program runs in a separate process, in turns.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from jsonargparse import auto_cli
from PIL import Image

from benchmarks.results import RESULTS, write_section
from benchmarks.speed.sampling import Precision, stock_pipeline, write_untrained
from benchmarks.speed.train_step import SIZES, base_of
from generate.checkpoint import open_base, open_checkpoint
from generate.generator import load_generator
from generate.images.items import batched
from generate.images.read import read_header
from generate.processes import ALONE
from generate.sampling import Sampling
from generate.scenes.scene import generate_scene, windowing
from models.base import Base
from train.watching.metrics_log import peak_memory_gb

OVERLAPS = {"stock tiles": None, "ours, overlap 0": 0.0, "ours, overlap 0.5": 0.5}
PROMPT, SEED = "after a flood", 7
Make = Callable[[int], object]  # a scene, with so many steps


def scene_speed(
    *,
    work: Path,
    side: int = 1024,
    steps: int = 4,
    rounds: int = 2,
    precision: Precision = "fp32",
    results: Path = RESULTS,
    only: str | None = None,
) -> None:
    """Compare, print, and write a section.

    Args:
        work: folder for the checkpoint, the scene and the images.
        side: of the scene, px; a multiple of the network's.
        steps: denoising steps, without guidance.
        rounds: processes per program.
        precision: of all programs.
        results: the file to write to.
        only: measure one program in this process and print a line, as the benchmark itself asks for.
    """
    run, scene, base = work / "sampling-tiny", work / f"scene-{side}.png", base_of(SIZES["tiny"], work, None)
    if not run.exists():
        write_untrained(run, base, SIZES["tiny"].resolution)
    if not scene.exists():
        Image.fromarray(np.random.default_rng(0).integers(1, 256, (side, side, 3), np.uint8)).save(scene)
    if only:
        overlap, sampling = OVERLAPS[only], Sampling(steps=steps, precision=precision)
        windows, make = (
            tiles(run, scene, base, sampling) if overlap is None else ours(run, scene, base, sampling, overlap)
        )
        print(json.dumps({"windows": windows} | measured(make, steps)))
        return
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in OVERLAPS}
    for turn in range(rounds):
        for name in list(OVERLAPS)[:: 1 if turn % 2 == 0 else -1]:
            options = [f"--work={work}", f"--side={side}", f"--steps={steps}", f"--precision={precision}"]
            command = [sys.executable, "-m", "benchmarks.speed.scene_speed", *options, f"--only={name}"]
            line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
            found[name].append(json.loads(line))
            print(name, line, flush=True)
    write_section(f"A scene of {side:,} px: tiny, {steps} steps, {precision}", report(found), results)


def measured(make: Make, steps: int) -> dict[str, float]:
    """Seconds of a scene after one of a single step; peak memory of the process."""
    make(1)
    wall, processor = time.perf_counter(), time.process_time()
    make(steps)
    return {
        "wall_s": time.perf_counter() - wall,
        "processor_s": time.process_time() - processor,
        "peak_memory_gb": peak_memory_gb(PartialState().device),
    }


def ours(run: Path, scene: Path, base: Base, sampling: Sampling, overlap: float) -> tuple[int, Make]:
    """As `pre2post generate` makes a scene, without its watermark; and how many windows."""
    checkpoint, header = open_checkpoint(run), read_header(scene)
    windows = windowing(checkpoint.resolution, None, overlap)

    def make(steps: int) -> None:
        generate_scene(
            generator, header, windows, PROMPT, [], SEED, Sampling(steps=steps, precision=sampling.precision),
            scene.with_name("ours.png"), {}, watermark=False, on_window=lambda done: None, team=ALONE,
        )  # fmt: skip

    generator = load_generator(checkpoint, open_base(checkpoint, str(base.folder)), sampling)
    return len(windows.grid(header, generator.cell_px)), make


def tiles(run: Path, scene: Path, base: Base, sampling: Sampling) -> tuple[int, Make]:
    """The tiles of a scene, side by side, as diffusers makes them; and how many."""
    side, pipeline = open_checkpoint(run).resolution, stock_pipeline(run, base, sampling.precision)  # type: ignore[arg-type]

    def make(steps: int) -> None:
        pre = np.asarray(Image.open(scene).convert("RGB"))
        post = np.empty_like(pre)
        places = [(top, left) for top in range(0, len(pre), side) for left in range(0, len(pre), side)]
        for batch in batched(places, sampling.batch_size):
            shown = np.stack([pre[top : top + side, left : left + side] for top, left in batch])
            made = pipeline(
                [PROMPT] * len(batch),
                image=torch.from_numpy(shown).permute(0, 3, 1, 2) / 255,
                num_inference_steps=steps,
                guidance_scale=1.0,
                generator=[torch.Generator().manual_seed(SEED + top * len(pre) + left) for top, left in batch],
                output_type="np",
            ).images
            for (top, left), image in zip(batch, made, strict=True):
                post[top : top + side, left : left + side] = (image * 255).round()
        Image.fromarray(post).save(scene.with_name("tiles.png"))

    width = Image.open(scene).width
    return (width // side) ** 2, make


def report(found: dict[str, list[dict[str, Any]]]) -> str:
    """The table, in Markdown: rates by processor time, above 1 in our favour."""
    lines = [
        "| program | windows | processor, s | wall, s | peak memory, GB | rate per scene, median (each turn) "
        "| rate per window |",
        "|---|---:|---:|---:|---:|---|---:|",
    ]
    first = next(iter(found.values()))
    for name, turns in found.items():
        rates = [tile["processor_s"] / turn["processor_s"] for tile, turn in zip(first, turns, strict=True)]
        middle = [median(turn[field] for turn in turns) for field in ("processor_s", "wall_s", "peak_memory_gb")]
        windows = turns[0]["windows"]
        each = ", ".join(f"{rate:.2f}" for rate in rates)
        cells = [name, f"{windows}", *(f"{number:.2f}" for number in middle), f"{median(rates):.2f} ({each})"]
        lines.append(f"| {' | '.join(cells)} | {median(rates) * windows / first[0]['windows']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    auto_cli(scene_speed, as_positional=False)
