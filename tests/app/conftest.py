"""Fixtures of the tests of `app`: two micro checkpoints, a dataset, and a running page."""

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.models import Models
from app.picks import Picks
from tests.app.serving import serving
from tests.generate.worlds import patch_row, write_dataset, write_kind, write_micro_checkpoint


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory, micro_base: Path) -> Path:
    """A folder of two runs: `plain`, and `masked`, which reads a damage mask."""
    folder = tmp_path_factory.mktemp("runs")
    write_kind(folder / "masked", micro_base, "controlnet", "pixels+mask")
    write_micro_checkpoint(folder / "plain", micro_base)
    return folder


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patches in split test."""
    return write_dataset(tmp_path_factory.mktemp("datasets") / "d64", [patch_row(index) for index in range(4)])


@pytest.fixture(scope="session")
def models(runs: Path, micro_base: Path) -> Models:
    """Both runs, and the micro base alone."""
    return Models([runs], str(micro_base))


@pytest.fixture(scope="session")
def picks(dataset: Path) -> Picks:
    """Of the dataset."""
    return Picks(dataset, "test")


@pytest.fixture(scope="module", autouse=True)
def closed_sockets() -> Iterator[None]:
    """Gradio leaves sockets and event loops to the garbage collector, which would blame a later test."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The app's folder."""
    return tmp_path_factory.mktemp("own")


@pytest.fixture(scope="module")
def address(models: Models, picks: Picks, own: Path) -> Iterator[str]:
    """Of the page."""
    with serving(models, picks, own) as address:
        yield address
