"""A small run: micro base, tiny dataset, a handful of steps."""

import resource
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState, GradientState
from diffusers import UNet2DConditionModel

from models.cpu.layers import use_cpu_layers
from tests.data.conftest import tiny_dataset
from train.config_file import parse_config
from train.loop import train
from train.saving.run_files import read_metrics

__all__ = ["tiny_dataset"]
Arguments = Callable[..., list[str]]


@pytest.fixture(autouse=True)
def fresh_accelerator() -> None:
    """Accelerate keeps its state per process; every test starts its own."""
    AcceleratorState._reset_state(reset_partial_state=True)
    GradientState._reset_state()


@pytest.fixture
def arguments(tmp_path: Path, tiny_dataset: Path, micro_base: Path) -> Arguments:
    """Command line of a small run into `tmp_path / out`; more arguments may follow and win."""

    def make(out: str, *more: str) -> list[str]:
        values = {
            "data.dataset": tiny_dataset,
            "model.base": micro_base,
            "train.steps": 6,
            "train.global_batch": 4,
            "train.micro_batch": 2,
            "train.learning_rate": 1e-3,  # at 1e-2 AdamW makes 3e-5 of the rounding of a gradient near zero
            "train.warmup_steps": 2,
            "train.precision": "fp32",
            "run.out": tmp_path / out,
            "run.cache": tmp_path / "cache",
            "run.log_every": 1,
            "run.save_every": 3,
            "run.workers": 0,
            "run.trackers": "[]",
        }
        return [*(f"--{name}={value}" for name, value in values.items()), *more]

    return make


def wait_for_steps(process: "subprocess.Popen[bytes]", out: Path, steps: int) -> None:
    """Wait until a run has logged its first steps; its output must go to files, for it may be silent or a flood."""
    while len(read_metrics(out)) < steps:
        with suppress(subprocess.TimeoutExpired):
            raise AssertionError(f"it ended with status {process.wait(timeout=0.02)} before step {steps}")


def losses(out: Path) -> list[float]:
    """Of every step."""
    return [line["loss"] for line in read_metrics(out)]


def gradient_norms(out: Path) -> list[float]:
    """Of every step, before clipping."""
    return [line["grad_norm"] for line in read_metrics(out)]


def fingerprints(out: Path) -> list[str]:
    """Of every step: equal for equal examples."""
    return [line["fingerprint"] for line in read_metrics(out)]


def as_trained(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """A base's UNet with the layers that the trainer gives it on CPUs, so that numbers are the same to the bit."""
    use_cpu_layers(unet)
    return unet


def run(argv: list[str]) -> int:
    """Train in this process."""
    fresh = AcceleratorState
    fresh._reset_state(reset_partial_state=True)
    return train(parse_config(argv))


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The operating system refuses to write more, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
