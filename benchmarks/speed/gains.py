"""Ablation of step speed: our trainer compared with itself without one optimisation, or with one more option.

On a laptop, some minutes:  python -m benchmarks.speed.gains --work out/bench --size tiny --precision fp32

All run in separate processes and alternate, as in benchmarks/speed/train_step.py. One of them by itself:

python -m benchmarks.speed.gains --config configs/demo.yaml --data.dataset D --run.out R --without='layers for CPUs'
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Literal
from unittest.mock import patch

import torch
from jsonargparse import auto_cli
from torch import nn

from benchmarks.results import RESULTS, write_section
from benchmarks.speed.train_step import SIZES, base_of, ours, simulated_dataset
from benchmarks.watch import Watched, watch
from models.cpu.precision import compute_type
from models.denoiser import Denoiser
from train import networks
from train.__main__ import main


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
    run = ["benchmarks.speed.gains", *settings]
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


def weights_cast_in_every_step() -> None:
    """Keep the frozen UNet in float32 and autocast it, like the trained weights."""
    load = networks.build_denoiser

    def build(base: Any, model: Any, precision: str, seed: int, device: torch.device) -> Denoiser:  # noqa: ANN401
        with patch("train.networks.use_cpu_layers"):
            denoiser = load(base, model, "fp32", seed, device)
        denoiser.compute_dtype = compute_type(precision, device)
        autocast, forward = denoiser._autocast, denoiser.unet.forward

        def casting(noisy: torch.Tensor, *args: Any, **named: Any) -> Any:  # noqa: ANN401
            with autocast(noisy):
                return forward(noisy, *args, **named)

        denoiser.unet.forward = casting
        return denoiser

    patch("train.loop.build_denoiser", build).start()


def plain_layers() -> None:
    """Leave PyTorch's layers as they are; these need their weights in the type that they compute in."""

    def keep(network: nn.Module, *, stored: torch.dtype, computed: torch.dtype) -> None:
        if stored != computed == torch.float32:
            network.float()

    patch("train.networks.use_cpu_layers", keep).start()


def plain_optimizer() -> None:
    """Use PyTorch's default AdamW."""

    def optimizer_of(weights: list[nn.Parameter], settings: Any) -> torch.optim.Optimizer:  # noqa: ANN401
        return torch.optim.AdamW(weights, lr=settings.learning_rate, weight_decay=settings.weight_decay)

    patch("train.loop.optimizer_of", optimizer_of).start()


PARTS: dict[str, Callable[[], object]] = {
    "frozen weights in the compute type": weights_cast_in_every_step,
    "layers for CPUs": plain_layers,
    "the fused optimizer": plain_optimizer,
    "freed memory kept": patch("train.loop.keep_freed_memory").start,
}


if __name__ == "__main__":
    if sys.argv[-1].startswith("--without="):
        PARTS[sys.argv.pop().removeprefix("--without=")]()
        sys.exit(main())
    auto_cli(gains, as_positional=False)
