"""Which checkpoints are kept: the newest, every so many steps, and the best by validation."""

import math
from itertools import count
from pathlib import Path

from data.storage import pointed, remove_folder
from models.checkpoint import BEST, CheckpointError, is_ours, listed_files, mark_best, read_state, steps_in


def delete_old(checkpoints: Path, step: int, *, keep_last: int, keep_every: int) -> None:
    """Delete the checkpoints that no rule keeps; called only once the one of `step` is complete.

    Corrupt ones and those of later steps, which this run did not write, are neither counted nor touched. One that
    contains a file of the user's is kept.

    Args:
        checkpoints: the folder with step-* in it.
        step: of the newest checkpoint.
        keep_last: how many of the newest are kept; 0 = all.
        keep_every: those whose step is a multiple of it are always kept; 0 = none for this reason.
    """
    whole = [folder for folder in steps_in(checkpoints) if step_of(folder) <= step and is_complete(folder)]
    best = pointed(checkpoints / BEST).resolve()
    for folder in whole[:-keep_last] if keep_last else []:
        kept_for_good = keep_every and step_of(folder) % keep_every == 0
        if not kept_for_good and folder.resolve() != best:
            remove_folder(folder, is_ours)


def set_aside(checkpoints: Path, step: int) -> None:
    """Move checkpoints of later steps out of the way of a run that goes back, into a folder `set-aside-N`."""
    later = [folder for folder in steps_in(checkpoints) if step_of(folder) > step]
    if not later:
        return
    aside = next(path for n in count(1) if not (path := checkpoints / f"set-aside-{n}").exists())
    aside.mkdir()
    for folder in later:
        folder.rename(aside / folder.name)
    measured = [(loss, folder) for folder in steps_in(checkpoints) if (loss := _loss_of(folder)) < math.inf]
    if measured:
        mark_best(min(measured)[1])
    else:
        (checkpoints / BEST).unlink(missing_ok=True)  # it points at one of them, if it exists
    print(f"{len(later)} later checkpoints are kept in {aside}.")


def is_complete(folder: Path) -> bool:
    """Whether every file exists with its length: faster than reading all of it as `fault_of` does."""
    try:
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in listed_files(folder).items())
    except (OSError, CheckpointError):
        return False


def step_of(folder: Path) -> int:
    """1000 of step-00001000."""
    return int(folder.name.partition("-")[2])


def lowest_loss(checkpoints: Path, before: int) -> float:
    """The lowest validation loss among the checkpoints of earlier steps; infinite if none has one."""
    return min((_loss_of(folder) for folder in steps_in(checkpoints) if step_of(folder) < before), default=math.inf)


def _loss_of(folder: Path) -> float:
    """Infinite for a checkpoint that is corrupt or was not validated."""
    try:
        loss = read_state(folder).get("validation_loss") if is_complete(folder) else None
        return loss if isinstance(loss, float) and math.isfinite(loss) else math.inf
    except CheckpointError:
        return math.inf
