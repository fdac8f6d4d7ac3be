"""Captions made from the labels, in two styles, for the pre and for the post image of a patch.

`diffusionsat`: the sentence DiffusionSat was trained on, word for word. `short`: place, disaster, severity, counts.
Nothing depends on left and right or on the compass, so that a caption also fits the mirrored view.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from data.events import Event
from data.labels import Phase

# Severity from the mean damage of the assessable buildings: 0 = all intact, 1 = all destroyed.
DAMAGE_WEIGHTS = {"no-damage": 0.0, "minor-damage": 1 / 3, "major-damage": 2 / 3, "destroyed": 1.0}
MODERATE_FROM = 0.1
SEVERE_FROM = 0.4

_STATES = {
    "destroyed": "destroyed",
    "major-damage": "with major damage",
    "minor-damage": "with minor damage",
}


@dataclass(frozen=True)
class CaptionFacts:
    """What may be said of a patch."""

    event: Event
    buildings: int | None  # counted in this patch; None without a label
    classes: Mapping[str, int] | None  # buildings per key of DAMAGE_VALUES; None without a post label
    only_cut: bool  # buildings reach into the patch, but none is counted here


def captions(facts: CaptionFacts) -> list[dict[str, str]]:
    """All captions of a patch, as in the `captions` column."""
    texts = {
        ("diffusionsat", "post"): diffusionsat_caption(facts.event.disaster_type, "post"),
        ("diffusionsat", "pre"): diffusionsat_caption(facts.event.disaster_type, "pre"),
        ("short", "post"): short_post_caption(facts),
        ("short", "pre"): short_pre_caption(facts),
    }
    return [{"style": style, "target": target, "text": text} for (style, target), text in texts.items()]


def diffusionsat_caption(disaster_type: str, target: Phase) -> str:
    """DiffusionSat's xBD caption with no part dropped; its grammar is what the released models know."""
    if not disaster_type:
        return "a fmow satellite image"
    when = "before" if target == "pre" else "after"
    return f"a fmow satellite image {when} being affected by a {disaster_type} natural disaster"


def short_pre_caption(facts: CaptionFacts) -> str:
    """The patch before the event; what the event did is not in this image and not in its caption."""
    start = f"{_image_of(facts.event)} before {facts.event.cause}"
    if facts.buildings is None or facts.only_cut:
        return start
    return f"{start}, {_count(facts.buildings)}"


def short_post_caption(facts: CaptionFacts) -> str:
    """The patch after the event, with severity and counts as far as the labels tell them."""
    start = f"{_image_of(facts.event)} after {facts.event.effect}"
    if facts.classes is None or facts.only_cut:
        return start
    if not sum(facts.classes.values()):
        return f"{start}: no buildings"  # the ground may be ruined all the same: no severity
    return f"{start}: {_damage(facts.classes)}"


def damage_ratio(classes: Mapping[str, int]) -> float | None:
    """Mean damage of the assessable buildings, 0 to 1; None without any."""
    assessable = sum(classes[name] for name in DAMAGE_WEIGHTS)
    if not assessable:
        return None
    return sum(weight * classes[name] for name, weight in DAMAGE_WEIGHTS.items()) / assessable


def severity(ratio: float) -> str:
    """One of none, slight, moderate, severe."""
    if ratio == 0:
        return "none"
    if ratio < MODERATE_FROM:
        return "slight"
    return "moderate" if ratio < SEVERE_FROM else "severe"


def _image_of(event: Event) -> str:
    return f"a satellite image of {event.place}" if event.place else "a satellite image"


def _damage(classes: Mapping[str, int]) -> str:
    total, unknown = sum(classes.values()), classes["un-classified"]
    ratio = damage_ratio(classes)
    if ratio is None:
        return f"{_count(total)} of unknown damage"
    if ratio == 0:
        intact = total - unknown
        parts = [f"no damage to {_share(intact, total) if unknown or total == 1 else f'any of {total} buildings'}"]
    else:
        shares = [(classes[name], state) for name, state in _STATES.items() if classes[name]]
        (first, state), *others = shares
        parts = [f"{severity(ratio)} damage", f"{_share(first, total)} {state}"]
        parts += [f"{number} {state}" for number, state in others]
    return ", ".join(parts + [f"{unknown} of unknown damage"] * bool(unknown))


def _share(number: int, total: int) -> str:
    if total == 1:
        return "the only building"
    if number == total:
        return "both buildings" if total == 2 else f"all {total} buildings"
    return f"{number} of {total} buildings"


def _count(number: int) -> str:
    return {0: "no buildings", 1: "one building"}.get(number, f"{number} buildings")
