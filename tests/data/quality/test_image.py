"""Missing ground, sharpness, tone: values that follow by hand."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from data.quality.image import nodata_mask, sharpness, tone

NOTHING_MISSING = np.zeros((64, 64), bool)


def town(seed: int = 0, side: int = 64) -> NDArray[np.uint8]:
    """Blocks of 4 px and of random colour, some dark."""
    blocks = np.random.default_rng(seed).integers(10, 200, (side // 4, side // 4, 3), dtype=np.uint8)
    return np.kron(blocks, np.ones((4, 4, 1), np.uint8))


def test_black_ground_at_the_border_holds_no_data() -> None:
    image = np.full((64, 64, 3), 9, np.uint8)
    image[:2] = 0
    image[40:50, 40:50] = 0  # a shadow
    image[63, 63, :2] = 0  # dark blue is not black
    assert np.argwhere(nodata_mask(image)).tolist() == [[row, col] for row in (0, 1) for col in range(64)]


def test_a_large_hole_holds_no_data_wherever_it_lies() -> None:
    image = np.full((64, 64, 3), 9, np.uint8)
    image[10:42, 10:42] = 0  # 32 x 32 = 1024 px
    assert nodata_mask(image).sum() == 1024
    image[10, 10] = 1  # one less
    assert not nodata_mask(image).any()


def test_masked_pixels_hold_no_data() -> None:
    masked = np.zeros((8, 8), bool)
    masked[3, 4] = True
    assert np.argwhere(nodata_mask(np.full((8, 8, 3), 9, np.uint8), masked)).tolist() == [[3, 4]]


@pytest.mark.parametrize("period_px", [4, 8, 16])
def test_sharpness_of_a_wave(period_px: int) -> None:
    """Weights 1 2 1 damp a wave of w radians per pixel by cos(w / 2) ** 2, its energy by cos(w / 2) ** 4."""
    frequency = 2 * np.pi / period_px
    wave = np.tile(100 + 50 * np.sin(frequency * np.arange(68)), (68, 1)).astype(np.float32)
    expected = 1 - math.cos(frequency / 2) ** 4
    assert sharpness(wave, np.zeros((68, 68), bool)) == pytest.approx(expected, abs=1e-4)
    assert sharpness(0.3 * wave + 9, np.zeros((68, 68), bool)) == pytest.approx(expected, abs=1e-4)  # not contrast


def test_sharpness_does_not_see_the_edge_of_missing_ground() -> None:
    wave = np.tile(100 + 50 * np.sin(np.pi / 8 * np.arange(68)), (68, 1)).astype(np.float32)
    missing = np.zeros((68, 68), bool)
    missing[:, :20] = True
    wave[:, :20] = 0
    assert sharpness(wave, missing) == pytest.approx(1 - math.cos(math.pi / 16) ** 4, abs=2e-3)
    assert math.isnan(sharpness(np.full((16, 16), 7, np.float32), np.zeros((16, 16), bool)))


def test_tone_finds_gain_and_offset() -> None:
    pre = np.random.default_rng(0).integers(20, 120, (64, 64, 3), dtype=np.uint8)
    post = np.stack([pre[..., 0] * 2, pre[..., 1] + 30, pre[..., 2]], axis=-1).astype(np.uint8)
    found = tone(pre, np.roll(post, 5, axis=0), NOTHING_MISSING)  # shifted all the same
    assert found.gain == pytest.approx([2, 1, 1], abs=0.02)
    assert found.offset == pytest.approx([0, 30, 0], abs=1.5)
    # Channel 1 is doubled: 20..119 has the mean 69.5; channel 2 is 30 brighter, channel 3 is the same.
    assert found.gap == pytest.approx((69.5 + 30 + 0) / 3, abs=0.7)


def test_tone_is_robust_and_leaves_out_missing_ground() -> None:
    pre = np.random.default_rng(0).integers(20, 120, (64, 64, 3), dtype=np.uint8)
    post = pre + np.uint8(40)
    post[:6] = 255  # a cloud over a tenth
    assert tone(pre, post, NOTHING_MISSING).gain == pytest.approx([1] * 3, abs=0.25)
    missing = NOTHING_MISSING.copy()
    missing[:6] = True
    assert tone(pre, post, missing).offset == pytest.approx([40] * 3, abs=1)
    assert math.isnan(tone(pre, post, np.ones((64, 64), bool)).gap)
    assert math.isnan(tone(np.full_like(pre, 9), post, missing).gain[0])
