"""`--geotiff`: every patch as GeoTIFFs too, for GIS programs: pre, post and, with a post label, the damage mask."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rasterio import Affine
from rasterio.io import MemoryFile

from data.dataset.shards import Copied, Copy, read_rows

FOLDER = "geotiff"
COLUMNS = ["patch_id", "pre", "post", "damage_mask", "transform", "crs_wkt"]


def write_geotiffs(copy: Copy) -> Copied:
    """Write `PATCH_pre.tif`, `PATCH_post.tif` and `PATCH_damage.tif` of every patch of a shard that has a transform.

    Patches without a georeference accurate to a pixel are left out.
    """
    files, left_out = 0, []
    for row in read_rows(copy.shard, COLUMNS):
        if not row["transform"]:
            left_out.append(row["patch_id"])
            continue
        for column, name in (("pre", "pre"), ("post", "post"), ("damage_mask", "damage")):
            if row[column] is not None:
                _write(copy.folder / f"{row['patch_id']}_{name}.tif", row[column]["bytes"], row)
                files += 1
    return Copied(files, left_out)


def _write(path: Path, png: bytes, row: dict[str, Any]) -> None:
    pixels: NDArray[np.uint8] = np.atleast_3d(np.asarray(Image.open(io.BytesIO(png), formats=("PNG",))))
    height, width, bands = pixels.shape
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": bands,
        "dtype": "uint8",
        "crs": row["crs_wkt"],
        "transform": Affine(*row["transform"]),
        "photometric": "RGB" if bands == 3 else "MINISBLACK",
        "compress": "deflate",
    }
    with MemoryFile() as memory:  # GDAL reports a full disk only as a failed write
        with memory.open(**profile) as file:
            file.write(np.moveaxis(pixels, -1, 0))
        path.write_bytes(memory.read())
