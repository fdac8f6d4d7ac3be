"""How many buildings an image shows, by ridge regression on a few statistics of it, learned from labelled patches.

A gauge, not a detector: good enough to say whether one image is more densely built than another, and it reports its own
accuracy (rank correlation with the labels of patches it has not seen).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_laplace, maximum_filter
from scipy.stats import spearmanr

from data.imagery.pixels import resize_rgb

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

SCALES = (0.012, 0.024, 0.048)  # sizes of details, of the side; a house of 12 m in a patch of 128 m has 0.09
BLOB_AT = (0.02, 0.05)  # strength of what counts as a blob, of the range of pixel values
RIDGE = 1.0  # per patch, features in standard deviations


@dataclass(frozen=True)
class Gauge:
    """log(1 + buildings) as a linear function of features."""

    weights: Floats  # the last one is the constant
    agreement: dict[str, float]  # with the labels of other scenes; {} = unknown

    def count(self, image: Pixels) -> float:
        """Buildings in an image (H, W, 3)."""
        return float(np.expm1(max(0.0, float(features(image) @ self.weights))))


def features(image: Pixels) -> Floats:
    """Statistics of an image: tones, edges and blobs at several scales, and 1."""
    pixels = image.astype(np.float32) / 255
    grey = pixels.mean(axis=-1)
    found = [*pixels.mean(axis=(0, 1)), *pixels.std(axis=(0, 1))]
    for scale in SCALES:
        sigma = scale * len(image)
        slopes = np.hypot(*np.gradient(gaussian_filter(grey, sigma))) * sigma
        found += [slopes.mean(), *np.quantile(slopes, (0.5, 0.9, 0.98))]
        for sign in (-1, 1):
            blobs = sign * sigma**2 * gaussian_laplace(grey, sigma)
            peaks = (blobs == maximum_filter(blobs, 2 * int(sigma) + 1)) & (blobs > 0)
            found += [float(np.log1p((peaks & (blobs > least)).sum())) for least in BLOB_AT]
    return np.array([*found, 1.0])


def learned(known: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]], side: int) -> Gauge:
    """Fit to the pre and post images of some labelled patches, and test on others.

    Args:
        known: dataset rows to learn from.
        held_out: dataset rows to measure the agreement on.
        side: that patches are resized to, px.
    """
    described, counts = _images(known, side)
    middle, spread = described.mean(axis=0), described.std(axis=0) + 1e-9
    middle[-1], spread[-1] = 0, 1
    scaled, target = (described - middle) / spread, np.log1p(counts)
    ridge = np.diag([RIDGE * len(scaled) / 100] * (scaled.shape[1] - 1) + [0.0])
    weights = np.linalg.solve(scaled.T @ scaled + ridge, scaled.T @ target) / spread
    weights[-1] -= middle @ weights
    described, counts = _images(held_out, side)
    if len(set(counts)) < 2:
        return Gauge(weights, {})  # no correlation without any spread
    correlation = float(spearmanr(described @ weights, counts).statistic)
    return Gauge(weights, {"images": len(counts), "rank_correlation": correlation})


def _images(rows: Sequence[Mapping[str, Any]], side: int) -> tuple[Floats, Floats]:
    """Features and labelled buildings of both images of each row."""
    shown = [resize_rgb(row[phase], side) for row in rows for phase in ("pre", "post")]
    counts = [sum(building["counted"] for building in row["buildings"]) for row in rows for _ in range(2)]
    return np.array([features(image) for image in shown]), np.array(counts, np.float64)
