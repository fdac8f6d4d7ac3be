"""Fixtures of the tests of region runs."""

from pathlib import Path

import pytest

from tests.generate.region.worlds import PX, write_plan, write_region
from tests.generate.worlds import write_micro_checkpoint


@pytest.fixture(scope="session")
def mask_run(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    """A checkpoint that is shown masks; a tile is one of its windows."""
    folder = tmp_path_factory.mktemp("runs") / "mask"
    return write_micro_checkpoint(folder, micro_base, condition="pixels+mask", patch_px=PX)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region and a plan for it; not to be changed."""
    folder = tmp_path_factory.mktemp("place")
    write_region(folder)
    write_plan(folder)
    return folder
