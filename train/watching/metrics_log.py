"""Metrics of a run. Sums stay on the device between log points and are read only there (law 8)."""

import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from torch import Tensor

from data.examples.sampler import view_of
from data.progress import Bar
from data.strict_json import as_json
from models.checkpoint import steps_in
from train.errors import TrainingError
from train.inputs.examples import Examples
from train.saving.retention import is_complete
from train.saving.run_files import METRICS
from train.saving.state import TrainState
from train.stages import Stage
from train.watching.trackers import tag

PATCHES_NAMED = 8
BAR_FORMAT = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_inv_fmt}{postfix}]"


@dataclass
class Step:
    """This process's part of one step, kept until the next log point."""

    ordinals: list[int] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)  # per micro-batch
    plain: list[Tensor] = field(default_factory=list)  # the same without weights
    grad_norm: Tensor | None = None


class MetricsLog:
    """Counts every micro-batch; writes a line at log points; stops the run when numbers are no longer finite."""

    def __init__(
        self, accelerator: Accelerator, out: Path, patch_of: Callable[[int], str], gradients_may_overflow: bool
    ) -> None:
        """`patch_of` maps an ordinal to its patch id. With fp16 a step whose gradients overflow is skipped."""
        self.accelerator, self.out, self.patch_of = accelerator, out, patch_of
        self.gradients_may_overflow = gradients_may_overflow
        self._reset()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time within the block as waiting for data."""
        started = time.perf_counter()
        yield
        self.waited += time.perf_counter() - started

    def add(self, ordinals: Sequence[int], losses: Tensor, plain: Tensor, fingerprints: Tensor) -> None:
        """Add one micro-batch: the losses that are minimised, and the unweighted ones."""
        self.steps[-1].ordinals += ordinals
        self.steps[-1].losses.append(losses.detach())
        self.steps[-1].plain.append(plain)
        self.fingerprint_sum += fingerprints.sum()

    def end_step(self, grad_norm: Tensor) -> None:
        """End an optimizer step."""
        self.steps[-1].grad_norm = grad_norm
        self.steps.append(Step())

    def check_finite(self, step: int) -> None:
        """Check before a save between log points, so that nothing corrupt is saved. See `_read`."""
        if len(self.steps) > 1:
            self._read(step)

    def is_finite_here(self) -> bool:
        """The same without communication: the norm is that of all processes' gradients."""
        norms = [each.grad_norm for each in self.steps if each.grad_norm is not None]
        losses = [loss for each in self.steps for loss in each.losses]
        finite = all(bool(loss.isfinite().all()) for loss in losses)
        return finite and (self.gradients_may_overflow or all(bool(norm.isfinite()) for norm in norms))

    def _read(self, step: int) -> dict[str, float]:
        """Read all losses and gradient norms since the last log point.

        Args:
            step: the one just completed.

        Returns:
            Mean loss over all processes, the unweighted one, the last gradient norm; with fp16 how many steps
            were skipped because their gradients overflowed.

        Raises:
            TrainingError: one is not finite; names the patches of the first such step.
        """
        losses = torch.cat([loss for each in self.steps for loss in each.losses]).double()
        plain = torch.cat([loss for each in self.steps for loss in each.plain]).double()
        norms = torch.stack([each.grad_norm for each in self.steps if each.grad_norm is not None]).double()
        read = torch.stack([losses.mean(), plain.mean(), norms.sum()])
        mean, mean_plain, norm_sum = self.accelerator.reduce(read, "mean").tolist()
        if not math.isfinite(mean) or not (math.isfinite(norm_sum) or self.gradients_may_overflow):
            raise self._not_finite(step)
        found = {"loss": mean, "loss_plain": mean_plain, "grad_norm": norms[-1].item()}
        return found | ({"skipped_steps": int((~norms.isfinite()).sum())} if self.gradients_may_overflow else {})

    def write(self, state: TrainState, bar: Bar) -> None:
        """Append a line to metrics.jsonl and to the trackers.

        Raises:
            TrainingError: the numbers are not finite, or every step was skipped, or the file cannot be written.
        """
        read = self._read(state.step)
        examples = sum(len(step.ordinals) for step in self.steps) * self.accelerator.num_processes
        seconds = time.perf_counter() - self.started
        metrics = {
            "step": state.step,
            **read,
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "examples_per_second": examples / seconds,
            "data_wait": self.waited / seconds,  # share of the time, 0..1
            "peak_memory_gb": peak_memory_gb(self.accelerator.device),
            # Equal for equal examples, noise and timesteps, for any number of processes, workers and micro-batches.
            "fingerprint": f"{self.accelerator.reduce(self.fingerprint_sum, 'sum').item():x}",
        }
        if self.gradients_may_overflow:
            metrics["loss_scale"] = state.scaler.get_scale()
        self.append(metrics)
        bar.set_postfix_str(
            f"loss {read['loss']:.4f}, {metrics['examples_per_second']:.1f} examples/s, "
            f"{metrics['data_wait']:.0%} data wait"
        )
        self._check_scale(metrics, ended=state.step == bar.total)
        self._reset()

    def _check_scale(self, metrics: dict[str, Any], ended: bool) -> None:
        """Raise if no step since the last log point changed the weights, and a smaller loss scale will not help.

        Every skipped step halves the scale: a few at the start, until it fits, are normal.
        """
        steps = len(self.steps) - 1  # the last entry is the step to come
        if metrics.get("skipped_steps") == steps and (ended or metrics["loss_scale"] < 1):
            raise TrainingError(
                f"step {metrics['step']}: the gradients of the last {steps} steps overflowed float16, down to a loss "
                f"scale of {metrics['loss_scale']:g}, so none of them changed the weights. {self.last_good()} Set "
                "train.precision bf16 or fp32, in a new run.out or with --run.resume_allow='[train.precision]'."
            )

    def append(self, metrics: dict[str, Any]) -> None:
        """One line of metrics.jsonl; its floats also go to the trackers."""
        if self.accelerator.is_main_process:
            try:
                with (self.out / METRICS).open("a") as file:
                    file.write(as_json(metrics, None))
            except OSError as error:
                raise TrainingError(
                    f"{self.out / METRICS}: could not be written ({error.strerror}). {self.last_good()} Free some "
                    "space or fix the folder's permissions, then run the same command again."
                ) from error
        numbers = {
            tag(name): float(value)
            for name, value in metrics.items()
            if isinstance(value, (int, float)) and name != "step"
        }
        self.accelerator.log(numbers, step=metrics["step"])

    def restart_clock(self) -> None:
        """Measure speed from here."""
        self.started, self.waited = time.perf_counter(), 0.0

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Exclude the time within the block from the speed."""
        began = time.perf_counter()
        yield
        self.started += time.perf_counter() - began

    def _not_finite(self, step: int) -> TrainingError:
        """The error for the first non-finite step, naming its patches. Called by every process."""
        first = step - len(self.steps) + 2  # the last entry is the step to come
        mine = []
        for number, each in enumerate(self.steps[:-1], start=first):
            finite = torch.cat(each.losses).isfinite().tolist()
            assert each.grad_norm is not None
            if not all(finite) or not (self.gradients_may_overflow or each.grad_norm.isfinite()):
                mine.append((number, [o for o, fine in zip(each.ordinals, finite, strict=True) if not fine]))
                break
        found = gather_object(mine)
        number = min(number for number, _ in found)
        ordinals = sorted(ordinal for at, bad in found if at == number for ordinal in bad)
        what = "loss of patches " + self._names(ordinals) if ordinals else "norm of the gradients"
        return TrainingError(
            f"step {number}: the {what} is not finite. Nothing was saved since. {self.last_good()} Look at these "
            "patches, lower train.learning_rate, or set train.precision fp32; then run the same command again."
        )

    def _names(self, ordinals: list[int]) -> str:
        names = list(dict.fromkeys(self.patch_of(ordinal) for ordinal in ordinals))
        more = f" and {len(names) - PATCHES_NAMED} more" if len(names) > PATCHES_NAMED else ""
        return ", ".join(names[:PATCHES_NAMED]) + more

    def last_good(self) -> str:
        """A sentence naming the checkpoint to go back to."""
        folders = [folder for folder in steps_in(self.out / "checkpoints") if is_complete(folder)]
        return f"The last good checkpoint is {folders[-1]}." if folders else "There is no checkpoint yet."

    def _reset(self) -> None:
        self.steps = [Step()]
        self.fingerprint_sum = torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        self.restart_clock()


def peak_memory_gb(device: torch.device) -> float:
    """Peak GPU memory of tensors, or peak resident memory of this process on CPUs, since it started."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e9
    unit = 1 if sys.platform == "darwin" else 1024  # Linux counts in KiB, macOS in bytes
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def patch_namer(stages: list[Stage], examples: list[Examples], datasets: list[Dataset]) -> Callable[[int], str]:
    """Map an ordinal to its patch id."""

    def name(ordinal: int) -> str:
        number = max(n for n, stage in enumerate(stages) if stage.first_ordinal <= ordinal)
        views = examples[number].views
        view = views[view_of(examples[number].recipe.seed, ordinal, len(views))]
        return str(datasets[number].select_columns(["patch_id"])[view.patch]["patch_id"])

    return name
