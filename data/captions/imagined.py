"""The facts of a place that someone imagines, so that the builder's own code writes its caption."""

import math
from dataclasses import replace

from data.captions.facts import CaptionFacts, House
from data.captions.layout import COMPASS, Layout
from data.schema import DAMAGE_VALUES
from data.sources.events import describe_event

SEVERITIES = ("none", "slight", "moderate", "severe")
POSITIONS = (*COMPASS, "centre", "throughout")
TYPICAL_SIZE_PX, TYPICAL_HOUSE_PX = 512, 400  # of a patch and the area of a house in it, where no image says them


def damages_of(severity: str, total: int) -> tuple[int, int]:
    """How many of the buildings have minor damage and how many are destroyed; mean damage 0, 0.05, 0.25, 1."""
    return {
        "none": (0, 0),
        "slight": (max(1, total // 6), 0),
        "moderate": (0, max(1, round(total / 4))),
        "severe": (0, total),
    }[severity]


def damaged(facts: CaptionFacts, minor: int, destroyed: int) -> CaptionFacts:
    """The same patch with this many of its buildings damaged; all others are intact."""
    damages = ["minor-damage"] * minor + ["destroyed"] * destroyed
    damages += ["no-damage"] * (len(facts.houses) - len(damages))
    houses = tuple(replace(house, damage=damage) for house, damage in zip(facts.houses, damages, strict=True))
    classes = {name: damages.count(name) for name in DAMAGE_VALUES}
    return replace(facts, houses=houses, buildings=len(houses), classes=classes)


def imagined(
    event: str, disaster_type: str, severity: str, position: str, buildings: int | None
) -> tuple[CaptionFacts, Layout]:
    """Facts and layout of a patch of which nothing but this is known.

    Args:
        event: one of EVENTS, or "".
        disaster_type: of it; "" = unknown, or as the event says.
        severity: one of SEVERITIES, or "" if it is not to be said.
        position: where the damage lies: one of POSITIONS, or "".
        buildings: how many there are; None = not to be said, nor how severe their damage is.
    """
    described = describe_event(event, disaster_type)
    facts = CaptionFacts(
        replace(described, disaster_type=disaster_type or described.disaster_type),
        buildings=buildings,
        classes=None,
        only_cut=False,
        size_px=TYPICAL_SIZE_PX,
        houses=tuple(_house(i, buildings or 0) for i in range(buildings or 0)),
    )
    arrangement = {0: "", 1: "single"}.get(buildings or 0, "scattered")
    layout = Layout("throughout" if (buildings or 0) > 2 else "", position, "", arrangement)
    if buildings is None or not severity:
        return facts, layout
    if not buildings:
        return replace(facts, classes=dict.fromkeys(DAMAGE_VALUES, 0)), layout
    return damaged(facts, *damages_of(severity, buildings)), layout


def _house(place: int, total: int) -> House:
    """One of a loose square of houses."""
    columns = math.ceil(math.sqrt(total))
    return House(((place % columns) + 0.5) / columns, ((place // columns) + 0.5) / columns, TYPICAL_HOUSE_PX, None)
