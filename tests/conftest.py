"""Fixtures shared by all rooms."""

import os
import signal
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"  # no test may reach for the hub; read when the hub client is imported

import datasets
import pytest
from hypothesis import settings

from tests.worlds import write_micro_base

# A shell starts what it puts in the background with Ctrl-C ignored, and every process of the tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)  # no test may fail because the machine is busy
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def dataset_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep what `datasets` decodes, here and in child processes, out of the user's cache."""
    folder = tmp_path_factory.mktemp("hf")
    os.environ["HF_DATASETS_CACHE"] = str(folder)
    datasets.config.HF_DATASETS_CACHE = folder


@pytest.fixture(scope="session")
def micro_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base folder with random weights."""
    return write_micro_base(tmp_path_factory.mktemp("bases") / "micro")
