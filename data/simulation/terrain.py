"""The lie of the land of a simulated scene: heights, water, and the street grid laid over it."""

from dataclasses import dataclass

import numpy as np

from data.simulation.events import Event
from data.simulation.paint import PIXEL_SIZE_M, SIZE_PX, Floats, noise, ramp

# Metres between the lowest and the highest ground, per disaster type: (least, most).
RELIEF_M = {
    "flooding": (5.0, 12.0),
    "wind": (6.0, 22.0),
    "fire": (35.0, 80.0),
    "earthquake": (18.0, 55.0),
    "tsunami": (10.0, 24.0),
    "volcano": (40.0, 80.0),
}
# Which water a scene has, drawn evenly from the list.
WATERS = {
    "flooding": ("river", "river", "lake"),
    "wind": ("river", "lake", "coast", "dry", "dry"),
    "fire": ("dry", "dry", "stream"),
    "earthquake": ("river", "stream", "dry"),
    "tsunami": ("coast",),
    "volcano": ("stream",),
}


@dataclass(frozen=True)
class Terrain:
    """Heights and water. `rise_m` is the height over the nearest water or valley floor, which floods obey."""

    water_kind: str
    ground_m: Floats  # absolute height, gives the shading
    rise_m: Floats
    slope: Floats  # m per m
    shore_px: Floats  # distance from the bank; negative in water
    water: Floats  # 0..1
    along_px: Floats  # coordinate along the river, or along the coast; downstream is negative


def _frame(rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Coordinates in px, along and across a random direction, origin in the centre."""
    rows, cols = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32) - SIZE_PX / 2
    angle = rng.uniform(0, 2 * np.pi)
    along = cols * np.cos(angle) + rows * np.sin(angle)
    return along.astype(np.float32), (rows * np.cos(angle) - cols * np.sin(angle)).astype(np.float32)


def _meander(rng: np.random.Generator, along: Floats, across: Floats, bend_px: float, offset_px: float) -> Floats:
    """Distance in px to a winding line near `across` = offset."""
    centre, turn = np.float32(offset_px), np.zeros_like(along)
    for length, size in ((rng.uniform(700, 1200), bend_px), (rng.uniform(250, 450), bend_px * 0.3)):
        phase = along * np.float32(2 * np.pi / length) + np.float32(rng.uniform(0, 6.28))
        centre = centre + np.float32(size) * np.sin(phase)
        turn += np.float32(size * 2 * np.pi / length) * np.cos(phase)
    return np.asarray(np.abs(across - centre) / np.sqrt(1 + turn**2), np.float32)


def _shore_distance(rng: np.random.Generator, kind: str, along: Floats, across: Floats) -> Floats:
    if kind == "river":
        width = rng.uniform(18, 55)
        return _meander(rng, along, across, rng.uniform(50, 130), rng.uniform(-220, 220)) - width
    if kind == "stream":
        return _meander(rng, along, across, rng.uniform(30, 80), rng.uniform(-180, 180)) - rng.uniform(4, 9)
    if kind == "lake":
        x, y = rng.uniform(-260, 260, 2)
        away = np.hypot(along - x, (across - y) * rng.uniform(1, 1.7)) - rng.uniform(130, 230)
        return np.asarray(away + 28 * noise(rng, 3), np.float32)
    if kind == "coast":
        return across + rng.uniform(90, 320) + 24 * noise(rng, 3, gain=0.45)
    # dry: a valley floor without open water
    return _meander(rng, along, across, 90, rng.uniform(-200, 200)) + 12


def shape_terrain(rng: np.random.Generator, event: Event) -> Terrain:
    """Heights that fall to the water, so that floods, surges and flows follow what the image shows."""
    kind = str(rng.choice(WATERS[event.disaster_type]))
    relief = rng.uniform(*RELIEF_M[event.disaster_type])
    along, across = _frame(rng)
    shore = _shore_distance(rng, kind, along, across)
    inland = np.clip(shore, 0, None)
    # Flood plains lie flat beside the water, slopes steepen away from it.
    reach = {"river": 420, "lake": 420, "coast": 700, "stream": 330, "dry": 380}[kind] * rng.uniform(0.8, 1.2)
    rise = relief * (1 - np.exp(-((inland / reach) ** 1.4))) * 0.7
    rise += relief * 0.13 * (noise(rng, 3, octaves=4, gain=0.4) + 1.2) * ramp(inland, 10, 0.6 * reach)
    rise = np.clip(rise + 0.35 * ramp(inland, 0, 12), 0, None)
    ground = rise
    if kind in ("stream", "dry"):  # the valley itself runs downhill
        ground = rise + along * np.float32(relief / SIZE_PX * (1.0 if event.disaster_type == "volcano" else 0.4))
    slope_y, slope_x = np.gradient(ground, PIXEL_SIZE_M)
    water = ramp(shore, 1.5, -1.5)
    return Terrain(
        water_kind=kind,
        ground_m=np.asarray(ground, np.float32),
        rise_m=np.asarray(rise, np.float32),
        slope=np.hypot(slope_x, slope_y).astype(np.float32),
        shore_px=np.asarray(shore, np.float32),
        water=water,
        along_px=along,
    )


def winding_line(rng: np.random.Generator, terrain: Terrain) -> Floats:
    """Distance in px to a main road: along a coast, anywhere else at its own angle."""
    if terrain.water_kind == "coast":
        return np.asarray(np.abs(terrain.shore_px - np.float32(rng.uniform(120, 260))), np.float32)
    along, across = _frame(rng)
    return _meander(rng, along, across, rng.uniform(10, 60), rng.uniform(-200, 200))


@dataclass(frozen=True)
class Grid:
    """A rotated, gently warped grid of streets or fields."""

    angle: float  # radians
    cell_p_px: float
    cell_q_px: float
    warp_p: Floats
    warp_q: Floats

    def coordinates(self) -> tuple[Floats, Floats]:
        """The grid coordinates p, q of every pixel, in px."""
        rows, cols = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
        cosine, sine = np.float32(np.cos(self.angle)), np.float32(np.sin(self.angle))
        return cols * cosine + rows * sine + self.warp_p, rows * cosine - cols * sine + self.warp_q

    def locate(self, p: float, q: float) -> tuple[float, float]:
        """The pixel x, y with grid coordinates p, q (fixed-point iteration: the warp is gentle)."""
        cosine, sine = np.cos(self.angle), np.sin(self.angle)
        x, y = p * cosine - q * sine, p * sine + q * cosine
        for _ in range(4):
            row, col = (min(max(int(place), 0), SIZE_PX - 1) for place in (y, x))
            p_flat, q_flat = p - float(self.warp_p[row, col]), q - float(self.warp_q[row, col])
            x, y = p_flat * cosine - q_flat * sine, p_flat * sine + q_flat * cosine
        return x, y


def lay_grid(rng: np.random.Generator, cell_p_px: float, cell_q_px: float, warp_px: float) -> Grid:
    """A grid at a random angle whose lines wander by about `warp_px`."""
    return Grid(
        angle=rng.uniform(0, np.pi / 2),
        cell_p_px=cell_p_px,
        cell_q_px=cell_q_px,
        warp_p=np.float32(warp_px) * noise(rng, 2, octaves=2, gain=0.3),
        warp_q=np.float32(warp_px) * noise(rng, 2, octaves=2, gain=0.3),
    )
