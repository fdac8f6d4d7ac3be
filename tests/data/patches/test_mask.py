"""Painting damage."""

from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from data.patches.mask import damage_mask
from data.schema import DAMAGE_VALUES
from data.sources.labels import Building


def house(subtype: str, left: float, top: float, right: float, bottom: float) -> Building:
    return Building(subtype, subtype, shapely.box(left, top, right, bottom), None)


def test_a_destroyed_two_by_two_house() -> None:
    mask = damage_mask([house("destroyed", 2, 2, 4, 4)], 6, 6)
    assert mask[2:4, 2:4].tolist() == [[4, 4], [4, 4]]
    assert mask.sum() == 16 and mask.dtype == np.uint8


def test_a_pixel_belongs_to_the_polygon_that_holds_its_centre() -> None:
    assert damage_mask([house("no-damage", 0.6, 0, 2.6, 1)], 1, 4).tolist() == [[0, 1, 1, 0]]
    assert damage_mask([house("no-damage", 0.4, 0, 2.4, 1)], 1, 4).tolist() == [[1, 1, 0, 0]]


def test_the_worse_damage_wins_whatever_the_order() -> None:
    shapes = [house(name, 0, 0, 1, 1) for name in ("destroyed", "minor-damage", "major-damage", "no-damage")]
    for order in (shapes, shapes[::-1]):
        assert damage_mask(order, 1, 1).item() == 4


def test_unclassified_yields_to_any_assessable_building() -> None:
    shapes = [house("un-classified", 0, 0, 2, 1), house("no-damage", 1, 0, 3, 1)]
    for order in (shapes, shapes[::-1]):
        assert damage_mask(order, 1, 4).tolist() == [[255, 1, 1, 0]]


def test_a_courtyard_stays_background() -> None:
    ring = shapely.Polygon([(0, 0), (5, 0), (5, 5), (0, 5)], [[(2, 2), (3, 2), (3, 3), (2, 3)]])
    mask = damage_mask([Building("a", "no-damage", ring, None)], 5, 5)
    assert mask[2, 2] == 0 and mask.sum() == 24


def test_polygons_past_the_border_are_cut() -> None:
    assert damage_mask([house("destroyed", -3, -3, 1, 9)], 2, 2).tolist() == [[4, 0], [4, 0]]


def opencv_line(x0: int, y0: int, x1: int, y1: int) -> list[tuple[int, int]]:
    """The pixels that OpenCV's LineIterator visits, left to right, 8-connected: its loop, step by step."""
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    dx, dy, down = x1 - x0, abs(y1 - y0), 1 if y1 >= y0 else -1
    longer, shorter, found, error = max(dx, dy), min(dx, dy), [], max(dx, dy) - 2 * min(dx, dy)
    for _ in range(longer + 1):
        found.append((x0, y0))
        aside = error < 0
        error += (2 * longer if aside else 0) - 2 * shorter
        x0 += 1 if dx >= dy or aside else 0
        y0 += down if dx < dy or aside else 0
    return found


corners = st.lists(st.tuples(*[st.floats(-9, 33)] * 2), min_size=3, max_size=5)


@settings(max_examples=60, deadline=None)
@given(corners, st.sampled_from(sorted(DAMAGE_VALUES)))
def test_the_official_rule_is_rounded_corners_and_inclusive_outlines(points: list[Any], subtype: str) -> None:
    """Against OpenCV's line, and every pixel's middle looked up in the polygon."""
    polygon = shapely.Polygon(points)
    if not polygon.is_valid or not polygon.area:
        return
    whole = shapely.Polygon(np.round(points))
    expected = np.zeros((24, 24), np.uint8)
    if whole.is_valid:
        for y, x in np.ndindex(expected.shape):
            expected[y, x] = DAMAGE_VALUES[subtype] * shapely.contains_xy(whole, x, y)
    ring = np.round([*points, points[0]]).astype(int).tolist()
    for start, end in pairwise(ring):
        for x, y in opencv_line(*start, *end):
            if 0 <= x < 24 and 0 <= y < 24:
                expected[y, x] = DAMAGE_VALUES[subtype]
    found = damage_mask([Building("a", subtype, polygon, None)], 24, 24, "xview2")
    assert np.array_equal(found[expected > 0], expected[expected > 0])
    assert not whole.is_valid or np.array_equal(found, expected)


def test_the_official_rule_paints_in_the_order_of_the_file_but_unclassified_first() -> None:
    listed = [house("destroyed", 0, 0, 4, 4), house("no-damage", 3, 0, 6, 4), house("un-classified", 5, 0, 9, 4)]
    mask = damage_mask(listed, 8, 12, "xview2")
    assert mask[0].tolist() == [4, 4, 4, 1, 1, 1, 1, 255, 255, 255, 0, 0]
    assert mask[4].tolist() == mask[0].tolist() and not mask[5].any()


def test_no_buildings() -> None:
    assert not damage_mask([], 4, 4, "xview2").any()
    assert not damage_mask([], 4, 4).any()
