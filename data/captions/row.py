"""The facts behind the captions of a built patch, read back from its row."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import shapely

from data.captions.facts import CaptionFacts, House
from data.row_schema import polygons_of
from data.schema import DAMAGE_VALUES
from data.sources.events import describe_event

_NAMES = {value: name for name, value in DAMAGE_VALUES.items()}


def facts_of_row(row: Mapping[str, Any]) -> CaptionFacts:
    """What the builder knew about the patch, as far as the styles `short` and `placed` mention it.

    Args:
        row: of a built dataset; its images are not used.

    Returns:
        The builder's own facts, except that buildings cut by the edge are placed at the centre of their visible part.
        Latitude and captures are left out, which only the long styles mention.
    """
    size = row["size"]
    inside = row["buildings"]
    polygons = polygons_of(row)
    houses = tuple(
        _house(polygon, building["damage"], size)
        for polygon, building in zip(polygons, inside, strict=True)
        if building["counted"]
    )
    damages = [house.damage for house in houses]
    return CaptionFacts(
        event=replace(describe_event(row["event"], row["disaster_type"]), disaster_type=row["disaster_type"]),
        buildings=len(houses) if row["labels"] in ("both", "post", "pre") else None,
        classes={name: damages.count(name) for name in DAMAGE_VALUES} if row["labels"] in ("both", "post") else None,
        only_cut=bool(inside) and not houses,
        patch_id=row["patch_id"],
        size_px=size,
        pixel_size_m=row["pixel_size_m"],
        houses=houses,
        reaching_in=len(inside) - len(houses),
        built_share=min(1.0, float(np.sum(shapely.area(polygons))) / size**2),
    )


def shown_classes(row: Mapping[str, Any]) -> dict[str, int]:
    """Buildings per key of DAMAGE_VALUES of which the patch shows a part, whether or not it counts them."""
    values = [each["damage"] for each in row["buildings"]]
    return {name: values.count(value) for value, name in _NAMES.items()}


def _house(polygon: shapely.Geometry, damage: int | None, size: int) -> House:
    centre = polygon.centroid
    # Of a concave building that is counted here no part may be visible: then its centroid is taken as the middle.
    x, y = (centre.x / size, centre.y / size) if not polygon.is_empty else (0.5, 0.5)
    return House(x, y, polygon.area, None if damage is None else _NAMES[damage])
