"""The training loop. It owns no random state: step n always consumes the same examples with the same noise."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from data.dataset import fingerprint, open_dataset
from data.sampler import OrdinalBatches
from models import load_base
from models.checkpoint import step_folder
from train.config import Config, check_batches
from train.encode import Batch, encoder_of, unchanged
from train.examples import Examples, prepare_examples
from train.interrupt import EXIT_INTERRUPTED, Interrupt, ignore_signals
from train.networks import build_denoiser, noise_schedule, optimizer_of
from train.objective import denoising_loss
from train.retention import delete_old
from train.run_folder import METRICS, check_same_experiment, describe, find_start, open_run_folder
from train.schedules import ema_decay, learning_rate
from train.stages import Stage, stage_at, stages_of
from train.state import TrainState, new_state


class TrainingError(RuntimeError):
    """A run that must not go on; the message says where it stands."""


def train(config: Config) -> int:
    """Train as the config says, from the newest checkpoint if there is one.

    Returns:
        The exit status: 0, or 75 if it was interrupted and has saved a checkpoint.
    """
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # else several processes without GPUs would not find each other
        mixed_precision="no",  # the denoiser casts by itself
        log_with=list(config.run.trackers) or None,
        project_dir=config.run.out,
    )

    # Look at everything that can be wrong before any weight is loaded.
    start = find_start(config)
    base, stages = load_base(config.model.base), stages_of(config)
    schedule = noise_schedule(base, config.objective.zero_terminal_snr)
    datasets = [open_dataset(stage.dataset, config.data.split) for stage in stages]
    prints = [fingerprint(stage.dataset) for stage in stages]
    identity = {"base_hash": base.weights_hash("unet"), "dataset_fingerprint": "+".join(prints)}
    step = check_same_experiment(start, config, **identity) if start else 0
    check_batches(config.train, accelerator.num_processes)
    if step == config.train.steps:
        accelerator.print(f"{start}: already at step {step}. Raise train.steps to train longer.")
        return 0
    if accelerator.is_main_process:
        open_run_folder(config, step)
    accelerator.init_trackers("tracker", config={})
    accelerator.wait_for_everyone()

    # Data: everything the frozen encoders say is computed once and they are let go; without a cache they stay.
    examples = [
        prepare_examples(accelerator, config, stage, base, schedule, dataset)
        for stage, dataset in zip(stages, datasets, strict=True)
    ]
    encode = encoder_of(base, examples[0].recipe, accelerator.device) if config.run.cache_in == "off" else unchanged
    batches = micro_batches(accelerator, stages, examples, step, config.run.workers)

    # Networks: the frozen UNet in the compute type, everything that is trained in float32.
    denoiser = build_denoiser(base, config.model, config.train.precision, config.train.seed, accelerator.device)
    state = new_state(
        denoiser,
        optimizer_of(list(denoiser.trained().values()), config.train),
        keep_ema=config.train.ema_decay > 0,
        scale_loss=config.train.precision == "fp16",
    )
    if start:
        state.load(start, step)
        accelerator.print(f"going on from {start}")
    descriptions = [describe(config, resolution=each.recipe.resolution, **identity) for each in examples]
    with Interrupt() as interrupt:
        return run_steps(accelerator, config, stages, state, schedule, batches, encode, interrupt, descriptions)


def micro_batches(
    accelerator: Accelerator, stages: list[Stage], examples: list[Examples], step: int, workers: int
) -> Iterator[Batch]:
    """This process's micro-batches from a step to the end, stage by stage, on the device."""
    for stage, drawn in zip(stages, examples, strict=True):
        first = max(step, stage.first_step)
        ordinals = OrdinalBatches(
            first_step=first,
            last_step=max(first, stage.last_step),
            first_ordinal=stage.ordinal(first),
            global_batch=stage.global_batch,
            micro_batch=stage.micro_batch,
            rank=accelerator.process_index,
            num_processes=accelerator.num_processes,
        )
        for batch in data_loader(drawn, ordinals, workers) if len(ordinals) else []:
            yield {name: x.to(accelerator.device, non_blocking=True) for name, x in batch.items()}


def data_loader(examples: Examples, batches: OrdinalBatches, workers: int) -> DataLoader[dict[str, Tensor]]:
    """Micro-batches in the order of their ordinals, prefetched by processes that leave signals to the loop."""
    return DataLoader(
        examples,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_signals,
    )


def run_steps(
    accelerator: Accelerator,
    config: Config,
    stages: list[Stage],
    state: TrainState,
    schedule: DDPMScheduler,
    batches: Iterator[Batch],
    encode: Callable[[Batch], Batch],
    interrupt: Interrupt,
    descriptions: list[dict[str, Any]],
) -> int:
    """Optimizer steps from `state.step` to the end; see `train` for what is returned."""
    settings = config.train
    denoiser = accelerator.prepare_model(state.denoiser)
    weights = list(state.denoiser.trained().values())
    log = MetricsLog(accelerator, config)
    bar = tqdm(
        total=settings.steps, initial=state.step, desc="train", unit="step", disable=not accelerator.is_main_process
    )

    while state.step < settings.steps:
        number = stage_at(stages, state.step)
        per_process = stages[number].global_batch // accelerator.num_processes
        # One optimizer step over this process's share of the global batch.
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate(
                state.step,
                peak=settings.learning_rate,
                steps=settings.steps,
                warmup_steps=settings.warmup_steps,
                decay_steps=settings.decay_steps,
            )
        accumulation = per_process // stages[number].micro_batch
        for micro_step in range(accumulation):
            batch = encode(next(batches))
            with nullcontext() if micro_step == accumulation - 1 else accelerator.no_sync(denoiser):
                losses, plain = denoising_loss(denoiser, schedule, batch, min_snr_gamma=config.objective.min_snr_gamma)
                state.scaler.scale(losses.sum() / per_process).backward()
            log.add(losses, plain, batch["fingerprint"])
        state.scaler.unscale_(state.optimizer)
        grad_norm = nn.utils.clip_grad_norm_(weights, settings.max_grad_norm)
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.optimizer.zero_grad()
        if state.ema:
            state.update_ema(ema_decay(state.step, limit=settings.ema_decay))
        state.step += 1
        bar.update()

        # Report, save, stop. Several processes agree on a stop at log points, where they meet anyway.
        finished, stop = state.step == settings.steps, interrupt.requested
        if finished or state.step % config.run.log_every == 0:
            stop = log.write(state, grad_norm, stop, bar)
        elif accelerator.num_processes > 1:
            stop = False
        if finished or stop or state.step % config.run.save_every == 0:
            save(accelerator, config, state, descriptions[number])
        if stop and not finished:
            accelerator.print(f"\nInterrupted after step {state.step}; saved. Run the same command again to go on.")
            accelerator.end_training()
            return EXIT_INTERRUPTED
    bar.close()
    accelerator.end_training()
    return 0


def save(accelerator: Accelerator, config: Config, state: TrainState, description: dict[str, Any]) -> None:
    """Write a checkpoint, then delete the oldest ones beyond `run.keep_last`."""
    checkpoints = config.run.out / "checkpoints"
    if accelerator.is_main_process:
        state.save(step_folder(checkpoints, state.step), description)
        delete_old(checkpoints, config.run.keep_last)
    accelerator.wait_for_everyone()


class MetricsLog:
    """Sums on the device between log points; reads them, over all processes, only there (law 8)."""

    def __init__(self, accelerator: Accelerator, config: Config) -> None:
        self.accelerator, self.config = accelerator, config
        self._reset()

    def add(self, losses: Tensor, plain: Tensor, fingerprints: Tensor) -> None:
        """Count one micro-batch: the losses that are minimised, and without weights."""
        self.loss_sum += losses.detach().double().sum()
        self.plain_sum += plain.double().sum()
        self.fingerprint_sum += fingerprints.sum()
        self.examples += len(losses)

    def write(self, state: TrainState, grad_norm: Tensor, stop: bool, bar: "tqdm[Any]") -> bool:
        """Append a line to metrics.jsonl and to the trackers.

        Returns:
            Whether any process was asked to stop.

        Raises:
            TrainingError: the loss is not finite.
        """
        totals = torch.stack([self.loss_sum, self.plain_sum, torch.full_like(self.loss_sum, float(stop))])
        loss_sum, plain_sum, stops = self.accelerator.reduce(totals, "sum").tolist()
        examples = self.examples * self.accelerator.num_processes
        metrics = {
            "step": state.step,
            "loss": loss_sum / examples,
            "loss_plain": plain_sum / examples,
            "learning_rate": state.optimizer.param_groups[0]["lr"],
            "grad_norm": grad_norm.item(),
            "examples_per_second": examples / (time.perf_counter() - self.started),
            # Equal for equal examples, noise and timesteps, whatever the number of processes, workers, micro-batches.
            "fingerprint": f"{self.accelerator.reduce(self.fingerprint_sum, 'sum').item():x}",
        }
        self._reset()
        # With fp16 a gradient may overflow: the step was left out and the next ones are scaled less.
        watched = [metrics["loss"]] if state.scaler.is_enabled() else [metrics["loss"], metrics["grad_norm"]]
        if not all(torch.isfinite(torch.tensor(watched))):
            raise TrainingError(
                f"step {state.step}: loss {metrics['loss']}, gradient norm {metrics['grad_norm']}. Nothing was saved "
                f"since the last checkpoint in {self.config.run.out / 'checkpoints'}. Lower train.learning_rate, or "
                "train.precision fp32."
            )
        if self.accelerator.is_main_process:
            with (self.config.run.out / METRICS).open("a") as file:
                file.write(json.dumps(metrics) + "\n")
        numbers = {name: value for name, value in metrics.items() if isinstance(value, float)}
        self.accelerator.log(numbers, step=state.step)
        bar.set_postfix(loss=f"{metrics['loss']:.4f}")
        return bool(stops > 0)

    def _reset(self) -> None:
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=self.accelerator.device)
        self.plain_sum = torch.zeros_like(self.loss_sum)
        self.fingerprint_sum = torch.zeros((), dtype=torch.int64, device=self.accelerator.device)
        self.examples, self.started = 0, time.perf_counter()
