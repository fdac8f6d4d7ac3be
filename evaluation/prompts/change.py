"""Where two images of a place differ, and how well that agrees with true change where it is known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr

from data.examples.regions import CHANGED_FROM, block_mean, foreseeable
from data.imagery.pixels import resize_rgb

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

BLUR = 0.015  # standard deviation, of the side: single pixels and soft edges do not decide
THRESHOLDS = np.linspace(0.005, 0.15, 30)  # tried, of the range of pixel values
DEFAULT_THRESHOLD = 0.01  # where the truth is unknown: what the simulated scenes of docs/prompt-study.md gave


@dataclass(frozen=True)
class Detector:
    """Change is a difference above a threshold."""

    threshold: float  # of `difference`
    agreement: dict[str, float]  # with true change, on other patches than the threshold was chosen on; {} = unknown

    def changed(self, pre: Pixels, image: Pixels) -> Mask:
        """(H, W) where they differ."""
        return difference(pre, image) >= self.threshold


def difference(pre: Pixels, image: Pixels) -> Floats:
    """(H, W) float32 in 0..1: mean over channels of the blurred difference, with tones matched.

    The median difference of each channel is light and season, not change, and is subtracted.
    """
    apart = image.astype(np.float32) / 255 - pre.astype(np.float32) / 255
    apart -= np.median(apart, axis=(0, 1))
    sigma = BLUR * len(pre)
    return np.asarray(np.abs(gaussian_filter(apart, (sigma, sigma, 0))).mean(axis=-1), np.float32)


def calibrated(known: Sequence[Mapping[str, Any]], held_out: Sequence[Mapping[str, Any]], side: int) -> Detector:
    """The threshold that finds the truly changed pixels of some patches best (F1), tested on others.

    Args:
        known: dataset rows to choose it on.
        held_out: dataset rows to measure its agreement on.
        side: that patches are resized to, px.
    """
    pairs = [_pair(row, side) for row in known if row["change_mask"] is not None]
    if not pairs:
        return Detector(DEFAULT_THRESHOLD, {})
    found, truth = (np.concatenate([pair[i] for pair in pairs]) for i in range(2))
    best = max(THRESHOLDS, key=lambda threshold: f1(found >= threshold, truth))
    others = [_pair(row, side) for row in held_out if row["change_mask"] is not None]
    return Detector(float(best), _agreement(others, float(best)))


def f1(found: Mask, truth: Mask) -> float:
    """2 x both / (found + true); 1 if there is neither."""
    total = int(found.sum() + truth.sum())
    return 2 * int((found & truth).sum()) / total if total else 1.0


def _pair(row: Mapping[str, Any], side: int) -> tuple[Floats, Mask]:
    """Measured difference and true change at the pixels of a real pair that nothing covers."""
    pre, post = (resize_rgb(row[phase], side) for phase in ("pre", "post"))
    seen, change = foreseeable(row, side), block_mean(np.asarray(row["change_mask"]), side) >= CHANGED_FROM
    return difference(pre, post)[seen], change[seen]


def _agreement(pairs: Sequence[tuple[Floats, Mask]], threshold: float) -> dict[str, float]:
    pairs = [pair for pair in pairs if pair[0].size]
    found = [apart >= threshold for apart, _ in pairs]
    areas = np.array([[mask.mean(), truth.mean()] for mask, (_, truth) in zip(found, pairs, strict=True)])
    if len(pairs) < 2 or not np.ptp(areas, axis=0).all():
        return {}  # no correlation without any spread
    return {
        "patches": len(pairs),
        "f1": f1(np.concatenate(found), np.concatenate([truth for _, truth in pairs])),
        "area_correlation": float(np.corrcoef(areas.T)[0, 1]),
        "area_rank_correlation": float(spearmanr(*areas.T).statistic),
    }
