r"""Our training step compared with that of the usual loop (reference_loop.py): seconds, memory, start-up.

On a laptop, some minutes:  python -m benchmarks.speed.train_step --work out/bench --sizes '[tiny]'

Each program runs in a separate process, as a user would start it, on the same base, images, batch and resolution.
They alternate; a process is stopped once it has written enough. On a GPU, `sd21-b8` and `sd21-b32` compare at 512 px.
`--script PATH`, diffusers' examples/controlnet/train_controlnet.py, times that script itself too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, Literal

import torch
from jsonargparse import auto_cli

from benchmarks.floor import matmul_rate, step_flops
from benchmarks.results import RESULTS, write_section
from benchmarks.watch import Watched, watch
from data.build import build
from data.dataset.open import open_dataset
from data.simulation.simulate import simulate
from data.storage import sha256
from models import load_base
from models.base import Base
from models.cpu.precision import DTYPES, compute_type
from models.random_base import write_random_base

Program = tuple[str, str]  # reference, script or ours, and its precision
ON_CPU: tuple[Program, ...] = (("reference", "fp32"), ("ours", "fp32"), ("ours", "bf16"))
ON_GPU: tuple[Program, ...] = (("reference", "fp32"), ("reference", "bf16"), ("ours", "bf16"))


@dataclass(frozen=True)
class Size:
    """The task of all programs, and how long they are measured."""

    base: Literal["tiny", "Stable Diffusion 2.1"]
    resolution: int  # px
    batch: int
    window: int  # steps that are timed together, without reading the loss in between
    warm_up: int  # windows that are not counted
    windows: int  # that are counted
    rounds: int  # processes per program
    programs: tuple[Program, ...] = ON_CPU

    @property
    def title(self) -> str:
        """Title of its section."""
        return f"A training step: {self.base}, {self.resolution} px, batch {self.batch}"


SIZES = {
    "tiny": Size("tiny", 128, 8, window=10, warm_up=2, windows=5, rounds=3),
    "sd21": Size("Stable Diffusion 2.1", 256, 2, window=1, warm_up=1, windows=2, rounds=2),
    "sd21-b8": Size("Stable Diffusion 2.1", 512, 8, window=10, warm_up=1, windows=3, rounds=2, programs=ON_GPU),
    "sd21-b32": Size("Stable Diffusion 2.1", 512, 32, window=5, warm_up=1, windows=3, rounds=2, programs=ON_GPU),
}


def train_step(
    *,
    work: Path,
    configs: Path | None = None,
    sizes: Sequence[Literal["tiny", "sd21", "sd21-b8", "sd21-b32"]] = ("tiny", "sd21"),
    results: Path = RESULTS,
    workers: int = 1,
    options: Sequence[str] = (),
    script: Path | None = None,
) -> None:
    """Compare, print, and write a section for every size.

    Args:
        work: folder for simulated data, random base and cache; existing ones are reused.
        configs: config files of Stable Diffusion 2.1 in diffusers' layout, for all sizes but `tiny`.
        sizes: `sd21` is for CPUs, `sd21-b8` and `sd21-b32` for GPUs.
        results: the file to write to.
        workers: data worker processes of every program.
        options: more settings of our trainer, e.g. `--model.channels_last=true`.
        script: diffusers' example `train_controlnet.py`, to be timed too; in the precisions of the usual loop.
    """
    dataset = simulated_dataset(work)
    for name in sizes:
        size = SIZES[name]
        base = base_of(size, work, configs)
        if script:
            theirs = tuple(("script", precision) for name, precision in size.programs if name == "reference")
            size = replace(size, programs=theirs + size.programs)
        found = compare(size, base.folder, dataset, work, workers, options, script)
        write_section(size.title, report(size, found, base, script), results)


def simulated_dataset(work: Path) -> Path:
    """16 patches of 256 px, all in the training split."""
    dataset = work / "dataset"
    if not dataset.exists():
        simulate(out=work / "release", scenes=1)
        build(source=work / "release", out=dataset, size=256)
    return dataset


def base_of(size: Size, work: Path, configs: Path | None) -> Base:
    """`tiny`, or a full-size one from config files alone."""
    if size.base == "tiny":
        return load_base("tiny")
    base = work / "base"
    if not base.exists():
        if configs is None:
            raise SystemExit("The full size needs --configs: a diffusers folder from which only config files are read.")
        write_random_base(configs, base)
    return load_base(base)


def compare(
    size: Size,
    base: Path,
    dataset: Path,
    work: Path,
    workers: int,
    options: Sequence[str],
    script: Path | None = None,
) -> dict[Program, list[Watched]]:
    """Run every program in its turns, in alternating order."""
    commands = {
        (name, precision): reference(size, base, dataset, workers, precision)
        if name == "reference"
        else [*ours(size, base, dataset, work / "cache", workers, precision), *options]
        for name, precision in size.programs
    }
    if script:
        if not (pairs := work / "pairs").exists():
            write_pairs(dataset, pairs)
        shape = {"resolution": size.resolution, "batch": size.batch, "window": size.window, "workers": workers}
        for name, precision in size.programs:
            if name == "script":
                commands[name, precision] = example(base, pairs, script, precision, **shape)
    # Once untimed, to fill our cache and to read the files from disk.
    watch(commands[size.programs[-1]], work, lines=1, batch=size.batch)
    found: dict[Program, list[Watched]] = {program: [] for program in size.programs}
    for number in range(size.rounds):
        for program in size.programs[:: 1 if number % 2 == 0 else -1]:
            found[program].append(watch(commands[program], work, lines=size.warm_up + size.windows, batch=size.batch))
            print(" ".join(program), found[program][-1], flush=True)
    return found


def reference(size: Size, base: Path, dataset: Path, workers: int, precision: str) -> list[str]:
    """Arguments of the reference loop; without the output folder."""
    values = {
        "base": base,
        "dataset": dataset,
        "resolution": size.resolution,
        "batch": size.batch,
        "window": size.window,
        "workers": workers,
        "mixed_precision": "no" if precision == "fp32" else precision,
    }
    return ["benchmarks.speed.reference_loop", "--out", *(f"--{name}={value}" for name, value in values.items())]


def write_pairs(dataset: Path, out: Path) -> None:
    """The patches of the split `train` in the columns that the script reads, with their first short caption."""
    patches = open_dataset(dataset, "train").select_columns(["post", "captions", "pre"])
    texts = [
        next(one["text"] for one in captions if (one["style"], one["target"]) == ("short", "post"))
        for captions in patches["captions"][:]
    ]
    pairs = patches.remove_columns("captions").rename_columns({"post": "image", "pre": "conditioning_image"})
    out.mkdir(parents=True)
    pairs.add_column("text", texts).to_parquet(out / "train.parquet")


def example(base: Path, pairs: Path, script: Path, precision: str, **size: int) -> list[str]:
    """Arguments of the script and its clock; `size` is resolution, batch, window and workers."""
    mixed = "no" if precision == "fp32" else precision
    return [
        "benchmarks.speed.example_script",
        "--out",
        f"--script={script}",
        f"--window={size['window']}",
        f"--batch={size['batch']}",
        f"--pretrained_model_name_or_path={base}",
        f"--train_data_dir={pairs}",
        f"--resolution={size['resolution']}",
        f"--train_batch_size={size['batch']}",
        f"--dataloader_num_workers={size['workers']}",
        f"--mixed_precision={mixed}",
        "--max_train_steps=1000000",
        "--checkpointing_steps=1000000",
    ]


def ours(size: Size, base: Path, dataset: Path, cache: Path, workers: int, precision: str) -> list[str]:
    """Arguments of the trainer; without the output folder."""
    values: dict[str, Any] = {
        "data.dataset": dataset,
        "data.resolution": size.resolution,
        "data.mirror": "false",
        "model.base": base,
        "train.global_batch": size.batch,
        "train.micro_batch": size.batch,
        "train.precision": precision,
        "run.cache": cache,
        "run.log_every": size.window,
        "run.workers": workers,
        "run.trackers": "[]",
    }
    return ["train", "--run.out", *(f"--{name}={value}" for name, value in values.items())]


def report(size: Size, found: dict[Program, list[Watched]], base: Base, script: Path | None = None) -> str:
    """The tables, in Markdown."""
    flops = step_flops(base, resolution=size.resolution, batch=size.batch)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rates = {DTYPES[precision]: matmul_rate(DTYPES[precision], device) for _, precision in size.programs}
    rows = [
        f"A step needs {flops['needed'] / 1e12:.3f} TFLOP of UNet and ControlNet; VAE and text encoder take "
        f"{flops['encoders'] / 1e12:.3f} more where they run in every step. This machine achieves "
        + ", ".join(
            f"{rate / 1e12:.3f} TFLOP/s in {str(dtype).removeprefix('torch.')}" for dtype, rate in rates.items()
        )
        + ". Floor: the time of UNet and ControlNet at the rate of the compute type."
        + " Reference: benchmarks/speed/reference_loop.py."
        + (f" Script: diffusers' {script.name}, sha256 {sha256(script)[:12]}." if script else ""),
        "",
        "| program | s/step, median (min to max) | examples/s | peak memory, GB | start-up, s | data wait | floor, s |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for (name, precision), runs in found.items():
        steps = [size.batch * seconds for run in runs for seconds in run.example_s[size.warm_up :]]
        waits = [share for run in runs for share in run.data_wait[size.warm_up :]]
        rows.append(
            f"| {name}, {precision} | {median(steps):.3f} ({min(steps):.3f} to {max(steps):.3f}) "
            f"| {size.batch / median(steps):.2f} | {max(run.peak_memory_gb for run in runs):.2f} "
            f"| {median(run.start_up_s for run in runs):.1f} | {median(waits):.1%} "
            f"| {flops['needed'] / rates[compute_type(precision, device)]:.3f} |"
        )
    return "\n".join([*rows, "", *ratios(size, found)])


def ratios(size: Size, found: dict[Program, list[Watched]]) -> list[str]:
    """Ratio of each of ours to each other program, paired by turn."""
    rows = ["| ours / other | speed-up, median (each turn) | peak memory |", "|---|---|---:|"]
    for mine in [program for program in found if program[0] == "ours"]:
        for other in [program for program in found if program[0] != "ours"]:
            pairs = list(zip(found[mine], found[other], strict=True))
            faster = [median(b.example_s[size.warm_up :]) / median(a.example_s[size.warm_up :]) for a, b in pairs]
            memory = max(a.peak_memory_gb for a, _ in pairs) / max(b.peak_memory_gb for _, b in pairs)
            each = ", ".join(f"{ratio:.2f}" for ratio in faster)
            rows.append(f"| {mine[1]} / {' '.join(other)} | {median(faster):.2f} ({each}) | {memory:.2f} |")
    return rows


if __name__ == "__main__":
    auto_cli(train_step, as_positional=False)
