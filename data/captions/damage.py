"""The sentences of a `long` caption that describe the damage; only captions of post images have them."""

from collections.abc import Mapping

from data.captions.facts import CaptionOptions
from data.captions.layout import Layout
from data.captions.severity import damage_ratio, severity
from data.captions.words import Phrasing, counted, joined, sentence, spelled

Ranked = list[tuple[int, str]]

# Class -> predicate for one building and for several.
_VERBS = {
    "destroyed": ("is destroyed", "are destroyed"),
    "major-damage": ("has major damage", "have major damage"),
    "minor-damage": ("has minor damage", "have minor damage"),
    "no-damage": ("is undamaged", "are undamaged"),
    "un-classified": ("cannot be assessed", "cannot be assessed"),
}
_DAMAGED = ("destroyed", "major-damage", "minor-damage")
FEW_NAMED = 3  # fewer buildings are not described as a group


def damage_sentences(classes: Mapping[str, int], layout: Layout, options: CaptionOptions, phrasing: Phrasing) -> Ranked:
    """Severity, the count of every class, and where the damage lies; for one building or more."""
    ratio = damage_ratio(classes)
    if ratio is None:
        total = sum(classes.values())
        whose = "building" if total == 1 else counted(total, "building")
        return [(0, sentence(f"the damage to the {whose} is unknown"))]
    if ratio == 0:
        return [(0, text) for text in _intact(classes)]
    word = severity(ratio, options.moderate_from, options.severe_from)
    texts = [f"overall, the damage to buildings is {word}", f"the damage to buildings is {word}"]
    return [
        (0, sentence(phrasing.choose("severity", texts))),
        *_share(classes),
        (0, sentence(_breakdown(classes))),
        *_positions(classes, layout, phrasing),
    ]


def _intact(classes: Mapping[str, int]) -> list[str]:
    intact, unknown = classes["no-damage"], classes["un-classified"]
    assessed = " that can be assessed" * bool(unknown)
    if intact == 1:
        texts = [f"the only building{assessed} is undamaged"]
    elif intact == 2:
        texts = [f"neither of the two buildings{assessed} is damaged"]
    else:
        texts = [f"none of the {spelled(intact)} buildings{assessed} is damaged"]
    if unknown:
        texts.append(f"the damage to {'the other one' if unknown == 1 else f'the other {spelled(unknown)}'} is unknown")
    return [sentence(text) for text in texts]


def _breakdown(classes: Mapping[str, int]) -> str:
    total, found = sum(classes.values()), [name for name in _VERBS if classes[name]]
    if len(found) == 1:
        one, several = _VERBS[found[0]]
        if total == 1:
            return f"the building {one}"
        return f"{'both buildings' if total == 2 else f'all {spelled(total)} buildings'} {several}"
    parts = [f"{spelled(classes[name])} {_VERBS[name][classes[name] > 1]}" for name in found]
    return f"of the {counted(total, 'building')}, {joined(parts)}"


def _share(classes: Mapping[str, int]) -> Ranked:
    assessable = sum(number for name, number in classes.items() if name != "un-classified")
    damaged = sum(classes[name] for name in _DAMAGED)
    if damaged < FEW_NAMED or damaged == assessable:
        return []
    share = damaged / assessable
    words = ((0.9, "nearly all"), (0.6, "most"), (0.4, "about half"), (0.1, "fewer than half"), (0.0, "only a few"))
    word = next(word for least, word in words if share >= least)
    assessed = " that can be assessed" * bool(classes["un-classified"])
    return [(3, sentence(f"{word} of the buildings{assessed} are damaged"))]


def _positions(classes: Mapping[str, int], layout: Layout, phrasing: Phrasing) -> Ranked:
    damaged, intact = sum(classes[name] for name in _DAMAGED), classes["no-damage"]
    found = []
    if layout.damage and sum(classes.values()) > 1:
        if damaged == 1:
            text = f"the damaged building lies in the {layout.damage}"
        elif layout.damage == "throughout":
            verb = phrasing.choose("spread", ["the damage is spread", "damage is found"])
            text = f"{verb} throughout the view"
        else:
            texts = ["the damage lies mainly in the", "the damage is found mainly in the"]
            text = f"{phrasing.choose('where', texts)} {layout.damage} of the view"
        found.append((1, sentence(text)))
    if layout.intact and intact >= FEW_NAMED and damaged >= FEW_NAMED:
        where = "throughout the view" if layout.intact == "throughout" else f"mainly in the {layout.intact}"
        found.append((2, sentence(f"the undamaged buildings lie {where}")))
    return found
