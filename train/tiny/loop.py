"""The loop of both stages. It owns no random state: step n always draws the same examples (laws 1 to 3)."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from tqdm import tqdm

from models.checkpoint import CheckpointError, newest_valid, read_state, step_folder
from train.config import as_plain, changed_settings
from train.errors import TrainingError
from train.interrupt import Interrupt
from train.metrics_log import BAR_FORMAT
from train.retention import delete_old
from train.run_folder import METRICS, commit, read_metrics, versions
from train.schedules import ema_decay, learning_rate
from train.tiny.config import StageConfig, TinyConfig
from train.tiny.state import State, new_state

FREE_ON_RESUME = ("run.", "validation.", "data.folder")
STAGES = ("autoencoder", "denoiser")


class Stage(Protocol):
    """What is trained, and how."""

    name: str
    averaged: tuple[str, ...]  # names of the networks that are averaged
    settings: StageConfig
    networks: nn.ModuleDict

    def backward(self, step: int) -> dict[str, Tensor]:
        """Gradients of a step, a pure function of the weights and the step; the losses by name."""

    def look(self, folder: Path, stop: Callable[[], bool]) -> dict[str, Any] | None:
        """Measure; sheets go into the folder. None if `stop` said so in between."""


def run_stage(stage: Stage, config: TinyConfig, interrupt: Interrupt, identity: dict[str, str]) -> State | None:
    """Train a stage to its end, from its newest valid checkpoint if there is one.

    Args:
        stage: with fresh weights.
        config: of both.
        interrupt: a stop that it notes is heeded after the step under way.
        identity: what else the stage depends on, for state.json; a checkpoint that depended on other things is refused.

    Returns:
        The state at the last step; None if it was stopped, and has saved.
    """
    out, steps = config.run.out / stage.name, stage.settings.steps
    state = new_state(stage.networks, stage.averaged, stage.settings)
    start = newest_valid(out / "checkpoints")
    if start:
        check_same_experiment(start, stage.name, config, identity)
        state.load(start)
        print(f"{stage.name}: going on from {start}")
    out.mkdir(parents=True, exist_ok=True)
    drop_later_metrics(out, state.step)
    log = Log(out, state, stage.settings)
    description = {"config": as_plain(config), "identity": identity, "versions": versions(), "commit": commit()}
    interrupt.at_step_boundaries = True
    with tqdm(total=steps, initial=state.step, desc=stage.name, unit="step", bar_format=BAR_FORMAT) as bar:
        while True:
            looked = look_if_due(stage, config, state, log, interrupt)
            finished, stop = state.step == steps and looked, interrupt.requested
            saved = start is not None and state.step == read_state(start)["step"]
            if not saved and (state.step in (steps, 0) or stop or state.step % config.run.save_every == 0):
                log.check_finite()
                folder = step_folder(out / "checkpoints", state.step)
                state.save(folder, description)
                delete_old(out / "checkpoints", state.step, keep_last=config.run.keep_last, keep_every=0)
                start = folder
            if finished or stop:
                break
            take_step(stage, state, log)
            bar.update()
            if state.step == steps or state.step % config.run.log_every == 0:
                bar.set_postfix_str(log.write())
    return state if finished else None


def take_step(stage: Stage, state: State, log: "Log") -> None:
    """One optimizer step."""
    settings = stage.settings
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(
            state.step,
            peak=settings.learning_rate,
            steps=settings.steps,
            warmup_steps=settings.warmup_steps,
            decay_steps=settings.decay_steps,
        )
    losses = stage.backward(state.step)
    # Each network by itself: a discriminator's gradients say nothing of what the others' should be.
    norms = {name: nn.utils.clip_grad_norm_(net.parameters(), settings.max_grad_norm) for name, net in stage.networks.items()}
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.update_average(ema_decay(state.step, limit=settings.ema_decay))
    state.step += 1
    log.add(losses | {f"grad_norm_{name}": norm for name, norm in norms.items()})


def look_if_due(stage: Stage, config: TinyConfig, state: State, log: "Log", interrupt: Interrupt) -> bool:
    """Measure the averaged weights, unless that was done at this step; whether nothing is left to be measured."""
    out, every = config.run.out / stage.name, config.validation.every
    due = state.step > 0 and (state.step % every == 0 or state.step == stage.settings.steps)
    if not due or any(line["step"] == state.step and "validation" in line for line in read_metrics(out)):
        return True
    log.check_finite()
    began = time.perf_counter()
    stage.networks.eval()
    with state.averaged():
        found = stage.look(out / "validation" / f"step-{state.step:08d}", lambda: interrupt.requested)
    stage.networks.train()
    log.began += time.perf_counter() - began  # no training
    if found is not None:
        log.append({"validation": found})
        brief = {name: value for name, value in found.items() if isinstance(value, float)}
        tqdm.write(f"{stage.name}, step {state.step}: " + ", ".join(f"{key} {x:.4g}" for key, x in brief.items()))
    return found is not None


def check_same_experiment(start: Path, stage: str, config: TinyConfig, identity: dict[str, str]) -> None:
    """Whether going on from a checkpoint with this config means the same training; prints what differs.

    Raises:
        CheckpointError: naming every setting that changes the meaning and is not in `run.resume_allow`.
    """
    state, plain = read_state(start), as_plain(config)
    settings = plain[stage]
    if state["step"] > settings["steps"]:
        raise CheckpointError(f"{start}: is past {stage}.steps {settings['steps']}. Raise it to go on.")
    changes = changed_settings(state["config"], plain)
    undecayed = state["step"] <= min(state["config"][stage]["steps"], settings["steps"]) - settings["decay_steps"]
    free = (*FREE_ON_RESUME, *(f"{other}." for other in STAGES if other != stage))
    if undecayed:
        free = (*free, f"{stage}.steps")
    refused = {name: f"{name} was {old!r} and is now {new!r}" for name, (old, new) in changes.items()}
    refused |= {
        name: f"{name} has other contents than before" for name in identity if state["identity"][name] != identity[name]
    }
    for name in [name for name in refused if name.startswith(free) or name in config.run.resume_allow]:
        print(f"resume: {refused.pop(name)}.")
    if refused:
        raise CheckpointError(
            f"{start}: this is another training: {'; '.join(refused.values())}. Set these back to resume, choose a new "
            f"run.out, or allow them: --run.resume_allow='[{','.join(refused)}]'."
        )


def drop_later_metrics(out: Path, step: int) -> None:
    """Metrics of steps that will be done again are dropped."""
    kept = [line for line in read_metrics(out) if line["step"] <= step]
    shorter = out / f".{METRICS}"
    shorter.write_text("".join(f"{json.dumps(line)}\n" for line in kept))
    shorter.replace(out / METRICS)


class Log:
    """metrics.jsonl of a stage. Losses are read at log points only (law 8)."""

    def __init__(self, out: Path, state: State, settings: StageConfig) -> None:
        self.out, self.state, self.settings = out, state, settings
        self.pending: list[dict[str, Tensor]] = []
        self.began = time.perf_counter()

    def add(self, losses: dict[str, Tensor]) -> None:
        """Of one step."""
        self.pending.append({name: loss.detach() for name, loss in losses.items()})

    def check_finite(self) -> None:
        """Before anything is saved or measured.

        Raises:
            TrainingError: a loss or gradient since the last log point is not finite.
        """
        first = self.state.step - len(self.pending)
        for number, losses in enumerate(self.pending, start=first + 1):
            if bad := [name for name, loss in losses.items() if not math.isfinite(loss.item())]:
                raise TrainingError(
                    f"step {number} of {self.out.name}: {', '.join(bad)} is not finite. Nothing was saved since. Lower "
                    f"{self.out.name}.learning_rate or set {self.out.name}.precision to fp32, then run the same command."
                )

    def write(self) -> str:
        """A line of means since the last one; what the progress bar says."""
        self.check_finite()
        seconds = time.perf_counter() - self.began
        means = {
            name: torch.stack([losses[name] for losses in self.pending if name in losses]).double().mean().item()
            for name in self.pending[-1]
        }
        speed = len(self.pending) * self.settings.batch / seconds
        rate = self.state.optimizer.param_groups[0]["lr"]
        samples = self.state.step * self.settings.batch
        self.append({**means, "learning_rate": rate, "samples": samples, "examples_per_second": speed})
        self.pending, self.began = [], time.perf_counter()
        losses = ", ".join(f"{name} {value:.4f}" for name, value in list(means.items())[:2])
        return f"{losses}, {speed:.1f} examples/s"

    def append(self, metrics: dict[str, Any]) -> None:
        """One line, with the step."""
        with (self.out / METRICS).open("a") as file:
            file.write(json.dumps({"step": self.state.step, **metrics}) + "\n")
