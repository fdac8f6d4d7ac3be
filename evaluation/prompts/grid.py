"""The prompts of the study: the caption of a patch with one fact replaced, made by the builder's own code."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from data.captions.facts import CaptionFacts, CaptionOptions, House, layout_of
from data.captions.imagined import POSITIONS, SEVERITIES, damaged, damages_of
from data.captions.layout import Layout
from data.captions.row import facts_of_row
from data.captions.styles import captions

NINE = POSITIONS[:-1]
BUILDINGS = {"one": 1, "few": 5, "many": 40}
# Study -> its words, in the order in which the answer should rise where it is a number.
STUDIES = {
    "severity": SEVERITIES,
    "position": POSITIONS,
    "count": tuple(BUILDINGS),
}
WORDS = tuple(word for words in STUDIES.values() for word in words)
LEAST_BUILDINGS = 6  # of a patch, so that damage can be slight, and lie anywhere


@dataclass(frozen=True)
class Prompt:
    """The request for one image."""

    position: int  # of the patch in the split
    patch_id: str
    word: str  # of WORDS
    text: str

    @property
    def name(self) -> str:
        """Of the image."""
        return f"{self.patch_id}_{self.word}"


def fits(facts: CaptionFacts) -> bool:
    """Whether every prompt suits a patch: its buildings are labelled, enough, and spread all over it."""
    labelled = facts.classes is not None and len(facts.houses) >= LEAST_BUILDINGS
    return labelled and layout_of(facts).buildings == "throughout"


def prompts_of(position: int, row: Mapping[str, Any], style: str) -> list[Prompt]:
    """One prompt for each word.

    Args:
        position: of the patch in the split.
        row: of the dataset; its images are not used.
        style: of the captions, as in training.
    """
    facts = facts_of_row(row)
    return [Prompt(position, row["patch_id"], word, reworded(facts, word, style)) for word in WORDS]


def reworded(facts: CaptionFacts, word: str, style: str) -> str:
    """The caption that the builder would give the post image of this patch if `word` were true of it."""
    said, layout = _with_word(facts, word)
    entries = captions(said, CaptionOptions(), layout)
    return next(entry["text"] for entry in entries if (entry["style"], entry["target"]) == (style, "post"))


def silent_studies(texts: Mapping[str, str]) -> dict[str, str]:
    """Studies whose words do not all give different prompts -> why they cannot be made."""
    reason = "captions of this style do not say it"
    return {name: reason for name, words in STUDIES.items() if len({texts[word] for word in words}) < len(words)}


def _with_word(facts: CaptionFacts, word: str) -> tuple[CaptionFacts, Layout]:
    total = len(facts.houses)
    layout = replace(layout_of(facts), damage="", intact="")
    if word in STUDIES["severity"]:
        return damaged(facts, *damages_of(word, total)), layout
    if word in STUDIES["position"]:
        return damaged(facts, 0, (total + 1) // 2), replace(layout, damage=word)
    houses = (House(0.5, 0.5, facts.houses[0].area_px, "no-damage"),) * BUILDINGS[word]
    layout = Layout("throughout", "", "", "single" if word == "one" else "scattered")
    return damaged(replace(facts, houses=houses), 0, 0), layout
