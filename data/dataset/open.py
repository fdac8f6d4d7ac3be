"""Open a built dataset."""

import glob
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TypeVar

import datasets
from pydantic import TypeAdapter

from data.dataset.manifest import FILE_NAME, FORMAT, FORMAT_VERSION
from data.dataset.manifest_schema import FORMAT_FIELDS, MANIFEST, Format, Manifest
from data.dataset.splits import same_ground
from data.documents import read_document
from data.errors import DataError, fault, shortened
from data.names import check_event_names, check_names
from data.row_schema import ADVICE, check_rows, with_pictures
from data.sources.events import check_events

M = TypeVar("M", bound=Manifest)

if not sys.stderr.isatty():  # its bars are for terminals, see data/progress.py
    datasets.disable_progress_bars()


def open_dataset(folder: Path, split: str, leave_out: Sequence[str] = ()) -> datasets.Dataset:
    """One split of a built dataset, memory-mapped from the cache of `datasets` (HF_DATASETS_CACHE).

    Args:
        folder: the built dataset.
        split: of it.
        leave_out: events whose patches are left out, together with events known to share their ground.
    """
    manifest, where = read_manifest(folder), f"{folder}, split {split}"
    files = [str(folder / shard["file"]) for shard in manifest["shards"] if shard["split"] == split]
    if not files and split in manifest["splits"]:
        raise DataError(f"{folder}: split {split!r} is empty. Name another; it has {', '.join(manifest['splits'])}.")
    if not files:
        raise DataError(f"{folder} has no split {split!r}; it has {', '.join(manifest['splits'])}.")
    for file in files:
        if not Path(file).is_file():
            raise DataError(f"{file} is missing, though {FILE_NAME} lists it. Copy the dataset again, or rebuild it.")
    escaped = {split: [glob.escape(file) for file in files]}
    try:
        dataset = datasets.load_dataset("parquet", data_files=escaped, split=split)
    except Exception as error:  # a damaged shard raises many kinds
        if isinstance(error, OSError) and error.errno:
            raise DataError(
                f"{folder}: could not be opened through the cache of datasets in {datasets.config.HF_DATASETS_CACHE} "
                f"({fault(error)}) Another HF_HOME or HF_DATASETS_CACHE moves it."
            ) from error
        raise DataError(f"{where}: its shards cannot be read ({error.__cause__ or error}). {ADVICE}") from error
    assert isinstance(dataset, datasets.Dataset)
    check_rows(dataset.data.table, where)
    check_names(dataset.data.table, where)
    dataset = with_pictures(dataset, where)
    if not leave_out:
        return dataset
    check_events(leave_out, manifest["events"], str(folder))
    return _without(dataset, leave_out, manifest["events"])


def rows_of(dataset: datasets.Dataset, events: Sequence[str]) -> list[int]:
    """Positions of the patches of some events; of all if none is named."""
    of_rows = dataset["event"][:]
    check_events(events, of_rows, "the split")
    return [position for position, event in enumerate(of_rows) if not events or event in events]


def _without(dataset: datasets.Dataset, leave_out: Sequence[str], events: Collection[str]) -> datasets.Dataset:
    ground = same_ground(dict.fromkeys(events, 0), [])
    out = {ground[event] for event in leave_out}
    kept = [position for position, event in enumerate(dataset["event"][:]) if ground[event] not in out]
    if not kept:
        raise DataError(f"without {', '.join(leave_out)} no patch of the split is left. Leave out fewer events.")
    return dataset.select(kept)


def fingerprint(folder: Path) -> str:
    """Identifies the content of a built dataset, wherever it is: sha256 over its shards."""
    return str(read_manifest(folder)["fingerprint"])


def read_manifest(folder: Path) -> Manifest:
    """The fields of dataset.json needed to open a split; stops if `folder` is not a built dataset."""
    return described(folder, MANIFEST)


def described(folder: Path, schema: TypeAdapter[M]) -> M:
    """The same for the fields of another schema."""
    if not folder.is_dir():
        raise DataError(f"dataset {folder} does not exist. Build it: pre2post build --source RELEASE --out {folder}")
    path = folder / FILE_NAME
    if not path.is_file():
        raise DataError(f"{folder} is not a built dataset: it has no {FILE_NAME}. Make one with pre2post build.")
    try:
        manifest = read_document(path, schema, ADVICE)
    except DataError:
        _check_format(path, read_document(path, FORMAT_FIELDS, ADVICE))  # a file that is not ours is reported as such
        raise
    _check_format(path, manifest)
    check_event_names(manifest["events"], str(path))
    return manifest


def _check_format(path: Path, written: Format) -> None:
    if written.get("format") != FORMAT:
        raise DataError(f"{path}: not written by pre2post build (no format {FORMAT!r}).")
    if (version := written.get("format_version")) not in range(1, FORMAT_VERSION + 1):
        raise DataError(
            f"{path}: format version {shortened(version)}, this pre2post reads 1 to {FORMAT_VERSION}. "
            "Rebuild the dataset, or use the pre2post that built it."
        )
