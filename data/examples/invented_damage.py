"""Invented damage for known footprints: what a disaster might have done to the buildings of a place.

Each patch has a disaster of its own: a force that changes evenly across it, from nothing to total, so that neighbours
fare alike and all four classes are about equally frequent, unlike in real events.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.features import rasterize

from data.captions.facts import CaptionFacts
from data.captions.row import facts_of_row
from data.row_schema import polygons_of
from data.schema import DAMAGE_VALUES

CLASSES = ("no-damage", "minor-damage", "major-damage", "destroyed")
STEEPEST = 0.8  # change of the force from one side of a patch to the other
JITTER = 0.08  # neighbours differ a little
FORCES = (0.25, 0.5, 0.75)  # at which a building becomes minor, major, destroyed


def invent_classes(centres: NDArray[np.float64], size: int, rng: np.random.Generator) -> list[str]:
    """A damage class for each building.

    Args:
        centres: (n, 2): x right, y down, px.
        size: side of the patch, px.
        rng: decides everything.
    """
    level, angle, slope = rng.uniform(0, 1), rng.uniform(0, 2 * np.pi), rng.uniform(0, STEEPEST)
    along = (centres - size / 2) @ [np.cos(angle), np.sin(angle)] / size
    force = level + slope * along + rng.normal(0, JITTER, len(centres))
    return [CLASSES[index] for index in np.digitize(force, FORCES)]


def invented_damage(row: Mapping[str, Any], rng: np.random.Generator) -> tuple[NDArray[np.uint8], CaptionFacts] | None:
    """A damage mask for the footprints of a dataset row, and the matching facts of a caption.

    Args:
        row: with patch_id, buildings, size, pixel_size_m, event, disaster_type; damage labels are ignored.
        rng: decides everything.

    Returns:
        mask (size, size): 0 no building, 1 to 4 damage; and what `facts_of_row` would say of it. None without
        footprints.
    """
    if not row["buildings"]:
        return None
    polygons = polygons_of(row)
    centres = shapely.get_coordinates(shapely.centroid(polygons))
    names = invent_classes(centres, row["size"], rng)
    shapes = sorted(zip(polygons, (DAMAGE_VALUES[name] for name in names), strict=True), key=lambda shape: shape[1])
    mask = rasterize(shapes, out_shape=(row["size"], row["size"]), fill=0, dtype="uint8")
    counted = [name for name, building in zip(names, row["buildings"], strict=True) if building["counted"]]
    named = {"event": row["event"] or "", "disaster_type": row["disaster_type"] or ""}
    known = facts_of_row({**row, **named, "labels": "both"})
    facts = replace(
        known,
        houses=tuple(replace(house, damage=name) for house, name in zip(known.houses, counted, strict=True)),
        classes={name: counted.count(name) for name in DAMAGE_VALUES},
    )
    return mask, facts
