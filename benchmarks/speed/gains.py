"""Ablation of step speed: our trainer compared with itself without one optimisation, or with one more option.

On a laptop, some minutes:  python -m benchmarks.speed.gains --work out/bench --size tiny --precision fp32

All run in separate processes and alternate, as in benchmarks/speed/train_step.py.
"""

from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Literal

import torch
from jsonargparse import auto_cli

from benchmarks.results import RESULTS, write_section
from benchmarks.speed.train_step import SIZES, base_of, ours, simulated_dataset
from benchmarks.speed.without import PARTS
from benchmarks.watch import Watched, watch
from models.cpu.precision import compute_type


def gains(
    *,
    work: Path,
    configs: Path | None = None,
    size: Literal["tiny", "sd21", "sd21-b8", "sd21-b32"] = "sd21",
    precision: Literal["fp32", "bf16"] = "bf16",
    options: Sequence[str] = (),
    results: Path = RESULTS,
) -> None:
    """Compare, print, and write a section.

    Args:
        work: folder for simulated data, random base and cache, as in benchmarks.speed.train_step.
        configs: config files of Stable Diffusion 2.1 in diffusers' layout, for all sizes but `tiny`.
        size: as in benchmarks.speed.train_step.
        precision: of the trainer.
        options: of the trainer, each measured separately, e.g. `[--model.compile=true]`.
        results: the file to write to.
    """
    setup, dataset = SIZES[size], simulated_dataset(work)
    base = base_of(setup, work, configs)
    module, *settings = ours(setup, base.folder, dataset, work / "cache", 1, precision)
    as_is = [module, *settings]
    run = ["benchmarks.speed.without", *settings]
    chosen = {f"without {part}": [*run, f"--without={part}"] for part in parts(precision)}
    chosen |= {"without the cache": [*as_is, "--run.cache_in=off"]}
    chosen |= {f"with `{option.removeprefix('--')}`": [*as_is, option] for option in options}
    found: dict[str, list[tuple[Watched, Watched]]] = {name: [] for name in chosen}
    watch(as_is, work, lines=1, batch=setup.batch)  # fills the cache
    lines = setup.warm_up + setup.windows
    for name, command in [*chosen.items(), *reversed(chosen.items())]:
        pair = [watch(each, work, lines=lines, batch=setup.batch) for each in (as_is, command)]
        found[name].append((pair[0], pair[1]))
        print(name, *pair, flush=True)
    write_section(f"{setup.title}, {precision}: what each part is worth", table(found, setup.warm_up), results)


def parts(precision: str) -> list[str]:
    """The optimisations that the trainer uses at this precision on this machine."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    absent = {"layers for CPUs", "freed memory kept"} if device.type == "cuda" else set()
    if compute_type(precision, device) == torch.float32:
        absent.add("frozen weights in the compute type")
    return [part for part in PARTS if part not in absent]


def table(found: dict[str, list[tuple[Watched, Watched]]], warm_up: int) -> str:
    """Markdown table of seconds and memory relative to the unmodified trainer, run just before."""
    rows = [
        "| trainer | step time relative to unmodified (each turn) | peak memory relative to unmodified |",
        "|---|---|---:|",
    ]
    for name, pairs in found.items():
        slower = [median(b.example_s[warm_up:]) / median(a.example_s[warm_up:]) for a, b in pairs]
        memory = max(b.peak_memory_gb for _, b in pairs) / max(a.peak_memory_gb for a, _ in pairs)
        each = ", ".join(f"{ratio:.2f}" for ratio in slower)
        rows.append(f"| {name} | {median(slower):.2f} ({each}) | {memory:.2f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    auto_cli(gains, as_positional=False)
