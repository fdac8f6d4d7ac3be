"""What a run will take: memory, seconds and disk, by rules over counts of its networks' work. Nothing is computed.

The rules and their constants are estimates; docs/recipes.md holds them against measured runs.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from models.denoiser import Denoiser
from models.images import condition_latents
from train.config import Config
from train.inputs.recipe import Recipe
from train.stages import Stage

PASSES = 16  # times that what a forward pass keeps travels through memory in a step: written, read, and its gradients
UPDATE_BYTES = 40  # per trained weight and step: gradient, two moments and weight in float32, read and written
OVERHEAD_GB, OVERHEAD_SHARE = 1.0, 0.1  # of libraries and kernels; of blocks too small to be used, and temporary copies
REACHED = {
    "cuda": 0.35
}  # share of the rate of large matrix products that the small ones of a UNet reach; an assumption


@dataclass(frozen=True)
class Work:
    """The work of one example, by counts that depend on networks and resolution alone."""

    flops: float  # of forward and backward pass, with what is recomputed
    kept: float  # values that the forward pass keeps for the backward pass, without those of attention kernels
    recomputed: float  # of the largest block whose values are recomputed; 0 without checkpointing


@dataclass(frozen=True)
class Speed:
    """Of a device."""

    flops: float  # per second, in networks
    bandwidth: float  # bytes per second, reading and writing counted


def work_of(denoiser: Denoiser, recipe: Recipe, config: Config, told: Mapping[str, Tensor]) -> Work:
    """Count one example on meta tensors: what the forward pass keeps, the operations of forward and backward pass.

    Args:
        denoiser: on the meta device, see `train.networks.meta_denoiser`.
        recipe: the shapes of its inputs.
        config: what is recomputed.
        told: of a caption, see `Base.empty_told`.
    """
    side, sequence = recipe.resolution, recipe.sequence
    pixels = (3 * sequence if sequence > 1 else recipe.condition.channels, side, side)
    with torch.device("meta"):
        noisy, timesteps = torch.empty(1, *recipe.latent_shape), torch.empty(1, dtype=torch.int64)
        shown = torch.empty(1, *pixels)
        shown = condition_latents(noisy, shown) if recipe.condition.latents else shown
        metadata = {"metadata": torch.empty(1, 7), "cond_metadata": torch.empty((1, 7, sequence)[: 2 + (sequence > 1)])}
        inputs = {"noisy": noisy, "timesteps": timesteps, "condition": shown, **metadata, **told}
        inputs |= recipe.placed(torch.empty(1, 6))
    forward, backward = FlopCounterMode(display=False), FlopCounterMode(display=False)
    kept = Kept(denoiser, forward)
    for network, recompute in (
        (denoiser.controlnet, config.model.gradient_checkpointing),
        (denoiser.unet, config.model.base_checkpointing),
    ):
        if network is not None and recompute:
            network.enable_gradient_checkpointing(kept.checkpoint)
    with forward, kept, torch.autograd.graph.saved_tensors_hooks(kept.note, lambda tensor: tensor):
        predicted = denoiser(**inputs)
    with backward, Shapes():  # type: ignore[no-untyped-call]
        predicted.sum().backward()
    flops = forward.get_total_flops() + backward.get_total_flops() + kept.again
    return Work(float(flops), kept.values, kept.largest)


def _group_norm(x: Tensor, weight: Any, bias: Any, n: int, c: int, cells: int, groups: int, eps: float) -> Any:  # noqa: ANN401
    return torch.empty_like(x), x.new_empty(n, groups), x.new_empty(n, groups)


def _layer_norm(x: Tensor, shape: list[int], *_: Any) -> Any:  # noqa: ANN401
    rows = x.new_empty(*x.shape[: x.ndim - len(shape)], *[1] * len(shape))
    return torch.empty_like(x), rows, torch.empty_like(rows)


def _norm_backward(grad: Tensor, x: Tensor, *rest: Any) -> Any:  # noqa: ANN401
    weight = next((one for one in rest[2:5] if isinstance(one, Tensor) and one.ndim == 1), x)
    return tuple(
        torch.empty_like(like) if wanted else None for like, wanted in zip((x, weight, weight), rest[-1], strict=True)
    )


# PyTorch finds the shapes of these on meta tensors by operations in Python, which took half the time of an estimate.
SHAPES: dict[Any, Callable[..., Any]] = {
    torch.ops.aten._safe_softmax.default: lambda x, *_, **__: torch.empty_like(x),
    torch.ops.aten.native_group_norm.default: _group_norm,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten.native_group_norm_backward.default: _norm_backward,
    torch.ops.aten.native_layer_norm_backward.default: _norm_backward,
}


class Shapes(TorchDispatchMode):
    """Shapes of SHAPES without their operations, none of which counts as one."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """See torch."""
        return SHAPES.get(function, function)(*args, **(kwargs or {}))


class Kept(TorchDispatchMode):
    """Counts what autograd keeps: each piece of memory once, weights not at all."""

    def __init__(self, denoiser: Denoiser, counter: FlopCounterMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = {_memory(weight) for weight in denoiser.state_dict(keep_vars=True).values()}
        self.values, self.largest, self.inside = 0.0, 0.0, 0.0
        self.counter, self.again = counter, 0  # operations of the forward pass, and those that are done twice
        self.tensors: list[Tensor] = []  # kept, so that no memory is given out twice

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ANN401
        """See torch. The kernels of attention keep no probabilities, which only the meta device computes."""
        out = SHAPES.get(function, function)(*args, **(kwargs or {}))
        if function is torch.ops.aten._softmax.default:
            self._count(out)
        return out

    def note(self, tensor: Tensor) -> Tensor:
        """Autograd keeps this."""
        self.values += self._count(tensor)
        return tensor

    def checkpoint(self, function: Callable[..., Any], *args: Any) -> Any:  # noqa: ANN401 (as diffusers calls it)
        """Keep the arguments of a block; what it keeps itself exists once at a time."""
        for tensor in args:
            if isinstance(tensor, Tensor):
                self.note(tensor)
        self.inside, before = 0.0, self.counter.get_total_flops()
        with torch.autograd.graph.saved_tensors_hooks(self._note_inside, lambda tensor: tensor):
            out = function(*args)
        self.largest = max(self.largest, self.inside)
        if any(isinstance(leaf, Tensor) and leaf.requires_grad for leaf in tree_leaves(out)):
            self.again += self.counter.get_total_flops() - before
        return out

    def _note_inside(self, tensor: Tensor) -> Tensor:
        self.inside += self._count(tensor)
        return tensor

    def _count(self, tensor: Tensor) -> int:
        memory = _memory(tensor)
        if memory in self.seen:
            return 0
        self.seen.add(memory)
        self.tensors.append(tensor)
        return tensor.untyped_storage().nbytes() // tensor.element_size()


def _memory(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)


def memory_gb(
    work: Work, stage: Stage, weights: dict[str, int], dtype: torch.dtype, processes: int, *, on_gpu: bool
) -> float:
    """Peak memory of a process.

    Gradients and what the forward pass keeps exist at the same time only if there are several micro-batches: otherwise
    the one grows while the other shrinks.

    Args:
        work: of one example.
        stage: its batches.
        weights: bytes of what depends on the weights alone, `gradients` among them.
        dtype: that is computed in.
        processes: of the run.
        on_gpu: where autocast keeps a copy of the trained weights in 16 bits.
    """
    kept = (work.kept + work.recomputed) * stage.micro_batch * dtype.itemsize
    copies = weights["trained weights"] // 2 if on_gpu and dtype.itemsize == 2 else 0
    gradients = weights["gradients"]
    several = stage.global_batch > processes * stage.micro_batch
    passing = kept + gradients if several else max(kept, gradients)
    return (sum(weights.values()) - gradients + copies + passing) / 1e9 * (1 + OVERHEAD_SHARE) + OVERHEAD_GB


def seconds_per_step(work: Work, stage: Stage, trained: int, dtype: torch.dtype, processes: int, speed: Speed) -> float:
    """Of a step: the time of its operations and that of its memory traffic."""
    examples = stage.global_batch / processes
    moved = PASSES * work.kept * dtype.itemsize * examples + UPDATE_BYTES * trained
    return work.flops * examples / speed.flops + moved / speed.bandwidth


def measure_speed(device: torch.device, dtype: torch.dtype) -> Speed:
    """Of this device, in a fraction of a second: the best of three."""
    side = 8192 if device.type == "cuda" else 1024
    a = torch.ones(side, side, dtype=dtype, device=device)
    big = torch.ones(1 << (28 if device.type == "cuda" else 24), device=device)
    product, copy = (min(_seconds(device, act) for _ in range(3)) for act in (lambda: a @ a, big.clone))
    return Speed(REACHED.get(device.type, 1.0) * 2 * side**3 / product, 2 * big.numel() * big.element_size() / copy)


def _seconds(device: torch.device, act: Callable[[], Tensor]) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    started = time.perf_counter()
    act()
    wait()
    return time.perf_counter() - started
