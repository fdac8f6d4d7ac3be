"""The benchmarks of caches, builds, evaluations and scenes run from end to end, and write a section each."""

from pathlib import Path

import pytest

from benchmarks.speed.build_speed import multiplied
from benchmarks.speed.cache_start import PARTS, cache_start
from benchmarks.speed.evaluate_speed import evaluate_speed
from benchmarks.speed.scene_speed import OVERLAPS, scene_speed
from data.build import build
from data.dataset.open import open_dataset
from data.sources.release import find_release
from tests.data.conftest import release, tiny_dataset

__all__ = ["release", "tiny_dataset"]


@pytest.mark.slow
def test_a_full_cache_is_found(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "dataset").symlink_to(tiny_dataset)
    cache_start(work=tmp_path, patches=130, captions=5, turns=1, results=tmp_path / "RESULTS.md")
    written = (tmp_path / "RESULTS.md").read_text()
    assert "130 patches, 5 captions, 4 files of latents" in written  # three packs of 64 at most, and their index
    assert all(f"| {part} |" in written for part in PARTS)


def test_scenes_are_multiplied_under_names_of_their_own(tmp_path: Path, release: Path) -> None:
    """A label that names another image puts its scene aside, and a build of nothing is fast."""
    scenes = find_release(release).scenes
    source = multiplied(scenes, tmp_path / "seven", len(scenes) + 2)
    build(source=source, out=tmp_path / "built", size=32, workers=1, strict=True)
    assert len(set(open_dataset(tmp_path / "built", "train")["scene_id"])) == len(scenes) + 2


@pytest.mark.slow
def test_an_evaluation_is_measured_beside_a_bare_loop(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "dataset").symlink_to(tiny_dataset)
    results = tmp_path / "RESULTS.md"
    evaluate_speed(release=tmp_path, work=tmp_path, patches=4, turns=1, size=32, results=results)
    assert "4 patches of 32 px" in results.read_text()


@pytest.mark.slow
def test_a_scene_is_measured_beside_its_tiles(tmp_path: Path) -> None:
    scene_speed(work=tmp_path, side=256, steps=1, rounds=1, results=tmp_path / "RESULTS.md")
    rows = [line.split(" | ")[:2] for line in (tmp_path / "RESULTS.md").read_text().splitlines() if "ours" in line]
    assert rows == [["| ours, overlap 0", "4"], ["| ours, overlap 0.5", "9"]]
    assert set(OVERLAPS) - {"stock tiles"} == {row[0].removeprefix("| ") for row in rows}
