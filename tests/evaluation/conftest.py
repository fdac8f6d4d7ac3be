"""Fixtures of the tests of `evaluation`: those of `generate`."""

from tests.generate.conftest import dataset, run_folder

__all__ = ["dataset", "run_folder"]
