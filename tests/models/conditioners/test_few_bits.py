"""Linear layers in few bits, against the definitions of their code books and plain layers with the same values."""

import pytest
import torch
from torch import Tensor, nn

from models.conditioners.few_bits import BLOCK, FewBitLinear, few_bit_tensors, linear_share, use_few_bits

# Dettmers et al. 2023, appendix E
NORMAL_FLOAT = [
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634,
    0.33791524171829224, 0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
]  # fmt: skip


def linear(rows: int = 96, columns: int = 64, seed: int = 0) -> nn.Linear:
    torch.manual_seed(seed)
    return nn.Linear(columns, rows).requires_grad_(False)


def nearest(weight: Tensor, code: Tensor) -> Tensor:
    """Every block's values by the nearest entry of a code book times its largest."""
    blocks = weight.reshape(-1, BLOCK)
    scales = blocks.abs().amax(1, keepdim=True)
    entries = (blocks[..., None] / scales[..., None] - code).abs().argmin(-1)
    return (code[entries] * scales).view_as(weight)


def test_values_are_the_nearest_of_the_code_book() -> None:
    plain = linear()
    four, eight = FewBitLinear(plain, 4), FewBitLinear(plain, 8)
    torch.testing.assert_close(four.values(torch.float32), nearest(plain.weight, torch.tensor(NORMAL_FLOAT)))
    # Near zero the entries lie so close that bitsandbytes takes a neighbour now and then.
    found, expected = eight.values(torch.float32), nearest(plain.weight, eight.code)
    assert (found == expected).float().mean() > 0.99 and len(eight.code.unique()) == 256
    assert (found - plain.weight).abs().mean() < 1.01 * (expected - plain.weight).abs().mean()
    assert four.values(torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize("bits", [8, 4])
def test_products_and_gradients_are_those_of_a_layer_with_these_values(bits: int) -> None:
    plain = linear()
    few = FewBitLinear(plain, bits)
    plain.weight.data = few.values(torch.float32)
    given = [torch.randn(2, 5, 64, generator=torch.Generator().manual_seed(1)).requires_grad_() for _ in range(2)]
    results = [layer(x) for layer, x in zip((plain, few), given, strict=True)]
    assert torch.equal(*results)
    for result in results:
        result.square().sum().backward()
    torch.testing.assert_close(given[0].grad, given[1].grad)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(few(given[0]), plain(given[0])) and few(given[0]).dtype == torch.bfloat16


@pytest.mark.parametrize(("bits", "bytes_"), [(8, 6144 + 4 * (96 + 256)), (4, 3072 + 4 * (96 + 16))])
def test_what_is_shared_stays_shared_and_what_is_trained_or_small_stays_plain(bits: int, bytes_: int) -> None:
    """On the meta device alike, with the same sizes."""
    for device in ("cpu", "meta"):
        shared, small, own = linear().to(device), linear(8, 8).to(device), linear().to(device)
        trained = linear().to(device).requires_grad_(True)
        base, other = nn.Sequential(shared, small, nn.Sequential(shared)), nn.Sequential(shared, own, trained)
        assert linear_share(base) == pytest.approx(6144 / (6144 + 96 + 64 + 8))
        use_few_bits(bits, base, other)
        assert isinstance(base[0], FewBitLinear) and base[0] is base[2][0] is other[0]  # type: ignore[index]
        assert type(base[1]) is type(other[1]) is type(other[2]) is nn.Linear
        assert sum(values.nbytes for values in few_bit_tensors(nn.Sequential(base, other))) == bytes_
        assert base[0](torch.zeros(3, 64, device=device)).shape == (3, 96)


def test_nothing_is_replaced_without_bits() -> None:
    base = nn.Sequential(linear())
    use_few_bits(None, base)
    assert type(base[0]) is nn.Linear and few_bit_tensors(base) == []
