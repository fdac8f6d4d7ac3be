"""Where the buildings of a patch and their damage lie, and how the buildings are arranged, in words.

Positions are shares of the patch, x from its left (west) and y from its top (north) edge: xBD's images are north up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

CENTRE_RADIUS = 1 / 6  # a centroid nearer to the middle than this share of the side lies in the centre
SPREAD_FROM = 0.25  # root mean square distance from the centroid, as a share of the side; 0.41 = all over the patch
CLUSTERED_BELOW, EVEN_ABOVE = -1.96, 1.96  # standard errors of Clark and Evans: 5 % of random patterns lie beyond
EVENLY_FROM = 5  # fewer buildings have no meaningful spacing

COMPASS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")
_MIRRORED = {word: COMPASS[(4 - i) % 8] for i, word in enumerate(COMPASS)}


@dataclass(frozen=True)
class Layout:
    """Words for a patch. A position is one of COMPASS, `centre`, `throughout`, or "" where none fits."""

    buildings: str  # where all buildings lie
    damage: str  # where the damage lies
    intact: str  # where the undamaged buildings lie
    arrangement: str  # "single", "clustered", "scattered", "evenly spaced"; "" without buildings

    def mirrored(self) -> "Layout":
        """The layout of the patch with left and right exchanged."""
        flip = {name: _MIRRORED.get(word, word) for name, word in vars(self).items()}
        return replace(self, **flip)


def position(points: Sequence[tuple[float, float]], weights: Sequence[float]) -> str:
    """Where the weighted points lie: the direction of their centroid from the middle of the patch.

    Near the middle it is `centre` if the points lie close together and `throughout` if they are spread. "" where a
    word would mislead: one or two spread points, less than half of the weight on the side of the centroid, no weight.
    """
    given = [(x, y, weight) for (x, y), weight in zip(points, weights, strict=True) if weight > 0]
    if not given:
        return ""
    x, y, weight = np.array(given).T
    total = weight.sum()  # of whole numbers: half of it is half, whatever the order
    east, north = float(weight @ x / total) - 0.5, 0.5 - float(weight @ y / total)
    if math.hypot(east, north) >= CENTRE_RADIUS:
        on_that_side = (x - 0.5) * east + (0.5 - y) * north > 0
        word = COMPASS[round(math.degrees(math.atan2(north, east)) / 45) % 8]
        return word if 2 * weight[on_that_side].sum() >= total else ""
    spread = math.sqrt(float(weight @ ((x - 0.5 - east) ** 2 + (y - 0.5 + north) ** 2) / total))
    if spread < SPREAD_FROM:
        return "centre"
    return "throughout" if len(given) > 2 else ""


def arrangement(points: Sequence[tuple[float, float]]) -> str:
    """The arrangement of points: `single`, `clustered`, `scattered`, `evenly spaced`; "" without points."""
    if len(points) < 2:
        return "single" if points else ""
    deviation = clark_evans_z(points)
    if deviation < CLUSTERED_BELOW:
        return "clustered"
    return "evenly spaced" if deviation > EVEN_ABOVE and len(points) >= EVENLY_FROM else "scattered"


def clark_evans_z(points: ArrayLike) -> float:
    """Clark and Evans (1954): how far the mean distance to the nearest neighbour is from that of random points.

    In standard errors, below 0 for clusters; in a square of side 1, with the correction of Donnelly (1978) for
    neighbours that lie beyond its edge. Needs two points.
    """
    points = np.asarray(points, dtype=float)
    count, area, perimeter = len(points), 1.0, 4.0
    distances, _ = KDTree(points).query(points, k=2)
    expected = 0.5 * math.sqrt(area / count) + (0.0514 + 0.041 / math.sqrt(count)) * perimeter / count
    variance = 0.0703 * area / count**2 + 0.037 * perimeter * math.sqrt(area / count**5)
    return (float(distances[:, 1].mean()) - expected) / math.sqrt(variance)
