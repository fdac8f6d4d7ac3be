"""The affine fit and what follows from it."""

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.crs import CRS

from data.imagery.geo import (
    UNKNOWN,
    WGS84_WKT,
    Location,
    check_proj,
    fit_georeference,
    locate,
    mean_location,
    metres_per_degree,
    pixel_size_m,
    to_degrees,
    window_affine,
)

NORTH_UP = Affine(5e-6, 0, 10, 0, -4e-6, 50)


def control_points(affine: Affine, pixels: list[tuple[float, float]]) -> np.ndarray:
    a, b, c, d, e, f = affine[:6]
    return np.array([(x, y, a * x + b * y + c, d * x + e * y + f) for x, y in pixels])


def test_the_fit_finds_a_turned_grid() -> None:
    turned = Affine(4.9e-6, -1e-7, -85.6, -1e-7, -4.2e-6, 30.2)
    fit = fit_georeference(control_points(turned, [(3, 5), (900, 40), (512, 1000), (7, 800)]))
    assert fit is not None
    assert list(fit.affine[:6]) == pytest.approx(list(turned[:6]), abs=1e-12)
    assert fit.residual_px < 1e-6


def test_one_small_house_is_enough() -> None:
    fit = fit_georeference(control_points(NORTH_UP, [(500, 500), (510, 500), (510, 508), (500, 508)]))
    assert fit is not None
    assert (fit.affine.c, fit.affine.f) == pytest.approx((10, 50), abs=1e-9)


def test_the_residual_is_in_pixels() -> None:
    points = control_points(NORTH_UP, [(x, y) for x in (0, 100) for y in (0, 100)])
    points[:, 2] += 5e-6 * 2 * np.array([1, -1, -1, 1])  # 2 px alternately: no affine map follows that
    fit = fit_georeference(points)
    assert fit is not None and fit.residual_px == pytest.approx(2)


@pytest.mark.parametrize("pixels", [[], [(1, 1), (2, 2)], [(1, 1), (2, 2), (3, 3), (9, 9)]])
def test_too_few_points_or_a_line_give_no_fit(pixels: list[tuple[float, float]]) -> None:
    points = control_points(NORTH_UP, pixels) if pixels else np.empty((0, 4))
    assert fit_georeference(points) is None


SPREAD = [(3.0, 5.0), (900.0, 40.0), (512.0, 1000.0), (7.0, 800.0)]
CALIFORNIA = Affine(4.5e-6, 0, -118.9, 0, -4.5e-6, 34.2)
# What people have written into lng_lat: of (n, 4) points x, y, lon, lat.
IMPOSSIBLE: dict[str, tuple[Affine, Callable[[np.ndarray], np.ndarray], str]] = {
    "latitude first": (CALIFORNIA, lambda p: p[:, [0, 1, 3, 2]], "nowhere on Earth"),
    "latitude first, in Italy": (NORTH_UP, lambda p: p[:, [0, 1, 3, 2]], "mirrored"),
    "east for west": (CALIFORNIA, lambda p: p * (1, 1, -1, 1), "mirrored"),
    "south for north": (CALIFORNIA, lambda p: p * (1, 1, 1, -1), "mirrored"),
    "pixels": (CALIFORNIA, lambda p: p[:, [0, 1, 0, 1]], "nowhere on Earth"),
    "few pixels": (CALIFORNIA, lambda p: p[:, [0, 1, 0, 1]] * (1, 1, 0.05, 0.05), "mirrored"),
    "metres of a map": (CALIFORNIA, lambda p: p[:, [0, 1, 0, 1]] * (1, 1, 0.5, -0.5) + (0, 0, 5e5, 3e6),
        "nowhere on Earth"),
    "metres from a corner": (CALIFORNIA, lambda p: p[:, [0, 1, 0, 1]] * (1, 1, 0.05, -0.05), "are these degrees"),
    "another scene's": (CALIFORNIA, lambda p: np.hstack([p[:, :2], p[[1, 0, 2, 3], 2:]]), "disagree by up to"),
}  # fmt: skip


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_an_impossible_place_is_a_fault(kind: str) -> None:
    affine, spoil, message = IMPOSSIBLE[kind]
    fit = fit_georeference(spoil(control_points(affine, SPREAD)))
    assert fit is not None and message in fit.fault


@given(st.floats(-180, 179.9), st.floats(-80, 80), st.floats(0.05, 50), st.floats(-180, 180))
def test_a_place_on_earth_is_none_however_it_is_turned(lon: float, lat: float, size_m: float, turn: float) -> None:
    per_lon, per_lat = metres_per_degree(lat)
    upright = Affine(size_m / per_lon, 0, lon, 0, -size_m / per_lat, lat)
    fit = fit_georeference(control_points(upright @ Affine.rotation(turn), [(0, 0), (90, 9), (50, 100), (7, 80)]))
    assert fit is None or fit.fault == "" or abs(lon) > 179


@pytest.mark.parametrize(
    ("lat", "lon_m", "lat_m"), [(0, 111_319.49, 110_574.28), (45, 78_846.81, 111_131.75), (60, 55_800.0, 111_412.24)]
)
def test_metres_per_degree_of_published_tables(lat: float, lon_m: float, lat_m: float) -> None:
    assert metres_per_degree(lat) == pytest.approx((lon_m, lat_m), abs=1)


def test_pixel_size_is_the_geometric_mean_of_the_axes() -> None:
    # woolsey-fire: 4.57e-6 degrees both ways at 34.11 N are 0.421 m by 0.507 m.
    assert pixel_size_m(Affine(4.57e-6, 0, -118.82, 0, -4.57e-6, 34.11), 34.11) == pytest.approx(0.462, abs=1e-3)


def test_a_window_has_its_own_corner_and_centre() -> None:
    affine = window_affine(NORTH_UP, row=512, col=100)
    assert (affine.c, affine.f) == pytest.approx((10 + 5e-4, 50 - 2048e-6))
    place = locate(affine, 512, 512)
    assert (place.lon, place.lat) == pytest.approx((10 + 5e-6 * 356, 50 - 4e-6 * 768))
    assert place.source == "tile"


@given(st.integers(0, 1000), st.integers(0, 1000), st.floats(0, 512), st.floats(0, 512))
def test_a_pixel_has_one_place_in_scene_and_window(row: int, col: int, x: float, y: float) -> None:
    turned = Affine(4.9e-6, -1e-7, -85.6, -1e-7, -4.2e-6, 30.2)
    scene, window = (
        control_points(turned, [(x + col, y + row)]),
        control_points(window_affine(turned, row, col), [(x, y)]),
    )
    assert scene[0, 2:] == pytest.approx(window[0, 2:], abs=1e-11)


def test_the_mean_of_an_event_crosses_the_date_line() -> None:
    places = [Location("tile", lon, 10.0, 0.5, NORTH_UP) for lon in (179.0, -179.0)]
    mean = mean_location(places)
    assert abs(mean.lon) == pytest.approx(180)
    assert (mean.lat, mean.pixel_size_m, mean.source, mean.affine) == (10.0, 0.5, "event", None)


def test_the_order_of_the_buildings_does_not_move_the_place() -> None:
    """DiffusionSat takes the first polygon of each label, which may be another one in pre and post."""
    points = control_points(NORTH_UP, [(3, 5), (900, 40), (512, 1000), (7, 800)])
    fits = [fit_georeference(points[order]) for order in ([0, 1, 2, 3], [3, 1, 0, 2])]
    places = [locate(fit.affine, 1024, 1024) for fit in fits if fit]
    assert len(places) == 2 and (places[0].lon, places[0].lat) == pytest.approx(
        (places[1].lon, places[1].lat), abs=1e-10
    )


@pytest.mark.parametrize(("sizes", "expected"), [((0.5, 0.6), 0.55), ((0.5, 0.7), math.nan)])
def test_a_pixel_size_that_differs_within_an_event_is_nobodys(sizes: tuple[float, float], expected: float) -> None:
    mean = mean_location([Location("tile", 10.0, 10.0, size, NORTH_UP) for size in sizes])
    assert mean.pixel_size_m == pytest.approx(expected, nan_ok=True) and mean.lon == pytest.approx(10)


def test_nothing_known_is_nan_not_zero() -> None:
    assert mean_location([]) is UNKNOWN
    assert math.isnan(UNKNOWN.lon) and math.isnan(UNKNOWN.lat) and math.isnan(UNKNOWN.pixel_size_m)


def test_the_words_for_wgs84_are_those_of_proj() -> None:
    assert CRS.from_epsg(4326).to_wkt() == WGS84_WKT
    check_proj()


@pytest.mark.parametrize("variable", ["PROJ_LIB", "PROJ_DATA"])
def test_the_database_of_another_proj_is_named_and_nothing_else_needs_it(tmp_path: Path, variable: str) -> None:
    """conda, QGIS and PostGIS set such a variable; this one names a file that no version reads."""
    (tmp_path / "proj.db").touch()
    code = "import data.sources.footprints, data.imagery.geo; print('imported'); data.imagery.geo.check_proj()"
    ran = subprocess.run([sys.executable, "-c", code], env=os.environ | {variable: str(tmp_path)}, capture_output=True)
    assert ran.stdout == b"imported\n"
    message = ran.stderr.decode().splitlines()[-1]
    assert f"DataError: PROJ cannot read its database ({variable}={tmp_path}). Unset it here" in message


def test_what_is_not_on_earth_has_no_degrees() -> None:
    utm = CRS.from_epsg(32617).to_wkt()
    found = to_degrees(utm, [500_000.0], [0.0])  # on the central meridian of zone 17, at the equator
    assert found is not None and (found[0][0], found[1][0]) == pytest.approx((-81, 0), abs=1e-9)
    assert to_degrees(utm, [500_000.0, math.inf], [0.0, 0.0]) is None
    assert to_degrees(WGS84_WKT, [10.0], [91.0]) is None
    assert to_degrees('LOCAL_CS["here",UNIT["metre",1]]', [0.0], [0.0]) is None
    assert to_degrees("no CRS at all", [0.0], [0.0]) is None
