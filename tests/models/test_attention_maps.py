"""Sums of cross-attention: a network whose attention is known, and what is kept of many layers and steps."""

import math
from typing import Any

import pytest
import torch
from diffusers.models.attention import AttentionMixin
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from models.attention_maps import AttentionMaps, attends_to_text, grid_of, recorded

ODDS = torch.tensor([[3.0, 1.0, 1 / 3], [1.0, 7.0, 1.0]])  # of the first token against the second, in every cell


class TwoTokens(nn.Module, AttentionMixin):  # type: ignore[misc]
    """Layers of cross-attention whose queries are the logarithms of the odds and whose keys are 1 and 0."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Attention(query_dim=1, cross_attention_dim=1, heads=1, dim_head=1) for _ in range(layers)
        )
        for layer in self.layers:
            nn.init.ones_(layer.get_parameter("to_q.weight"))
            nn.init.ones_(layer.get_parameter("to_k.weight"))

    def forward(self, hidden: Tensor) -> Tensor:
        """(B, cells, 1) -> as much."""
        states = torch.tensor([1.0, 0.0]).expand(len(hidden), 2)[..., None]
        return torch.stack([layer(hidden, encoder_hidden_states=states) for layer in self.layers]).sum(0)


def both_words(rows: int = 1) -> Tensor:
    """Each of the two tokens is a word."""
    return torch.eye(2).expand(rows, 2, 2)


def test_two_tokens_whose_attention_is_known() -> None:
    """Odds of 3 to 1 are shares of 3/4 and 1/4, in any number of layers and steps."""
    maps, network = AttentionMaps(both_words(), (2, 3), guided=False), TwoTokens(layers=3)
    with recorded({"unet": network}, maps):
        for _ in range(5):
            network(ODDS.log().reshape(1, 6, 1))
    shares = ODDS / (1 + ODDS)
    torch.testing.assert_close(maps.mean("unet")[0], torch.stack([shares, 1 - shares]), rtol=1e-6, atol=1e-7)
    assert maps.networks == ["unet"]


def test_of_the_two_halves_only_that_with_the_caption_counts() -> None:
    """The first half says the opposite."""
    maps, network = AttentionMaps(both_words(2), (2, 3), guided=True), TwoTokens(layers=1)
    right = torch.stack([ODDS.log().flatten(), torch.zeros(6)])[..., None]
    with recorded({"unet": network}, maps):
        network(torch.cat([-right, right]))
    shares = ODDS / (1 + ODDS)
    torch.testing.assert_close(maps.mean("unet")[:, 0], torch.stack([shares, torch.full((2, 3), 0.5)]))


def test_images_of_a_sequence_count_alike() -> None:
    """A 3D ControlNet sees two images for each that is made, one behind the other."""
    maps, network = AttentionMaps(both_words(2), (1, 1), guided=False), TwoTokens(layers=1)
    odds = torch.tensor([3.0, 1.0, 1 / 3, 1 / 3])
    with recorded({"controlnet": network}, maps):
        network(odds.log().reshape(4, 1, 1))
    torch.testing.assert_close(maps.mean("controlnet")[:, 0].flatten(), torch.tensor([(3 / 4 + 1 / 2) / 2, 1 / 4]))


def test_float32_where_the_network_computes_in_less() -> None:
    """The query 1.5 is a number of bfloat16, its share is not."""
    maps, network = AttentionMaps(both_words(), (1, 1), guided=False), TwoTokens(layers=1)
    with recorded({"unet": network}, maps), torch.autocast("cpu", torch.bfloat16):
        network(torch.full((1, 1, 1), 1.5))
    assert float(maps.mean("unet")[0, 0]) == pytest.approx(1 / (1 + math.exp(-1.5)), rel=1e-6)


def test_networks_apart_and_together() -> None:
    """Two layers with 3/4 and one with 1/2: together every head counts alike."""
    maps = AttentionMaps(both_words(), (1, 1), guided=False)
    first, second = TwoTokens(layers=2), TwoTokens(layers=1)
    with recorded({"unet": first, "controlnet": second}, maps):
        first(torch.full((1, 1, 1), math.log(3)))
        second(torch.zeros(1, 1, 1))
    found = {names: float(maps.mean(*names)[0, 0]) for names in (("unet",), ("controlnet",), ("unet", "controlnet"))}
    assert found == pytest.approx({("unet",): 3 / 4, ("controlnet",): 1 / 2, ("unet", "controlnet"): 2 / 3})


def test_what_is_kept_does_not_grow() -> None:
    """As many numbers after one layer and step as after eight layers in twenty."""
    kept = []
    for layers, steps in ((1, 1), (8, 20)):
        maps, network = AttentionMaps(both_words(), (2, 3), guided=False), TwoTokens(layers)
        with recorded({"unet": network}, maps):
            for _ in range(steps):
                network(torch.zeros(1, 6, 1))
        kept.append(sum(value.numel() for value in vars(maps).values() if isinstance(value, Tensor)))
        kept.append(sum(found.numel() for found in maps.sums.values()))
        assert all(found.dtype == torch.float32 and not found.requires_grad for found in maps.sums.values())
    assert kept == [4, 12, 4, 12]


def test_processors_are_put_back() -> None:
    """Also after an error."""
    network: Any = TwoTokens(layers=2)
    before = network.attn_processors
    with (
        pytest.raises(KeyboardInterrupt),
        recorded({"unet": network}, AttentionMaps(both_words(), (1, 1), guided=False)),
    ):
        assert network.attn_processors.keys() == before.keys() and network.attn_processors != before
        raise KeyboardInterrupt
    assert network.attn_processors == before


def test_grids_of_a_unet() -> None:
    """Every level halves the latents, rounded up."""
    assert [grid_of(cells, (9, 13)) for cells in (117, 35, 12, 4, 1)] == [(9, 13), (5, 7), (3, 4), (2, 2), (1, 1)]
    with pytest.raises(AssertionError):
        grid_of(100, (9, 13))


def test_who_attends_to_text() -> None:
    """A network of self-attention does not."""
    assert attends_to_text(TwoTokens(1)) and not attends_to_text(Attention(query_dim=1, heads=1, dim_head=1))
