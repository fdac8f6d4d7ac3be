"""The prompts: one fact replaced, said in the builder's own words."""

import re

import pytest

from data.captions.facts import layout_of
from data.captions.layout import COMPASS
from evaluation.prompts.grid import BUILDINGS, STUDIES, WORDS, fits, reworded, silent_studies
from tests.data.caption_patches import grid_of, patch_with

HOUSES = 12
FACTS = patch_with(grid_of((HOUSES, 0, 0, 0, 0)))
PLACED = {word: reworded(FACTS, word, "placed") for word in WORDS}


@pytest.mark.parametrize("houses", [6, 7, 11, 30, 90])
@pytest.mark.parametrize("style", ["short", "placed"])
def test_severity_is_said(houses: int, style: str) -> None:
    """The word itself, which the builder derives from the counts: the counts fit the word."""
    facts = patch_with(grid_of((houses, 0, 0, 0, 0)))
    for word in STUDIES["severity"]:
        said = "no damage" if word == "none" else f"{word} damage"
        assert re.search(rf"[:,] {said}\b", reworded(facts, word, style))


def test_position_is_said_and_nothing_else_changes() -> None:
    """Without its place, every prompt of the study is the same."""
    for word in (*COMPASS, "centre"):
        assert f"severe damage mainly in the {word}, " in PLACED[word]
    assert "severe damage throughout, " in PLACED["throughout"]
    bare = {re.sub(r" (mainly in the [a-z-]+|throughout)", "", PLACED[word]) for word in STUDIES["position"]}
    assert len(bare) == 1
    assert "6 of 12 destroyed" in bare.pop()


def test_number_is_said() -> None:
    """Undamaged, from one house to dozens, whatever the patch holds."""
    ends = ["no damage, a single building", "no damage, a few scattered buildings", "no damage, dozens of scattered"]
    assert all(end in PLACED[word] for word, end in zip(BUILDINGS, ends, strict=True))


def test_the_prompts_of_a_patch_share_place_view_and_disaster() -> None:
    """The view is drawn by the patch's name, not by the word."""
    assert len({text.partition(", ")[0] for text in PLACED.values()}) == 1


def test_what_a_style_does_not_say() -> None:
    """`short` knows no places, the DiffusionSat sentence nothing at all."""
    gaps = {
        style: set(silent_studies({word: reworded(FACTS, word, style) for word in WORDS}))
        for style in ("placed", "short", "diffusionsat")
    }
    assert gaps == {"placed": set(), "short": {"position"}, "diffusionsat": set(STUDIES)}


def test_which_patches_fit() -> None:
    """Six houses all over the patch; not five, not all in one corner."""
    assert fits(FACTS)
    assert not fits(patch_with(grid_of((5, 0, 0, 0, 0))))
    corner = patch_with([(x / 3, y / 3, "no-damage") for x, y, _ in grid_of((HOUSES, 0, 0, 0, 0))])
    assert layout_of(corner).buildings == "north-west"
    assert not fits(corner)
