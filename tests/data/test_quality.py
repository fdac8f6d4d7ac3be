"""Missing ground and shift."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from data.quality import nodata_fraction, shift_px


def town(seed: int = 0) -> NDArray[np.uint8]:
    """Blocks of random colour."""
    blocks = np.random.default_rng(seed).integers(40, 220, (16, 16, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((8, 8, 1), np.uint8))


def test_nodata_counts_pixels_black_in_either_image() -> None:
    pre, post = np.full((4, 4, 3), 9, np.uint8), np.full((4, 4, 3), 9, np.uint8)
    pre[0] = 0
    post[:, 0] = 0
    post[3, 3, :2] = 0  # dark blue is not black
    assert nodata_fraction(pre, post) == 7 / 16


@pytest.mark.parametrize("moved", [(0, 0), (3, 0), (-2, 5)])
def test_shift_moves_post_back_onto_pre(moved: tuple[int, int]) -> None:
    pre = town()
    post = np.roll(pre, moved, axis=(0, 1)) // 2 + 20  # another brightness
    assert shift_px(pre, post) == pytest.approx((-moved[0], -moved[1]), abs=0.2)


def test_shift_of_an_empty_image_is_unknown() -> None:
    assert all(math.isnan(part) for part in shift_px(town(), np.zeros_like(town())))
