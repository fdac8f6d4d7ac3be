"""The measures against images whose answer is known."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmarks.studies.metadata_measures import fit_size, greenness, summer, trend


def textures(sizes_m: np.ndarray, seed: int) -> np.ndarray:
    """Bumps of 8 m seen with pixels of those sizes, 64 px."""
    rng = np.random.default_rng(seed)
    fields = [gaussian_filter(rng.standard_normal((64, 64)), 8 / size, mode="wrap") for size in sizes_m]
    scaled = np.stack([(field - field.min()) / np.ptp(field) * 254 for field in fields])
    return np.repeat(scaled[..., None], 3, -1).astype(np.uint8)


def test_the_pixel_size_is_read_from_images_it_was_not_fitted_on() -> None:
    sizes = np.exp2(np.linspace(-1, 1, 60))
    estimate = fit_size(textures(sizes, 0), np.log2(sizes))
    found = trend(np.log2(sizes), estimate(textures(sizes, 1)))
    assert found.r > 0.95 and found.slope == pytest.approx(1, abs=0.1) and found.images == 60


def test_greenness() -> None:
    colours = np.array([[90, 90, 90], [0, 120, 0], [60, 120, 20]], np.uint8)
    images = np.broadcast_to(colours[:, None, None], (3, 4, 4, 3))
    np.testing.assert_allclose(greenness(images), [0, 2, 0.8])


def test_a_trend_within_groups_does_not_see_what_sets_them_apart() -> None:
    asked, groups = np.tile([0.0, 1.0, 2.0], 2), [0, 0, 0, 1, 1, 1]
    measured = 3 * asked + np.repeat([0.0, 50.0], 3)
    assert trend(asked, measured, groups).r == pytest.approx(1)
    assert trend(asked, measured, groups).slope == pytest.approx(3)
    assert trend(asked, measured).r < 0.2


def test_summer() -> None:
    day = {"year": 2016.0, "month": 7.0, "day": 15.0}
    assert summer(day | {"lat": 50.0}) == pytest.approx(1, abs=1e-3)
    assert summer(day | {"lat": -50.0}) == pytest.approx(0, abs=1e-3)
