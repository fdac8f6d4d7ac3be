"""A trainer without one of its parts trains the same; its row says how much slower and larger it is."""

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from benchmarks.speed.gains import PARTS, table
from benchmarks.watch import Watched
from tests.train.conftest import Arguments, arguments, fingerprints, losses, run, tiny_dataset

__all__ = ["arguments", "tiny_dataset"]


@pytest.fixture(autouse=True)
def whole_again() -> Iterator[None]:
    yield
    patch.stopall()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_part_changes_nothing_but_speed(tmp_path: Path, arguments: Arguments, precision: str) -> None:
    options = [f"--train.precision={precision}", "--train.steps=3"]
    run(arguments("whole", *options))
    for number, part in enumerate(PARTS):
        PARTS[part]()
        out = f"without-{number}"
        run(arguments(out, *options))
        patch.stopall()
        assert fingerprints(tmp_path / out) == fingerprints(tmp_path / "whole")
        assert losses(tmp_path / out) == pytest.approx(
            losses(tmp_path / "whole"), rel=1e-5 if precision == "fp32" else 0.01
        )


def test_a_row_is_beside_the_run_before_it() -> None:
    def told(*example_s: float, memory: float) -> Watched:
        return Watched(start_up_s=1, example_s=[9, *example_s], data_wait=[0] * 4, peak_memory_gb=memory)

    pairs = [
        (told(1, 2, 3, memory=4), told(4, 4, 4, memory=5)),  # medians 2 and 4
        (told(2, 2, 2, memory=4), told(3, 3, 9, memory=6)),  # 2 and 3
    ]
    assert table({"without it": pairs}, warm_up=1).splitlines()[-1] == "| without it | 1.75 (2.00, 1.50) | 1.50 |"
