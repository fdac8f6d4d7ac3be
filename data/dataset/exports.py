"""The outputs that a build writes on request in addition to its Parquet shards, made from these."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from data.dataset import geotiff, webdataset
from data.dataset.geotiff import write_geotiffs
from data.dataset.shards import Copied, Copy
from data.dataset.webdataset import write_tar
from data.options import Exports
from data.progress import Bar
from data.storage import remove_folder
from data.workers import WorkerPool


def export(folder: Path, shards: Sequence[dict[str, Any]], pool: WorkerPool, wanted: Exports) -> dict[str, Any]:
    """Write what is requested into the dataset in `folder`; the entry for dataset.json.

    Rewritten by every run, unlike the shards: copying takes a fraction of the time of building.
    """
    found: dict[str, Any] = {}
    for name in (webdataset.FOLDER, geotiff.FOLDER):
        remove_folder(folder / name, lambda file: "/" not in file)  # of a run that was stopped
    if wanted.format == "webdataset":
        found["webdataset"] = _copy(write_tar, "samples", folder / webdataset.FOLDER, shards, pool)
    if wanted.geotiff:
        found["geotiff"] = _copy(write_geotiffs, "files", folder / geotiff.FOLDER, shards, pool)
    return found


def _copy(
    write: Callable[[Copy], Copied], counted: str, folder: Path, shards: Sequence[dict[str, Any]], pool: WorkerPool
) -> dict[str, Any]:
    folder.mkdir()
    copies = [Copy(folder.parent / shard["file"], folder) for shard in shards]
    results = list(Bar(pool.map(write, copies), f"writing {folder.name}", len(copies), unit="shard"))
    left_out = [patch_id for result in results for patch_id in result.left_out]
    return {counted: sum(result.number for result in results), "left_out": left_out}
