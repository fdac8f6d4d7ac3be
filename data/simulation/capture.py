"""Two passes of a satellite over a simulated scene: sun, cloud, registration, sensor tone, strip border."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.ndimage import shift as move

from data.simulation.aftermath import Surface
from data.simulation.events import Event
from data.simulation.paint import SIZE_PX, Floats, Look, Sun, cast_shadow, cover, noise, ramp, sunlight
from data.simulation.place import Place


@dataclass(frozen=True)
class Sensor:
    """A camera in orbit."""

    gsd_m: float  # multispectral, straight down
    blur_px: float
    noise: float  # of 8-bit values
    catalog_prefix: str


SENSORS = {
    "WORLDVIEW02": Sensor(1.85, 0.75, 2.2, "1030010"),
    "WORLDVIEW03_VNIR": Sensor(1.24, 0.6, 1.8, "1040010"),
    "GEOEYE01": Sensor(1.65, 0.7, 2.0, "1050010"),
}
SHIFTED_SHARE = 0.2  # of post images do not lie exactly on pre
WEDGE_SHARE = 0.05  # of scenes touch the border of the satellite's strip
VEILED_SHARE = 0.25  # of struck scenes have a cloud or smoke over a part
CLOUD, SMOKE = (226.0, 228.0, 232.0), (182.0, 178.0, 172.0)
SHADOW_CHANGE = 0.5  # how much of a change it is when the shadow of something that fell is gone


@dataclass(frozen=True)
class Capture:
    """One acquisition: what the metadata of a label file says of it."""

    sensor: str
    date: str
    catalog_id: str
    off_nadir: float
    target_azimuth: float
    sun: Sun


@dataclass(frozen=True)
class Pair:
    """The delivered images and what is true of them."""

    images: dict[str, NDArray[np.uint8]]  # "pre", "post"
    change: NDArray[np.uint8]  # by the disaster, also below the veil, on the pixels of post
    veil: Floats  # opacity of cloud or smoke over post
    outside: NDArray[np.bool_]  # no data


def acquisitions(event: Event) -> dict[str, Capture]:
    """The two passes that all scenes of the event share; the sun stands nearly alike, so shadows stay comparable."""
    rng = np.random.default_rng(list(event.name.encode()))
    noon = 150.0 if event.lat > 0 else 35.0
    azimuth, elevation = noon + rng.uniform(-14, 14), rng.uniform(42, 62)
    found = {}
    for phase, (sensor, minute) in (("pre", event.pre), ("post", event.post)):
        sun = Sun(azimuth + rng.uniform(-6, 6), elevation + rng.uniform(-4, 4))
        catalog = SENSORS[sensor].catalog_prefix + "".join(f"{digit:X}" for digit in rng.integers(16, size=9))
        date = f"{minute}:{int(rng.integers(60)):02d}.000Z"
        found[phase] = Capture(sensor, date, catalog, rng.uniform(6, 27), rng.uniform(0, 360), sun)
    return found


def photograph(
    rng: np.random.Generator,
    event: Event,
    place: Place,
    surface: Surface,
    captures: dict[str, Capture],
    pre_veil: Floats | None = None,
) -> Pair:
    """Both images and the true change between them; `pre_veil` is the opacity of cloud over pre."""
    ground, sun = place.terrain.ground_m, captures["post"].sun
    pre_shadow = cast_shadow(place.objects_m, captures["pre"].sun)
    pre = place.albedo * sunlight(ground, place.objects_m, pre_shadow, captures["pre"].sun)
    if pre_veil is not None:
        cover(pre, CLOUD, pre_veil)
    post_shadow = cast_shadow(surface.objects_m, sun)
    post = surface.albedo * sunlight(ground, surface.objects_m, post_shadow, sun)
    change, veil = surface.changed, np.zeros_like(surface.changed)
    if change.any():
        was_shadow = cast_shadow(place.objects_m, sun)
        change = np.maximum(change, SHADOW_CHANGE * np.abs(was_shadow - post_shadow))
        if rng.random() < VEILED_SHARE:
            veil = ramp(noise(rng, 2, 5, 0.45), 0.7, 1.9) * np.float32(0.95)
            cover(post, SMOKE if event.disaster_type in ("fire", "volcano") else CLOUD, veil)
    if rng.random() < SHIFTED_SHARE:
        offset = np.clip(rng.normal(0, 0.8, 2), -3, 3)
        post = move(post, (*offset, 0), order=1, mode="nearest")
        change, veil = (move(field, offset, order=1, mode="nearest") for field in (change, veil))
    images = {
        phase: _look(rng, event, captures[phase].sensor, phase).expose(radiance, rng)
        for phase, radiance in (("pre", pre), ("post", post))
    }
    change_8bit = np.round(change * 255).astype(np.uint8)
    outside = _wedge(rng) if rng.random() < WEDGE_SHARE else np.zeros((SIZE_PX, SIZE_PX), np.bool_)
    for image in (*images.values(), change_8bit):
        image[outside] = 0
    return Pair(images, change_8bit, veil, outside)


def unforeseeable(pair: Pair, before: Sequence[Floats]) -> NDArray[np.uint8]:
    """How much of each pixel (0..255) shows what no model can know from the images before the event.

    That is cloud or smoke over post, and missing data. Ground under cloud in pre counts where every other image before
    the event is cloudy too: what one of them shows is theirs to tell.

    Args:
        pair: the delivered images.
        before: opacity of the cloud over pre and each earlier image; empty if they are clear.
    """
    blur_px = max(sensor.blur_px for sensor in SENSORS.values())  # as far as a camera smears it
    opacity, *hidden = (gaussian_filter(veil, blur_px) for veil in (pair.veil, *before))
    if hidden:
        opacity = np.maximum(opacity, np.minimum.reduce(hidden))
    return np.where(pair.outside, 255, np.round(opacity * 255)).astype(np.uint8)


def _wedge(rng: np.random.Generator) -> NDArray[np.bool_]:
    """Pixels beyond the slanted border of the satellite's strip."""
    rows, cols = np.mgrid[:SIZE_PX, :SIZE_PX]
    edge = cols + rng.uniform(-0.2, 0.2) * rows < rng.uniform(60, 260)
    return np.asarray(edge if rng.random() < 0.5 else edge[:, ::-1])


def _look(rng: np.random.Generator, event: Event, sensor: str, phase: str) -> Look:
    """The tone of an acquisition: pre has the event's, post differs from it by a few per cent."""
    own = np.random.default_rng([*event.name.encode(), phase == "post"])
    drift = own.normal(0, 0.02, 3) if phase == "post" else np.zeros(3)
    gain = np.asarray(event.tone_pre) * (1 + drift + rng.normal(0, 0.004, 3))
    haze = np.array([5.0, 7.0, 10.0]) + (own.normal(0, 1.5, 3) if phase == "post" else 0)
    return Look(gain.astype(np.float32), haze.astype(np.float32), SENSORS[sensor].blur_px, SENSORS[sensor].noise)
