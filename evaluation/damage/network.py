"""A small siamese U-Net that localises buildings in the pre image and classifies their damage from both."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

NUM_CLASSES = 4  # no-damage, minor-damage, major-damage, destroyed
FOLD = 4  # pixels are folded into channels, so that the most expensive level has a quarter of the side
MULTIPLES = (1, 2, 4)  # channels of the levels, times the width
SIDE_MULTIPLE = FOLD * 2 ** (len(MULTIPLES) - 1)


class DamageNetwork(nn.Module):
    """Both images go through the same U-Net; localisation reads the features of pre, damage those of both.

    It has 460,000 weights with the default width.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        channels = [width * multiple for multiple in MULTIPLES]
        inputs = [3 * FOLD**2, *channels[:-1]]
        self.down = nn.ModuleList(_block(c_in, c_out) for c_in, c_out in zip(inputs, channels, strict=True))
        self.up = nn.ModuleList(_convolution(low + high, high) for high, low in pairwise(channels))
        self.localise = nn.Conv2d(width, FOLD**2, 1)
        self.tell = nn.Sequential(_convolution(2 * width, width), nn.Conv2d(width, NUM_CLASSES * FOLD**2, 1))

    def forward(self, pre: Tensor, post: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of building, (B, H, W), and of the four classes, (B, 4, H, W).

        Args:
            pre: (B, 3, H, W) uint8; sides are multiples of SIDE_MULTIPLE.
            post: likewise.
        """
        of_pre, of_post = self._features(torch.cat([pre, post])).chunk(2)
        building = F.pixel_shuffle(self.localise(of_pre), FOLD)[:, 0]
        return building, F.pixel_shuffle(self.tell(torch.cat([of_pre, of_post], dim=1)), FOLD)

    def _features(self, images: Tensor) -> Tensor:
        x = F.pixel_unshuffle(images.float() / 64 - 2, FOLD)
        kept = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            kept.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([F.interpolate(x, scale_factor=2.0), kept[level]], dim=1))
        return x


def classify(logits: tuple[Tensor, Tensor]) -> Tensor:
    """(B, H, W) uint8: 0 where a building is unlikely, else the most likely class, 1 to 4."""
    building, damage = logits
    return ((building > 0) * (damage.argmax(dim=1) + 1)).to(torch.uint8)


def _block(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(_convolution(c_in, c_out), _convolution(c_out, c_out))


def _convolution(c_in: int, c_out: int) -> nn.Sequential:
    # Group norm: the same network for any batch size, and no running means that depend on the order of the examples.
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, 3, padding=1, bias=False), nn.GroupNorm(min(8, c_out), c_out), nn.SiLU()
    )
