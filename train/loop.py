"""The training loop. It owns no random state: step n always consumes the same examples with the same noise."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from data.dataset import fingerprint, open_dataset
from data.sampler import OrdinalBatches, view_of
from models import controlnet_from_unet, load_base
from train.boundary import Run, at_boundary, from_main, validation_is_missing
from train.config import Config, check_batches
from train.examples import Examples, prepare_examples
from train.interrupt import EXIT_INTERRUPTED, Agreement, Interrupt, ignore_signals
from train.memory import out_of_memory
from train.metrics_log import BAR_FORMAT, MetricsLog
from train.objective import denoising_loss
from train.run_folder import check_same_experiment, describe, find_start, open_run_folder
from train.schedules import ema_decay, learning_rate
from train.start_card import start_card
from train.state import new_state
from train.trackers import open_trackers
from train.validation import open_held_out, prepare_validation

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def train(config: Config) -> int:
    """Train as the config says, from the newest checkpoint if there is one.

    Returns:
        The exit status: 0, or 75 if it was interrupted and has saved a checkpoint.
    """
    with Interrupt() as interrupt:
        return _train(config, interrupt)


def _train(config: Config, interrupt: Interrupt) -> int:
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # else several processes without GPUs would not find each other
        mixed_precision={"fp32": "no", "bf16": "bf16"}[config.train.precision],
        log_with=list(config.run.trackers) or None,
        project_dir=config.run.out,
    )

    # Look at everything that can be wrong before any weight is loaded.
    start = from_main(accelerator, lambda: find_start(config))
    base, dataset = load_base(config.model.base), open_dataset(config.data.dataset, config.data.split)
    identity = {"base_hash": base.weights_hash("unet"), "dataset_fingerprint": fingerprint(config.data.dataset)}
    step = from_main(accelerator, lambda: check_same_experiment(start, config, **identity)) if start else 0
    check_batches(config.train, accelerator.num_processes)
    split = open_held_out(config)
    missed = from_main(accelerator, lambda: validation_is_missing(config, step))
    if step == config.train.steps and not missed:
        accelerator.print(f"{start}: already at step {step}. Raise train.steps to train longer.")
        return 0
    if accelerator.is_main_process:
        open_run_folder(config, step)
    open_trackers(accelerator, config)
    accelerator.wait_for_everyone()

    # Data: everything the frozen encoders say is computed once; then they are let go.
    schedule = base.load_noise_schedule()
    examples = prepare_examples(accelerator, config, base, schedule, dataset)
    held_out = prepare_validation(accelerator, config, base, schedule, split) if split else None

    # Networks: the frozen UNet in the compute type, the trained ControlNet in float32.
    unet = base.load_unet(DTYPES[config.train.precision]).to(accelerator.device)
    controlnet = controlnet_from_unet(unet, vae_scale_factor=base.vae_scale_factor, seed=config.train.seed)
    controlnet.to(accelerator.device).train()
    if config.model.gradient_checkpointing:
        controlnet.enable_gradient_checkpointing()
    state = new_state(
        controlnet,
        learning_rate=config.train.learning_rate,
        weight_decay=config.train.weight_decay,
        keep_ema=config.train.ema_decay > 0,
    )
    if start:
        state.load(start, step)
        accelerator.print(f"going on from {start}")
    run = Run(
        accelerator,
        config,
        unet,
        state,
        schedule,
        held_out,
        MetricsLog(accelerator, config.run.out, patch_namer(examples, dataset)),
        describe(config, resolution=examples.resolution, **identity),
    )
    accelerator.print(start_card(run, examples))
    interrupt.at_step_boundaries = True
    return run_steps(run, examples, Agreement(interrupt, accelerator.num_processes), missed)


def data_loader(examples: Examples, batches: OrdinalBatches, workers: int) -> DataLoader[dict[str, Tensor]]:
    """Micro-batches in the order of their ordinals, prefetched by processes that leave signals to the loop."""
    return DataLoader(
        examples,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_signals,
    )


def patch_namer(examples: Examples, dataset: Dataset) -> Callable[[int], str]:
    """Tells the patch that an ordinal shows."""
    names = dataset.select_columns(["patch_id"])
    return lambda ordinal: str(
        names[examples.views[view_of(examples.seed, ordinal, len(examples.views))].patch]["patch_id"]
    )


def run_steps(run: Run, examples: Examples, agreement: Agreement, missed: bool) -> int:
    """Optimizer steps from `state.step` to the end; see `train` for what is returned.

    `missed`: a validation is due before the first of them.
    """
    accelerator, config, state = run.accelerator, run.config, run.state
    batches = OrdinalBatches(
        first_step=state.step,
        last_step=config.train.steps,
        global_batch=config.train.global_batch,
        micro_batch=config.train.micro_batch,
        rank=accelerator.process_index,
        num_processes=accelerator.num_processes,
    )
    micro_batches = zip(batches, data_loader(examples, batches, config.run.workers), strict=True)
    controlnet = accelerator.prepare_model(state.controlnet)
    bar = tqdm(
        total=config.train.steps,
        initial=state.step,
        desc="train",
        unit="step",
        bar_format=BAR_FORMAT,
        disable=not accelerator.is_main_process,
    )
    run.log.restart_clock()
    stop = missed and at_boundary(run, agreement, stop=False)
    while state.step < config.train.steps and not stop:
        take_step(run, controlnet, micro_batches)
        bar.update()
        if state.step == config.train.steps or state.step % config.run.log_every == 0:
            run.log.write(state, bar)
        stop = at_boundary(run, agreement, agreement.stop())
    agreement.close()
    bar.close()
    accelerator.wait_for_everyone()  # a launcher ends all processes when the first one has left
    accelerator.end_training()
    if not stop:
        return 0
    accelerator.print(f"\nInterrupted after step {state.step}; saved. Run the same command again to go on.")
    return EXIT_INTERRUPTED


def take_step(run: Run, controlnet: nn.Module, micro_batches: Iterator[tuple[list[int], dict[str, Tensor]]]) -> None:
    """One optimizer step over this process's share of the global batch."""
    accelerator, settings, state = run.accelerator, run.config.train, run.state
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(
            state.step,
            peak=settings.learning_rate,
            steps=settings.steps,
            warmup_steps=settings.warmup_steps,
            decay_steps=settings.decay_steps,
        )
    per_process = settings.global_batch // accelerator.num_processes
    accumulation = per_process // settings.micro_batch
    for micro_step in range(accumulation):
        with run.log.waiting():
            ordinals, batch = next(micro_batches)
        batch = {name: x.to(accelerator.device, non_blocking=True) for name, x in batch.items()}
        fits = True
        try:
            with nullcontext() if micro_step == accumulation - 1 else accelerator.no_sync(controlnet):
                losses = denoising_loss(run.unet, controlnet, run.schedule, batch)
                accelerator.backward(losses.sum() / per_process)
        except torch.OutOfMemoryError:
            fits = False  # what the error holds on to is free again outside of this block
        if not fits:
            raise out_of_memory(state, accelerator.device, settings.micro_batch, partial(first_losses, run, batch))
        run.log.add(ordinals, losses, batch["fingerprint"])
    run.log.end_step(nn.utils.clip_grad_norm_(state.controlnet.parameters(), settings.max_grad_norm))
    state.optimizer.step()
    state.optimizer.zero_grad()
    if state.ema:
        state.update_ema(ema_decay(state.step, limit=settings.ema_decay))
    state.step += 1


def first_losses(run: Run, batch: dict[str, Tensor], count: int) -> Tensor:
    """Of the first examples of a batch, outside of what joins the processes."""
    return denoising_loss(run.unet, run.state.controlnet, run.schedule, {name: x[:count] for name, x in batch.items()})
