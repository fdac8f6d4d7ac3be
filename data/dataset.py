"""Open a built dataset."""

import glob
import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import datasets

from data.errors import DataError, fault
from data.events import check_events
from data.manifest import FILE_NAME, FORMAT, FORMAT_VERSION
from data.names import check_event_names, check_names
from data.splits import same_ground


def open_dataset(folder: Path, split: str, leave_out: Sequence[str] = ()) -> datasets.Dataset:
    """One split of a built dataset, memory-mapped from the cache of `datasets` (HF_DATASETS_CACHE).

    Args:
        folder: the built dataset.
        split: of it.
        leave_out: events whose patches are left out, and with them those of events known to share their ground.
    """
    manifest = read_manifest(folder)
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
    except OSError as error:
        raise DataError(
            f"{folder}: could not be opened through the cache of datasets in {datasets.config.HF_DATASETS_CACHE} "
            f"({fault(error)}) Another HF_HOME or HF_DATASETS_CACHE moves it."
        ) from error
    assert isinstance(dataset, datasets.Dataset)
    check_names(dataset.data.table, f"{folder}, split {split}")
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
    """What identifies the content of a built dataset, wherever it lies: sha256 over its shards."""
    return str(read_manifest(folder)["fingerprint"])


def read_manifest(folder: Path) -> dict[str, Any]:
    """dataset.json, or say what `folder` is instead of a built dataset."""
    if not folder.is_dir():
        raise DataError(f"dataset {folder} does not exist. Build it: pre2post build --source RELEASE --out {folder}")
    path = folder / FILE_NAME
    if not path.is_file():
        raise DataError(f"{folder} is not a built dataset: it has no {FILE_NAME}. Make one with pre2post build.")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}). Copy the dataset again, or rebuild it.") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"{path}: not written by pre2post build (no format {FORMAT!r}).")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise DataError(
            f"{path}: format version {manifest.get('format_version')}, this pre2post reads {FORMAT_VERSION}. "
            "Rebuild the dataset, or use the pre2post that built it."
        )
    check_event_names(manifest.get("events", {}), str(path))
    return manifest
