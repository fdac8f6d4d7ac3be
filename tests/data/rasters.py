"""Small GeoTIFFs whose every pixel is known."""

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio import Affine

# Half a metre a pixel, in the UTM zone of New Orleans.
UTM = "EPSG:32615"
NORTH_UP = Affine(0.5, 0, 790_000, 0, -0.5, 3_300_000)


def write_tif(path: Path, bands: NDArray[Any], affine: Affine = NORTH_UP, crs: str | None = UTM, **more: Any) -> Path:
    """(bands, height, width) as a GeoTIFF; without a CRS it has no transform either."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if crs is not None:
        more |= {"crs": crs, "transform": affine}
    _write(path, bands, "GTiff", **more)
    return path


def write_png16(path: Path, bands: NDArray[np.uint16]) -> Path:
    """A PNG of 16 bits, which Pillow cannot write."""
    _write(path, bands, "PNG")
    return path


def _write(path: Path, bands: NDArray[Any], driver: str, **more: Any) -> None:
    count, height, width = bands.shape
    size = {"height": height, "width": width, "count": count, "dtype": bands.dtype}
    with rasterio.open(path, "w", driver=driver, **size, **more) as file:
        file.write(bands)


def noise(height: int, width: int, count: int = 3, seed: int = 0) -> NDArray[np.uint8]:
    """1..254: neither black nor white by chance."""
    return np.random.default_rng(seed).integers(1, 255, (count, height, width), dtype=np.uint8)
