"""The one way in which images get the side that a base was made for."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_rgb(image: Image.Image, resolution: int) -> NDArray[np.uint8]:
    """An image as (resolution, resolution, 3) uint8 RGB.

    Whole-number reduction is the mean of each block (BOX), anything else LANCZOS. An image that has the size already
    keeps its pixels.
    """
    image = image.convert("RGB")
    if image.size != (resolution, resolution):
        whole = all(side > resolution and side % resolution == 0 for side in image.size)
        filter_ = Image.Resampling.BOX if whole else Image.Resampling.LANCZOS
        image = image.resize((resolution, resolution), filter_)
    return np.array(image)


def resize_mask(mask: Image.Image, resolution: int) -> NDArray[np.uint8]:
    """A damage mask as (resolution, resolution) uint8: the nearest pixel, since classes have no mean."""
    return np.array(mask.resize((resolution, resolution), Image.Resampling.NEAREST))
