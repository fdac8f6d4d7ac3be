"""How far post lies from pre: phase correlation of edges, to a fraction of a pixel, with a confidence.

Every edge pixel votes with the direction of its gradient and a damped strength, so colour, brightness and contrast of
the two dates matter little (orientation correlation, Fitch et al. 2002). What moved as a whole gives one sharp peak;
what was flooded, burnt or clouded over gives none, and then the confidence says so.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Floats = NDArray[np.float32]
Edges = NDArray[np.complex64]
Mask = NDArray[np.bool_]

SEARCH_PX = 32  # larger shifts are not looked for: xBD is georeferenced to a few pixels
# No pair of unrelated images has reached this; the largest was 0.45 (docs/pair-quality.md).
CONFIDENT = 0.5
BLUR_PX = 1.0  # the finest detail is noise and resampling
PEAK_RADIUS_PX = 4  # what belongs to the first peak when the second is sought
# At this distance a peak counts half. Without it, the crowns of a forest can lie confidently on its shadows, 31 px off
# (hurricane-florence_00000480).
HALF_WEIGHT_PX = 32.0
STEP_PX = 0.05  # of the sub-pixel search
TAPER = 1 / 8  # of the side fades out at each border, lest the frame itself be registered
GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Shift:
    """By how many pixels post must move down (dy) and right (dx) to lie on pre; NaN if nothing can be said."""

    dy: float
    dx: float
    confidence: float  # 0..1: 1 - second peak / first peak, far ones counting less

    @property
    def confident(self) -> bool:
        """Whether the estimate may be relied upon."""
        return self.confidence >= CONFIDENT

    @property
    def length_px(self) -> float:
        """Of the way that post must move."""
        return math.hypot(self.dy, self.dx)


UNKNOWN_SHIFT = Shift(math.nan, math.nan, 0.0)


def grey(image: NDArray[np.uint8]) -> Floats:
    """Brightness 0..255 of an RGB image."""
    return image.astype(np.float32) @ GREY


def edges(brightness: Floats, nodata: Mask) -> Edges:
    """Gradient of every pixel as a complex number x + iy of length 0..1; 0 in and beside what holds no data."""
    gradient = np.zeros(brightness.shape, np.complex64)
    gradient.real[:, 1:-1] = brightness[:, 2:] - brightness[:, :-2]
    gradient.imag[1:-1] = brightness[2:] - brightness[:-2]
    if nodata.any():
        gradient[ndimage.binary_dilation(nodata, iterations=2)] = 0
    strength = _length(gradient)
    present = strength[strength > 0]
    # Half of the edges count more than half, half less: strong ones (roofs) must not outvote everything else.
    return gradient / (strength + np.float32(np.median(present))) if present.size else gradient


def estimate_shift(pre: Edges, post: Edges) -> Shift:
    """The shift between two edge images of one shape."""
    height, width = pre.shape
    search = min(SEARCH_PX, min(height, width) // 4)
    if search <= PEAK_RADIUS_PX or not pre.any() or not post.any():
        return UNKNOWN_SHIFT
    spectrum = _cross_spectrum(pre, post)
    offsets = np.arange(-search, search + 1)
    # The inverse transform, of the rows that are looked at only.
    surface = fft.ifft(fft.ifft(spectrum, axis=0)[offsets % height], axis=1).real[:, offsets % width]
    surface /= 1 + (offsets[:, None] ** 2 + offsets**2) / HALF_WEIGHT_PX**2
    row, col = (int(i) for i in np.unravel_index(surface.argmax(), surface.shape))
    first = float(surface[row, col])
    if first <= 0 or {row, col} & {0, 2 * search}:
        return UNKNOWN_SHIFT  # the best is at the rim: the true one may lie beyond
    surface[_around(row), _around(col)] = 0
    dy, dx = _refine(spectrum, int(offsets[row]), int(offsets[col]))
    return Shift(dy, dx, 1 - float(surface.max()) / first)


def _around(peak: int) -> slice:
    return slice(max(0, peak - PEAK_RADIUS_PX), peak + PEAK_RADIUS_PX + 1)


def _cross_spectrum(pre: Edges, post: Edges) -> Edges:
    """Phases alone, weighted by a Gaussian low-pass."""
    height, width = pre.shape
    window = _taper(height)[:, None] * _taper(width)
    spectrum = fft.fft2(pre * window, overwrite_x=True)
    spectrum *= np.conj(fft.fft2(post * window, overwrite_x=True))
    power = _length(spectrum)
    spectrum /= power + np.float32(1e-3) * power.mean()
    spectrum *= _low_pass(height)[:, None] * _low_pass(width)
    return np.asarray(spectrum, np.complex64)


def _length(values: Edges) -> Floats:
    """Of complex numbers; three times as fast as np.abs, which guards against overflow."""
    return np.asarray(np.sqrt(values.real**2 + values.imag**2), np.float32)


def _taper(size: int) -> Floats:
    fade = np.clip((np.arange(size) + 0.5) / (size * TAPER), 0, 1)
    return np.asarray(np.sin(np.pi / 2 * np.minimum(fade, fade[::-1])) ** 2, np.float32)


def _low_pass(size: int) -> Floats:
    return np.asarray(np.exp(-2 * (np.pi * BLUR_PX * fft.fftfreq(size)) ** 2), np.float32)


def _refine(spectrum: Edges, row: int, col: int) -> tuple[float, float]:
    """Maximum of the correlation within a pixel of (row, col): the Fourier series summed on a fine grid."""
    height, width = spectrum.shape
    fine = np.arange(-1, 1 + STEP_PX / 2, STEP_PX)
    rows = np.exp(2j * np.pi * np.outer(row + fine, fft.fftfreq(height))).astype(np.complex64)
    cols = np.exp(2j * np.pi * np.outer(fft.fftfreq(width), col + fine)).astype(np.complex64)
    best = np.unravel_index((rows @ spectrum @ cols).real.argmax(), (fine.size, fine.size))
    return row + float(fine[best[0]]), col + float(fine[best[1]])
