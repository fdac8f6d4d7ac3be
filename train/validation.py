"""Validation while training: a fixed set of held-out patches with fixed captions, noise and timesteps.

The set is made by the rules of training (law 1) with a seed of its own, so it is the same at every validation, in every
run and for any number of processes. Nothing here touches what training uses: a run with validation equals one without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor
from torch.utils.data import default_collate
from tqdm import tqdm

from data.dataset import open_dataset
from data.pixels import resize_rgb
from data.regions import regions_of
from data.sampler import view_of
from data.similarity import Pixels
from models.base import Base
from train.config import Config
from train.examples import Examples, prepare_examples
from train.monitors import loss_metrics
from train.objective import denoising_loss, predict
from train.sampling import decode, sample
from train.trackers import show_picture
from train.validation_report import Measured, image_metrics, measure, write_report

SEED = 2**63 - 1  # of the validation set; no training seed is likely to be it


class BrokenOff(Exception):
    """A stop was asked for in the middle of a validation."""


@dataclass(frozen=True)
class ValidationSet:
    """The patches, how they are measured, and where the images go."""

    examples: Examples
    patches: Dataset
    base: Base
    out: Path
    batch: int  # examples of one forward pass
    timesteps: list[int]  # middle of each bin
    images: int
    sampling_steps: int


def open_held_out(config: Config) -> Dataset | None:
    """The split to measure on; None if validation is off.

    Raises:
        DataError: the dataset has no such split.
    """
    return open_dataset(config.data.dataset, config.validation.split) if config.validation.every else None


def prepare_validation(
    accelerator: Accelerator, config: Config, base: Base, schedule: DDPMScheduler, split: Dataset
) -> ValidationSet:
    """Choose the patches, evenly spread over the split, and fill the cache for them.

    Raises:
        ConfigError: a patch lacks the caption style.
    """
    settings = config.validation
    count = min(settings.examples, len(split))
    patches = split.select([row * len(split) // count for row in range(count)])
    unchanged = replace(
        config,
        data=replace(config.data, mirror=False, caption_dropout=0.0),
        train=replace(config.train, seed=SEED),
    )
    bins, length = settings.timesteps, schedule.config.num_train_timesteps
    return ValidationSet(
        examples=prepare_examples(accelerator, unchanged, base, schedule, patches),
        patches=patches,
        base=base,
        out=config.run.out / "validation",
        batch=config.train.micro_batch,
        timesteps=[(2 * number + 1) * length // (2 * bins) for number in range(bins)],
        images=min(settings.images, count),
        sampling_steps=settings.sampling_steps,
    )


@torch.no_grad()
def validate(
    accelerator: Accelerator,
    held_out: ValidationSet,
    unet: UNet2DConditionModel,
    controlnet: torch.nn.Module,
    schedule: DDPMScheduler,
    step: int,
    stop: Callable[[], bool],
) -> dict[str, float] | None:
    """Measure the networks as they are.

    Args:
        accelerator: its processes share the work.
        held_out: what to measure on.
        unet: frozen.
        controlnet: trained, without what joins the processes.
        schedule: noise schedule of the base.
        step: names the folder of the images.
        stop: asked after each batch, by all processes equally often; True breaks off.

    Returns:
        The numbers for metrics.jsonl, the same in every process; None if it was broken off.
    """

    def go_on() -> None:
        bar.update()
        if stop():
            raise BrokenOff

    networks = unet, controlnet
    loss_batches = _shares(accelerator, len(held_out.patches), held_out.batch)
    image_batches = _shares(accelerator, held_out.images, held_out.batch)
    total = len(loss_batches) * len(held_out.timesteps) + len(image_batches) * held_out.sampling_steps
    controlnet.eval()
    try:
        with tqdm(total=total, desc="validate", leave=False, disable=not accelerator.is_main_process) as bar:
            metrics = _losses(accelerator, held_out, networks, schedule, loss_batches, go_on)
            if held_out.images:
                metrics |= _images(accelerator, held_out, networks, image_batches, step, go_on)
    except BrokenOff:
        return None
    finally:
        controlnet.train()
    return metrics


def _shares(accelerator: Accelerator, count: int, size: int) -> list[list[int]]:
    """This process's batches of ordinals. Every process has equally many, all full; some ordinals may come twice."""
    if not count:
        return []
    whole = accelerator.num_processes * min(size, -(-count // accelerator.num_processes))
    size = whole // accelerator.num_processes
    rounds = -(-count // whole)
    padded = [ordinal % count for ordinal in range(rounds * whole)]
    mine = padded[accelerator.process_index :: accelerator.num_processes]
    return [mine[start : start + size] for start in range(0, len(mine), size)]


def _load(held_out: ValidationSet, ordinals: Sequence[int], device: torch.device) -> dict[str, Tensor]:
    batch = default_collate([held_out.examples[ordinal] for ordinal in ordinals])
    return {name: x.to(device) for name, x in batch.items()}


def _losses(
    accelerator: Accelerator,
    held_out: ValidationSet,
    networks: tuple[UNet2DConditionModel, torch.nn.Module],
    schedule: DDPMScheduler,
    batches: list[list[int]],
    go_on: Callable[[], None],
) -> dict[str, float]:
    """Loss and control gap at every timestep; the noise of a patch is the same at all of them."""
    unet, controlnet = networks
    found: list[tuple[int, list[list[float]]]] = []
    for ordinals in batches:
        batch = _load(held_out, ordinals, accelerator.device)
        per_timestep = []
        for timestep in held_out.timesteps:
            batch["timestep"] = torch.full_like(batch["timestep"], timestep)
            pair = [denoising_loss(unet, net, schedule, batch) for net in (controlnet, _without_control(controlnet))]
            per_timestep.append(torch.stack(pair))
            go_on()
        losses = torch.stack(per_timestep).permute(2, 1, 0).double().tolist()  # patch, with/without, timestep
        found += zip(ordinals, losses, strict=True)
    by_patch = dict(gather_object(found))
    table = np.array([by_patch[ordinal] for ordinal in sorted(by_patch)])
    return loss_metrics(held_out.timesteps, table[:, 0], table[:, 1])


def _without_control(controlnet: torch.nn.Module) -> Callable[..., Any]:
    """The same ControlNet with its residuals at zero: the base alone."""
    return lambda *inputs, **options: controlnet(*inputs, conditioning_scale=0.0, **options)


def _images(
    accelerator: Accelerator,
    held_out: ValidationSet,
    networks: tuple[UNet2DConditionModel, torch.nn.Module],
    batches: list[list[int]],
    step: int,
    go_on: Callable[[], None],
) -> dict[str, float]:
    """Generate and measure; the decoder is in memory only here, after everything else is done."""
    sampler = held_out.base.load_sampler()
    latents: dict[int, Tensor] = {}
    for ordinals in batches:
        batch = _load(held_out, ordinals, accelerator.device)
        ask = partial(_predict, networks, batch)
        made = sample(ask, sampler, batch["noise"], held_out.sampling_steps, go_on)
        latents |= zip(ordinals, made, strict=True)
    vae = held_out.base.load_vae().to(accelerator.device)
    images = decode(vae, torch.stack(list(latents.values())))
    by_patch = dict(gather_object(list(zip(latents, images, strict=True))))
    measured = [_measure(held_out, ordinal, by_patch[ordinal]) for ordinal in sorted(by_patch)]
    if accelerator.is_main_process:
        sheet = write_report(held_out.out, step, measured)
        show_picture(accelerator, "validation", sheet, step)
    return image_metrics(measured)


def _predict(
    networks: tuple[UNet2DConditionModel, torch.nn.Module], batch: dict[str, Tensor], noisy: Tensor, timesteps: Tensor
) -> Tensor:
    return predict(*networks, noisy, timesteps, batch)


def _measure(held_out: ValidationSet, ordinal: int, generated: Pixels) -> Measured:
    examples = held_out.examples
    row = held_out.patches[examples.views[view_of(SEED, ordinal, len(examples.views))].patch]
    pre, real = (resize_rgb(row[phase], examples.resolution) for phase in ("pre", "post"))
    return measure(row["patch_id"], pre, generated, real, regions_of(row, examples.resolution))
