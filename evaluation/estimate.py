"""From the values of many patches and samples to one number with its confidence interval."""

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

DRAWS = 1000
SEED = 0  # the same interval every time
LEVEL = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; all NaN where there is nothing to measure."""

    value: float
    low: float = math.nan
    high: float = math.nan
    patches: int = 0  # that have a value


def weighted_mean(values: Floats, weights: Floats) -> Estimate:
    """Mean over patches of the mean over samples, with a bootstrap over patches.

    The interval (Efron & Tibshirani 1993, chapter 13: percentiles) says how much the number would differ on other
    patches of the same kind. Patches are drawn whole, with all their samples, because those are not independent.

    Args:
        values: (patches, samples); NaN where a patch has none.
        weights: (patches,): pixels for a pooled mean, else 1.
    """
    counted = ~np.isnan(values).any(axis=1) & (weights > 0)
    values, weights = values[counted].mean(axis=1), weights[counted].astype(np.float64)
    if not len(values):
        return Estimate(math.nan)
    mean = float(values @ weights / weights.sum())
    if len(values) == 1:
        return Estimate(mean, patches=1)
    drawn = draws(len(values))
    means = (values * weights)[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(mean, float(low), float(high), len(values))


@lru_cache(maxsize=8)
def draws(count: int) -> NDArray[np.intp]:
    """(DRAWS, count) rows drawn with replacement; the same for every number over as many patches."""
    return np.random.default_rng(SEED).integers(count, size=(DRAWS, count))


def best_sample(values: Floats, *, lowest: bool) -> Floats:
    """(patches, 1): of each patch its best sample, as one who knows the truth would choose it."""
    if not values.size:
        return values[:, :1]
    return np.asarray((values.min if lowest else values.max)(axis=1, keepdims=True))
