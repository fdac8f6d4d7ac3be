"""Fixtures shared by all rooms."""

import os
from pathlib import Path

import pytest

from tests.worlds import write_micro_base

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may reach for the hub


@pytest.fixture(scope="session")
def micro_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with random weights."""
    return write_micro_base(tmp_path_factory.mktemp("bases") / "micro")
