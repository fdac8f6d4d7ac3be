"""Images of other types and grids: one stretch for all tiles, and pixels of the plan's ground size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp
from rasterio.warp import transform

from generate.errors import GenerateError
from generate.region.ground import Ground, survey
from generate.region.plan import read_plan
from tests.data.rasters import write_tif
from tests.generate.region.worlds import PX, UTM, affine_of, make, write_plan, write_region


def surveyed(folder: Path, changed: dict[str, Any], **plan: Any) -> Ground:
    content = yaml.safe_load(write_plan(folder, pairs=2, **plan).read_text())
    content["regions"] = [content["regions"][0] | {"imagery": "image.tif"} | changed]
    (folder / "plan.yaml").write_text(yaml.safe_dump(content))
    return survey(read_plan(folder / "plan.yaml"), folder)[0]


def whole_of(ground: Ground) -> Any:
    """All its tiles side by side."""
    (source,) = ground.sources
    rows = [
        [ground.cell(row * source.cols + col).read()[0] for col in range(source.cols)] for row in range(source.rows)
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in rows])


@pytest.fixture
def deep(tmp_path: Path) -> Any:
    """16 bits, 4 bands (the near infrared first), a slope over all tiles, and a corner without data."""
    write_region(tmp_path)
    y, x = np.mgrid[: 2 * PX, : 3 * PX]
    bands = np.stack([5000 + 0 * x, 300 + 3 * x, 400 + 2 * y, 500 + x + y]).astype(np.uint16)
    bands[:, :5, :7] = 0
    write_tif(tmp_path / "image.tif", bands, affine_of(0), UTM)
    return bands


def test_percentiles_are_those_of_the_image_not_of_a_tile(tmp_path: Path, deep: Any) -> None:
    """Against numpy over the whole image; darkest and brightest are 1 and 255, and 0 is no data."""
    ground = surveyed(tmp_path, {"bands": [2, 3, 4], "stretch": {"percentiles": [2, 98]}})
    colours = deep[1:].transpose(1, 2, 0).astype(float)
    held = colours.any(axis=-1)
    low, high = np.percentile(colours[held], (2, 98), axis=0)
    expected = np.rint(1 + 254 * np.clip((colours - low) / (high - low), 0, 1)) * held[..., None]
    assert np.array_equal(whole_of(ground), expected)
    assert {expected[held].min(), expected[held].max()} == {1, 255}
    assert ground.cell(0).read()[1] == 1 - 35 / PX**2
    assert ground.sources[0].changes() == {"stretched_from": [list(pair) for pair in zip(low, high, strict=True)]}


def test_percentiles_of_a_large_image_come_from_all_over_it(tmp_path: Path) -> None:
    """A slope from 0 to 1 in float32, of which samples give the percentiles to a hundredth; NaN is no data."""
    write_region(tmp_path)
    ramp = np.broadcast_to(np.linspace(0.0, 1.0, 2000, dtype=np.float32), (3, 1500, 2000)).copy()
    ramp[:, 700:710] = np.nan
    write_tif(tmp_path / "image.tif", ramp, affine_of(0), UTM)
    ground = surveyed(tmp_path, {"stretch": {"percentiles": [10, 90]}})
    assert np.array(ground.sources[0].limits) == pytest.approx(np.array([(0.1, 0.9)] * 3), abs=0.01)
    pixels, valid = ground.cell(10 * ground.sources[0].cols + 4).read()  # rows 640 to 703
    assert valid == 1 - 4 / PX and not pixels[60:].any() and pixels[:60].all()


def test_values_are_the_same_for_all_images(tmp_path: Path, deep: Any) -> None:
    ground = surveyed(tmp_path, {"bands": [2, 3, 4], "stretch": {"values": [300, 1000]}})
    colours = deep[1:].transpose(1, 2, 0).astype(float)
    expected = np.rint(1 + 254 * np.clip((colours - 300) / 700, 0, 1)) * colours.any(axis=-1, keepdims=True)
    assert np.array_equal(whole_of(ground), expected)


@pytest.mark.parametrize(
    ("stretch", "words"),
    [
        ({}, "expected either values"),
        ({"values": [0, 1], "percentiles": [2, 98]}, "expected either values"),
        ({"values": [5, 5]}, "5 to 5 is no range"),
        ({"percentiles": [2, 101]}, "2 to 101 is no range of percentiles"),
    ],
)
def test_stretches_that_are_none(tmp_path: Path, deep: Any, stretch: Any, words: str) -> None:
    with pytest.raises(GenerateError, match=words):
        surveyed(tmp_path, {"stretch": stretch})


def test_bands_that_are_not_there(tmp_path: Path, deep: Any) -> None:
    with pytest.raises(GenerateError, match=r"has 4 bands; the plan takes \[5, 3, 2\] as red, green, blue"):
        surveyed(tmp_path, {"bands": [5, 3, 2], "stretch": {"values": [0, 1]}})


def test_pixels_of_the_plans_size_stay(tmp_path: Path) -> None:
    """No other grid, no other pixel."""
    write_region(tmp_path)
    changed = {"imagery": "images/0.tif"}
    own, planned = surveyed(tmp_path, changed), surveyed(tmp_path, changed, gsd_m=0.5)
    assert planned.sources == own.sources and planned.sources[0].changes() == {}


def mapped(one: str, other: str, xs: Any, ys: Any) -> Any:
    """Points of one CRS in another."""
    shape = np.shape(xs)
    found = transform(one, other, np.ravel(xs).tolist(), np.ravel(ys).tolist())
    return [np.array(axis).reshape(shape) for axis in found]


def slope(lons: Any, lats: Any) -> Any:
    """A plane over a few hundred metres, whose cubic interpolation is itself."""
    return 120 + 30_000 * (lons - 10.41273) + 20_000 * (lats - 50.54269)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", UTM])
def test_other_pixels_are_resampled_to_the_plans_size(tmp_path: Path, crs: str) -> None:
    """Of degrees, of Web Mercator, of another size: half a metre in the zone, values from a plane in degrees."""
    write_region(tmp_path)
    (west, east), (north, south) = mapped(UTM, crs, [600_000, 600_200], [5_600_000, 5_599_850])
    high, wide = 260, 400
    affine = Affine((east - west) / wide, 0, west, 0, (south - north) / high, north)
    rows, cols = np.mgrid[:high, :wide] + 0.5
    xs, ys = affine.c + affine.a * cols, affine.f + affine.e * rows
    lons, lats = mapped(crs, "EPSG:4326", xs, ys)
    values = slope(lons, lats)
    write_tif(tmp_path / "image.tif", np.stack([values] * 3).astype(np.float32), affine, crs)
    ground = surveyed(tmp_path, {"stretch": {"values": [0, 254]}}, gsd_m=0.5)
    (source,) = ground.sources
    assert source.grid.crs == CRS.from_epsg(32632)
    assert source.changes()["resampled_to"] == "EPSG:32632, 0.5 m"
    a = source.grid.affine
    assert (a.a, a.b, a.d, a.e) == (0.5, 0, 0, -0.5)
    assert a.c % 0.5 == a.f % 0.5 == 0
    cell = ground.cell(source.cols + 1)  # the second of the second row: no edge of the image is near
    pixels, valid = cell.read()
    assert valid == 1
    rows, cols = np.mgrid[:PX, :PX] + 0.5
    here = cell.grid.affine
    lons, lats = mapped("EPSG:32632", "EPSG:4326", here.c + 0.5 * cols, here.f - 0.5 * rows)
    expected = 1 + np.clip(slope(lons, lats), 0, 254)
    assert 3 < np.ptp(expected) and 1 < expected.min() and expected.max() < 255
    assert np.abs(pixels - expected[..., None]).max() <= 0.6  # rounding, and a hundredth of a pixel


def test_a_resampled_set_says_so(tmp_path: Path, mask_run: Path) -> None:
    """In the datasheet and in every label; the footprints lie on the same ground."""
    write_region(tmp_path)
    plan = yaml.safe_load(write_plan(tmp_path, pairs=3, gsd_m=0.4).read_text())
    plan["regions"] = [plan["regions"][0] | {"imagery": "images", "stretch": {"values": [0, 300]}}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    make(tmp_path / "plan.yaml", mask_run, tmp_path / "set")
    said = "cut from the sources, resampled (cubic) where their pixels were not of 0.4 m and brought to 8 bits"
    assert said in (tmp_path / "set/README.md").read_text()
    labels = [json.loads(path.read_text()) for path in (tmp_path / "set/train/labels").glob("*_pre_disaster.json")]
    assert labels
    for label in labels:
        assert label["metadata"]["gsd"] == pytest.approx(0.4, rel=1e-3)
        assert label["metadata"]["pre2post"]["resampled_to"] == "EPSG:32632, 0.4 m"
        assert label["metadata"]["pre2post"]["stretched_from"] == [[0, 300]] * 3


def test_a_near_infrared_that_passes_for_transparency(tmp_path: Path) -> None:
    """Of a file and of a VRT of it: the fourth band of 8 bits is no mask."""
    write_region(tmp_path)
    bands = np.random.default_rng(0).integers(1, 255, (4, PX, PX), np.uint8)
    bands[3, :9] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    write_tif(tmp_path / "image.tif", bands, affine_of(0), UTM, photometric="RGB", alpha="unspecified")
    import rasterio
    import rasterio.shutil

    with rasterio.open(tmp_path / "image.tif", "r+") as image:
        image.colorinterp = colours
    with rasterio.open(tmp_path / "image.tif") as image:
        rasterio.shutil.copy(image, tmp_path / "image.vrt", driver="VRT")
    for name in ("image.tif", "image.vrt"):
        pixels, valid = surveyed(tmp_path, {"imagery": name}).cell(0).read()
        assert valid == 1 and np.array_equal(pixels, bands[:3].transpose(1, 2, 0))
