"""Attention on CPUs in 16 bits: by two products where the scores are small.

PyTorch's fused kernel does not multiply in 16 bits: of Stable Diffusion 2.1's layers at 256 px it takes two to five
times as long. It needs no memory for the scores, though, which grow with the fourth power of an image's side.
"""

from diffusers.models.attention_processor import Attention, AttnProcessor, AttnProcessor2_0
from torch import Tensor, nn

MOST = 1 << 24  # scores of a layer that are worth keeping: 33 MB


def use_cpu_attention(network: nn.Module) -> None:
    """Let layers of plain attention work as described above; results are the same up to rounding."""
    for module in network.modules():
        if type(getattr(module, "processor", None)) is AttnProcessor2_0:
            module.processor = CpuAttention()  # type: ignore[assignment]


class CpuAttention:
    """A processor of diffusers' attention layers."""

    def __init__(self) -> None:
        self.in_products, self.fused = AttnProcessor(), AttnProcessor2_0()  # type: ignore[no-untyped-call]

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """(B, cells, C), or (B, C, H, W) of an autoencoder, in the layer's own words."""
        cells = hidden_states.shape[2:].numel() if hidden_states.ndim == 4 else hidden_states.shape[1]
        keys = cells if encoder_hidden_states is None else encoder_hidden_states.shape[1]
        small = len(hidden_states) * attn.heads * cells * keys <= MOST
        attend = self.in_products if small else self.fused
        out: Tensor = attend(attn, hidden_states, encoder_hidden_states, attention_mask, temb)
        return out
