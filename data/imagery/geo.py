"""Where a scene lies: an affine map from scene pixels to degrees, fitted to the label polygons, or a GeoTIFF's own map.

xBD lists every polygon twice, in pixels (`xy`) and in degrees (`lng_lat`). Over one scene the map between the two
is affine to about 0.02 px. Pixel coordinates are rasterio's: (0, 0) is the outer corner of the top-left pixel.
"""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from data.errors import DataError
from data.imagery.raster import GDAL_ERRORS

# As rasterio writes EPSG:4326. Looking the code up needs PROJ's database, which not every command does.
WGS84_WKT = (
    'GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563,AUTHORITY["EPSG","7030"]],'
    'AUTHORITY["EPSG","6326"]],PRIMEM["Greenwich",0,AUTHORITY["EPSG","8901"]],UNIT["degree",0.0174532925199433,'
    'AUTHORITY["EPSG","9122"]],AXIS["Latitude",NORTH],AXIS["Longitude",EAST],AUTHORITY["EPSG","4326"]]'
)
WGS84 = CRS.from_wkt(WGS84_WKT)
Degrees = NDArray[np.float64]
# A worse fit means that xy and lng_lat do not describe the same ground.
MAX_RESIDUAL_PX = 2.0

PLAUSIBLE_PIXEL_M = (0.001, 1000.0)  # no image of buildings has smaller or larger ones

_SEMI_MAJOR_M = 6_378_137.0  # WGS84
_ECCENTRICITY_SQUARED = 6.694379990141e-3


@dataclass(frozen=True)
class Georeference:
    """Scene pixels to degrees (longitude, latitude)."""

    affine: Affine
    residual_px: float  # largest distance between a vertex and its fitted place
    fault: str  # why it cannot be where the scene lies; "" if it can


@dataclass(frozen=True)
class Location:
    """What is known of the place of a scene or patch. Unknown numbers are NaN."""

    # "tile": from its own polygons; "raster": from its GeoTIFF; "event": mean of the event's other scenes; "unknown"
    source: str
    lon: float
    lat: float
    pixel_size_m: float
    affine: Affine | None  # only with source "tile" or "raster": an event's mean place is no georeference
    crs_wkt: str = WGS84_WKT  # what `affine` maps to


SAME_SIZE = 1.25  # largest over smallest pixel of one sensor's images, which depends on the off-nadir angle
UNKNOWN = Location("unknown", math.nan, math.nan, math.nan, None)


def check_proj() -> None:
    """Stop where PROJ cannot read its database: coordinate systems would silently be misread."""
    try:
        CRS.from_epsg(4326)
    except CRSError as error:
        unset = " and ".join(f"{name}={os.environ[name]}" for name in ("PROJ_DATA", "PROJ_LIB") if name in os.environ)
        advice = "Unset it here: it belongs to another program" if unset else "pip install --force-reinstall rasterio"
        raise DataError(f"PROJ cannot read its database ({unset or error}). {advice}.") from None


def to_degrees(crs_wkt: str, xs: Sequence[float], ys: Sequence[float]) -> tuple[Degrees, Degrees] | None:
    """Points of any CRS as WGS84 longitudes and latitudes; None if one of them is not on Earth."""
    try:
        lons, lats = (np.array(axis) for axis in transform(CRS.from_wkt(crs_wkt), WGS84, xs, ys))
    except (*GDAL_ERRORS, CRSError):
        return None
    on_earth = np.isfinite(lons).all() and np.isfinite(lats).all() and np.abs(lats).max() <= 90
    return (lons, lats) if on_earth else None


def fit_georeference(control_points: NDArray[np.float64]) -> Georeference | None:
    """Least-squares affine map through (x, y, lon, lat) points; None where they do not determine one."""
    if len(control_points) < 3:
        return None
    # Centred, so that degrees keep their last digits in the normal equations.
    centre = control_points.mean(axis=0)
    pixels, degrees = np.hsplit(control_points - centre, 2)
    linear, _, rank, _ = np.linalg.lstsq(pixels, degrees, rcond=1e-6)
    if rank < 2 or abs(np.linalg.det(linear)) < 1e-16:
        return None
    residual = (degrees - pixels @ linear) @ np.linalg.inv(linear)
    (a, d), (b, e) = linear
    c, f = centre[2:] - centre[:2] @ linear
    affine, residual_px = Affine(a, b, c, d, e, f), float(np.linalg.norm(residual, axis=1).max())
    return Georeference(affine, residual_px, _fault(affine, residual_px, control_points[:, 2:]))


def _fault(affine: Affine, residual_px: float, degrees: NDArray[np.float64]) -> str:
    """Degrees are (n, 2): longitude, latitude."""
    lon, lat = degrees[np.abs(degrees).argmax(axis=0), [0, 1]]
    if abs(lat) > 90 or abs(lon) > 180:
        return f"longitude {lon:.6g} and latitude {lat:.6g} are nowhere on Earth; are they swapped, or not in degrees?"
    if residual_px > MAX_RESIDUAL_PX:
        return f"xy and lng_lat disagree by up to {residual_px:.1f} px"
    if affine.determinant > 0:  # x points right, y down: east and north turn the other way round
        return "the scene would be seen mirrored; are longitude and latitude swapped, or is a sign wrong?"
    least, most = PLAUSIBLE_PIXEL_M
    if not least <= (size := pixel_size_m(affine, float(degrees[:, 1].mean()))) <= most:
        return f"a pixel would be {size:.3g} m wide; are these degrees?"
    return ""


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Metres per degree of longitude and of latitude on the WGS84 ellipsoid."""
    sin_squared = math.sin(math.radians(lat)) ** 2
    prime_vertical = _SEMI_MAJOR_M / math.sqrt(1 - _ECCENTRICITY_SQUARED * sin_squared)
    meridian = prime_vertical * (1 - _ECCENTRICITY_SQUARED) / (1 - _ECCENTRICITY_SQUARED * sin_squared)
    return math.radians(prime_vertical * math.cos(math.radians(lat))), math.radians(meridian)


def pixel_size_m(affine: Affine, lat: float) -> float:
    """Side of a pixel in metres: the geometric mean of its two axes, which differ away from the equator."""
    per_lon, per_lat = metres_per_degree(lat)
    x_axis = math.hypot(affine.a * per_lon, affine.d * per_lat)
    y_axis = math.hypot(affine.b * per_lon, affine.e * per_lat)
    return math.sqrt(x_axis * y_axis)


def window_affine(affine: Affine, row: int, col: int) -> Affine:
    """The affine map of a window whose top-left corner is at (col, row) of the scene."""
    a, b, c, d, e, f = affine[:6]
    return Affine(a, b, a * col + b * row + c, d, e, d * col + e * row + f)


def locate(affine: Affine, width: int, height: int) -> Location:
    """The location of a window whose own pixels `affine` maps to degrees."""
    lon = affine.a * width / 2 + affine.b * height / 2 + affine.c
    lat = affine.d * width / 2 + affine.e * height / 2 + affine.f
    return Location("tile", lon, lat, pixel_size_m(affine, lat), affine)


def locate_raster(affine: Affine, crs_wkt: str, width: int, height: int) -> Location | None:
    """The location of a window whose own pixels `affine` maps to a CRS of any kind; None if that is not on Earth.

    The pixel size is that on the ground, not in the units of the CRS: a metre of Web Mercator is less than one.
    """
    middles = np.array([(1, 1), (0, 1), (2, 1), (1, 0), (1, 2)]) * (width / 2, height / 2)
    xs = [affine.a * x + affine.b * y + affine.c for x, y in middles]
    ys = [affine.d * x + affine.e * y + affine.f for x, y in middles]
    if (degrees := to_degrees(crs_wkt, xs, ys)) is None:
        return None
    lons, lats = degrees
    east = (np.array([lons[2] - lons[1], lons[4] - lons[3]]) + 180) % 360 - 180  # the short way across the date line
    north = np.array([lats[2] - lats[1], lats[4] - lats[3]])
    (a, b), (d, e) = east / (width, height), north / (width, height)
    size = pixel_size_m(Affine(a, b, 0, d, e, 0), lats[0])
    return Location("raster", float(lons[0]), float(lats[0]), size, affine, crs_wkt)


def mean_location(locations: Sequence[Location]) -> Location:
    """The location that a scene without polygons takes from its event; longitudes averaged across the date line.

    The pixel size is unknown where scenes of the event differ by more than SAME_SIZE.
    """
    if not locations:
        return UNKNOWN
    angles = np.radians([place.lon for place in locations])
    lon = math.degrees(math.atan2(np.sin(angles).mean(), np.cos(angles).mean()))
    lat = float(np.mean([place.lat for place in locations]))
    sizes = [place.pixel_size_m for place in locations]
    size = float(np.mean(sizes)) if max(sizes) <= SAME_SIZE * min(sizes) else math.nan
    return Location("event", lon, lat, size, None)
