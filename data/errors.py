"""The one error of this room: something in the user's files or options, with its fix; and what a disk's errors mean."""

import errno
import os
import re

_ELSEWHERE = "or name a folder on another disk."
_FAULTS = {
    errno.ENOSPC: f"the disk is full. Free some space, {_ELSEWHERE}",
    errno.EDQUOT: f"your quota on this disk is exceeded. Free some space, {_ELSEWHERE}",
    errno.EROFS: "this disk is read-only. Name a folder on another one.",
    errno.EACCES: "no permission. Change the permissions, or name another path.",
    errno.EPERM: "the disk does not permit that. Change the permissions, or name another path.",
    errno.ENOENT: "there is no such file or folder. Correct the path.",
    errno.ENOTDIR: "a part of this path is a file, not a folder. Correct the path.",
    errno.EISDIR: "this is a folder where a file is expected. Correct the path.",
    errno.EEXIST: "this exists already. Name another path.",
    errno.ENOTEMPTY: "the folder is not empty. Name another.",
    errno.ENAMETOOLONG: "the name is too long for this disk. Choose a shorter one.",
    errno.ELOOP: "its links form a loop. Correct the path.",
    errno.EFBIG: f"the file is larger than the disk or a limit (ulimit -f) allows. Raise the limit, {_ELSEWHERE}",
    errno.EIO: f"the disk reports an input/output error. Have it checked, {_ELSEWHERE}",
    errno.ESTALE: "the network disk was remounted meanwhile. Run the same command again.",
    errno.EMFILE: "too many files are open. Raise the limit: ulimit -n 65536.",
    errno.ENOMEM: "out of memory. Use a machine with more, or fewer workers.",
}
_NUMBER = re.compile(r"\bos error (\d+)\b|\[errno (\d+)\]", re.IGNORECASE)  # as Rust and Arrow word it
_TRACEBACK = "Traceback (most recent call last)"


class DataError(ValueError):
    """A file, field or option is not what it should be. The message names it, what was expected and the fix."""


class BusyError(DataError):
    """Another command is at work there."""


def fault(error: BaseException) -> str | None:
    """What an error says about a disk or a path on it, with the fix; None if it is about something else.

    Some libraries written in other languages raise their own errors, with the system's error number in the text.
    """
    if isinstance(error, DataError):
        return None
    if found := _NUMBER.search(text := str(error)):
        text = _FAULTS.get(int(found[1] or found[2]), "")
    if not isinstance(error, OSError):
        return text if found and text else None
    if error.errno is None:
        cause = str(error.__cause__ or "")  # GDAL: `Write failed. See previous exception for details.`
        return text or plain(error) + (f" ({cause})" if cause and _TRACEBACK not in cause else "")
    name = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    return name + _FAULTS.get(error.errno, f"{error.strerror}.")


def plain(error: BaseException) -> str:
    """The message of an error; if it comes from a data worker, without the worker's traceback."""
    text = str(error)
    return text.strip().splitlines()[-1].partition(": ")[2] if _TRACEBACK in text else text


def shortened(value: object) -> str:
    """A value as an error message shows it."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
