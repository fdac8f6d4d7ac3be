"""Embedding of the metadata: seven small embeddings, added to the timestep embedding."""

from typing import Literal

import torch
from diffusers.models.embeddings import TimestepEmbedding, get_timestep_embedding
from torch import Tensor, nn

from models.diffusionsat.metadata import MetadataError

NullMetadata = Literal["zero", "learned"]


class MetadataEmbedding(nn.Module):
    """Sum over the fields of E_i(sinusoid(value_i)), E_i being Linear, SiLU, Linear (DiffusionSat, equation 2).

    State-dict keys are DiffusionSat's: `0.linear_1.weight` ... `6.linear_2.bias`, and `null` if it is learned.

    An unknown value (NaN) is embedded as 0 with `null_metadata="zero"`, as the released models were trained;
    a true 0 (no cloud, 180 degrees west) looks the same. With "learned" it has its own vector.
    """

    def __init__(
        self,
        num_metadata: int,
        channels: int,
        embedding_dim: int,
        *,
        flip_sin_to_cos: bool,
        freq_shift: float,
        null_metadata: NullMetadata,
    ) -> None:
        super().__init__()
        if null_metadata not in ("zero", "learned"):
            raise MetadataError(f"null_metadata is {null_metadata!r}. Expected 'zero' or 'learned'.")
        self.num_metadata, self.channels = num_metadata, channels
        self.flip_sin_to_cos, self.freq_shift = flip_sin_to_cos, freq_shift
        for field in range(num_metadata):
            self.add_module(str(field), TimestepEmbedding(channels, embedding_dim))
        self.null = nn.Parameter(torch.zeros(num_metadata, embedding_dim)) if null_metadata == "learned" else None

    def forward(self, metadata: Tensor, dtype: torch.dtype) -> Tensor:
        """Embed metadata.

        Args:
            metadata: (N, M) or, for K images at once, (N, M, K); normalised, float32, NaN = unknown.
            dtype: the network's compute type.

        Returns:
            (N, embedding_dim), summed over fields and images.

        Raises:
            MetadataError: wrong shape, or a precision that cannot hold the values.
        """
        values = metadata[..., None] if metadata.ndim == 2 else metadata
        if values.ndim != 3 or values.shape[1] != self.num_metadata:
            raise MetadataError(f"metadata has shape {tuple(metadata.shape)}. Expected (N, {self.num_metadata}[, K]).")
        if values.dtype not in (torch.float32, torch.float64):
            raise MetadataError(
                f"metadata is {values.dtype}, which rounds 4206 to steps of 4. Keep it float32 for any network."
            )
        unknown = values.isnan()
        waves = get_timestep_embedding(
            values.masked_fill(unknown, 0).float().flatten(),
            self.channels,
            flip_sin_to_cos=self.flip_sin_to_cos,
            downscale_freq_shift=self.freq_shift,
        )
        waves = waves.view(*values.shape, self.channels).to(dtype)
        return torch.stack([self._field(i, waves[:, i], unknown[:, i]) for i in range(self.num_metadata)]).sum(0)

    def unknown(self, rows: int, device: torch.device) -> Tensor:
        """(rows, M) unknown metadata."""
        return torch.full((rows, self.num_metadata), torch.nan, device=device)

    @torch.no_grad()
    def copy_from(self, other: "MetadataEmbedding") -> None:
        """Copy another network's embeddings; a learned null that it lacks starts as its embedding of 0."""
        self.load_state_dict(other.state_dict(), strict=False)
        if self.null is not None and other.null is None:
            zero = get_timestep_embedding(
                torch.zeros(1, device=self.null.device),
                self.channels,
                flip_sin_to_cos=self.flip_sin_to_cos,
                downscale_freq_shift=self.freq_shift,
            ).to(self.null.dtype)
            self.null.copy_(torch.cat([self.get_submodule(str(field))(zero) for field in range(self.num_metadata)]))

    def _field(self, field: int, waves: Tensor, unknown: Tensor) -> Tensor:
        """One field of K images: (N, K, channels) -> (N, embedding_dim)."""
        embedded: Tensor = self.get_submodule(str(field))(waves)
        if self.null is not None:
            embedded = torch.where(unknown[..., None], self.null[field].to(embedded.dtype), embedded)
        return embedded.sum(1)


def takes_metadata(network: nn.Module) -> bool:
    """Whether a UNet or ControlNet has metadata embeddings."""
    return getattr(network, "metadata_embedding", None) is not None
