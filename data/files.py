"""The user's files: only regular ones are opened, since a named pipe or a device would block a build forever."""

import stat
from pathlib import Path

from data.errors import DataError


def check_regular(path: Path, what: str = "") -> None:
    """Stop unless the path, links followed, is a regular file; errors call it `what`."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise unreadable(path, error, what) from None
    if not stat.S_ISREG(mode):
        kind = "a folder" if stat.S_ISDIR(mode) else "a named pipe, a socket or a device"
        raise DataError(f"{what} {path}: is {kind}, expected a file. Put the file itself there.".lstrip())


def read_file(path: Path, what: str = "") -> bytes:
    """The content of a regular file."""
    check_regular(path, what)
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error, what) from None


def unreadable(path: Path, error: OSError, what: str = "") -> DataError:
    """The error to raise for one of the operating system's."""
    message = f"{what} {path}: cannot be read ({error.strerror}). Check the path, its permissions and the disk."
    return DataError(message.lstrip())
