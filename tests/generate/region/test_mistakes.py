"""What a region run refuses, and what it says; where its images may come from."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
import yaml

from data.errors import DataError
from generate.errors import GenerateError
from tests.data.rasters import write_tif
from tests.generate.region.worlds import UTM, affine_of, make, write_plan, write_region


def test_a_set_stays_what_it_was_begun_as(place: Path, mask_run: Path, tmp_path: Path) -> None:
    """Another plan, another image, somebody's folder; a resumed run names what differs."""
    write_region(tmp_path)
    plan, out = write_plan(tmp_path, pairs=2), tmp_path / "set"
    make(plan, mask_run, out)
    with pytest.raises(GenerateError, match=r"plan\.pairs was 2, and is 3 now"):
        make(write_plan(tmp_path, pairs=3), mask_run, out)
    write_plan(tmp_path, pairs=2)
    with (tmp_path / "images/1.tif").open("ab") as file:
        file.write(b"more")
    with pytest.raises(GenerateError, match=r"regions\[1\]\.images\.images/1\.tif was"):
        make(plan, mask_run, out)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/me.txt").write_text("mine")
    with pytest.raises(GenerateError, match=r"contains other files \(me\.txt\)"):
        make(plan, mask_run, tmp_path / "home")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"imagery": "nowhere/*.tif"}, "no GeoTIFF found"),
        ({"imagery": "https://tiles/{z}/{x}/{y}.png"}, "addresses and XYZ tiles are not read"),
        ({"footprints": "far.gpkg"}, "does not overlap 0.tif"),
        ({"footprints": "none.gpkg"}, "cannot be read"),
        ({"imagery": "deep.tif"}, "holds uint16, expected 8 bits"),
        ({"imagery": "nowhere.tif"}, "no GeoTIFF found"),
        ({"imagery": "plain.tif"}, "has no CRS"),
        ({"imagery": "small.tif"}, "no image of at least 64 x 64 px"),
        ({"bbox": [100, 10, 101, 11]}, "no image of at least"),
    ],
)
def test_regions_that_cannot_be_used(
    place: Path, mask_run: Path, tmp_path: Path, changed: dict[str, Any], words: str
) -> None:
    write_region(tmp_path)
    plan = yaml.safe_load(write_plan(tmp_path).read_text())
    plan["regions"][0] |= changed
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    pixels = np.ones((3, 80, 80), np.uint16)
    write_tif(tmp_path / "deep.tif", pixels, affine_of(0), UTM)
    write_tif(tmp_path / "plain.tif", pixels.astype(np.uint8), crs=None)
    write_tif(tmp_path / "small.tif", pixels[:, :9, :9].astype(np.uint8), affine_of(0), UTM)
    wkb = np.array([shapely.to_wkb(shapely.box(620_000, 5_600_000, 620_010, 5_600_010))], object)
    pyogrio.raw.write(tmp_path / "far.gpkg", wkb, [], [], driver="GPKG", crs=UTM, geometry_type="Polygon")
    with pytest.raises((GenerateError, DataError), match=words) as error:
        make(tmp_path / "plan.yaml", mask_run, tmp_path / "set")
    assert "region alpha" in str(error.value)
    assert not (tmp_path / "set").exists()


def test_a_stac_collection_names_the_images(place: Path, mask_run: Path, tmp_path: Path) -> None:
    write_region(tmp_path)
    items: list[Any] = [
        {"id": "a", "assets": {"thumbnail": {"href": "x.png"}, "visual": {"href": "images/0.tif", "roles": ["data"]}}},
        {"id": "b", "assets": {"image": {"href": "./images/1.tif", "roles": ["data"]}}},
    ]
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    plan = yaml.safe_load(write_plan(tmp_path, pairs=2).read_text())
    plan["regions"] = [plan["regions"][0] | {"imagery": "items.json"}]
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan))
    make(tmp_path / "plan.yaml", mask_run, tmp_path / "set")
    images = json.loads((tmp_path / "set/set.json").read_text())["regions"][0]["images"]
    assert list(images) == ["images/0.tif", "./images/1.tif"]
    items[0]["assets"]["visual"]["href"] = "https://example.org/0.tif"
    (tmp_path / "items.json").write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    with pytest.raises(GenerateError, match="is not on this disk, and nothing is downloaded"):
        make(tmp_path / "plan.yaml", mask_run, tmp_path / "other")


def test_a_checkpoint_without_masks_is_refused(place: Path, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="takes no damage mask"):
        make(place / "plan.yaml", run_folder, tmp_path / "set")
