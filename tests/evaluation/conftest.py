"""Fixtures of the tests of `evaluation`: those of `generate`."""

from tests.generate.conftest import dataset, dataset_cache, run_folder

__all__ = ["dataset", "dataset_cache", "run_folder"]
