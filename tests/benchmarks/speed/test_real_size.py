"""A full-size base with random weights goes through the real trainer, within the memory of a small machine."""

from pathlib import Path

import pytest

from benchmarks.speed.real_size import real_size
from tests.data.conftest import tiny_dataset

__all__ = ["tiny_dataset"]
CONFIGS = Path(__file__).parents[4] / "shared" / "base_configs" / "stable-diffusion-2-1"


@pytest.mark.slow
@pytest.mark.skipif(not CONFIGS.is_dir(), reason=f"no config files of Stable Diffusion 2.1 in {CONFIGS}")
def test_stable_diffusion_2_1_takes_a_step_in_14_gb(tmp_path: Path, tiny_dataset: Path) -> None:
    found = real_size(configs=CONFIGS, dataset=tiny_dataset, work=tmp_path, resolution=256)
    assert found["peak_memory_gb"] < 14
    assert 0 < found["loss"] < 100
