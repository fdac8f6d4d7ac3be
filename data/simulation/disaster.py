"""The force of a simulated disaster over the scene, and the damage class it gives to each building.

Every force follows something the pre image shows: floods and surges the low ground beside water, fire the plants,
lahars the valleys, shaking the soft valley soil, storms the built-up centre. A network can learn that, and then has
no use for words that say where: a confined disaster strikes parts of the scene that only such words name.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, zoom
from skimage.graph import MCP_Geometric

from data.simulation.paint import SIZE_PX, Floats, noise, ramp
from data.simulation.place import Place

SUBTYPES = ("no-damage", "minor-damage", "major-damage", "destroyed")
UNCLASSIFIED = "un-classified"

# How hard a scene is hit: name -> (least, most severity, probability).
SEVERITIES = {
    "none": (0.0, 0.0, 0.15),
    "slight": (0.15, 0.35, 0.18),
    "moderate": (0.4, 0.65, 0.32),
    "severe": (0.7, 1.0, 0.35),
}
# Force at which a building becomes minor, major, destroyed.
THRESHOLDS = (0.2, 0.45, 0.7)
CLASS_JITTER = 0.035  # buildings differ a little in ways no image shows

DROWNED_M = 2.2  # depth of a flood of force 1
SWEPT_M = 2.6  # depth of a surge of force 1
BURIED_M = 2.5  # thickness of a lahar of force 1

DIKED_M = 1.0  # height of spared ground over water and mud
PARTS = 6  # of a scene along each side that a confined disaster may strike or spare: smaller than a patch of 256 px


@dataclass(frozen=True)
class Force:
    """What the disaster does at each pixel."""

    kind: str  # disaster type
    severity: float  # 0..1
    damage: Floats  # force on buildings, see THRESHOLDS
    depth_m: Floats  # of water, surge or lahar over the ground; negative where the ground stands higher
    reach: Floats  # 0..1, how strongly plants and ground are burnt, blown, shaken or covered with ash


def draw_severity(rng: np.random.Generator) -> float:
    """0 for the scenes that lie outside the disaster, else up to 1."""
    names = list(SEVERITIES)
    low, high, _ = SEVERITIES[str(rng.choice(names, p=[SEVERITIES[name][2] for name in names]))]
    return float(rng.uniform(low, high))


def unleash(rng: np.random.Generator, place: Place, kind: str, severity: float) -> Force:
    """The force field of one disaster type."""
    nothing = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    if severity == 0:
        return Force(kind, 0.0, nothing, nothing, nothing)
    fields = {
        "flooding": _flood, "wind": _wind, "fire": _fire, "earthquake": _earthquake,
        "tsunami": _tsunami, "volcano": _volcano,
    }  # fmt: skip
    damage, depth_m, reach = fields[kind](rng, place, severity)
    return Force(kind, severity, *(np.asarray(field, np.float32) for field in (damage, depth_m, reach)))


def confined(rng: np.random.Generator, force: Force) -> Force:
    """The same force in about half of the scene, in parts that nothing in the pre image shows."""
    struck = ramp(noise(rng, PARTS, 1), -0.15, 0.15)
    dry_m = np.clip(force.depth_m, 0, None) + DIKED_M  # what is spared lies so far above water and mud
    return replace(
        force,
        damage=force.damage * struck,
        depth_m=force.depth_m - (1 - struck) * dry_m,
        reach=force.reach * struck,
    )


Fields = tuple[Floats, Floats, Floats]


def _flood(rng: np.random.Generator, place: Place, severity: float) -> Fields:
    """A water level over the river or lake: what lies lower is under water."""
    dry = place.terrain.water < 0.5
    level = float(np.quantile(place.terrain.rise_m[dry], 0.08 + 0.52 * severity))
    depth = level - place.terrain.rise_m + 0.06 * noise(rng, 10, 3)
    # Scene relief differs; scaled so that the deepest flooded ground of a severe scene drowns houses.
    depth = depth * np.float32((0.8 + 2.4 * severity) / max(level, 0.3))
    return np.clip(depth, 0, None) / DROWNED_M + 0.22 * ramp(depth, -0.12, 0.05), depth, ramp(depth, 0, 0.12)


def _wind(rng: np.random.Generator, place: Place, severity: float) -> Fields:
    """A swath from south-west to north-east over the middle of what is built (or of the scene)."""
    rows, cols = np.mgrid[:SIZE_PX, :SIZE_PX].astype(np.float32)
    weight = place.settled + 0.02
    centre_x, centre_y = float((cols * weight).sum() / weight.sum()), float((rows * weight).sum() / weight.sum())
    heading = np.radians(rng.uniform(40, 60))  # from east, counter-clockwise
    across = np.abs((cols - centre_x) * np.sin(heading) + (rows - centre_y) * np.cos(heading))
    half_width = 120 + 260 * severity
    swath = np.exp(-((across / half_width) ** 3)) * (0.42 + 0.72 * severity)
    shelter = 0.15 * gaussian_filter((place.tree_m > 0).astype(np.float32), 25)
    force = swath * (1 + 0.1 * noise(rng, 8, 3) - shelter)
    return force, np.zeros_like(force), force


def _fire(rng: np.random.Generator, place: Place, severity: float) -> Fields:
    """A fire that starts in the thickest cover at the border and eats its way through what burns."""
    coarse = 8
    fuel = gaussian_filter(place.green, 4)[coarse // 2 :: coarse, coarse // 2 :: coarse]
    upslope = zoom(place.terrain.rise_m, 1 / coarse, order=1) / np.float32(place.terrain.rise_m.max())
    delay = 1 / (0.04 + fuel**1.5 * (1 + 0.6 * upslope))
    border = np.zeros_like(fuel)
    smooth = gaussian_filter(fuel, 8)
    border[[0, -1], :], border[:, [0, -1]] = smooth[[0, -1], :], smooth[:, [0, -1]]
    start = np.unravel_index(int(border.argmax()), border.shape)
    arrival, _ = MCP_Geometric(delay).find_costs([start])
    arrival = zoom(arrival.astype(np.float32), coarse, order=1)
    end = float(np.quantile(arrival, 0.12 + 0.75 * severity))
    burnt = ramp(arrival / np.float32(end) + 0.04 * noise(rng, 24, 4), 1.03, 0.9)
    heat = burnt * (0.35 + 0.75 * gaussian_filter(place.green, 14) ** 0.5)
    return heat * (0.75 + 0.35 * severity), np.zeros_like(burnt), burnt


def _earthquake(rng: np.random.Generator, place: Place, severity: float) -> Fields:
    """Shaking: strongest on the soft soil of the valley floor."""
    soft = 1 - ramp(place.terrain.rise_m, 0, 0.45 * float(place.terrain.rise_m.max()))
    shaking = (0.25 + 0.62 * severity) * (0.55 + 0.75 * soft) * (1 + 0.06 * noise(rng, 4, 3))
    return shaking, np.zeros_like(shaking), shaking


def _tsunami(rng: np.random.Generator, place: Place, severity: float) -> Fields:
    """A surge over everything lower than its run-up, which falls inland."""
    inland = np.clip(place.terrain.shore_px, 0, None)
    dry = place.terrain.water < 0.5
    head = place.terrain.rise_m + 0.004 * inland
    runup = float(np.quantile(head[dry], 0.15 + 0.6 * severity))
    depth = (runup - head + 0.12 * noise(rng, 10, 4)) * np.float32((1.2 + 3.2 * severity) / max(runup, 0.5))
    return np.clip(depth, 0, None) / SWEPT_M + 0.2 * ramp(depth, -0.1, 0.1), depth, ramp(depth, 0, 0.15)


def _volcano(rng: np.random.Generator, place: Place, severity: float) -> Fields:
    """A lahar that fills the valley, and ash that thickens towards the summit, uphill along the valley."""
    level = (0.1 + 0.22 * severity) * float(place.terrain.rise_m.max())
    depth = (level - place.terrain.rise_m) * 0.6 + 0.35 * noise(rng, 9, 4)
    uphill = ramp(place.terrain.along_px, -SIZE_PX / 1.7, SIZE_PX / 1.7)
    ash = np.clip((0.12 + 0.95 * severity) * (0.35 + 0.75 * uphill) + 0.05 * noise(rng, 6, 4), 0, 1)
    return np.maximum(np.clip(depth, 0, None) / BURIED_M, 0.5 * ash), depth, ash


def classify(rng: np.random.Generator, place: Place, force: Force) -> NDArray[np.int64]:
    """Damage class of every building as an index into SUBTYPES, from the mean force on its ground."""
    count = len(place.buildings)
    if count == 0 or force.severity == 0:
        return np.zeros(count, np.int64)
    mean = place.mean_by_building(force.damage)
    weakness = np.array([building.weakness for building in place.buildings])
    # Water and mud take every house alike; shaking, storm and fire find the weak ones.
    spread = {"earthquake": 0.9, "wind": 0.6, "fire": 0.25}.get(force.kind, 0.0)
    felt = mean * (1 + spread * (weakness - 0.5)) + rng.normal(0, CLASS_JITTER, count) * (mean > 0.1)
    return np.digitize(felt, THRESHOLDS).astype(np.int64)
