"""The summary that a run prints before its first step."""

from collections.abc import Sequence

from torch import Tensor

from train.boundary import Run
from train.inputs.cache import FileCache
from train.inputs.examples import Examples
from train.processes.replicas import is_sharded, local
from train.stages import Stage
from train.watching.memory import bytes_of, readable


def start_card(run: Run, examples: Sequence[Examples], threads: str) -> str:
    """A few lines: what is trained, on how much data, for how long, with how much memory and how many threads."""
    each_stage = [_examples(run, stage, each) for stage, each in zip(run.stages, examples, strict=True)]
    rows = {
        "trained": f"{run.config.model.trained}, {_size(_trained(run))}",
        "frozen": f"UNet, {_size(_frozen(run))}",
        "examples": "; then ".join(each_stage),
        "steps": f"{run.config.train.steps:,} in total, {run.state.step:,} done; {_epochs(run, examples):,.1f} epochs",
        "memory": _memory(run),
        "cache": _cache(run, examples),
        "validation": _validation(run),
        "threads": threads,
    }
    return "\n".join(f"{name:<11}{text}" for name, text in rows.items())


def _trained(run: Run) -> list[Tensor]:
    return list(run.state.denoiser.trained().values())


def _frozen(run: Run) -> list[Tensor]:
    return [weight for weight in run.state.denoiser.parameters() if not weight.requires_grad]


def _size(weights: Sequence[Tensor]) -> str:
    kind = str(weights[0].dtype).removeprefix("torch.")
    return f"{sum(weight.numel() for weight in weights):,} parameters in {kind}"


def _examples(run: Run, stage: Stage, examples: Examples) -> str:
    processes = run.accelerator.num_processes
    rounds = stage.global_batch // (processes * stage.micro_batch)
    return (
        f"{len(examples.views):,} views of {len(examples.images):,} patches in an epoch; a step takes "
        f"{stage.global_batch}: {processes} process(es) x {rounds} micro-batch(es) of {stage.micro_batch}"
    )


def _epochs(run: Run, examples: Sequence[Examples]) -> float:
    return sum(
        (stage.last_step - stage.first_step) * stage.global_batch / len(each.views)
        for stage, each in zip(run.stages, examples, strict=True)
    )


def _memory(run: Run) -> str:
    """Memory without activations, which depend on kernels: `peak_memory_gb` in metrics.jsonl is the total."""
    trained = bytes_of([local(weight) for weight in _trained(run)])
    moments = trained // 2 if run.config.train.optimizer == "adamw8bit" else 2 * trained
    parts = {
        "frozen weights": bytes_of(_frozen(run)),
        "trained weights": trained,
        "gradients": trained,
        "optimizer": moments,
        "average": bytes_of([local(average) for average in run.state.ema.values()]),
    }
    listed = ", ".join(f"{name} {readable(size)}" for name, size in parts.items() if size)
    sharded = " (trained weights sharded by FSDP2)" if is_sharded(run.state.weights) else ""
    return f"{readable(sum(parts.values()))} per process without activations: {listed}{sharded}"


def _cache(run: Run, examples: Sequence[Examples]) -> str:
    match run.config.run.cache_in:
        case "off":
            return "off: VAE and text encoder run in every step"
        case "memory":
            return "in memory"
    caches = [cache for each in examples for cache in (each.latents, each.text) if isinstance(cache, FileCache)]
    size = sum(file.stat().st_size for file in {file for cache in caches for file in cache.files})
    return f"{readable(size)} of latents and captions in {run.config.run.cache}"


def _validation(run: Run) -> str:
    if not run.validations:
        return "none (validation.every is 0)"
    settings, held_out = run.config.validation, run.validations[-1]
    trained = ", WHICH IS TRAINED ON: this loss is not on held-out places" * (settings.split == run.config.data.split)
    return (
        f"{len(held_out.patches)} patches of {settings.split!r} every {settings.every:,} steps, "
        f"{held_out.images} of them with images{trained}"
    )
