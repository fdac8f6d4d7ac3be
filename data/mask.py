"""Paint building polygons into a damage mask."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from rasterio.features import rasterize
from shapely import MultiPolygon, Polygon

from data.labels import Building
from data.schema import DAMAGE_VALUES

# Where buildings overlap, the later class wins: the worse damage, and any assessable class over un-classified.
PAINT_ORDER = ("un-classified", "no-damage", "minor-damage", "major-damage", "destroyed")


def damage_mask(buildings: Iterable[Building], height: int, width: int) -> NDArray[np.uint8]:
    """Mask of DAMAGE_VALUES, 0 where no building stands.

    A pixel belongs to a building when its centre lies inside the polygon; holes stay background.
    """
    by_class: dict[str, list[Polygon | MultiPolygon]] = {name: [] for name in PAINT_ORDER}
    for building in buildings:
        assert building.subtype is not None, "a damage mask needs the post label"
        by_class[building.subtype].append(building.polygon)
    shapes = [(polygon, DAMAGE_VALUES[name]) for name in PAINT_ORDER for polygon in by_class[name]]
    if not shapes:
        return np.zeros((height, width), np.uint8)
    mask: NDArray[np.uint8] = rasterize(shapes, out_shape=(height, width), fill=0, dtype="uint8", all_touched=False)
    return mask
