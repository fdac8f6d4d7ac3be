"""The watermark SYNTHETIC over a generated image: a tile repeated from the scene's corner, so strips can be marked."""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from generate.inputs import Pixels

WORD = "SYNTHETIC"
OPACITY = 0.35  # of the mark; the image below stays recognisable
LARGEST_TILE_PX = 512
TEXT_SHARE = 0.75  # of the tile's side


def marked(pixels: Pixels, top: int, tile: int) -> Pixels:
    """Overlay the watermark on the rows of an image that begin at `top`.

    Args:
        pixels: (rows, width, 3).
        top: their position in the whole image.
        tile: distance between two marks, px; see `tile_side`.
    """
    ink, shade = _tile(tile)
    rows = np.arange(top, top + pixels.shape[0]) % tile
    columns = np.arange(pixels.shape[1]) % tile
    # White letters on a dark shadow: one of them stands out on any background.
    ink, shade = (layer[np.ix_(rows, columns)][..., None] for layer in (ink, shade))
    mixed = pixels * (1 - OPACITY * np.maximum(ink, shade)) + 255 * OPACITY * ink
    return np.asarray(mixed.round().astype(np.uint8))


def tile_side(width: int, height: int) -> int:
    """Distance between two marks, px: at least one mark on any image."""
    return min(LARGEST_TILE_PX, width, height)


@cache
def _tile(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(side, side) coverage of the letters and of their shadow, 0 to 1."""
    font = ImageFont.load_default(size=100)
    left, _, right, _ = font.getbbox(WORD)
    font = ImageFont.load_default(size=max(1.0, 100 * TEXT_SHARE * side / (right - left)))
    layers = []
    for offset in (0, max(1, side // 128)):
        layer = Image.new("L", (side, side), 0)
        ImageDraw.Draw(layer).text((side / 2 + offset, side / 2 + offset), WORD, fill=255, font=font, anchor="mm")
        layers.append(np.asarray(layer.rotate(30, Image.Resampling.BILINEAR)) / 255)
    ink, shadow = layers
    return ink, shadow * (1 - ink)
