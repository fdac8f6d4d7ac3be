"""Move the post image onto the pre image, where the estimate of their shift is confident."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data.quality.registration import Shift

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]

# Below the accuracy of the estimate, moving would only cost sharpness.
SMALLEST_PX = 0.3
FRINGE_PX = 2  # cubic interpolation rings this far around missing ground


def worth_moving(shift: Shift) -> bool:
    """Whether a scene is moved at all."""
    return shift.confident and shift.length_px >= SMALLEST_PX


def move_image(image: Pixels, nodata: Mask, shift: Shift) -> tuple[Pixels, Mask]:
    """The image moved by (dy, dx) with cubic interpolation, black where nothing is known, and that mask."""
    vector = (shift.dy, shift.dx)
    hole = ndimage.shift(nodata.astype(np.float32), vector, order=1, mode="constant", cval=1) > 0
    if nodata.any():
        hole |= ndimage.binary_dilation(ndimage.shift(nodata, vector, order=0, mode="nearest"), iterations=FRINGE_PX)
    bands = [
        ndimage.shift(image[..., band].astype(np.float32), vector, order=3, mode="nearest")
        for band in range(image.shape[-1])
    ]
    moved = np.clip(np.round(np.stack(bands, axis=-1)), 0, 255).astype(np.uint8)
    moved[hole] = 0
    return moved, hole


def move_change(change: Pixels, shift: Shift) -> Pixels:
    """A simulated change mask follows its post image; damage masks and polygons are drawn on pre and stay."""
    if not shift.length_px:
        return change
    moved = ndimage.shift(change.astype(np.float32), (shift.dy, shift.dx), order=1, mode="constant")
    return np.asarray(np.round(moved), np.uint8)


def move_cover(cover: Pixels, shift: Shift) -> Pixels:
    """Of a simulated mask of what nobody could foresee, a part follows the post image and a part stays with pre."""
    return np.maximum(cover, move_change(cover, shift))
