"""The surface of a simulated scene after the disaster, and how much of it has changed at each pixel."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from data.simulation.disaster import Force
from data.simulation.paint import SIZE_PX, Floats, cover, grain, noise, polygon_at, ramp, tinted
from data.simulation.place import Place

MUD_WATER = (116.0, 84.0, 53.0)
SILT = (158.0, 136.0, 104.0)
CHAR = (44.0, 38.0, 35.0)
ASH = (176.0, 170.0, 163.0)
DUST = (176.0, 164.0, 146.0)
DEBRIS = (188.0, 176.0, 158.0)
DEAD_PLANTS = (148.0, 122.0, 86.0)
SURGE_MUD = ((92.0, 76.0, 60.0), (160.0, 136.0, 110.0))  # wet on pale ground, silvery on dark ground
PALE_GROUND = 100.0  # mean value of the grass above which ground counts as pale
SURGE_WATER = (92.0, 90.0, 76.0)
LAHAR = (70.0, 62.0, 58.0)
TEPHRA = (138.0, 134.0, 130.0)
SAND = (186.0, 174.0, 148.0)
SLAB = (166.0, 160.0, 150.0)
TARP = (52.0, 104.0, 178.0)

MINOR, MAJOR, DESTROYED = 1, 2, 3


@dataclass
class Surface:
    """A surface being changed. `changed` keeps the share of each pixel that is no longer what it was."""

    albedo: Floats
    objects_m: Floats
    changed: Floats

    def lay(self, colour: ArrayLike, alpha: Floats) -> None:
        """Cover with a new material."""
        cover(self.albedo, colour, alpha)
        self.changed = 1 - (1 - self.changed) * (1 - alpha)

    def level(self, where: Floats, height_m: Floats | float = 0.0) -> None:
        """Bring what stands there to a new height."""
        self.objects_m = np.asarray(self.objects_m * (1 - where) + where * height_m, np.float32)


@dataclass
class Ruins:
    """What all disasters need when they draw: the place, the force, and where buildings of each class are."""

    place: Place
    force: Force
    rng: np.random.Generator
    rough: Floats  # grain of about 1 m
    patchy: Floats  # bumps of about 10 m
    classes: NDArray[np.int64]  # per pixel: -1 no building, else index into SUBTYPES

    def of(self, *classes: int) -> Floats:
        """Mask of the buildings of these classes."""
        return np.isin(self.classes, classes).astype(np.float32)

    @property
    def standing(self) -> Floats:
        """Mask of buildings whose roof still shows."""
        return ((self.classes >= 0) & (self.classes < DESTROYED)).astype(np.float32)


def ravage(rng: np.random.Generator, place: Place, force: Force, classes: NDArray[np.int64]) -> Surface:
    """The surface after the disaster."""
    surface = Surface(place.albedo.copy(), place.objects_m.copy(), np.zeros((SIZE_PX, SIZE_PX), np.float32))
    if force.severity == 0:
        return surface
    per_pixel = np.concatenate([[-1], classes])[place.building_ids]
    ruins = Ruins(place, force, rng, grain(rng, 1.0), noise(rng, 48, 4), per_pixel)
    paint = {
        "flooding": _paint_flood, "wind": _paint_wind, "fire": _paint_fire, "earthquake": _paint_earthquake,
        "tsunami": _paint_tsunami, "volcano": _paint_volcano,
    }  # fmt: skip
    paint[force.kind](ruins, surface)
    return surface


def _fell_trees(ruins: Ruins, surface: Surface, share: Floats, left_m: float) -> Floats:
    """Take down every crown whose own lot falls below `share` at its foot; returns where crowns went."""
    trees = ruins.place.trees
    feet = share[trees.y.astype(int), trees.x.astype(int)]
    fallen = np.concatenate([[False], ruins.rng.random(len(feet)) < feet])[ruins.place.tree_ids]
    gone = fallen.astype(np.float32)
    surface.lay(ruins.place.bare, gone)
    surface.objects_m = np.where(fallen, np.maximum(ruins.place.bare_m, left_m), surface.objects_m).astype(np.float32)
    return gone


def _rubble(ruins: Ruins, surface: Surface, spill_px: float, colour: ArrayLike, contrast: float) -> Floats:
    """Destroyed buildings become heaps of coarse grains that spill over the old outline."""
    gone = ruins.of(DESTROYED)
    heap = np.maximum(ramp(gaussian_filter(gone, spill_px) + 0.08 * ruins.rough, 0.22, 0.4), gone)
    pieces = np.float32(contrast) * (0.5 * grain(ruins.rng, 0.7) + 0.6 * grain(ruins.rng, 1.8))
    surface.level(heap, np.clip(0.7 + 0.3 * ruins.rough, 0, 2))
    surface.lay(tinted(colour, pieces), heap)
    return heap


def _scatter(ruins: Ruins, source: Floats) -> Floats:
    """Pieces of a metre or so, dense where `source` is, none where it is not."""
    pieces = (grain(ruins.rng, 1.0) > 2.9 - 3.6 * np.sqrt(source)) & (source > 0.012)
    return np.asarray(gaussian_filter(pieces.astype(np.float32), 0.5), np.float32)


def _break_roofs(ruins: Ruins, surface: Surface, inside: ArrayLike, *, minor: float, major: float) -> None:
    """Tear holes into roofs: `minor` and `major` are the shares of the roof that go."""
    lumps = gaussian_filter(ruins.rng.standard_normal((SIZE_PX, SIZE_PX), np.float32), 3.2)
    lumps = lumps / lumps.std()
    roof_shows = ruins.place.tree_ids == 0  # not under a crown
    for damage, share in ((MINOR, minor), (MAJOR, major)):
        cut = float(np.sqrt(2) * _inverse_erf(1 - 2 * share))
        torn = ruins.of(damage) * ramp(lumps, cut - 0.1, cut + 0.1) * roof_shows
        surface.lay(tinted(inside, 0.3 * ruins.rough), torn)
        surface.level(torn, 1.5)


def _inverse_erf(value: float) -> float:
    """Winitzki's approximation, good to 0.5 per cent."""
    log = np.log(1 - value * value)
    term = 2 / (np.pi * 0.147) + log / 2
    return float(np.sign(value) * np.sqrt(np.sqrt(term * term - log / 0.147) - term))


def _paint_flood(ruins: Ruins, surface: Surface) -> None:
    """Brown water over the low ground; crowns and roofs stand out until it is too deep."""
    depth, wet, place = ruins.force.depth_m, ruins.force.reach, ruins.place
    crowns = (place.tree_ids > 0) * ramp(place.tree_m - depth, 0.5, 2.0)
    out = np.maximum(ruins.standing, crowns)
    silt = ramp(depth, -0.35, -0.05) * (1 - wet) * (1 - out) * (1 - (ruins.classes >= 0))
    surface.lay(tinted(SILT, 0.06 * ruins.patchy), silt * 0.75)
    drift = 0.055 * noise(ruins.rng, 6, 4) + 0.02 * ruins.rough
    murk = tinted(MUD_WATER, drift - 0.16 * ramp(depth, 0.3, 3.0))
    opaque = wet * (0.86 + 0.14 * ramp(depth, 0.1, 0.8))
    surface.lay(murk, opaque * (1 - out))
    surface.level(opaque * (1 - out))
    surface.lay(murk, wet * crowns * 0.3)  # wet, muddy crowns
    surface.lay(np.asarray(MUD_WATER) * 0.75, ruins.of(MAJOR) * ramp(ruins.patchy, -0.5, 0.6) * 0.75)
    surface.lay(tinted(DEBRIS, 0.3 * ruins.rough), ruins.of(DESTROYED) * ramp(ruins.patchy, 1.1, 1.4) * 0.8)


def _paint_fire(ruins: Ruins, surface: Surface) -> None:
    """Charred ground, black or brown crowns, pale ash where houses were."""
    burnt, place = ruins.force.reach, ruins.place
    fuel = ramp(place.green, 0.02, 0.3)
    ground = burnt * fuel * (1 - (ruins.classes >= 0)) * (1 - place.terrain.water)
    pale = ramp(noise(ruins.rng, 14, 5, 0.65), 0.6, 2.2)
    char = tinted(CHAR, 0.2 * ruins.patchy + 0.12 * ruins.rough)
    cover(char, ASH, pale * 0.5)
    feet = np.clip(burnt * 0.97, 0, 1)
    crowns = _fell_trees(ruins, surface, feet, 2.0)
    surface.lay(char, ground * 0.93)
    scorched = tinted((102, 82, 68), 0.25 * ruins.rough)
    surface.lay(scorched, crowns * ramp(ruins.rough + 0.5 * ruins.patchy, -0.3, 0.9) * 0.75)
    heap = _rubble(ruins, surface, 2.0, (196, 188, 178), 0.2)
    soot = ramp(gaussian_filter(ruins.of(MINOR, MAJOR), 5), 0.08, 0.3) * (1 - (ruins.classes >= 0)) * (1 - heap)
    surface.lay(np.asarray(CHAR) * 1.3, soot * 0.6)
    _break_roofs(ruins, surface, CHAR, minor=0.15, major=0.5)


def _paint_wind(ruins: Ruins, surface: Surface) -> None:
    """Felled crowns, brown plants, opened roofs and blue tarps, a scatter of pale debris."""
    force, place = ruins.force.reach, ruins.place
    stripped = ramp(force, 0.22, 0.6)
    crowns = _fell_trees(ruins, surface, stripped, 0.6)
    land = (1 - place.terrain.water) * (1 - (ruins.classes >= 0))
    plants = np.clip(0.25 + place.green, 0, 1) * (1 - place.road) * land
    surface.lay(tinted(DEAD_PLANTS, 0.1 * ruins.patchy + 0.08 * ruins.rough), stripped * plants * 0.9)
    streaks = gaussian_filter(ruins.rng.standard_normal((SIZE_PX, SIZE_PX), np.float32), (0.7, 2.6))
    streaks /= streaks.std()
    trunks = tinted((96, 80, 62), 0.3 * streaks)
    surface.lay(trunks, crowns * ramp(streaks, -0.4, 0.8) * 0.85)
    _rubble(ruins, surface, 3.0, (170, 156, 138), 0.3)
    source = gaussian_filter(ruins.of(MAJOR) * 0.5 + ruins.of(DESTROYED), 26)
    flying = _scatter(ruins, source)
    surface.lay(tinted(DEBRIS, 0.25 * ruins.rough), flying * land)
    _break_roofs(ruins, surface, (92, 74, 60), minor=0.12, major=0.5)
    _spread_tarps(ruins, surface)


def _spread_tarps(ruins: Ruins, surface: Surface) -> None:
    """Half of the roofs with minor damage carry a blue tarp."""
    for number, building in enumerate(ruins.place.buildings, start=1):
        wing = building.wings[0]
        row, col = int(np.clip(wing.y, 0, SIZE_PX - 1)), int(np.clip(wing.x, 0, SIZE_PX - 1))
        if ruins.classes[row, col] != MINOR or ruins.rng.random() < 0.5:
            continue
        corners = (wing.corners() - (wing.x, wing.y)) * ruins.rng.uniform(0.4, 0.75) + (wing.x, wing.y)
        tarp = np.zeros((SIZE_PX, SIZE_PX), bool)
        tarp[polygon_at(corners)] = True
        tarp &= (ruins.place.building_ids == number) & (ruins.place.tree_ids == 0)
        surface.albedo[tarp] = TARP
        surface.changed[tarp] = 1


def _paint_earthquake(ruins: Ruins, surface: Surface) -> None:
    """Rubble and dust around collapsed houses, slides on steep ground, boiled sand by the water, tents."""
    shaking, place = ruins.force.reach, ruins.place
    free = (1 - (ruins.classes >= 0)) * (1 - place.terrain.water)
    slide = ramp(2.6 * place.terrain.slope + 0.14 * noise(ruins.rng, 14, 4) + 0.7 * shaking, 1.15, 1.3) * free
    surface.lay(tinted(np.asarray(place.climate.soil) * 1.08, 0.14 * ruins.patchy + 0.05 * ruins.rough), slide)
    surface.level(slide)
    wetland = ramp(place.terrain.rise_m, 2.2, 0.2) + 0.35 * noise(ruins.rng, 30, 3) + 0.9 * shaking
    boils = ramp(wetland, 1.5, 1.7) * free * (1 - np.minimum(1, place.road)) * (place.tree_ids == 0)
    surface.lay(tinted(SAND, 0.05 * ruins.patchy), boils * 0.9)
    dust = ramp(gaussian_filter(ruins.of(DESTROYED) + 0.5 * ruins.of(MAJOR), 11) + 0.03 * ruins.patchy, 0.04, 0.3)
    surface.lay(DUST, dust * 0.8 * (1 - (ruins.classes >= 0)))
    _rubble(ruins, surface, 4.0, (168, 156, 140), 0.26)
    _break_roofs(ruins, surface, (120, 108, 94), minor=0.1, major=0.45)
    _pitch_tents(ruins, surface)


def _pitch_tents(ruins: Ruins, surface: Surface) -> None:
    """White and blue tents on open ground near collapsed houses."""
    near = gaussian_filter(ruins.of(MAJOR, DESTROYED), 30)
    open_ground = (ruins.classes < 0) & (ruins.place.tree_ids == 0) & (ruins.place.road < 0.1)
    open_ground &= (ruins.place.terrain.shore_px > 6) & (near > 0.02)
    spots = np.argwhere(open_ground)
    for row, col in spots[ruins.rng.integers(len(spots), size=60)] if len(spots) else ():
        tent = (slice(row, row + 7), slice(col, col + 9))
        if open_ground[tent].all():
            surface.albedo[tent] = (226, 226, 222) if ruins.rng.random() < 0.6 else (70, 116, 186)
            surface.objects_m[tent] = 2.0
            surface.changed[tent] = 1


def _paint_tsunami(ruins: Ruins, surface: Surface) -> None:
    """Mud and standing water, plants torn away, bare slabs, a line of debris where the surge ended."""
    depth, place = ruins.force.depth_m, ruins.place
    wet = ruins.force.reach * (1 - place.terrain.water)
    crowns = (place.tree_ids > 0).astype(np.float32)
    gone = _fell_trees(ruins, surface, ramp(depth, 0.4, 1.6), 0.0)
    free = (1 - ruins.standing) * (1 - np.clip(crowns - gone, 0, 1))
    tone = SURGE_MUD[int(np.mean(place.climate.grass) < PALE_GROUND)]
    mud = tinted(tone, 0.09 * ruins.patchy + 0.06 * ruins.rough)
    hollow = 0.5 * ramp(depth, 0.5, 2.5) - 1.4 * ramp(place.terrain.rise_m, 0, 3)
    pools = ramp(noise(ruins.rng, 14, 4) + hollow, 0.2, 0.5)
    cover(mud, SURGE_WATER, pools * 0.85)
    surface.level(wet * free)
    surface.lay(mud, wet * free * (0.95 - 0.4 * place.road))
    surface.lay(tinted(SLAB, 0.08 * ruins.rough), ruins.of(DESTROYED) * 0.6 * (1 - pools * 0.6))
    litter = ramp(depth, -0.25, 0.05) * ramp(depth, 0.75, 0.3)
    speck = ramp(ruins.rough + 0.4 * ruins.patchy, 0.2, 0.7) * (1 - place.terrain.water)
    surface.lay(tinted((92, 74, 56), 0.4 * grain(ruins.rng, 0.8)), litter * speck * free * 0.85)
    surface.lay(DEBRIS, _scatter(ruins, gaussian_filter(ruins.of(DESTROYED), 22)) * wet * free)
    turbid = place.terrain.water * ramp(place.terrain.shore_px, -220, 0) * min(1.0, 0.35 + ruins.force.severity)
    surface.lay(tinted((118, 108, 84), 0.03 * ruins.patchy), turbid * 0.85)
    _break_roofs(ruins, surface, (104, 90, 72), minor=0.08, major=0.45)


def _paint_volcano(ruins: Ruins, surface: Surface) -> None:
    """Grey ash over everything, thicker uphill; a dark flow with ropes along the valley buries what it meets."""
    ash, place, depth = ruins.force.reach, ruins.place, ruins.force.depth_m
    crowns = (place.tree_ids > 0).astype(np.float32)
    hold = 1 - 0.3 * crowns - 0.25 * (ruins.classes >= 0) - 0.5 * place.terrain.water
    surface.lay(tinted(TEPHRA, 0.05 * ruins.patchy + 0.03 * ruins.rough), ramp(ash, 0.0, 0.85) * 0.93 * hold)
    _break_roofs(ruins, surface, (84, 76, 70), minor=0.06, major=0.4)
    flow = ramp(depth, 0.0, 0.3)
    peek = flow * np.maximum(ruins.standing, crowns * ramp(place.tree_m - 1.4 * depth, 3.0, 4.5))
    ropes = np.sin(place.terrain.shore_px / 5 + 2.2 * noise(ruins.rng, 8, 4)) * 0.1
    lahar = tinted(LAHAR, ropes + 0.1 * ruins.patchy + 0.08 * ruins.rough + 0.25 * ramp(depth, 0.8, 0.0))
    bury = (flow - peek).clip(0, 1)
    surface.level(bury)
    surface.lay(lahar, bury * 0.98)
    boulders = (grain(ruins.rng, 1.1) > 2.6).astype(np.float32) * bury
    surface.lay((118, 110, 104), boulders)
    surface.lay(tinted(SLAB, 0.2 * ruins.rough), ruins.of(DESTROYED) * ramp(ruins.patchy, 1.3, 1.5) * 0.7)
