"""Scenes that differ in season and scale as their metadata say, so that there is something to learn from these."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
from PIL import Image

from data.simulation.capture import Capture
from data.simulation.paint import Floats
from data.simulation.release import Scene

FIRST_DAY, PRE_DAYS, POST_DAYS = date(2014, 1, 1), 3 * 365, 730  # pre within the former, post so long after it
STRAW = np.array((182.0, 156.0, 104.0), np.float32)  # plants in the middle of winter
WITHERED = 0.9  # how much of their colour they then have
FULL_SEASONS_DEG = 30.0  # from this latitude on; there are none at the equator
SCALES = np.array([1, 2**0.5, 2, 8**0.5, 4])  # how many times larger a pixel is


def own_dates(rng: np.random.Generator, captures: dict[str, Capture]) -> dict[str, Capture]:
    """Captures on days of the scene's own, at any time of the year; post after pre."""
    pre = FIRST_DAY + timedelta(int(rng.integers(PRE_DAYS)))
    days = {"pre": pre, "post": pre + timedelta(int(rng.integers(1, POST_DAYS)))}
    return {phase: replace(capture, date=f"{days[phase]}{capture.date[10:]}") for phase, capture in captures.items()}


def winter(taken: date, lat: float) -> float:
    """How withered plants are: 1 in the middle of January, 0 in that of July; the other way round in the south."""
    turn = np.cos(2 * np.pi * (taken.timetuple().tm_yday - 15) / 365)
    return float(min(1, abs(lat) / FULL_SEASONS_DEG) * (0.5 + 0.5 * np.sign(lat) * turn))


def in_season(albedo: Floats, plants: Floats, capture: Capture, lat: float) -> Floats:
    """An albedo (H, W, 3) whose plants (0..1) have the colour of the day; how light or dark they are stays."""
    share = plants[..., None] * np.float32(WITHERED * winter(date.fromisoformat(capture.date[:10]), lat))
    straw = STRAW * (albedo.mean(-1, keepdims=True) / STRAW.mean())
    return np.asarray(albedo + share * (straw - albedo), np.float32)


def own_scale(rng: np.random.Generator, scene: Scene) -> Scene:
    """The scene as a coarser camera sees it; coarse ones are drawn more often, as they give fewer patches."""
    factor = float(rng.choice(SCALES, p=SCALES**2 / (SCALES**2).sum()))
    side = round(len(scene.change) / factor)
    factor = len(scene.change) / side
    return replace(
        scene,
        images={phase: _reduced(image, side) for phase, image in scene.images.items()},
        change=_reduced(scene.change, side),
        cover=_reduced(scene.cover, side),
        polygons=[polygon / factor for polygon in scene.polygons],
        pixel_size_m=scene.pixel_size_m * factor,
    )


def _reduced(image: np.ndarray, side: int) -> np.ndarray:
    """Each new pixel is the mean of the ground that it covers."""
    return np.asarray(Image.fromarray(image).resize((side, side), Image.Resampling.BOX))
