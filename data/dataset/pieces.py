"""The pieces of a build: one shard each, finished one after the other, and reused after an interruption.

A piece is a shard in `dataset/data` and a record in `records`, which is written last: without it the piece does not
count. Its key identifies what the shard was made from: the source files, the options, our code. A shard whose key or
content differs is rebuilt.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from data.dataset.destination import SHARD
from data.dataset.rows import Row, SceneResult, SceneTask, build_scene
from data.dataset.shards import write_shard
from data.progress import Bar
from data.schema import QUALITY
from data.storage import sha256, write_text
from data.strict_json import as_json
from data.workers import WorkerPool

SCENES_PER_SHARD = 64  # about 350 MB of xBD

# What is read back from a finished shard: all but pictures, captions and polygons.
COLUMNS = [
    "patch_id",
    "scene_id",
    "disaster_type",
    "location_source",
    "damage_mask.path",
    "counts",
    "pre_sha256",
    *QUALITY,
]
# Another version of these may encode, hash or fit differently.
_LIBRARIES = ("datasets", "numpy", "pillow", "pyarrow", "pyogrio", "rasterio", "scipy", "shapely")


@dataclass(frozen=True)
class Piece:
    """The scenes of one shard."""

    split: str
    name: str  # of the shard's file
    tasks: tuple[SceneTask, ...]
    key: str

    @property
    def file(self) -> str:
        """The shard in the dataset's folder."""
        return f"data/{self.name}"


@dataclass(frozen=True)
class Outcome:
    """A finished piece."""

    piece: Piece
    rows: int
    sha256: str  # of the shard; "" if no scene has a row, and then there is no shard
    results: list[SceneResult]  # their rows hold COLUMNS only

    def shard(self) -> dict[str, Any]:
        """For dataset.json."""
        return {"split": self.piece.split, "file": self.piece.file, "rows": self.rows, "sha256": self.sha256}


def plan(tasks: Sequence[SceneTask], splits: dict[str, str], captions_sha256: str) -> list[Piece]:
    """Divide the tasks, which are in the order of their splits, into pieces."""
    code, pieces = f"{_code()} {captions_sha256}", []
    for split in dict.fromkeys(splits[task.scene.scene_id] for task in tasks):
        members = [task for task in tasks if splits[task.scene.scene_id] == split]
        starts = range(0, len(members), SCENES_PER_SHARD)
        for i, start in enumerate(starts):
            scenes = tuple(members[start : start + SCENES_PER_SHARD])
            pieces.append(Piece(split, f"{split}-{i:05d}-of-{len(starts):05d}.parquet", scenes, _key(scenes, code)))
    return pieces


def unfinished(work: Path, pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces that are not in `work` yet; what this build will not reuse is removed."""
    (work / "dataset" / "data").mkdir(parents=True, exist_ok=True)
    records = work / "records"
    records.mkdir(exist_ok=True)
    _remove_others(work, pieces)
    found = {path.stem for path in records.iterdir()}
    checked = Bar(pieces, "checking finished shards", unit="shard", disable=not found, leave=False)
    return [piece for piece in checked if piece.name not in found or not _is_whole(work, piece)]


def build_pieces(
    work: Path,
    pieces: Sequence[Piece],
    pool: WorkerPool,
    finish: Callable[[SceneResult], None],
    done: int | None = None,
) -> None:
    """Build pieces, one after the other.

    Args:
        work: the folder as for `unfinished`.
        pieces: to build.
        pool: of workers.
        finish: completes the rows of a scene.
        done: scenes that an earlier run has built, where the bar begins; None = no bar.
    """
    tasks = [task for piece in pieces for task in piece.tasks]
    # Closed on errors too, which would otherwise be printed after the bar.
    before, quiet = done or 0, done is None
    with Bar(desc="building", total=before + len(tasks), initial=before, unit="scene", disable=quiet) as bar:
        results = _counted(pool.map(build_scene, tasks), bar)
        for piece in pieces:
            _build(work, piece, islice(results, len(piece.tasks)), finish)


def _counted(results: Iterable[SceneResult], bar: Bar) -> Iterator[SceneResult]:
    for result in results:
        bar.update()
        yield result


def _build(work: Path, piece: Piece, results: Iterable[SceneResult], finish: Callable[[SceneResult], None]) -> None:
    scenes: list[dict[str, Any]] = []

    def rows() -> Iterator[Row]:
        for result in results:
            finish(result)
            scenes.append({name: value for name, value in vars(result).items() if name not in ("scene", "rows")})
            yield from result.rows

    shard = work / "dataset" / "data" / piece.name
    count = write_shard(shard, rows(), work / f"{piece.name}.tmp")
    record = {"key": piece.key, "rows": count, "sha256": sha256(shard) if count else "", "scenes": scenes}
    write_text(_record_path(work, piece), as_json(record, None))


def read_piece(work: Path, piece: Piece, more: Sequence[str] = ()) -> Outcome:
    """Of built and of found pieces alike, so that both count the same; with `more` columns than COLUMNS."""
    record = json.loads(_record_path(work, piece).read_text(encoding="utf-8"))
    rows: dict[str, list[Row]] = {task.scene.scene_id: [] for task in piece.tasks}
    if record["rows"]:
        for row in pq.ParquetFile(work / "dataset" / "data" / piece.name).read([*COLUMNS, *more]).to_pylist():
            rows[row["scene_id"]].append(row)
    results = [
        SceneResult(task.scene, rows[task.scene.scene_id], **fields)
        for task, fields in zip(piece.tasks, record["scenes"], strict=True)
    ]
    return Outcome(piece, record["rows"], record["sha256"], results)


def _is_whole(work: Path, piece: Piece) -> bool:
    shard = work / "dataset" / "data" / piece.name
    try:
        record = json.loads(_record_path(work, piece).read_text(encoding="utf-8"))
        found = (record["key"], record["sha256"])
        return found == (piece.key, sha256(shard) if record["rows"] else "")
    except (OSError, ValueError, KeyError):
        return False


def _remove_others(work: Path, pieces: Sequence[Piece]) -> None:
    """Remove leftovers that this build will not overwrite."""
    names = {piece.name for piece in pieces}
    for path in [*(work / "dataset" / "data").iterdir(), *(work / "records").iterdir()]:
        if re.fullmatch(rf"({SHARD})(\.json)?", path.name) and path.name.removesuffix(".json") not in names:
            path.unlink()


def _record_path(work: Path, piece: Piece) -> Path:
    return work / "records" / f"{piece.name}.json"


def _key(tasks: tuple[SceneTask, ...], code: str) -> str:
    """What the bytes of a shard depend on; the size and modification time of a source file represent its content."""
    stamps = [_stamp(path) for task in tasks for path in task.scene.files()]
    return hashlib.sha256(f"{code}\n{tasks!r}\n{stamps}".encode()).hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _code() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parents[1].rglob("*.py")):
        digest.update(path.read_bytes())
    return " ".join([digest.hexdigest(), *(f"{name}={version(name)}" for name in _LIBRARIES)])
