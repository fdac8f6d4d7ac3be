"""Cloud and haze: what one image of a place hides that the other shows."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from data.patches.tiles import Window
from data.quality.cloud import skies
from tests.data.quality.test_image import town

SIDE = 128  # px: 4 x 4 cells of 32
WHOLE = Window(0, 0, SIDE)
NOTHING = np.zeros((SIDE, SIDE), bool)


def cloud(
    pre: NDArray[Any], post: NDArray[Any], missing: NDArray[Any] = NOTHING, window: Window = WHOLE
) -> list[float]:
    """Its share in pre and in post; `missing` in post."""
    found = skies({"pre": pre, "post": post}, {"pre": NOTHING, "post": missing})
    return [found[phase].over(window)[0] for phase in ("pre", "post")]


def smooth(*colour: int) -> NDArray[Any]:
    noise = np.random.default_rng(1).normal(0, 2, (SIDE, SIDE, 1))
    return np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)


def test_cloud_hides_what_the_other_image_shows() -> None:
    before, after = town(0, SIDE), (town(0, SIDE) * 0.9).astype(np.uint8)
    assert cloud(before, after) == [0, 0]
    after[:68, :68] = 205  # its soft rim
    after[:64, :64] = 215  # 4 of the 16 cells of 32 px
    assert cloud(before, after) == [0, 4 / 16]
    assert cloud(after, before) == [4 / 16, 0]
    assert cloud(before, after, window=Window(0, 0, 64)) == [0, 1]
    assert cloud(before, after, window=Window(0, 32, 64)) == [0, 1 / 2]
    lower = NOTHING.copy()
    lower[64:] = True
    assert cloud(before, after, lower) == [0, 4 / 8]
    assert all(map(math.isnan, cloud(before, after, lower, Window(64, 0, 64))))


def test_a_grey_deck_is_cloud_and_a_shadow_is_not() -> None:
    assert cloud(town(0, SIDE), smooth(95, 96, 97)) == [0, 1]
    assert cloud(town(0, SIDE), (town(0, SIDE) * 0.4).astype(np.uint8)) == [0, 0]
    assert cloud(town(0, SIDE), smooth(12, 12, 12)) == [0, 0]  # dark water, or no light at all


@pytest.mark.parametrize("colour", [(150, 138, 125), (230, 230, 230), (95, 96, 97)])
def test_a_smooth_field_in_both_images_is_not_cloud(colour: tuple[int, int, int]) -> None:
    field = smooth(*colour)
    assert cloud(field, np.roll(field, 5, axis=0)) == [0, 0]
    assert cloud(field, (field * 0.8).astype(np.uint8)) == [0, 0]


def test_sand_and_a_new_white_roof_are_not_cloud() -> None:
    before = town(0, SIDE)
    sand, roof = before.copy(), before.copy()
    sand[:68, :68] = (215, 180, 120)
    roof[30:100, 30:66] = 215  # smaller than the least cloud
    assert cloud(before, sand) == cloud(before, roof) == [0, 0]


def test_scenes_smaller_than_a_cell() -> None:
    before, after = town(0, 16), np.full((16, 16, 3), 215, np.uint8)
    seen = np.zeros((16, 16), bool)
    found = skies({"pre": before, "post": after}, {"pre": seen, "post": seen})
    assert found["post"].over(Window(0, 8, 8))[0] == 1


def test_haze_lifts_what_is_dark() -> None:
    image = np.full((SIDE, SIDE, 3), 200, np.uint8)
    image[::8, ::8] = 0
    image[:, :, 0] = 51  # the darkest colour everywhere, but for the single black pixels, which a block averages
    found = skies({"pre": image, "post": image}, {"pre": NOTHING, "post": ~NOTHING})
    assert found["pre"].over(WHOLE)[1] == pytest.approx((51 * 15 + 51) / 16 / 255, abs=0.005)
    assert math.isnan(found["post"].over(WHOLE)[1])
