"""The capabilities of a disk are tested before they matter, and its errors are reported in plain words."""

import errno
import re
from pathlib import Path

import pytest

from data.disk import look
from data.errors import DataError, fault
from tests.disks import Disk


def test_a_look_says_what_a_disk_can_do(tmp_path: Path, disk: Disk) -> None:
    seen = look(tmp_path / "not/yet")
    assert (seen.locks, seen.links, seen.flushes, seen.place) == (True, True, True, tmp_path)
    assert 0 < seen.free < 1 << 60
    disk.without_locks()
    disk.without_links()
    disk.without("fsync", errno.EINVAL)
    seen = look(tmp_path)
    assert (seen.locks, seen.links, seen.flushes) == (False, False, False)
    assert list(tmp_path.iterdir()) == []


def test_a_look_at_what_cannot_be_written_is_one_message(tmp_path: Path, disk: Disk) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"file.*not a folder"):
        look(tmp_path / "file/out")
    disk.without("mkdir", errno.EROFS)
    with pytest.raises(DataError, match="is read-only"):
        look(tmp_path / "out")


def test_a_look_writes_to_find_a_full_disk(tmp_path: Path, disk: Disk) -> None:
    disk.without("fsync", errno.ENOSPC)
    with pytest.raises(DataError, match=f"{re.escape(str(tmp_path))}.*full"):
        look(tmp_path)


def test_errors_of_the_disk_are_known_in_every_wording() -> None:
    class SafetensorError(Exception): ...

    full = "the disk is full"
    assert full in (fault(OSError(errno.ENOSPC, "No space left on device", "/x/file")) or "")
    assert (fault(OSError(errno.ENOSPC, "", b"/x/file")) or "").startswith("/x/file: the disk is full")
    assert full in (fault(OSError("[Errno 28] Error writing bytes to file. Detail: [errno 28] No space left")) or "")
    assert full in (fault(SafetensorError("I/O error: No space left on device (os error 28)")) or "")
    assert fault(OSError("Can't load tokenizer for 'x'.")) == "Can't load tokenizer for 'x'."
    assert fault(OSError(errno.ECONNREFUSED, "Connection refused")) == "Connection refused."
    assert fault(ValueError("no disk")) is fault(KeyError("os")) is None
