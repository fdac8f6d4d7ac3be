"""The output folder: written beside its place, moved there when whole, never over anything of the user's."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import DataError

OUR_FILES = {"README.md", "dataset.json", "report.html", "data"}


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
    foreign = sorted(names - OUR_FILES) + sorted(
        f"data/{path.name}" for path in (out / "data").glob("*") if path.suffix != ".parquet"
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
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DataError(
                f"the disk of {out.parent} is full. Nothing was left behind; free space, or name another --out."
            ) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _make(partial: Path) -> None:
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise DataError(f"cannot make the folder {partial} ({error.strerror}). Name another --out.") from error


def _move(partial: Path, out: Path) -> None:
    replaced = out.with_name(f".{out.name}.replaced-{os.getpid()}")
    if out.exists():
        out.rename(replaced)
    try:
        partial.rename(out)
    except OSError:
        if replaced.exists():
            replaced.rename(out)
        raise
    shutil.rmtree(replaced, ignore_errors=True)
