"""Windows, and which patch counts which building."""

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.patches.tiles import Window, check_size, grid, place_buildings
from data.sources.labels import Building


def building(polygon: shapely.Polygon) -> Building:
    return Building("a", "no-damage", polygon, None)


def test_the_grid_covers_the_scene() -> None:
    assert grid(64, 64, 32) == [Window(0, 0, 32), Window(0, 32, 32), Window(32, 0, 32), Window(32, 32, 32)]


def test_a_margin_is_left_out() -> None:
    assert grid(64, 70, 40) == [Window(0, 0, 40)]


@pytest.mark.parametrize("size", [0, -8, 100, 7])
def test_bad_sizes(size: int) -> None:
    with pytest.raises(DataError, match=rf"size is {size}; the VAE needs a positive multiple of 8"):
        check_size(size)


def test_a_house_on_the_seam_is_cut_and_counted_once() -> None:
    placed, margin = place_buildings([building(shapely.box(28, 2, 40, 6))], grid(32, 64, 32), 32, 64)
    (left,), (right,) = placed
    assert shapely.from_wkt(left.wkt).bounds == (28, 2, 32, 6) and not left.counted
    assert shapely.from_wkt(right.wkt).bounds == (0, 2, 8, 6) and right.counted
    assert margin == 0


def test_a_house_past_the_corner_counts_in_the_last_patch() -> None:
    placed, margin = place_buildings([building(shapely.box(60, 60, 80, 80))], grid(64, 64, 32), 64, 64)
    assert [[house.counted for house in inside] for inside in placed] == [[], [], [], [True]]
    assert margin == 0


def test_a_house_in_the_margin_is_reported() -> None:
    placed, margin = place_buildings([building(shapely.box(50, 2, 54, 6))], grid(64, 64, 40), 64, 64)
    assert (placed, margin) == ([[]], 1)


def test_a_bent_house_counts_where_its_centroid_is() -> None:
    # A thin L around the corner of a patch: the centroid lies inside that patch, the walls do not.
    walls = shapely.Polygon([(33, 5), (34, 5), (34, 34), (5, 34), (5, 33), (33, 33)])
    placed, _ = place_buildings([building(walls)], grid(64, 64, 32), 64, 64)
    assert [(house.wkt, house.counted) for house in placed[0]] == [("POLYGON EMPTY", True)]
    assert sum(house.counted for inside in placed for house in inside) == 1


def test_touching_the_frame_is_not_being_in_it() -> None:
    placed, _ = place_buildings([building(shapely.box(32, 0, 40, 8))], grid(32, 64, 32), 32, 64)
    assert [len(inside) for inside in placed] == [0, 1]


boxes = st.lists(
    st.tuples(st.floats(-20, 110), st.floats(-20, 110), st.floats(0.5, 40), st.floats(0.5, 40)), max_size=12
)


@given(boxes, st.sampled_from([8, 16, 24, 32, 40, 48]), st.integers(48, 96), st.integers(48, 96))
def test_patches_and_margin_count_every_building_once(
    drawn: list[tuple[float, float, float, float]], size: int, height: int, width: int
) -> None:
    houses = [building(shapely.box(x, y, x + w, y + h)) for x, y, w, h in drawn]
    windows = grid(height, width, size)
    placed, margin = place_buildings(houses, windows, height, width)
    assert sum(house.counted for inside in placed for house in inside) + margin == len(houses)
    if height % size == 0 == width % size:
        assert margin == 0
        inside_scene = sum(house.polygon.intersection(shapely.box(0, 0, width, height)).area for house in houses)
        cut = sum(shapely.from_wkt(house.wkt).area for inside in placed for house in inside)
        assert cut == pytest.approx(inside_scene, abs=0.5 * len(houses))  # WKT is rounded to 0.01 px
