"""A full-size base with random weights goes through the real trainer, within the memory of a small machine."""

from pathlib import Path

import pytest

from benchmarks.speed.real_size import real_size
from tests.data.conftest import tiny_dataset
from tests.real import real

__all__ = ["tiny_dataset"]


@pytest.mark.slow
def test_stable_diffusion_2_1_takes_a_step_in_14_gb(tmp_path: Path, tiny_dataset: Path) -> None:
    configs = real("base_configs/stable-diffusion-2-1")
    found = real_size(configs=configs, dataset=tiny_dataset, work=tmp_path, resolution=256)
    assert found["peak_memory_gb"] < 14
    assert 0 < found["loss"] < 100
