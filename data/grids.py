"""The pixel grid of an image on the ground, and another image put onto it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, Resampling
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform

from data.errors import DataError
from data.geo import window_affine
from data.raster import View
from data.schema import DAMAGE_VALUES

UNASSESSABLE = DAMAGE_VALUES["un-classified"]
SAME_PX = 0.01  # grids that differ by less are one
WARP_TOLERANCE_PX = 0.01  # of the approximated coordinate transformation
_EDGE_STEPS = np.linspace(0, 1, 22)  # the edges of a raster are curves in another CRS


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an image lie."""

    width: int
    height: int
    crs: CRS | None  # None: nothing tells
    affine: Affine  # pixels to the CRS; (0, 0) is the outer corner of the top-left pixel

    def cut(self, row: int, col: int, height: int, width: int) -> "Grid":
        """The grid of a window."""
        return Grid(width, height, self.crs, window_affine(self.affine, row, col))


def grid_of(dataset: DatasetReader) -> Grid:
    """The grid of an open file."""
    return Grid(dataset.width, dataset.height, dataset.crs or None, dataset.transform)


@contextmanager
def on_grid(dataset: DatasetReader, path: Path, grid: Grid, *, classes: bool = False) -> Iterator[View]:
    """The file as it would look on `grid`: itself if that is its own grid, else warped as it is read.

    Colours are interpolated by cubic convolution, widened where the file is finer than the grid; `classes` takes the
    nearest pixel. Outside the file there is no data (classes: UNASSESSABLE).
    """
    if _is_on(dataset, path, grid):
        yield dataset
        return
    settings = {"crs": grid.crs, "transform": grid.affine, "width": grid.width, "height": grid.height}
    settings |= {"tolerance": WARP_TOLERANCE_PX}
    if classes:
        settings |= {"resampling": Resampling.nearest, "src_nodata": UNASSESSABLE, "nodata": UNASSESSABLE}
    else:
        has_alpha = ColorInterp.alpha in dataset.colorinterp
        settings |= {"resampling": Resampling.cubic, "add_alpha": not has_alpha}
    try:
        warped = WarpedVRT(dataset, **settings)
    except RasterioError as error:
        raise DataError(f"{path}: cannot be put onto the grid of pre ({error}). Check its CRS and transform.") from None
    with warped:
        yield warped


def covered(dataset: DatasetReader, path: Path, grid: Grid) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) px of the smallest box on `grid` that holds all of the file; empty if it is beside."""
    if _is_on(dataset, path, grid):
        return 0, 0, grid.height, grid.width
    cols, rows = _on(grid, grid_of(dataset), *_outline(dataset.width, dataset.height))
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        raise DataError(f"{path}: its outline has no place in the CRS of pre. Check its CRS and transform.")
    top, bottom = (int(row) for row in np.clip((np.floor(rows.min()), np.ceil(rows.max())), 0, grid.height))
    left, right = (int(col) for col in np.clip((np.floor(cols.min()), np.ceil(cols.max())), 0, grid.width))
    if top >= bottom or left >= right:
        raise DataError(f"{path}: does not touch the ground of the pre image. Is it of another place? Check its CRS.")
    return top, left, bottom, right


def _is_on(dataset: DatasetReader, path: Path, grid: Grid) -> bool:
    own = grid_of(dataset)
    same_size = (own.width, own.height) == (grid.width, grid.height)
    if own.crs is None or grid.crs is None:
        if not same_size:
            raise DataError(
                f"{path}: {own.width} x {own.height} px, but the pre image has {grid.width} x {grid.height} px. "
                "Images of different sizes need a CRS and a transform, both of them: GeoTIFFs."
            )
        return True  # pixel by pixel, as in xView2
    if not same_size or own.crs != grid.crs:
        return False
    corners = np.array([(0, 0), (own.width, 0), (0, own.height), (own.width, own.height)], float).T
    there = np.stack(_on(grid, own, *corners))
    return bool(np.abs(there - corners).max() < SAME_PX)


def _on(
    grid: Grid, other: Grid, cols: NDArray[np.float64], rows: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pixels of `other` as pixels of `grid`."""
    xs, ys = _apply(other.affine, cols, rows)
    if other.crs != grid.crs:
        xs, ys = (np.asarray(axis) for axis in transform(other.crs, grid.crs, xs, ys))
    return _apply(~grid.affine, xs, ys)


def _outline(width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    along, low, high = _EDGE_STEPS, np.zeros_like(_EDGE_STEPS), np.ones_like(_EDGE_STEPS)
    return np.concatenate([along, along, low, high]) * width, np.concatenate([low, high, along, along]) * height


def _apply(
    affine: Affine, xs: NDArray[np.float64], ys: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    a, b, c, d, e, f = affine[:6]
    return a * xs + b * ys + c, d * xs + e * ys + f
