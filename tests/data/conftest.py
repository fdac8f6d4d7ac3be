"""The tiny release and the datasets built from it and from real xBD files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import CLIPTokenizer

from data import storage
from data.build import build
from data.options import SplitRule
from tests.data.tiny_release import write_release
from tests.disks import Disk
from tests.real import real


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """A tiny release that the test may damage."""
    return write_release(tmp_path / "release")


@pytest.fixture(scope="session")
def tiny_dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny release built into patches of 32 px, official splits."""
    folder = tmp_path_factory.mktemp("tiny")
    build(source=write_release(folder / "release"), out=folder / "built", size=32, workers=1)
    return folder / "built"


@pytest.fixture(scope="session")
def xbd() -> Path:
    """Real xBD files."""
    return real("xbd")


@pytest.fixture(scope="session")
def real_dataset(xbd: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real files built into patches of 512 px, split by event."""
    out = tmp_path_factory.mktemp("real") / "d512"
    build(source=xbd, out=out, size=512, split=SplitRule(split_by="event"), workers=2)
    return out


@pytest.fixture(scope="session")
def clip_tokens() -> Callable[[str], int]:
    """How many tokens Stable Diffusion's own tokenizer makes of a text, start and end included."""
    folder = real("base_configs/stable-diffusion-2-1/tokenizer")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=10_000)
    return lambda text: len(tokenizer(text).input_ids)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    storage._warn_of_no_locks.cache_clear()
    return Disk(monkeypatch, tmp_path)
