"""Maps laid over their image: a row for each network, a column for each word."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from generate.inputs import Pixels

MOST_PX = 384  # the longer side of one panel
LABEL_PX, GAP_PX = 14, 4
# From no attention to the highest: dark violet, red, yellow.
COLOURS = np.array([(20, 10, 60), (130, 30, 110), (230, 80, 50), (250, 230, 90)], np.float32)
OPACITY = 0.6


def panel_size(size_px: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of a panel that shows an image of this height and width."""
    height, width = size_px
    scale = min(1.0, MOST_PX / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def picture(image: Pixels, maps: Mapping[tuple[str, str], Image.Image]) -> Pixels:
    """(height, width, 3) of the image and every map over it.

    Args:
        image: (h, w, 3).
        maps: (word, network) -> its map, grey, of `panel_size`.
    """
    small = Image.fromarray(image).resize(panel_size(image.shape[:2]), Image.Resampling.BOX)
    words, networks = (list(dict.fromkeys(names)) for names in zip(*maps, strict=True))
    width, height = small.width + GAP_PX, small.height + LABEL_PX + GAP_PX
    sheet = Image.new("RGB", (width * (1 + len(words)), height * len(networks)), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((1, 1), "image", fill="black")
    sheet.paste(small, (0, LABEL_PX))
    for (word, network), grey in maps.items():
        left, top = width * (1 + words.index(word)), height * networks.index(network)
        draw.text((left + 1, top + 1), f"{word} ({network})", fill="black")
        sheet.paste(Image.fromarray(over(np.asarray(small), np.asarray(grey))), (left, top + LABEL_PX))
    return np.asarray(sheet)


def over(image: Pixels, grey: NDArray[np.uint8]) -> Pixels:
    """An image in grey under the colours of a map."""
    steps = np.linspace(0, 255, len(COLOURS))
    coloured = np.stack([np.interp(grey, steps, channel) for channel in COLOURS.T], axis=-1)
    mixed = OPACITY * coloured + (1 - OPACITY) * image.mean(axis=-1, keepdims=True)
    return np.asarray(mixed.round(), np.uint8)
