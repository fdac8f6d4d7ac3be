"""Which pixels attend to which words: cross-attention summed while an image is sampled (DAAM, Tang et al. 2023).

Of every layer only a sum is kept, in float32: its memory does not grow with layers and steps. The networks compute
their output as before, so that the image is the same, to the bit.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

import torch
from diffusers.models.attention import AttentionMixin
from diffusers.models.attention_processor import Attention, AttentionProcessor
from torch import Tensor, nn
from torch.nn import functional as F

Grid = tuple[int, int]  # rows, columns


class AttentionMaps:
    """Sums over heads, layers and steps, for the words of B images."""

    def __init__(self, words: Tensor, size: Grid, *, guided: bool) -> None:
        """Begin with nothing.

        Args:
            words: (B, words, tokens) float32, 1 where a token of the prompt belongs to a word.
            size: of the latents.
            guided: B rows without caption come before those that count.
        """
        self.words, self.size, self.guided = words, size, guided
        self.sums: dict[tuple[str, Grid], Tensor] = {}  # (B, words, rows, columns) of a network's layers of one size
        self.heads: Counter[tuple[str, Grid]] = Counter()  # that were summed

    @torch.no_grad()
    def add(self, network: str, attn: Attention, hidden: Tensor, states: Tensor) -> None:
        """Add what one layer attends to in one step.

        Args:
            network: whose layer.
            attn: the layer.
            hidden: (rows, cells, channels) its input; a 3D ControlNet has a row for each image of a sequence.
            states: (rows, tokens, D) of the text encoder.
        """
        grid = grid_of(hidden.shape[1], self.size)
        frames = len(hidden) // ((1 + self.guided) * len(self.words))
        conditional = slice(-frames * len(self.words), None)
        queries, keys = (
            layer(rows[conditional]).unflatten(-1, (attn.heads, -1)).transpose(1, 2).float()
            for layer, rows in ((attn.to_q, hidden), (attn.to_k, states))
        )
        place = (network, grid)
        if place not in self.sums:
            self.sums[place] = torch.zeros((*self.words.shape[:2], *grid), device=hidden.device)
        # Row by row: the attention to all tokens of a whole batch would be the largest thing in memory.
        with torch.autocast(hidden.device.type, enabled=False):
            for row, (query, key) in enumerate(zip(queries, keys, strict=True)):
                attention = (query @ key.mT * attn.scale).softmax(-1).sum(0)  # (cells, tokens)
                self.sums[place][row // frames] += (self.words[row // frames] @ attention.mT).unflatten(-1, grid)
        self.heads[place] += frames * attn.heads

    @property
    def networks(self) -> list[str]:
        """Those that were heard."""
        return list(dict.fromkeys(network for network, _ in self.sums))

    def mean(self, *networks: str) -> Tensor:
        """(B, words, *size) share of the attention that a word gets, 0..1: every head, layer and step counts alike."""
        total, heads = torch.zeros((*self.words.shape[:2], *self.size), device=self.words.device), 0
        for (network, grid), found in self.sums.items():
            if network in networks:
                total += F.interpolate(found, self.size, mode="bicubic") if grid != self.size else found
                heads += self.heads[network, grid]
        return (total / max(heads, 1)).clamp(min=0)  # bicubic interpolation overshoots


@contextmanager
def recorded(networks: Mapping[str, AttentionMixin], maps: AttentionMaps) -> Iterator[None]:
    """Within the block, `maps` record what the networks attend to."""
    with ExitStack() as restored:
        for name, network in networks.items():
            before = network.attn_processors
            restored.callback(network.set_attn_processor, dict(before))
            network.set_attn_processor({layer: _Recording(usual, name, maps) for layer, usual in before.items()})
        yield


def attends_to_text(network: nn.Module) -> bool:
    """Whether it has layers of cross-attention."""
    return any(getattr(layer, "is_cross_attention", False) for layer in network.modules())


def grid_of(cells: int, size: Grid) -> Grid:
    """Rows and columns of a layer that sees so many cells; every level of a UNet halves the latents, rounded up."""
    rows, columns = size
    while rows * columns > cells:
        rows, columns = -(-rows // 2), -(-columns // 2)
    assert rows * columns == cells
    return rows, columns


class _Recording:
    """What a layer does, and what it attends to."""

    def __init__(self, usual: AttentionProcessor, network: str, maps: AttentionMaps) -> None:
        self.usual, self.network, self.maps = usual, network, maps

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        if encoder_hidden_states is not None:
            self.maps.add(self.network, attn, hidden_states, encoder_hidden_states)
        out: Tensor = self.usual(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return out
