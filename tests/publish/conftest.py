"""A run to publish, and few steps for its images."""

from pathlib import Path

import pytest

from generate.sampling import Sampling
from tests.generate.worlds import write_image, write_micro_checkpoint

STEPS = 4


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("publish.run.PUBLISHED", Sampling(steps=STEPS))


@pytest.fixture
def run(tmp_path: Path, micro_base: Path) -> Path:
    """A run with the pictures of its validation."""
    run = write_micro_checkpoint(tmp_path / "run", micro_base)
    sheet = run / "validation/step-00000010"
    sheet.mkdir(parents=True)
    write_image(sheet / "images.png", side=40)
    return run
