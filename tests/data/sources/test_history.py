"""Earlier images of a place: simulated, listed in a release or a manifest, built into columns."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image
from rasterio import Affine

from data.build import build
from data.dataset.open import open_dataset
from data.errors import DataError
from data.schema import FEATURES, HISTORY
from data.simulation.events import EVENTS
from data.simulation.history import look_back
from data.simulation.place import make_place
from data.simulation.release import FOLDERS, Scene, write_scene
from data.simulation.simulate import render_scene
from data.sources.history import parse_history
from tests.data.rasters import NORTH_UP, noise, write_tif
from tests.data.tiny_release import SCENE_IDS, SIDE_PX


@pytest.fixture(scope="module")
def scene() -> Scene:
    return render_scene(0, 0, history=2)


@pytest.fixture(scope="module")
def plain() -> Scene:
    return render_scene(0, 0)


def clear(image: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Neither cloud nor anything as bright."""
    return np.asarray(image.min(-1) < 150)


def test_clouds_over_pre_change_nothing_else(scene: Scene, plain: Scene) -> None:
    assert plain.history == []
    np.testing.assert_array_equal(scene.images["post"], plain.images["post"])
    np.testing.assert_array_equal(scene.change, plain.change)
    assert (scene.uids, scene.subtypes, scene.captures) == (plain.uids, plain.subtypes, plain.captures)
    same = (scene.images["pre"] == plain.images["pre"]).all(-1)
    assert 0.25 < same.mean() < 0.75
    assert not clear(scene.images["pre"])[~same].all()


def test_earlier_looks_show_the_same_place_at_other_dates(scene: Scene, plain: Scene) -> None:
    days = [look.date for look in scene.history] + [scene.captures["pre"].date[:10]]
    assert days == sorted(set(days))
    grey = plain.images["pre"].mean(-1)
    for look in scene.history:
        seen = clear(look.image)
        assert 1 - seen.mean() == pytest.approx(look.cloud_cover, abs=0.08)
        shown = look.image.mean(-1)
        alike, unlike = (np.corrcoef(image[seen], shown[seen])[0, 1] for image in (grey, grey[::-1]))
        assert alike > 0.5 and abs(unlike) < 0.2
        assert not np.array_equal(look.image, scene.images["pre"])


def test_several_looks_show_more_than_one(scene: Scene) -> None:
    seen = [clear(look.image) for look in scene.history] + [clear(scene.images["pre"])]
    assert np.any(seen, 0).mean() > max(part.mean() for part in seen) + 0.1


def test_a_look_does_not_depend_on_how_many_there_are(scene: Scene) -> None:
    place = make_place(np.random.default_rng((0, 0)), EVENTS[0])
    (newest,) = look_back(0, 0, EVENTS[0], place, 1)
    np.testing.assert_array_equal(newest.image, scene.history[-1].image)
    assert newest.date == scene.history[-1].date


def test_a_simulated_history_is_built(scene: Scene, tmp_path: Path) -> None:
    for kind in (*FOLDERS, "history"):
        (tmp_path / "release" / scene.split / kind).mkdir(parents=True)
    write_scene(tmp_path / "release", scene)
    build(source=tmp_path / "release", out=tmp_path / "d", size=512, workers=1)
    row = open_dataset(tmp_path / "d", "train")[3]
    for image, look in zip(row["history"], scene.history, strict=True):
        np.testing.assert_array_equal(np.asarray(image), look.image[512:, 512:])
    days = [[int(part) for part in look.date.split("-")] for look in scene.history]
    assert [numbers[4:] for numbers in row["metadata_history"]] == days
    assert [numbers[:3] for numbers in row["metadata_history"]] == [row["metadata_pre"][:3]] * 2
    covers = [numbers[3] for numbers in row["metadata_history"]]
    assert covers == pytest.approx([look.cloud_cover for look in scene.history], abs=1e-4)


def with_history(release: Path) -> list[NDArray[np.uint8]]:
    """Two images for the first scene, the newer one listed first; returned in the order of their dates."""
    images = [noise(SIDE_PX, SIDE_PX, seed=seed).transpose(1, 2, 0) for seed in (5, 6)]
    folder = release / "train" / "history"
    folder.mkdir()
    for year, image in zip((2015, 2016), images, strict=True):
        Image.fromarray(image).save(folder / f"{year}.png")
    entries = [
        {"image": "2016.png", "date": "2016-08-31", "cloud_cover": 0.25},
        {"image": "2015.png", "date": "2015-06-02", "gsd": 10},
    ]
    (folder / f"{SCENE_IDS[0]}_history.json").write_text(json.dumps(entries))
    return images


def rows_of(folder: Path, split: str = "train") -> dict[str, dict[str, Any]]:
    return {row["patch_id"]: row for row in open_dataset(folder, split)}


def test_columns_of_a_release_with_a_history(release: Path, tmp_path: Path) -> None:
    images = with_history(release)
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    rows = rows_of(tmp_path / "d")
    row = rows[f"{SCENE_IDS[0]}_0032_0000_32"]
    for shown, image in zip(row["history"], images, strict=True):
        np.testing.assert_array_equal(np.asarray(shown), image[32:64, 0:32])
    oldest, newest = row["metadata_history"]
    lon, lat, gsd = row["metadata_pre"][:3]
    assert oldest[:3] == [lon, lat, 10] and math.isnan(oldest[3]) and oldest[4:] == [2015, 6, 2]
    assert newest == [lon, lat, gsd, 0.25, 2016, 8, 31]
    other = rows[f"{SCENE_IDS[1]}_0000_0000_32"]
    assert other["history"] is None and other["metadata_history"] is None


def test_a_history_adds_columns_and_changes_no_other(release: Path, tmp_path: Path) -> None:
    build(source=release, out=tmp_path / "without", size=32, workers=1)
    with_history(release)
    build(source=release, out=tmp_path / "with", size=32, workers=1)
    for file in sorted((tmp_path / "without" / "data").iterdir()):
        before, after = pq.read_table(file), pq.read_table(tmp_path / "with" / "data" / file.name)
        assert before.column_names == list(FEATURES)
        assert after.column_names == [*FEATURES, *HISTORY]
        assert repr(after.select(before.column_names).to_pylist()) == repr(before.to_pylist())  # NaN is no NaN


def test_a_history_in_a_manifest_comes_onto_the_grid_of_pre(tmp_path: Path) -> None:
    """Of one colour, twice as coarse, over the left half only."""
    for name in ("pre", "post"):
        write_tif(tmp_path / f"{name}.tif", noise(64, 64, seed=len(name)))
    write_tif(tmp_path / "old.tif", np.full((3, 32, 16), 90, np.uint8), NORTH_UP @ Affine.scale(2))
    pair = {"pre": "pre.tif", "post": "post.tif", "event": "some-flood", "pre_date": "2021-03-01"}
    lines = [pair | {"history": [{"image": "old.tif", "date": "2020-03-01"}]}]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    build(manifest=tmp_path / "pairs.jsonl", out=tmp_path / "d", size=64, workers=1)
    (row,) = rows_of(tmp_path / "d").values()
    (image,) = (np.asarray(shown) for shown in row["history"])
    assert (image[:, :32] == 90).all() and (image[:, 33:] == 0).all()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({}, "x: history is {}, expected a list of objects with image and date"),
        ([1], r"x: history is \[1\], expected a list of objects"),
        ([{"image": "a.png"}], r"x, history\[0\]: is {'image': 'a.png'}, expected at least image and date, both texts"),
        ([{"image": "a.png", "date": "2016-02-30"}], "date is '2016-02-30': expected a date such as"),
        ([{"image": "b.png", "date": "2016-02-03"}], "image is 'b.png': .*b.png does not exist"),
        ([{"image": "a.png", "dat": "2016-02-03"}], "no such field 'dat'. Did you mean date"),
        ([{"image": "a.png", "date": "2016-02-03", "cloud_cover": 40}], "cloud_cover is 40, expected 0 to 1"),
        ([{"image": "a.png", "date": "2016-02-03", "gsd": True}], "gsd is True, expected metres per pixel"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, entries: object, message: str) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(DataError, match=message):
        parse_history(entries, tmp_path, "x")


def test_scenes_with_a_bad_history_are_left_out(release: Path, tmp_path: Path) -> None:
    with_history(release)
    folder = release / "train" / "history"
    (folder / f"{SCENE_IDS[1]}_history.json").write_text("{")
    (folder / "deep.json").write_text("[]")
    entries = [{"image": "2015.png", "date": "2017-10-06"}]  # pre was taken on the day before
    (folder / f"{SCENE_IDS[0]}_history.json").write_text(json.dumps(entries))
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    found = json.loads((tmp_path / "d" / "dataset.json").read_text())["quarantine"]
    first, second = (entry["reason"] for entry in sorted(found, key=lambda entry: str(entry["scene_id"])))
    assert first.startswith(f"{folder / '2015.png'}: its date in the history is 2017-10-06, after that of the pre")
    assert second.startswith(f"{folder / SCENE_IDS[1]}_history.json: not valid JSON")


def test_16_bits_are_refused(release: Path, tmp_path: Path) -> None:
    with_history(release)
    folder = release / "train" / "history"
    write_tif(folder / "2014.tif", noise(SIDE_PX, SIDE_PX).astype(np.uint16) + 300)
    entries = [{"image": "2014.tif", "date": "2014-10-06"}]
    (folder / f"{SCENE_IDS[0]}_history.json").write_text(json.dumps(entries))
    build(source=release, out=tmp_path / "d", size=32, workers=1)
    (entry,) = json.loads((tmp_path / "d" / "dataset.json").read_text())["quarantine"]
    assert entry["reason"].startswith(f"{folder / '2014.tif'}: holds uint16, and images of a history are expected in 8")
