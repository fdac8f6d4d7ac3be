"""The summary that a run prints before its first step."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from train.config import Config
from train.inputs.cache import FileCache
from train.inputs.examples import Examples
from train.saving.run_files import METRICS
from train.stages import Stage
from train.watching.memory import bytes_of, readable
from train.watching.run_page import PAGE


@dataclass(frozen=True)
class Planned:
    """What a start card tells of; tensors may be without values."""

    config: Config
    stages: Sequence[Stage]
    processes: int
    step: int  # completed
    views: Sequence[tuple[int, int]]  # views and patches of every stage
    trained: Sequence[Tensor]  # this process's part
    frozen: Sequence[Tensor]
    sharded: bool  # by FSDP2
    validated: tuple[int, int] | None  # patches, and those with images
    cache: str


def start_card(plan: Planned, threads: str) -> str:
    """A few lines: what is trained, on how much data, for how long, with how much memory and how many threads."""
    train, out = plan.config.train, plan.config.run.out
    stages = [_examples(plan, stage, *counts) for stage, counts in zip(plan.stages, plan.views, strict=True)]
    rows = {
        "trained": f"{plan.config.model.trained}, {_size(plan.trained)}{_begins(plan)}",
        "frozen": f"UNet, {_held(plan)}",
        "examples": "; then ".join(stages),
        "steps": f"{train.steps:,} in total, {plan.step:,} done; {_epochs(plan):,.1f} epochs",
        "memory": _memory(plan),
        "cache": plan.cache,
        "validation": _validation(plan),
        "threads": threads,
        "watch": f"tensorboard --logdir {out.parent}, or {out / METRICS}",
    }
    return "\n".join(f"{name:<11}{text}" for name, text in rows.items())


def what_next(config: Config) -> str:
    """Where the result is, and the commands that use it."""
    run, dataset = config.run.out, config.data.dataset
    lines = [f"Trained: the newest checkpoint in {run / 'checkpoints'}, curves and pictures in {run / PAGE}."]
    lines += [f"  pre2post generate --checkpoint {run} --pre {dataset} --limit 8 --out {run}-images"]
    if config.data.direction != "past":  # evaluation compares post images
        lines += [f"  pre2post evaluate --checkpoint {run} --dataset {dataset} --out {run}-scores"]
    return "\n".join(lines)


def _size(weights: Sequence[Tensor]) -> str:
    kind = str(weights[0].dtype).removeprefix("torch.")
    return f"{sum(weight.numel() for weight in weights):,} parameters in {kind}"


def _begins(plan: Planned) -> str:
    start = plan.config.model.start
    return f", starting from the weights of {start}" if start and not plan.step else ""


def _held(plan: Planned) -> str:
    if bits := plan.config.model.base_bits:
        return f"{readable(bytes_of(plan.frozen))}, weights of linear layers in {bits} bits"
    return _size(plan.frozen)


def _examples(plan: Planned, stage: Stage, views: int, patches: int) -> str:
    rounds = stage.global_batch // (plan.processes * stage.micro_batch)
    return (
        f"{views:,} views of {patches:,} patches in an epoch; a step takes {stage.global_batch}: "
        f"{plan.processes} process(es) x {rounds} micro-batch(es) of {stage.micro_batch}"
    )


def _epochs(plan: Planned) -> float:
    return sum(
        (stage.last_step - stage.first_step) * stage.global_batch / views
        for stage, (views, _) in zip(plan.stages, plan.views, strict=True)
    )


def weights_bytes(config: Config, trained: Sequence[Tensor], frozen: Sequence[Tensor]) -> dict[str, int]:
    """Bytes, per process, of everything in memory that depends on the weights alone."""
    size = bytes_of(trained)
    return {
        "frozen weights": bytes_of(frozen),
        "trained weights": size,
        "gradients": size,
        "optimizer": size // 2 if config.train.optimizer == "adamw8bit" else 2 * size,
        "average": size if config.train.ema_decay else 0,
    }


def _memory(plan: Planned) -> str:
    """Memory without activations, which depend on kernels: `peak_memory_gb` in metrics.jsonl is the total."""
    parts = weights_bytes(plan.config, plan.trained, plan.frozen)
    listed = ", ".join(f"{name} {readable(size)}" for name, size in parts.items() if size)
    sharded = " (trained weights sharded by FSDP2)" if plan.sharded else ""
    return f"{readable(sum(parts.values()))} per process without activations: {listed}{sharded}"


def cache_size(config: Config, examples: Sequence[Examples]) -> str:
    """Where the outputs of VAE and text encoder are, and how large."""
    match config.run.cache_in:
        case "off":
            return "off: VAE and text encoder run in every step"
        case "memory":
            return "in memory"
    caches = [cache for each in examples for cache in (each.latents, each.text) if isinstance(cache, FileCache)]
    size = sum(file.stat().st_size for file in {file for cache in caches for file in cache.files})
    return f"{readable(size)} of latents and captions in {config.run.cache}"


def _validation(plan: Planned) -> str:
    if plan.validated is None:
        return "none (validation.every is 0)"
    (patches, images), settings = plan.validated, plan.config.validation
    trained = ", WHICH IS TRAINED ON: this loss is not on held-out places" * (settings.split == plan.config.data.split)
    return (
        f"{patches} patches of {settings.split!r} every {settings.every:,} steps, {images} of them with images{trained}"
    )
