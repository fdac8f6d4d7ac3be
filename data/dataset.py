"""Open a built dataset."""

import json
from pathlib import Path
from typing import Any

import datasets

from data.errors import DataError
from data.manifest import FILE_NAME, FORMAT, FORMAT_VERSION


def open_dataset(folder: Path, split: str) -> datasets.Dataset:
    """One split of a built dataset, memory-mapped from the cache of `datasets` (HF_DATASETS_CACHE)."""
    manifest = read_manifest(folder)
    files = [str(folder / shard["file"]) for shard in manifest["shards"] if shard["split"] == split]
    if not files and split in manifest["splits"]:
        raise DataError(f"{folder}: split {split!r} is empty. Name another; it has {', '.join(manifest['splits'])}.")
    if not files:
        raise DataError(f"{folder} has no split {split!r}; it has {', '.join(manifest['splits'])}.")
    for file in files:
        if not Path(file).is_file():
            raise DataError(f"{file} is missing, though {FILE_NAME} lists it. Copy the dataset again, or rebuild it.")
    dataset = datasets.load_dataset("parquet", data_files={split: files}, split=split)
    assert isinstance(dataset, datasets.Dataset)
    return dataset


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
    return manifest
