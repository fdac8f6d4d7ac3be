"""metrics.jsonl of a stage."""

import math
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from data.storage import write_text
from data.strict_json import as_json
from train.errors import TrainingError
from train.saving.run_files import METRICS, read_metrics
from train.tiny.config import StageConfig
from train.tiny.state import State


class Log:
    """Losses are read at log points only (law 8)."""

    def __init__(self, out: Path, state: State, settings: StageConfig) -> None:
        self.out, self.state, self.settings = out, state, settings
        self.pending: list[dict[str, Tensor]] = []  # of every step since the last line
        self.began = time.perf_counter()

    def add(self, losses: dict[str, Tensor]) -> None:
        """Add the losses of one step."""
        self.pending.append({name: loss.detach() for name, loss in losses.items()})

    def check_finite(self) -> None:
        """Check the losses before anything is saved or validated.

        Raises:
            TrainingError: a loss or gradient since the last log point is not finite.
        """
        first = self.state.step - len(self.pending) + 1
        for number, losses in enumerate(self.pending, start=first):
            if bad := [name for name, loss in losses.items() if not math.isfinite(loss.item())]:
                raise TrainingError(
                    f"step {number} of the {self.out.name}: {', '.join(bad)} is not finite. Nothing was saved since. "
                    f"Lower {self.out.name}.learning_rate or set {self.out.name}.precision to fp32 and run again."
                )

    def write(self) -> str:
        """Write a line of means since the last one; returns the text of the progress bar."""
        self.check_finite()
        means = {
            name: torch.stack([losses[name] for losses in self.pending if name in losses]).double().mean().item()
            for name in self.pending[-1]
        }
        speed = len(self.pending) * self.settings.batch / (time.perf_counter() - self.began)
        rate = self.state.optimizer.param_groups[0]["lr"]
        self.append({**means, "learning_rate": rate, "examples_per_second": speed})
        self.pending, self.began = [], time.perf_counter()
        return ", ".join([*(f"{name} {value:.4f}" for name, value in means.items()), f"{speed:.1f} examples/s"])

    def append(self, metrics: dict[str, Any]) -> None:
        """Append one line, with the step and the examples seen so far.

        Raises:
            TrainingError: it cannot be written.
        """
        step, path = self.state.step, self.out / METRICS
        try:
            with path.open("a") as file:
                file.write(as_json({"step": step, "samples": step * self.settings.batch, **metrics}, None))
        except OSError as error:
            raise TrainingError(
                f"{path}: could not be written ({error.strerror}). Free some space or fix the folder's permissions, "
                "then run the same command again."
            ) from error


def drop_later_metrics(out: Path, step: int) -> None:
    """Drop the metrics of steps that will be repeated."""
    kept = [line for line in read_metrics(out) if line["step"] <= step]
    write_text(out / METRICS, "".join(as_json(line, None) for line in kept))
