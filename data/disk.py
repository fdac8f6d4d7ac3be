"""The capabilities of a disk, tested before a long command starts."""

import fcntl
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from data.storage import PROBE, flush, point, reraise_disk_errors

_PROBE_BYTES = 1 << 12  # a block


@dataclass(frozen=True)
class Disk:
    """The capabilities of one disk."""

    place: Path  # the folder that was tried
    free: int  # bytes
    locks: bool  # keep two commands out of one folder
    links: bool
    flushes: bool  # of folders: a rename then survives a loss of power

    def lacks(self) -> list[str]:
        """What it does not support, and the consequences."""
        notes = {
            "has no locks: start one command that writes to a folder only": self.locks,
            "has no symbolic links: checkpoints/best is a file with the name of the checkpoint": self.links,
            "cannot flush folders: a loss of power may take the last checkpoint with it": self.flushes,
        }
        return [note for note, supported in notes.items() if not supported]


def look(folder: Path) -> Disk:
    """Try what a command will need of a folder, or of its nearest existing parent; nothing is left behind.

    Raises:
        DataError: nothing can be written there.
    """
    with reraise_disk_errors(folder):
        place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryDirectory(prefix=PROBE, dir=place, ignore_cleanup_errors=True) as probe:
            file, link = Path(probe, "file"), Path(probe, "link")
            file.write_bytes(b"\0" * _PROBE_BYTES)
            flush(file)
            file.rename(file.with_name("renamed"))
            point(link, "renamed")
            return Disk(place, shutil.disk_usage(place).free, _locks(link), link.is_symlink(), flush(Path(probe)))


def _locks(path: Path) -> bool:
    try:
        with path.open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
