"""What happens between two optimizer steps: validation, checkpoints, interruption."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from data.storage import locked
from models.checkpoint import mark_best, step_folder
from models.families.noise import Noise
from train.config import Config
from train.inputs.encode import Batch
from train.processes.first_process import from_main
from train.processes.interrupt import Agreement
from train.saving.retention import delete_old, lowest_loss
from train.saving.run_files import read_metrics
from train.saving.state import TrainState
from train.stages import Stage, stage_at
from train.watching.metrics_log import MetricsLog
from train.watching.run_page import refresh_run_page
from train.watching.validation import ValidationSet, validate


@dataclass(frozen=True)
class Run:
    """The objects that every step of a run needs."""

    accelerator: Accelerator
    config: Config
    stages: list[Stage]
    state: TrainState
    schedule: Noise
    encode: Callable[[Batch], Batch]  # replaces the cache if there is none
    validations: list[ValidationSet]  # one per stage, or none
    log: MetricsLog
    descriptions: list[dict[str, Any]]  # for state.json, one per stage

    @property
    def stage(self) -> int:
        """Number of the stage of the last completed step."""
        return stage_at(self.stages, max(self.state.step - 1, 0))


def at_boundary(run: Run, agreement: Agreement, stop: bool) -> bool:
    """Validate and save if due.

    Args:
        run: its `state.step` is the number of completed steps.
        agreement: checked during a validation.
        stop: what the processes agreed on; a due validation is deferred to the next start.

    Returns:
        Whether to stop; then all completed steps are saved and some remain.
    """
    step, last = run.state.step, run.config.train.steps
    save_is_due = step == last or step % run.config.run.save_every == 0
    with run.log.paused():
        if not validation_is_due(run.config, step):
            stop = stop and step < last  # after the last step nothing remains
            if stop or save_is_due:
                _save(run, None, best=False)
            return stop
        metrics = None if stop else _look(run, agreement)
        if metrics is None:  # stopped before or during the validation
            _save(run, None, best=False)
            return True
        best = _is_best(run, metrics["validation_loss"])
        if best or save_is_due:
            _save(run, metrics, best)
        return False


def validation_is_due(config: Config, step: int) -> bool:
    """Whether to validate after this step."""
    every = config.validation.every
    return every > 0 and step > 0 and (step % every == 0 or step == config.train.steps)


def validation_is_missing(config: Config, step: int) -> bool:
    """Whether a run was stopped after this step before its validation."""
    return validation_is_due(config, step) and not any(
        line["step"] == step and "validation_loss" in line for line in read_metrics(config.run.out)
    )


def _look(run: Run, agreement: Agreement) -> dict[str, float] | None:
    """Validate the EMA weights, if any, as generation will use them; None if interrupted."""
    run.log.check_finite(run.state.step)
    with run.state.averaged():
        metrics = validate(
            run.accelerator,
            run.validations[run.stage],
            run.state.denoiser,
            run.schedule,
            run.encode,
            run.state.step,
            agreement.stop,
        )
    if metrics is not None:
        run.log.append({"step": run.state.step, **metrics})
        run.accelerator.print(f"\nstep {run.state.step}: {_summary(metrics)}")
        if run.accelerator.is_main_process:
            refresh_run_page(run.config.run.out)
    return metrics


def _summary(metrics: dict[str, float]) -> str:
    """The main metrics, for the terminal."""
    wanted = {
        "validation_loss": "validation loss {:.4f}",
        "control_gap": "control gap {:+.4f}",
        "psnr_inside": "PSNR inside the change {:.2f} dB",
        "psnr_outside": "outside {:.2f} dB",
    }
    return ", ".join(text.format(metrics[name]) for name, text in wanted.items() if name in metrics)


def _is_best(run: Run, loss: float) -> bool:
    checkpoints, step = run.config.run.out / "checkpoints", run.state.step
    return loss < from_main(run.accelerator, lambda: lowest_loss(checkpoints, before=step))


def _save(run: Run, metrics: dict[str, float] | None, best: bool) -> None:
    """Write a checkpoint, then delete old ones that no retention rule keeps."""
    settings, state = run.config.run, run.state
    run.log.check_finite(state.step)
    checkpoints = settings.out / "checkpoints"
    folder = step_folder(checkpoints, state.step)
    description = run.descriptions[run.stage] | {"validation_loss": metrics["validation_loss"] if metrics else None}
    save = state.saving(folder, description, main=run.accelerator.is_main_process)

    def write() -> None:
        with writing(settings.out):
            save()
            if best:
                mark_best(folder)
            delete_old(checkpoints, state.step, keep_last=settings.keep_last, keep_every=settings.keep_every)

    from_main(run.accelerator, write)


def writing(out: Path) -> AbstractContextManager[None]:
    """Only one process at a time writes checkpoints, on any machine: when one is lost, several may try to."""
    return locked(out, name=".writing", wait=True)
