"""Features of a vector file that lie on a grid: GeoJSON, GeoPackage, FlatGeobuf or GeoParquet, read by windows.

GeoPackage and FlatGeobuf find a window by their spatial index and GeoParquet by its row groups; GeoJSON is scanned.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from numpy.typing import NDArray
from pyogrio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform, transform_bounds

from data.errors import DataError, shortened
from data.files import check_regular, unreadable
from data.imagery.grids import NO_NAME, Grid, apply
from data.imagery.raster import GDAL_ERRORS
from data.strict_json import as_json

FORMATS = {".geojson": b"{", ".json": b"{", ".gpkg": b"SQLite format 3", ".fgb": b"fgb", ".parquet": b"PAR1"}
MOST_JSON_BYTES = 256 << 20  # half a million to a million buildings
CONVERT = "ogr2ogr -f FlatGeobuf OUT.fgb"
_BATCH_ROWS = 1 << 16  # of GeoParquet in memory at once
_OGR_ERRORS = (RuntimeError, ValueError, CPLE_BaseError)
# GeoJSON of 2008 could give its CRS as an address, which GDAL would fetch; whatever else hides one meets a closed door.
_LINKED_CRS = re.compile(rb'"crs"\s*:\s*\{[^}]{0,400}"(?:link|url|href)"', re.IGNORECASE)
pyogrio.set_gdal_config_options({"GDAL_HTTP_PROXY": "127.0.0.1:9", "GDAL_HTTP_MAX_RETRY": "0"})
_ARROW_ERRORS = (pa.ArrowException, OSError, ValueError, TypeError, AttributeError, IndexError)

Box = tuple[float, float, float, float]  # left, bottom, right, top


@dataclass(frozen=True)
class Features:
    """What lies on a grid."""

    numbers: NDArray[np.int64]  # of each feature in its file
    shapes: NDArray[np.object_]  # pixels of the grid, x right, y down; None where a geometry cannot be decoded
    values: NDArray[Any] | None  # of the requested column


@dataclass(frozen=True)
class _Layer:
    """What a file says of itself."""

    crs: CRS
    columns: tuple[str, ...]
    extent: Box | None  # of all features, in its CRS; None: unknown
    geometry: str = ""  # the column of GeoParquet
    covering: str = ""  # its column of extents; "" if there is none


def features_on(path: Path, grid: Grid, column: str | None = None) -> Features:
    """The features whose extents meet a grid, with the values of one column.

    Raises:
        DataError: the file cannot be read, has no CRS or no such column, or all its features lie elsewhere.
    """
    layer = _layer(path, _changed(path))
    if column and column not in layer.columns:
        named = ", ".join(layer.columns[:12]) or "none"
        raise DataError(f"{path}: has no column {column!r}. It has: {named}.")
    box = _box(grid, layer.crs, path)
    read = _parquet_rows if layer.geometry else _ogr_features
    numbers, wkb, values = read(path, layer, box, column)
    shapes = np.asarray(shapely.force_2d(shapely.from_wkb(wkb, on_invalid="ignore")), dtype=object)
    return Features(numbers, _onto(shapes, layer.crs, grid, path), values if column else None)


def check_meets(path: Path, grid: Grid, image: str, around: int = 1) -> None:
    """Stop unless the features of a file, taken together, come within so many sides of an image of it.

    Args:
        path: of the vector file.
        grid: of the image.
        image: its name.
        around: how many of its sides; 0 = they must meet it.

    Raises:
        DataError: they lie elsewhere, or the image has no coordinates.
    """
    if grid.crs is None or grid.crs is NO_NAME:
        raise DataError(
            f"{path}: cannot be placed, because {image} has no CRS. Give a GeoTIFF with a CRS and a transform "
            "(gdal_translate -a_srs ... -a_ullr ...), or xView2 label files, which are in pixels."
        )
    layer = _layer(path, _changed(path))
    sides = 1 + 2 * around
    near = grid.cut(-around * grid.height, -around * grid.width, sides * grid.height, sides * grid.width)
    if layer.extent and not _meet(layer.extent, _box(near, layer.crs, path)):
        here = _box(grid, layer.crs, path)
        there, own = (", ".join(f"{number:.6g}" for number in box) for box in (layer.extent, here))
        raise DataError(
            f"{path}: does not overlap {image}: its features lie within {there}, the image within {own} of the "
            "same CRS. Does it show another place? Check its CRS."
        )


def _changed(path: Path) -> int:
    check_regular(path)
    return path.stat().st_mtime_ns


def _box(grid: Grid, crs: CRS, path: Path) -> Box:
    """The ground of a grid in another CRS."""
    wide, high = grid.width, grid.height
    xs, ys = apply(grid.affine, np.array([0.0, wide, 0, wide]), np.array([0.0, 0, high, high]))
    try:
        left, bottom, right, top = transform_bounds(grid.crs, crs, xs.min(), ys.min(), xs.max(), ys.max())
    except (*GDAL_ERRORS, CRSError) as error:
        raise DataError(f"{path}: pre lies outside the domain of its CRS ({error}). Check both.") from None
    return (-180.0, bottom, 180.0, top) if left > right else (left, bottom, right, top)  # across the date line


def _meet(one: Box, other: Box) -> bool:
    return one[0] <= other[2] and one[2] >= other[0] and one[1] <= other[3] and one[3] >= other[1]


def _onto(shapes: NDArray[np.object_], crs: CRS, grid: Grid, path: Path) -> NDArray[np.object_]:
    def pixels(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        try:
            xs, ys = (np.asarray(axis) for axis in transform(crs, grid.crs, xy[:, 0], xy[:, 1]))
        except (*GDAL_ERRORS, CRSError) as error:
            raise DataError(f"{path}: has no place in the CRS of pre ({error}). Check its CRS.") from None
        return np.stack(apply(~grid.affine, xs, ys), axis=1)

    return np.asarray(shapely.transform(shapes, pixels), dtype=object) if len(shapes) else shapes


@lru_cache(maxsize=8)
def _layer(path: Path, changed: int) -> _Layer:
    """The header of a file; `changed` distinguishes its versions."""
    ending = path.suffix.lower()
    if ending not in FORMATS:
        raise DataError(f"{path}: expected a name that ends in {', '.join(FORMATS)}. Convert it: {CONVERT} IN.")
    try:
        with path.open("rb") as file:
            start = file.read(4096).lstrip(b"\xef\xbb\xbf \t\r\n")
    except OSError as error:
        raise unreadable(path, error) from None
    if not start.startswith(FORMATS[ending]):
        raise DataError(f"{path}: is not the {ending} file that its name says. Fetch it again, or rename it.")
    if ending == ".parquet":
        return _parquet_layer(path)
    if FORMATS[ending] == b"{":
        _check_json(path)
    with _ogr(path):
        layers = [str(name) for name, kind in pyogrio.list_layers(path) if kind is not None]
        if len(layers) != 1:
            found = f"the layers {', '.join(layers[:8])}" if layers else "no layer with geometries"
            raise DataError(f"{path}: holds {found}, expected one. Export one: {CONVERT} {path.name} LAYER.")
        info = pyogrio.read_info(path, layer=layers[0], force_total_bounds=True)
    bounds = info["total_bounds"]
    left, bottom, right, top = (float(edge) for edge in bounds) if bounds is not None else (np.nan,) * 4
    extent = (left, bottom, right, top) if np.isfinite((left, bottom, right, top)).all() else None
    return _Layer(_crs(info["crs"], path), tuple(info["fields"]), extent)


def _check_json(path: Path) -> None:
    if (size := path.stat().st_size) > MOST_JSON_BYTES:
        raise DataError(
            f"{path}: {size / 2**20:,.0f} MB of GeoJSON, which has no index and would be scanned for every scene. "
            f"Convert it once: {CONVERT} {path.name}."
        )
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        if _LINKED_CRS.search(content):
            raise DataError(f"{path}: its crs is a link, and nothing is fetched. Write it anew: {CONVERT} {path.name}.")


def _parquet_layer(path: Path) -> _Layer:
    try:
        schema = pq.read_schema(path)
        geo = json.loads((schema.metadata or {}).get(b"geo", b"null"))
        if geo is None:
            raise DataError(f"{path}: is Parquet without geometries. Convert it to GeoParquet, or: {CONVERT}.")
        name = str(geo["primary_column"])
        about = geo["columns"][name]
        encoding, crs, bbox = about["encoding"], about.get("crs", "OGC:CRS84"), about.get("bbox")
        covering = str(about.get("covering", {}).get("bbox", {}).get("xmin", [""])[0])
        if name not in schema.names or covering not in ("", *schema.names):
            raise ValueError(f"its geo metadata names {name!r} and {covering!r}, which are not columns")
        half = len(bbox) // 2 if bbox else 0
        extent = tuple(float(bbox[i]) for i in (0, 1, half, half + 1)) if half in (2, 3) else None
    except DataError:
        raise
    except (KeyError, *_ARROW_ERRORS) as error:
        raise DataError(f"{path}: cannot be read ({str(error)[:200]}). Damaged, or not GeoParquet.") from None
    if encoding != "WKB":
        raise DataError(f"{path}: encodes geometries as {shortened(encoding)}, expected WKB. Convert it: {CONVERT}.")
    text = as_json(crs, None) if isinstance(crs, dict) else crs
    return _Layer(_crs(text, path), tuple(schema.names), extent, name, covering)  # type: ignore[arg-type]


def _crs(text: object, path: Path) -> CRS:
    if not isinstance(text, str) or not text:
        raise DataError(f"{path}: has no CRS. Write the one it is in: ogr2ogr -a_srs EPSG:... OUT.fgb {path.name}.")
    try:
        return CRS.from_user_input(text)
    except (CRSError, ValueError) as error:
        reason = str(error)[:200]
        raise DataError(f"{path}: its CRS cannot be read ({reason}). Write it again: ogr2ogr -a_srs.") from None


_Rows = tuple[NDArray[np.int64], NDArray[np.object_], NDArray[Any]]  # numbers, WKB, values of the column


def _ogr_features(path: Path, layer: _Layer, box: Box, column: str | None) -> _Rows:
    with _ogr(path):
        columns = [column] if column else []
        _, numbers, wkb, fields = pyogrio.raw.read(path, columns=columns, bbox=box, return_fids=True)
    return numbers, wkb, fields[0] if column else np.empty(0, object)


def _parquet_rows(path: Path, layer: _Layer, box: Box, column: str | None) -> _Rows:
    found: list[_Rows] = [(np.empty(0, np.int64), np.empty(0, object), np.empty(0, object))]
    try:
        with pq.ParquetFile(path) as file:
            first = 0
            for group in range(file.num_row_groups):
                about = file.metadata.row_group(group)
                start, first = first, first + about.num_rows
                if not _may_meet(about, layer.covering, box):
                    continue
                columns = [layer.geometry, *([column] if column else [])]
                for batch in file.iter_batches(_BATCH_ROWS, row_groups=[group], columns=columns):
                    wkb = _cells(batch.column(layer.geometry))
                    left, bottom, right, top = shapely.bounds(shapely.from_wkb(wkb, on_invalid="ignore")).T
                    near = np.flatnonzero((left <= box[2]) & (right >= box[0]) & (bottom <= box[3]) & (top >= box[1]))
                    values = _cells(batch.column(column)) if column else np.empty(len(wkb), object)
                    found.append((start + near, wkb[near], values[near]))
                    start += len(wkb)
    except (*_ARROW_ERRORS, shapely.GEOSException) as error:
        raise DataError(f"{path}: cannot be read ({str(error)[:200]}). Damaged: fetch it again.") from None
    numbers, geometries, cells = (np.concatenate([rows[i] for rows in found]) for i in range(3))
    return numbers, geometries, cells


def _cells(column: pa.Array) -> NDArray[np.object_]:
    cells = np.empty(len(column), object)
    cells[:] = column.to_pylist()
    return cells


def _may_meet(group: Any, covering: str, box: Box) -> bool:  # noqa: ANN401  # pyarrow has no public name for it
    """Whether a feature of a row group may meet the box, by the statistics of its extents."""
    ends = {}
    for i in range(group.num_columns if covering else 0):
        column = group.column(i)
        if column.path_in_schema.startswith(f"{covering}.") and (seen := column.statistics) and seen.has_min_max:
            ends[column.path_in_schema.rpartition(".")[2]] = (seen.min, seen.max)
    if not ends.keys() >= {"xmin", "ymin", "xmax", "ymax"}:
        return True
    return _meet((ends["xmin"][0], ends["ymin"][0], ends["xmax"][1], ends["ymax"][1]), box)


@contextmanager
def _ogr(path: Path) -> Iterator[None]:
    """Within the block, GDAL's errors are one message."""
    try:
        yield
    except DataError:
        raise
    except _OGR_ERRORS as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{path}: cannot be read ({reason}). Damaged: fetch it again, or write it anew.") from None
