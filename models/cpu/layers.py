"""Layers for CPUs: large convolutions as matrix products, and weights stored in another type than is computed in.

oneDNN copies a convolution's weights into a layout of its own in every call, which is expensive where images are small
and weights large, as in most of a latent UNet. Here the image is copied instead: the neighbourhood of every output cell
becomes a row, and the rows are multiplied by the weights as stored. `benchmarks/speed/cpu_layers.py` measures it.
Group normalisation copies the image too: PyTorch's takes up to twenty times as long where channels come last.

Weights of another type are converted into one piece of memory that all layers share, whenever they are needed: frozen
ones in 16 bits become float32, a part of a layer at a time; trained ones in float32 become 16 bits under autocast, of
which PyTorch would keep a copy from the forward to the backward pass.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input

from models.cpu.attention import use_cpu_attention

LARGE = 1_000_000  # weights of a convolution whose copy is worth avoiding
PART = 8_000_000  # weights that are converted at a time; all of a layer would be 118 MB in Stable Diffusion 2.1


def use_cpu_layers(
    network: nn.Module, *, stored: torch.dtype = torch.float32, computed: torch.dtype = torch.float32
) -> None:
    """Let a network's layers work as described above; parameters keep their names, results are the same up to rounding.

    Args:
        network: float32, or frozen in another type.
        stored: of the weights of linear layers and convolutions, which must be frozen if it is not float32.
        computed: of products. If it is float32, all but the stored weights become float32.
    """
    widened = computed == torch.float32
    for module in network.modules():
        keeps_type = type(module) in (nn.Conv2d, nn.Linear) and module.weight.dtype == stored
        for name, parameter in module.named_parameters(recurse=False):
            if widened and not (keeps_type and name == "weight"):
                parameter.data = parameter.data.float()
        # Of 1 x 1 the order is the same, but strides would differ from a gradient's.
        if type(module) is nn.Conv2d and module.kernel_size != (1, 1):
            module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
        if type(module) is nn.Conv2d and module.groups == 1 and module.dilation == (1, 1):
            module.__class__ = CpuConv2d
        elif type(module) is nn.Linear and keeps_type and stored != computed:
            module.__class__ = CpuLinear
    use_cpu_norms(network)
    if computed != torch.float32:
        use_cpu_attention(network)


def use_cpu_norms(network: nn.Module) -> None:
    """Only the group normalisation of `use_cpu_layers`."""
    for module in network.modules():
        if type(module) is nn.GroupNorm:
            module.__class__ = CpuGroupNorm


class CpuGroupNorm(nn.GroupNorm):
    """Group normalisation of images that is computed channels first."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) of any layout, and the same again."""
        if x.ndim != 4 or x.is_contiguous():
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


class CpuConv2d(nn.Conv2d):
    """A convolution with weights channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, O, h, w), channels last, in the type of x or of autocast."""
        in_type = self.weight.dtype == x.dtype or torch.is_autocast_enabled("cpu")
        if in_type and not _as_product(x, self.weight, self.stride[0]):
            return super().forward(x)
        return _outside_autocast(_Conv, x, self.weight, self.bias, self.stride[0], self.padding[0])


class CpuLinear(nn.Linear):
    """A linear layer with its weights in another type than that of the input or of autocast."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., O), in the type of x or of autocast."""
        return _outside_autocast(_Linear, x, self.weight, self.bias)


def _outside_autocast(function: type[torch.autograd.Function], x: Tensor, *others: Any) -> Tensor:  # noqa: ANN401
    """Apply it to x in the type that autocast asks for, if it does; the function itself decides what else is cast."""
    if torch.is_autocast_enabled("cpu"):
        x = x.to(torch.get_autocast_dtype("cpu"))
    with torch.autocast("cpu", enabled=False):
        out: Tensor = function.apply(x, *others)
    return out


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x if weight.requires_grad else x.new_empty(0), weight)
        return _times(x.flatten(0, -2), weight, bias).view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        rows_gradient = gradient.flatten(0, -2)
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _back_times(rows_gradient, weight).view(*gradient.shape[:-1], -1)
        if ctx.needs_input_grad[1]:
            of_weight = torch.mm(rows_gradient.t(), x.flatten(0, -2))
        if ctx.needs_input_grad[2]:
            of_bias = rows_gradient.sum(0)
        return of_x, of_weight, of_bias


class _Conv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:  # noqa: ANN401
        ctx.save_for_backward(x if weight.requires_grad else x.new_empty(0), weight)
        ctx.shape, ctx.stride, ctx.padding = x.shape, stride, padding
        ctx.as_product = _as_product(x, weight, stride)
        if not ctx.as_product:
            return F.conv2d(x, _in_type_of(x, weight), bias, stride, padding)
        rows, (height, width) = _rows(x, weight.shape[-1], stride, padding)
        return _times(rows, _matrix(weight), bias).view(len(x), height, width, -1).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        x, weight = ctx.saved_tensors
        kernel = weight.shape[-1]
        if not ctx.as_product:  # only of frozen weights in another type
            of_x = conv2d_input(ctx.shape, _in_type_of(gradient, weight), gradient, ctx.stride, ctx.padding)
            return of_x, None, None, None, None
        rows_gradient = gradient.permute(0, 2, 3, 1).reshape(-1, gradient.shape[1])
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _fold(_back_times(rows_gradient, _matrix(weight)), ctx.shape, kernel, ctx.stride, ctx.padding)
        if ctx.needs_input_grad[1]:
            rows, _ = _rows(x, kernel, ctx.stride, ctx.padding)
            matrix = torch.mm(rows_gradient.t(), rows)
            channels_last = matrix.view(len(weight), kernel, kernel, -1).permute(0, 3, 1, 2)
            of_weight = matrix.view_as(weight) if kernel == 1 else channels_last
        if ctx.needs_input_grad[2]:
            of_bias = rows_gradient.sum(0)
        return of_x, of_weight, of_bias, None, None


def _as_product(x: Tensor, weight: Tensor, stride: int) -> bool:
    """Whether the rows are smaller than the weights, and the weights large."""
    cells = len(x) * (x.shape[2] // stride) * (x.shape[3] // stride)
    return weight.numel() >= LARGE and (weight.shape[-1] == 1 or cells <= len(weight))


def _times(rows: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(N, K), (O, K) in any type -> (N, O) in that of the rows."""
    out = rows.new_empty(len(rows), len(weight))
    for first, part in _parts(rows, weight):
        columns = slice(first, first + len(part))
        if bias is None:
            torch.mm(rows, part.t(), out=out[:, columns])
        else:
            torch.addmm(bias[columns].to(rows.dtype), rows, part.t(), out=out[:, columns])
    return out


def _back_times(rows: Tensor, weight: Tensor) -> Tensor:
    """(N, O), (O, K) in any type -> (N, K) in that of the rows."""
    out = rows.new_empty(len(rows), weight.shape[1])
    for first, part in _parts(rows, weight):
        torch.addmm(out, rows[:, first : first + len(part)], part, beta=float(first > 0), out=out)
    return out


def _parts(like: Tensor, weight: Tensor) -> Iterator[tuple[int, Tensor]]:
    """(O, K) -> (first row, some rows in the type of `like`), so many that PART numbers become float32 at a time."""
    in_parts = like.dtype == torch.float32 != weight.dtype  # in 16 bits the sum would be rounded after each part
    rows = max(1, PART // weight.shape[1]) if in_parts else len(weight)
    for first in range(0, len(weight), rows):
        yield first, _in_type_of(like, weight[first : first + rows])


_scratch = torch.empty(0)  # allocating in every call would cost more than the conversion


def _in_type_of(x: Tensor, weight: Tensor) -> Tensor:
    """The weights in the type of x; converted ones are valid until the next call."""
    global _scratch
    if weight.dtype == x.dtype:
        return weight
    if _scratch.numel() < weight.numel() or _scratch.dtype != x.dtype:
        _scratch = torch.empty(weight.numel(), dtype=x.dtype)
    return _scratch.as_strided(weight.shape, weight.stride()).copy_(weight)


def _matrix(weight: Tensor) -> Tensor:
    """(O, C, k, k) channels last -> (O, k * k * C), the same memory."""
    return weight.permute(0, 2, 3, 1).reshape(len(weight), -1)


def _rows(x: Tensor, kernel: int, stride: int, padding: int) -> tuple[Tensor, tuple[int, int]]:
    """(B, C, H, W) -> (B * h * w, k * k * C), a row for each output cell; and (h, w)."""
    x = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding, padding, padding, padding))
    windows = x.unfold(1, kernel, stride).unfold(2, kernel, stride)  # (B, h, w, C, k, k), no copy yet
    _, height, width, channels, _, _ = windows.shape
    return windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel * kernel * channels), (height, width)


def _fold(rows: Tensor, shape: torch.Size, kernel: int, stride: int, padding: int) -> Tensor:
    """The transpose of `_rows`: (B * h * w, k * k * C) -> (B, C, H, W), channels last."""
    batch, channels, height, width = shape
    across = [(side + 2 * padding - kernel) // stride + 1 for side in (height, width)]
    windows = rows.view(batch, *across, kernel, kernel, channels)
    padded = torch.zeros(batch, height + 2 * padding, width + 2 * padding, channels)  # sums are float32
    ends = [stride * (count - 1) + 1 for count in across]
    for row in range(kernel):
        for column in range(kernel):
            cells = padded[:, row : row + ends[0] : stride, column : column + ends[1] : stride]
            cells += windows[:, :, :, row, column]
    return padded[:, padding : padding + height, padding : padding + width].permute(0, 3, 1, 2).to(rows.dtype)
