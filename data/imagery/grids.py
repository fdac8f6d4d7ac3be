"""The pixel grid of an image on the ground, and another image put onto it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.control import GroundControlPoint
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import CRSError
from rasterio.io import DatasetReader
from rasterio.transform import from_gcps
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from data.errors import DataError
from data.imagery.geo import window_affine
from data.imagery.raster import GDAL_ERRORS, Named, View
from data.schema import DAMAGE_VALUES

UNASSESSABLE = DAMAGE_VALUES["un-classified"]
SAME_PX = 0.01  # grids that differ by less are one
WARP_TOLERANCE_PX = 0.01  # of the approximated coordinate transformation
CONTROL_PX = 1.0  # ground control points that lie farther from one affine map call for a rectification
NO_NAME = CRS.from_wkt('LOCAL_CS["",UNIT["",1]]')  # of a world file, which names no CRS; compared by `is`
_EDGE_STEPS = np.linspace(0, 1, 22)  # the edges of a raster are curves in another CRS


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie on the ground."""

    width: int
    height: int
    crs: CRS | None  # None: the file has no coordinates
    affine: Affine  # pixels to the CRS; (0, 0) is the outer corner of the top-left pixel

    def cut(self, row: int, col: int, height: int, width: int) -> "Grid":
        """The grid of a window."""
        return Grid(width, height, self.crs, window_affine(self.affine, row, col))


def grid_of(dataset: DatasetReader, path: Named) -> Grid:
    """The grid of an open file: by its transform, else by its ground control points."""
    try:
        crs, affine, (points, points_crs) = dataset.crs or None, dataset.transform, dataset.gcps
    except CRSError as error:
        raise DataError(f"{path}: its CRS cannot be read ({error}). Write it again: gdal_edit.py -a_srs.") from None
    if points and affine.is_identity:
        crs, affine = points_crs or None, _through(points, path)
    if not (np.isfinite(affine[:6]).all() and 0 < abs(affine.determinant) < math.inf):
        numbers = ", ".join(f"{number:g}" for number in affine[:6])
        raise DataError(f"{path}: its transform ({numbers}) is singular. Write another: gdal_edit.py -a_ullr.")
    return Grid(dataset.width, dataset.height, crs or (None if affine.is_identity else NO_NAME), affine)


def _through(points: list[GroundControlPoint], path: Named) -> Affine:
    """The affine map of ground control points."""
    affine = from_gcps(points)
    if not affine.is_degenerate:
        xs, ys = (np.array([getattr(point, axis) for point in points]) for axis in "xy")
        cols, rows = apply(~affine, xs, ys)
        off = np.hypot(cols - [point.col for point in points], rows - [point.row for point in points]).max()
        if off > CONTROL_PX:
            raise DataError(
                f"{path}: control points are up to {off:.1f} px from an affine transform. Rectify it: gdalwarp."
            )
    return affine


@contextmanager
def on_grid(dataset: DatasetReader, path: Named, grid: Grid, *, classes: bool = False) -> Iterator[View]:
    """The file as it would look on `grid`: itself if that is its own grid, else warped as it is read.

    Colours are interpolated by cubic convolution, widened where the file is finer than the grid; `classes` takes the
    nearest pixel. Outside the file there is no data (classes: UNASSESSABLE).
    """
    own = grid_of(dataset, path)
    if _is_on(own, path, grid):
        yield dataset
        return
    _covered(own, path, grid)
    settings = {"crs": grid.crs, "transform": grid.affine, "width": grid.width, "height": grid.height}
    settings |= {"src_crs": own.crs, "src_transform": own.affine, "tolerance": WARP_TOLERANCE_PX}
    if classes:
        settings |= {"resampling": Resampling.nearest, "src_nodata": UNASSESSABLE, "nodata": UNASSESSABLE}
    else:
        has_alpha = ColorInterp.alpha in dataset.colorinterp
        settings |= {"resampling": Resampling.cubic, "add_alpha": not has_alpha}
    try:
        warped = WarpedVRT(dataset, **settings)
    except GDAL_ERRORS as error:
        raise DataError(f"{path}: cannot be put onto the grid of pre ({error}). Check its CRS and transform.") from None
    with warped:
        yield warped


def covered(dataset: DatasetReader, path: Path, grid: Grid) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) px of the smallest box on `grid` that contains the file; stops if they do not meet."""
    own = grid_of(dataset, path)
    return (0, 0, grid.height, grid.width) if _is_on(own, path, grid) else _covered(own, path, grid)


def unplaced(dataset: DatasetReader, path: Path, grid: Grid) -> str:
    """The remark on a file assumed to be aligned pixel by pixel though it or `grid` has coordinates; "" for none."""
    own = grid_of(dataset, path)
    if _one_map(own, grid) or (own.crs is None and grid.crs is None):
        return ""
    mine, pre = (
        "no coordinates" if crs is None else "a world file without a CRS" if crs is NO_NAME else "coordinates"
        for crs in (own.crs, grid.crs)
    )
    return (
        f"{path.name} has {mine}, the pre image {pre}: they are assumed to be aligned pixel by pixel. If not, "
        "write both as GeoTIFFs with a CRS and a transform (gdal_translate -a_srs ... -a_ullr ...)."
    )


def _covered(own: Grid, path: Named, grid: Grid) -> tuple[int, int, int, int]:
    cols, rows = _on(grid, own, path, *_outline(own.width, own.height))
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        raise DataError(f"{path}: its outline is outside the domain of the CRS of pre. Check its CRS and transform.")
    top, bottom = (int(row) for row in np.clip((np.floor(rows.min()), np.ceil(rows.max())), 0, grid.height))
    left, right = (int(col) for col in np.clip((np.floor(cols.min()), np.ceil(cols.max())), 0, grid.width))
    if top >= bottom or left >= right:
        raise DataError(f"{path}: does not overlap the pre image. Does it show another place? Check its CRS.")
    return top, left, bottom, right


def _one_map(own: Grid, grid: Grid) -> bool:
    """Whether the coordinates of both can be compared: two CRS, or two transforms without."""
    return own.crs is not None and grid.crs is not None and (own.crs is NO_NAME) == (grid.crs is NO_NAME)


def _is_on(own: Grid, path: Named, grid: Grid) -> bool:
    same_size = (own.width, own.height) == (grid.width, grid.height)
    if not _one_map(own, grid):
        if not same_size:
            raise DataError(
                f"{path}: {own.width} x {own.height} px, but the pre image has {grid.width} x {grid.height} px. "
                "Images of different sizes need a CRS and a transform, both of them: GeoTIFFs."
            )
        return True  # pixel by pixel, as in xView2
    if not same_size or own.crs != grid.crs:
        return False
    corners = np.array([(0, 0), (own.width, 0), (0, own.height), (own.width, own.height)], float).T
    there = np.stack(_on(grid, own, path, *corners))
    return bool(np.abs(there - corners).max() < SAME_PX)


def _on(
    grid: Grid, other: Grid, path: Named, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of `other` as pixels of `grid`."""
    xs, ys = apply(other.affine, cols, rows)
    if other.crs != grid.crs:
        try:
            xs, ys = (np.asarray(axis) for axis in transform(other.crs, grid.crs, xs, ys))
        except GDAL_ERRORS as error:
            raise DataError(f"{path}: has no place in the CRS of pre ({error}). Check its CRS and transform.") from None
    return apply(~grid.affine, xs, ys)


def _outline(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    along, low, high = _EDGE_STEPS, np.zeros_like(_EDGE_STEPS), np.ones_like(_EDGE_STEPS)
    return np.concatenate([along, along, low, high]) * width, np.concatenate([low, high, along, along]) * height


def apply(
    affine: Affine, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points mapped by an affine; infinite where they overflow."""
    a, b, c, d, e, f = affine[:6]
    with np.errstate(invalid="ignore", over="ignore"):  # what is outside the domain of a CRS is infinite
        return a * xs + b * ys + c, d * xs + e * ys + f
