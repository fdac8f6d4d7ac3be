"""The outputs that a build writes on request beside its Parquet shards, made from these."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from data import geotiff, webdataset
from data.geotiff import GeotiffTask, write_geotiffs
from data.parallel import WorkerPool
from data.webdataset import TarTask, write_tar

Format = Literal["parquet", "webdataset"]


def export(
    folder: Path, shards: Sequence[dict[str, Any]], pool: WorkerPool, output: Format, with_geotiff: bool
) -> dict[str, Any]:
    """Write what is asked for into the dataset in `folder`; what dataset.json says of it.

    Made anew by every run, unlike the shards: copying takes a fraction of the time of building.
    """
    found: dict[str, Any] = {}
    for name in (webdataset.FOLDER, geotiff.FOLDER):
        shutil.rmtree(folder / name, ignore_errors=True)  # of a run that was stopped
    if output == "webdataset":
        found["webdataset"] = _tars(folder, shards, pool)
    if with_geotiff:
        found["geotiff"] = _geotiffs(folder, shards, pool)
    return found


def _tars(folder: Path, shards: Sequence[dict[str, Any]], pool: WorkerPool) -> dict[str, Any]:
    made = folder / webdataset.FOLDER
    made.mkdir()
    paths = [folder / shard["file"] for shard in shards]
    tasks = [TarTask(path, made / f"{path.stem}.tar") for path in paths]
    results = list(tqdm(pool.map(write_tar, tasks), "writing tar", len(tasks), unit="shard"))
    left_out = [patch_id for result in results for patch_id in result.left_out]
    return {"samples": sum(result.samples for result in results), "left_out": left_out}


def _geotiffs(folder: Path, shards: Sequence[dict[str, Any]], pool: WorkerPool) -> dict[str, Any]:
    made = folder / geotiff.FOLDER
    made.mkdir()
    tasks = [GeotiffTask(folder / shard["file"], made) for shard in shards]
    results = list(tqdm(pool.map(write_geotiffs, tasks), "writing GeoTIFF", len(tasks), unit="shard"))
    left_out = [patch_id for result in results for patch_id in result.left_out]
    return {"files": sum(result.files for result in results), "left_out": left_out}
