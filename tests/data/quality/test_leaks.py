"""No place in two splits, or it is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from data.build import build
from data.errors import DataError
from data.options import SplitRule
from data.quality.duplicates import Hashed, near_duplicates
from data.quality.leaks import leak_note, leak_report
from tests.data.tiny_release import MICHAEL_0, ORIGIN, STEP, write_scene

BOTH = ("pre", "post")


@pytest.fixture
def overlapping(tmp_path: Path) -> Path:
    """a0, and 32 px to the east of it h0; all others far apart. A name's letters, added up, seed its noise."""
    root, east = tmp_path / "release", ORIGIN[0] + 32 * STEP[0]
    write_scene(root / "train", "a-fire_00000000", MICHAEL_0, BOTH)
    write_scene(root / "test", "h-fire_00000000", MICHAEL_0, BOTH, origin=(east, ORIGIN[1]))
    write_scene(root / "train", "a-fire_00000001", MICHAEL_0, BOTH, origin=(11, 50))
    write_scene(root / "test", "h-fire_00000001", MICHAEL_0, BOTH, origin=(12, 50))
    write_scene(root / "train", "p-fire_00000000", MICHAEL_0, BOTH, origin=(13, 50))
    write_scene(root / "train", "x-fire_00000000", [], ())
    return root


def built(source: Path, out: Path, **options: Any) -> dict[str, Any]:
    build(source=source, out=out, size=32, workers=1, **options)
    manifest: dict[str, Any] = json.loads((out / "dataset.json").read_text())
    return manifest


def test_official_splits_that_share_ground_are_named(
    overlapping: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    leaks = built(overlapping, tmp_path / "d")["leaks"]
    # Both are 60 px wide without their margins of 2 px; the shared ground is 28 px wide.
    assert leaks["footprints_across_splits"]["listed"] == [
        {
            "scene_id": "a-fire_00000000",
            "split": "train",
            "overlaps": "h-fire_00000000",
            "its_split": "test",
            "share": pytest.approx(28 / 60, abs=1e-3),
        }
    ]
    assert (leaks["scenes_with_footprint"], leaks["scenes_without_footprint"]) == (5, 1)
    printed = capsys.readouterr().out
    assert "LEAK: the same place is in two splits: 1 pair of scenes shares ground" in printed
    assert "a-fire_00000000 (train) = h-fire_00000000 (test)" in printed
    assert "--split-by scene or --split-by event keeps such scenes together" in printed
    page = (tmp_path / "d" / "report.html").read_text()
    assert "h-fire_00000000 (test)" in page and "46.7% of the smaller footprint" in page


def test_strict_refuses_them(overlapping: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"two splits: 1 pair .*as --strict asks: a-fire_00000000 \(train\) = h-fire"):
        built(overlapping, tmp_path / "d", strict=True)
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize("seed", range(3))
def test_scene_and_event_splits_share_no_ground(overlapping: Path, tmp_path: Path, seed: int) -> None:
    for split_by in ("scene", "event"):
        manifest = built(overlapping, tmp_path / split_by, split=SplitRule(split_by=split_by, seed=seed), strict=True)
        assert manifest["leaks"]["overlapping_pairs"] == 1 and leak_note(manifest) == ""
    splits = {event: set(entry["splits"]) for event, entry in manifest["events"].items()}
    assert splits["a-fire"] == splits["h-fire"]


def test_named_events_that_share_ground_are_named(
    overlapping: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = built(overlapping, tmp_path / "d", split=SplitRule(split_by="event", test_events="h-fire"))
    assert manifest["build"]["test_events"] == ["h-fire"]
    assert manifest["leaks"]["footprints_across_splits"]["pairs"] == 1
    assert "Name events that share ground in the same option" in capsys.readouterr().out
    assert not leak_note(
        built(overlapping, tmp_path / "e", split=SplitRule(split_by="event", test_events="a-fire,h-fire"))
    )


def test_a_look_alike_in_another_split_is_not_hidden_by_one_in_the_same() -> None:
    """c looks like a, its neighbour in test; and like b in train, which does not look like a."""
    patches = [
        Hashed("a_0", "a", "test", "0000000000000007"),
        Hashed("b_0", "b", "train", "0000000000000038"),
        Hashed("c_0", "c", "test", "0000000000000000"),
    ]
    assert [entry["looks_like"] for entry in near_duplicates(patches, lambda *_: True)] == ["a_0"]
    (found,) = near_duplicates(patches, lambda *_: True, across_splits=True)
    assert (found["patch_id"], found["looks_like"]) == ("c_0", "b_0")


def test_scenes_that_are_not_in_the_dataset_leak_nothing() -> None:
    report = leak_report({"a": "train"}, ["a", "b"], [("a", "b", 0.5)], [])
    assert report["footprints_across_splits"]["pairs"] == 0 and report["scenes_with_footprint"] == 1
