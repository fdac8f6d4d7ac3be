"""Putting one image onto the grid of another, checked by hand and by the coordinates of single points."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.warp import transform
from scipy import ndimage

from data.errors import DataError
from data.imagery.grids import Grid, covered, grid_of, on_grid, unplaced
from data.imagery.raster import opened, read_rgb, read_single
from tests.data.rasters import NORTH_UP, UTM, noise, write_tif

WGS84 = "EPSG:4326"
# Pixels of about half a metre, in degrees; 64 of them lie inside the first 200 of NORTH_UP.
IN_DEGREES = Affine(5.2e-6, 0, -89.9998, 0, -4.5e-6, 29.7962)


def warped(path: Path, grid: Grid) -> tuple[Any, Any]:
    with opened(path) as dataset, on_grid(dataset, path, grid) as view:
        return read_rgb(view, path, (1, 2, 3))


def grid_like(path: Path) -> Grid:
    with opened(path) as dataset:
        return grid_of(dataset, path)


def smooth(height: int, width: int) -> np.ndarray:
    """Hills of some 8 px."""
    hills = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(3, height, width)), (0, 4, 4))
    return np.asarray(np.round(128 + 100 * hills / np.abs(hills).max()), np.uint8)


def test_a_shift_by_whole_pixels_moves_the_values(tmp_path: Path) -> None:
    """The file lies 16 px right of and 8 px below the grid's corner."""
    bands = noise(40, 40)
    path = write_tif(tmp_path / "a.tif", bands, NORTH_UP @ Affine.translation(16, 8))
    pixels, valid = warped(path, Grid(64, 48, grid_like(path).crs, NORTH_UP))
    assert pixels.shape == (48, 64, 3)
    np.testing.assert_array_equal(pixels[8:, 16:56], bands.transpose(1, 2, 0))
    inside = np.zeros((48, 64), bool)
    inside[8:, 16:56] = True
    np.testing.assert_array_equal(valid, inside)
    assert (pixels[~inside] == 0).all()


@pytest.mark.parametrize("turned", [False, True])
def test_points_lie_where_their_coordinates_say(tmp_path: Path, turned: bool) -> None:
    """Another CRS, another pixel size, pre perhaps not north up: each point's value, found by its coordinates."""
    bands = smooth(200, 200)
    path = write_tif(tmp_path / "utm.tif", bands)
    affine = IN_DEGREES @ Affine.rotation(30) if turned else IN_DEGREES
    with opened(write_tif(tmp_path / "degrees.tif", noise(64, 64), affine, WGS84)) as pre:
        grid = grid_of(pre, Path("pre.tif"))
    pixels, valid = warped(path, grid)
    checked = 0
    for row, col in np.ndindex(8, 8):
        row, col = 8 * row + 4, 8 * col + 4
        (x,), (y,) = transform(WGS84, UTM, *([value] for value in affine @ (col + 0.5, row + 0.5)))
        there = np.array(~NORTH_UP @ (x, y)) - 0.5  # pixel centres are whole numbers to ndimage
        if ((there > 2) & (there < 197)).all():
            expected = [ndimage.map_coordinates(band.astype(float), there[::-1, None])[0] for band in bands]
            assert pixels[row, col] == pytest.approx(expected, abs=1.5)
            assert valid[row, col]
            checked += 1
    assert checked > 30


def test_no_data_stays_no_data_and_does_not_bleed(tmp_path: Path) -> None:
    bands = np.full((3, 40, 40), 100, np.uint16)
    bands[:, :, 20:] = 65535
    path = write_tif(tmp_path / "a.tif", bands, nodata=65535)
    pixels, valid = warped(path, Grid(80, 80, grid_like(path).crs, NORTH_UP @ Affine.scale(0.5)))
    assert valid[:, :39].all() and not valid[:, 41:].any()
    assert (pixels[valid] == 100).all()


def test_classes_are_never_mixed(tmp_path: Path) -> None:
    """Twice as fine, and reaching past the file: its values, or 255."""
    mask = np.random.default_rng(0).choice([0, 1, 4, 255], (1, 20, 20)).astype(np.uint8)
    path = write_tif(tmp_path / "mask.tif", mask, nodata=0)  # here 0 is background, whatever the file says
    grid = Grid(60, 40, grid_like(path).crs, NORTH_UP @ Affine.scale(0.5))
    with opened(path) as dataset, on_grid(dataset, path, grid, classes=True) as view:
        seen = read_single(view, path)
    np.testing.assert_array_equal(seen[:, :40], mask[0].repeat(2, axis=0).repeat(2, axis=1))
    assert (seen[:, 40:] == 255).all()


def test_the_same_grid_is_read_as_it_is(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise(8, 8))
    nearly = NORTH_UP @ Affine.translation(0.004, 0)
    with opened(path) as dataset:
        crs = dataset.crs
        for grid in (grid_of(dataset, path), Grid(8, 8, crs, nearly), Grid(8, 8, None, Affine.identity())):
            with on_grid(dataset, path, grid) as view:
                assert view is dataset
        for grid in (Grid(8, 8, crs, NORTH_UP @ Affine.translation(0.1, 0)), Grid(8, 9, crs, NORTH_UP)):
            with on_grid(dataset, path, grid) as view:
                assert view is not dataset


def test_other_sizes_need_coordinates(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise(8, 8), crs=None)
    with pytest.raises(DataError, match=r"8 x 8 px, but the pre image has 9 x 8 px\. .* need a CRS"):
        warped(path, Grid(9, 8, None, Affine.identity()))


def test_the_covered_box(tmp_path: Path) -> None:
    path = write_tif(tmp_path / "a.tif", noise(10, 20), NORTH_UP @ Affine.translation(5, 90))
    crs = grid_like(path).crs
    with opened(path) as dataset:
        assert covered(dataset, path, Grid(100, 95, crs, NORTH_UP)) == (90, 5, 95, 25)
        assert covered(dataset, path, grid_of(dataset, path)) == (0, 0, 10, 20)
        with pytest.raises(DataError, match="does not overlap the pre image"):
            covered(dataset, path, Grid(100, 90, crs, NORTH_UP))


def test_the_covered_box_in_another_crs(tmp_path: Path) -> None:
    """It holds every pixel that the warp fills, and not many more."""
    path = write_tif(tmp_path / "a.tif", noise(60, 60), NORTH_UP @ Affine.translation(50, 40))
    with opened(write_tif(tmp_path / "pre.tif", noise(200, 200), IN_DEGREES, WGS84)) as pre:
        grid = grid_of(pre, Path("pre.tif"))
    _, valid = warped(path, grid)
    rows, cols = np.nonzero(valid)
    with opened(path) as dataset:
        top, left, bottom, right = covered(dataset, path, grid)
    seen = (rows.min(), cols.min(), rows.max() + 1, cols.max() + 1)
    assert np.abs(np.array((top, left, bottom, right)) - seen).max() <= 1
    assert top <= seen[0] and left <= seen[1] and bottom >= seen[2] and right >= seen[3]


def test_a_window_of_a_grid() -> None:
    grid = Grid(100, 100, None, NORTH_UP).cut(10, 20, 30, 40)
    assert (grid.height, grid.width) == (30, 40)
    assert grid.affine @ (0, 0) == NORTH_UP @ (20, 10)


def by_points(path: Path, bands: np.ndarray, affine: Affine, bend_px: float = 0.0) -> Path:
    """A GeoTIFF with ground control points alone, the middle one of which lies aside."""
    height, width = bands.shape[1:]
    points = []
    for row, col in ((0, 0), (0, width), (height, 0), (height, width), (height / 2, width / 2)):
        x, y = affine @ (col + bend_px * (row == height / 2), row)
        points.append(GroundControlPoint(row, col, x, y))
    write_tif(path, bands, crs=None)
    with rasterio.open(path, "r+") as file:
        file.gcps = (points, CRS.from_string(UTM))
    return path


def test_ground_control_points_place_a_file(tmp_path: Path) -> None:
    bands = noise(40, 50)
    turned = NORTH_UP @ Affine.translation(3, 2) @ Affine.rotation(90)
    path = by_points(tmp_path / "points.tif", bands, turned)
    grid = grid_like(write_tif(tmp_path / "pre.tif", noise(60, 60)))
    twin = write_tif(tmp_path / "twin.tif", bands, turned)  # the same place by a transform
    assert grid_like(path).affine.almost_equals(turned, 1e-6)
    for one, other in zip(warped(path, grid), warped(twin, grid), strict=True):
        np.testing.assert_array_equal(one, other)
    with pytest.raises(DataError, match=r"bent\.tif: control points are up to 4\.\d px .*gdalwarp"):
        grid_like(by_points(tmp_path / "bent.tif", bands, NORTH_UP, 5))


def test_world_files_without_a_crs_are_in_one_map(tmp_path: Path) -> None:
    bands = noise(40, 50)
    whole, part = NORTH_UP, NORTH_UP @ Affine.translation(20, 10)
    pre = write_tif(tmp_path / "pre.tif", bands, crs=None, transform=whole)
    post = write_tif(tmp_path / "post.tif", bands[:, 10:, 20:], crs=None, transform=part)
    pixels, valid = warped(post, grid_like(pre))
    np.testing.assert_array_equal(pixels[10:, 20:], bands.transpose(1, 2, 0)[10:, 20:])
    np.testing.assert_array_equal(valid, np.pad(np.ones((30, 30), bool), ((10, 0), (20, 0))))
    with opened(post) as dataset:
        assert unplaced(dataset, post, grid_like(pre)) == ""


def test_what_lies_pixel_on_pixel_though_one_file_has_coordinates_is_said(tmp_path: Path) -> None:
    bands = noise(8, 8)
    files = {
        "crs": write_tif(tmp_path / "crs.tif", bands),
        "world": write_tif(tmp_path / "world.tif", bands, crs=None, transform=NORTH_UP),
        "none": write_tif(tmp_path / "none.tif", bands, crs=None),
    }
    for (name, path), other in itertools.product(files.items(), files):
        with opened(path) as dataset:
            said = unplaced(dataset, path, grid_like(files[other]))
            if name != other:
                with on_grid(dataset, path, grid_like(files[other])) as view:
                    assert view is dataset
        assert bool(said) == (name != other), (name, other)
        assert not said or f"{name}.tif has" in said


SYSTEMS = (UTM, WGS84, "EPSG:3857", "EPSG:4978", "EPSG:32737", 'LOCAL_CS["here",UNIT["metre",1]]', None)
ODD = [0.0, 1.0, 0.5, -0.5, 790_000.0, 3_300_000.0, 1e300, math.inf, math.nan]
NUMBERS = st.floats(-1e7, 1e7) | st.sampled_from(ODD)


@pytest.fixture(scope="module")
def pre_of_any_system(tmp_path_factory: pytest.TempPathFactory) -> dict[str | None, Grid]:
    folder = tmp_path_factory.mktemp("grids")
    return {crs: grid_like(write_tif(folder / "a.tif", noise(8, 8), crs=crs)) for crs in SYSTEMS}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_transform_in_any_system_is_read_or_named(
    data: st.DataObject, tmp_path: Path, pre_of_any_system: dict[str | None, Grid]
) -> None:
    """GDAL raises its own kinds of errors here, which no reader of the project expects."""
    crs = data.draw(st.sampled_from(SYSTEMS))
    affine = data.draw(st.just(NORTH_UP) | st.tuples(*[NUMBERS] * 6).map(lambda numbers: Affine(*numbers)))
    path = write_tif(tmp_path / "post.tif", noise(8, 8), affine, crs)
    grid = pre_of_any_system[data.draw(st.sampled_from(SYSTEMS))]
    try:
        pixels, valid = warped(path, grid)
    except DataError as error:
        assert "post.tif: " in str(error)
    else:
        assert pixels.shape == (8, 8, 3) and valid.shape == (8, 8)
