"""Real xBD files, read by independent means and compared."""

import io
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow.parquet as pq
import pytest
import shapely
from PIL import Image
from rasterio.control import GroundControlPoint
from rasterio.transform import from_gcps, xy

from data.dataset.rows import PHASES
from data.imagery.geo import fit_georeference
from data.patches.mask import damage_mask
from data.quality.likeness import mix_up
from data.schema import DAMAGE_VALUES
from data.sources.label_pair import read_labels
from data.sources.labels import Phase, parse_label
from data.sources.release import find_release

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def rows(real_dataset: Path) -> list[dict[str, Any]]:
    files = sorted((real_dataset / "data").iterdir())
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def test_all_locations_are_found(xbd: Path) -> None:
    found = find_release(xbd)
    assert len(found.scenes) == 31
    assert (found.incomplete, found.unrecognised) == ((), ())


def test_scenes_without_labels_are_named(real_dataset: Path) -> None:
    manifest = json.loads((real_dataset / "dataset.json").read_text())
    assert manifest["scenes_without_labels"] == [
        "hurricane-florence_00000005",
        "hurricane-harvey_00000126",
        "hurricane-matthew_00000351",
        "nepal-flooding_00000408",
    ]
    assert manifest["scenes_with_one_label"] == [
        "hurricane-florence_00000004",
        "palu-tsunami_00000030",
        "palu-tsunami_00000136",
    ]
    assert manifest["quarantine"] == []
    assert manifest["polygons"] == {"repaired": 1, "dropped": 0, "no_building": 0}  # hurricane-michael_00000255, pre


def test_damage_counts_equal_the_files(xbd: Path, rows: list[dict[str, Any]]) -> None:
    expected: Counter[str] = Counter()
    for path in xbd.glob("*/labels/*_post_disaster.json"):
        expected.update(re.findall(r'"subtype": "([a-z-]+)"', path.read_text().split('"xy"')[1]))
    built: Counter[str] = Counter()
    for row in rows:
        built.update({name.replace("_", "-"): number or 0 for name, number in row["counts"].items()})
    assert expected.total() > 2000 and set(expected) == set(DAMAGE_VALUES)
    assert dict(built) == dict(expected)


def test_masks_agree_with_the_official_targets(xbd: Path, rows: list[dict[str, Any]]) -> None:
    """The official targets paint un-classified as background, so 255 counts as 0 here."""
    targets = sorted(xbd.glob("*/targets/*_post_disaster_target.png"))
    assert len(targets) == 6
    for path in targets:
        target = np.asarray(Image.open(path))
        mask = np.zeros_like(target)
        for row in rows:
            if path.name.startswith(row["scene_id"]):
                patch = np.asarray(Image.open(io.BytesIO(row["damage_mask"]["bytes"])))
                mask[row["row"] : row["row"] + 512, row["col"] : row["col"] + 512] = patch
        mask[mask == 255] = 0
        both = np.logical_and(mask > 0, target > 0)
        assert both.sum() / np.logical_or(mask > 0, target > 0).sum() >= 0.85, path.name
        assert (mask[both] == target[both]).mean() > 0.99, path.name


def test_masks_by_the_official_rule_equal_the_official_targets(xbd: Path) -> None:
    """Pixel for pixel; un-classified buildings, 255 here, are background there."""
    targets = sorted(xbd.glob("*/targets/*_post_disaster_target.png"))
    for path in targets:
        label = path.parents[1] / "labels" / path.name.replace("_target.png", ".json")
        mask = damage_mask(parse_label(label.read_bytes(), label, "post").buildings, 1024, 1024, "xview2")
        assert np.array_equal(np.where(mask == 255, 0, mask), np.asarray(Image.open(path))), path.name
    assert len(targets) == 6


def test_polygons_of_1025_px_lie_on_those_of_pre(xbd: Path) -> None:
    """Both labels of a scene lead from its pixels to the same ground, also where one was made on 1025 px."""
    checked = Counter[float | None]()
    for scene in find_release(xbd).scenes:
        if scene.labels == "both":
            labels = read_labels(scene, {path: path.read_bytes() for path in scene.label_files()})
            pre, post = (fit_georeference(labels[phase].control_points) for phase in PHASES)
            if pre and post:
                assert (~pre.affine @ post.affine) @ (1024, 1024) == pytest.approx((1024, 1024), abs=0.01)
                checked[labels["post"].original_px[0] if labels["post"].original_px else None] += 1
    assert checked[1025] == 2 and checked[1024] > 15


def test_pairs_of_one_place_are_alike_and_others_are_not(xbd: Path) -> None:
    """Every real pair; and every pre beside the post of the next scene in the list."""
    scenes = find_release(xbd).scenes
    images = [[np.asarray(Image.open(path)) for path in (scene.pre_image, scene.post_image)] for scene in scenes]
    nodata = np.zeros(images[0][0].shape[:2], bool)
    assert [mix_up(pre, post, nodata) for pre, post in images] == [""] * 31
    swapped = [mix_up(images[i][0], images[i - 1][1], nodata) for i in range(31)]
    assert sum("another place" in reason for reason in swapped) >= 30


def test_stock_datasets_opens_it(real_dataset: Path, tmp_path: Path) -> None:
    loaded = datasets.load_dataset(str(real_dataset), cache_dir=str(tmp_path))
    assert sum(len(part) for part in loaded.values()) == 124
    assert {"train", "test"} <= set(loaded)
    events = {split: set(part["event"]) for split, part in loaded.items()}
    assert not events["train"] & events["test"]


def test_images_are_plain_rgb(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        for phase in ("pre", "post"):
            image = Image.open(io.BytesIO(row[phase]["bytes"]))
            assert (image.mode, image.size, image.info) == ("RGB", (512, 512), {})


def test_georeferences_are_affine(xbd: Path) -> None:
    fits = 0
    for path in sorted(xbd.glob("*/labels/*.json")):
        phase: Phase = "pre" if "_pre_" in path.name else "post"
        fit = fit_georeference(parse_label(path.read_bytes(), path, phase).control_points)
        if fit is not None:
            fits += 1
            assert fit.residual_px < 0.5, path.name
    assert fits > 40


def test_patch_centres_are_right_to_a_metre(xbd: Path, rows: list[dict[str, Any]]) -> None:
    """Against GDAL's own fit through the vertices of the post label."""
    affines = {}
    for path in sorted(xbd.glob("*/labels/*_post_disaster.json")):
        features = json.loads(path.read_text())["features"]
        by_uid = {entry["properties"]["uid"]: entry["wkt"] for entry in features["lng_lat"]}
        points = []
        for entry in features["xy"]:
            pixels, degrees = (
                shapely.get_coordinates(shapely.from_wkt(wkt))
                for wkt in (entry["wkt"], by_uid[entry["properties"]["uid"]])
            )
            points += [GroundControlPoint(y, x, lon, lat) for (x, y), (lon, lat) in zip(pixels, degrees, strict=True)]
        if points:
            affines[path.name.removesuffix("_post_disaster.json")] = from_gcps(points)
    checked = 0
    for row in rows:
        if row["scene_id"] in affines:
            lon, lat = xy(affines[row["scene_id"]], row["row"] + 256, row["col"] + 256, offset="ul")
            east = (row["centre_lon"] - lon) * 111_320 * math.cos(math.radians(lat))
            assert math.hypot(east, (row["centre_lat"] - lat) * 111_320) < 1, row["patch_id"]
            checked += 1
    assert checked == 4 * 26


def test_pixels_are_half_a_metre_and_places_are_known(rows: list[dict[str, Any]]) -> None:
    """The labels' gsd says 1.2 to 3.2 m: that is the multispectral sensor, not this pixel."""
    for row in rows:
        if row["location_source"] == "tile":
            assert 0.4 < row["pixel_size_m"] < 0.55
        if row["event"] == "mexico-earthquake":
            assert (row["centre_lon"], row["centre_lat"]) == pytest.approx((-99.15, 19.35), abs=0.2)
    by_source = Counter(row["location_source"] for row in rows)
    assert by_source == {"tile": 4 * 26, "event": 4 * 2, "unknown": 4 * 3}
    assert all(math.isnan(row["centre_lon"]) for row in rows if row["location_source"] == "unknown")
