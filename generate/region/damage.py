"""Invented damage over the ground of a tile: a force that differs by disaster, and the classes that it makes.

The force has no unit. A building becomes minor, major, destroyed at quantiles of the force over many invented disasters
of the kind, so that the whole set has the plan's shares of the classes, however densely its regions are built.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from data.examples.invented_damage import CLASSES
from generate.region.plan import Plan

Floats = NDArray[np.float64]
Force = Callable[[Floats, np.random.Generator], Floats]

LEVELS = ((0.0, 1 / 3), (1 / 3, 2 / 3), (2 / 3, 1.0))  # slight, moderate, severe
SPREAD = 0.8  # of the force over a tile, compared with its level
CALIBRATED_ON = 1500  # invented disasters
BUILDINGS = 16  # of each


def _waves(places: Floats, rng: np.random.Generator, waves: int, count: int = 6) -> Floats:
    """A smooth field, about -1 to 1: a few plane waves of up to so many periods over the tile."""
    angles, phases = rng.uniform(0, 2 * np.pi, (2, count))
    frequencies = rng.uniform(0.3, 1, count) * waves
    along = places @ np.stack([np.cos(angles), np.sin(angles)]) * frequencies
    return np.asarray(np.sin(2 * np.pi * along + phases).sum(axis=1) / np.sqrt(2 * count))


def _side(places: Floats, rng: np.random.Generator) -> Floats:
    """From -0.7 on one side of the tile to 0.7 on the other."""
    angle = rng.uniform(0, 2 * np.pi)
    return np.asarray((places - 0.5) @ [np.cos(angle), np.sin(angle)])


def _flooding(places: Floats, rng: np.random.Generator) -> Floats:
    """Low ground winds through the tile; its banks are steep."""
    return np.asarray(np.tanh(2 * (_side(places, rng) + 0.6 * _waves(places, rng, 2))))


def _wind(places: Floats, rng: np.random.Generator) -> Floats:
    """A track, inside or outside of the tile; the force falls off on both sides."""
    return 1 - 2 * np.minimum(np.abs(_side(places, rng) - rng.uniform(-0.6, 0.6)), 1) + _jitter(places, rng, 0.25)


def _fire(places: Floats, rng: np.random.Generator) -> Floats:
    """Burnt and spared patches; little between them."""
    return np.tanh(4 * _waves(places, rng, 3)) + _jitter(places, rng, 0.2)


def _earthquake(places: Floats, rng: np.random.Generator) -> Floats:
    """Much the same everywhere; houses differ more than places."""
    return 0.3 * _side(places, rng) + _jitter(places, rng, 0.6)


def _tsunami(places: Floats, rng: np.random.Generator) -> Floats:
    """From the coast inland."""
    return np.asarray(1.4 * _side(places, rng) + _jitter(places, rng, 0.1))


def _volcano(places: Floats, rng: np.random.Generator) -> Floats:
    """From a vent beside the tile."""
    angle = rng.uniform(0, 2 * np.pi)
    vent = 0.5 + rng.uniform(0.5, 1.2) * np.array([np.cos(angle), np.sin(angle)])
    return np.asarray(1 - np.linalg.norm(places - vent, axis=1) + _jitter(places, rng, 0.15))


def _jitter(places: Floats, rng: np.random.Generator, spread: float) -> Floats:
    return np.asarray(rng.normal(0, spread, len(places)))


FORCES: Mapping[str, Force] = {
    "flooding": _flooding,
    "wind": _wind,
    "fire": _fire,
    "earthquake": _earthquake,
    "tsunami": _tsunami,
    "volcano": _volcano,
}


def force_on(disaster: str, severity: int, places: Floats, rng: np.random.Generator) -> Floats:
    """The force at places of a tile.

    Args:
        disaster: a key of FORCES.
        severity: index of LEVELS.
        places: (n, 2): x, y as shares of the tile's side.
        rng: decides everything.
    """
    return rng.uniform(*LEVELS[severity]) + SPREAD * FORCES[disaster](places, rng)


def invent(plan: Plan, disaster: str, severity: int, places: Floats, rng: np.random.Generator) -> list[str]:
    """A damage class for each building; see `force_on`."""
    force = force_on(disaster, severity, places, rng)
    return [CLASSES[index] for index in np.searchsorted(thresholds(plan, disaster), force, side="right")]


def thresholds(plan: Plan, disaster: str) -> Floats:
    """(3,) forces of a disaster from which a building has minor damage, major damage, is destroyed."""
    return _thresholds(disaster, tuple(plan.severity.shares()), tuple(plan.classes.shares()))


@lru_cache(maxsize=16)
def _thresholds(disaster: str, severity: tuple[float, ...], classes: tuple[float, ...]) -> Floats:
    rng = np.random.default_rng(0)
    levels = rng.choice(3, CALIBRATED_ON, p=severity)
    forces = [force_on(disaster, level, rng.uniform(0, 1, (BUILDINGS, 2)), rng) for level in levels]
    edges = np.cumsum(classes)[:3]
    found = np.quantile(np.concatenate(forces), np.minimum(edges, 1.0))
    return np.where(edges <= 0, -np.inf, np.where(edges >= 1 - 1e-9, np.inf, found))  # a class without a share
