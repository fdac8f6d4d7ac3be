"""Write rows to Parquet shards of a fixed number of scenes."""

import hashlib
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data.schema import FEATURES

SCENES_PER_SHARD = 64  # about 350 MB of xBD
ROWS_PER_GROUP = 16  # what a reader must load to see one row


class ShardWriter:
    """Takes the rows of one scene after the other, all scenes of a split in a row."""

    def __init__(self, folder: Path) -> None:
        """Write into `folder`, which exists and is empty."""
        self._folder = folder
        self._finished: dict[str, list[tuple[Path, int]]] = {}  # split -> its shards and their rows
        self._writer: pq.ParquetWriter | None = None
        self._path = folder
        self._split = ""
        self._scenes = self._rows = 0
        self._pending: list[dict[str, Any]] = []

    def __enter__(self) -> "ShardWriter":
        """Nothing is opened before the first scene."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """After an error let go of the open file; its folder is about to be removed."""
        if self._writer is not None:
            try:
                self._writer.close()
            except OSError:
                pass  # the disk is full; the first error is the one to show
            self._writer = None

    def add_scene(self, split: str, rows: list[dict[str, Any]]) -> None:
        """Append the rows of a scene."""
        if self._writer is None or split != self._split or self._scenes == SCENES_PER_SHARD:
            self._start_shard(split)
        self._scenes += 1
        self._pending += rows
        while len(self._pending) >= ROWS_PER_GROUP:
            self._flush()

    def finish(self) -> list[dict[str, Any]]:
        """Close the last shard, give all their final names, and describe them."""
        self._close_shard()
        described = []
        for split, shards in self._finished.items():
            for i, (path, rows) in enumerate(shards):
                final = path.with_name(f"{split}-{i:05d}-of-{len(shards):05d}.parquet")
                path.rename(final)
                described.append({"split": split, "file": f"data/{final.name}", "rows": rows, "sha256": _sha256(final)})
        return described

    def _start_shard(self, split: str) -> None:
        self._close_shard()
        shards = self._finished.setdefault(split, [])
        self._path = self._folder / f"{split}-{len(shards):05d}.parquet"
        self._writer = pq.ParquetWriter(self._path, FEATURES.arrow_schema, use_dictionary=False)
        self._split, self._scenes, self._rows = split, 0, 0

    def _flush(self) -> None:
        assert self._writer is not None
        group, self._pending = self._pending[:ROWS_PER_GROUP], self._pending[ROWS_PER_GROUP:]
        self._writer.write_table(pa.Table.from_pylist(group, schema=FEATURES.arrow_schema))
        self._rows += len(group)

    def _close_shard(self) -> None:
        if self._writer is None:
            return
        if self._pending:
            self._flush()
        self._writer.close()
        self._writer = None
        self._finished[self._split].append((self._path, self._rows))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
