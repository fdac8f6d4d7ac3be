"""Patch discriminator between real and reconstructed crops; trained alongside the autoencoder and not shipped."""

import torch.nn.functional as F
from torch import Tensor, nn


class PatchDiscriminator(nn.Module):
    """A PatchGAN (Isola et al. 2017, section 3.2) with three downsamplings; group norms, since batches are small."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = (width, 2 * width, 4 * width)
        self.levels = nn.ModuleList()
        for level, (before, after) in enumerate(zip((3, *widths), widths, strict=False)):
            norm = nn.GroupNorm(8, after) if level else nn.Identity()
            self.levels.append(nn.Sequential(nn.Conv2d(before, after, 4, stride=2, padding=1), norm, nn.LeakyReLU(0.2)))
        self.verdict = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, 3, H, W) in [-1, 1] -> (B, 1, H / 8, W / 8) logits, above 0 if real-looking, and the features before."""
        features = []
        for level in self.levels:
            pixels = level(pixels)
            features.append(pixels)
        return self.verdict(pixels), features


def feature_distance(ours: list[Tensor], real: list[Tensor]) -> Tensor:
    """Mean absolute difference over all levels (Wang et al. 2018, equation 4): the feature matching loss."""
    return sum((F.l1_loss(a.float(), b.float()) for a, b in zip(ours, real, strict=True)), start=ours[0].new_zeros(()))


def hinge_loss(real: Tensor, reconstructed: Tensor) -> Tensor:
    """Hinge loss of the discriminator."""
    return (F.relu(1 - real.float()).mean() + F.relu(1 + reconstructed.float()).mean()) / 2
