"""The output folder: written beside its place, moved there when whole, never over anything of the user's."""

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from data.errors import DataError

OUR_FILES = {"README.md", "dataset.json", "report.html"}
OUR_FOLDERS = {"data": ".parquet", "webdataset": ".tar", "geotiff": ".tif"}  # and what they hold
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


def check_destination(out: Path, overwrite: bool) -> None:
    """Stop if building to `out` would touch anything but a dataset of ours that may be overwritten."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"out {out} is a file. Name a folder that does not exist yet.")
    names = {path.name for path in out.iterdir()}
    if not names:
        return
    if not overwrite:
        mend = "add --overwrite to replace that dataset, or " if "dataset.json" in names else ""
        raise DataError(f"out {out} is not empty; {mend}name another folder.")
    foreign = sorted(names - OUR_FILES - set(OUR_FOLDERS)) + sorted(
        f"{folder}/{path.name}"
        for folder, suffix in OUR_FOLDERS.items()
        for path in (out / folder).glob("*")
        if path.suffix != suffix
    )
    if "dataset.json" not in names or foreign:
        why = f"holds {', '.join(foreign[:3])}" if foreign else "has no dataset.json"
        raise DataError(f"out {out} {why}: not (only) a dataset built by pre2post, so not overwritten. Name another.")


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out` that takes its place at the end, or vanishes on any error."""
    out = out.absolute()
    partial = out.with_name(f".{out.name}.partial-{os.getpid()}")
    try:
        _make(partial)
        yield partial
        _move(partial, out)
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DataError(
                f"the disk of {out.parent} is full. Nothing was left behind; free space, or name another --out."
            ) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def work_folder(out: Path) -> Path:
    """Where a build to `out` works: hidden, beside it."""
    return out.absolute().with_name(f".{out.name}.partial")


@contextmanager
def resumable_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder beside `out` whose part `dataset` takes the place of `out` at the end.

    The folder is locked: a second build to `out` is refused. If anything stops this one, even SIGKILL, the finished
    shards in `dataset/data` stay for the next run.
    """
    out, work = out.absolute(), work_folder(out)
    with _locked(work, out):
        try:
            _undo_half_move(out)
            check_destination(out, overwrite)  # now that no other build is at work
            yield work
            _move(work / "dataset", out)
        except OSError as error:
            _stop_if_full(error, out, work)
            raise
        except BaseException:
            if kept := _kept(work):
                print(kept, file=sys.stderr)
            raise
        finally:
            if not _finished_shards(work):
                shutil.rmtree(work, ignore_errors=True)


@contextmanager
def led_folder(out: Path) -> Iterator[Path]:
    """The same folder for the other processes of a build, which leave it to the first."""
    work = work_folder(out)
    try:
        yield work
    except OSError as error:
        _stop_if_full(error, out.absolute(), work)
        raise


def _stop_if_full(error: OSError, out: Path, work: Path) -> None:
    if error.errno in _DISK_FULL:
        left = _kept(work) or "Nothing was left behind."
        raise DataError(f"the disk of {out.parent} is full. Free space, or name another --out. {left}") from error


def _finished_shards(work: Path) -> int:
    return len(list(work.glob("dataset/data/*.parquet")))


def _kept(work: Path) -> str:
    """Where the next run goes on; "" if there is nothing to go on from."""
    number = _finished_shards(work)
    return f"{number} finished shards stay in {work}: the same command goes on from them." if number else ""


@contextmanager
def _locked(work: Path, out: Path) -> Iterator[None]:
    """Hold the lock of `work`, which ends with this process, however it ends."""
    while True:
        _make(work)
        with (work / "lock").open("a") as file:
            _take_lock(file, out)
            # A build that just ended has removed the folder, and this lock with it: begin again.
            if not (work / "lock").exists() or not os.path.samestat(os.fstat(file.fileno()), (work / "lock").stat()):
                continue
            yield
            return


def _take_lock(file: IO[str], out: Path) -> None:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(
            f"another build is writing to {out} at this moment. Wait until it ends, or name another --out."
        ) from None
    except OSError as error:  # some network file systems
        print(f"warning: no locks on this disk ({error.strerror}): start one build to {out} only.", file=sys.stderr)


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {folder} ({error.strerror}). Name another --out.") from error


def _move(partial: Path, out: Path) -> None:
    _undo_half_move(out)
    replaced = _aside(out)
    if out.exists():
        out.rename(replaced)
    try:
        partial.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise
    shutil.rmtree(replaced, ignore_errors=True)


def _undo_half_move(out: Path) -> None:
    """After a kill between the two renames of `_move` the former folder comes back; after them, it goes."""
    replaced = _aside(out)
    if replaced.exists():
        if out.exists():
            shutil.rmtree(replaced)
        else:
            replaced.rename(out)


def _aside(out: Path) -> Path:
    return out.with_name(f".{out.name}.replaced")
