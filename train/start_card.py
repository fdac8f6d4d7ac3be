"""What a run says of itself before its first step."""

from collections.abc import Sequence

from torch import Tensor

from train.boundary import Run
from train.examples import Examples
from train.memory import GB, bytes_of


def start_card(run: Run, examples: Examples) -> str:
    """A few lines: what is trained, on how much, for how long, in how much memory."""
    rows = {
        "trained": f"ControlNet, {_size(list(run.state.controlnet.parameters()))}",
        "frozen": f"UNet, {_size(list(run.unet.parameters()))}",
        "examples": _examples(run, examples),
        "steps": _steps(run, len(examples.views)),
        "memory": _memory(run),
        "cache": _cache(examples),
        "validation": _validation(run),
    }
    return "\n".join(f"{name:<11}{text}" for name, text in rows.items())


def _size(weights: Sequence[Tensor]) -> str:
    kind = str(weights[0].dtype).removeprefix("torch.")
    return f"{sum(weight.numel() for weight in weights):,} parameters in {kind}"


def _examples(run: Run, examples: Examples) -> str:
    settings, processes = run.config.train, run.accelerator.num_processes
    rounds = settings.global_batch // (processes * settings.micro_batch)
    patches = len(examples.pre_images)
    return (
        f"{len(examples.views):,} views of {patches:,} patches in an epoch; a step takes {settings.global_batch}: "
        f"{processes} process(es) x {rounds} micro-batch(es) of {settings.micro_batch}"
    )


def _steps(run: Run, views: int) -> str:
    settings = run.config.train
    epochs = settings.steps * settings.global_batch / views
    return f"{settings.steps:,} in all, {run.state.step:,} done; {epochs:,.1f} epochs"


def _memory(run: Run) -> str:
    """Before activations, which depend on kernels: `peak_memory_gb` in metrics.jsonl has the whole."""
    trained = bytes_of(list(run.state.controlnet.parameters()))
    parts = {
        "frozen weights": bytes_of(list(run.unet.parameters())),
        "trained weights": trained,
        "gradients": trained,
        "optimizer": 2 * trained,
        "average": bytes_of(list(run.state.ema.values())),
    }
    listed = ", ".join(f"{name} {size / GB:.2f}" for name, size in parts.items() if size)
    return f"{sum(parts.values()) / GB:.2f} GB per process before activations: {listed}"


def _cache(examples: Examples) -> str:
    files = {*examples.latents.files, *examples.text.files}
    size = sum(file.stat().st_size for file in files)
    return f"{size / GB:.2f} GB of latents and captions in {next(iter(files)).parents[1]}"


def _validation(run: Run) -> str:
    if run.held_out is None:
        return "none (validation.every is 0)"
    settings = run.config.validation
    return (
        f"{len(run.held_out.patches)} patches of {settings.split!r} every {settings.every:,} steps, "
        f"{run.held_out.images} of them as images"
    )
