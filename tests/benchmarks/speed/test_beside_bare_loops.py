"""The benchmarks of caches and evaluations run from end to end, and write a section each."""

from pathlib import Path

import pytest

from benchmarks.speed.cache_start import PARTS, cache_start
from benchmarks.speed.evaluate_speed import evaluate_speed
from tests.data.conftest import tiny_dataset

__all__ = ["tiny_dataset"]


@pytest.mark.slow
def test_a_full_cache_is_found(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "dataset").symlink_to(tiny_dataset)
    cache_start(work=tmp_path, patches=130, captions=5, turns=1, results=tmp_path / "RESULTS.md")
    written = (tmp_path / "RESULTS.md").read_text()
    assert "130 patches, 5 captions, 4 files of latents" in written  # three packs of 64 at most, and their index
    assert all(f"| {part} |" in written for part in PARTS)


@pytest.mark.slow
def test_an_evaluation_is_measured_beside_a_bare_loop(tmp_path: Path, tiny_dataset: Path) -> None:
    (tmp_path / "dataset").symlink_to(tiny_dataset)
    evaluate_speed(work=tmp_path, patches=10, turns=1, results=tmp_path / "RESULTS.md")
    assert "10 patches of 32 px" in (tmp_path / "RESULTS.md").read_text()
