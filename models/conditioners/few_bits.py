"""Frozen linear layers whose weights take 8 or 4 bits: entries of a code book, times the largest of a block of 64.

Weights alone are stored so, as bitsandbytes stores them; products are computed in the type of the input, on any device.
They are quantised on the CPU, so that a network is the same wherever it is used.
"""

import importlib
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from models.cpu.freed_memory import give_back_freed_memory

BLOCK = 64  # weights that share a scale in float32
SMALLEST = 4096  # weights of a layer that is stored so
LEAST_SHARE = 0.25  # of a network's weights in such layers, below which nothing is worth it


class FewBitLinear(nn.Module):
    """A frozen linear layer; a gradient passes through it to its input, and needs no weights kept for it."""

    codes: Tensor  # uint8, two weights a byte in 4 bits
    code: Tensor  # the book, float32
    scales: Tensor  # of the blocks, float32

    def __init__(self, linear: nn.Linear, bits: int) -> None:
        """Quantise: 4 bits by the normal float of QLoRA (Dettmers et al. 2023), 8 bits by a dynamic tree (2015).

        Args:
            linear: on the CPU, or without values on the meta device.
            bits: 8 or 4.
        """
        super().__init__()
        self.bits, self.shape = bits, linear.weight.shape
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        count, device = linear.weight.numel(), linear.weight.device
        if linear.weight.is_meta:
            code, scales = torch.empty(1 << bits), torch.empty(-(-count // BLOCK))
            codes = torch.empty(-(-count * bits // 8), dtype=torch.uint8)
        else:
            functional, weight = _bitsandbytes(), linear.weight.detach().float()
            if bits == 4:
                codes, state = functional.quantize_4bit(weight, blocksize=BLOCK, quant_type="nf4")
            else:
                codes, state = functional.quantize_blockwise(weight, blocksize=BLOCK)
            code, scales = state.code, state.absmax
        for name, values in {"codes": codes, "code": code, "scales": scales}.items():
            self.register_buffer(name, values.to(device), persistent=False)

    def values(self, dtype: torch.dtype) -> Tensor:
        """The weight (out, in)."""
        if self.codes.is_meta:
            return self.scales.new_empty(self.shape, dtype=dtype)
        functional, known = _bitsandbytes(), {"blocksize": BLOCK, "shape": self.shape, "dtype": dtype}
        if self.bits == 4:
            state = functional.QuantState(absmax=self.scales, code=self.code, quant_type="nf4", **known)
            weight: Tensor = functional.dequantize_4bit(self.codes, state)
        else:
            state = functional.QuantState(absmax=self.scales, code=self.code, **known)
            weight = functional.dequantize_blockwise(self.codes, state)
        return weight.view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., O), in the type of x or of autocast."""
        device = x.device.type
        if device != "meta" and torch.is_autocast_enabled(device):
            x = x.to(torch.get_autocast_dtype(device))
        out: Tensor = _Product.apply(x, self)
        return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: FewBitLinear) -> Tensor:  # noqa: ANN401
        ctx.layer = layer
        bias = layer.bias if layer.bias is None else layer.bias.to(x.dtype)
        return F.linear(x, layer.values(x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return gradient @ ctx.layer.values(gradient.dtype), None


def use_few_bits(bits: int | None, network: nn.Module, other: nn.Module | None = None) -> None:
    """Replace the linear layers of a frozen network; what another one shares with it, such as a ControlNet-LoRA, too.

    Args:
        bits: 8 or 4; None = nothing is replaced.
        network: the base's.
        other: what is trained beside it; it keeps whatever is its own.
    """
    made: dict[Tensor, FewBitLinear] = {}
    for *_, linear in _layers(network) if bits else ():
        if linear.weight.numel() >= SMALLEST and linear.weight not in made:
            made[linear.weight] = FewBitLinear(linear, bits or 0)
    for each in (network, other) if other is not None else (network,):
        for owner, name, linear in _layers(each):
            if linear.weight in made:
                setattr(owner, name, made[linear.weight])
    give_back_freed_memory()


def few_bit_tensors(network: nn.Module) -> list[Tensor]:
    """What the replaced layers of a network hold, each once."""
    layers = [layer for layer in network.modules() if isinstance(layer, FewBitLinear)]
    return [values for layer in layers for values in layer.buffers()]


def linear_share(network: nn.Module) -> float:
    """Share of a network's weights that would take fewer bits."""
    sizes = {linear.weight: linear.weight.numel() for *_, linear in _layers(network)}
    return sum(size for size in sizes.values() if size >= SMALLEST) / sum(x.numel() for x in network.parameters())


def _layers(network: nn.Module) -> list[tuple[nn.Module, str, nn.Linear]]:
    """Every linear layer, the owner and its name there."""
    return [
        (module, name, child)
        for module in network.modules()
        for name, child in module.named_children()
        if type(child) is nn.Linear and not child.weight.requires_grad
    ]


def _bitsandbytes() -> Any:  # noqa: ANN401 (a module without types)
    return importlib.import_module("bitsandbytes").functional
