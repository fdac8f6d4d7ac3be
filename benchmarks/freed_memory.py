"""Training steps on the CPU before and after freed memory is kept (models/freed_memory.py).

python -m benchmarks.freed_memory --base out/bench/base
"""

import resource
import time
from pathlib import Path
from typing import Literal

import torch
from jsonargparse import auto_cli

from models import load_base
from models.freed_memory import keep_freed_memory
from train.config import ModelConfig, TrainConfig
from train.networks import build_denoiser, noise_schedule, optimizer_of
from train.objective import denoising_loss


def freed_memory(
    *,
    base: Path,
    resolution: int = 256,
    batch: int = 2,
    precision: Literal["fp32", "bf16"] = "bf16",
    warm_up: int = 2,
    steps: int = 4,
) -> None:
    """Print seconds, seconds of them in the kernel, and page faults of every step.

    Args:
        base: a diffusers folder, such as `make bench` makes.
        resolution: px.
        batch: examples of a step.
        precision: of the frozen weights.
        warm_up: steps that are not told, of each kind.
        steps: that are, of each kind.
    """
    opened = load_base(base)
    denoiser = build_denoiser(opened, ModelConfig(), precision, 0, torch.device("cpu"))
    optimizer = optimizer_of(list(denoiser.trained().values()), TrainConfig())
    schedule = noise_schedule(opened, zero_terminal_snr=False)
    unet, side = opened.config("unet"), resolution // opened.vae_scale_factor
    latents = torch.randn(2, batch, unet["in_channels"], side, side)
    examples = {
        "latents": latents[0],
        "noise": latents[1],
        "input_noise": latents[1],
        "timestep": torch.randint(0, 1000, (batch,)),
        "encoder_hidden_states": torch.randn(batch, 77, unet["cross_attention_dim"]),
        "condition": torch.randint(0, 256, (batch, 3, resolution, resolution), dtype=torch.uint8),
    }
    print("| freed memory | s/step | of it in the kernel, CPU s | page faults |\n|---|---:|---:|---:|")
    for name in ("given back", "kept"):
        if name == "kept":
            keep_freed_memory()
        for number in range(warm_up + steps):
            before, started = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
            denoising_loss(denoiser, schedule, examples)[0].mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            seconds, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF)
            if number >= warm_up:
                faults = after.ru_minflt - before.ru_minflt
                print(f"| {name} | {seconds:.2f} | {after.ru_stime - before.ru_stime:.2f} | {faults:,} |", flush=True)


if __name__ == "__main__":
    auto_cli(freed_memory, as_positional=False)
