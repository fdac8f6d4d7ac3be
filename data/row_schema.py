"""What must be in a shard for its rows to be read: columns and types, what may be missing, readable pictures."""

import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import datasets
import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import shapely
from datasets import Image, List
from numpy.typing import NDArray

from data.errors import DataError, shortened
from data.schema import DAMAGE_VALUES, FEATURES, HISTORY, SENSOR, arrow_schema

LATER = {"cover_mask", "post_again", "mirrored"}  # not every version has written them
MAY_BE_NULL = {
    "uid",
    "damage",
    "damage_mask",
    "change_mask",
    "cover_mask",
    "post_again",
    "mirrored",
    "path",
    *HISTORY,
    *SENSOR,
    *FEATURES["counts"],
}
GREY = {"damage_mask", "change_mask", "cover_mask"}
MOST_PIXELS = 1 << 26  # of a patch: decoded 200 MB
LONGEST_TEXT = 1 << 20  # bytes
ADVICE = "Copy the dataset again, or rebuild it."


@dataclass
class Picture(Image):  # type: ignore[misc]  # of a library without types
    """An image column that decodes only its own bytes, and only as PNG of the expected mode."""

    where: str = field(default="", compare=False)

    def decode_example(self, value: Any, token_per_repo_id: dict[str, Any] | None = None) -> PIL.Image.Image:  # noqa: ANN401
        """See datasets; a path or an address in place of the bytes is not followed."""
        try:
            picture = PIL.Image.open(io.BytesIO(value["bytes"]), formats=("PNG",))
            if picture.width * picture.height > MOST_PIXELS or picture.mode != self.mode:
                raise ValueError(f"{picture.width} x {picture.height} px of {picture.mode}, expected {self.mode}")
            picture.load()
        except Exception as error:  # Pillow raises a dozen kinds for damaged files
            raise DataError(f"{self.where}: a picture cannot be read ({shortened(str(error))}). {ADVICE}") from error
        return picture


def with_pictures(dataset: datasets.Dataset, where: str) -> datasets.Dataset:
    """The same rows, whose image columns are Pictures."""
    for name in dataset.column_names:
        kind = {**FEATURES, **HISTORY}.get(name)
        picture = Picture(mode="L" if name in GREY else "RGB", where=f"{where}, column {name}")
        if isinstance(kind, Image):
            dataset.info.features[name] = picture
        elif isinstance(kind, List) and isinstance(kind.feature, Image):
            dataset.info.features[name] = List(picture)
    return dataset


@contextmanager
def opened(file: Path) -> Iterator[pq.ParquetFile]:
    """A shard; whatever Arrow raises for a damaged one becomes one message."""
    try:
        with pq.ParquetFile(file) as shard:
            yield shard
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{file}: cannot be read ({shortened(str(error))}). {ADVICE}") from error


def check_rows(table: pa.Table, where: str, columns: Sequence[str] = tuple(FEATURES)) -> None:
    """Stop unless the rows are as `pre2post build` writes them; columns that it does not write are ignored.

    Args:
        table: of a split or a shard.
        where: it comes from.
        columns: that are needed.

    Raises:
        DataError: naming the column.
    """
    features = {**FEATURES, **HISTORY}
    expected = arrow_schema(datasets.Features(features))
    for name in columns:
        if name in table.column_names:
            found, right = table.schema.field(name).type, expected.field(name).type
            if not _fits(found, right):
                _refuse(where, name, f"is of type {found!s:.60}, expected {right!s:.60}")
            for values in _joined(table[name]):
                _check_values(values, name, where)
        elif name in FEATURES and name not in LATER:
            _refuse(where, name, "is missing")


def polygons_of(row: Mapping[str, Any]) -> NDArray[np.object_]:
    """The outlines of a patch's buildings, (N,) shapely geometries.

    Raises:
        DataError: one is not a polygon, or its damage is not a class; the message names the patch.
    """
    try:
        with np.errstate(over="ignore"):  # infinite coordinates are refused below
            outlines: NDArray[np.object_] = shapely.from_wkt(np.array([each["wkt"] for each in row["buildings"]], str))
    except shapely.errors.GEOSException as error:
        raise DataError(f"patch {row['patch_id']}: buildings: {shortened(str(error))}. {ADVICE}") from None
    kinds = {shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON}
    shown = outlines[~shapely.is_empty(outlines)]
    if not set(shapely.get_type_id(shown).tolist()) <= kinds or not np.isfinite(shapely.bounds(shown)).all():
        raise DataError(f"patch {row['patch_id']}: buildings: an outline is not a polygon. {ADVICE}")
    if strange := {each["damage"] for each in row["buildings"]} - {None, *DAMAGE_VALUES.values()}:
        raise DataError(f"patch {row['patch_id']}: buildings: damage {strange.pop()} is not a class. {ADVICE}")
    return outlines


def _joined(column: pa.ChunkedArray) -> Iterable[pa.Array]:
    """Its values; of a small column in one piece, because `datasets` writes chunks of a hundred rows."""
    nested = pa.types.is_nested(column.type)  # pictures, captions, outlines are too much to be copied
    return column.chunks if nested or not column.num_chunks else [pa.concat_arrays(column.chunks)]


def _fits(found: pa.DataType, right: pa.DataType) -> bool:
    if pa.types.is_struct(right) and pa.types.is_struct(found):
        names = {field.name for field in found}
        return all(
            _fits(found.field(field.name).type, field.type) if field.name in names else field.name in LATER
            for field in right
        )
    if pa.types.is_list(right) and pa.types.is_list(found):
        return _fits(found.value_type, right.value_type)
    return bool(found == right)


def _check_values(values: pa.Array, name: str, where: str) -> None:
    if values.null_count and name not in MAY_BE_NULL:
        _refuse(where, name, "has null values")
    kind = values.type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        if pc.any(pc.and_(values.is_valid(), values.field("bytes").is_null())).as_py():
            _refuse(where, name, "refers to pictures outside the file, or has none")
    elif pa.types.is_struct(kind):
        for index, part in enumerate(kind):
            _check_values(values.field(index), part.name, where)
    elif pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
        _check_values(values.flatten(), name, where)
    elif pa.types.is_string(kind):
        try:
            values.validate(full=True)
        except pa.ArrowInvalid:
            _refuse(where, name, "has texts that are not UTF-8")
        if (pc.max(pc.binary_length(values)).as_py() or 0) > LONGEST_TEXT:
            _refuse(where, name, f"has texts of more than {LONGEST_TEXT:,} bytes")
    elif name == "size" and pc.any(pc.less(values, 1)).as_py():
        _refuse(where, name, "has values below 1")


def _refuse(where: str, column: str, why: str) -> NoReturn:
    raise DataError(f"{where}: column {column} {why}. {ADVICE}")
