"""The training loop. It holds no random state: step n always uses the same examples with the same noise."""

from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator, FullyShardedDataParallelPlugin, InitProcessGroupKwargs
from torch import Tensor, nn
from torch.utils.data import DataLoader

from data.examples.sampler import OrdinalBatches
from data.progress import Bar
from data.storage import locked
from models.conditioners.few_bits import few_bit_tensors
from models.cpu.freed_memory import give_back_freed_memory, keep_freed_memory
from models.cpu.threads import set_threads
from train.boundary import Run, at_boundary, validation_is_missing
from train.check import estimates
from train.config import Config
from train.inputs.encode import Batch, encoder_of, unchanged
from train.inputs.examples import Examples, prepare_examples
from train.inputs.recipe import example_prompt, scale_of
from train.lost_peer import noticing_losses
from train.networks import build_denoiser, optimizer_of
from train.objective import denoising_loss
from train.preflight import Checked, check
from train.processes.first_process import from_main
from train.processes.interrupt import EXIT_INTERRUPTED, Agreement, Interrupt, ignore_signals
from train.processes.replicas import is_sharded, join, local, shard, sharding_of, whole, without_sync
from train.processes.self_test import check_equal
from train.saving.run_folder import describe, open_run_folder
from train.saving.state import TrainState, new_state, start_from
from train.schedules import ema_decay, learning_rate
from train.stages import Stage, stage_at
from train.start_card import Planned, cache_size, start_card, what_next
from train.watching.memory import out_of_memory
from train.watching.metrics_log import BAR_FORMAT, MetricsLog, patch_namer
from train.watching.run_page import refresh_run_page
from train.watching.trackers import open_trackers
from train.watching.validation import prepare_validation

MicroBatches = Iterator[tuple[list[int], Batch]]  # ordinals of the examples, and the examples


def train(config: Config) -> int:
    """Train according to the config, from the newest checkpoint if there is one.

    Returns:
        The exit status: 0, or 75 if interrupted with a checkpoint saved.
    """
    with Interrupt() as interrupt, ExitStack() as stack:
        return _train(config, interrupt, stack)


def _train(config: Config, interrupt: Interrupt, stack: ExitStack) -> int:
    keep_freed_memory()
    threads, timeout = set_threads(), timedelta(seconds=config.run.peer_timeout)
    sharding = sharding_of(config.train, config.model.base_bits)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),  # else several processes without GPUs would not find each other
        mixed_precision="no",  # the denoiser does its own casting
        log_with=list(config.run.trackers) or None,
        project_dir=config.run.out,
        kwargs_handlers=[InitProcessGroupKwargs(timeout=timeout)],
    )

    checked = check(accelerator, config, claim=lambda: stack.enter_context(locked(config.run.out)))
    start, step, base, schedule = checked.start, checked.step, checked.base, checked.schedule
    stages, datasets, held_out = checked.stages, checked.datasets, checked.held_out
    missed = from_main(accelerator, lambda: validation_is_missing(config, step))
    if step == config.train.steps and not missed:
        accelerator.print(
            f"{start}: already at step {step}. Raise train.steps to continue training.\n{what_next(config)}"
        )
        return 0
    run_id = from_main(accelerator, lambda: open_run_folder(config, step, accelerator.num_processes))
    from_main(accelerator, lambda: open_trackers(accelerator, config, run_id))

    # Data: the frozen encoders' outputs are computed once and the encoders freed; without a cache they stay loaded.
    examples = [
        prepare_examples(accelerator, config, stage, base, schedule, dataset, views)
        for stage, dataset, views in zip(stages, datasets, checked.captioned, strict=True)
    ]
    validations = [
        prepare_validation(accelerator, config, stage, base, schedule, split)
        for stage, split in zip(stages, held_out, strict=False)  # held_out is empty without validation
    ]
    encode = encoder_of(base, examples[0].recipe, accelerator.device) if config.run.cache_in == "off" else unchanged

    # Networks, restored from the last checkpoint if there is one.
    state = prepare_networks(accelerator, config, checked, sharding)
    if start:
        go_on(accelerator, state, start, step)
    run = Run(
        accelerator=accelerator,
        config=config,
        stages=stages,
        state=state,
        schedule=schedule,
        encode=encode,
        validations=validations,
        log=MetricsLog(accelerator, config.run.out, patch_namer(stages, examples, datasets), state.scaler.is_enabled()),
        descriptions=[
            describe(config, scale=scale_of(dataset, each.recipe.resolution), **checked.identity)
            | {"prompt": example_prompt(dataset.select_columns(["captions"]), config.data)}
            for each, dataset in zip(examples, datasets, strict=True)
        ],
    )
    if accelerator.is_main_process:
        plan = _planned(run, checked, examples)
        print("\n".join([start_card(plan, threads), *estimates(plan, checked, accelerator.device)]))
    interrupt.at_step_boundaries = True
    batches = micro_batches(accelerator, stages, examples, step, config.run.workers)
    return run_steps(run, batches, Agreement(interrupt, accelerator.num_processes, timeout), missed)


def _planned(run: Run, checked: Checked, examples: list[Examples]) -> Planned:
    """What the start card tells of."""
    state, validations = run.state, run.validations
    return Planned(
        config=run.config,
        stages=run.stages,
        processes=run.accelerator.num_processes,
        step=state.step,
        views=[(len(each.views), len(rows)) for each, rows in zip(examples, checked.datasets, strict=True)],
        trained=[local(weight) for weight in state.denoiser.trained().values()],
        frozen=[weight for weight in state.denoiser.parameters() if not weight.requires_grad]
        + few_bit_tensors(state.denoiser),
        sharded=is_sharded(state.weights),
        validated=(len(validations[-1].patches), validations[-1].images) if validations else None,
        cache=cache_size(run.config, examples),
    )


def prepare_networks(
    accelerator: Accelerator, config: Config, checked: Checked, sharding: FullyShardedDataParallelPlugin | None
) -> TrainState:
    """The frozen UNet in the compute type, everything that is trained in float32, and the optimizer; before step 1."""
    device = accelerator.device
    denoiser = build_denoiser(checked.base, config.model, config.train.precision, config.train.seed, device)
    if checked.initial:
        start_from(checked.initial, denoiser)
    check_equal(accelerator, dict(denoiser.named_parameters()), "weights")
    if sharding:
        shard(denoiser, sharding, device)
    return new_state(
        denoiser,
        optimizer_of(list(denoiser.trained().values()), config.train),
        moments=config.train.optimizer,
        keep_ema=config.train.ema_decay > 0,
        scale_loss=config.train.precision == "fp16",
    )


def go_on(accelerator: Accelerator, state: TrainState, start: Path, step: int) -> None:
    """Load a checkpoint, and report what is newly initialised."""
    new = state.load(start, step)
    accelerator.print(f"resuming from {start}{'; newly initialised: ' + ', '.join(new) if new else ''}")
    if not is_sharded(state.weights):
        check_equal(accelerator, state.weights, "weights from the checkpoint")


def micro_batches(
    accelerator: Accelerator, stages: list[Stage], examples: list[Examples], step: int, workers: int
) -> MicroBatches:
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
        if len(ordinals):
            for numbers, batch in zip(ordinals, data_loader(drawn, ordinals, workers), strict=True):
                yield numbers, {name: x.to(accelerator.device, non_blocking=True) for name, x in batch.items()}


def data_loader(examples: Examples, batches: OrdinalBatches, workers: int) -> DataLoader[dict[str, Tensor]]:
    """Micro-batches in the order of their ordinals, prefetched by workers that leave signals to the loop."""
    return DataLoader(
        examples,
        batch_sampler=batches,
        num_workers=workers,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=ignore_signals,
    )


def run_steps(run: Run, batches: MicroBatches, agreement: Agreement, missed: bool) -> int:
    """Optimizer steps from `state.step` to the end; returns as `train` does.

    `missed`: a validation is due before the first step.
    """
    accelerator, config, state = run.accelerator, run.config, run.state
    denoiser = join(accelerator, state.denoiser)
    bar = Bar(
        total=config.train.steps,
        initial=state.step,
        desc="train",
        unit="step",
        bar_format=BAR_FORMAT,
        disable=not accelerator.is_main_process,
    )
    run.log.restart_clock()
    with noticing_losses(run):
        first, stop = state.step, missed and at_boundary(run, agreement, stop=False)
        while state.step < config.train.steps and not stop:
            take_step(run, denoiser, batches, first=state.step == first)
            bar.update()
            if state.step == config.train.steps or state.step % config.run.log_every == 0:
                run.log.write(state, bar)
            stop = at_boundary(run, agreement, agreement.stop())
        agreement.close()
        bar.close()
        if accelerator.is_main_process:
            refresh_run_page(config.run.out)
        accelerator.wait_for_everyone()  # a launcher kills all processes when the first one exits
    accelerator.end_training()
    if not stop:
        accelerator.print(f"\n{what_next(config)}")
        return 0
    accelerator.print(f"\nInterrupted after step {state.step}; saved. Run the same command again to resume.")
    return EXIT_INTERRUPTED


def take_step(run: Run, denoiser: nn.Module, batches: MicroBatches, first: bool) -> None:
    """One optimizer step over this process's share of the global batch; the `first` since startup is self-tested."""
    accelerator, settings, state = run.accelerator, run.config.train, run.state
    stage = run.stages[stage_at(run.stages, state.step)]
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(
            state.step,
            peak=settings.learning_rate,
            steps=settings.steps,
            warmup_steps=settings.warmup_steps,
            decay_steps=settings.decay_steps,
        )
    per_process = stage.global_batch // accelerator.num_processes
    accumulation = per_process // stage.micro_batch
    for micro_step in range(accumulation):
        with run.log.waiting():
            ordinals, batch = next(batches)
        fits = True
        try:
            with nullcontext() if micro_step == accumulation - 1 else without_sync(denoiser):
                losses, plain = losses_of(run, denoiser, batch)
                state.scaler.scale(losses.sum() / per_process).backward()
        except torch.OutOfMemoryError:
            fits = False  # memory referenced by the error is freed outside this block
        if not fits:
            trial = partial(first_losses, run, batch)
            raise out_of_memory(state, accelerator.device, stage, run.config.model, trial)
        run.log.add(ordinals, losses, plain, batch["fingerprint"])
    if first and not is_sharded(state.weights):
        check_equal(accelerator, gradients_of(state.weights), f"gradients of step {state.step + 1}")
    state.scaler.unscale_(state.optimizer)
    norm = whole(nn.utils.clip_grad_norm_(list(state.weights.values()), settings.max_grad_norm))
    run.log.end_step(norm.to(accelerator.device))  # offloaded gradients are on the CPU
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad()
    if state.ema:
        state.update_ema(ema_decay(state.step, limit=settings.ema_decay))
    state.step += 1
    if first:
        give_back_freed_memory()


def gradients_of(weights: dict[str, nn.Parameter]) -> dict[str, Tensor]:
    """The gradients of all weights that have one."""
    return {name: weight.grad for name, weight in weights.items() if weight.grad is not None}


def losses_of(run: Run, denoiser: nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
    """Losses per example, weighted and plain; see `denoising_loss`."""
    return denoising_loss(denoiser, run.schedule, run.encode(batch), min_snr_gamma=run.config.objective.min_snr_gamma)


def first_losses(run: Run, batch: Batch, count: int) -> Tensor:
    """Losses of the first examples of a batch, without DDP or FSDP."""
    return losses_of(run, run.state.denoiser, {name: x[:count] for name, x in batch.items()})[0]
