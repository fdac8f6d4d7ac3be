"""Fixtures of the tests of `evaluation`: those of `generate`, and networks that need no download."""

import pytest

from tests.evaluation.small_networks import use_small_networks
from tests.generate.conftest import dataset, run_folder

__all__ = ["dataset", "run_folder"]


@pytest.fixture
def small_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Judges that are small and random."""
    use_small_networks(monkeypatch)
