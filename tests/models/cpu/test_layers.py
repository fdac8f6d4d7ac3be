"""The layers for CPUs say what PyTorch's say, and their gradients are those of the function they compute."""

import copy

import pytest
import torch
from torch import nn

import models.cpu.layers
from models.cpu.layers import CpuConv2d, CpuGroupNorm, CpuLinear, use_cpu_layers

SHAPES = [(6, 8, 3, 1, 1), (6, 8, 3, 2, 1), (6, 8, 1, 1, 0), (4, 5, 3, 1, 0)]  # in, out, kernel, stride, padding


@pytest.fixture(params=[1, 10**9], ids=["as a product", "as PyTorch does"])
def large(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(models.cpu.layers, "LARGE", request.param)
    return int(request.param)


def small_input(channels: int) -> torch.Tensor:
    return torch.randn(1, channels, 4, 4 if channels == 4 else 2, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bias", [True, False])
def test_a_convolution_and_its_gradients(large: int, shape: tuple[int, ...], bias: bool) -> None:
    channels, out, kernel, stride, padding = shape
    plain = nn.Conv2d(channels, out, kernel, stride=stride, padding=padding, bias=bias)
    other = copy.deepcopy(plain)
    use_cpu_layers(other)
    assert type(other) is CpuConv2d
    x, answers = small_input(channels), []
    for convolution in (plain, other):
        given = x.clone().requires_grad_()
        said = convolution(given)
        said.square().sum().backward()
        answers.append([said.detach(), given.grad, *(weight.grad for weight in convolution.parameters())])
    for expected, found in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert other.weight.grad is not None and other.weight.grad.stride() == other.weight.stride()


def test_the_rows_are_taken_only_where_they_are_smaller_than_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.cpu.layers, "LARGE", 1)
    weight = torch.empty(16, 3, 3, 3)
    assert models.cpu.layers._as_product(torch.empty(1, 3, 4, 4), weight, 1)
    assert not models.cpu.layers._as_product(torch.empty(2, 3, 4, 4), weight, 1)
    assert models.cpu.layers._as_product(torch.empty(2, 3, 4, 4), weight, 2)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("part", [20, 10**9], ids=["some rows at a time", "whole"])
def test_frozen_weights_in_16_bits_are_used_as_float32(
    large: int, shape: tuple[int, ...], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(models.cpu.layers, "PART", part)
    channels, out, kernel, stride, padding = shape
    stored = nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride=stride, padding=padding), nn.Flatten(2), nn.LazyLinear(7)
    )
    stored(small_input(channels))
    stored = stored.bfloat16().requires_grad_(False)
    plain = copy.deepcopy(stored).float()  # the same values
    use_cpu_layers(stored, stored=torch.bfloat16)
    assert [weight.dtype for weight in stored.parameters()] == [torch.bfloat16, torch.float32] * 2
    answers = []
    for network in (plain, stored):
        given = small_input(channels).requires_grad_()
        said = network(given)
        said.square().sum().backward()
        answers.append((said.detach(), given.grad))
    for expected, found in zip(*answers, strict=True):
        assert found is not None and found.dtype == torch.float32
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("trained", [True, False], ids=["float32 under autocast", "frozen in bfloat16"])
def test_products_in_bfloat16(large: int, shape: tuple[int, ...], trained: bool) -> None:
    """No farther from float32 than PyTorch's own layers are."""
    channels, out, kernel, stride, padding = shape
    plain = nn.Sequential(
        nn.Conv2d(channels, out, kernel, stride=stride, padding=padding), nn.Flatten(2), nn.LazyLinear(7)
    )
    plain(small_input(channels))
    plain = plain if trained else plain.bfloat16().requires_grad_(False)
    exact, other, stored = (
        copy.deepcopy(plain).float(),
        copy.deepcopy(plain),
        torch.float32 if trained else torch.bfloat16,
    )
    use_cpu_layers(other, stored=stored, computed=torch.bfloat16)
    assert [type(other[0]), type(other[2])] == [CpuConv2d, CpuLinear if trained else nn.Linear]
    assert {weight.dtype for weight in other.parameters()} == {stored}
    answers: list[list[torch.Tensor | None]] = []
    for network in (exact, plain, other):
        given = small_input(channels).bfloat16().to(torch.float32 if network is exact else stored).requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=trained and network is not exact):
            said = network(given)
        said.float().square().sum().backward()
        answers.append([said, given.grad, *(weight.grad for weight in network.parameters() if trained)])
    for wanted, theirs, found in zip(*answers, strict=True):
        assert wanted is not None and theirs is not None and found is not None and found.dtype == theirs.dtype
        error, their_error = ((each.float() - wanted).abs().max() for each in (found, theirs))
        assert error <= max(2 * their_error, 2**-6 * wanted.abs().max())


def test_adapters_in_frozen_layers_are_still_trained() -> None:
    adapter = nn.Linear(4, 2)
    network = nn.ModuleDict({"base": nn.Linear(4, 4).bfloat16().requires_grad_(False), "adapter": adapter})
    use_cpu_layers(network, stored=torch.bfloat16)
    adapter(network["base"](torch.ones(1, 4))).sum().backward()
    assert adapter.weight.grad is not None


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_norms_channels_first_are_those_of_pytorch(layout: torch.memory_format) -> None:
    plain = nn.GroupNorm(2, 4)
    nn.init.normal_(plain.weight)
    other = copy.deepcopy(plain)
    use_cpu_layers(nn.ModuleList([other]))
    assert type(other) is CpuGroupNorm
    x, answers = torch.randn(2, 4, 3, 5), []
    for norm in (plain, other):
        given = x.clone(memory_format=layout).requires_grad_()
        said = norm(given)
        said.square().sum().backward()
        answers.append([said.detach(), given.grad, norm.weight.grad, norm.bias.grad])
    assert answers[1][0].is_contiguous(memory_format=layout)
    for expected, found in zip(*answers, strict=True):
        torch.testing.assert_close(found, expected)
    tokens = torch.randn(2, 4, 7)  # of attention in an autoencoder
    assert torch.equal(other(tokens), plain(tokens))
