"""Files and folders on any disk: atomic writes, locks, links, flushes, deletions, and what a disk's errors mean.

The one module that knows about file systems. Some have no locks (Lustre without `-o flock`) or no links (exFAT, SMB),
some cannot flush a folder (FUSE, SMB), and NFS renames a deleted file that is still open to `.nfs...`. Everything here
works without them. Only what this command wrote is deleted, by names that it could have written.
"""

import errno
import fcntl
import hashlib
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO

from data.errors import BusyError, DataError
from data.errors import fault as fault  # for `models`, which may import this module only

LOCK = ".pre2post.lock"  # a name that no user's file has: it is removed in the end
PROBE = ".pre2post-"  # prefix of the names with which data/disk.py tests a disk
_NO_CONTENT = (".nfs", PROBE, LOCK)  # NFS renames files to .nfs* that are deleted while open
_NOT_FLUSHED = (errno.EIO, errno.ENOSPC, errno.EDQUOT)  # data is lost; any other error: this disk cannot flush that


def sha256(path: Path) -> str:
    """Of the content of a file, as hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def reraise_disk_errors(path: Path) -> Iterator[None]:
    """Within the block, errors of the disk are raised as a DataError that names `path`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            text = fault(OSError(error.errno, error.strerror))  # without the name of a partial file
        elif (text := fault(error)) is None:
            raise
        raise DataError(f"{path}: {text}") from error


def partial_name(name: str) -> str:
    """The name of a file while it is being written, which a killed command may leave behind."""
    return f".{name}.partial"


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a hidden path to write to; the file gets the name `path` once it is on the disk, or is deleted.

    Its permissions follow the umask, whichever library writes it (safetensors makes its files private).

    Raises:
        OSError: of the disk; the former file is then unchanged.
    """
    path = path.resolve()  # what a link points at is replaced, not the link
    partial = path.with_name(partial_name(path.name))
    try:
        partial.unlink(missing_ok=True)  # of a command that was killed here
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        _allow(partial, mode)
        flush(partial)
        partial.replace(path)
    except BaseException:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def whole_folder(path: Path, ours: Callable[[str], bool]) -> Iterator[Path]:
    """Yield a hidden folder beside `path` that gets its name, flushed, if the block succeeds, or is deleted.

    Args:
        path: the folder to write; an existing one is replaced.
        ours: whether the command could have written a file or folder of this name, relative to `path`. What it
            replaces, and what killed commands left, is deleted only if it holds nothing else.

    Raises:
        OSError: of the disk; a former folder is then unchanged.
        DataError: see `real_place`.
    """
    path = real_place(path)
    sweep(path.parent, re.escape(path.name), ours)
    new = _free_name(path, "new")
    try:
        new.mkdir(parents=True)
        yield new
        for inside in [*new.rglob("*"), new]:
            if inside.is_file():
                _allow(inside, new.stat().st_mode & 0o666)
            flush(inside)
        replace_folder(path, new, ours)
    except BaseException:
        _remove_tree(new)
        raise


def real_place(path: Path) -> Path:
    """The final place of a folder that is written beside it first; a link stays one.

    Raises:
        DataError: a disk is mounted there, so that nothing can replace it.
    """
    path = path.resolve()
    if path.is_mount():
        raise DataError(f"{path}: a disk is mounted there. Name a folder in it, such as {path / 'new'}.")
    return path


def replace_folder(path: Path, new: Path, ours: Callable[[str], bool]) -> None:
    """Give the folder `new` the name `path`; the former folder is deleted, unless it holds files that are not ours.

    Raises:
        OSError: of the disk; the former folder is then restored.
    """
    old = _free_name(path, "old")
    try:
        if path.exists():
            path.rename(old)
        new.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    flush(path.parent)
    if old.exists() and (others := foreign(old, ours)):
        print(f"warning: {old} stays: {others[0]} in it is not ours.", file=sys.stderr)
    elif old.exists():
        with suppress(OSError):
            remove_folder(old.rename(_free_name(path, "gone")), ours)


def sweep(folder: Path, of: str, ours: Callable[[str], bool]) -> None:
    """Clean up after a kill in `replace_folder`, for folders whose names match `of`: restore or delete leftovers."""
    for path in sorted(folder.glob(".*")):
        if found := re.fullmatch(rf"\.({of})\.(new|old|gone)(-\d+)?", path.name):
            if found[2] == "old" and not (former := folder / found[1]).exists():
                path.rename(former)
            else:
                remove_folder(path, ours)


def remove_folder(folder: Path, ours: Callable[[str], bool]) -> bool:
    """Delete a folder if everything in it is ours (see `whole_folder`); whether it is gone.

    It is hidden first: a crash leaves no partial folder under its name. Files still open on NFS stay hidden there.
    """
    if not folder.is_symlink() and not foreign(folder, ours):
        with suppress(OSError):
            hidden = folder if folder.name.startswith(".") else folder.rename(_free_name(folder, "gone"))
            _remove_tree(hidden)
    return not os.path.lexists(folder)


def foreign(folder: Path, ours: Callable[[str], bool]) -> list[str]:
    """Names in a folder, and in those below, that are not ours, sorted; see `whole_folder`."""
    inside = (path for path in folder.rglob("*") if not path.name.startswith(_NO_CONTENT))
    return sorted(name for path in inside if not ours(name := path.relative_to(folder).as_posix()))


def _remove_tree(folder: Path) -> None:
    """Only for what this process has made, or whose names were all checked."""
    shutil.rmtree(folder, ignore_errors=True)  # what cannot be deleted stays, the rest goes


def _free_name(path: Path, word: str) -> Path:
    """A hidden name beside `path`: `.NAME.WORD`, or `.NAME.WORD-1` where a leftover cannot be deleted, and so on."""
    first = f".{path.name}.{word}"
    names = (path.with_name(f"{first}-{number}" if number else first) for number in count())
    return next(name for name in names if not os.path.lexists(name))


def flush(path: Path) -> bool:
    """Force a file's content, or a folder's entries, onto the disk; whether this disk can do that.

    Raises:
        OSError: the content is lost: the disk is full or broken.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _NOT_FLUSHED:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        return False
    return True


def entries(folder: Path) -> list[Path]:
    """What is in a folder, sorted, without our lock, leftovers of an interrupted disk test, and NFS's own files."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(_NO_CONTENT))


def point(link: Path, name: str) -> None:
    """Let `link` point at its neighbour `name`: as a link, or as a text file with the name on disks without links."""
    partial = link.with_name(partial_name(link.name))
    partial.unlink(missing_ok=True)
    try:
        partial.symlink_to(name)
    except OSError:
        partial.write_text(f"{name}\n", encoding="utf-8")
    partial.replace(link)


def pointed(link: Path) -> Path:
    """What `point` made it point at, if it wrote a text file; else the path itself."""
    with suppress(OSError, ValueError):
        if not link.is_symlink() and link.is_file() and link.stat().st_size < 256:
            name = link.read_text(encoding="utf-8").strip()
            if not name.startswith(".") and link.with_name(name).is_dir():
                return link.with_name(name)
    return link


@contextmanager
def locked(folder: Path, *, name: str = LOCK, wait: bool = False, out: Path | None = None) -> Iterator[None]:
    """Hold the lock of a folder, created if missing, until this process ends; without locks there is one warning.

    Args:
        folder: which contains the lock.
        name: of the lock file.
        wait: until it is free.
        out: what the message calls the folder.

    Raises:
        DataError: another command holds the lock, or nothing can be written there.
    """
    made = not folder.exists()
    while True:
        with reraise_disk_errors(out or folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = (folder / name).open("a")
        with file:
            if not _lock(file, wait, out or folder):
                _warn_of_no_locks(out or folder)
            if not _is_still(file, folder / name):  # its holder has removed it, or the folder: try again
                continue
            os.register_at_fork(after_in_child=file.close)  # workers outlive a killed command for a while
            try:
                yield
            finally:
                with suppress(OSError):
                    (folder / name).unlink(missing_ok=True)
                    if made:
                        folder.rmdir()  # if it is empty
            return


def _allow(path: Path, mode: int) -> None:
    with suppress(OSError):  # no permissions on this disk
        path.chmod(mode & 0o777)


def _lock(file: IO[str], wait: bool, out: Path) -> bool:
    """Whether there are locks on this disk; then it is held."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise BusyError(
            f"{out}: another command is writing to it at this moment. Wait until it ends, or name another folder."
        ) from None
    except OSError:
        return False
    return True


def _is_still(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except OSError:
        return False


@cache
def _warn_of_no_locks(out: Path) -> None:
    print(f"warning: no locks on the disk of {out}: start one command that writes there only.", file=sys.stderr)
