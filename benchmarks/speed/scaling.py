"""Scaling of the cost of a step with pixels and batch, of the cache with images, of communication with weights.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.scaling

The tiny base on the CPU. Models are fitted to some of the measurements and tested on one that is left out.
"""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import numpy as np
import torch
import torch.distributed as dist
from jsonargparse import auto_cli
from numpy.typing import NDArray
from scipy.optimize import nnls
from torch import nn

from benchmarks.small_runs import REPOSITORY, TORCHRUN
from models import load_base
from train.config import ModelConfig, TrainConfig
from train.inputs.cache import encode_images
from train.networks import build_denoiser, optimizer_of

SIDES_PX, BATCHES, UNSEEN = (64, 128, 192, 256), (1, 4), (160, 3)
MEGABYTES = (1, 4, 16, 64)
# For the prediction. NVIDIA's NeMo documentation, ControlNet at 512 px on one A100: batch -> examples/s.
PUBLISHED = {8: 21.52, 32: 27.20}
TRAINED = 364_230_000  # weights of a ControlNet on Stable Diffusion 2.1
INSIDE_GB = 200  # per second, between the GPUs of a machine (NVLink)
# Name, machines of 8 GPUs, GB/s between them, per machine.
CLUSTERS = [("8 GPUs", 1, 1), ("64 GPUs, 100 Gbit/s", 8, 12.5), ("64 GPUs, 8 x 200 Gbit/s", 8, 200)]
Rows = NDArray[np.float64]


def scaling(*, repeats: int = 5, all_reduce: bool = False) -> None:
    """Measure, fit, print.

    Args:
        repeats: of which the median is taken.
        all_reduce: set in the two processes that this command starts.
    """
    if all_reduce:
        measure_all_reduce(repeats)
        return
    predict()
    step_cost(repeats)
    cache_cost(repeats)
    subprocess.run(
        [sys.executable, *TORCHRUN, "2", "-m", "benchmarks.speed.scaling", "--all_reduce", "true"],
        cwd=REPOSITORY,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=True,
    )


def step_cost(repeats: int) -> None:
    """Seconds of a step = c0 + batch * (c1 * pixels + c2 * pixels^2); the last term is self-attention."""
    base = load_base("tiny")
    denoiser = build_denoiser(base, ModelConfig(), "fp32", 0, torch.device("cpu"))
    optimizer = optimizer_of(list(denoiser.trained().values()), TrainConfig())
    width, channels = base.config("unet")["cross_attention_dim"], base.config("unet")["in_channels"]

    def step(side: int, batch: int) -> Callable[[], None]:
        latent = side // base.vae_scale_factor
        noisy = torch.randn(batch, channels, latent, latent)
        states, condition = torch.randn(batch, 77, width), torch.rand(batch, 3, side, side)

        def run() -> None:
            prediction = denoiser(noisy, torch.full((batch,), 500), states, condition)
            prediction.square().mean().backward()
            nn.utils.clip_grad_norm_(list(denoiser.trained().values()), 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return run

    sizes = [(side, batch) for side in SIDES_PX for batch in BATCHES]
    seconds = [timed(step(*size), repeats) for size in sizes]
    c0, c1, c2 = coefficients = fitted(np.array([terms(*size) for size in sizes]), np.array(seconds))
    print(f"step: {c0:.4f} s + batch x ({c1:.3e} s x pixels + {c2:.3e} s x pixels^2)")
    for size, measured in [*zip(sizes, seconds, strict=True), (UNSEEN, timed(step(*UNSEEN), repeats))]:
        predicted = float(np.dot(coefficients, terms(*size)))
        unseen = "   (not fitted)" if size == UNSEEN else ""
        print(f"    {size[0]} px, batch {size[1]}: {measured:.4f} s, model {predicted / measured - 1:+.0%}{unseen}")


def terms(side: int, batch: int) -> list[float]:
    """The terms that the coefficients of a step multiply."""
    return [1.0, batch * side**2, batch * side**4]


def cache_cost(repeats: int) -> None:
    """Seconds of the VAE per image."""
    vae = load_base("tiny").load_vae()
    for side in SIDES_PX:
        pixels = torch.randint(0, 256, (8, 3, side, side), dtype=torch.uint8)
        with torch.no_grad():
            seconds = timed(partial(encode_images, vae, pixels), repeats) / len(pixels)
        print(f"cache: {side} px: {seconds:.4f} s per image, {seconds / side**2 * 1e9:.1f} ns per pixel")


def measure_all_reduce(repeats: int) -> None:
    """Seconds of a sum over two processes by gloo = latency + bytes / bandwidth."""
    dist.init_process_group("gloo")
    seconds = []
    for megabytes in MEGABYTES:
        gradients = torch.ones(megabytes * 250_000)
        seconds.append(timed(partial(dist.all_reduce, gradients), repeats))
    latency, per_megabyte = fitted(np.array([[1.0, megabytes] for megabytes in MEGABYTES]), np.array(seconds))
    if dist.get_rank() == 0:
        measured = ", ".join(f"{size} MB {found:.4f} s" for size, found in zip(MEGABYTES, seconds, strict=True))
        print(f"all-reduce over 2 processes: {measured}; {latency * 1000:.2f} ms + bytes / {1 / per_megabyte:.0f} MB/s")
    dist.destroy_process_group()


def predict() -> None:
    """Predicted examples per second on 8 and 64 GPUs under the assumptions; none of it is measured.

    A step takes the time of its examples plus that of its gradient all-reduce: a ring within a machine, then one
    between machines, with no overlap with the backward pass.
    """
    gradient_gb = 4 * TRAINED / 1e9
    for batch, rate in PUBLISHED.items():
        for name, machines, between_gb in CLUSTERS:
            inside = 2 * (8 - 1) / 8 * gradient_gb / INSIDE_GB
            across = 2 * (machines - 1) / machines * gradient_gb / between_gb
            compute = batch / rate
            share = compute / (compute + inside + across)
            total = 8 * machines * rate * share
            print(f"prediction: {name}, batch {batch} each: {total:.0f} examples/s, {share:.0%} of as many single GPUs")


def timed(work: Callable[[], object], repeats: int) -> float:
    """Median seconds, after a warm-up run."""
    work()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return median(found)


def fitted(terms: Rows, seconds: Rows) -> Rows:
    """Non-negative coefficients with the smallest squared relative error."""
    coefficients: Rows = nnls(terms / seconds[:, None], np.ones(len(seconds)))[0]
    return coefficients


if __name__ == "__main__":
    auto_cli(scaling, as_positional=False)
