"""A third pass of a satellite over a simulated scene: the aftermath once more, under another sun.

What two real images of the same ground differ by is what no model can be asked to foresee.
"""

import numpy as np
from numpy.typing import NDArray

from data.simulation.aftermath import Surface
from data.simulation.capture import SENSORS, acquisitions
from data.simulation.events import Event
from data.simulation.paint import Look, Sun, cast_shadow, sunlight
from data.simulation.place import Place

STREAM = 77  # of random numbers: those of the scene itself must not depend on this pass
HAZE = np.array([5.0, 7.0, 10.0])


def photograph_again(
    scene: tuple[int, int], event: Event, place: Place, surface: Surface, outside: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """The aftermath a day later: the same sensor, another sun and tone, new noise, and a clear sky.

    Args:
        scene: seed and index of the scene.
        event: that struck it.
        place: the ground.
        surface: what became of it.
        outside: pixels beyond the strip of the pair; no data here either.

    Returns:
        (height, width, 3) RGB.
    """
    first, own = acquisitions(event)["post"], np.random.default_rng([*event.name.encode(), STREAM])
    sun = Sun(first.sun.azimuth + own.uniform(-6, 6), first.sun.elevation + own.uniform(-4, 4))
    gain, haze = np.asarray(event.tone_pre) * (1 + own.normal(0, 0.02, 3)), HAZE + own.normal(0, 1.5, 3)
    sensor = SENSORS[first.sensor]
    look = Look(gain.astype(np.float32), haze.astype(np.float32), sensor.blur_px, sensor.noise)
    light = sunlight(place.terrain.ground_m, surface.objects_m, cast_shadow(surface.objects_m, sun), sun)
    image = look.expose(surface.albedo * light, np.random.default_rng((*scene, STREAM)))
    image[outside] = 0
    return image
