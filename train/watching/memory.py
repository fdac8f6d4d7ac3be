"""Memory use of a run, and what would fit when it runs out."""

from collections.abc import Callable, Sequence

import torch

from train.config import ModelConfig
from train.errors import TrainingError
from train.processes.replicas import is_sharded
from train.saving.state import TrainState
from train.stages import Stage


def readable(size: float) -> str:
    """Human-readable number of bytes."""
    return f"{size / 1e9:.2f} GB" if size >= 1e8 else f"{size / 1e6:.2f} MB"


def bytes_of(tensors: Sequence[torch.Tensor]) -> int:
    """Bytes of their elements."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def out_of_memory(
    state: TrainState,
    device: torch.device,
    stage: Stage,
    model: ModelConfig,
    losses_of: Callable[[int], torch.Tensor],
) -> TrainingError:
    """The error to raise, after trying which smaller micro-batch fits.

    Args:
        state: its gradients are not modified.
        device: that ran out of memory.
        stage: whose micro-batch did not fit.
        model: which of its activations are already recomputed.
        losses_of: gives the losses of the first n examples of the batch that did not fit.
    """
    setting, lighter = stage.micro_batch_setting, _lighter(model)
    if is_sharded(state.weights):  # a pass on one process would wait for the others
        fix = f"Lower it{f', or set {lighter}' if lighter else ''}."
    elif fitting := next((size for size in smaller(stage.micro_batch) if _fits(state, device, size, losses_of)), None):
        fix = f"Tested: {setting} {fitting} does; the result is the same."
        fix += f" Or set {lighter}." if lighter else ""
    else:
        fix = f"Not even one example does. {f'Set {lighter}, or use' if lighter else 'Use'} a larger device."
        fix += " With train.precision bf16 or a lower data.resolution it is another experiment: use a new run.out."
    return TrainingError(
        f"out of memory: {setting} {stage.micro_batch} does not fit on {device}. {fix} Nothing since the last "
        "checkpoint was saved; run the same command with the new setting to resume from there."
    )


def _lighter(model: ModelConfig) -> str:
    """The setting that saves most activation memory, if not enabled; results stay the same."""
    name = "gradient_checkpointing" if "controlnet" in model.trained else "base_checkpointing"
    return "" if getattr(model, name) else f"model.{name} true"


def smaller(micro_batch: int) -> list[int]:
    """Sizes to try: the divisors, largest first, so that the global batch still divides evenly."""
    return [size for size in range(micro_batch // 2, 0, -1) if micro_batch % size == 0]


def _fits(state: TrainState, device: torch.device, size: int, losses_of: Callable[[int], torch.Tensor]) -> bool:
    """Whether a forward and backward pass fits and leaves room for moments not allocated yet."""
    weights = list(state.denoiser.trained().values())
    try:
        moments = (
            [torch.empty_like(weight) for weight in weights for _ in range(2)] if not state.optimizer.state else []
        )
        # Separate from the step's gradients: those watched by DDP's reducer are not touched.
        torch.autograd.grad(losses_of(size).sum(), weights, allow_unused=True)
        del moments
    except torch.OutOfMemoryError:
        return False
    finally:
        if device.type == "cuda":
            torch.cuda.empty_cache()
    return True
