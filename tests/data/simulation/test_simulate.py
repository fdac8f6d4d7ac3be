"""The simulated release: its files read as an xView2 release, and what it says of itself is true."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
import shapely
from numpy.typing import NDArray
from PIL import Image

from data.errors import DataError
from data.simulation import simulate as module
from data.simulation.events import DISASTER_TYPES, EVENTS
from data.simulation.simulate import render_scene, simulate

SCENES = 6
PHASES = ("pre", "post")
XBD_EVENT_WORDS = ("hurricane", "guatemala", "mexico", "midwest", "palu", "santa-rosa", "socal", "joplin", "lower-puna",
                   "moore", "nepal", "pinery", "portugal", "sunda", "tuscaloosa", "woolsey")  # fmt: skip
METADATA_KEYS = {
    "sensor", "provider_asset_type", "catalog_id", "gsd", "pan_resolution", "capture_date", "off_nadir_angle",
    "sun_azimuth", "sun_elevation", "target_azimuth", "disaster", "disaster_type", "original_width",
    "original_height", "width", "height", "id", "img_name",
}  # fmt: skip
DAMAGE = {"un-classified": 0, "no-damage": 1, "minor-damage": 2, "major-damage": 3, "destroyed": 4}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("simulated") / "release"
    simulate(out=out, scenes=SCENES, seed=0, workers=2)
    return out


def stems(release: Path) -> list[tuple[Path, str]]:
    """Split folder and file stem of every scene."""
    found = [
        (path.parents[1], path.name.removesuffix("_change.png")) for path in sorted(release.glob("*/change/*.png"))
    ]
    assert len(found) == SCENES
    return found


def label(split: Path, stem: str, phase: str) -> Any:
    return json.loads((split / "labels" / f"{stem}_{phase}_disaster.json").read_text())


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path))


def polygons(split: Path, stem: str, phase: str = "post") -> list[tuple[shapely.Polygon, int]]:
    return [
        (shapely.from_wkt(feature["wkt"]), DAMAGE[feature["properties"].get("subtype", "no-damage")])
        for feature in label(split, stem, phase)["features"]["xy"]
    ]


def test_every_scene_has_all_its_files_and_nothing_else_is_there(release: Path) -> None:
    names = {path.relative_to(split).as_posix() for split, _ in stems(release) for path in split.rglob("*.*")}
    expected = {f"{kind}/{stem}_{kind}.png" for _, stem in stems(release) for kind in ("change", "cover")}
    for _, stem in stems(release):
        for phase in ("pre", "post"):
            expected |= {
                f"images/{stem}_{phase}_disaster.png",
                f"labels/{stem}_{phase}_disaster.json",
                f"targets/{stem}_{phase}_disaster_target.png",
            }
    assert names == expected
    assert list(release.parent.iterdir()) == [release]  # no temporary folder stays


def test_six_scenes_in_a_row_hold_all_types_and_no_event_of_xbd(release: Path) -> None:
    types = {label(split, stem, "pre")["metadata"]["disaster_type"] for split, stem in stems(release)}
    assert types == set(DISASTER_TYPES)
    assert not any(word in event.name for event in EVENTS for word in XBD_EVENT_WORDS)


def test_labels_follow_the_schema(release: Path) -> None:
    for split, stem in stems(release):
        for phase in ("pre", "post"):
            content = label(split, stem, phase)
            assert set(content) == {"features", "metadata"}
            assert set(content["metadata"]) == METADATA_KEYS
            assert content["metadata"]["img_name"] == f"{stem}_{phase}_disaster.png"
            assert content["metadata"]["disaster"] == stem.rsplit("_", 1)[0]
            assert len(content["metadata"]["capture_date"]) == 24
            keys = {"feature_type", "uid"} | ({"subtype"} if phase == "post" else set())
            assert all(set(f["properties"]) == keys for kind in ("xy", "lng_lat") for f in content["features"][kind])


def test_pre_and_post_hold_the_same_buildings_inside_the_image(release: Path) -> None:
    count = 0
    for split, stem in stems(release):
        pre, post = (label(split, stem, phase)["features"] for phase in ("pre", "post"))
        uids = [[f["properties"]["uid"] for f in lists[kind]] for lists in (pre, post) for kind in ("xy", "lng_lat")]
        assert uids[0] == uids[1] == uids[2] == uids[3]
        assert len(set(uids[0])) == len(uids[0])
        for polygon, _ in polygons(split, stem):
            assert polygon.geom_type == "Polygon"
            assert polygon.is_valid
            assert shapely.box(0, 0, 1024, 1024).covers(polygon)
        count += len(uids[0])
    assert count > 50


def test_degrees_are_an_affine_function_of_pixels(release: Path) -> None:
    for split, stem in stems(release):
        features = label(split, stem, "post")["features"]
        if not features["xy"]:
            continue
        xy, degrees = (
            np.concatenate([shapely.get_coordinates(shapely.from_wkt(f["wkt"])) for f in features[kind]])
            for kind in ("xy", "lng_lat")
        )
        design = np.column_stack([degrees - degrees.mean(0), np.ones(len(degrees))])
        fit, *_ = np.linalg.lstsq(design, xy, rcond=None)
        assert np.abs(design @ fit - xy).max() < 0.1  # px
        lon, lat = degrees.mean(0)
        event = next(event for event in EVENTS if stem.startswith(event.name))
        assert abs(lon - event.lon) < 0.1
        assert abs(lat - event.lat) < 0.1


def test_targets_equal_polygons_rasterised_by_someone_else(release: Path) -> None:
    for split, stem in stems(release):
        target = pixels(split / "targets" / f"{stem}_post_disaster_target.png")
        shapes = polygons(split, stem)
        oracle = np.zeros((1024, 1024), np.uint8)
        if shapes:
            oracle = rasterio.features.rasterize(shapes, out_shape=(1024, 1024), dtype="uint8")
        for value in range(1, 5):
            union = ((target == value) | (oracle == value)).sum()
            assert union == 0 or ((target == value) & (oracle == value)).sum() / union > 0.97
        pre = pixels(split / "targets" / f"{stem}_pre_disaster_target.png")
        assert ((target > 0) <= (pre == 1)).all()
        assert pre.max() <= 1


def test_images_have_the_size_and_mode_of_the_release(release: Path) -> None:
    for split, stem in stems(release):
        for phase in ("pre", "post"):
            with Image.open(split / "images" / f"{stem}_{phase}_disaster.png") as image:
                assert (image.mode, image.size) == ("RGB", (1024, 1024))
        with Image.open(split / "change" / f"{stem}_change.png") as image:
            assert image.mode == "L"


def test_unchanged_surface_stays_and_changed_surface_differs(release: Path) -> None:
    struck = 0
    for split, stem in stems(release):
        pre, post = (pixels(split / "images" / f"{stem}_{phase}_disaster.png").astype(int) for phase in ("pre", "post"))
        change = pixels(split / "change" / f"{stem}_change.png")
        seen = pixels(split / "cover" / f"{stem}_cover.png") == 0
        assert (seen <= (pre.max(-1) > 0) & (post.max(-1) > 0)).all()
        difference = np.abs(pre - post).mean(-1)
        same, replaced = seen & (change == 0), seen & (change > 200)
        if same.sum() > 1000:
            assert difference[same].mean() < 8
        if replaced.sum() > 1000:
            assert difference[replaced].mean() > 15
            struck += 1
    assert struck >= 3


def test_change_grows_with_the_damage_class(release: Path) -> None:
    strengths: dict[int, list[float]] = {1: [], 2: [], 3: [], 4: []}
    for split, stem in stems(release):
        change = pixels(split / "change" / f"{stem}_change.png")
        target = pixels(split / "targets" / f"{stem}_post_disaster_target.png")
        for value, found in strengths.items():
            found.extend(change[target == value].tolist())
    means = [float(np.mean(strengths[value])) for value in (1, 2, 3, 4)]
    assert means == sorted(means)
    assert means[3] > 200 > 100 > means[0]


def test_a_scene_depends_on_seed_and_number_only(release: Path, tmp_path: Path) -> None:
    simulate(out=tmp_path / "two", scenes=2, seed=0, workers=1)
    files = [path for path in (tmp_path / "two").rglob("*") if path.is_file()]
    assert len(files) == 16
    for path in files:
        assert path.read_bytes() == (release / path.relative_to(tmp_path / "two")).read_bytes()
    other = render_scene(1, 0)
    assert not np.array_equal(other.images["pre"], pixels(next(release.glob("*/images/larkmere*_pre_disaster.png"))))


def test_a_second_post_image_changes_nothing_else(release: Path, tmp_path: Path) -> None:
    """It shows the aftermath, not the place before, and another day's light and noise."""
    simulate(out=tmp_path / "two", scenes=2, seed=0, second_post=True, workers=1)
    files = [path for path in (tmp_path / "two").rglob("*") if path.is_file()]
    again = [path for path in files if path.parent.name == "again"]
    assert (len(files), len(again)) == (18, 2)
    for path in set(files) - set(again):
        assert path.read_bytes() == (release / path.relative_to(tmp_path / "two")).read_bytes()
    for path in again:
        split, stem = path.parents[1], path.name.removesuffix("_post_again.png")
        change, cover = (pixels(split / kind / f"{stem}_{kind}.png") for kind in ("change", "cover"))
        inside, outside, shown = (change > 64) & (cover == 0), (change <= 64) & (cover == 0), pixels(path).astype(float)
        pre, post = (pixels(split / "images" / f"{stem}_{phase}_disaster.png").astype(float) for phase in PHASES)
        near, far = (((shown - other) ** 2)[inside].mean() for other in (post, pre))
        assert near < 0.1 * far
        assert 1 < ((shown - post) ** 2)[outside].mean() < 20**2
        assert np.array_equal((shown == 0).all(-1), (post == 0).all(-1))


@pytest.mark.parametrize("index", [0, 5])  # a flood, a volcano
def test_a_confined_disaster_spares_parts_that_it_else_would_strike(release: Path, index: int) -> None:
    scene = render_scene(0, index, confine=True)
    usual = pixels(release / scene.split / "change" / f"{scene.stem}_change.png") > 64
    parts = scene.change > 64
    assert (parts & ~usual).mean() < 0.01
    assert 0.2 < parts[usual].mean() < 0.8


def test_refuses_a_folder_with_content(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(DataError, match="not an empty folder"):
        simulate(out=tmp_path, scenes=1)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_refuses_a_history_of_scenes_that_vary(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="history is 2 and varied is true"):
        simulate(out=tmp_path / "release", scenes=1, varied=True, history=2)
    assert not (tmp_path / "release").exists()


def test_nothing_stays_when_it_breaks_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*scene: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "render_scene", interrupt)
    with pytest.raises(KeyboardInterrupt):
        simulate(out=tmp_path / "release", scenes=2, workers=1)
    assert list(tmp_path.iterdir()) == []
