"""Progress of generation."""

from collections.abc import Callable

from accelerate import PartialState

from data.progress import Bar


def progress(total: int, what: str, unit: str) -> Bar:
    """A bar on the main process; the others show none."""
    return Bar(total=total, desc=what, unit=unit, disable=not PartialState().is_main_process)


def step_reporter(bar: Bar, steps: int, what: str = "") -> Callable[[int], None]:
    """Show the current batch's step beside the bar."""
    return lambda done: bar.set_postfix_str(f"{what}step {done}/{steps}")
