"""Season and scale of a varied release are what its metadata say."""

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from data.build import build
from data.dataset.open import open_dataset
from data.simulation.capture import Capture
from data.simulation.events import EVENTS
from data.simulation.paint import Sun
from data.simulation.release import FOLDERS, Scene, write_scene
from data.simulation.season import STRAW, WITHERED, in_season, own_dates, own_scale, winter
from data.simulation.simulate import simulate

CAPTURE = Capture("WORLDVIEW02", "2016-01-15T10:00:00.000Z", "1030010", 10.0, 0.0, Sun(150, 45))


def test_winter_comes_in_january_in_the_north_in_july_in_the_south_and_never_at_the_equator() -> None:
    january, april, july = (date(2016, month, 15) for month in (1, 4, 7))
    assert winter(january, 45) == pytest.approx(1) and winter(january, -45) == pytest.approx(0)
    assert winter(july, 45) == pytest.approx(0, abs=1e-3) and winter(july, -45) == pytest.approx(1, abs=1e-3)
    assert winter(april, 45) == pytest.approx(0.5, abs=0.02)
    assert winter(january, 15) == pytest.approx(0.5) and winter(january, 0) == 0


def test_only_plants_change_colour_and_none_changes_its_brightness() -> None:
    albedo = np.array([[[60.0, 120.0, 30.0], [60.0, 120.0, 30.0]]], np.float32)
    plants = np.array([[1.0, 0.0]], np.float32)
    seen = in_season(albedo, plants, CAPTURE, 45.0)
    straw = STRAW * 70 / STRAW.mean()
    np.testing.assert_allclose(seen[0, 0], albedo[0, 0] + WITHERED * (straw - albedo[0, 0]), rtol=1e-4)
    assert np.array_equal(seen[0, 1], albedo[0, 1])
    np.testing.assert_allclose(seen.mean(-1), albedo.mean(-1), rtol=1e-5)


def test_days_fill_the_year_and_post_follows_pre() -> None:
    drawn = [own_dates(np.random.default_rng(seed), {"pre": CAPTURE, "post": CAPTURE}) for seed in range(200)]
    days = np.array([[date.fromisoformat(one[phase].date[:10]) for phase in ("pre", "post")] for one in drawn])
    assert (days[:, 1] > days[:, 0]).all()
    assert {day.month for day in days[:, 0]} == {day.month for day in days[:, 1]} == set(range(1, 13))
    assert all(one["pre"].date[10:] == CAPTURE.date[10:] for one in drawn)


def test_a_coarse_scene_is_the_same_ground_in_fewer_pixels(tmp_path: Path) -> None:
    """Its pixels are means, its polygons lie where they lay in degrees, and its files say the size."""
    image = np.random.default_rng(0).integers(1, 255, (64, 64, 3)).astype(np.uint8)
    corners = np.array([[16.0, 16.0], [32.0, 16.0], [32.0, 48.0], [16.0, 48.0], [16.0, 16.0]])
    scene = Scene(
        event=EVENTS[0], number=0, split="train", images={"pre": image, "post": image}, change=image[..., 0],
        cover=image[..., 1],
        polygons=[corners], subtypes=["destroyed"], uids=["a"], origin=(10.0, 50.0),
        captures={"pre": CAPTURE, "post": CAPTURE},
    )  # fmt: skip
    for kind in FOLDERS:
        (tmp_path / "train" / kind).mkdir(parents=True)
    sides = {}
    for seed in range(12):
        coarse = own_scale(np.random.default_rng(seed), scene)
        sides[len(coarse.change)] = coarse
    assert set(sides) <= {64, 45, 32, 23, 16} and {32, 16} <= set(sides)
    quarter = sides[16]
    blocks = image.reshape(16, 4, 16, 4, 3).mean((1, 3))
    assert np.abs(quarter.images["pre"] - blocks).max() <= 1
    assert np.abs(np.stack([quarter.change, quarter.cover], -1) - blocks[..., :2]).max() <= 1
    assert quarter.pixel_size_m == 2.0 and np.array_equal(quarter.polygons[0], corners / 4)
    labels = {}
    for one in (scene, quarter):
        write_scene(tmp_path, one)
        labels[one.pixel_size_m] = json.loads(
            (tmp_path / "train/labels" / f"{scene.stem}_post_disaster.json").read_text()
        )
    fine, rough = labels[0.5], labels[2.0]
    degrees = [shapely.get_coordinates(shapely.from_wkt(one["features"]["lng_lat"][0]["wkt"])) for one in (fine, rough)]
    np.testing.assert_allclose(degrees[0], degrees[1], atol=1e-12)
    assert rough["metadata"]["width"] == 16 and rough["metadata"]["gsd"] == pytest.approx(4 * fine["metadata"]["gsd"])


def test_the_builder_reads_day_and_pixel_size(tmp_path: Path) -> None:
    simulate(out=tmp_path / "release", scenes=1, seed=2, varied=True, workers=1)
    build(source=tmp_path / "release", out=tmp_path / "dataset", size=128)
    rows = open_dataset(tmp_path / "dataset", "train")
    (path,) = tmp_path.glob("release/train/labels/*_post_disaster.json")
    label: dict[str, Any] = json.loads(path.read_text())["metadata"]
    _, _, gsd, _, year, month, day = rows[0]["metadata_post"]
    assert label["capture_date"][:10] == f"{int(year)}-{int(month):02d}-{int(day):02d}" != EVENTS[0].post[1][:10]
    assert gsd == pytest.approx(0.5 * 1024 / label["width"], rel=0.02)
    assert len(rows) == (label["width"] // 128) ** 2
