"""Tar shards and GeoTIFFs against the Parquet shards and the source files."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely
from PIL import Image

from data.build import build
from data.dataset import geotiff
from data.dataset.webdataset import degrees
from data.options import Exports
from tests.data.tiny_release import ORIGIN, SCENE_IDS, STEP, write_release


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    source = write_release(folder / "release")
    build(source=source, out=folder / "d", size=32, workers=1, exports=Exports(format="webdataset", geotiff=True))
    return folder / "d"


@pytest.fixture(scope="module")
def samples(exported: Path) -> dict[str, dict[str, bytes]]:
    """As webdataset groups them: the key ends at the first dot."""
    found: dict[str, dict[str, bytes]] = {}
    for path in sorted((exported / "webdataset").iterdir()):
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, name = member.name.partition(".")
                content = tar.extractfile(member)
                assert content is not None
                found.setdefault(key, {})[name] = content.read()
    return found


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted((folder / "data").iterdir())
    return {row["patch_id"]: row for file in files for row in pq.read_table(file).to_pylist()}


def test_tars_stand_beside_their_shards(exported: Path) -> None:
    assert sorted(path.name for path in (exported / "webdataset").iterdir()) == [
        "train-00000-of-00001.tar",
        "validation-00000-of-00001.tar",
    ]  # the test scene has no labels, which DiffusionSat cannot do without


def test_samples_are_the_patches_that_have_both_labels(exported: Path, samples: dict[str, Any]) -> None:
    table = rows(exported)
    assert set(samples) == {key for key, row in table.items() if row["labels"] == "both"} and len(samples) == 12
    written = json.loads((exported / "dataset.json").read_text())["exports"]["webdataset"]
    assert written["samples"] == 12 and set(written["left_out"]) == set(table) - set(samples)
    for key, files in samples.items():
        assert sorted(files) == ["post-input.npy", "post-metadata.json", "pre-input.npy", "pre-metadata.json"]
        for phase in ("pre", "post"):
            pixels = np.load(io.BytesIO(files[f"{phase}-input.npy"]), allow_pickle=False)
            assert pixels.dtype == np.uint8 and pixels.shape == (32, 32, 3)
            assert (pixels == np.asarray(Image.open(io.BytesIO(table[key][phase]["bytes"])))).all()


def test_metadata_is_what_diffusionsat_reads(samples: dict[str, Any]) -> None:
    """The expressions of its `xbd_metadata` and caption code."""
    files = samples[f"{SCENE_IDS[0]}_0032_0032_32"]
    label = json.loads(files["post-metadata.json"])
    assert label["metadata"]["gsd"] == 2.0 and label["metadata"]["disaster_type"] == "wind"
    date = label["metadata"]["capture_date"]
    assert (int(date[:4]), int(date[5:7]), int(date[8:10])) == (2018, 10, 13)
    centre = shapely.from_wkt(label["features"]["lng_lat"][0]["wkt"]).centroid
    # The minor house: columns 32 to 40 of the scene are in this patch, rows 50 to 54.
    assert (centre.x, centre.y) == pytest.approx((ORIGIN[0] + 36 * STEP[0], ORIGIN[1] + 52 * STEP[1]), abs=1e-7)
    assert label["features"]["xy"][0]["properties"]["subtype"] == "minor-damage"
    pre = json.loads(files["pre-metadata.json"])
    assert pre["metadata"]["capture_date"].startswith("2017-10-05")
    assert [set(entry["properties"]) for entry in pre["features"]["xy"]] == [{"feature_type", "uid"}]
    empty = json.loads(samples[f"{SCENE_IDS[1]}_0000_0000_32"]["pre-metadata.json"])
    assert empty["features"] == {"lng_lat": [], "xy": []}


def test_degrees_of_another_coordinate_system() -> None:
    """500000 E in UTM is the central meridian of the zone: 9 E in zone 32."""
    utm = rasterio.crs.CRS.from_epsg(32632).to_wkt()
    moved = degrees(shapely.Point(10, 0), [0.5, 0, 499_995, 0, -0.5, 5_000_000], utm)
    assert moved.x == pytest.approx(9, abs=1e-9) and 45 < moved.y < 45.2


def test_geotiffs_lie_where_the_labels_say(exported: Path) -> None:
    release = exported.parent / "release"
    with rasterio.open(exported / "geotiff" / f"{SCENE_IDS[0]}_0032_0000_32_post.tif") as file:
        assert file.crs.to_epsg() == 4326 and (file.count, file.dtypes[0], file.shape) == (3, "uint8", (32, 32))
        # Column 0, row 32 of the scene; 5e-6 degrees a pixel eastward, 4e-6 southward.
        assert file.transform[:6] == pytest.approx((5e-6, 0, 10, 0, -4e-6, 50 - 32 * 4e-6), abs=1e-12)
        assert file.xy(31, 31, offset="lr") == pytest.approx((10 + 32 * 5e-6, 50 - 64 * 4e-6), abs=1e-9)
        pixels = np.moveaxis(file.read(), 0, -1)
    with Image.open(release / "train" / "images" / f"{SCENE_IDS[0]}_post_disaster.png") as image:
        assert (pixels == np.asarray(image.convert("RGB"))[32:, :32]).all()
    with rasterio.open(exported / "geotiff" / f"{SCENE_IDS[0]}_0000_0000_32_damage.tif") as file:
        assert (file.read(1)[2:6, 2:6] == 4).all() and file.count == 1


def test_patches_without_a_place_have_no_geotiff(exported: Path) -> None:
    written = json.loads((exported / "dataset.json").read_text())["exports"]["geotiff"]
    assert {name.rsplit("_", 3)[0] for name in written["left_out"]} == {SCENE_IDS[1], SCENE_IDS[2]}
    assert written["files"] == len(list((exported / "geotiff").iterdir())) == 12 * 3


def test_a_disk_that_is_full_is_known_as_such(tmp_path: Path) -> None:
    picture = io.BytesIO()
    Image.new("RGB", (8, 8)).save(picture, "PNG")
    row = {"crs_wkt": "EPSG:32616", "transform": [0.5, 0, 0, 0, -0.5, 0]}
    with pytest.raises(OSError, match="No space left on device"):
        geotiff._write(Path("/dev/full"), picture.getvalue(), row)


def test_the_shards_are_those_of_a_plain_build(exported: Path, tiny_dataset: Path, tmp_path: Path) -> None:
    for path in (tiny_dataset / "data").iterdir():
        assert (exported / "data" / path.name).read_bytes() == path.read_bytes()
    again = tmp_path / "d"
    build(
        source=exported.parent / "release",
        out=again,
        size=32,
        workers=2,
        exports=Exports(format="webdataset", geotiff=True),
    )
    for path in exported.rglob("*"):
        assert path.is_dir() or (again / path.relative_to(exported)).read_bytes() == path.read_bytes()
    build(source=exported.parent / "release", out=again, size=32, workers=1, overwrite=True)
    assert not (again / "geotiff").exists()
