"""A built dataset, value by value."""

import io
import json
import math
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
import yaml
from PIL import Image

from data.build import build
from data.schema import FEATURES
from tests.data.tiny_release import SCENE_IDS, SIDE_PX


@pytest.fixture(scope="module")
def rows(tiny_dataset: Path) -> dict[str, dict[str, Any]]:
    files = sorted((tiny_dataset / "data").iterdir())
    return {row["patch_id"]: row for file in files for row in pq.read_table(file).to_pylist()}


@pytest.fixture(scope="module")
def manifest(tiny_dataset: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((tiny_dataset / "dataset.json").read_text())
    return content


def patch(rows: dict[str, Any], scene: int, row: int, col: int) -> Any:
    return rows[f"{SCENE_IDS[scene]}_{row:04d}_{col:04d}_32"]


def pixels(encoded: dict[str, Any]) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded["bytes"])))


def classes(row: dict[str, Any]) -> list[int | None]:
    return list(row["counts"].values())


def test_files_and_splits(tiny_dataset: Path) -> None:
    assert sorted(path.name for path in tiny_dataset.iterdir()) == ["README.md", "data", "dataset.json", "report.html"]
    assert sorted(path.name for path in (tiny_dataset / "data").iterdir()) == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00001.parquet",
        "validation-00000-of-00001.parquet",
    ]


def test_datasets_opens_it_with_nothing_of_ours(tiny_dataset: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(tiny_dataset), cache_dir=str(tmp_path))
    assert {split: len(part) for split, part in loaded.items()} == {"train": 12, "validation": 4, "test": 4}
    assert loaded["train"].features == FEATURES
    assert loaded["train"][0]["pre"].size == (32, 32)
    assert loaded["test"][0]["damage_mask"] is None


def test_patches_are_crops_of_the_scene_without_transparency(tiny_dataset: Path, rows: dict[str, Any]) -> None:
    release = tiny_dataset.parent / "release"
    with Image.open(release / "train" / "images" / f"{SCENE_IDS[0]}_post_disaster.png") as image:
        assert "transparency" in image.info  # as in xBD
        scene = np.asarray(image.convert("RGB"))
    crop = patch(rows, 0, 32, 0)["post"]
    assert (pixels(crop) == scene[32:, :32]).all()
    assert Image.open(io.BytesIO(crop["bytes"])).info == {}


def test_masks(rows: dict[str, Any]) -> None:
    corner = pixels(patch(rows, 0, 0, 0)["damage_mask"])
    assert corner[2:6, 2:6].tolist() == [[4] * 4] * 4  # destroyed, also where the intact house overlaps
    assert corner[6:8, 4:8].tolist() == [[1] * 4] * 2
    assert (pixels(patch(rows, 0, 0, 32)["damage_mask"])[2:6, 8:12] == 255).all()
    assert not pixels(patch(rows, 1, 0, 0)["damage_mask"]).any()
    assert patch(rows, 2, 0, 0)["damage_mask"] is None


def test_counts(rows: dict[str, Any]) -> None:
    assert classes(patch(rows, 0, 0, 0)) == [1, 0, 0, 1, 0]
    assert classes(patch(rows, 0, 0, 32)) == [0, 0, 0, 0, 1]
    assert classes(patch(rows, 0, 32, 0)) == [0, 0, 0, 0, 0]  # holds an end of the minor one, not its centroid
    assert classes(patch(rows, 0, 32, 32)) == [0, 1, 0, 0, 0]
    assert classes(patch(rows, 3, 32, 32)) == [0, 0, 0, 1, 0]  # past the corner of the scene
    assert classes(patch(rows, 2, 0, 0)) == [None] * 5


def test_buildings(rows: dict[str, Any]) -> None:
    (end,) = patch(rows, 0, 32, 0)["buildings"]
    assert shapely.from_wkt(end.pop("wkt")).equals(shapely.box(28, 18, 32, 22))
    assert end == {"uid": "d", "damage": 2, "counted": False}
    assert {house["uid"] for house in patch(rows, 0, 0, 0)["buildings"]} == {"a", "b"}


def test_metadata(rows: dict[str, Any]) -> None:
    row = patch(rows, 0, 0, 32)
    assert row["location_source"] == "tile"
    # Centre at x = 48, y = 16: 5e-6 degrees a pixel east of 10 E, 4e-6 south of 50 N.
    assert (row["centre_lon"], row["centre_lat"]) == pytest.approx((10 + 48 * 5e-6, 50 - 16 * 4e-6))
    assert row["transform"] == pytest.approx([5e-6, 0, 10 + 32 * 5e-6, 0, -4e-6, 50], abs=1e-12)
    # 0.3585 m by 0.4449 m at 50 N.
    assert row["pixel_size_m"] == pytest.approx(math.sqrt(0.3585 * 0.4449), abs=1e-3)
    lon, lat, gsd, cloud, *day = row["metadata_post"]
    assert (lon, lat, gsd) == pytest.approx((row["centre_lon"], row["centre_lat"], row["pixel_size_m"]), rel=1e-6)
    assert math.isnan(cloud) and day == [2018, 10, 13]
    assert row["metadata_pre"][4:] == [2017, 10, 5]
    assert row["sensor_post"]["gsd"] == 2.0 and row["crs_wkt"].startswith("GEOGCS")


def test_a_scene_without_buildings_takes_its_events_place_but_no_transform(rows: dict[str, Any]) -> None:
    row = patch(rows, 1, 0, 0)
    assert (row["location_source"], row["transform"], row["crs_wkt"]) == ("event", [], "")
    assert (row["centre_lon"], row["centre_lat"]) == pytest.approx((10, 50), abs=1e-3)
    assert row["metadata_post"][4:] == [2018, 10, 13]


def test_a_scene_without_labels_has_no_date(rows: dict[str, Any]) -> None:
    row = patch(rows, 2, 0, 0)
    assert (row["labels"], row["disaster_type"], row["buildings"]) == ("none", "wind", [])
    assert all(math.isnan(number) for number in row["metadata_pre"][3:] + row["metadata_post"][3:])
    assert set(row["sensor_pre"].values()) == {None}


def test_a_post_label_alone(rows: dict[str, Any]) -> None:
    row = patch(rows, 4, 0, 0)
    assert row["labels"] == "post" and row["location_source"] == "tile"
    assert math.isnan(row["metadata_pre"][4]) and row["metadata_post"][4] == 2018
    assert classes(row) == [1, 0, 0, 0, 0]


def test_captions(rows: dict[str, Any]) -> None:
    texts: dict[tuple[str, str], list[str]] = {}
    for entry in patch(rows, 3, 32, 32)["captions"]:
        texts.setdefault((entry["style"], entry["target"]), []).append(entry["text"])
    assert texts["diffusionsat", "post"] == [
        "a fmow satellite image after being affected by a flooding natural disaster"
    ]
    assert texts["diffusionsat", "pre"] == [
        "a fmow satellite image before being affected by a flooding natural disaster"
    ]
    short = "a satellite image after flooding: severe damage, the only building destroyed"
    varied = " after flooding, severe damage in the south-east, a single building, destroyed"
    assert texts["short", "post"] == [short] and texts["placed", "post"][0].endswith(varied)
    assert texts["short", "pre"][0] == "a satellite image before flooding, one building"
    assert texts["placed", "pre"][0].endswith(" before flooding, a single building in the south-east")
    assert [text.replace("\n", " ") for text in texts["chunks", "post"]] == texts["long", "post"]


def test_manifest(manifest: dict[str, Any]) -> None:
    assert (manifest["format"], manifest["format_version"]) == ("pre2post-dataset", 2)
    options: dict[str, Any] = {"bands": "1,2,3", "moderate_from": 0.1, "severe_from": 0.4}
    options |= {"mask_rule": "centre", "max_nodata": 0.75, "max_shift": None, "max_cloud": None, "align": False}
    assert manifest["build"] == {"source": "release", "size": 32, "split_by": "official", "seed": 0} | options
    assert manifest["captions_file"] is None
    assert manifest["splits"]["train"] == {
        "scenes": 3,
        "patches": 12,
        "labelled_patches": 12,
        "buildings": {"no_damage": 2, "minor_damage": 1, "major_damage": 0, "destroyed": 1, "un_classified": 1},
    }
    assert manifest["labels"] == {"both": 3, "post": 1, "pre": 0, "mask": 0, "none": 1}
    assert manifest["scenes_without_labels"] == [SCENE_IDS[2]]
    assert manifest["scenes_with_one_label"] == [SCENE_IDS[4]]
    assert manifest["polygons"] == {"repaired": 2, "dropped": 0, "no_building": 0}  # the bow tie, pre and post
    assert manifest["location_sources"] == {"tile": 3, "raster": 0, "event": 2, "unknown": 0}
    assert manifest["quarantine"] == []


def test_the_card_names_the_files_of_each_split(tiny_dataset: Path) -> None:
    _, front, body = (tiny_dataset / "README.md").read_text().split("---\n", 2)
    (config,) = yaml.safe_load(front)["configs"]
    assert [entry["split"] for entry in config["data_files"]] == ["train", "validation", "test"]
    assert "| testville-flood | 2 | 8 | 1 | 0 | 1 | 1 | 0 |" in body


def test_a_margin_is_counted(release: Path, tmp_path: Path) -> None:
    build(source=release, out=tmp_path / "d", size=48, workers=1)
    manifest = json.loads((tmp_path / "d" / "dataset.json").read_text())
    assert manifest["splits"]["train"]["patches"] == 3
    assert manifest["margin_buildings"] == 2  # the minor house at y = 52, the corner house


def test_masks_of_a_simulated_release(release: Path, tmp_path: Path) -> None:
    change = np.arange(SIDE_PX**2, dtype=np.uint32).reshape(SIDE_PX, SIDE_PX).astype(np.uint8)
    for kind, mask in (("change", change), ("cover", 255 - change)):
        (release / "train" / kind).mkdir()
        Image.fromarray(mask).save(release / "train" / kind / f"{SCENE_IDS[0]}_{kind}.png")
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    rows = pq.read_table(tmp_path / "d" / "data" / "train-00000-of-00001.parquet").to_pylist()
    assert (pixels(rows[1]["change_mask"]) == change[:32, 32:]).all()
    assert (pixels(rows[1]["cover_mask"]) == 255 - change[:32, 32:]).all()
    assert rows[4]["change_mask"] is None and rows[4]["cover_mask"] is None


def test_the_bytes_do_not_depend_on_workers_or_place(tiny_dataset: Path, tmp_path: Path) -> None:
    build(source=tiny_dataset.parent / "release", out=tmp_path / "elsewhere", size=32, workers=2)
    assert dict(_contents(tmp_path / "elsewhere")) == dict(_contents(tiny_dataset))
    assert not multiprocessing.active_children()


def _contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def test_shards_hold_a_fixed_number_of_scenes(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data.dataset.pieces.SCENES_PER_SHARD", 2)
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    files = sorted((tmp_path / "d" / "data").glob("train-*"))
    assert [file.name for file in files] == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert [pq.read_metadata(file).num_rows for file in files] == [8, 4]
    loaded = datasets.load_dataset(str(tmp_path / "d"), split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["scene_id"] for row in loaded.select_columns(["scene_id"])][::4] == [SCENE_IDS[i] for i in (0, 1, 4)]
