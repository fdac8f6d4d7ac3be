"""Means and their intervals: by hand, against brute force and scipy, and by how often they cover a known truth."""

import itertools
import math
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from evaluation.estimate import DRAWS, Estimate, best_sample, draws, interval, weighted_mean

NAN = math.nan


def alone(count: int) -> list[str]:
    """Every patch is a scene of its own."""
    return [f"s{i:03d}" for i in range(count)]


def test_pooled_mean_by_hand() -> None:
    """A patch of 30 pixels weighs thrice one of 10; one without the region does not count."""
    values, pixels = np.array([[0.1], [0.3], [NAN]]), np.array([30, 10, 0])
    found = weighted_mean(values, pixels, alone(3))
    assert found.value == pytest.approx(0.15)
    assert (found.patches, found.clusters) == (2, 2)


def test_samples_are_averaged_first() -> None:
    """Two seeds of one patch are one patch."""
    found = weighted_mean(np.array([[1.0, 3.0]]), np.ones(1), alone(1))
    assert (found.value, found.patches) == (2.0, 1)


def test_a_sample_without_a_value_leaves_the_others() -> None:
    """An image of which a network says NaN is left out, not its whole patch; so too in the best of several."""
    values = np.array([[1.0, NAN], [NAN, NAN], [2.0, 6.0]])
    found = weighted_mean(values, np.ones(3), alone(3))
    assert (found.value, found.patches) == (2.5, 2)
    assert best_sample(values, lowest=False)[[0, 2], 0].tolist() == [1.0, 6.0]
    assert math.isnan(best_sample(values, lowest=False)[1, 0])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcdefg"), st.floats(0, 1), st.integers(0, 9)), min_size=1), st.randoms())
def test_the_order_of_patches_does_not_matter(patches: list[tuple[str, float, int]], random: Random) -> None:
    """Value, interval and number of scenes, against a loop over patches."""

    def of(patches: list[tuple[str, float, int]]) -> Estimate:
        scenes, values, weights = zip(*patches, strict=True)
        return weighted_mean(np.array(values)[:, None], np.array(weights), scenes)

    found, mixed = of(patches), of(random.sample(patches, len(patches)))
    counted = [patch for patch in patches if patch[2]]
    assert (found.patches, found.clusters) == (len(counted), len({scene for scene, _, _ in counted}))
    if counted:
        mean = sum(value * weight for _, value, weight in counted) / sum(weight for *_, weight in counted)
        assert found.value == pytest.approx(mean, abs=1e-12)
    for name in ("value", "low", "high"):
        assert getattr(mixed, name) == pytest.approx(getattr(found, name), abs=1e-12, nan_ok=True)
    assert (not math.isnan(found.low)) is (found.clusters >= 5)


def test_nothing_to_measure() -> None:
    """No number."""
    found = weighted_mean(np.array([[NAN]]), np.ones(1), alone(1))
    assert math.isnan(found.value)
    assert (found.patches, found.clusters) == (0, 0)


def test_no_interval_below_five_clusters() -> None:
    """However many patches they have; a scene without the region is none."""
    values, scenes = np.arange(60.0)[:, None], [f"s{i % 5}" for i in range(60)]
    assert weighted_mean(values, np.ones(60), scenes).low < 29.5 < weighted_mean(values, np.ones(60), scenes).high
    weights = np.array([float(scene != "s4") for scene in scenes])
    found = weighted_mean(values, weights, scenes)
    assert (found.clusters, found.patches) == (4, 48)
    assert math.isnan(found.low)
    assert not found.decided


def test_a_scene_counts_once_however_often_its_patches_are_repeated() -> None:
    """Sixteen equal patches of a scene tell no more than one of them."""
    values = np.random.default_rng(3).gamma(2.0, size=12)
    once = weighted_mean(values[:, None], np.ones(12), alone(12))
    often = weighted_mean(np.repeat(values, 16)[:, None], np.ones(12 * 16), list(np.repeat(alone(12), 16)))
    assert (often.value, often.low, often.high) == pytest.approx((once.value, once.low, once.high))
    assert (often.patches, often.clusters) == (192, 12)


def test_ends_are_those_of_all_possible_draws() -> None:
    """Brute force: the 3,125 ways to draw five of five unequal scenes, pooled in each; expanded percentiles of them."""
    sums, pixels = np.array([2.0, 30.0, 9.0, 4.0, 50.0]), np.array([10.0, 60.0, 10.0, 40.0, 70.0])
    ways = np.array(list(itertools.product(range(5), repeat=5)))
    all_draws = sums[ways].sum(axis=1) / pixels[ways].sum(axis=1)
    tail = stats.norm.sf(stats.t.ppf(0.975, df=4) * math.sqrt(5 / 4))
    found = weighted_mean((sums / pixels)[:, None], pixels, alone(5))
    inside = ((all_draws >= found.low) & (all_draws <= found.high)).mean()
    assert found.value == pytest.approx(95 / 190)
    assert inside == pytest.approx(1 - 2 * tail, abs=0.003)


def test_width_is_that_of_the_standard_error_between_scenes() -> None:
    """Closed form: Student's t times the standard deviation of the scene means over the root of their number."""
    rng = np.random.default_rng(5)
    of_scenes = rng.normal(0, 1, 40)
    values = np.repeat(of_scenes, 8) + rng.normal(0, 0.5, 320)
    found = weighted_mean(values[:, None], np.ones(320), list(np.repeat(alone(40), 8)))
    means = values.reshape(40, 8).mean(axis=1)
    low, high = stats.t.interval(0.95, 39, loc=means.mean(), scale=stats.sem(means))
    assert found.high - found.low == pytest.approx(high - low, rel=0.05)
    by_patches = stats.t.interval(0.95, 319, loc=values.mean(), scale=stats.sem(values))
    assert found.high - found.low > 2.3 * (by_patches[1] - by_patches[0])


@pytest.mark.parametrize("clusters", [6, 12, 40])
def test_coverage(clusters: int) -> None:
    """Scenes of 16 patches, correlated by 0.47 as on real xBD: 95 % of the intervals hold the truth, 0.

    1,000 worlds have a standard error of 0.7 %; over patches as if they were independent about half would cover.
    """
    rng, worlds, patches = np.random.default_rng(clusters), 1000, 16
    values = rng.normal(0, math.sqrt(0.47), (worlds, clusters, 1)) + rng.normal(
        0, math.sqrt(0.53), (worlds, clusters, patches)
    )
    scenes = list(np.repeat(alone(clusters), patches))
    found = [weighted_mean(world.reshape(-1, 1), np.ones(clusters * patches), scenes) for world in values]
    assert 0.925 <= np.mean([one.low <= 0 <= one.high for one in found]) <= 0.975


def test_draws() -> None:
    """Multinomial, the same every time, another stream for another seed."""
    times = draws(7)
    assert times.shape == (DRAWS, 7)
    assert set(times.sum(axis=1)) == {7.0}
    assert times.var() == pytest.approx(6 / 7, rel=0.03)
    assert not (draws(7, seed=1) == times).all()


def test_interval_needs_clusters() -> None:
    """Also of a statistic that was drawn elsewhere."""
    assert all(math.isnan(end) for end in interval(np.arange(100.0), 4))


def test_best_of_k() -> None:
    """The lowest or the highest of each patch."""
    values = np.array([[3.0, 1.0], [NAN, NAN], [2.0, 5.0]])
    assert best_sample(values, lowest=True)[[0, 2], 0].tolist() == [1.0, 2.0]
    assert best_sample(values, lowest=False)[[0, 2], 0].tolist() == [3.0, 5.0]
    assert math.isnan(best_sample(values, lowest=True)[1, 0])
