"""Images of any type and grid as a plan wants them: 8 bits, and pixels of its ground size."""

import math

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.warp import transform_bounds
from rasterio.windows import Window

from data.imagery.geo import Location
from data.imagery.grids import Grid, apply
from data.imagery.raster import GDAL_ERRORS, REAL_DTYPES, Bands, Mask, read_rgb
from data.imagery.stretch import AS_IT_IS, Range
from generate.errors import GenerateError
from generate.inputs import Pixels

SAME_SIZE = 1e-3  # pixels that differ by a smaller share are the plan's: less than a pixel over a tile
TRUE_SCALE = 0.01  # a CRS whose metres are metres on the ground; those of Web Mercator are not
SAMPLES, SAMPLE_PX = 16, 64  # windows along each axis that percentiles are taken from, and their side


def held_pixels(pixels: NDArray[np.generic], valid: Mask) -> Mask:
    """Where (..., 3) values hold data: valid, numbers, and not 0 in all bands, since undeclared borders are."""
    return np.asarray(valid & np.isfinite(pixels).all(axis=-1) & (pixels != 0).any(axis=-1))


def percentiles_of(image: DatasetReader, name: str, bands: Bands, wanted: tuple[float, float]) -> Range:
    """Per band, two percentiles of an image: of all its pixels, or of windows all over it where it is large."""
    most = SAMPLES * SAMPLE_PX
    if max(image.shape) <= most or min(image.shape) < SAMPLES:
        windows = [Window(0, 0, image.width, image.height)]
    else:
        # One in the middle of each part; at the edges of the image they would count twice.
        height, width = (min(side // SAMPLES, SAMPLE_PX) for side in image.shape)
        tops, lefts = (
            [((2 * i + 1) * side // SAMPLES - size) // 2 for i in range(SAMPLES)]
            for side, size in zip(image.shape, (height, width), strict=True)
        )
        windows = [Window(left, top, width, height) for top in tops for left in lefts]
    seen = []
    for window in windows:
        pixels, valid = read_rgb(image, name, bands, window, REAL_DTYPES)
        seen.append(pixels[held_pixels(pixels, valid)])
    values = np.concatenate(seen)
    if not len(values):
        return AS_IT_IS  # without data no tile is cut from it
    low, high = np.percentile(values, wanted, axis=0)
    return tuple((float(least), float(most)) for least, most in zip(low, high, strict=True))


def to_bytes(pixels: NDArray[np.generic], limits: Range) -> Pixels:
    """(..., 3) values as 1 to 255, linear between the limits of each band; 0 is kept for no data."""
    low, high = (np.array(ends) for ends in zip(*limits, strict=True))
    share = (pixels.astype(np.float64) - low) / np.where(high > low, high - low, 1)
    return np.asarray(np.round(1 + 254 * np.nan_to_num(np.clip(share, 0, 1))), np.uint8)


def planned_grid(own: Grid, place: Location, gsd_m: float) -> Grid:
    """The grid of an image at a ground size: its own if its pixels are of that size, along both axes of a true CRS.

    Otherwise north is up, in its own CRS if that is one of metres on the ground, or in the UTM zone of its middle;
    edges lie on multiples of the ground size, so that the pixels of neighbouring images meet.

    Args:
        own: has a CRS.
        place: of its middle.
        gsd_m: metres.

    Raises:
        GenerateError: it has no place in its zone.
    """
    affine, crs = own.affine, own.crs
    assert crs is not None
    across, down = math.hypot(affine.a, affine.d), math.hypot(affine.b, affine.e)
    in_metres = crs.is_projected and math.isclose(crs.linear_units_factor[1], 1)
    true = in_metres and math.isclose(math.sqrt(across * down), place.pixel_size_m, rel_tol=TRUE_SCALE)
    if true and all(math.isclose(side, gsd_m, rel_tol=SAME_SIZE) for side in (across, down)):
        return own
    zone = int((place.lon + 180) // 6) % 60 + 1
    target = crs if true else CRS.from_epsg((32600 if place.lat >= 0 else 32700) + zone)
    xs, ys = apply(affine, np.array([0.0, own.width, 0, own.width]), np.array([0.0, 0, own.height, own.height]))
    try:
        west, south, east, north = transform_bounds(crs, target, xs.min(), ys.min(), xs.max(), ys.max())
    except (*GDAL_ERRORS, CRSError) as error:
        raise GenerateError(f"an image has no place in {target.to_string()} ({error}). Check its CRS.") from None
    left, top = math.floor(west / gsd_m), math.ceil(north / gsd_m)
    width, height = math.ceil(east / gsd_m) - left, top - math.floor(south / gsd_m)
    return Grid(width, height, target, Affine(gsd_m, 0, left * gsd_m, 0, -gsd_m, top * gsd_m))
