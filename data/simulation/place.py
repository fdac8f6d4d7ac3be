"""The place of a simulated scene before the disaster: ground, roads, buildings, trees, as one surface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from data.simulation.buildings import (
    Building,
    Wing,
    building_ids,
    claim_all,
    farmstead,
    hall,
    place_houses,
    raise_roofs,
)
from data.simulation.events import Climate, Event
from data.simulation.ground import PAVED, block_cells, draw_blocks, fill_water, paint_blocks, paint_ground, pave
from data.simulation.paint import SIZE_PX, Floats, Ints, Trees, cover, grain, noise, polygon_at, ramp, stamp_trees
from data.simulation.terrain import Grid, Terrain, lay_grid, shape_terrain, winding_line

# How much of the ground is built on, and how often a scene is so: name -> (share of land settled, probability).
DENSITIES = {"empty": (0.0, 0.12), "rural": (0.08, 0.23), "suburb": (0.45, 0.35), "town": (0.78, 0.30)}
STREET_HALF_PX = 6.5  # 6.5 m wide
MAIN_ROAD_HALF_PX = 10.0


@dataclass
class Place:
    """A surface ready to be lit, and what is known of it."""

    terrain: Terrain
    climate: Climate
    buildings: list[Building]
    building_ids: Ints
    trees: Trees
    tree_ids: Ints
    tree_m: Floats  # height of the crowns
    albedo: Floats
    objects_m: Floats  # height of buildings and crowns over the ground
    bare: Floats  # albedo without crowns: what stands to view when trees fall
    bare_m: Floats
    road: Floats  # 0..1
    green: Floats  # how much burnable plants cover the ground, 0..1
    settled: Floats  # 0..1

    def mean_by_building(self, field: Floats) -> NDArray[np.float64]:
        """The mean of a field over the footprint of every building."""
        inside, count = self.building_ids.ravel(), len(self.buildings) + 1
        pixels = np.bincount(inside, minlength=count)
        return (np.bincount(inside, field.ravel(), count) / np.maximum(pixels, 1))[1:]


def make_place(rng: np.random.Generator, event: Event) -> Place:
    """Draw a place in the event's landscape."""
    terrain = shape_terrain(rng, event)
    climate = event.climate
    names = list(DENSITIES)
    density = str(rng.choice(names, p=[DENSITIES[name][1] for name in names]))
    land = 1 - terrain.water
    settled = _settlement(rng, terrain, DENSITIES[density][0])
    forest = _forest(rng, terrain, settled)
    streets = lay_grid(rng, rng.uniform(230, 420), rng.uniform(128, 165), 22)
    road, main_road = _roads(rng, terrain, streets, settled, density)
    albedo, green = paint_ground(rng, climate, terrain, forest, settled)
    blocks = draw_blocks(rng, streets)
    paint_blocks(rng, climate, streets, blocks, settled * land, albedo, green)
    taken = (road > 0.3) | (terrain.shore_px < 9)
    buildings = _settle(rng, climate, streets, blocks, density, settled, taken, (terrain, forest))
    cover(albedo, np.asarray(climate.road) * 1.18, _driveways(buildings) * land * (1 - road))
    pave(rng, climate, albedo, road, main_road, settled)
    green *= (1 - road) * land
    fill_water(rng, climate, terrain, albedo, np.maximum(road * main_road, 0))
    ids = building_ids(buildings)
    objects = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    raise_roofs(rng, buildings, ids, albedo, objects, noise(rng, 64, 3))
    _park_cars(rng, streets, albedo, objects, road, ids)
    open_ground = (ids == 0) & (road < 0.2) & (terrain.shore_px > 4)
    trees = _plant(rng, climate, streets, forest, settled, blocks, open_ground)
    tree_m, tree_ids = stamp_trees(trees, rng)
    bare, bare_m = albedo.copy(), objects.copy()
    crown = tree_m > objects
    tree_ids = np.where(crown, tree_ids, 0).astype(np.int32)
    leaf = np.vstack([np.zeros((1, 3), np.float32), trees.colour])[tree_ids] * (1 + 0.14 * grain(rng, 0.8)[..., None])
    albedo[crown] = leaf[crown]
    return Place(
        terrain, climate, buildings, ids, trees, tree_ids, tree_m, albedo, np.maximum(objects, tree_m), bare, bare_m,
        road, np.maximum(green, crown.astype(np.float32)), settled,
    )  # fmt: skip


def _settlement(rng: np.random.Generator, terrain: Terrain, share: float) -> Floats:
    """Where people have built: on dry, fairly level ground, in one or two clusters."""
    if share == 0:
        return np.zeros((SIZE_PX, SIZE_PX), np.float32)
    wish = noise(rng, 2, octaves=3, gain=0.3) + 1.2 * ramp(terrain.slope, 0.4, 0.1)
    wish[terrain.shore_px < 12] = -9
    return ramp(wish - np.float32(np.quantile(wish, 1 - share)), -0.06, 0.06)


def _forest(rng: np.random.Generator, terrain: Terrain, settled: Floats) -> Floats:
    """Density of trees: more on slopes and along streams, few between houses."""
    wish = noise(rng, 4, octaves=4) + 1.5 * ramp(terrain.slope, 0.15, 0.4) + 0.7 * ramp(terrain.shore_px, 60, 10)
    threshold = rng.uniform(0.2, 1.1)
    return ramp(wish, threshold, threshold + 0.25) * (1 - settled) * (1 - terrain.water)


def _roads(
    rng: np.random.Generator, terrain: Terrain, streets: Grid, settled: Floats, density: str
) -> tuple[Floats, Floats]:
    """All roads (0..1), and the main road alone; it crosses a river on a bridge but no lake or sea."""
    main = ramp(winding_line(rng, terrain), MAIN_ROAD_HALF_PX + 0.7, MAIN_ROAD_HALF_PX - 0.7)
    if terrain.water_kind in ("lake", "coast"):
        main *= ramp(terrain.shore_px, 4, 8)
    if density == "empty" and rng.random() < 0.6:
        main *= 0
    p, q = streets.coordinates()
    from_line = np.minimum(
        np.abs(p - np.round(p / streets.cell_p_px) * streets.cell_p_px),
        np.abs(q - np.round(q / streets.cell_q_px) * streets.cell_q_px),
    )
    near = ramp(gaussian_filter(settled, 6), 0.25, 0.4) * ramp(terrain.shore_px, 8, 14)
    street = ramp(from_line, STREET_HALF_PX + 0.7, STREET_HALF_PX - 0.7) * near
    return np.maximum(main, street), main


def _settle(
    rng: np.random.Generator, climate: Climate, streets: Grid, blocks: NDArray[np.int64], density: str,
    settled: Floats, taken: NDArray[np.bool_], land: tuple[Terrain, Floats],
) -> list[Building]:  # fmt: skip
    """All buildings: farms in the open, halls on paved blocks, houses on the rest."""
    if density == "empty":
        return []
    terrain, forest = land
    buildings: list[Building] = []
    for _ in range(int(rng.integers(2, 5)) if density == "rural" else int(rng.integers(0, 3))):
        x, y = rng.uniform(60, SIZE_PX - 60, 2)
        at = (int(y), int(x))
        if terrain.shore_px[at] > 40 and terrain.slope[at] < 0.25 and forest[at] < 0.5:
            buildings += claim_all(farmstead(rng, climate, (x, y)), taken)
    i, j, _, _ = block_cells(streets)
    kind = blocks[i, j]
    halls = _halls(rng, climate, streets, blocks, settled)
    buildings += claim_all(halls, taken)
    share = np.array([0.93, 0.85, 0.0, 0.0], np.float32)[kind]
    return buildings + place_houses(rng, climate, streets, STREET_HALF_PX, settled * share, taken)


def _halls(
    rng: np.random.Generator, climate: Climate, streets: Grid, blocks: NDArray[np.int64], settled: Floats
) -> list[Building]:
    found: list[Building | None] = []
    for i in range(-12, 13):
        for j in range(-16, 17):
            if blocks[i % 64, j % 64] != PAVED:
                continue
            for part in (0.24, 0.56, 0.84):
                x, y = streets.locate((i + part) * streets.cell_p_px, (j + rng.uniform(0.4, 0.6)) * streets.cell_q_px)
                if 0 < x < SIZE_PX and 0 < y < SIZE_PX and settled[int(y), int(x)] > 0.9:
                    size = (streets.cell_p_px * rng.uniform(0.2, 0.32), streets.cell_q_px * rng.uniform(0.3, 0.48))
                    found.append(hall(rng, (x, y), streets.angle, size, climate))
    return [building for building in found if building is not None]


def _driveways(buildings: list[Building]) -> Floats:
    canvas = Image.new("L", (SIZE_PX, SIZE_PX))
    draw = ImageDraw.Draw(canvas)
    for building in buildings:
        if building.driveway is not None:
            draw.polygon([tuple(corner) for corner in building.driveway.corners()], fill=255)
    return np.asarray(canvas, np.float32) / np.float32(255)


def _park_cars(
    rng: np.random.Generator, streets: Grid, albedo: Floats, objects: Floats, road: Floats, ids: Ints
) -> None:
    """Cars stand along the streets."""
    spots = np.argwhere((road > 0.9) & (ids == 0))
    if not len(spots):
        return
    colours = np.array([(215, 215, 215), (60, 60, 66), (150, 152, 156), (150, 44, 40), (50, 74, 120)], np.float32)
    for row, col in spots[rng.integers(len(spots), size=len(spots) // 1500)]:
        wing = Wing(float(col), float(row), 4.2, 1.9, streets.angle + (np.pi / 2 if rng.random() < 0.4 else 0.0))
        body = polygon_at(wing.corners())
        albedo[body] = colours[rng.integers(len(colours))]
        objects[body] = 1.4


def _plant(
    rng: np.random.Generator, climate: Climate, streets: Grid, forest: Floats, settled: Floats,
    blocks: NDArray[np.int64], open_ground: NDArray[np.bool_],
) -> Trees:  # fmt: skip
    """Crowns on a jittered lattice, kept with the local density of trees; orchards stay on their lattice."""
    spacing = rng.uniform(9.5, 12.5)
    i, j, _, _ = block_cells(streets)
    garden = np.array([0.085, 0.05, 0.012, 0.22], np.float32)[blocks[i, j]] * rng.uniform(0.5, 1.5)
    scattered = 0.006 + 0.03 * ramp(noise(rng, 8, 3), 0.8, 1.6)
    garden = garden * (0.15 + 1.5 * ramp(noise(rng, 20, 2), -0.6, 1.6))
    density = np.maximum(0.9 * forest, settled * garden + (1 - settled) * scattered)
    side = int(SIZE_PX / spacing) + 1
    rows, cols = (axis.ravel() for axis in np.mgrid[:side, :side] * spacing)
    rows = rows + rng.uniform(-0.5, 0.5, rows.shape) * spacing
    cols = cols + rng.uniform(-0.5, 0.5, cols.shape) * spacing
    inside = (rows >= 0) & (rows < SIZE_PX) & (cols >= 0) & (cols < SIZE_PX)
    rows, cols = rows[inside], cols[inside]
    at = (rows.astype(int), cols.astype(int))
    kept = (rng.random(len(rows)) < density[at]) & open_ground[at]
    rows, cols = rows[kept], cols[kept]
    count = len(rows)
    radius = np.clip(rng.normal(7.0, 2.0, count), 3.2, 12)
    colours = np.asarray(climate.forest, np.float32)[rng.integers(len(climate.forest), size=count)]
    return Trees(
        x=cols.astype(np.float32), y=rows.astype(np.float32), radius_px=radius.astype(np.float32),
        height_m=(radius * rng.uniform(0.8, 1.3, count)).astype(np.float32),
        colour=colours * rng.uniform(0.8, 1.2, (count, 1)).astype(np.float32),
    )  # fmt: skip
