"""What a caption may say about a patch according to the labels of its scene."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import numpy as np
import shapely

from data.captions.layout import Layout, arrangement, position
from data.captions.severity import DAMAGE_THIRDS, MODERATE_FROM, SEVERE_FROM
from data.errors import DataError
from data.imagery.geo import Location
from data.patches.tiles import PatchBuilding, Window
from data.schema import DAMAGE_VALUES
from data.sources.events import Event
from data.sources.labels import Label, Phase


@dataclass(frozen=True)
class CaptionOptions:
    """The user's choices for captions."""

    seed: int = 0  # of the phrasings
    moderate_from: float = MODERATE_FROM  # damage ratio
    severe_from: float = SEVERE_FROM

    def __post_init__(self) -> None:
        """Stop on thresholds that leave a word without a range."""
        if not 0 < self.moderate_from < self.severe_from <= 1:
            raise DataError(
                f"moderate_from is {self.moderate_from} and severe_from is {self.severe_from}; "
                "expected 0 < moderate < severe <= 1."
            )


@dataclass(frozen=True)
class House:
    """A building that counts in the patch."""

    x: float  # of its centroid: share of the patch, 0 = west edge
    y: float  # 0 = north edge
    area_px: float  # of its whole footprint
    damage: str | None  # a key of DAMAGE_VALUES; None without a post label


@dataclass(frozen=True)
class Capture:
    """How one image was taken; None = unknown."""

    day: date | None = None
    sensor: str | None = None  # as in the label
    off_nadir_deg: float | None = None
    sun_elevation_deg: float | None = None


@dataclass(frozen=True)
class CaptionFacts:
    """What may be said about a patch. Unknown numbers are NaN."""

    event: Event
    buildings: int | None  # counted in this patch; None without a label
    classes: Mapping[str, int] | None  # buildings per key of DAMAGE_VALUES; None without a post label
    only_cut: bool  # buildings reach into the patch, but none is counted here
    patch_id: str = ""
    size_px: int = 0
    pixel_size_m: float = math.nan
    latitude: float = math.nan
    houses: tuple[House, ...] = ()  # the counted ones
    reaching_in: int = 0  # buildings counted elsewhere
    built_share: float = 0.0  # of the patch, under footprints
    captures: Mapping[Phase, Capture] = field(default_factory=dict)


def caption_facts(
    patch_id: str,
    event: Event,
    labels: Mapping[Phase, Label],
    location: Location,
    window: Window,
    inside: Sequence[PatchBuilding],
) -> CaptionFacts:
    """Gather the facts of the patch that `window` cuts out of a scene."""
    houses = tuple(_house(placed, window) for placed in inside if placed.counted)
    damages = [house.damage for house in houses]
    footprints = shapely.from_wkt([placed.wkt for placed in inside])
    return CaptionFacts(
        event=event,
        buildings=len(houses) if labels else None,
        classes={name: damages.count(name) for name in DAMAGE_VALUES} if "post" in labels else None,
        only_cut=bool(inside) and not houses,
        patch_id=patch_id,
        size_px=window.size,
        pixel_size_m=location.pixel_size_m,
        latitude=location.lat,
        houses=houses,
        reaching_in=len(inside) - len(houses),
        built_share=min(1.0, float(np.sum(shapely.area(footprints))) / window.size**2),
        captures={phase: _capture(label) for phase, label in labels.items()},
    )


def layout_of(facts: CaptionFacts) -> Layout:
    """Where the buildings and their damage lie."""
    points = [(house.x, house.y) for house in facts.houses]
    intact = [point for point, house in zip(points, facts.houses, strict=True) if house.damage == "no-damage"]
    return Layout(
        buildings=position(points, [1] * len(points)),
        damage=position(points, [DAMAGE_THIRDS.get(house.damage or "", 0) for house in facts.houses]),
        intact=position(intact, [1] * len(intact)),
        arrangement=arrangement(points),
    )


def _house(placed: PatchBuilding, window: Window) -> House:
    polygon = placed.building.polygon
    centre = polygon.centroid  # past the edge if the polygon reaches out of the scene
    x, y = ((value - edge) / window.size for value, edge in ((centre.x, window.col), (centre.y, window.row)))
    return House(min(max(x, 0.0), 1.0), min(max(y, 0.0), 1.0), polygon.area, placed.building.subtype)


def _capture(label: Label) -> Capture:
    sensor = label.sensor
    return Capture(
        day=label.capture_date,
        sensor=None if sensor["sensor"] is None else str(sensor["sensor"]),
        off_nadir_deg=_number(sensor["off_nadir_angle"]),
        sun_elevation_deg=_number(sensor["sun_elevation"]),
    )


def _number(value: str | float | None) -> float | None:
    return None if value is None else float(value)
