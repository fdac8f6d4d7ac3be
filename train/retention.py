"""Which checkpoints stay."""

import shutil
from pathlib import Path

from models.checkpoint import steps_in


def delete_old(checkpoints: Path, keep_last: int) -> None:
    """Delete all but the newest `keep_last` checkpoints; called only after a newer one is whole. 0 keeps all."""
    for folder in steps_in(checkpoints)[: -keep_last or None] if keep_last else []:
        shutil.rmtree(folder)
