"""`--format webdataset`: tar shards in DiffusionSat's own layout of xBD, which its trainer reads as they are.

A sample is a patch: `KEY.pre-input.npy`, `KEY.post-input.npy` (height, width, 3) uint8, and `KEY.pre-metadata.json`,
`KEY.post-metadata.json` in the schema of xBD's labels. DiffusionSat takes from these `metadata.gsd` (that of the
multispectral bands, as in xBD), `metadata.capture_date`, `metadata.disaster_type`, and longitude and latitude of the
first polygon of `features.lng_lat`; a patch without polygons has no place for it.
"""

import io
import tarfile
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image
from rasterio.crs import CRS
from rasterio.warp import transform

from data.dataset.shards import Copied, Copy, read_rows
from data.imagery.geo import WGS84
from data.schema import DAMAGE_VALUES
from data.sources.labels import Phase
from data.strict_json import as_json

FOLDER = "webdataset"
COLUMNS = ["patch_id", "event", "disaster_type", "labels", "pre", "post", "sensor_pre", "sensor_post", "buildings"]
COLUMNS += ["crs_wkt", "transform", "size"]

_SUBTYPES = {value: name for name, value in DAMAGE_VALUES.items()}


def write_tar(copy: Copy) -> Copied:
    """Write the patches of a Parquet shard into `FOLDER` as a tar; without samples, no tar.

    Patches whose two labels lack what DiffusionSat needs are left out.
    """
    path = copy.folder / f"{copy.shard.stem}.tar"
    samples, left_out = 0, []
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for row in read_rows(copy.shard, COLUMNS):
            if not _is_complete(row):
                left_out.append(row["patch_id"])
                continue
            samples += 1
            key = row["patch_id"].replace(".", "-")  # a key ends at the first dot
            for name, content in sorted(sample(row).items()):
                # Only a name and a size: no times, no owner, so that the same patches give the same bytes.
                member = tarfile.TarInfo(f"{key}.{name}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    if not samples:
        path.unlink()
    return Copied(samples, left_out)


def sample(row: dict[str, Any]) -> dict[str, bytes]:
    """The four files of a patch by their extension."""
    images = {f"{phase}-input.npy": _npy(row[phase]["bytes"]) for phase in ("pre", "post")}
    return images | {f"{phase}-metadata.json": as_json(label(row, phase), None).encode() for phase in ("pre", "post")}


def label(row: dict[str, Any], phase: Phase) -> dict[str, Any]:
    """The label of one image of a patch, as xBD would write it."""
    features: dict[str, list[dict[str, Any]]] = {"lng_lat": [], "xy": []}
    for building in row["buildings"]:
        polygon = shapely.from_wkt(building["wkt"])
        if polygon.is_empty:
            continue  # only the centroid of a concave building lies here
        properties = {"feature_type": "building", "uid": building["uid"]}
        if phase == "post" and building["damage"]:
            properties["subtype"] = _SUBTYPES[building["damage"]]
        features["xy"].append({"properties": properties, "wkt": building["wkt"]})
        if row["transform"]:
            wkt = shapely.to_wkt(degrees(polygon, row["transform"], row["crs_wkt"]), rounding_precision=8)  # 1 mm
            features["lng_lat"].append({"properties": properties, "wkt": wkt})
    size = {"width": row["size"], "height": row["size"], "original_width": row["size"], "original_height": row["size"]}
    named = {
        "disaster": row["event"],
        "disaster_type": row["disaster_type"],
        "img_name": f"{row['patch_id']}_{phase}.png",
    }
    return {"features": features, "metadata": row[f"sensor_{phase}"] | named | size}


def degrees(geometry: shapely.Geometry, affine: list[float], crs_wkt: str) -> shapely.Geometry:
    """A geometry in patch pixels, in degrees east and north."""
    a, b, c, d, e, f = affine

    def place(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points.T
        xs, ys = a * x + b * y + c, d * x + e * y + f
        crs = CRS.from_wkt(crs_wkt)
        lon, lat = (xs, ys) if crs == WGS84 else transform(crs, WGS84, xs, ys)
        return np.column_stack([lon, lat])

    return shapely.transform(geometry, place)


def _is_complete(row: dict[str, Any]) -> bool:
    sensors = (row["sensor_pre"], row["sensor_post"])
    return all(sensor["gsd"] is not None and sensor["capture_date"] for sensor in sensors)


def _npy(png: bytes) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(Image.open(io.BytesIO(png), formats=("PNG",))), allow_pickle=False)
    return buffer.getvalue()
