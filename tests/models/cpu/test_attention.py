"""Attention by two products says what the formula says, and is left to PyTorch where its scores would be large."""

import copy
import math

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

import models.cpu.attention
from models.cpu.attention import CpuAttention, use_cpu_attention
from models.cpu.layers import use_cpu_layers

LAYER = {"query_dim": 8, "heads": 2, "dim_head": 4}


def by_formula(attn: Attention, x: Tensor, states: Tensor) -> Tensor:
    """softmax(Q K' / sqrt(d)) V for every head (Vaswani et al. 2017, section 3.2)."""
    q, k, v = (
        layer(rows).unflatten(-1, (2, 4)) for layer, rows in ((attn.to_q, x), (attn.to_k, states), (attn.to_v, states))
    )
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k) / math.sqrt(4)
    out: Tensor = attn.to_out[0](torch.einsum("bhnm,bmhd->bnhd", scores.softmax(-1), v).flatten(2))
    return out


@pytest.mark.parametrize("most", [0, 10**9], ids=["fused", "in products"])
@pytest.mark.parametrize("cross", [False, True])
def test_is_the_formula(most: int, cross: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models.cpu.attention, "MOST", most)
    attn = Attention(**LAYER, cross_attention_dim=6 if cross else None)
    use_cpu_attention(attn)
    x, states = torch.randn(2, 5, 8), torch.randn(2, 3, 6) if cross else None
    expected = by_formula(attn, x, x if states is None else states)
    torch.testing.assert_close(attn(x, encoder_hidden_states=states), expected)


@pytest.mark.parametrize(
    ("shape", "states", "scores"), [((2, 5, 8), None, 100), ((2, 5, 8), 3, 60), ((2, 8, 2, 3), None, 144)]
)
def test_only_small_scores_are_kept(
    shape: tuple[int, ...], states: int | None, scores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2 images, 2 heads, cells and keys: 2 * 2 * 5 * 5, 2 * 2 * 5 * 3, 2 * 2 * 6 * 6."""
    attn, asked = Attention(**LAYER, cross_attention_dim=8 if states else None), []
    use_cpu_attention(attn)
    assert isinstance(attn.processor, CpuAttention)
    for name in ("in_products", "fused"):
        monkeypatch.setattr(attn.processor, name, lambda *_, name=name: asked.append(name))
    for most in (scores, scores - 1):
        monkeypatch.setattr(models.cpu.attention, "MOST", most)
        attn(torch.randn(shape), encoder_hidden_states=torch.randn(2, states, 8) if states else None)
    assert asked == ["in_products", "fused"]


def test_in_16_bits_only() -> None:
    network = nn.ModuleList([Attention(**LAYER)])
    use_cpu_layers(network)
    assert type(network[0].processor) is AttnProcessor2_0  # in float32 PyTorch's kernel is the faster one
    other = copy.deepcopy(network).bfloat16()
    use_cpu_layers(other, stored=torch.bfloat16, computed=torch.bfloat16)
    assert isinstance(other[0].processor, CpuAttention)
