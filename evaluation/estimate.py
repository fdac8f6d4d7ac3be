"""From the values of many patches and samples to one number with its confidence interval."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

DRAWS = 4000
SEED = 0  # the same interval every time
LEVEL = 0.95
FEWEST_CLUSTERS = 5  # fewer have no interval: resampling them says too little about how they differ

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """A mean and its 95 % interval; NaN where there is nothing to measure, or too little for an interval."""

    value: float
    low: float = math.nan
    high: float = math.nan
    patches: int = 0  # that have a value
    clusters: int = 0  # scenes (or events) that these are of: what the interval resamples

    @property
    def decided(self) -> bool:
        """Whether its interval, if it has one, excludes 0."""
        return self.low > 0 or self.high < 0


def weighted_mean(values: Floats, weights: Floats, clusters: Sequence[str]) -> Estimate:
    """Mean over patches of the mean over samples, with a bootstrap over clusters of patches.

    Patches of one scene resemble each other, so scenes are drawn whole, with all patches and samples (Davison & Hinkley
    1997, section 3.8). The mean is a ratio of sums over clusters, in every draw as in the data.

    Args:
        values: (patches, samples); NaN where there is none. A patch counts by the samples that have a value.
        weights: (patches,): pixels for a pooled mean, else 1.
        clusters: (patches,): the scene of each, or another unit that is independent of the others.
    """
    counted = ~np.isnan(values).all(axis=1) & (weights > 0)
    values, weights = np.nanmean(values[counted], axis=1), weights[counted].astype(np.float64)
    if not len(values):
        return Estimate(math.nan)
    groups, number = numbered([name for name, counts in zip(clusters, counted, strict=True) if counts])
    sums, totals = np.bincount(groups, values * weights), np.bincount(groups, weights)
    mean = float(sums.sum() / totals.sum())
    times = draws(number)
    return Estimate(mean, *interval((times @ sums) / (times @ totals), number), len(values), number)


def interval(drawn: Floats, clusters: int) -> tuple[float, float]:
    """Ends of the 95 % interval: percentiles of a statistic over draws; NaN below FEWEST_CLUSTERS.

    Plain percentiles are too narrow for few clusters (sqrt((n - 1) / n), and no Student's t). The expanded ones
    (Hesterberg 2015, "What teachers should know about the bootstrap", section 5.4) are not, and stay within the range
    of the statistic.

    Args:
        drawn: (DRAWS,) the statistic of each draw.
        clusters: how many were drawn from.
    """
    if clusters < FEWEST_CLUSTERS:
        return math.nan, math.nan
    reach = stats.t.ppf((1 + LEVEL) / 2, clusters - 1) * math.sqrt(clusters / (clusters - 1))
    low, high = np.quantile(drawn, stats.norm.cdf([-reach, reach]))
    return float(low), float(high)


def numbered(clusters: Sequence[str]) -> tuple[NDArray[np.intp], int]:
    """The number of each patch's cluster, from 0, and how many clusters there are."""
    names, groups = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    return groups, len(names)


@lru_cache(maxsize=8)
def draws(clusters: int, seed: int = SEED) -> Floats:
    """(DRAWS, clusters) how often each is drawn, with replacement; the same for every statistic."""
    shares = np.full(clusters, 1 / clusters)
    return np.random.default_rng(seed).multinomial(clusters, shares, size=DRAWS).astype(np.float64)


def best_sample(values: Floats, *, lowest: bool) -> Floats:
    """(patches, 1): the best sample of each patch, chosen knowing the truth; NaN without any."""
    if not values.size:
        return values[:, :1]
    return np.asarray((np.fmin if lowest else np.fmax).reduce(values, axis=1, keepdims=True))
