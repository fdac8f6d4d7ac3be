"""Builds that measure, leave out and align: a release whose every fault is known."""

import hashlib
import io
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image

from data.build import build
from data.errors import DataError
from data.quality.screening import Screening
from data.schema import FEATURES, QUALITY
from tests.data.tiny_release import MICHAEL_0, SCENE_IDS, write_scene

SIDE = 128
MOVED = (3, -5)  # the post image of the first scene lies 3 px lower and 5 px farther left than pre


def ground(seed: int) -> NDArray[np.uint8]:
    """Houses on a plain, with room to cut a shifted image."""
    rng = np.random.default_rng(seed)
    image = np.full((SIDE + 20, SIDE + 20, 3), 90, np.uint8)
    for _ in range(200):
        (row, col), (height, width) = rng.integers(0, SIDE + 20, 2), rng.integers(3, 14, 2)
        image[row : row + height, col : col + width] = rng.integers(30, 180, 3)
    return image


def cut(image: NDArray[np.uint8], down: int = 0, right: int = 0) -> NDArray[np.uint8]:
    return image[10 - down :, 10 - right :][:SIDE, :SIDE].copy()


def rewrite(folder: Path, scene_id: str, pre: NDArray[np.uint8], post: NDArray[np.uint8]) -> None:
    write_scene(folder, scene_id, MICHAEL_0, ("pre", "post"))
    for phase, pixels in (("pre", pre), ("post", post)):
        Image.fromarray(pixels).save(folder / "images" / f"{scene_id}_{phase}_disaster.png")


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scene 0: shifted. Scene 1: no data right of x = 96 in post. Scene 3, in another split: scene 0 again, cloudy."""
    root = tmp_path_factory.mktemp("faulty") / "release"
    one, other = ground(0), ground(1)
    rewrite(root / "train", SCENE_IDS[0], cut(one), cut(one, *MOVED))
    half = cut(other)
    half[:, 96:] = 0
    rewrite(root / "train", SCENE_IDS[1], cut(other), half)
    cloudy = cut(one)
    cloudy[:, :68] = 205  # its soft rim
    cloudy[:, :64] = 210
    rewrite(root / "hold", SCENE_IDS[3], np.minimum(cut(one), 250), cloudy)
    return root


def built(source: Path, out: Path, **options: Any) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    build(source=source, out=out, size=64, workers=1, **options)
    rows = [row for file in sorted((out / "data").iterdir()) for row in pq.read_table(file).to_pylist()]
    return json.loads((out / "dataset.json").read_text()), {row["patch_id"]: row for row in rows}


def name(scene: int, row: int, col: int) -> str:
    return f"{SCENE_IDS[scene]}_{row:04d}_{col:04d}_64"


def pixels(row: dict[str, Any], column: str) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(row[column]["bytes"])))


def test_by_default_everything_is_measured_and_nothing_left_out(faulty: Path, tmp_path: Path) -> None:
    manifest, rows = built(faulty, tmp_path / "d")
    assert len(rows) == 12 and manifest["left_out"] == []
    assert set(QUALITY) < set(FEATURES) and all(set(QUALITY) < set(row) for row in rows.values())
    shifted = rows[name(0, 0, 0)]
    assert shifted["shift_px"] == pytest.approx([-3, 5], abs=0.3) and shifted["shift_source"] == "patch"
    assert shifted["scene_shift_px"] == pytest.approx([-3, 5], abs=0.3) and shifted["moved_px"] == [0, 0]
    assert (pixels(shifted, "post") == cut(ground(0), *MOVED)[:64, :64]).all()
    edge = rows[name(1, 0, 64)]
    assert (edge["nodata_fraction"], edge["nodata_pre"], edge["nodata_post"]) == (0.5, 0, 0.5)
    assert rows[name(3, 0, 0)]["cloud_post"] == 1 and rows[name(3, 0, 0)]["cloud_pre"] == 0


def test_a_patch_that_tells_nothing_takes_the_shift_of_its_scene(faulty: Path, tmp_path: Path) -> None:
    _, rows = built(faulty, tmp_path / "d")
    covered = rows[name(3, 0, 0)]
    assert covered["shift_source"] == "scene" and covered["shift_px"] == pytest.approx([0, 0], abs=0.3)
    assert covered["shift_confidence"] == covered["scene_shift_confidence"] >= 0.5


def test_the_same_picture_in_two_splits_is_named(
    faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, _ = built(faulty, tmp_path / "d")
    twins = manifest["near_duplicates"]
    assert (twins["patches"], manifest["leaks"]["pictures_across_splits"]["patches"]) == (4, 4)
    assert twins["listed"][0] == {
        "patch_id": name(3, 0, 0),
        "split": "validation",
        "looks_like": name(0, 0, 0),
        "its_split": "train",
        "bits": 0,
    }
    assert (
        f"4 patches with the same image as another scene: {name(3, 0, 0)} = {name(0, 0, 0)}" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("limit", "left_out"),
    [
        (
            Screening(max_nodata=0.4),
            {name(1, row, 64): "no data in 50.0% of it, --max-nodata is 0.4." for row in (0, 64)},
        ),
        (
            Screening(max_cloud=0.9),
            {name(3, row, 0): "cloud over 100.0% of the post image, --max-cloud is 0.9." for row in (0, 64)},
        ),
        (
            Screening(max_shift=4),
            {name(0, r, c): "post lies 5.8 px from pre, --max-shift is 4." for r in (0, 64) for c in (0, 64)},
        ),
    ],
)
def test_what_is_left_out_is_named_with_its_reason(
    faulty: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    limit: Screening,
    left_out: dict[str, str],
) -> None:
    manifest, rows = built(faulty, tmp_path / "d", screening=limit)
    assert {entry["patch_id"]: entry["reason"] for entry in manifest["left_out"]} == left_out
    assert len(rows) == 12 - len(left_out) and not set(left_out) & set(rows)
    assert manifest["splits"]["train"]["patches"] == sum(row["official_split"] == "train" for row in rows.values())
    printed, page = capsys.readouterr().out, (tmp_path / "d" / "report.html").read_text()
    for patch_id, reason in left_out.items():
        assert f"{patch_id} ({reason.rstrip('.')})" in printed
        assert f"<th>{patch_id}</th><td>{reason}</td>" in page


def test_align_moves_post_onto_pre_and_nothing_else(faulty: Path, tmp_path: Path) -> None:
    _, before = built(faulty, tmp_path / "before")
    manifest, rows = built(faulty, tmp_path / "aligned", screening=Screening(align=True, max_shift=1))
    assert manifest["registration"]["scenes_moved"] == 1 and manifest["left_out"] == []
    row = rows[name(0, 0, 0)]
    assert row["moved_px"] == row["scene_shift_px"] == pytest.approx([-3, 5], abs=0.3)
    assert math.hypot(*row["shift_px"]) < 0.3
    inside = np.s_[2:56, 10:62]
    gap = np.abs(pixels(row, "post")[inside].astype(int) - pixels(row, "pre")[inside])
    assert np.percentile(gap, 90) < 12 and np.abs(gap).mean() < 5
    assert not pixels(row, "post")[:, :4].any() and 4 / 64 < row["nodata_post"] < 7 / 64  # uncovered: nobody knows
    for patch_id, old in before.items():
        for column in ("pre", "damage_mask"):
            assert rows[patch_id][column] == old[column]
        assert rows[patch_id]["buildings"] == old["buildings"] and rows[patch_id]["captions"] == old["captions"]
        if not patch_id.startswith(SCENE_IDS[0]):
            assert rows[patch_id]["post_sha256"] == old["post_sha256"]


def test_align_takes_the_simulated_masks_along(faulty: Path, tmp_path: Path) -> None:
    change = np.zeros((SIDE, SIDE), np.uint8)
    change[43:53, 25:35] = 255  # on post; on pre it lies 3 px higher and 5 px farther right
    folders = {kind: faulty / "train" / kind for kind in ("change", "cover")}
    for kind, folder in folders.items():
        folder.mkdir()
        Image.fromarray(change).save(folder / f"{SCENE_IDS[0]}_{kind}.png")
    try:
        _, rows = built(faulty, tmp_path / "d", screening=Screening(align=True))
    finally:
        for folder in folders.values():
            shutil.rmtree(folder)
    moved = np.argwhere(pixels(rows[name(0, 0, 0)], "change_mask") > 127)
    assert moved.min(axis=0).tolist() == [40, 30] and moved.max(axis=0).tolist() == [49, 39]
    covered = np.argwhere(pixels(rows[name(0, 0, 0)], "cover_mask") > 127)  # what is of pre stays: both places
    assert covered.min(axis=0).tolist() == [40, 25] and covered.max(axis=0).tolist() == [52, 39]


def test_pixels_masked_by_transparency_hold_no_data(faulty: Path, tmp_path: Path) -> None:
    root = tmp_path / "release"
    rewrite(root, SCENE_IDS[0], cut(ground(0)), cut(ground(0)))
    path = root / "images" / f"{SCENE_IDS[0]}_post_disaster.png"
    opacity = np.full((SIDE, SIDE, 1), 255, np.uint8)
    opacity[:32, :64] = 0
    Image.fromarray(np.concatenate([cut(ground(0)), opacity], axis=-1)).save(path)
    _, rows = built(root, tmp_path / "d")
    assert (rows[name(0, 0, 0)]["nodata_post"], rows[name(0, 64, 0)]["nodata_post"]) == (0.5, 0)


def test_nothing_is_left(faulty: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none of 3 scenes could be used. The first: .*--max-shift is 0\."):
        build(source=faulty, out=tmp_path / "d", size=SIDE, workers=1, screening=Screening(max_shift=0))
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_nodata": 20}, "max_nodata is 20; expected 0 to 1, a share of the patch"),
        ({"max_cloud": -0.1}, "max_cloud is -0.1; expected 0 to 1"),
        ({"max_shift": -1}, "max_shift is -1; expected a number of pixels, 0 or more"),
        ({"max_shift": math.nan}, "max_shift is nan"),
    ],
)
def test_a_limit_that_makes_no_sense(limits: dict[str, float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Screening(**limits)  # type: ignore[arg-type]


def test_what_cannot_be_measured_is_no_reason() -> None:
    columns = {"nodata_fraction": 0.9, "shift_px": [math.nan] * 2, "cloud_pre": math.nan, "cloud_post": math.nan}
    assert Screening(max_nodata=1, max_shift=0, max_cloud=0).reason(columns) == ""
    assert Screening().reason(columns) == "no data in 90.0% of it, --max-nodata is 0.75."  # the default
    nothing = "no data anywhere in it, in one image or the other."
    assert Screening(max_nodata=1).reason(columns | {"nodata_fraction": 1.0}) == nothing
    assert Screening(max_nodata=1, max_cloud=0.5).reason(columns | {"cloud_pre": 0.6}) == (
        "cloud over 60.0% of the pre image, --max-cloud is 0.5."
    )


def test_default_bytes_of_the_images_are_those_of_the_source(faulty: Path, tmp_path: Path) -> None:
    """Caches and released models are keyed by them."""
    _, rows = built(faulty, tmp_path / "d")
    buffer = io.BytesIO()
    Image.fromarray(cut(ground(0), *MOVED)[:64, 64:]).save(buffer, format="PNG", compress_level=3)
    assert rows[name(0, 0, 64)]["post"]["bytes"] == buffer.getvalue()
    assert rows[name(0, 0, 64)]["post_sha256"] == hashlib.sha256(buffer.getvalue()).hexdigest()
