"""The sum of seven embeddings, against the formula written out, and its two ways to embed an unknown number."""

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.diffusionsat.embedding import MetadataEmbedding, NullMetadata
from models.diffusionsat.metadata import MetadataError
from tests.models.parity import seeded


def embedding(null_metadata: NullMetadata = "zero", seed: int = 0) -> MetadataEmbedding:
    torch.manual_seed(seed)
    return MetadataEmbedding(7, 8, 16, flip_sin_to_cos=True, freq_shift=0, null_metadata=null_metadata)


def by_hand(module: MetadataEmbedding, metadata: Tensor) -> Tensor:
    """Equation by equation, one number at a time: (7,) -> (16,)."""
    weights, total = module.state_dict(), torch.zeros(16)
    for i, value in enumerate(metadata.tolist()):
        angles = [value * 10_000 ** (-k / 4) for k in range(4)]
        waves = torch.tensor([*map(math.cos, angles), *map(math.sin, angles)])
        hidden = F.silu(weights[f"{i}.linear_1.weight"] @ waves + weights[f"{i}.linear_1.bias"])
        total += weights[f"{i}.linear_2.weight"] @ hidden + weights[f"{i}.linear_2.bias"]
    return total


def test_the_formula() -> None:
    module, metadata = embedding(), 1000 * seeded(3, 7).abs()
    expected = torch.stack([by_hand(module, row) for row in metadata])
    assert torch.allclose(module(metadata, torch.float32), expected, atol=2e-4)


def test_several_images_are_summed() -> None:
    module, metadata = embedding(), 1000 * seeded(2, 7, 3).abs()
    single = sum(module(metadata[..., k], torch.float32) for k in range(3))
    assert torch.allclose(module(metadata, torch.float32), single, atol=1e-5)
    assert torch.equal(module(metadata[..., :1], torch.float32), module(metadata[..., 0], torch.float32))


def test_unknown_as_released_is_the_number_zero() -> None:
    module = embedding("zero")
    unknown = torch.tensor([[500.0, torch.nan, 0, 0, 300, 500, torch.nan]])
    assert torch.equal(module(unknown, torch.float32), module(unknown.nan_to_num(0), torch.float32))


def test_unknown_with_a_learned_null_is_a_vector_of_its_own() -> None:
    module = embedding("learned")
    assert module.null is not None
    torch.nn.init.normal_(module.null)
    nothing = module(torch.full((1, 7), torch.nan), torch.float32)
    assert torch.allclose(nothing[0], module.null.sum(0), atol=1e-6)
    true_zero = module(torch.zeros(1, 7), torch.float32)  # no cloud, 180 degrees west ...
    assert not torch.allclose(nothing, true_zero, atol=0.1)


def test_the_null_learns_only_from_unknown_numbers() -> None:
    module = embedding("learned")
    assert module.null is not None
    metadata = 1000 * seeded(2, 7).abs()
    metadata[0, 3] = torch.nan
    module(metadata, torch.float32).sum().backward()
    assert module.null.grad is not None
    assert module.null.grad.abs().sum(1).nonzero().flatten().tolist() == [3]
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in module.parameters())


def test_a_learned_null_starts_where_the_released_one_is() -> None:
    released, new = embedding("zero"), embedding("learned", seed=1)
    new.copy_from(released)
    metadata = torch.tensor([[500.0, torch.nan, 0, 0, torch.nan, 500, torch.nan]])
    assert torch.allclose(new(metadata, torch.float32), released(metadata, torch.float32), atol=1e-6)


def test_a_half_precision_network_sees_metadata_in_full() -> None:
    """In float16 a gsd of 4206 becomes 4208: the top frequency would be 2 radians off."""
    module, metadata = embedding(), torch.tensor([[926.3, 345.2, 4206.0, 0, 308.3, 166.7, 354.8]])
    exact = module(metadata, torch.float32)
    assert torch.allclose(module.bfloat16()(metadata, torch.bfloat16).float(), exact, atol=0.1)
    assert (module.float()(metadata.half().float(), torch.float32) - exact).abs().max() > 0.1
    with pytest.raises(MetadataError, match=r"torch.float16, which rounds"):
        module(metadata.half(), torch.float16)


@pytest.mark.parametrize("shape", [(7,), (2, 6), (2, 7, 3, 1)])
def test_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(MetadataError, match=r"has shape .* Expected \(N, 7\[, K\]\)"):
        embedding()(torch.zeros(shape), torch.float32)


def test_other_nulls() -> None:
    with pytest.raises(MetadataError, match="null_metadata is 'mean'"):
        embedding("mean")  # type: ignore[arg-type]
