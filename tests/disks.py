"""Disks that lack something, played for everything below one folder."""

import errno
import fcntl
import os
from itertools import count
from pathlib import Path
from typing import Any

import pytest


class Disk:
    """Calls of the system on paths below `place` answer as such a disk would."""

    def __init__(self, patch: pytest.MonkeyPatch, place: Path) -> None:
        self.patch, self.place = patch, str(place.resolve())

    def without(self, call: str, number: int, module: Any = os) -> None:
        """`os.symlink`, `os.fsync`, `fcntl.flock` and so on answer with this errno."""
        real = getattr(module, call)

        def refuse(*args: Any, **more: Any) -> Any:
            if any(self.holds(arg) for arg in args[:2]):
                raise OSError(number, os.strerror(number))
            return real(*args, **more)

        self.patch.setattr(module, call, refuse)

    def without_locks(self, number: int = errno.ENOLCK) -> None:
        self.without("flock", number, fcntl)

    def without_links(self, number: int = errno.EOPNOTSUPP) -> None:
        self.without("symlink", number)

    def with_nfs(self, ending: str) -> None:
        """Files of such a name are held open by someone: deleted, they stay as `.nfs...`, which cannot be deleted."""
        real, numbers = os.unlink, count()

        def unlink(path: Any, *, dir_fd: int | None = None) -> None:
            name = os.path.basename(os.fsdecode(path))
            if self.holds(path, dir_fd) and name.startswith(".nfs"):
                raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), path)
            if self.holds(path, dir_fd) and name.endswith(ending):
                left = os.path.join(os.path.dirname(os.fsdecode(path)), f".nfs{next(numbers):08x}")
                os.rename(path, left, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            else:
                real(path, dir_fd=dir_fd)

        self.patch.setattr(os, "unlink", unlink)
        self.patch.setattr(os, "remove", unlink)

    def holds(self, what: Any, dir_fd: int | None = None) -> bool:
        if hasattr(what, "fileno"):
            what = what.fileno()
        if isinstance(what, int):
            return os.path.realpath(f"/proc/self/fd/{what}").startswith(self.place)
        if not isinstance(what, str | bytes | os.PathLike):
            return False
        folder = os.path.realpath(f"/proc/self/fd/{dir_fd}") if dir_fd is not None else os.getcwd()
        return os.path.join(folder, os.fsdecode(what)).startswith(self.place)
