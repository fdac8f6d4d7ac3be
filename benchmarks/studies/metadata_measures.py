"""Estimates of an image's metadata from its pixels: pixel size, season."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.simulation.season import winter

Images = NDArray[np.uint8]  # (N, side, side, 3)
Values = NDArray[np.float64]
BINS = 10


@dataclass(frozen=True)
class Trend:
    """Relation of measured to requested values."""

    slope: float
    r: float
    images: int


@dataclass(frozen=True)
class SizeEstimate:
    """log2 of the pixel size in metres, linear in the spectrum."""

    mean: Values
    weights: Values  # of the centred spectrum
    offset: float

    def __call__(self, images: Images) -> Values:
        """(N,)."""
        return np.asarray((spectrum(images) - self.mean) @ self.weights + self.offset)


def spectrum(images: Images) -> Values:
    """(N, BINS) log power of the brightness in rings of increasing frequency, each at least half an octave wide."""
    brightness = images.astype(np.float64).mean(-1)
    side = brightness.shape[-1]
    window = np.outer(np.hanning(side), np.hanning(side))
    power = np.abs(np.fft.fft2((brightness - brightness.mean((1, 2), keepdims=True)) * window)) ** 2
    cycles = np.hypot(*np.meshgrid(*[np.fft.fftfreq(side) * side] * 2))
    edges = np.geomspace(1.5, side / 2, BINS + 1)
    rings = [(cycles >= low) & (cycles < high) for low, high in pairwise(edges)]
    return np.stack([np.log(power[:, ring].mean(1) + 1) for ring in rings], 1)


def fit_size(images: Images, log2_m: Values) -> SizeEstimate:
    """Ridge regression on the spectrum."""
    features = spectrum(images)
    centred, mean, offset = features - features.mean(0), features.mean(0), float(log2_m.mean())
    ridge = 0.01 * len(images) * np.eye(BINS)
    return SizeEstimate(mean, np.linalg.solve(centred.T @ centred + ridge, centred.T @ (log2_m - offset)), offset)


def greenness(images: Images) -> Values:
    """(N,) mean of (2 G - R - B) / (R + G + B), the excess green index."""
    red, green, blue = np.moveaxis(images.astype(np.float64), -1, 0)
    return np.asarray(((2 * green - red - blue) / np.maximum(red + green + blue, 1)).mean((1, 2)))


def trend(requested: Values, measured: Values, groups: Sequence[int] | None = None) -> Trend:
    """Least squares and correlation; within groups (of one noise) if given."""
    for group in set(groups or []):
        rows = np.array(groups) == group
        requested, measured = (np.where(rows, values - values[rows].mean(), values) for values in (requested, measured))
    covariance = np.cov(requested, measured)
    return Trend(covariance[0, 1] / covariance[0, 0], float(np.corrcoef(requested, measured)[0, 1]), len(requested))


def summer(metadata: dict[str, float]) -> float:
    """Vegetation season, 0 (most withered) to 1 (green), at the date and latitude of the metadata."""
    return 1 - winter(date(int(metadata["year"]), int(metadata["month"]), int(metadata["day"])), metadata["lat"])
