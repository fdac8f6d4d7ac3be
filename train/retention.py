"""Which checkpoints stay: the newest, every so many steps, and the one that validated best."""

import json
import math
from pathlib import Path

from data.storage import pointed, remove_folder
from models.checkpoint import BEST, MANIFEST, is_ours, read_state, steps_in


def delete_old(checkpoints: Path, step: int, *, keep_last: int, keep_every: int) -> None:
    """Delete the checkpoints that none of the rules keeps; called only after the one of `step` is whole.

    Broken ones and those of later steps, which this run did not write, are neither counted nor touched. One with a file
    of the user's in it stays.

    Args:
        checkpoints: the folder with step-* in it.
        step: of the newest checkpoint.
        keep_last: how many of the newest stay; 0 = all.
        keep_every: those whose step is a multiple of it stay for good; 0 = none for this reason.
    """
    whole = [folder for folder in steps_in(checkpoints) if step_of(folder) <= step and is_complete(folder)]
    best = pointed(checkpoints / BEST).resolve()
    for folder in whole[:-keep_last] if keep_last else []:
        kept_for_good = keep_every and step_of(folder) % keep_every == 0
        if not kept_for_good and folder.resolve() != best:
            remove_folder(folder, is_ours)


def is_complete(folder: Path) -> bool:
    """Whether every file is there at its length: quicker than reading all of it as `fault_of` does."""
    try:
        files = json.loads((folder / MANIFEST).read_bytes())
        return all((folder / name).stat().st_size == entry["bytes"] for name, entry in files.items())
    except (OSError, ValueError):
        return False


def step_of(folder: Path) -> int:
    """1000 of step-00001000."""
    return int(folder.name.partition("-")[2])


def lowest_loss(checkpoints: Path, before: int) -> float:
    """The lowest validation loss among the checkpoints of earlier steps; infinite if none has one."""
    earlier = (folder for folder in steps_in(checkpoints) if step_of(folder) < before and is_complete(folder))
    return min((read_state(folder).get("validation_loss") or math.inf for folder in earlier), default=math.inf)
