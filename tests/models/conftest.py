"""What tests of networks share."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def base(micro_base: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(micro_base, tmp_path / "base")
