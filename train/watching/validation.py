"""Validation during training: a fixed set of held-out patches with fixed captions, noise and timesteps.

The set follows the rules of training (law 1) with its own seed, so it is the same at every validation, in every
run and for any number of processes. Nothing here affects training: a run with validation equals one without.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from diffusers import SchedulerMixin
from torch import Tensor
from torch.utils.data import default_collate

from data.dataset.open import open_dataset, read_manifest
from data.examples.regions import regions_of
from data.examples.sampler import view_of
from data.examples.similarity import Pixels
from data.imagery.pixels import resize_rgb
from data.progress import Bar
from models.base import Base
from models.denoiser import Denoiser
from models.families.noise import Noise
from models.images import as_pixels, decode, to_unit
from models.sampling import sample
from train.config import Config, ObjectiveConfig
from train.errors import ConfigError
from train.inputs.encode import Batch
from train.inputs.examples import Examples, prepare_examples
from train.inputs.views import Direction
from train.objective import denoising_loss, predict
from train.stages import Stage
from train.watching.monitors import loss_metrics
from train.watching.report import Measured, image_metrics, measure, write_report
from train.watching.trackers import show_picture

SEED = 2**63 - 1  # of the validation set; unlikely as a training seed


class BrokenOff(Exception):
    """A stop was requested during a validation."""


@dataclass(frozen=True)
class ValidationSet:
    """The patches, how they are evaluated, and where the images go."""

    examples: Examples
    patches: Dataset
    base: Base
    sampler: SchedulerMixin
    out: Path
    batch: int  # examples per forward pass
    timesteps: list[int]  # centre of each bin
    images: int
    sampling_steps: int
    controlled: bool  # the trained network is conditioned on the pre image


def open_held_out(config: Config, stages: Sequence[Stage]) -> list[Dataset]:
    """The validation split of every stage; empty if validation is off.

    Raises:
        ConfigError: a dataset has no such split.
    """
    if not config.validation.every:
        return []
    split = config.validation.split
    for stage in stages:
        if split not in (there := read_manifest(stage.dataset)["splits"]):
            raise ConfigError(
                f"validation.split is {split!r}, but {stage.dataset} has only {', '.join(there)}. Name another in "
                "validation.split, train without validation (validation.every: 0), or build the dataset with one: "
                "pre2post build --split-by scene or event, or a source with a hold folder (docs/dataset.md)."
            )
    return [open_dataset(stage.dataset, split, config.data.leave_out) for stage in stages]


def prepare_validation(
    accelerator: Accelerator, config: Config, stage: Stage, base: Base, schedule: Noise, split: Dataset
) -> ValidationSet:
    """Choose the patches, evenly spread over the split, and fill the cache for them.

    Raises:
        ConfigError: a patch lacks a caption style.
    """
    settings = config.validation
    count = min(settings.examples, len(split))
    patches = split.select([row * len(split) // count for row in range(count)])
    direction: Direction = "past" if config.data.direction == "past" else "future"
    plain = replace(
        config,
        data=replace(
            config.data,
            mirror=False,
            caption_dropout=0.0,
            metadata_dropout=0.0,
            metadata_dropout_all=0.0,
            direction=direction,
        ),
        objective=ObjectiveConfig(),
        train=replace(config.train, seed=SEED),
    )
    bins, length = settings.timesteps, schedule.length
    return ValidationSet(
        examples=prepare_examples(accelerator, plain, stage, base, schedule, patches),
        patches=patches,
        base=base,
        sampler=base.load_sampler(zero_terminal_snr=config.objective.zero_terminal_snr),
        out=config.run.out / "validation",
        batch=stage.micro_batch,
        timesteps=[(2 * number + 1) * length // (2 * bins) for number in range(bins)],
        images=min(settings.images, count),
        sampling_steps=settings.sampling_steps,
        controlled=config.model.trained != "lora",
    )


@torch.no_grad()
def validate(
    accelerator: Accelerator,
    held_out: ValidationSet,
    denoiser: Denoiser,
    schedule: Noise,
    encode: Callable[[Batch], Batch],
    step: int,
    stop: Callable[[], bool],
) -> dict[str, float] | None:
    """Validate the networks in their current state.

    Args:
        accelerator: its processes share the work.
        held_out: the validation set.
        denoiser: the trained network, without DDP. It has no dropout, so its mode does not matter.
        schedule: noise process of the base.
        encode: replaces the cache if there is none.
        step: names the folder of the images.
        stop: called after each batch, equally often in all processes; True interrupts.

    Returns:
        The metrics for metrics.jsonl, the same in every process; None if interrupted.
    """

    def go_on() -> None:
        bar.update()
        if stop():
            raise BrokenOff

    def load(ordinals: list[int]) -> Batch:
        batch = default_collate([held_out.examples[ordinal] for ordinal in ordinals])
        return encode({name: x.to(accelerator.device) for name, x in batch.items()})

    loss_batches = _shares(accelerator, len(held_out.patches), held_out.batch)
    image_batches = _shares(accelerator, held_out.images, held_out.batch)
    total = len(loss_batches) * len(held_out.timesteps) + len(image_batches) * held_out.sampling_steps
    try:
        with Bar(total=total, desc="validate", leave=False, disable=not accelerator.is_main_process) as bar:
            found = _losses(held_out, denoiser, schedule, map(load, loss_batches), go_on)
            metrics = _summary(accelerator, held_out, loss_batches, found)
            if held_out.images:
                latents = sample_images(held_out, denoiser, map(load, image_batches), go_on)
                metrics |= _images(accelerator, held_out, image_batches, latents, step)
    except BrokenOff:
        return None
    return metrics


def _shares(accelerator: Accelerator, count: int, size: int) -> list[list[int]]:
    """This process's batches of ordinals. Every process has equally many, all full; some ordinals may occur twice."""
    if not count:
        return []
    whole = accelerator.num_processes * min(size, -(-count // accelerator.num_processes))
    size = whole // accelerator.num_processes
    rounds = -(-count // whole)
    padded = [ordinal % count for ordinal in range(rounds * whole)]
    mine = padded[accelerator.process_index :: accelerator.num_processes]
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def _losses(
    held_out: ValidationSet,
    denoiser: Denoiser,
    schedule: Noise,
    batches: Iterable[Batch],
    go_on: Callable[[], None],
) -> list[list[list[float]]]:
    """The losses of every patch at each timestep, with and without control, all with the same noise."""
    found: list[list[list[float]]] = []
    for batch in batches:
        per_timestep = []
        for timestep in held_out.timesteps:
            batch["timestep"] = torch.full_like(batch["timestep"], timestep)
            _, losses = denoising_loss(denoiser, schedule, batch)
            without = losses
            if held_out.controlled:
                with denoiser.without_control():
                    _, without = denoising_loss(denoiser, schedule, batch)
            per_timestep.append(torch.stack([losses, without]))
            go_on()
        found += torch.stack(per_timestep).permute(2, 1, 0).double().tolist()  # patch, with/without, timestep
    return found


def _summary(
    accelerator: Accelerator, held_out: ValidationSet, batches: list[list[int]], found: list[list[list[float]]]
) -> dict[str, float]:
    """Metrics over the patches of all processes, each counted once."""
    ordinals = [ordinal for batch in batches for ordinal in batch]
    by_patch = dict(gather_object(list(zip(ordinals, found, strict=True))))
    table = np.array([by_patch[ordinal] for ordinal in sorted(by_patch)])
    return loss_metrics(held_out.timesteps, table[:, 0], table[:, 1] if held_out.controlled else None)


def sample_images(
    held_out: ValidationSet, denoiser: Denoiser, batches: Iterable[Batch], go_on: Callable[[], None]
) -> list[Tensor]:
    """Latents of the images, one by one, sampled as by default in `pre2post generate`: DDIM without guidance."""
    made: list[Tensor] = []
    sampler = held_out.sampler
    for batch in batches:
        start = batch["noise"] * sampler.init_noise_sigma
        sampler.set_timesteps(held_out.sampling_steps, device=start.device)
        ask = partial(predict, denoiser, batch=batch)
        made += sample(ask, sampler, start, sampler.timesteps, lambda done, latents: go_on())
    return made


def _images(
    accelerator: Accelerator, held_out: ValidationSet, batches: list[list[int]], latents: list[Tensor], step: int
) -> dict[str, float]:
    """Decode, evaluate, report; the decoder is in memory only here, after everything else."""
    ordinals = [ordinal for batch in batches for ordinal in batch]
    vae = held_out.base.load_vae().to(accelerator.device)
    # One by one: a decoder's activations exceed those of a whole training step.
    images = [as_pixels(to_unit(decode(vae, latent[None])))[0] for latent in latents]
    by_patch = dict(gather_object(list(zip(ordinals, images, strict=True))))
    measured = [_measure(held_out, ordinal, by_patch[ordinal]) for ordinal in sorted(by_patch)]
    if accelerator.is_main_process:
        sheet = write_report(held_out.out, step, measured)
        show_picture(accelerator, "validation/images", sheet, step)
    return image_metrics(measured)


def _measure(held_out: ValidationSet, ordinal: int, generated: Pixels) -> Measured:
    examples = held_out.examples
    view, size = examples.views[view_of(SEED, ordinal, len(examples.views))], examples.recipe.resolution
    row = held_out.patches[view.patch]
    shown, real = (resize_rgb(row[phase], size) for phase in (view.source, view.target))
    if examples.recipe.condition.restores:
        shown = examples[ordinal]["condition"][:3].permute(1, 2, 0).numpy()
    return measure(row["patch_id"], shown, generated, real, regions_of(row, size))
