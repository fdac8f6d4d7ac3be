"""A raster of 4.5 GB is built from a few windows of it."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import rasterio
from PIL import Image
from rasterio import Affine
from rasterio.windows import Window

from tests.data.rasters import NORTH_UP, UTM, noise, write_tif

SIDE = 40_000
SCRIPT = """
import resource, sys
from pathlib import Path
from data.build import build
import datasets, pyarrow.parquet, rasterio.vrt, scipy.ndimage
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
build(manifest=Path(sys.argv[1]), out=Path(sys.argv[2]), size=512, workers=1)
print("growth", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_a_raster_larger_than_memory_should_be(tmp_path: Path) -> None:
    shape = {"height": SIDE, "width": SIDE, "count": 3, "dtype": "uint8", "crs": UTM, "transform": NORTH_UP}
    tiles = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "sparse_ok": True}
    ground = noise(512, 512)
    with rasterio.open(tmp_path / "pre.tif", "w", driver="GTiff", **shape, **tiles) as file:
        file.write(ground, window=Window(20_480, 30_720, 512, 512))
    write_tif(tmp_path / "post.tif", noise(512, 512, seed=1), NORTH_UP @ Affine.translation(20_480, 30_720))
    line = {"pre": "pre.tif", "post": "post.tif", "event": "some-event", "scene_id": "large"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(line))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "pairs.jsonl"), str(tmp_path / "d")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    growth_mb = int(done.stdout.split("growth")[1]) / 1024
    assert growth_mb < 500, f"{growth_mb:.0f} MB; the raster has {SIDE * SIDE * 3 / 1e6:.0f} MB"
    rows = pq.read_table(tmp_path / "d" / "data" / "train-00000-of-00001.parquet").to_pylist()
    (row,) = rows  # the other patches of that part lie outside post
    assert row["patch_id"] == "large_r030720_c020480_0000_0000_512"
    assert row["transform"][2] == NORTH_UP.c + 20_480 * 0.5 and row["transform"][5] == NORTH_UP.f - 30_720 * 0.5
    np.testing.assert_array_equal(Image.open(io.BytesIO(row["pre"]["bytes"])), ground.transpose(1, 2, 0))
