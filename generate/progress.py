"""Progress bars: live in a terminal, an occasional line in a log file."""

import sys
from collections.abc import Callable
from typing import Any

from accelerate import PartialState
from tqdm import tqdm

LOG_EVERY_S = 30.0


def progress(total: int, what: str, unit: str) -> "tqdm[Any]":
    """A bar on the main process; the others show none."""
    return tqdm(
        total=total,
        desc=what,
        unit=unit,
        mininterval=0.1 if sys.stderr.isatty() else LOG_EVERY_S,
        disable=not PartialState().is_main_process,
    )


def step_reporter(bar: "tqdm[Any]", steps: int, what: str = "") -> Callable[[int], None]:
    """Show the current batch's step beside the bar; only in a terminal, where it is updated in place."""

    def report(done: int) -> None:
        if sys.stderr.isatty():
            bar.set_postfix_str(f"{what}step {done}/{steps}")

    return report
