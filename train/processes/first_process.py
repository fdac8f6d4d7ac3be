"""Work that the first process of a run does for all, and its outcome in the others."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from train.errors import TrainingError

Found = TypeVar("Found")


def from_main(accelerator: Accelerator, look: Callable[[], Found]) -> Found:
    """The first process's result, broadcast to all, who wait for it.

    Raises:
        TrainingError: in the others, whatever error the first process raised; they would wait forever.
    """
    found, fault = None, None
    if accelerator.is_main_process:
        try:
            found = look()
        except Exception as error:
            fault = error
    message = fault and (str(fault) or type(fault).__name__)
    outcome: list[Any] = broadcast_object_list([found, message])
    if fault is not None:
        raise fault
    if outcome[1] is not None:
        raise TrainingError(outcome[1])
    return outcome[0]  # type: ignore[no-any-return]
