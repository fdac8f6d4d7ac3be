"""What tests of networks share."""

import shutil
from pathlib import Path

import pytest

from tests.families import MICRO


@pytest.fixture
def base(micro_base: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return shutil.copytree(micro_base, tmp_path / "base")


@pytest.fixture(scope="session", params=MICRO)
def family_base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A micro base of every family."""
    return MICRO[request.param](tmp_path_factory.mktemp("families") / str(request.param))
