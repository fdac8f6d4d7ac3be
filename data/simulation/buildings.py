"""The buildings of a simulated scene: where they stand, their outline, roof and weakness."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon, box
from shapely.ops import unary_union

from data.simulation.events import Climate, Colour
from data.simulation.paint import PIXEL_SIZE_M, SIZE_PX, Floats, Ints, cover, polygon_at
from data.simulation.terrain import Grid

LOT_PX = (34.0, 48.0)  # street front of a house, 17 to 24 m
SETBACK_PX = (10.0, 17.0)  # from the street's edge to the house
SMALLEST_PX = 60.0  # area below which a footprint cut by the border is no building any more


@dataclass(frozen=True)
class Wing:
    """A rectangle of a building: centre, half length and half width in px, angle in radians."""

    x: float
    y: float
    half_length: float
    half_width: float
    angle: float

    def corners(self) -> NDArray[np.float64]:
        """The four corners, x and y."""
        along = np.array([np.cos(self.angle), np.sin(self.angle)])
        side = np.array([-along[1], along[0]])
        signs = ((1, 1), (1, -1), (-1, -1), (-1, 1))
        return np.array(
            [(self.x, self.y) + a * self.half_length * along + b * self.half_width * side for a, b in signs]
        )


@dataclass(frozen=True)
class Building:
    """One building. `weakness` multiplies what the disaster does to it; a viewer can read it from the roof."""

    polygon: Polygon  # footprint in px, inside the image
    wings: tuple[Wing, ...]
    roof: Colour
    flat: bool
    eave_m: float
    weakness: float
    driveway: Wing | None


def place_houses(
    rng: np.random.Generator, climate: Climate, streets: Grid, street_half_px: float, wanted: Floats,
    taken: NDArray[np.bool_],
) -> list[Building]:  # fmt: skip
    """Houses in rows along the streets, where `wanted` is high and nothing stands yet."""
    houses: list[Building] = []
    for p, q, side, lot in _lots(rng, streets):
        depth, length = rng.uniform(15, 23), rng.uniform(0.55, 0.72) * lot
        q_house = q + side * (street_half_px + rng.uniform(*SETBACK_PX) + depth / 2)
        x, y = streets.locate(p, q_house)
        if not (-10 < x < SIZE_PX + 10 and -10 < y < SIZE_PX + 10):
            continue
        row, col = int(np.clip(y, 0, SIZE_PX - 1)), int(np.clip(x, 0, SIZE_PX - 1))
        if rng.random() > wanted[row, col]:
            continue
        ahead = streets.locate(p + 12, q_house)
        angle = float(np.arctan2(ahead[1] - y, ahead[0] - x)) + rng.normal(0, 0.03)
        street = streets.locate(p, q)
        house = _house(rng, climate, (x, y), angle, (length, depth), (street[0] - x, street[1] - y))
        if house is not None and _claim(house, taken):
            houses.append(house)
    return houses


def _lots(rng: np.random.Generator, streets: Grid) -> Iterator[tuple[float, float, int, float]]:
    """Grid position p, street q, side of the street and width of every lot of the grid."""
    reach = 2 * SIZE_PX
    for line in range(int(-reach / streets.cell_q_px), int(reach / streets.cell_q_px)):
        for side in (-1, 1):
            p = -float(reach)
            while p < reach:
                lot = rng.uniform(*LOT_PX)
                inside = (p / streets.cell_p_px) % 1 * streets.cell_p_px
                if 18 < inside < streets.cell_p_px - 18 - lot:  # cross streets stay free
                    yield p + lot / 2, line * streets.cell_q_px, side, lot
                p += lot


def _house(
    rng: np.random.Generator,
    climate: Climate,
    centre: tuple[float, float],
    angle: float,
    size: tuple[float, float],
    to_street: tuple[float, float],
) -> Building | None:
    """A gabled house, every third one L-shaped, with a driveway to the street."""
    length, depth = size
    if rng.random() < 0.25:  # some turn their narrow side to the street
        angle, length, depth = angle + np.pi / 2, min(length, 24.0), max(depth, 18.0)
    wings = [Wing(*centre, length / 2, depth / 2, angle)]
    along, side = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    if rng.random() < 0.35:
        x, y = np.array(centre) + rng.choice([-1, 1]) * length * 0.27 * along + rng.choice([-1, 1]) * depth * 0.4 * side
        wings.append(Wing(x, y, depth * 0.55, length * 0.21, angle + np.pi / 2))
    choice = int(rng.integers(len(climate.roofs)))
    colour, weakness = climate.roofs[choice]
    shade = rng.uniform(0.82, 1.15)
    way = np.array(to_street)
    beside = np.array([-way[1], way[0]]) / np.hypot(*way) * length * rng.uniform(-0.4, 0.4)
    x, y = np.array(centre) + beside + way / 2
    drive = Wing(x, y, float(np.hypot(*way)) / 2, 3.5, float(np.arctan2(way[1], way[0])))
    return _building(
        wings,
        (colour[0] * shade, colour[1] * shade, colour[2] * shade),
        flat=False,
        eave_m=rng.uniform(2.6, 4.5),
        weakness=float(np.clip(weakness + rng.normal(0, 0.08), 0, 1)),
        driveway=drive,
    )


def hall(
    rng: np.random.Generator, centre: tuple[float, float], angle: float, size: tuple[float, float], climate: Climate
) -> Building | None:
    """A big flat-roofed building: a shop, a school, a factory."""
    wings = [Wing(*centre, size[0] / 2, size[1] / 2, angle)]
    if rng.random() < 0.4:
        x, y = np.array(centre) + np.array([np.cos(angle), np.sin(angle)]) * size[0] * 0.3
        wings.append(Wing(x, y, size[0] * 0.2, size[1] * 0.62, angle))
    grey = rng.uniform(120, 215)
    tint = rng.uniform(-8, 8)
    return _building(
        wings, (grey + tint, grey, grey - tint), flat=True, eave_m=rng.uniform(5, 9), weakness=rng.uniform(0.2, 0.5),
        driveway=None,
    )  # fmt: skip


def farmstead(rng: np.random.Generator, climate: Climate, centre: tuple[float, float]) -> list[Building]:
    """A house with one to three barns around a yard."""
    angle = rng.uniform(0, np.pi)
    yard = (40 * np.cos(angle), 40 * np.sin(angle))
    found: list[Building | None] = [_house(rng, climate, centre, angle, (rng.uniform(24, 34), 19), yard)]
    for _ in range(int(rng.integers(1, 4))):
        turn = rng.uniform(0, 2 * np.pi)
        spot = (centre[0] + 58 * np.cos(turn), centre[1] + 58 * np.sin(turn))
        size = (rng.uniform(34, 64), rng.uniform(20, 30))
        found.append(hall(rng, spot, angle + rng.choice([0, np.pi / 2]), size, climate))
    return [building for building in found if building is not None]


def _building(
    wings: list[Wing], roof: Colour, *, flat: bool, eave_m: float, weakness: float, driveway: Wing | None
) -> Building | None:
    footprint = unary_union([Polygon(wing.corners()) for wing in wings]).intersection(box(0, 0, SIZE_PX, SIZE_PX))
    if not isinstance(footprint, Polygon) or footprint.area < SMALLEST_PX:
        return None
    return Building(Polygon(footprint.exterior), tuple(wings), roof, flat, eave_m, weakness, driveway)


def _claim(building: Building, taken: NDArray[np.bool_]) -> bool:
    """Mark the ground of a building (with a margin) as taken; False if something is there already."""
    grown = building.polygon.buffer(3, join_style="mitre")
    ground = polygon_at(np.asarray(grown.exterior.coords))
    if taken[ground].any():
        return False
    taken[ground] = True
    return True


def claim_all(buildings: list[Building], taken: NDArray[np.bool_]) -> list[Building]:
    """Those of the buildings, in order, that find free ground."""
    return [building for building in buildings if _claim(building, taken)]


def building_ids(buildings: list[Building]) -> Ints:
    """Which building covers each pixel: index + 1, 0 for none."""
    ids = np.zeros((SIZE_PX, SIZE_PX), np.int32)
    for number, building in enumerate(buildings, start=1):
        ids[polygon_at(np.asarray(building.polygon.exterior.coords))] = number
    return ids


def raise_roofs(
    rng: np.random.Generator, buildings: list[Building], ids: Ints, albedo: Floats, objects_m: Floats, wear: Floats
) -> None:
    """Paint every roof: its colour with courses of tiles or sheets, its height as gable or flat."""
    for number, building in enumerate(buildings, start=1):
        left, top, right, bottom = (int(edge) for edge in building.polygon.bounds)
        window = (slice(max(top - 1, 0), min(bottom + 2, SIZE_PX)), slice(max(left - 1, 0), min(right + 2, SIZE_PX)))
        mine = ids[window] == number
        rows, cols = np.mgrid[window].astype(np.float32) + 0.5
        height = np.zeros(mine.shape, np.float32)
        tone = np.ones(mine.shape, np.float32)
        for wing in building.wings:
            cosine, sine = np.cos(wing.angle), np.sin(wing.angle)
            u = (cols - wing.x) * cosine + (rows - wing.y) * sine
            v = (rows - wing.y) * cosine - (cols - wing.x) * sine
            inside = (np.abs(u) <= wing.half_length + 0.7) & (np.abs(v) <= wing.half_width + 0.7)
            pitch = 0.0 if building.flat else 0.55 * PIXEL_SIZE_M
            lift = np.where(inside, building.eave_m + pitch * np.clip(wing.half_width - np.abs(v), 0, None), 0)
            higher = lift > height
            height[higher] = lift[higher]
            course = 0.05 * np.sin(u * (2 * np.pi / (9 if building.flat else 4.0)))
            ridge = 0.12 * (np.abs(v) < 0.8) * (not building.flat)
            tone[higher] = (1 + course + ridge)[higher]
        if building.flat:
            _clutter(rng, mine, tone, height)
        tone *= 1 + 0.06 * wear[window]
        cover(albedo[window], np.asarray(building.roof, np.float32) * tone[..., None], mine.astype(np.float32))
        objects_m[window] = np.where(mine, height, objects_m[window])


def _clutter(rng: np.random.Generator, mine: NDArray[np.bool_], tone: Floats, height: Floats) -> None:
    """Machines and skylights on a flat roof."""
    for _ in range(max(2, int(mine.sum() / 500))):
        row, col = int(rng.integers(mine.shape[0])), int(rng.integers(mine.shape[1]))
        spot = (slice(row, row + int(rng.integers(2, 6))), slice(col, col + int(rng.integers(2, 6))))
        tone[spot] *= rng.choice([0.65, 1.25])
        height[spot] += 1.2
