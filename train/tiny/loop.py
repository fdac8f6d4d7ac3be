"""The loop of both stages. It holds no random state: step n always uses the same examples (laws 1 to 3)."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import TypeAdapter
from torch import Tensor, nn
from typing_extensions import TypedDict

from data.commit import commit
from data.documents import Count, read_document
from data.progress import Bar
from models.checkpoint import ADVICE, STATE, CheckpointError, newest_valid, step_folder
from train.config import as_plain, changed_settings
from train.processes.interrupt import Interrupt
from train.saving.retention import delete_old
from train.saving.run_files import read_metrics
from train.saving.run_folder import versions
from train.schedules import ema_decay, learning_rate
from train.tiny.config import StageConfig, TinyConfig
from train.tiny.log import Log, drop_later_metrics
from train.tiny.state import State, new_state
from train.watching.metrics_log import BAR_FORMAT

FREE_ON_RESUME = ("run.", "validation.", "data.folder")
OF_THE_OTHER_STAGE = {
    "autoencoder": ("denoiser.", "networks.unet_", "networks.text_", "networks.vocabulary", "data.caption_"),
    "denoiser": ("autoencoder.", "networks.discriminator_"),
}


class Saved(TypedDict):
    """The fields of state.json that resuming needs."""

    step: Count
    config: dict[str, dict[str, Any]]
    identity: dict[str, str]


SAVED = TypeAdapter(Saved)


class Stage(Protocol):
    """A training stage."""

    name: str
    averaged: tuple[str, ...]  # names of the networks that are averaged
    networks: nn.ModuleDict

    @property
    def settings(self) -> StageConfig:
        """Settings of the optimizer."""

    def backward(self, step: int) -> dict[str, Tensor]:
        """Gradients of a step, a pure function of the weights and the step; the losses by name."""

    def look(self, folder: Path, stop: Callable[[], bool]) -> dict[str, float] | None:
        """Validate the EMA weights; images go into the folder. None if `stop` returned True in between."""

    def publish(self) -> None:
        """Called after a recorded validation, with the EMA weights in place."""


def run_stage(stage: Stage, config: TinyConfig, interrupt: Interrupt, identity: dict[str, str]) -> State | None:
    """Train a stage to its end, from its newest valid checkpoint if there is one.

    Args:
        stage: with fresh weights.
        config: of both stages.
        interrupt: a stop takes effect after the current step, or during a validation.
        identity: hashes of other dependencies of the stage, by name; a checkpoint with others is refused.

    Returns:
        The state after the last step; None if interrupted, with a checkpoint saved.
    """
    out, steps = config.run.out / stage.name, stage.settings.steps
    state = resumed(stage, config, identity)
    description = {"config": as_plain(config), "identity": identity, "versions": versions(), "commit": commit()}
    log = Log(out, state, stage.settings)
    interrupt.at_step_boundaries, saved = True, state.step
    with Bar(total=steps, initial=state.step, desc=stage.name, unit="step", bar_format=BAR_FORMAT) as bar:
        while True:
            finished, stop = state.step == steps, interrupt.requested
            if state.step != saved and (finished or stop or state.step % config.run.save_every == 0):
                log.check_finite()
                state.save(step_folder(out / "checkpoints", state.step), description)
                delete_old(out / "checkpoints", state.step, keep_last=config.run.keep_last, keep_every=0)
                saved = state.step
            if stop:
                return None
            if not look_if_due(stage, config, state, log, interrupt):
                continue  # interrupted
            if finished:
                interrupt.at_step_boundaries = False
                return state
            take_step(stage, state, log)
            bar.update()
            if state.step == steps or state.step % config.run.log_every == 0:
                bar.set_postfix_str(log.write())


def resumed(stage: Stage, config: TinyConfig, identity: dict[str, str]) -> State:
    """The state to resume from; metrics of steps that will be repeated are dropped."""
    out = config.run.out / stage.name
    state = new_state(stage.networks, stage.averaged, stage.settings)
    if start := newest_valid(out / "checkpoints"):
        if _saved(start)["step"] != stage.settings.steps:  # a finished stage stays as it is
            check_same_experiment(start, stage.name, config, identity)
        state.load(start)
        print(f"{stage.name}: resuming from {start}")
    out.mkdir(parents=True, exist_ok=True)
    drop_later_metrics(out, state.step)
    return state


def take_step(stage: Stage, state: State, log: Log) -> None:
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
    # Each network separately: the scale of a discriminator's gradients is unrelated to that of the others.
    norms = {
        f"grad_norm_{name}": nn.utils.clip_grad_norm_(network.parameters(), settings.max_grad_norm)
        for name, network in stage.networks.items()
    }
    state.optimizer.step()
    state.optimizer.zero_grad()
    state.update_average(ema_decay(state.step, limit=settings.ema_decay))
    state.step += 1
    log.add(losses | norms)


def look_if_due(stage: Stage, config: TinyConfig, state: State, log: Log, interrupt: Interrupt) -> bool:
    """Validate the EMA weights, unless done at this step already; False if interrupted."""
    out, every = config.run.out / stage.name, config.validation.every
    due = state.step > 0 and (state.step % every == 0 or state.step == stage.settings.steps)
    if not due or any(line["step"] == state.step and "validation" in line for line in read_metrics(out)):
        return True
    log.check_finite()
    began = time.perf_counter()
    stage.networks.eval()
    with state.averaged():
        found = stage.look(out / "validation" / f"step-{state.step:08d}", lambda: interrupt.requested)
        if found is not None:
            log.append({"validation": found})
            stage.publish()
    stage.networks.train()
    log.began += time.perf_counter() - began  # not training time
    if found is None:
        return False
    Bar.write(f"{stage.name}, step {state.step}: " + ", ".join(f"{name} {x:.4g}" for name, x in found.items()))
    return True


def check_same_experiment(start: Path, stage: str, config: TinyConfig, identity: dict[str, str]) -> None:
    """Check that resuming a checkpoint with this config is the same training; prints what differs.

    Raises:
        CheckpointError: naming every setting that changes the training and is not in `run.resume_allow`.
    """
    state, plain = _saved(start), as_plain(config)
    settings = plain[stage]
    if state["step"] > settings["steps"]:
        raise CheckpointError(f"{start}: is past {stage}.steps {settings['steps']}. Raise it to continue.")
    free = [*FREE_ON_RESUME, *OF_THE_OTHER_STAGE[stage]]
    # The rate decays towards the end: another end means another rate for completed steps.
    if state["step"] <= min(state["config"][stage]["steps"], settings["steps"]) - settings["decay_steps"]:
        free.append(f"{stage}.steps")
    refused = {
        name: f"{name} was {old!r} and is now {new!r}"
        for name, (old, new) in changed_settings(state["config"], plain).items()
    }
    for name, content in identity.items():
        if state["identity"].get(name) != content:
            refused.setdefault(name, f"{name} has different contents than before")
    for name in [name for name in refused if name.startswith(tuple(free)) or name in config.run.resume_allow]:
        print(f"resume: {refused.pop(name)}.")
    if refused:
        raise CheckpointError(
            f"{start}: this is another training: {'; '.join(refused.values())}. Set these back to resume, choose a new "
            f"run.out, or allow them: --run.resume_allow='[{','.join(refused)}]'."
        )


def _saved(folder: Path) -> Saved:
    return read_document(folder / STATE, SAVED, ADVICE, CheckpointError)
