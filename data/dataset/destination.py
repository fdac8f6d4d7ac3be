"""The output folder: written next to its final place, moved there when complete, never over anything of the user's."""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from data.errors import DataError, fault
from data.storage import LOCK, entries, foreign, locked, partial_name, real_place, remove_folder, replace_folder, sweep

OUR_FILES = {"README.md", "dataset.json", "report.html"}
OUR_FOLDERS = {"data": ".parquet", "webdataset": ".tar", "geotiff": ".tif"}  # and what they hold
SHARD = r"\w+-\d{5}-of-\d{5}\.parquet"  # name of a shard and, with an ending, of what belongs to it


def check_destination(out: Path, overwrite: bool) -> None:
    """Stop if building to `out` would affect anything but a dataset of ours that may be overwritten."""
    if not out.exists():
        return
    if not out.is_dir():
        raise DataError(f"out {out} is a file. Name a folder that does not exist yet.")
    names = {path.name for path in entries(out)}
    if not names:
        return
    if not overwrite:
        advice = "add --overwrite to replace that dataset, or " if "dataset.json" in names else ""
        raise DataError(f"out {out} is not empty; {advice}name another folder.")
    others = foreign(out, is_ours)
    if "dataset.json" not in names or others:
        why = f"holds {', '.join(others[:3])}" if others else "has no dataset.json"
        raise DataError(f"out {out} {why}: not (only) a dataset built by pre2post, so not overwritten. Name another.")


def is_ours(name: str) -> bool:
    """Whether a built dataset has a file or folder of this name, relative to it."""
    folder, inside, file = name.partition("/")
    if folder in OUR_FOLDERS:
        return not inside or ("/" not in file and file.endswith(OUR_FOLDERS[folder]))
    return name in OUR_FILES or name in map(partial_name, OUR_FILES)


def _is_work(name: str) -> bool:
    """The same for the folder that a build works in."""
    folder, _, inside = name.partition("/")
    if folder == "dataset":
        return not inside or is_ours(inside)
    return name in (LOCK, "records") or re.fullmatch(rf"(records/)?{SHARD}(\.json|\.tmp|\.json\.tmp)", name) is not None


def work_folder(out: Path) -> Path:
    """The hidden folder next to `out` in which a build works."""
    return out.with_name(f".{out.name}.partial")


@contextmanager
def resumable_folder(out: Path, overwrite: bool) -> Iterator[Path]:
    """Yield a hidden folder next to `out` whose subfolder `dataset` becomes `out` at the end.

    The folder is locked: a second build to `out` is refused. If anything stops this one, even SIGKILL, the finished
    shards in `dataset/data` are kept for the next run.
    """
    out = real_place(out)
    work = work_folder(out)
    with locked(work, out=out):
        try:
            sweep(out.parent, re.escape(out.name), is_ours)
            check_destination(out, overwrite)  # now that no other build is at work
            yield work
            replace_folder(out, work / "dataset", is_ours)
        except BaseException as error:
            _say_what_stays(error, out, work)
            raise
        finally:
            if not _finished_shards(work):
                remove_folder(work, _is_work)


@contextmanager
def led_folder(out: Path) -> Iterator[Path]:
    """The same folder for the other processes of a build, which leave it to the first."""
    out = out.resolve()
    work = work_folder(out)
    try:
        yield work
    except Exception as error:
        _say_what_stays(error, out, work)
        raise


def _say_what_stays(error: BaseException, out: Path, work: Path) -> None:
    number = _finished_shards(work)
    left = f"{number} finished shards are kept in {work}: the same command continues from them." if number else ""
    if text := fault(error):
        raise DataError(f"{out}: could not be written, {text} {left or 'Nothing was left behind.'}") from error
    if left:
        print(left, file=sys.stderr)


def _finished_shards(work: Path) -> int:
    return len(list(work.glob("dataset/data/*.parquet")))
