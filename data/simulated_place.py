"""The place of a simulated scene before the disaster: ground, roads, buildings, trees, as one surface."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from data.simulated_buildings import (
    Building,
    Wing,
    building_ids,
    claim_all,
    farmstead,
    hall,
    place_houses,
    raise_roofs,
)
from data.simulated_events import Climate, Event
from data.simulated_paint import SIZE_PX, Floats, Ints, Trees, cover, grain, noise, polygon_at, ramp, stamp_trees, tinted
from data.simulated_terrain import Grid, Terrain, lay_grid, shape_terrain, winding_line

# How much of the ground is built on, and how often a scene is so: name -> (share of land settled, probability).
DENSITIES = {"empty": (0.0, 0.12), "rural": (0.08, 0.23), "suburb": (0.45, 0.35), "town": (0.78, 0.30)}
STREET_HALF_PX = 6.5  # 6.5 m wide
MAIN_ROAD_HALF_PX = 10.0
LAWN, YARD, PAVED, PARK = range(4)  # kinds of a street block's ground


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
    albedo, green = _ground(rng, climate, terrain, forest, settled)
    blocks = _blocks(rng, streets)
    _paint_blocks(rng, climate, streets, blocks, settled * land, albedo, green)
    taken = (road > 0.3) | (terrain.shore_px < 9)
    buildings = _settle(rng, climate, streets, blocks, density, settled, taken, (terrain, forest))
    cover(albedo, np.asarray(climate.road) * 1.18, _driveways(buildings) * land * (1 - road))
    _pave(rng, climate, albedo, road, main_road, settled)
    green *= (1 - road) * land
    _fill_water(rng, climate, terrain, albedo, np.maximum(road * main_road, 0))
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
    return ramp(wish, 0, 0.12) if share > 1 else ramp(wish - np.float32(np.quantile(wish, 1 - share)), -0.06, 0.06)


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


def _ground(
    rng: np.random.Generator, climate: Climate, terrain: Terrain, forest: Floats, settled: Floats
) -> tuple[Floats, Floats]:
    """Grass, soil and fields; low ground is greener and darker than high ground. Also how green it is."""
    patches = noise(rng, 6, 5, 0.6)
    dryness = ramp(terrain.rise_m / np.float32(terrain.rise_m.max()) + 0.16 * patches, 0.1, 0.75)
    albedo = np.empty((SIZE_PX, SIZE_PX, 3), np.float32)
    albedo[:] = climate.grass
    cover(albedo, climate.dry, dryness)
    bare = ramp(noise(rng, 9, 5, 0.6) + 1.2 * dryness, 1.3, 2.2)
    cover(albedo, climate.soil, bare)
    green = np.float32(0.85) - 0.6 * bare
    _till(rng, climate, ((1 - forest) * (1 - settled) * ramp(terrain.slope, 0.3, 0.2)), albedo, green)
    cover(albedo, np.asarray(climate.forest[0], np.float32) * 0.8, forest * 0.8)
    albedo *= 1 + (0.035 * patches + 0.05 * grain(rng, 0.8) - 0.10 * ramp(terrain.rise_m, 1.5, 0))[..., None]
    cover(albedo, tinted(climate.soil, np.float32(0.12) + 0.05 * patches), ramp(terrain.shore_px, 13, 3) * 0.8)
    return albedo, green


def _till(rng: np.random.Generator, climate: Climate, where: Floats, albedo: Floats, green: Floats) -> None:
    """Fields in a staggered grid, each with its crop and its direction of ploughing."""
    grid = lay_grid(rng, rng.uniform(200, 400), rng.uniform(120, 260), 18)
    p, q = grid.coordinates()
    row = np.floor(q / grid.cell_q_px).astype(int) % 32
    p_shifted = p + (rng.uniform(0, grid.cell_p_px, 32).astype(np.float32))[row]
    field = row * 32 + np.floor(p_shifted / grid.cell_p_px).astype(int) % 32
    tilled = (rng.random(1024) < climate.farmland)[field]
    crops = np.asarray(climate.crops, np.float32)[rng.integers(len(climate.crops), size=1024)]
    crops *= rng.uniform(0.86, 1.12, (1024, 1)).astype(np.float32)
    lengthwise = (rng.random(1024) < 0.6)[field]
    period = rng.uniform(4.5, 9, 1024).astype(np.float32)[field]
    furrow = np.sin(np.where(lengthwise, q, p) * 2 * np.float32(np.pi) / period)
    depth = rng.uniform(0.02, 0.09, 1024).astype(np.float32)[field]
    margin = np.minimum(
        np.abs(q - np.round(q / grid.cell_q_px) * grid.cell_q_px),
        np.abs(p_shifted - np.round(p_shifted / grid.cell_p_px) * grid.cell_p_px),
    )
    alpha = where * tilled * ramp(margin, 2, 4)
    cover(albedo, crops[field] * (1 + depth * furrow)[..., None], alpha * 0.9)
    leafy = ((crops[:, 1] - crops[:, 0]) > 0).astype(np.float32)
    green[:] = green * (1 - alpha) + alpha * (0.15 + 0.45 * leafy[field])


def _blocks(rng: np.random.Generator, streets: Grid) -> NDArray[np.int64]:
    """The kind of every street block, a 64 x 64 table that repeats."""
    return rng.choice([LAWN, YARD, PAVED, PARK], p=[0.71, 0.13, 0.07, 0.09], size=(64, 64))


def _block_cells(streets: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    p, q = streets.coordinates()
    return (
        np.floor(p / streets.cell_p_px).astype(np.int64) % 64, np.floor(q / streets.cell_q_px).astype(np.int64) % 64,
        p, q,
    )  # fmt: skip


def _paint_blocks(
    rng: np.random.Generator, climate: Climate, streets: Grid, blocks: NDArray[np.int64], where: Floats,
    albedo: Floats, green: Floats,
) -> None:  # fmt: skip
    """Lawns that differ from lot to lot, trodden yards, parking with its stripes, parks."""
    i, j, p, q = _block_cells(streets)
    kind = blocks[i, j]
    lot = (np.floor(p / 41).astype(int) % 64) * 64 + np.floor(2 * q / streets.cell_q_px).astype(int) % 64
    tint = rng.uniform(-0.13, 0.13, 4096).astype(np.float32)[lot]
    thirst = rng.uniform(0, 0.75, 4096).astype(np.float32)[lot]
    lawn = tinted(climate.grass, tint)
    cover(lawn, climate.dry, thirst)
    rough = 1 + 0.05 * grain(rng, 1.0)
    cover(albedo, lawn * rough[..., None], where * 0.85)
    cover(albedo, tinted(climate.soil, tint) * rough[..., None], where * (kind == YARD) * 0.75)
    stalls = ((np.abs(p % 6 - 3) < 0.6) & (np.abs(q % 26 - 13) < 9)).astype(np.float32)
    asphalt = tinted(climate.road, 0.22 * stalls - 0.06 + 0.3 * tint) * rough[..., None]
    cover(albedo, asphalt, where * (kind == PAVED) * 0.95)
    green[:] = green * (1 - where) + where * np.array([0.5, 0.2, 0.0, 0.6], np.float32)[kind]


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
        if terrain.shore_px[int(y), int(x)] > 40 and terrain.slope[int(y), int(x)] < 0.25 and forest[int(y), int(x)] < 0.5:
            buildings += claim_all(farmstead(rng, climate, (x, y)), taken)
    i, j, _, _ = _block_cells(streets)
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
    return np.asarray(canvas, np.float32) / 255


def _pave(
    rng: np.random.Generator, climate: Climate, albedo: Floats, road: Floats, main_road: Floats, settled: Floats
) -> None:
    """Asphalt with pale edges; earth roads where nobody lives near."""
    wide = ramp(gaussian_filter(road, 1.6), 0.05, 0.35) * (1 - road)
    cover(albedo, tinted(climate.soil, np.float32(0.15) + 0 * road), wide * 0.55)
    worn = 0.05 * noise(rng, 12, 4) + 0.04 * grain(rng, 0.8)
    cover(albedo, tinted(climate.road, worn), road)
    middle = ramp(gaussian_filter(main_road, 4), 0.93, 0.96)
    cover(albedo, np.asarray(climate.road, np.float32) * 1.35, middle * 0.35)


def _fill_water(rng: np.random.Generator, climate: Climate, terrain: Terrain, albedo: Floats, bridge: Floats) -> None:
    """Water that darkens with depth, with a little wind on it."""
    tone = 0.04 * noise(rng, 5, 4) + 0.03 * grain(rng, 1.2)
    water = tinted(climate.shallow, tone)
    cover(water, tinted(climate.water, tone), ramp(terrain.shore_px, -2, -45))
    cover(albedo, water, terrain.water * (1 - bridge))


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
    i, j, _, _ = _block_cells(streets)
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
