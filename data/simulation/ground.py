"""The ground of a simulated scene: grass, fields, gardens, car parks, roads, water."""

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from data.simulation.events import Climate
from data.simulation.paint import SIZE_PX, Floats, cover, grain, noise, ramp, tinted
from data.simulation.terrain import Grid, Terrain, lay_grid

LAWN, YARD, PAVED, PARK = range(4)  # kinds of a street block's ground


def paint_ground(
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


def draw_blocks(rng: np.random.Generator, streets: Grid) -> NDArray[np.int64]:
    """The kind of every street block, a 64 x 64 table that repeats."""
    return rng.choice([LAWN, YARD, PAVED, PARK], p=[0.71, 0.13, 0.07, 0.09], size=(64, 64))


def block_cells(streets: Grid) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats, Floats]:
    """Block column and row of every pixel, and its grid coordinates."""
    p, q = streets.coordinates()
    return (
        np.floor(p / streets.cell_p_px).astype(np.int64) % 64, np.floor(q / streets.cell_q_px).astype(np.int64) % 64,
        p, q,
    )  # fmt: skip


def paint_blocks(
    rng: np.random.Generator, climate: Climate, streets: Grid, blocks: NDArray[np.int64], where: Floats,
    albedo: Floats, green: Floats,
) -> None:  # fmt: skip
    """Lawns that differ from lot to lot, trodden yards, parking with its stripes, parks."""
    i, j, p, q = block_cells(streets)
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


def pave(
    rng: np.random.Generator, climate: Climate, albedo: Floats, road: Floats, main_road: Floats, settled: Floats
) -> None:
    """Asphalt with pale edges; earth roads where nobody lives near."""
    wide = ramp(gaussian_filter(road, 1.6), 0.05, 0.35) * (1 - road)
    cover(albedo, tinted(climate.soil, np.float32(0.15) + 0 * road), wide * 0.55)
    worn = 0.05 * noise(rng, 12, 4) + 0.04 * grain(rng, 0.8)
    cover(albedo, tinted(climate.road, worn), road)
    middle = ramp(gaussian_filter(main_road, 4), 0.93, 0.96)
    cover(albedo, np.asarray(climate.road, np.float32) * 1.35, middle * 0.35)


def fill_water(rng: np.random.Generator, climate: Climate, terrain: Terrain, albedo: Floats, bridge: Floats) -> None:
    """Water that darkens with depth, with a little wind on it."""
    tone = 0.04 * noise(rng, 5, 4) + 0.03 * grain(rng, 1.2)
    water = tinted(climate.shallow, tone)
    cover(water, tinted(climate.water, tone), ramp(terrain.shore_px, -2, -45))
    cover(albedo, water, terrain.water * (1 - bridge))
