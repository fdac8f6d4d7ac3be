"""Cut a scene into patches: the windows, the polygons in each, and which patch counts which building."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

from data.errors import DataError
from data.sources.labels import Building, polygonal


@dataclass(frozen=True)
class Window:
    """A square of a scene, in pixels."""

    row: int  # top edge
    col: int  # left edge
    size: int


@dataclass(frozen=True)
class PatchBuilding:
    """The part of a building that lies in a patch."""

    building: Building
    wkt: str  # patch pixels; POLYGON EMPTY if only the centroid of a concave building lies here
    counted: bool


def check_size(size: int) -> None:
    """Stop on a patch size that no latent diffusion model can take."""
    if size < 8 or size % 8:
        raise DataError(f"size is {size}; the VAE needs a positive multiple of 8. Try --size 512 or --size 256.")


def grid(height: int, width: int, size: int) -> list[Window]:
    """The whole windows of the non-overlapping grid; a margin narrower than `size` is left out."""
    rows, cols = range(0, height - size + 1, size), range(0, width - size + 1, size)
    return [Window(row, col, size) for row in rows for col in cols]


def place_buildings(
    buildings: Sequence[Building],
    windows: Sequence[Window],
    height: int,
    width: int,
    picture: tuple[int, int, int, int] | None = None,
) -> tuple[list[list[PatchBuilding]], int]:
    """The buildings of every window, and how many buildings are counted in no window but the margin.

    A building counts in the window of its centroid. Polygons may reach past the picture, so the centroid is first
    moved to its nearest pixel: patches and margins together count every building exactly once. `picture` is the
    (top, left, bottom, right) of the raster of which the scene is a part, in scene pixels; by default the scene itself.
    """
    polygons = np.array([building.polygon for building in buildings], dtype=object)
    centroids = shapely.get_coordinates(shapely.centroid(polygons)) if len(polygons) else np.empty((0, 2))
    top, left, bottom, right = picture or (0, 0, height, width)
    cols, rows = np.clip(np.floor(centroids), (left, top), (right - 1, bottom - 1)).T
    elsewhere = (rows < 0) | (rows >= height) | (cols < 0) | (cols >= width)  # other parts count these
    placed, counted_anywhere = [], elsewhere
    for window in windows:
        in_rows = (window.row <= rows) & (rows < window.row + window.size)
        counted = in_rows & (window.col <= cols) & (cols < window.col + window.size)
        counted_anywhere |= counted
        placed.append(_clip(buildings, polygons, counted, window))
    return placed, int((~counted_anywhere).sum())


def _clip(
    buildings: Sequence[Building], polygons: NDArray[np.object_], counted: NDArray[np.bool_], window: Window
) -> list[PatchBuilding]:
    frame = shapely.box(window.col, window.row, window.col + window.size, window.row + window.size)
    near = np.flatnonzero(shapely.intersects(polygons, frame) | counted)
    parts = shapely.intersection(polygons[near], frame)
    odd = (shapely.get_type_id(parts) != shapely.GeometryType.POLYGON) | (shapely.area(parts) == 0)
    parts[odd] = [polygonal(part) for part in parts[odd]]
    moved = shapely.transform(parts, lambda xy: xy - (window.col, window.row))
    wkts = np.where(shapely.is_empty(parts), "POLYGON EMPTY", shapely.to_wkt(moved, rounding_precision=2))  # 0.01 px
    kept = ~shapely.is_empty(parts) | counted[near]  # the others only touch the frame
    pairs = zip(near[kept].tolist(), wkts[kept], strict=True)
    return [PatchBuilding(buildings[i], str(wkt), bool(counted[i])) for i, wkt in pairs]
