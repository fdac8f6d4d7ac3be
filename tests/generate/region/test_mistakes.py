"""What a region run refuses, and what it says."""

import errno
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import pytest
import shapely
import yaml
from hypothesis import given

from data import storage
from data.errors import DataError
from generate.errors import GenerateError
from generate.region.records import RECORDS, Shard, begin, read_lines
from tests.damage import hostile, json_damage
from tests.data.rasters import write_tif
from tests.generate.region.worlds import COLS, PX, UTM, affine_of, make, write_plan, write_region


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
        ({"imagery": "https://tiles/{z}/{x}/{y}.png"}, "XYZ tiles are not read"),
        ({"imagery": "ftp://host/items.json"}, "expected a path, or an address of http or https"),
        ({"imagery": "houses.gpkg"}, "expected a GeoTIFF"),
        ({"footprints": "beside.gpkg"}, "does not overlap images/0.tif"),
        ({"footprints": "far.gpkg"}, "does not overlap images/0.tif"),
        ({"footprints": "none.gpkg"}, "cannot be read"),
        ({"imagery": "deep.tif"}, "holds uint16, expected 8 bits. State in the plan"),
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
    for name, east in (("far", 20_000), ("beside", 1.5 * 0.5 * COLS * PX)):  # kilometres, and half an image
        wkb = np.array([shapely.to_wkb(shapely.box(600_000 + east, 5_599_950, 600_010 + east, 5_599_960))], object)
        pyogrio.raw.write(tmp_path / f"{name}.gpkg", wkb, [], [], driver="GPKG", crs=UTM, geometry_type="Polygon")
    with pytest.raises((GenerateError, DataError), match=words) as error:
        make(tmp_path / "plan.yaml", mask_run, tmp_path / "set")
    assert "region alpha" in str(error.value)
    assert not (tmp_path / "set").exists()


def test_a_checkpoint_without_masks_is_refused(place: Path, run_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GenerateError, match="takes no damage mask"):
        make(place / "plan.yaml", run_folder, tmp_path / "set")


def test_a_full_disk_leaves_what_is_finished(
    place: Path, mask_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One message; with space again the same command goes on, to the bytes of a run without trouble."""
    written, whole = 0, storage.whole

    def filling(path: Path) -> Any:
        nonlocal written
        written += 1
        if written > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return whole(path)

    with monkeypatch.context() as patched:
        patched.setattr("generate.region.make.whole", filling)
        with pytest.raises(DataError, match="the disk is full"):
            make(place / "plan.yaml", mask_run, tmp_path / "set", shard=0)
    done = (tmp_path / "set/records/partial-00000000.jsonl").read_text()
    assert done.count("\n") >= 1
    make(place / "plan.yaml", mask_run, tmp_path / "set", shard=0)
    make(place / "plan.yaml", mask_run, tmp_path / "other", shard=0)
    name = "records/shard-00000000.jsonl"
    assert (tmp_path / "set" / name).read_text() == (tmp_path / "other" / name).read_text()
    assert (tmp_path / "set" / name).read_text().startswith(done)


LINE = {
    "tile": 0, "outcome": "kept", "region": "alpha", "disaster": "fire", "severity": 0, "tried": 1, "passed_over": {},
    "attempts": 1, "rejected": [], "scene_id": "alpha-fire_00000000", "counts": {"no-damage": 1}, "source": "0.tif",
    "lon": 9.0, "lat": 50.0, "phash": "00ff00ff00ff00ff", "files": {},
}  # fmt: skip


@given(content=json_damage(LINE))
@hostile
def test_damaged_records_are_one_message_or_the_right_result(tmp_path: Path, content: bytes) -> None:
    (tmp_path / RECORDS).mkdir(exist_ok=True)
    shard = Shard(tmp_path, 0, range(4))
    (tmp_path / RECORDS / "partial-00000000.jsonl").write_bytes(content)
    try:
        assert shard.claim()
        assert len(shard.missing()) <= 4
        assert len(list(read_lines(tmp_path / RECORDS / "partial-00000000.jsonl"))) <= 4
    except GenerateError as error:
        assert "partial-00000000.jsonl" in str(error)
    finally:
        shard.release()


WANTED = {"format": "pre2post-region", "plan": {"pairs": 10, "name": "x"}, "regions": [{"cells": 1}]}


@given(content=json_damage(WANTED))
@hostile
def test_a_damaged_set_is_another_one(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "set.json").write_bytes(content)
    try:
        begin(tmp_path, WANTED)
    except GenerateError as error:
        assert "set" in str(error)
    else:
        assert json.loads(content.decode("utf-8-sig")) == WANTED
