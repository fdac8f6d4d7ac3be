"""What is known of the nineteen events of xBD, and words for events that are not among them."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from data.errors import DataError


@dataclass(frozen=True)
class Event:
    """An event in the words of a caption. Places carry no compass words: views may be mirrored."""

    place: str  # "" if unknown
    country: str
    cause: str  # follows "before": must not mention damage
    effect: str  # follows "after"
    disaster_type: str  # as in the labels, for scenes without one


def _event(place: str, country: str, disaster_type: str, cause: str, effect: str = "") -> Event:
    return Event(place, country, cause, effect or cause, disaster_type)


# Places are those of the label polygons where known (docs/xbd.md). Disaster types of tier3 follow the first ten events.
EVENTS = {
    "guatemala-volcano": _event("Volcan de Fuego, Guatemala", "Guatemala", "volcano", "a volcanic eruption"),
    "hurricane-florence": _event("the Carolinas, USA", "USA", "flooding", "a hurricane", "hurricane flooding"),
    "hurricane-harvey": _event("Houston, Texas", "USA", "flooding", "a hurricane", "hurricane flooding"),
    "hurricane-matthew": _event("Haiti", "Haiti", "wind", "a hurricane", "hurricane winds"),
    "hurricane-michael": _event("the Florida Panhandle", "USA", "wind", "a hurricane", "hurricane winds"),
    "mexico-earthquake": _event("Mexico City", "Mexico", "earthquake", "an earthquake"),
    "midwest-flooding": _event("the central United States", "USA", "flooding", "flooding"),
    "palu-tsunami": _event("Palu, Indonesia", "Indonesia", "tsunami", "a tsunami"),
    "santa-rosa-wildfire": _event("Santa Rosa, California", "USA", "fire", "a wildfire"),
    "socal-fire": _event("coastal California", "USA", "fire", "a wildfire"),
    "joplin-tornado": _event("Joplin, Missouri", "USA", "wind", "a tornado"),
    "lower-puna-volcano": _event("Lower Puna, Hawaii", "USA", "volcano", "a volcanic eruption"),
    "moore-tornado": _event("Moore, Oklahoma", "USA", "wind", "a tornado"),
    "nepal-flooding": _event("the plains of Nepal and India", "Nepal", "flooding", "flooding"),
    "pinery-bushfire": _event("Pinery, Australia", "Australia", "fire", "a bushfire"),
    "portugal-wildfire": _event("central Portugal", "Portugal", "fire", "a wildfire"),
    "sunda-tsunami": _event("the Sunda Strait, Indonesia", "Indonesia", "tsunami", "a tsunami"),
    "tuscaloosa-tornado": _event("Tuscaloosa, Alabama", "USA", "wind", "a tornado"),
    "woolsey-fire": _event("Malibu, California", "USA", "fire", "a wildfire"),
}

# Both were imaged in the same weeks over the same hills: held out together or not at all.
SAME_GROUND = {"woolsey-fire": "socal-fire"}

# The disaster types of xBD and the words for them.
CAUSES = {
    "earthquake": "an earthquake",
    "fire": "a wildfire",
    "flooding": "flooding",
    "tsunami": "a tsunami",
    "volcano": "a volcanic eruption",
    "wind": "a windstorm",
}


def describe_event(event: str, disaster_type: str) -> Event:
    """The event's entry, or words made from the label's disaster type ("" if that is unknown too)."""
    if event in EVENTS:
        return EVENTS[event]
    article = "an" if disaster_type[:1] in tuple("aeiou") else "a"
    cause = CAUSES.get(disaster_type, f"{article} {disaster_type or 'disaster'}")
    return Event(place="", country="", cause=cause, effect=cause, disaster_type=disaster_type)


def check_events(names: Iterable[str], known: Iterable[str], where: str) -> None:
    """Stop on a name that is not a known event; the error says `where` it was looked for."""
    events = sorted(set(known))
    for name in names:
        if name not in events:
            near = difflib.get_close_matches(name, events, 1, 0.5)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise DataError(f"no event {name!r} in {where}. {hint}It has {', '.join(events)}.")
