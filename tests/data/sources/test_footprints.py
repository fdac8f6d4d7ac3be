"""Where scenes overlap, against comparing each with each on a grid of points."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS
from shapely import Polygon

from data.sources.footprints import footprint, groups, overlaps

SIDE = 100  # px
STEP = 5e-6  # degrees a pixel


def placed(col: float, row: float, turn_deg: float = 0.0) -> Affine:
    """A scene whose top left corner lies `col`, `row` px right of and below 10 E 50 N, turned about that corner."""
    cos, sin = STEP * math.cos(math.radians(turn_deg)), STEP * math.sin(math.radians(turn_deg))
    return Affine(cos, -sin, 10 + STEP * col, -sin, -cos, 50 - STEP * row)


def test_a_footprint_is_the_ground_without_two_pixels_at_each_side() -> None:
    ground = footprint(placed(0, 0), SIDE, 60)
    assert ground is not None and ground.bounds == pytest.approx(
        (10 + 2 * STEP, 50 - 58 * STEP, 10 + 98 * STEP, 50 - 2 * STEP), abs=1e-12
    )


def test_a_projected_map_is_led_back_to_degrees() -> None:
    # UTM zone 33 north: on its central meridian, 15 E, easting is 500 km; at the equator northing is 0.
    utm = CRS.from_epsg(32633).to_wkt()
    ground = footprint(Affine(10, 0, 500_000 - 20, 0, -10, 1020), 104, 104, utm)
    assert ground is not None
    west, south, east, north = ground.bounds
    assert (west, south) == (pytest.approx(15, abs=1e-9), pytest.approx(0, abs=1e-9))
    # 1000 m: a degree of latitude has 110,574 m there, one of longitude 111,320 m; the zone's scale is 0.9996.
    assert (east - 15, north) == (
        pytest.approx(1000 / 0.9996 / 111_320, rel=1e-4),
        pytest.approx(1000 / 0.9996 / 110_574, rel=1e-4),
    )


@pytest.mark.parametrize(("col", "expected"), [(100, 0), (97, 0), (96, 0), (95, 1), (0, 1), (-95, 1), (-97, 0)])
def test_neighbours_share_an_edge_not_ground(col: int, expected: int) -> None:
    found = overlaps({"a": footprint(placed(0, 0), SIDE, SIDE), "b": footprint(placed(col, 30), SIDE, SIDE)})
    assert len(found) == expected


def test_the_share_is_of_the_smaller() -> None:
    large, small = footprint(placed(0, 0), 204, 204), footprint(placed(100, 0), 204, 104)
    ((one, other, share),) = overlaps({"small": small, "large": large})
    # Inside the margins: columns 102 to 202 of 102 to 302, all rows of the small one.
    assert (one, other) == ("large", "small") and share == pytest.approx(0.5)


places = st.tuples(st.floats(0, 400), st.floats(0, 400), st.floats(0, 90))


@settings(max_examples=30, deadline=None)
@given(st.lists(places, max_size=8))
def test_all_pairs_are_found(scenes: list[tuple[float, float, float]]) -> None:
    affines = {f"s{i}": placed(*scene) for i, scene in enumerate(scenes)}
    grounds = {name: footprint(affine, SIDE, SIDE) for name, affine in affines.items()}
    found = {(one, other): share for one, other, share in overlaps(grounds)}
    for one, other in itertools.combinations(affines, 2):
        expected = _share(affines[one], affines[other])
        assert found.get((one, other), 0.0) == pytest.approx(expected, abs=0.02)


def _share(one: Affine, other: Affine) -> float:
    """Of a fine grid of points of `one`, those that lie in `other` too."""
    axis = np.linspace(2, SIDE - 2, 193)[:-1] + 0.25
    x, y = np.meshgrid(axis, axis)
    a, b, c, d, e, f = one[:6]
    lon, lat = a * x + b * y + c, d * x + e * y + f
    a, b, c, d, e, f = other[:6]
    x, y = np.linalg.solve([[a, b], [d, e]], np.stack([lon.ravel() - c, lat.ravel() - f]))
    return float(np.mean((x > 2) & (x < SIDE - 2) & (y > 2) & (y < SIDE - 2)))


def test_groups_are_what_hangs_together() -> None:
    assert groups(list("abcdef"), [("a", "c"), ("c", "f"), ("d", "e")]) == {
        "a": "a", "b": "b", "c": "a", "d": "d", "e": "d", "f": "a"
    }  # fmt: skip
    assert groups([], []) == {} and overlaps({}) == []


def test_the_same_ground_twice() -> None:
    square = Polygon([(0, 0), (1, 0), (1, 1), (0, 1)])
    ((*_, share),) = overlaps({"a": square, "b": square})
    assert math.isclose(share, 1)
