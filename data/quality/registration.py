"""How far post lies from pre: phase correlation of edges, to a fraction of a pixel, with a confidence.

Every edge pixel votes with the direction of its gradient and a damped strength, so colour, brightness and contrast of
the two dates matter little (orientation correlation, Fitch et al. 2002). What moved as a whole gives one sharp peak;
what was flooded, burnt or clouded over gives none, and then the confidence says so.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

Floats = NDArray[np.float32]
Edges = NDArray[np.complex64]
Mask = NDArray[np.bool_]

# A window with so many edges is registered at half its resolution, in a third of the time. Patches of 512 px are not:
# some of them were off by more than 0.3 px then, and one of 44 unrelated pairs was confident.
HALVED_FROM_PX = 1024
SEARCH_PX = 32  # larger shifts are not searched for: xBD is georeferenced to a few pixels
# Of 930 pairs of unrelated real scenes one has reached this (docs/pair-quality.md).
CONFIDENT = 0.5
BLUR_PX = 1.0  # the finest detail is noise and resampling
PEAK_RADIUS_PX = 4  # what belongs to the first peak when the second is sought
# At this distance a peak counts half. Without it, the crowns of a forest can lie confidently on its shadows, 31 px off
# (hurricane-florence_00000480).
HALF_WEIGHT_PX = 32.0
FINE_PX = np.arange(-1, 1.025, 0.05)  # of the sub-pixel search
MEDIAN_OF = 65_536  # enough for the median of strengths
TAPER = 1 / 8  # of the side fades out at each border, so that the frame itself is not registered
GREY = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class Shift:
    """By how many pixels post must move down (dy) and right (dx) to match pre; NaN if unknown."""

    dy: float
    dx: float
    confidence: float  # 0..1: 1 - second peak / first peak, far ones counting less

    @property
    def confident(self) -> bool:
        """Whether the estimate is reliable."""
        return self.confidence >= CONFIDENT

    @property
    def length_px(self) -> float:
        """Length of the shift."""
        return math.hypot(self.dy, self.dx)


UNKNOWN_SHIFT = Shift(math.nan, math.nan, 0.0)


def grey(image: NDArray[np.uint8]) -> Floats:
    """Brightness 0..255 of an RGB image."""
    return image.astype(np.float32) @ GREY


def step_of(side: int) -> int:
    """The step in pixels between the edges of a window of this side."""
    return 2 if side >= HALVED_FROM_PX else 1


def window_edges(brightness: Floats, nodata: Mask, step_px: int) -> Edges:
    """`edges` at every pixel or, with a step of 2, of every 2 x 2 pixels together."""
    if step_px == 1:
        return edges(brightness, nodata)
    height, width = (side // 2 * 2 for side in nodata.shape)
    rows = brightness[:height:2, :width] + brightness[1:height:2, :width]
    missing = nodata[:height:2, :width] | nodata[1:height:2, :width]
    return edges(rows[:, ::2] + rows[:, 1::2], missing[:, ::2] | missing[:, 1::2])


def edges(brightness: Floats, nodata: Mask) -> Edges:
    """Gradient of every pixel as a complex number x + iy of length 0..1; 0 in and next to pixels without data."""
    x, y = np.zeros_like(brightness), np.zeros_like(brightness)
    np.subtract(brightness[:, 2:], brightness[:, :-2], out=x[:, 1:-1])
    np.subtract(brightness[2:], brightness[:-2], out=y[1:-1])
    if nodata.any():
        beside = ndimage.binary_dilation(nodata, iterations=2)
        x[beside] = y[beside] = 0
    strength = x * x
    strength += y * y
    np.sqrt(strength, out=strength)  # in place: memory that is new costs more than the square
    some = strength.ravel()[:: 1 + strength.size // MEDIAN_OF]
    present = some[some > 0]
    # Half of the edges count more than half, half less: strong ones (roofs) must not outvote everything else.
    strength += np.median(present) if present.size else 1
    found = np.empty(brightness.shape, np.complex64)
    np.divide(x, strength, out=found.real)
    np.divide(y, strength, out=found.imag)
    return found


def estimate_shift(pre: Edges, post: Edges, step_px: int = 1) -> Shift:
    """The shift between two edge images of one shape, whose edges are `step_px` apart."""
    return shift_of(cross_spectrum(pre, post, step_px), step_px)


def cross_spectrum(pre: Edges, post: Edges, step_px: int) -> Edges:
    """Of two edge images of one shape: phases alone, weighted by a Gaussian low-pass."""
    window = _taper(*pre.shape)
    # As pairs of real numbers: numpy would first make complex ones of the weights.
    spectrum = fft.fft2((pre.view(np.float32) * window).view(np.complex64), overwrite_x=True)
    spectrum *= np.conj(fft.fft2((post.view(np.float32) * window).view(np.complex64), overwrite_x=True))
    power = np.sqrt(spectrum.real**2 + spectrum.imag**2)  # np.abs guards against overflow, and takes thrice as long
    power += np.float32(1e-3) * power.mean() + np.finfo(np.float32).tiny  # an empty image has no power at all
    weight = np.divide(_low_pass(*pre.shape, step_px), power, out=power)
    spectrum.real *= weight
    spectrum.imag *= weight
    return np.asarray(spectrum, np.complex64)


def shift_of(spectrum: Edges, step_px: int) -> Shift:
    """The shift from a cross spectrum, or the sum of several: where they agree, their peaks add up (Welch 1967)."""
    search = min(SEARCH_PX, min(spectrum.shape) * step_px // 4)
    if search <= PEAK_RADIUS_PX:
        return UNKNOWN_SHIFT
    offsets = np.arange(-search, search + 1)
    # The inverse transform at every pixel, only for the rows that are searched.
    rows = fft.ifft(_finer(spectrum, 0, step_px), axis=0)[offsets]
    surface = fft.ifft(_finer(rows, 1, step_px), axis=1).real[:, offsets]
    surface /= 1 + (offsets[:, None] ** 2 + offsets**2) / HALF_WEIGHT_PX**2
    row, col = (int(i) for i in np.unravel_index(surface.argmax(), surface.shape))
    first = float(surface[row, col])
    if first <= 0 or {row, col} & {0, 2 * search}:
        return UNKNOWN_SHIFT  # the peak is at the border: the true one may lie beyond
    surface[_around(row), _around(col)] = 0
    dy, dx = _refine(spectrum, row - search, col - search, step_px)
    return Shift(dy, dx, 1 - float(surface.max()) / first)


def _around(peak: int) -> slice:
    return slice(max(0, peak - PEAK_RADIUS_PX), peak + PEAK_RADIUS_PX + 1)


def _finer(spectrum: Edges, axis: int, times: int) -> Edges:
    """With zeros at the highest frequencies, so that the inverse transform has `times` as many samples."""
    if times == 1:
        return spectrum
    low, high = np.array_split(spectrum, 2, axis)
    none = np.zeros_like(spectrum).repeat(times - 1, axis)
    return np.concatenate([low, none, high], axis)


@lru_cache(maxsize=4)  # a build has one size of patches
def _taper(height: int, width: int) -> Floats:
    """Weights, each twice side by side: of the real and of the imaginary part."""
    fades = [np.clip((np.arange(size) + 0.5) / (size * TAPER), 0, 1) for size in (height, width)]
    rows, cols = (np.sin(np.pi / 2 * np.minimum(fade, fade[::-1])) ** 2 for fade in fades)
    return np.asarray(np.outer(rows, cols.repeat(2)), np.float32)


@lru_cache(maxsize=4)
def _low_pass(height: int, width: int, step_px: int) -> Floats:
    rows, cols = (np.exp(-2 * (np.pi * BLUR_PX * fft.fftfreq(size, step_px)) ** 2) for size in (height, width))
    return np.asarray(np.outer(rows, cols), np.float32)


def _refine(spectrum: Edges, row: int, col: int, step_px: int) -> tuple[float, float]:
    """Maximum of the correlation within a pixel of (row, col): the Fourier series summed on a fine grid."""
    places = zip(spectrum.shape, (row, col), strict=True)
    rows, cols = (_waves(size, step_px) * _wave(size, step_px, place) for size, place in places)
    best = np.unravel_index((rows @ spectrum @ cols.T).real.argmax(), (FINE_PX.size, FINE_PX.size))
    return row + float(FINE_PX[best[0]]), col + float(FINE_PX[best[1]])


@lru_cache(maxsize=4)
def _waves(size: int, step_px: int) -> Edges:
    """(offsets of FINE_PX, frequencies)."""
    return np.concatenate([_wave(size, step_px, offset)[None] for offset in FINE_PX])


def _wave(size: int, step_px: int, offset_px: float) -> Edges:
    return np.asarray(np.exp(2j * np.pi * offset_px * fft.fftfreq(size, step_px)), np.complex64)
