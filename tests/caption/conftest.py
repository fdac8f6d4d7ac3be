"""A small dataset of simulated scenes, as its captions are made from it."""

from pathlib import Path

import pytest

from data.build import build
from tests.caption.models import write_llava, write_t5
from tests.data.tiny_release import write_release


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny release in patches of 32 px: 12 in train, and more in the other splits."""
    folder = tmp_path_factory.mktemp("captioned")
    build(source=write_release(folder / "release"), out=folder / "built", size=32, workers=1)
    return folder / "built"


@pytest.fixture(scope="session")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vision-language model of random weights."""
    return write_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="session")
def t5(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A seq2seq model of random weights."""
    return write_t5(tmp_path_factory.mktemp("models") / "t5")
