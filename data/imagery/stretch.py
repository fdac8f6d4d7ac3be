"""Bring the 16-bit values of a pair to 8 bits, with one range per band for pre and post: darkening is preserved.

The range runs from the 1st to the 99th percentile of both images together. Per band, because the raw values of a
sensor's bands share neither gain nor offset (haze lifts the blue one). See docs/sources.md.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.errors import DataError
from data.imagery.raster import Mask

PERCENTILES = (1.0, 99.0)
COLLAR_SHARE = 0.01  # of the image; PERCENTILES leave out what is less
COLLAR_GAP = 0.5  # of the range of the other values, so far from them. Saturated roofs and clouds have values between
Range = tuple[tuple[float, float], ...]  # per band: which value becomes the darkest and which the brightest
AS_IT_IS: Range = ((0.0, 255.0),) * 3  # the values are 8-bit values, whatever they are stored in


def joint_range(images: Sequence[NDArray[Any]], valid: Sequence[Mask]) -> Range:
    """The range of (..., 3) images of 16 bits, over their valid pixels. Values that all fit into 0..255 stay."""
    seen = _seen(images, valid)
    if not seen.size or (seen.min() >= 0 and seen.max() <= 255):
        return AS_IT_IS
    low, high = np.percentile(seen, PERCENTILES, axis=0)
    return tuple((float(least), float(most)) for least, most in zip(low, high, strict=True))


def check_collar(path: Path, images: Sequence[NDArray[Any]], valid: Sequence[Mask]) -> None:
    """Stop where one extreme value fills a part of a file in all bands, far from all others: no data without a tag.

    With a collar of 65535 the ground would be left with six grey levels.

    Args:
        path: of the file, named in the error.
        images: (..., 3) windows of it, of 16 bits.
        valid: (...) of each.
    """
    seen = _seen(images, valid).astype(np.int32)
    for extreme in (seen.min(), seen.max()) if seen.size else ():
        collar = (seen == extreme).all(axis=-1)
        share, ground = collar.mean(), seen[~collar]
        if share < COLLAR_SHARE or not ground.size:
            continue
        least, low, high, most = np.percentile(ground, (0.1, *PERCENTILES, 99.9))
        if max(least - extreme, extreme - most) > COLLAR_GAP * (high - low):
            raise DataError(
                f"{path}: {share:.0%} of it is {extreme} in all bands, far from the rest ({low:.0f} to {high:.0f}): "
                f"an undeclared no-data value. Declare it: gdal_edit.py -a_nodata {extreme} FILE."
            )


def to_8_bit(image: NDArray[Any], valid: Mask, limits: Range) -> NDArray[np.uint8]:
    """Valid pixels as 1..255, the others 0: black is reserved for no data."""
    if limits == AS_IT_IS:
        return np.asarray(np.where(valid[..., None], np.clip(image, 0, 255), 0), np.uint8)
    low, high = (np.array(ends, np.float32) for ends in zip(*limits, strict=True))
    share = (image.astype(np.float32) - low) / np.maximum(high - low, 1)
    stretched = np.asarray(np.round(1 + 254 * np.clip(share, 0, 1)), np.uint8)
    stretched[~present(image, valid)] = 0
    return stretched


def present(image: NDArray[Any], valid: Mask) -> Mask:
    """Valid, and not zero in all three bands: a no-data collar looks like that where no mask marks it."""
    return np.asarray(valid & (image != 0).any(axis=-1))


def _seen(images: Sequence[NDArray[Any]], valid: Sequence[Mask]) -> NDArray[Any]:
    """(pixels, 3) of those that are present."""
    return np.concatenate([image[present(image, mask)] for image, mask in zip(images, valid, strict=True)])
