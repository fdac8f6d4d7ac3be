"""Means and their intervals, by hand and against scipy."""

import math

import numpy as np
import pytest
from scipy import stats

from evaluation.estimate import best_sample, weighted_mean

NAN = math.nan


def test_pooled_mean_by_hand() -> None:
    """A patch of 30 pixels weighs thrice one of 10; one without the region does not count."""
    values, pixels = np.array([[0.1], [0.3], [NAN]]), np.array([30, 10, 0])
    found = weighted_mean(values, pixels)
    assert found.value == pytest.approx(0.15)
    assert found.patches == 2
    assert 0.1 <= found.low <= found.value <= found.high <= 0.3


def test_samples_are_averaged_first() -> None:
    """Two seeds of one patch are one patch; a single patch has no interval."""
    found = weighted_mean(np.array([[1.0, 3.0]]), np.ones(1))
    assert (found.value, found.patches) == (2.0, 1)
    assert math.isnan(found.low)


def test_nothing_to_measure() -> None:
    """No number."""
    found = weighted_mean(np.array([[NAN]]), np.ones(1))
    assert math.isnan(found.value)
    assert found.patches == 0


def test_interval_is_that_of_scipy() -> None:
    """Percentile bootstrap of a mean, another implementation with another generator."""
    values = np.random.default_rng(1).gamma(2.0, size=80)
    ours = weighted_mean(values[:, None], np.ones(80))
    theirs = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=4000, rng=np.random.default_rng(2)
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.low == pytest.approx(theirs.low, abs=0.1 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.1 * width)


def test_best_of_k() -> None:
    """The lowest or the highest of each patch."""
    values = np.array([[3.0, 1.0], [NAN, NAN], [2.0, 5.0]])
    assert best_sample(values, lowest=True)[[0, 2], 0].tolist() == [1.0, 2.0]
    assert best_sample(values, lowest=False)[[0, 2], 0].tolist() == [3.0, 5.0]
    assert math.isnan(best_sample(values, lowest=True)[1, 0])
