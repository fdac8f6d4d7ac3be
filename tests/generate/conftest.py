"""Fixtures of the tests of `generate`."""

from pathlib import Path

import pytest

from tests.generate.worlds import patch_row, write_dataset, write_micro_checkpoint


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    """A run with one checkpoint on the micro base."""
    return write_micro_checkpoint(tmp_path_factory.mktemp("runs") / "run", micro_base)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patches in split test."""
    return write_dataset(tmp_path_factory.mktemp("datasets") / "d64", [patch_row(index) for index in range(4)])
