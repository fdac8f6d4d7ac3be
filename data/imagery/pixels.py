"""The one way in which images are resized to the resolution of a base."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def resize_rgb(image: Image.Image, resolution: int) -> NDArray[np.uint8]:
    """An image as (resolution, resolution, 3) uint8 RGB.

    Reduction by a whole number takes the mean of each block (BOX), anything else LANCZOS. An image of this size keeps
    its pixels.
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
