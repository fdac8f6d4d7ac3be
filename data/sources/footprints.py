"""Which scenes show the same ground: footprints on the globe, and the pairs that overlap."""

from collections.abc import Mapping, Sequence

import numpy as np
import shapely
from rasterio import Affine
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from shapely import Polygon, STRtree

from data.imagery.geo import MAX_RESIDUAL_PX, WGS84_WKT, to_degrees

# Neighbours in a mosaic share an edge, which is known up to the residual of the fit: this much is trimmed.
INSET_PX = MAX_RESIDUAL_PX

Overlap = tuple[str, str, float]  # two scene ids in order, and the overlap as a share of the smaller footprint, 0..1


def footprint(affine: Affine, width: int, height: int, crs_wkt: str = WGS84_WKT) -> Polygon | None:
    """The ground of a scene of `width` x `height` px in degrees, `INSET_PX` smaller on every side; None: not on Earth.

    Args:
        affine: pixels to `crs_wkt`.
        width: px.
        height: px.
        crs_wkt: the CRS that `affine` maps to.
    """
    left, top, right, bottom = INSET_PX, INSET_PX, width - INSET_PX, height - INSET_PX
    a, b, c, d, e, f = affine[:6]
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    east, north = zip(*((a * x + b * y + c, d * x + e * y + f) for x, y in corners), strict=True)
    if crs_wkt == WGS84_WKT:
        return Polygon(zip(east, north, strict=True))
    degrees = to_degrees(crs_wkt, east, north)
    return Polygon(np.stack(degrees, axis=1)) if degrees else None


def overlaps(footprints: Mapping[str, Polygon]) -> list[Overlap]:
    """Every two scenes that share ground, sorted by their ids."""
    names = sorted(footprints)
    polygons = np.array([footprints[name] for name in names], dtype=object)
    if not len(polygons):
        return []
    one, other = STRtree(polygons).query(polygons, predicate="intersects")
    one, other = one[one < other], other[one < other]
    shared = shapely.area(shapely.intersection(polygons[one], polygons[other]))
    share = shared / np.minimum(shapely.area(polygons[one]), shapely.area(polygons[other]))
    pairs = ((names[i], names[j], float(part)) for i, j, part in zip(one, other, share, strict=True) if part > 0)
    return sorted(pairs)


def groups(names: Sequence[str], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Map every name to the first name of its connected component; `pairs` are the edges."""
    ordered = sorted(names)
    index = {name: i for i, name in enumerate(ordered)}
    rows, cols = [index[one] for one, _ in pairs], [index[other] for _, other in pairs]
    graph = coo_array((np.ones(len(pairs), bool), (rows, cols)), shape=(len(ordered), len(ordered)))
    _, labels = connected_components(graph, directed=False)
    first: dict[int, str] = {}
    return {name: first.setdefault(int(label), name) for name, label in zip(ordered, labels, strict=True)}
