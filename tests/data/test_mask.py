"""Painting damage."""

import numpy as np
import shapely

from data.labels import Building
from data.mask import damage_mask


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


def test_no_buildings() -> None:
    assert not damage_mask([], 4, 4).any()
