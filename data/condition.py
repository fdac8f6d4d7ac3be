"""What a ControlNet is shown of a place: its image, or its image and the damage that is asked for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from data.pixels import resize_rgb

DAMAGE_VALUES_SHOWN = 5  # background and the four damage classes; un-classified ground is none of them
CHANNELS = {"pixels": 3, "pixels+mask": 3 + DAMAGE_VALUES_SHOWN}


def shown_pixels(image: Image.Image, mask: Image.Image | None, resolution: int) -> NDArray[np.uint8]:
    """An image, with the damage mask as one-hot channels behind it if there is one.

    Args:
        image: of the patch.
        mask: its damage mask: 0 background, 1 to 4 damage, 255 not assessable.
        resolution: side of the result, px.

    Returns:
        (resolution, resolution, 3 or 8) uint8; a class is 255 where it is and 0 elsewhere.
    """
    pixels = resize_rgb(image, resolution)
    if mask is None:
        return pixels
    return with_mask(pixels, np.array(mask.resize((resolution, resolution), Image.Resampling.NEAREST)))


def with_mask(pixels: NDArray[np.uint8], classes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """(height, width, 3) pixels and (height, width) of a damage mask as (height, width, 8)."""
    one_hot = (classes[..., None] == np.arange(DAMAGE_VALUES_SHOWN)) * np.uint8(255)
    return np.concatenate([pixels, one_hot], -1)


def undamaged(mask: Image.Image) -> Image.Image:
    """The damage mask of the same place before the event: every building stands."""
    return Image.fromarray((np.array(mask) > 0).astype(np.uint8))
