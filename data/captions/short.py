"""The `short` and `placed` captions of a patch: one line that fits a CLIP text encoder.

The first is always worded the same (the released tiny base was trained on it) and knows no directions; the second
also says where the damage lies and how the buildings are arranged, in one of several phrasings.
"""

from collections.abc import Mapping

from data.captions.facts import CaptionFacts, CaptionOptions
from data.captions.layout import Layout
from data.captions.length import shortened
from data.captions.severity import damage_ratio, severity
from data.captions.words import Phrasing, amount, counted
from data.sources.events import Event
from data.sources.labels import Phase

STATES = {"destroyed": "destroyed", "major-damage": "with major damage", "minor-damage": "with minor damage"}
_VIEWS = ("a satellite view", "an overhead view", "a satellite photo", "an image from above")


def first_short_caption(facts: CaptionFacts, target: Phase, options: CaptionOptions) -> str:
    """Place, disaster, severity and counts."""
    return short_pre_caption(facts) if target == "pre" else short_post_caption(facts, options)


def short_pre_caption(facts: CaptionFacts) -> str:
    """The patch before the event; what the event did is not in this image and not in its caption."""
    start = f"{_of_place('a satellite image', facts.event)} before {facts.event.cause}"
    if facts.buildings is None or facts.only_cut:
        return start
    return shortened(start, [f", {_count(facts.buildings)}"])


def short_post_caption(facts: CaptionFacts, options: CaptionOptions = CaptionOptions()) -> str:  # noqa: B008 (frozen)
    """The patch after the event, with severity and counts as far as the labels have them."""
    start = f"{_of_place('a satellite image', facts.event)} after {facts.event.effect}"
    if facts.classes is None or facts.only_cut:
        return start
    if not sum(facts.classes.values()):
        return shortened(start, [": no buildings"])  # the ground may be ruined nevertheless: no severity
    first, *others = _damage(facts.classes, options)
    return shortened(start, [f": {first}", *(f", {part}" for part in others)])


def varied_short_caption(
    facts: CaptionFacts, layout: Layout, target: Phase, options: CaptionOptions, phrasing: Phrasing
) -> str:
    """Place, disaster, where the damage lies, how many buildings there are and how they are arranged."""
    view = _of_place(phrasing.choose("view", _VIEWS), facts.event)
    start = f"{view} before {facts.event.cause}" if target == "pre" else f"{view} after {facts.event.effect}"
    if facts.buildings is None or facts.only_cut:
        return start
    if not facts.buildings:
        return shortened(start, [", no buildings"])
    one, named = facts.buildings == 1, "" if layout.arrangement == "single" else layout.arrangement
    number = "a single building" if one else amount(facts.buildings, named)
    if target == "pre" or facts.classes is None:
        return shortened(start, [f", {number}{place_phrase(layout.buildings, one)}"])
    clauses = [_severity(facts.classes, layout, options), number, *_states(facts.classes)]
    return shortened(start, [f", {clause}" for clause in clauses])


def place_phrase(position: str, only_one: bool) -> str:
    """` mainly in the north-east`, ` throughout`; "" where no word fits."""
    if position in ("", "throughout"):
        return f" {position}".rstrip()
    return f" in the {position}" if only_one else f" mainly in the {position}"


def _of_place(image: str, event: Event) -> str:
    return f"{image} of {event.place}" if event.place else image


def _damage(classes: Mapping[str, int], options: CaptionOptions) -> list[str]:
    total, unknown = sum(classes.values()), classes["un-classified"]
    ratio = damage_ratio(classes)
    if ratio is None:
        return [f"{_count(total)} of unknown damage"]
    if ratio == 0:
        intact = total - unknown
        parts = [f"no damage to {_share(intact, total) if unknown or total == 1 else f'any of {total} buildings'}"]
    else:
        shares = [(classes[name], state) for name, state in STATES.items() if classes[name]]
        (first, state), *others = shares
        word = severity(ratio, options.moderate_from, options.severe_from)
        parts = [f"{word} damage", f"{_share(first, total)} {state}"]
        parts += [f"{number} {state}" for number, state in others]
    return parts + [f"{unknown} of unknown damage"] * bool(unknown)


def _severity(classes: Mapping[str, int], layout: Layout, options: CaptionOptions) -> str:
    ratio = damage_ratio(classes)
    if ratio is None:
        return "damage unknown"
    if ratio == 0:
        return "no damage to the buildings that can be assessed" if classes["un-classified"] else "no damage"
    damaged = sum(classes[name] for name in STATES)
    word = severity(ratio, options.moderate_from, options.severe_from)
    return f"{word} damage{place_phrase(layout.damage, damaged == 1)}"


def _states(classes: Mapping[str, int]) -> list[str]:
    total = sum(classes.values())
    found = [(classes[name], state) for name, state in STATES.items() if classes[name]]
    if total == 1:
        return [state for _, state in found]
    parts = [f"{number} {state}" for number, state in found]
    if parts and found[0][0] < total:
        parts[0] = f"{found[0][0]} of {total} {found[0][1]}"
    elif parts:
        parts[0] = f"{'both' if total == 2 else f'all {total}'} {found[0][1]}"
    return parts


def _share(number: int, total: int) -> str:
    if total == 1:
        return "the only building"
    if number == total:
        return "both buildings" if total == 2 else f"all {total} buildings"
    return f"{number} of {total} buildings"


def _count(number: int) -> str:
    return counted(number, "building") if number < 2 else f"{number} buildings"
