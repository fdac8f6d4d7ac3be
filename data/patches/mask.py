"""Paint building polygons into a damage mask, by one of two rules.

`centre`: a pixel belongs to a building when its centre lies inside the polygon, so that areas are right on average.
`xview2`: as the official target images of xBD are painted, pixel for pixel: corners rounded to whole numbers, which are
the middles of pixels, and the outline included (`cv2.fillPoly`). Half a pixel wider all around.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio import Affine
from rasterio.features import rasterize
from shapely import MultiPolygon, Polygon

from data.options import MaskRule
from data.schema import DAMAGE_VALUES
from data.sources.labels import Building

Mask = NDArray[np.uint8]

# Where buildings overlap, the later class wins: the worse damage, and any assessable class over un-classified.
PAINT_ORDER = ("un-classified", "no-damage", "minor-damage", "major-damage", "destroyed")


def damage_mask(buildings: Iterable[Building], height: int, width: int, rule: MaskRule = "centre") -> Mask:
    """Mask of DAMAGE_VALUES, 0 where there is no building; holes stay background."""
    painted: list[tuple[Polygon | MultiPolygon, str]] = []
    for building in buildings:
        assert building.subtype is not None, "a damage mask needs the post label"
        painted.append((building.polygon, building.subtype))
    if rule == "xview2":
        return _official(painted, height, width)
    painted.sort(key=lambda one: PAINT_ORDER.index(one[1]))
    shapes = [(polygon, DAMAGE_VALUES[subtype]) for polygon, subtype in painted]
    if not shapes:
        return np.zeros((height, width), np.uint8)
    mask: Mask = rasterize(shapes, out_shape=(height, width), fill=0, dtype="uint8", all_touched=False)
    return mask


def _official(painted: Sequence[tuple[Polygon | MultiPolygon, str]], height: int, width: int) -> Mask:
    """In the order of the label file, as the official ones are, but un-classified first."""
    mask = np.zeros((height, width), np.uint8)
    for exact, subtype in sorted(painted, key=lambda one: one[1] != PAINT_ORDER[0]):
        polygon, value = shapely.transform(exact, np.round), DAMAGE_VALUES[subtype]
        _fill(mask, polygon, value)
        for ring in shapely.get_rings(polygon):
            corners = shapely.get_coordinates(ring).astype(np.int64)
            for start, end in pairwise(corners):
                rows, cols = _line(start, end)
                inside = (rows >= 0) & (rows < height) & (cols >= 0) & (cols < width)
                mask[rows[inside], cols[inside]] = value
    return mask


def _fill(mask: Mask, polygon: Polygon | MultiPolygon, value: int) -> None:
    """The pixels whose middles lie inside, in the window of the polygon alone."""
    left, top, right, bottom = (int(edge) for edge in polygon.bounds)
    left, top, right, bottom = max(left, 0), max(top, 0), min(right + 1, mask.shape[1]), min(bottom + 1, mask.shape[0])
    if left >= right or top >= bottom:
        return
    window = mask[top:bottom, left:right]
    middles = Affine.translation(left - 0.5, top - 0.5)
    window[rasterize([(polygon, 1)], out_shape=window.shape, transform=middles, dtype="uint8") == 1] = value


def _line(start: NDArray[np.int64], end: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixels of a line between two (x, y): Bresenham's, from left to right, as OpenCV's."""
    if start[0] > end[0]:
        start, end = end, start
    span = end - start
    length, shorter = np.abs(span).max(), np.abs(span).min()
    steps = np.arange(length + 1)
    # How far it has moved sideways: `shorter / length` a step, rounded to the nearest whole number, halves down.
    sideways = -((length - 2 * shorter * steps) // (2 * max(length, 1)))
    along_x = abs(span[0]) >= abs(span[1])
    dx, dy = (steps, sideways) if along_x else (sideways, steps)
    return start[1] + np.sign(span[1]) * dy, start[0] + dx
