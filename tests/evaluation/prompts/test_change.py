"""Differences by hand, and the threshold where the truth is known."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from evaluation.prompts.change import DEFAULT_THRESHOLD, Detector, calibrated, difference, f1

SIDE = 128
GREY = np.full((SIDE, SIDE, 3), 100, np.uint8)


def with_square(by: int, side: int = 48) -> NDArray[np.uint8]:
    """Grey, and brighter by so much in the upper left corner's square."""
    image = GREY.copy()
    image[16 : 16 + side, 16 : 16 + side] += np.uint8(by)
    return image


def test_difference_by_hand() -> None:
    """Inside a wide square its contrast, half of it at the border, nothing far away; light alone is no change."""
    apart = difference(GREY, with_square(51))
    assert apart[40, 40] == pytest.approx(0.2, abs=1e-3)
    assert apart[40, 15:17].mean() == pytest.approx(0.1, abs=5e-3)
    assert apart[100, 100] == pytest.approx(0, abs=1e-6)
    assert difference(GREY, GREY + np.uint8(30)).max() == pytest.approx(0, abs=1e-6)


def test_area_of_change() -> None:
    """The border of the blurred square crosses half of its contrast at the square's own border."""
    found = Detector(0.1, {}).changed(GREY, with_square(51))
    assert found.mean() == pytest.approx(48**2 / SIDE**2, rel=0.06)


def test_f1_by_hand() -> None:
    """Two found, three true, one of them both."""
    found, truth = np.array([1, 1, 0, 0, 0], bool), np.array([0, 1, 1, 1, 0], bool)
    assert f1(found, truth) == pytest.approx(2 / 5)
    assert f1(np.zeros(3, bool), np.zeros(3, bool)) == 1


def row(by: int, side: int) -> dict[str, Any]:
    """A pair whose true change is the square, beside a fainter false one."""
    post, change = with_square(by, side), np.zeros((SIDE, SIDE), np.uint8)
    change[16 : 16 + side, 16 : 16 + side] = 255
    post[100:120, 100:120] += np.uint8(15)
    return {"pre": Image.fromarray(GREY), "post": Image.fromarray(post), "change_mask": Image.fromarray(change)}


def test_threshold_from_the_truth() -> None:
    """Between the false change (15 / 255 = 0.06) and the true one (0.2); its area then follows the truth."""
    rows = [row(51, side) for side in (16, 24, 32, 40)]
    detector = calibrated(rows, rows, SIDE)
    assert 0.06 < detector.threshold < 0.14
    assert detector.agreement["area_rank_correlation"] == pytest.approx(1)
    assert detector.agreement["f1"] > 0.85


def test_a_cloud_that_is_known_is_no_change() -> None:
    """The detector and its agreement are nearly those under a clear sky; unknown, the cloud spoils them."""
    clear = [row(51, side) for side in (16, 24, 32, 40)]
    known, unknown = [], []
    for pair in clear:
        post, cover = np.array(pair["post"]), np.zeros((SIDE, SIDE), np.uint8)
        post[64:96, 64:96], cover[56:104, 56:104] = 200, 1
        unknown.append(pair | {"post": Image.fromarray(post)})
        known.append(unknown[-1] | {"cover_mask": Image.fromarray(cover)})
    right, told, spoilt = (calibrated(rows, rows, SIDE) for rows in (clear, known, unknown))
    assert told.threshold == pytest.approx(right.threshold, abs=0.01)
    assert told.agreement["f1"] == pytest.approx(right.agreement["f1"], abs=0.02)
    assert spoilt.agreement["f1"] < 0.75 * right.agreement["f1"]
    covered = [pair | {"cover_mask": Image.fromarray(np.full((SIDE, SIDE), 9, np.uint8))} for pair in clear]
    assert calibrated(clear, covered, SIDE).agreement == {}


def test_without_truth() -> None:
    """The default, and no claim about it."""
    detector = calibrated([{**row(51, 16), "change_mask": None}], [], SIDE)
    assert detector == Detector(DEFAULT_THRESHOLD, {})
