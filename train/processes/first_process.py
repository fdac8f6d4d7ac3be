"""What the first process of a run finds or does for all of them, and what comes of it in the others."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from train.errors import TrainingError

Found = TypeVar("Found")


def from_main(accelerator: Accelerator, look: Callable[[], Found]) -> Found:
    """What the first process found, told to all; they wait for it.

    Raises:
        TrainingError: in the others, whatever error the first process met; they would wait for it for ever.
    """
    found, fault = None, None
    if accelerator.is_main_process:
        try:
            found = look()
        except Exception as error:
            fault = error
    said = fault and (str(fault) or type(fault).__name__)
    outcome: list[Any] = broadcast_object_list([found, said])
    if fault is not None:
        raise fault
    if outcome[1] is not None:
        raise TrainingError(outcome[1])
    return outcome[0]  # type: ignore[no-any-return]
