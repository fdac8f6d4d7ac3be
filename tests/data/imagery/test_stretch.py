"""16 bits to 8, pre and post by one range."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from data.errors import DataError
from data.imagery.stretch import AS_IT_IS, check_collar, joint_range, to_8_bit

ALL = np.ones((10, 10), bool)
VALUES = hnp.arrays(np.uint16, (10, 10, 3), elements=st.integers(0, 65535))


def ramp(low: int, high: int) -> np.ndarray:
    return np.repeat(np.linspace(low, high, 100, dtype=np.uint16).reshape(10, 10, 1), 3, axis=2)


def test_the_range_is_that_of_both_images_together() -> None:
    pre, post = ramp(1000, 2000), ramp(2000, 3000)
    post[..., 2] = 5000  # per band
    limits = joint_range([pre, post], [ALL, ALL])
    both = np.concatenate([pre[..., 0], post[..., 0]], axis=None)
    assert limits[0] == limits[1] == tuple(np.percentile(both, [1, 99]))
    assert limits[2][1] == 5000


def test_values_by_hand() -> None:
    image = np.array([[[100, 100, 100], [200, 200, 200], [300, 150, 0]]], np.uint16)
    limits = ((100.0, 300.0),) * 3
    seen = to_8_bit(image, np.array([[True, True, True]]), limits)
    # 1 + 254 * (value - 100) / 200, clipped to 1..255
    assert seen.tolist() == [[[1, 1, 1], [128, 128, 128], [255, 64, 1]]]


def test_black_is_kept_for_what_holds_no_data() -> None:
    image = ramp(1000, 2000)
    valid = ALL.copy()
    valid[0] = False
    image[9] = 0  # a collar that no mask tells of
    limits = joint_range([image], [valid])
    assert limits[0][0] > 1000  # neither the masked row nor the collar counts
    seen = to_8_bit(image, valid, limits)
    assert (seen[0] == 0).all() and (seen[9] == 0).all() and (seen[1:9] > 0).all()


def test_8_bit_values_in_16_bits_stay() -> None:
    image = np.arange(300, dtype=np.int16).reshape(10, 10, 3) % 256
    limits = joint_range([image, image[::-1]], [ALL, ALL])
    assert limits == AS_IT_IS
    np.testing.assert_array_equal(to_8_bit(image, ALL, limits), image)


@given(VALUES, VALUES)
def test_what_is_brighter_in_post_than_in_pre_stays_so(pre: np.ndarray, post: np.ndarray) -> None:
    limits = joint_range([pre, post], [ALL, ALL])
    dark, bright = (to_8_bit(image, ALL, limits) for image in (pre, post))
    present = np.logical_and(pre.any(axis=-1), post.any(axis=-1))[..., None]
    assert (dark <= bright)[(pre <= post) & present].all()
    assert (dark >= bright)[(pre >= post) & present].all()


def test_one_value_alone() -> None:
    flat = np.full((10, 10, 3), 700, np.uint16)
    seen = to_8_bit(flat, ALL, joint_range([flat, flat], [ALL, ALL]))
    assert np.unique(seen).tolist() == [1]
    assert joint_range([flat], [~ALL]) == AS_IT_IS  # nothing at all to see


@pytest.mark.parametrize(("value", "dtype"), [(65535, np.uint16), (-99, np.int16), (-9999, np.int16), (1, np.uint16)])
def test_a_collar_without_a_tag_is_named(value: int, dtype: type) -> None:
    ground: np.ndarray = np.random.default_rng(0).normal(1000, 200, (100, 100, 3)).clip(500, 1500).astype(dtype)
    check_collar(Path("a.tif"), [ground], [np.ones((100, 100), bool)])
    ground[:, :20] = value
    windows = [ground[:, :50], ground[:, 50:]]  # of a large raster
    masks = [np.ones((100, 50), bool)] * 2
    with pytest.raises(DataError, match=rf"a\.tif: 20% of it is {value} in all bands.*-a_nodata {value} FILE"):
        check_collar(Path("a.tif"), windows, masks)
    masks[0] = windows[0][..., 0] != value  # as a tag would say
    check_collar(Path("a.tif"), windows, masks)


def test_what_a_sensor_saturates_is_no_collar() -> None:
    """Clouds and roofs at the largest value have others on the way there, at their edges."""
    bright = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(200, 200)), 8)
    image = np.clip(400 + 60_000 * bright, 100, 2047).astype(np.uint16)[..., None].repeat(3, axis=2)
    assert 0.01 < (image == 2047).mean() < 0.5 and (image == 100).mean() > 0.01
    check_collar(Path("a.tif"), [image], [np.ones((200, 200), bool)])
