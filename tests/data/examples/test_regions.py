"""Which pixels count, on 4 x 4 masks read at 2 x 2."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.examples.regions import block_mean, regions_of

GROUND = np.full((4, 4, 3), 80, np.uint8)


def row(**columns: NDArray[np.uint8]) -> dict[str, Any]:
    """A dataset row with the images decoded."""
    images: dict[str, Any] = {"pre": GROUND, "post": GROUND, "change_mask": None, "damage_mask": None} | columns
    return {name: None if pixels is None else Image.fromarray(pixels) for name, pixels in images.items()}


def blocks(top_left: Any, top_right: Any, bottom_left: Any, bottom_right: Any) -> NDArray[np.uint8]:
    """A 4 x 4 mask from four 2 x 2 blocks."""
    parts = [np.broadcast_to(np.asarray(block, np.uint8), (2, 2)) for block in
             (top_left, top_right, bottom_left, bottom_right)]  # fmt: skip
    return np.block([parts[:2], parts[2:]])


def test_true_change_wins_over_damage() -> None:
    """Mean strength per block: 255 and 64 are inside, 0 is outside, 8 is neither."""
    change = blocks(255, [[128, 128], [0, 0]], 0, 8)
    regions = regions_of(row(change_mask=change, damage_mask=blocks(4, 4, 4, 4)), 2)
    assert regions["inside"].tolist() == [[True, True], [False, False]]
    assert regions["outside"].tolist() == [[False, False], [True, False]]
    assert regions["whole"].all()


@pytest.mark.parametrize("damaged", [2, 3, 4])
def test_damaged_buildings(damaged: int) -> None:
    """Half a block is inside, a quarter is neither; undamaged buildings are outside."""
    mask = blocks(damaged, [[damaged, damaged], [0, 1]], [[damaged, 0], [0, 0]], 1)
    regions = regions_of(row(damage_mask=mask), 2)
    assert regions["inside"].tolist() == [[True, True], [False, False]]
    assert regions["outside"].tolist() == [[False, False], [False, True]]


def test_unclassified_buildings_are_in_neither() -> None:
    """One pixel of 255 takes its block out of both areas."""
    mask = blocks([[4, 4], [4, 255]], [[0, 0], [0, 255]], 4, 0)
    regions = regions_of(row(damage_mask=mask), 2)
    assert regions["inside"].tolist() == [[False, False], [True, False]]
    assert regions["outside"].tolist() == [[False, False], [False, True]]


def test_pixels_without_data_are_in_neither() -> None:
    """Exactly black in either image; a black channel is no black pixel."""
    pre, post = GROUND.copy(), GROUND.copy()
    pre[0, 0], post[3, 3], post[0, 3] = 0, 0, [0, 0, 1]
    regions = regions_of(row(pre=pre, post=post, change_mask=blocks(255, 0, 255, 0)), 2)
    assert regions["inside"].tolist() == [[False, False], [True, False]]
    assert regions["outside"].tolist() == [[False, True], [False, False]]
    assert regions["whole"].all()


@pytest.mark.parametrize("truth", ["change_mask", "damage_mask"])
def test_what_nobody_could_foresee_is_in_neither(truth: str) -> None:
    """The least cover of one pixel takes its block out, changed or not."""
    mask, cover = blocks(4, 4, 0, 0), blocks([[1, 0], [0, 0]], 0, 255, 0)
    mask = mask * 60 if truth == "change_mask" else mask
    regions = regions_of(row(**{truth: mask, "cover_mask": cover}), 2)
    assert regions["inside"].tolist() == [[False, True], [False, False]]
    assert regions["outside"].tolist() == [[False, False], [False, True]]
    assert regions["whole"].all()


@pytest.mark.parametrize("cover", [{}, {"cover_mask": None}, {"cover_mask": blocks(0, 0, 0, 0)}])
def test_without_cover_the_areas_are_as_before_there_was_any(cover: dict[str, Any]) -> None:
    """No such column, none known, none there."""
    rng = np.random.default_rng(0)
    masks: dict[str, Any] = {"change_mask": rng.integers(0, 256, (4, 4)).astype(np.uint8)}
    masks |= {"damage_mask": blocks(4, 2, 0, 1)}
    for before in ({**masks}, {"damage_mask": masks["damage_mask"]}):
        found = regions_of(row(**before, **cover), 2)
        mean = before["change_mask"].reshape(2, 2, 2, 2).mean((1, 3)) if "change_mask" in before else None
        inside = [[True, True], [False, False]] if mean is None else (mean >= 64).tolist()
        outside = [[False, False], [True, True]] if mean is None else (mean < 8).tolist()
        assert (found["inside"].tolist(), found["outside"].tolist()) == (inside, outside)


def test_no_labels_no_areas() -> None:
    """Without masks nothing is known of the change."""
    regions = regions_of(row(), 2)
    assert not regions["inside"].any()
    assert not regions["outside"].any()


def test_block_mean() -> None:
    """Means of blocks; an unchanged size changes nothing; a larger size repeats."""
    mask = np.array([[0, 255], [255, 255]], np.uint8)
    assert block_mean(mask, 1).tolist() == [[191.25]]
    assert block_mean(mask, 2).tolist() == mask.tolist()
    assert block_mean(mask == 255, 4)[:2, :2].tolist() == [[0, 0], [0, 0]]
