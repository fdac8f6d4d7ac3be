"""Whether two pictures show the same place: how well their coarse patterns correlate.

Roads, fields, shores and crowns of trees stay through floods, fires and seasons, so their pattern at 1/128 to 1/32 of
the side is compared, with local contrast evened out. docs/pair-quality.md has the measurements behind the thresholds.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from data.quality.image import histograms

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

SIDE_PX = 128  # both are brought to this size
FINE_PX, COARSE_PX = 1.0, 4.0  # standard deviations of the Gaussians between which the pattern lies
SEARCH_PX = 5  # the largest offset within a pair: 40 px of a scene of 1024
LEAST_CONTRAST = 0.5  # root mean square of the pattern, 8-bit values: less is noise
LEAST_SHOWN = 0.25  # share of the picture that must hold data in both

# The minimum over 31 real pairs is 0.23; of 930 pairs of different places six exceed 0.2.
ANOTHER_PLACE_BELOW = 0.2
# Mean difference of pre and post, 8-bit values: 12 and more in real pairs, 2 to 6 in copies saved as poor JPEG.
COPY_BELOW = 2.0


def likeness(one: Pixels, other: Pixels, nodata: Mask, search_px: int = SEARCH_PX) -> float:
    """The peak of the normalised correlation of the patterns of two pictures of one size, -1..1; NaN if there is none.

    Args:
        one: (H, W, 3) of 0..255.
        other: the same of the other picture.
        nodata: (H, W), True where either has no data.
        search_px: their largest offset, of SIDE_PX.
    """
    hidden = _small(nodata.astype(np.float32)) > 0
    if hidden.mean() > 1 - LEAST_SHOWN:
        return float("nan")
    first, second = (_pattern(picture, hidden) for picture in (one, other))
    if first is None or second is None:
        return float("nan")
    surface = fft.ifft2(fft.fft2(first) * np.conj(fft.fft2(second))).real
    near = np.arange(-search_px, search_px + 1)
    return float(surface[np.ix_(near, near)].max() / np.sqrt((first**2).sum() * (second**2).sum()))


def mix_up(pre: Pixels, post: Pixels, nodata: Mask) -> str:
    """Why a pair may not show one place at two dates; "" if there is no sign of it."""
    # Counted by Pillow: to pick the pixels and take their mean took a tenth of the build of a scene.
    counts = histograms(np.maximum(pre, post) - np.minimum(pre, post), nodata).sum(axis=0)
    difference = counts @ np.arange(256) / counts.sum() if counts.any() else np.nan
    if difference < COPY_BELOW:
        return f"post looks like a copy of pre: they differ by {difference:.1f} grey levels on average"
    if (alike := likeness(pre, post, nodata)) < ANOTHER_PLACE_BELOW:
        return (
            f"post may show another place: patterns agree to {alike:.2f}, of one place to {ANOTHER_PLACE_BELOW} or more"
        )
    return ""


def _pattern(picture: Pixels, hidden: Mask) -> Floats | None:
    grey = _small(np.asarray(Image.fromarray(picture).convert("L"), np.float32))
    grey[hidden] = grey[~hidden].mean()
    band = ndimage.gaussian_filter(grey, FINE_PX) - ndimage.gaussian_filter(grey, COARSE_PX)
    if np.sqrt((band[~hidden] ** 2).mean()) < LEAST_CONTRAST:
        return None
    band /= np.sqrt(ndimage.gaussian_filter(band**2, 2 * COARSE_PX)) + 1
    fade = np.hanning(SIDE_PX)
    # The edge of missing ground is not a pattern.
    shown = ~ndimage.binary_dilation(hidden, iterations=int(COARSE_PX)) if hidden.any() else 1.0
    band *= np.outer(fade, fade) * shown
    return np.asarray(band - band.mean(), np.float64)


def _small(values: NDArray[np.float32]) -> Floats:
    image = Image.fromarray(values).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)
    return np.array(image, np.float64)
