"""A real flood pair on two grids, 1300 x 1300 and 834 x 835 px: is every post pixel where its coordinates say?"""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image
from scipy import ndimage

from data.build import build
from data.imagery.geo import metres_per_degree
from tests.real import real

pytestmark = pytest.mark.real
SIZE = 512


@pytest.fixture(scope="module")
def flood() -> dict[str, Path]:
    return {phase: real(f"geotiff/flooding_{phase}_1.tif") for phase in ("pre", "post")}


@pytest.fixture(scope="module")
def rows(flood: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("flood")
    line = {phase: str(path) for phase, path in flood.items()} | {"event": "some-flood", "disaster_type": "flooding"}
    (folder / "pairs.jsonl").write_text(json.dumps(line))
    build(manifest=folder / "pairs.jsonl", out=folder / "d", size=SIZE, workers=1)
    found: list[dict[str, Any]] = pq.read_table(folder / "d" / "data" / "train-00000-of-00001.parquet").to_pylist()
    return found


def pixels(row: dict[str, Any], name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row[name]["bytes"])), float)


def test_four_patches_and_a_margin(rows: list[dict[str, Any]]) -> None:
    assert [(row["row"], row["col"]) for row in rows] == [(0, 0), (0, 512), (512, 0), (512, 512)]
    assert all(row["nodata_post"] == 0 for row in rows)


def test_pre_is_the_file_itself(flood: dict[str, Path], rows: list[dict[str, Any]]) -> None:
    with rasterio.open(flood["pre"]) as file:
        whole = file.read().transpose(1, 2, 0)
    for row in rows:
        top, left = row["row"], row["col"]
        np.testing.assert_array_equal(pixels(row, "pre"), whole[top : top + SIZE, left : left + SIZE])


def test_patch_centres_are_the_files_coordinates(flood: dict[str, Path], rows: list[dict[str, Any]]) -> None:
    """To a centimetre."""
    with rasterio.open(flood["pre"]) as file:
        for row in rows:
            lon, lat = file.xy(row["row"] + SIZE / 2, row["col"] + SIZE / 2, offset="ul")[:2]
            per_lon, per_lat = metres_per_degree(lat)
            assert abs(row["centre_lon"] - lon) * per_lon < 0.01 and abs(row["centre_lat"] - lat) * per_lat < 0.01


def looked_up(file: Any, row: dict[str, Any], right_px: float = 0.0) -> np.ndarray:
    """What the post file shows at the coordinates of every fourth pixel of a patch, by spline interpolation."""
    a, b, c, d, e, f = row["transform"]
    cols, rows_ = np.meshgrid(np.arange(0, SIZE, 4) + 0.5 + right_px, np.arange(0, SIZE, 4) + 0.5)
    lon, lat = a * cols + b * rows_ + c, d * cols + e * rows_ + f
    own = file.transform
    there = np.stack([(lat - own.f) / own.e - 0.5, (lon - own.c) / own.a - 0.5])
    bands = file.read().astype(float)
    return np.stack([ndimage.map_coordinates(band, there, order=3, mode="nearest") for band in bands], axis=-1)


def test_post_is_warped_to_where_its_coordinates_say(flood: dict[str, Path], rows: list[dict[str, Any]]) -> None:
    with rasterio.open(flood["post"]) as file:
        for row in rows:
            post = pixels(row, "post")[::4, ::4]
            error = {shift: np.abs(post - looked_up(file, row, shift)).mean() for shift in (-0.5, 0.0, 0.5)}
            assert error[0.0] < 1  # two kinds of cubic interpolation
            assert min(error[-0.5], error[0.5]) > 1.8 * error[0.0]
