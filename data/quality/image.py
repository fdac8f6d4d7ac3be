"""What can be measured in one image, or in two without registering them: missing ground, sharpness, tone."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

HOLE_PX = 1024  # black ground inside a scene counts as missing from this area on; less may be a shadow

LEAST_SPREAD = 1.0  # interquartile range of pre, 8-bit values, below which its contrast cannot be compared
BLUR_SUM = 16
QUANTILES = np.arange(0.05, 0.951, 0.05)  # where the tones of two images are compared


@dataclass(frozen=True)
class Tone:
    """Radiometric difference of a pair: post is about gain * pre + offset. Per channel, R, G, B; NaN if unknown."""

    gain: list[float]  # ratio of the interquartile ranges
    offset: list[float]  # 8-bit values
    gap: float  # mean difference of the tones at equal quantiles, 8-bit values


def nodata_mask(image: Pixels, masked: Mask | None = None) -> Mask:
    """Pixels without data: `masked` ones, and exactly black ground that reaches the border or is large."""
    black = np.asarray((image[..., 0] | image[..., 1] | image[..., 2]) == 0)  # ten times as fast as .all(axis=-1)
    sides = (black[0], black[-1], black[:, 0], black[:, -1])
    if np.count_nonzero(black) < HOLE_PX and not any(side.any() for side in sides):
        black[:] = False  # some shadows
    elif black.any():
        regions, count = ndimage.label(black)
        missing = np.bincount(regions.ravel(), minlength=count + 1) >= HOLE_PX
        for side in (regions[0], regions[-1], regions[:, 0], regions[:, -1]):
            missing[side] = True
        missing[0] = False  # what is not black
        black = missing[regions]
    return black if masked is None else black | masked


def sharpness(brightness: Floats, nodata: Mask) -> float:
    """Share of the gradient's energy that a 3 x 3 binomial blur takes away, 0..1; NaN without any gradient.

    A blurred image loses little (Crete et al. 2007). Contrast and brightness cancel; noise counts as detail.
    """
    # The frame of two pixels is where the blur and the differences lack neighbours.
    unseen = ndimage.binary_dilation(nodata, iterations=3)[2:-2, 2:-2] if nodata.any() else None
    before, after = _gradient_energy(brightness[1:-1, 1:-1], unseen), _gradient_energy(_blur(brightness), unseen)
    return 1 - after / BLUR_SUM**2 / before if before > 0 else float("nan")


def tone(pre: Pixels, post: Pixels, nodata: Mask) -> Tone:
    """Compare the tones of what both images show. No pixels are paired, so a shift does not matter."""
    if nodata.all():
        return Tone([float("nan")] * 3, [float("nan")] * 3, float("nan"))
    gains, offsets, gaps = [], [], []
    channels = zip(histograms(pre, nodata), histograms(post, nodata), strict=True)
    for channel in channels:
        levels = [_quantiles(counts) for counts in channel]
        (low_pre, middle_pre, high_pre), (low_post, middle_post, high_post) = (level[[4, 9, 14]] for level in levels)
        gain = (high_post - low_post) / (high_pre - low_pre) if high_pre - low_pre >= LEAST_SPREAD else float("nan")
        gains.append(float(gain))
        offsets.append(float(middle_post - gain * middle_pre))
        gaps.append(float(np.abs(levels[1] - levels[0]).mean()))
    return Tone(gains, offsets, sum(gaps) / 3)


def histograms(image: Pixels, nodata: Mask) -> NDArray[np.int64]:
    """(3, 256): how many valid pixels of a channel have each value."""
    mask = Image.fromarray(~nodata) if nodata.any() else None
    return np.reshape(Image.fromarray(image).histogram(mask), (3, 256))


def _blur(values: Floats) -> Floats:
    """Weights 1 2 1 along both axes, together BLUR_SUM; two pixels smaller each way."""
    for _ in range(2):
        values = values[:-1] + values[1:]
    for _ in range(2):
        values = values[:, :-1] + values[:, 1:]
    return values


def _gradient_energy(values: Floats, unseen: Mask | None) -> float:
    """Sum of the squared lengths of the central differences; `unseen` is two pixels smaller each way."""
    energy = 0.0
    for differences in (values[2:, 1:-1] - values[:-2, 1:-1], values[1:-1, 2:] - values[1:-1, :-2]):
        if unseen is not None:
            differences[unseen] = 0
        energy += float(np.vdot(differences, differences))
    return energy


def _quantiles(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """QUANTILES of the valid pixels, each value taken as spread over one grey level."""
    share = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    levels = np.interp(QUANTILES, share + 1e-12 * np.arange(257), np.arange(257) - 0.5)
    return np.asarray(levels, np.float64)
