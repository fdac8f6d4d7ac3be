"""Bring the 16-bit values of a pair to 8 bits, with one range per band for pre and post: what got darker stays darker.

The range runs from the 1st to the 99th percentile of both images together. Per band, because the raw numbers of a
sensor's bands share neither gain nor offset (haze lifts the blue one). See docs/sources.md.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.raster import Mask

PERCENTILES = (1.0, 99.0)
Range = tuple[tuple[float, float], ...]  # per band: which value becomes the darkest and which the brightest
AS_IT_IS: Range = ((0.0, 255.0),) * 3  # the values are 8-bit values, whatever they are stored in


def joint_range(images: Sequence[NDArray[Any]], valid: Sequence[Mask]) -> Range:
    """The range of (..., 3) images of 16 bits, over their valid pixels. Values that all fit into 0..255 stay."""
    seen = np.concatenate([image[present(image, mask)] for image, mask in zip(images, valid, strict=True)])
    if not seen.size or (seen.min() >= 0 and seen.max() <= 255):
        return AS_IT_IS
    low, high = np.percentile(seen, PERCENTILES, axis=0)
    return tuple((float(least), float(most)) for least, most in zip(low, high, strict=True))


def to_8_bit(image: NDArray[Any], valid: Mask, limits: Range) -> NDArray[np.uint8]:
    """Valid pixels as 1..255, the others 0: black is left to what holds no data."""
    if limits == AS_IT_IS:
        return np.asarray(np.where(valid[..., None], np.clip(image, 0, 255), 0), np.uint8)
    low, high = (np.array(ends, np.float32) for ends in zip(*limits, strict=True))
    share = (image.astype(np.float32) - low) / np.maximum(high - low, 1)
    stretched = np.asarray(np.round(1 + 254 * np.clip(share, 0, 1)), np.uint8)
    stretched[~present(image, valid)] = 0
    return stretched


def present(image: NDArray[Any], valid: Mask) -> Mask:
    """Valid, and not zero in all three bands: that is how a collar without data looks where no mask tells."""
    return np.asarray(valid & (image != 0).any(axis=-1))
