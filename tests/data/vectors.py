"""Building outlines written to vector files of every format, by libraries that the reader does not use for it."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import shapely
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

from tests.data.rasters import NORTH_UP, UTM

DRIVERS = {".gpkg": "GPKG", ".fgb": "FlatGeobuf"}
ENDINGS = (".geojson", ".gpkg", ".fgb", ".parquet")


def square(left: float, top: float, side: float) -> shapely.Polygon:
    """In pixels."""
    return shapely.box(left, top, left + side, top + side)


def on_ground(polygons: list[Any], crs: str = UTM, affine: Affine = NORTH_UP) -> list[Any]:
    """Polygons in pixels of an image of `write_tif`, in another CRS."""

    def project(xy: np.ndarray) -> np.ndarray:
        east, north = affine.a * xy[:, 0] + affine.c, affine.e * xy[:, 1] + affine.f
        return np.stack([east, north] if crs == UTM else transform(UTM, crs, east, north), axis=1)

    return list(shapely.transform(np.array(polygons, object), project))


def write_vectors(
    path: Path, shapes: list[Any], crs: str | None = UTM, kind: str = "Polygon", **columns: list[Any]
) -> Path:
    """A file of these shapes, in the CRS that they are in, with more columns of numbers or texts."""
    if path.suffix == ".parquet":
        return _write_parquet(path, shapes, crs, columns)
    if path.suffix == ".geojson":
        return _write_geojson(path, shapes, crs, columns)
    cells = [np.array(cells, object if isinstance(cells[0], str | None) else None) for cells in columns.values()]
    wkb = np.array([None if shape is None else shapely.to_wkb(shape) for shape in shapes], object)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "'crs' was not provided", UserWarning)
        pyogrio.raw.write(path, wkb, cells, list(columns), driver=DRIVERS[path.suffix], crs=crs, geometry_type=kind)
    return path


def _write_geojson(path: Path, shapes: list[Any], crs: str | None, columns: dict[str, list[Any]]) -> Path:
    features = [
        {
            "type": "Feature",
            "geometry": shape and json.loads(shapely.to_geojson(shape)),
            "properties": {name: cells[i] for name, cells in columns.items()},
        }
        for i, shape in enumerate(shapes)
    ]
    content: dict[str, Any] = {"type": "FeatureCollection", "features": features}
    if crs != "EPSG:4326":
        name = crs and f"urn:ogc:def:crs:{crs.replace(':', '::')}"
        content = {"type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": name}}} | content
        content = content if crs else content | {"crs": None}
    path.write_text(json.dumps(content))
    return path


def _write_parquet(path: Path, shapes: list[Any], crs: str | None, columns: dict[str, list[Any]]) -> Path:
    """Four rows a group, with extents, as GeoParquet 1.1 has them."""
    bounds = [None if shape is None else shape.bounds for shape in shapes]
    names = ("xmin", "ymin", "xmax", "ymax")
    table = pa.table(
        {
            **columns,
            "outline": [None if shape is None else shapely.to_wkb(shape) for shape in shapes],
            "bbox": [box and dict(zip(names, box, strict=True)) for box in bounds],
        }
    )
    covering = {"bbox": {name: ["bbox", name] for name in names}}
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": [], "covering": covering}
    if shown := [box for box in bounds if box is not None]:
        column["bbox"] = [*np.min(shown, axis=0)[:2], *np.max(shown, axis=0)[2:]]
    if crs is None or crs != "EPSG:4326":
        column["crs"] = crs and CRS.from_user_input(crs).to_dict(projjson=True)
    geo = {"version": "1.1.0", "primary_column": "outline", "columns": {"outline": column}}
    pq.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), path, row_group_size=4)
    return path
