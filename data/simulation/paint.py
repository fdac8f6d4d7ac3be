"""The painter's tools of the simulator: noise, blending, polygons, tree crowns, sun and shadow, the sensor.

All images are float32 (H, W, 3) in 0..255; heights are metres; masks are float32 (H, W) in 0..1.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.draw import polygon as polygon_pixels

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

SIZE_PX = 1024
PIXEL_SIZE_M = 0.5

AMBIENT = 0.42  # share of light that reaches a flat surface without sun (sky light and haze)
SHADOW_TINT = np.array([0.88, 0.97, 1.12], np.float32)  # sky light is blue
GROUND_EXAGGERATION = 2.0  # so that gentle slopes still show in the shading, as they do at low sun
SATURATION = 0.85  # of colours seen through the air
STEEPEST = 1.1  # m per m; steeper faces (walls) are clipped, they cover a pixel or two


def enlarge(coarse: NDArray[np.floating]) -> Floats:
    """Bring a coarse field to scene size, smoothly."""
    image = Image.fromarray(np.ascontiguousarray(coarse, np.float32))
    return np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC), np.float32)


def noise(rng: np.random.Generator, cells: int, octaves: int = 4, gain: float = 0.5) -> Floats:
    """Fractal noise of mean 0 and deviation 1; `cells` = number of its largest bumps along a side."""
    field = np.zeros((SIZE_PX, SIZE_PX), np.float32)
    for octave in range(octaves):
        side = min(cells * 2**octave, SIZE_PX)
        field += np.float32(gain**octave) * enlarge(rng.standard_normal((side, side), np.float32))
    return np.asarray((field - field.mean()) / field.std(), np.float32)


def grain(rng: np.random.Generator, sigma_px: float) -> Floats:
    """Fine noise of mean 0 and deviation 1 with grains of about `sigma_px`."""
    field = gaussian_filter(rng.standard_normal((SIZE_PX, SIZE_PX), np.float32), sigma_px)
    return np.asarray(field / field.std(), np.float32)


def ramp(values: Floats, low: float, high: float) -> Floats:
    """0 at `low`, 1 at `high`, linear between (either order)."""
    return np.asarray(np.clip((values - np.float32(low)) / np.float32(high - low), 0, 1), np.float32)


def cover(image: Floats, colour: ArrayLike, alpha: Floats) -> None:
    """Paint `colour` (one RGB or an image) over `image` in place, `alpha` thick."""
    image += alpha[..., None] * (np.asarray(colour, np.float32) - image)


def tinted(colour: ArrayLike, variation: Floats) -> Floats:
    """An image of one colour times (1 + variation)."""
    return np.asarray(colour, np.float32) * (1 + variation[..., None])


def polygon_at(corners_px: NDArray[np.float64], side_px: int = SIZE_PX) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns of the pixels whose centre lies in the polygon (x, y corners; pixel centres at .5)."""
    rows, cols = polygon_pixels(corners_px[:, 1] - 0.5, corners_px[:, 0] - 0.5, (side_px, side_px))  # type: ignore[no-untyped-call]  # scikit-image has no stubs
    return rows, cols


@dataclass(frozen=True)
class Trees:
    """Every crown of a scene; index i here is id i + 1 in the id map."""

    x: Floats
    y: Floats
    radius_px: Floats
    height_m: Floats
    colour: Floats  # (n, 3)


def stamp_trees(trees: Trees, rng: np.random.Generator) -> tuple[Floats, Ints]:
    """Height map and id map of all crowns: bumpy domes, the tallest wins."""
    top = np.zeros(SIZE_PX * SIZE_PX, np.int64)
    lobes = rng.uniform(0, 2 * np.pi, len(trees.x)).astype(np.float32)
    for reach in range(3, 16):
        chosen = np.flatnonzero(np.ceil(trees.radius_px * 1.2).astype(int) == reach)
        dy, dx = (grid.ravel() for grid in np.mgrid[-reach : reach + 1, -reach : reach + 1])
        angle = np.arctan2(dy, dx).astype(np.float32)
        away = np.hypot(dy, dx).astype(np.float32)
        edge = trees.radius_px[chosen, None] * (1 + 0.16 * np.sin(3 * angle + lobes[chosen, None]))
        dome = np.sqrt(np.clip(1 - (away / edge) ** 2, 0, None)) * (0.9 + 0.1 * np.cos(5 * angle + lobes[chosen, None]))
        cols = np.round(trees.x[chosen, None]).astype(np.int64) + dx
        rows = np.round(trees.y[chosen, None]).astype(np.int64) + dy
        seen = (dome > 0) & (cols >= 0) & (cols < SIZE_PX) & (rows >= 0) & (rows < SIZE_PX)
        # Height in the high bits, id in the low ones: one maximum finds both the top and whose it is.
        millimetres = (trees.height_m[chosen, None] * (0.35 + 0.65 * dome) * 1000).astype(np.int64)
        packed = (millimetres << 32) | (chosen[:, None] + 1)
        np.maximum.at(top, (rows * SIZE_PX + cols)[seen], packed[seen])
    tops = top.reshape(SIZE_PX, SIZE_PX)
    return (tops >> 32).astype(np.float32) / np.float32(1000), (tops & 0xFFFFFFFF).astype(np.int32)


@dataclass(frozen=True)
class Sun:
    """Where the sun stands, degrees; azimuth clockwise from north (up in the image)."""

    azimuth: float
    elevation: float


def cast_shadow(objects_m: Floats, sun: Sun) -> Floats:
    """Where things that stand on the ground keep the sun off, 0..1."""
    to_x, to_y = np.sin(np.radians(sun.azimuth)), -np.cos(np.radians(sun.azimuth))
    rise_m = float(np.tan(np.radians(sun.elevation))) * PIXEL_SIZE_M
    blocker = np.zeros_like(objects_m)
    for step in range(1, int(objects_m.max() / rise_m) + 1):
        ox, oy = round(step * to_x), round(step * to_y)
        here = (slice(max(0, -oy), SIZE_PX - max(0, oy)), slice(max(0, -ox), SIZE_PX - max(0, ox)))
        there = (slice(max(0, oy), SIZE_PX + min(0, oy)), slice(max(0, ox), SIZE_PX + min(0, ox)))
        np.maximum(blocker[here], objects_m[there] - np.float32(step * rise_m), out=blocker[here])
    return np.asarray(gaussian_filter((blocker > objects_m + 0.25).astype(np.float32), 0.6), np.float32)


def sunlight(ground_m: Floats, objects_m: Floats, shadow: Floats, sun: Sun) -> Floats:
    """(H, W, 3) factor by which the sun and the sky light each pixel; 1 on flat open ground."""
    azimuth, elevation = np.radians(sun.azimuth), np.radians(sun.elevation)
    object_y, object_x = np.gradient(gaussian_filter(objects_m, 0.7), PIXEL_SIZE_M)
    ground_y, ground_x = np.gradient(ground_m, PIXEL_SIZE_M)
    slope_x = np.clip(object_x, -STEEPEST, STEEPEST) + GROUND_EXAGGERATION * ground_x
    slope_y = np.clip(object_y, -STEEPEST, STEEPEST) + GROUND_EXAGGERATION * ground_y
    facing = np.tan(elevation) - slope_x * np.sin(azimuth) + slope_y * np.cos(azimuth)
    direct = np.clip(facing / np.tan(elevation) / np.sqrt(1 + slope_x**2 + slope_y**2), 0, 1.7) * (1 - shadow)
    sky = AMBIENT * (1 + (SHADOW_TINT - 1) * shadow[..., None])
    return np.asarray(sky + (1 - AMBIENT) * direct[..., None], np.float32)


@dataclass(frozen=True)
class Look:
    """What sensor and air do to an image: gain and offset per channel, blur, noise."""

    gain: Floats
    offset: Floats
    blur_px: float
    noise: float

    def expose(self, radiance: Floats, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The delivered 8-bit image. Never exactly black: that value means no data."""
        seen = gaussian_filter(radiance, (self.blur_px, self.blur_px, 0))
        seen += (1 - SATURATION) * (seen.mean(-1, keepdims=True) - seen)
        seen = seen * self.gain + self.offset
        seen += self.noise * rng.standard_normal((SIZE_PX, SIZE_PX, 1), np.float32)
        seen += 0.5 * self.noise * rng.standard_normal(seen.shape, np.float32)
        return np.asarray(np.clip(seen + 0.5, 1, 255), np.uint8)
