"""Earlier passes over a simulated place: other seasons, light and air, and cloud over other parts of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as move

from data.simulation.capture import CLOUD, SENSORS
from data.simulation.events import Event
from data.simulation.paint import Floats, Look, Sun, cast_shadow, cover, noise, ramp, sunlight
from data.simulation.place import Place

CLOUDED_SHARE = (0.3, 0.7)  # of a pass, pre itself too: what none of them shows alone, several show together
DAYS_APART = (24, 150)
OFFSET_PX = 0.25  # standard deviation of how far an earlier pass lies from pre


@dataclass(frozen=True)
class EarlierLook:
    """One delivered image of the place from before the pre image."""

    image: NDArray[np.uint8]
    date: str  # 2016-08-31
    veil: Floats  # opacity of the cloud

    @property
    def cloud_cover(self) -> float:
        """Mean opacity, 0..1."""
        return float(self.veil.mean())


@dataclass(frozen=True)
class _Pass:
    """What all scenes of an event share of an earlier pass."""

    day: datetime
    sensor: str
    sun: Sun
    dryness: float  # of the plants, 0 as in the pre image .. 1
    look: Look


def cloud_field(rng: np.random.Generator) -> Floats:
    """Opacity of the cloud over one pass."""
    field = noise(rng, 6, 5, 0.45)
    edge = float(np.quantile(field, 1 - rng.uniform(*CLOUDED_SHARE)))
    return ramp(field, edge - 0.15, edge + 0.15) * np.float32(0.97)


def look_back(seed: int, index: int, event: Event, place: Place, looks: int) -> list[EarlierLook]:
    """The newest `looks` passes before pre over scene `index`, the oldest first.

    A pass does not depend on how many are asked for. Buildings, roads and trees are those of the pre image.
    """
    found = []
    for number, earlier in enumerate(_passes(event, looks), 2):  # 1 is the cloud over pre
        rng = np.random.default_rng((seed, index, number))
        green = place.green[..., None] * np.float32(earlier.dryness)
        faded = np.asarray(event.climate.dry, np.float32) / np.asarray(event.climate.grass, np.float32)
        shadow = cast_shadow(place.objects_m, earlier.sun)
        radiance = place.albedo * (1 + green * (faded - 1))
        radiance = radiance * sunlight(place.terrain.ground_m, place.objects_m, shadow, earlier.sun)
        radiance = move(radiance, (*rng.normal(0, OFFSET_PX, 2), 0), order=1, mode="nearest")
        veil = cloud_field(rng)
        cover(radiance, CLOUD, veil)
        found.append(EarlierLook(earlier.look.expose(radiance, rng), f"{earlier.day:%Y-%m-%d}", veil))
    return found[::-1]


def _passes(event: Event, looks: int) -> list[_Pass]:
    """The newest first."""
    rng = np.random.default_rng([*event.name.encode(), 2])
    day, found = datetime.fromisoformat(event.pre[1]), []
    for _ in range(looks):
        day -= timedelta(days=int(rng.integers(*DAYS_APART)))
        sensor = str(rng.choice(list(SENSORS)))
        # The sun's declination by the day of the year; most such satellites pass in the late morning.
        declination = -23.4 * np.cos(2 * np.pi * (day.timetuple().tm_yday + 10) / 365)
        elevation = float(np.clip(82 - abs(event.lat - declination), 22, 72))
        sun = Sun((150.0 if event.lat > declination else 35.0) + rng.uniform(-14, 14), elevation)
        haze = np.array([5.0, 7.0, 10.0]) * rng.uniform(0.6, 2.6)
        gain = np.asarray(event.tone_pre) * (1 + rng.normal(0, 0.05)) * (1 + rng.normal(0, 0.01, 3))
        look = Look(gain.astype(np.float32), haze.astype(np.float32), SENSORS[sensor].blur_px, SENSORS[sensor].noise)
        found.append(_Pass(day, sensor, sun, float(rng.uniform(0, 0.8)), look))
    return found
