"""Convolutions of Stable Diffusion 2.1 at 256 px on the CPU: PyTorch's own compared with models/cpu/layers.py.

python -m benchmarks.speed.cpu_layers --precision bf16
"""

import time
from collections.abc import Callable
from typing import Literal

import torch
from jsonargparse import auto_cli
from torch import Tensor, nn

from models.cpu.layers import use_cpu_layers
from models.cpu.precision import DTYPES

REPEATS = 4
# Channels in and out, side of the image in latent cells, kernel, stride, of UNet and ControlNet.
SHAPES = [
    (1280, 1280, 4, 3, 1),
    (2560, 1280, 4, 3, 1),
    (1280, 1280, 8, 3, 1),
    (2560, 1280, 8, 3, 1),
    (1280, 1280, 8, 3, 2),
    (1280, 1280, 8, 1, 1),
    (640, 640, 16, 3, 1),
    (1280, 640, 16, 3, 1),
    (320, 320, 32, 3, 1),
    (640, 320, 32, 3, 1),
]


def cpu_layers(*, batch: int = 2, precision: Literal["fp32", "bf16"] = "fp32") -> None:
    """Print the table: milliseconds of forward and backward, best of several runs.

    Args:
        batch: number of images.
        precision: of matrix products; trained weights stay float32, frozen ones are stored in it.
    """
    dtype = DTYPES[precision]
    print(
        "| convolution | trained: PyTorch, ms | ours, ms | frozen: PyTorch, ms | ours, ms |\n|---|---:|---:|---:|---:|"
    )
    for channels, out, side, kernel, stride in SHAPES:
        times = []
        for trained in (True, False):
            for ours in (False, True):
                layer = nn.Conv2d(channels, out, kernel, stride=stride, padding=kernel // 2).requires_grad_(trained)
                layer = layer if trained else layer.to(dtype)
                x = torch.randn(batch, channels, side, side, dtype=dtype)
                if ours:
                    use_cpu_layers(layer, stored=layer.weight.dtype, computed=dtype)
                    x = x.to(memory_format=torch.channels_last)
                times.append(f"{_best(_pass(layer, x.requires_grad_())) * 1e3:.0f}")
        what = f"{channels} to {out} channels, {side} x {side}, kernel {kernel}, stride {stride}"
        print(f"| {what} | {' | '.join(times)} |", flush=True)


def _pass(layer: nn.Module, x: Tensor) -> Callable[[], None]:
    def output() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=x.dtype == torch.bfloat16):
            out: Tensor = layer(x)
        return out

    gradient = torch.randn_like(output())

    def forward_and_backward() -> None:
        layer.zero_grad()
        output().backward(gradient)

    return forward_and_backward


def _best(work: Callable[[], None]) -> float:
    seconds = []
    for _ in range(REPEATS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


if __name__ == "__main__":
    auto_cli(cpu_layers, as_positional=False)
