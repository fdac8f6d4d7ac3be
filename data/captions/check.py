"""Captions that a model wrote, held against the labels: what is wrong with each, by kind, with the words that are.

Only what the labels deny is wrong. What they do not tell (haze, roads, a flooded field) may be said.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from data.captions.claims import Counts, wrong_counts, wrong_severity
from data.captions.facts import CaptionFacts
from data.captions.meaning import KINDS, KNOWN_KINDS, may_be_english, tells_damage
from data.captions.row import facts_of_row, shown_classes
from data.captions.severity import DAMAGE_THIRDS, MODERATE_FROM, SEVERE_FROM
from data.captions.sides import Point, wrong_sides

# What is looked for, in this order, with the words of the table.
FAULTS = {
    "empty": "nothing is said",
    "refusal": "the model refuses, or speaks of itself",
    "first person": "first person",
    "loop": "a sentence or phrase again and again",
    "language": "not in English, as far as can be determined",
    "damage before": "damage or a disaster in a pre image",
    "disaster": "another disaster than the labels",
    "count": "a number that the labels contradict",
    "severity": "a severity that the labels contradict",
    "direction": "a direction that the labels contradict",
}
_REFUSAL = re.compile(
    r"\bas an? (ai|artificial|language|vision)\b|\b(language|ai) model\b|\bi'?m sorry\b|\bsorry, |\bapologi[sz]e\b"
    r"|\b(cannot|can't|can not|unable to|not able to) (assist|help|provide|determine|identify|see|view|process|describe"
    r"|analy[sz]e|comply|generate|access)\b|\bno image (was|is|has been)\b",
    re.IGNORECASE,
)
_FIRST_PERSON = re.compile(r"\b(?:I|I'm|I've|[Ww]e|[Mm]y|[Oo]urs?|me|us|[Ll]et's)\b(?!\.)")
_LOOP = re.compile(r"\b(\w+(?:\W+\w+){0,11}?)(?:\W+\1\b){2,}", re.IGNORECASE)  # thrice in a row
_SENTENCES = re.compile(r"(?<=[.!?])\s+|\n")
_LONGEST_CHECKED = 5000  # characters
_SAME_SENTENCE_WORDS = 4  # shorter ones may well come twice
_DENIED = re.compile(r"\b(no|not|without|nor|never|rather than)\b[^.,;]{0,30}$", re.IGNORECASE)
_DISASTERS = "|".join(pattern.pattern for pattern, _ in KINDS)
# Ours name the disaster that was to come.
_TO_COME = re.compile(
    r"\b(?:before|prior to)\s+(?:being affected by\s+)?(?:(?:an?|the)\s+)?(?:[a-z]+\s+){0,2}?"
    rf"(?:{_DISASTERS}|disaster)"
    rf"(?:\s+(?:natural|disaster|{_DISASTERS})\b)*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a caption."""

    kind: str  # a key of FAULTS
    words: str  # of the caption, that are


@dataclass(frozen=True)
class Truth:
    """What the labels say of a patch, as far as captions are held against it."""

    facts: CaptionFacts
    counts: Counts | None  # None without a label
    buildings: tuple[Point, ...]
    damage: tuple[Point, ...]

    def mirrored(self) -> "Truth":
        """Of the view with left and right exchanged."""
        flip = [tuple((1 - x, y, weight) for x, y, weight in points) for points in (self.buildings, self.damage)]
        return Truth(self.facts, self.counts, flip[0], flip[1])


def truth_of_row(
    row: Mapping[str, Any], moderate_from: float = MODERATE_FROM, severe_from: float = SEVERE_FROM
) -> Truth:
    """Of a row of a built dataset; its images are not looked at. The thresholds are those of the build."""
    facts = facts_of_row(row)
    counts = None
    if facts.buildings is not None:
        shown = shown_classes(row) if facts.classes is not None else None
        total = (facts.buildings, facts.buildings + facts.reaching_in)
        counts = Counts(facts.classes, shown, total, moderate_from, severe_from)
    buildings = tuple((house.x, house.y, 1.0) for house in facts.houses)
    damage = tuple((house.x, house.y, float(DAMAGE_THIRDS.get(house.damage or "", 0))) for house in facts.houses)
    return Truth(facts, counts, buildings, damage if facts.classes is not None else ())


def faults(text: str, target: str, truth: Truth) -> list[Fault]:
    """What is wrong with a caption of the `target` image, at most one of each kind, in the order of FAULTS."""
    if not re.search(r"\w", text):
        return [Fault("empty", text)]
    text = text[:_LONGEST_CHECKED]
    found: dict[str, Fault] = {}
    for fault in (*_of_the_text(text), *_of_the_disaster(text, target, truth.facts.event.disaster_type)):
        found.setdefault(fault.kind, fault)
    before = ""
    for sentence in _SENTENCES.split(text):
        for fault in _of_the_buildings(sentence, before, target, truth):
            found.setdefault(fault.kind, fault)
        before = sentence if not re.match(r"(they|it)\b", sentence, re.IGNORECASE) else before
    return [found[kind] for kind in FAULTS if kind in found]


def _of_the_text(text: str) -> Iterator[Fault]:
    for kind, pattern in (("refusal", _REFUSAL), ("first person", _FIRST_PERSON), ("loop", _LOOP)):
        if said := pattern.search(text):
            yield Fault(kind, said[0])
    sentences = [one.strip().lower() for one in _SENTENCES.split(text)]
    for one in sentences:
        if sentences.count(one) > 1 and len(one.split()) >= _SAME_SENTENCE_WORDS:
            yield Fault("loop", one)
    if not may_be_english(text):
        yield Fault("language", text[:40])


def _of_the_disaster(text: str, target: str, kind: str) -> Iterator[Fault]:
    if target == "pre":
        rest = _TO_COME.sub("", text)
        if (said := tells_damage(rest)) or (said := re.search(_DISASTERS, rest, re.IGNORECASE)):
            yield Fault("damage before", said[0])
    for pattern, kinds in KINDS:
        for said in pattern.finditer(text):
            if kind in KNOWN_KINDS and kind not in kinds and not _DENIED.search(text[: said.start()]):
                yield Fault("disaster", said[0])


def _of_the_buildings(sentence: str, before: str, target: str, truth: Truth) -> Iterator[Fault]:
    if truth.counts is None:
        return
    yield from (Fault("count", said) for said in wrong_counts(sentence, truth.counts))
    if target != "pre":
        yield from (Fault("severity", said) for said in wrong_severity(sentence, truth.counts))
    yield from (Fault("direction", said) for said in wrong_sides(sentence, before, truth.buildings, truth.damage))
