"""Parquet shards: written whole or not at all."""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import Features

from data.schema import FEATURES, HISTORY, arrow_schema

ROWS_PER_GROUP = 16  # what a reader must load to see one row


def write_shard(path: Path, rows: Iterable[dict[str, Any]], partial: Path) -> int:
    """Write the rows to `partial` and give it the name `path`; the number of rows. Without any, no file."""
    remaining, count = iter(rows), 0
    writer: pq.ParquetWriter | None = None
    try:
        while group := list(islice(remaining, ROWS_PER_GROUP)):
            if writer is None:
                features = Features({**FEATURES, **HISTORY}) if "history" in group[0] else FEATURES
                writer = pq.ParquetWriter(partial, arrow_schema(features), use_dictionary=False, compression="none")
            writer.write_table(pa.Table.from_pylist(group, schema=writer.schema))
            count += len(group)
    except BaseException:
        with suppress(OSError):  # the disk is full; the first error is the one to show
            if writer is not None:
                writer.close()
        raise
    if writer is not None:
        writer.close()
        partial.replace(path)
    return count


@dataclass(frozen=True)
class Copy:
    """A shard to write again in another format."""

    shard: Path
    folder: Path


@dataclass(frozen=True)
class Copied:
    """What was written from a shard."""

    number: int
    left_out: list[str]  # patch ids


def read_rows(shard: Path, columns: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of a shard, a few in memory at a time."""
    for batch in pq.ParquetFile(shard).iter_batches(16, columns=columns):
        yield from batch.to_pylist()
