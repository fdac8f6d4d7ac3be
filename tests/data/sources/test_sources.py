"""Releases of GeoTIFFs, and rasters that are cut into parts."""

import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
from PIL import Image
from rasterio import Affine
from rasterio.warp import transform

from data.build import build
from data.errors import DataError
from data.imagery.geo import metres_per_degree
from data.options import SplitRule
from tests.data.rasters import NORTH_UP, UTM, noise, write_tif
from tests.data.tiny_release import SCENE_IDS

PIXELS = ("pre", "post", "damage_mask")


def built(out: Path, **options: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """The rows by their patch ids, and dataset.json."""
    build(out=out, **{"size": 32, "workers": 1} | options)
    rows = [row for file in sorted((out / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    return {row["patch_id"]: row for row in rows}, json.loads((out / "dataset.json").read_text())


def pixels(row: dict[str, Any], name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(row[name]["bytes"])))


def to_tif(release: Path, dtype: str = "uint8", crs: str | None = None) -> Path:
    """Every PNG of the release as a GeoTIFF instead."""
    for path in sorted(release.rglob("images/*.png")):
        bands = np.asarray(Image.open(path).convert("RGB")).transpose(2, 0, 1)
        write_tif(path.with_suffix(".tif"), bands.astype(dtype), crs=crs)
        path.unlink()
    return release


def test_a_release_of_tifs_is_that_of_pngs(release: Path, tmp_path: Path) -> None:
    """Also where 8-bit values stand in 16 bits, as some copies of xBD have them."""
    as_png, _ = built(tmp_path / "png", source=release)
    to_tif(release / "train", "int16")
    to_tif(release / "tier3", "uint16")
    as_tif, _ = built(tmp_path / "tif", source=to_tif(release))
    assert repr(as_tif) == repr(as_png)  # NaN is not equal to itself, its text is


def test_pairs_that_do_not_lie_on_each_other_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quarantined where there is no common ground, remarked on where only one file has coordinates."""
    far, flat = NORTH_UP @ Affine.translation(9000, 0), Affine(0.5, 0, 790_000, 0, 0, 3_300_000)
    local = 'LOCAL_CS["here",UNIT["metre",1]]'
    posts: dict[str, dict[str, Any]] = {
        "good": {}, "bare": {"crs": None}, "far": {"affine": far}, "flat": {"affine": flat}, "local": {"crs": local}
    }  # fmt: skip
    lines = []
    for seed, (name, place) in enumerate(posts.items()):
        write_tif(tmp_path / f"{name}_pre.tif", noise(32, 32, seed=seed))
        write_tif(tmp_path / f"{name}_post.tif", noise(32, 32, seed=seed) // 2 + 40, **place)
        lines.append({"pre": f"{name}_pre.tif", "post": f"{name}_post.tif", "event": "ida", "scene_id": name})
    manifest = tmp_path / "pairs.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    rows, described = built(tmp_path / "out", manifest=manifest)
    assert {row["scene_id"] for row in rows.values()} == {"good", "bare"}
    reasons = {entry["scene_id"]: entry["reason"] for entry in described["quarantine"]}
    assert "far_post.tif: does not overlap the pre image" in reasons["far"]
    assert "flat_post.tif: its transform (0.5, 0, 790000, 0, 0, 3.3e+06) is singular" in reasons["flat"]
    assert "local_post.tif: has no place in the CRS of pre" in reasons["local"]
    (remark,) = described["remarks"]
    assert remark["scene_id"] == "bare" and "bare_post.tif has no coordinates" in remark["remark"]
    assert f"bare: {remark['remark']}" in capsys.readouterr().out
    assert remark["remark"] in (tmp_path / "out" / "report.html").read_text()
    with pytest.raises(DataError, match=r"far: .*does not overlap .*--strict"):
        manifest.write_text("\n".join(json.dumps(lines[number]) for number in (0, 2)))
        build(manifest=manifest, out=tmp_path / "strict", size=32, workers=1, strict=True)


def test_16_bits_keep_the_order_of_pre_and_post(tmp_path: Path) -> None:
    """Post is pre at 60 %: the same range for both, and bands 5, 3, 2 of 5."""
    images = tmp_path / "release" / "train" / "images"
    bands = np.random.default_rng(0).integers(500, 3000, (5, 64, 64)).astype(np.uint16)
    for phase, image in (("pre", bands), ("post", (bands * 0.6).astype(np.uint16))):
        write_tif(images / f"{SCENE_IDS[0]}_{phase}_disaster.tif", image)
    rows, manifest = built(tmp_path / "d", source=tmp_path / "release", size=64, bands="5,3,2")
    (row,) = rows.values()
    assert manifest["build"]["bands"] == "5,3,2"
    for channel, band in enumerate((4, 2, 1)):
        both = np.stack([bands[band], np.floor(bands[band] * 0.6)])
        low, high = np.percentile(both, [1, 99])
        expected = 1 + 254 * np.clip((both - low) / (high - low), 0, 1)
        for phase, image in zip(("pre", "post"), expected, strict=True):
            np.testing.assert_allclose(pixels(row, phase)[..., channel], image, atol=0.51)


def test_the_raster_says_where_an_unlabelled_scene_lies(release: Path, tmp_path: Path) -> None:
    rows, manifest = built(tmp_path / "d", source=to_tif(release, crs=UTM))
    assert manifest["location_sources"] == {"tile": 3, "raster": 2, "event": 0, "unknown": 0}
    row = rows[f"{SCENE_IDS[2]}_0032_0032_32"]
    assert row["location_source"] == "raster"
    assert rasterio.crs.CRS.from_wkt(row["crs_wkt"]) == rasterio.crs.CRS.from_user_input(UTM)
    assert row["transform"] == [0.5, 0, 790_000 + 16, 0, -0.5, 3_300_000 - 16]
    (lon,), (lat,) = transform(UTM, "EPSG:4326", [790_000 + 16 + 8], [3_300_000 - 16 - 8])
    per_lon, per_lat = metres_per_degree(lat)
    assert abs(row["centre_lon"] - lon) * per_lon < 0.01 and abs(row["centre_lat"] - lat) * per_lat < 0.01
    assert row["metadata_pre"][:2] == pytest.approx([lon, lat])
    # Half a metre on the map is 0.04 % less on the ground: 290 km from the middle of the zone.
    assert row["pixel_size_m"] == pytest.approx(0.5, rel=1e-3) and row["pixel_size_m"] < 0.5
    assert rows[f"{SCENE_IDS[0]}_0000_0000_32"]["location_source"] == "tile"  # labels tell of their own place


def test_a_pixel_of_web_mercator_is_smaller_on_the_ground(release: Path, tmp_path: Path) -> None:
    """At 60 degrees north by half."""
    (x,), (y,) = transform("EPSG:4326", "EPSG:3857", [10.0], [60.0])
    for phase in ("pre", "post"):
        path = release / "test" / "images" / f"{SCENE_IDS[2]}_{phase}_disaster.png"
        path.unlink()
        write_tif(path.with_suffix(".tif"), noise(64, 64), Affine(1, 0, x, 0, -1, y), "EPSG:3857")
    rows, _ = built(tmp_path / "d", source=release)
    assert rows[f"{SCENE_IDS[2]}_0000_0000_32"]["pixel_size_m"] == pytest.approx(0.5, rel=0.01)


def test_what_does_not_belong_together_is_quarantined(release: Path, tmp_path: Path) -> None:
    images = release / "train" / "images"
    write_tif(images / f"{SCENE_IDS[0]}_pre_disaster.tif", noise(64, 64))  # beside the PNG
    pre, post = (images / f"{SCENE_IDS[1]}_{phase}_disaster.png" for phase in ("pre", "post"))
    post.unlink()
    write_tif(post.with_suffix(".tif"), noise(64, 64).astype(np.uint16))
    far = release / "test" / "images" / f"{SCENE_IDS[2]}_post_disaster.tif"
    far.with_suffix(".png").unlink()
    write_tif(far, noise(32, 32))
    _, manifest = built(tmp_path / "d", source=release)
    reasons = {entry["scene_id"]: entry["reason"] for entry in manifest["quarantine"]}
    two = f"{SCENE_IDS[0]}_pre_disaster.png and {SCENE_IDS[0]}_pre_disaster.tif"
    assert reasons[SCENE_IDS[0]] == f"there are two pre images, {two}. Keep one of them in {images}."
    assert reasons[SCENE_IDS[1]].startswith(f"{post.with_suffix('.tif')}: holds uint16, but the pre image uint8. ")
    assert "32 x 32 px, but the pre image has 64 x 64 px" in reasons[SCENE_IDS[2]]
    assert pre.exists()


def test_a_post_label_older_than_the_pre_label(release: Path, tmp_path: Path) -> None:
    labels = release / "train" / "labels"
    pre, post = (labels / f"{SCENE_IDS[0]}_{phase}_disaster.json" for phase in ("pre", "post"))
    text = post.read_text().replace("2018-10-13", "2016-10-13")
    post.write_text(text)
    _, manifest = built(tmp_path / "d", source=release)
    (entry,) = manifest["quarantine"]
    assert entry["reason"] == (
        f"{post}: metadata.capture_date is 2016-10-13, before that of the pre label (2017-10-05). "
        "Are pre and post swapped?"
    )
    assert pre.exists()


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The 64 px scenes of the tiny release are large rasters now, cut into parts of 32 px."""
    monkeypatch.setattr("data.sources.large.WHOLE_PX", 40)
    monkeypatch.setattr("data.sources.large.PART_PX", 32)


@pytest.mark.parametrize("size", [16, 24])
def test_parts_hold_what_the_whole_holds(
    release: Path, tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """The same patches, buildings counted once, nothing lost in between; with 24 px there is a margin."""
    parts, in_parts = built(tmp_path / "parts", source=release, size=size)
    monkeypatch.undo()
    whole, at_once = built(tmp_path / "whole", source=release, size=size)
    found = {}
    for row in parts.values():
        scene_id, top, left = row["scene_id"].rsplit("_", 2)
        top, left = int(top[1:]) + row["row"], int(left[1:]) + row["col"]
        found[f"{scene_id}_{top:04d}_{left:04d}_{size}"] = row
    assert found.keys() == whole.keys()
    for patch_id, row in whole.items():
        same = found[patch_id]
        for name in ("pre_sha256", "post_sha256", "damage_mask", "counts", "official_split", "labels", "nodata_pre"):
            if name == "damage_mask" and row[name]:
                np.testing.assert_array_equal(pixels(same, name), pixels(row, name))
            elif name != "damage_mask":
                assert same[name] == row[name], (patch_id, name)
        assert sorted(map(repr, same["buildings"])) == sorted(map(repr, row["buildings"]))
        for name in ("transform", "centre_lon", "centre_lat", "pixel_size_m"):
            assert same[name] == pytest.approx(row[name], nan_ok=True), (patch_id, name)
    for name in ("margin_buildings", "polygons"):
        assert in_parts[name] == at_once[name]
    totals: list[Counter[str]] = [Counter(), Counter()]
    for total, manifest in zip(totals, (in_parts, at_once), strict=True):
        for part in manifest["splits"].values():
            total.update(part["buildings"] | {"patches": part["patches"]})
    assert totals[0] == totals[1]


def test_parts_stay_together(release: Path, tmp_path: Path, small_parts: None) -> None:
    build(source=release, out=tmp_path / "d", size=16, workers=1, split=SplitRule(split_by="scene", seed=3))
    splits: dict[str, set[str]] = {}
    for file in sorted((tmp_path / "d" / "data").iterdir()):
        for row in pq.read_table(file, columns=["scene_id"]).to_pylist():
            splits.setdefault(row["scene_id"].rsplit("_", 2)[0], set()).add(file.name.split("-")[0])
    assert len(splits) == 5 and all(len(names) == 1 for names in splits.values())
    assert len(set.union(*splits.values())) > 1


def test_parts_of_16_bits_show_no_seams(tmp_path: Path, small_parts: None) -> None:
    """A dark and a bright half, each a part: one range for both."""
    images = tmp_path / "release" / "train" / "images"
    bands = np.random.default_rng(0).integers(1000, 2000, (3, 32, 64)).astype(np.uint16)
    bands[:, :, 32:] += 4000
    for phase in ("pre", "post"):
        write_tif(images / f"{SCENE_IDS[0]}_{phase}_disaster.tif", bands)
    rows, _ = built(tmp_path / "d", source=tmp_path / "release")
    left, right = (rows[f"{SCENE_IDS[0]}_r000000_c{col:06d}_0000_0000_32"] for col in (0, 32))
    assert pixels(left, "pre").max() < 70 and pixels(right, "pre").min() > 190


def test_only_what_post_covers_is_built(tmp_path: Path, small_parts: None) -> None:
    images = tmp_path / "release" / "train" / "images"
    write_tif(images / f"{SCENE_IDS[0]}_pre_disaster.tif", noise(200, 300))
    write_tif(images / f"{SCENE_IDS[0]}_post_disaster.tif", noise(40, 50), NORTH_UP @ Affine.translation(100, 70))
    rows, manifest = built(tmp_path / "d", source=tmp_path / "release")
    assert manifest["left_out"] == []  # no part without any ground of post was read
    parts = {tuple(int(text[1:]) for text in row["scene_id"].split("_")[-2:]) for row in rows.values()}
    assert parts == {(row, col) for row in (64, 96) for col in (96, 128)}  # rows 70 to 110, columns 100 to 150
    row = rows[f"{SCENE_IDS[0]}_r000064_c000096_0000_0000_32"]
    assert row["nodata_post"] == pytest.approx(1 - 26 * 28 / 32**2)
    assert (row["labels"], row["location_source"]) == ("none", "raster")


def test_too_large_and_too_far_are_said(tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    images = tmp_path / "release" / "train" / "images"
    for number, shift in ((0, 0), (1, 900), (2, 97)):
        name = f"event_0000000{number}"
        write_tif(images / f"{name}_pre_disaster.tif", noise(100, 100))
        write_tif(images / f"{name}_post_disaster.tif", noise(90, 100), NORTH_UP @ Affine.translation(shift, shift))
    monkeypatch.setattr("data.sources.large.MOST_PARTS", 4)
    with pytest.raises(DataError, match=r"none of 3 scenes.*100 x 100 px make 9 parts, at most 4\. Cut it first"):
        built(tmp_path / "d", source=tmp_path / "release")
    monkeypatch.setattr("data.sources.large.MOST_PARTS", 99)
    _, manifest = built(tmp_path / "d", source=tmp_path / "release")
    reasons = {entry["scene_id"]: entry["reason"] for entry in manifest["quarantine"]}
    assert "event_00000001_post_disaster.tif: does not overlap the pre image" in reasons["event_00000001"]
    assert "of which post covers less than a patch of 32 px" in reasons["event_00000002"]
