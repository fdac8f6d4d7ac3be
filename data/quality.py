"""Two numbers that tell how far a pair can be trusted: missing ground and misregistration."""

import math

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.filters import sobel
from skimage.registration import phase_cross_correlation

UPSAMPLE_FACTOR = 10  # shifts to 0.1 px


def nodata_fraction(pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> float:
    """Share of pixels that are exactly black in either image: strip borders, not shadows."""
    return float(np.mean((pre == 0).all(axis=-1) | (post == 0).all(axis=-1)))


def shift_px(pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> tuple[float, float]:
    """(dy, dx) by which post must move to lie on pre; NaN where an image shows nothing.

    Phase correlation of edges: colour and brightness of the two dates differ, edges mostly stay.
    """
    pre_edges, post_edges = (sobel(rgb2gray(image)) for image in (pre, post))  # type: ignore[no-untyped-call]
    if not pre_edges.any() or not post_edges.any():
        return math.nan, math.nan
    (dy, dx), _, _ = phase_cross_correlation(  # type: ignore[no-untyped-call]
        pre_edges, post_edges, upsample_factor=UPSAMPLE_FACTOR
    )
    return float(dy), float(dx)
