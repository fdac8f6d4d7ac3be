"""Real files that the repository does not carry: those in the folder named by PRE2POST_REAL."""

import os
from pathlib import Path

import pytest

from tests.worlds import REPOSITORY

REAL = REPOSITORY / os.environ.get("PRE2POST_REAL", "real")  # what is in it: CONTRIBUTING.md


def real(part: str) -> Path:
    """A file or folder of it, such as `geotiff`; the test is skipped where it is absent."""
    if not (REAL / part).exists():
        pytest.skip(f"{REAL / part} does not exist; PRE2POST_REAL names the folder that {part} is in (CONTRIBUTING.md)")
    return REAL / part
