"""Imagined places have the facts that were asked for."""

import pytest

from data.captions.facts import layout_of
from data.captions.imagined import POSITIONS, SEVERITIES, imagined
from data.captions.severity import damage_ratio, severity


@pytest.mark.parametrize("word", SEVERITIES)
@pytest.mark.parametrize("total", [7, 12, 40])
def test_the_damage_is_as_severe_as_its_word(word: str, total: int) -> None:
    """By the rule that words the labels of real places."""
    facts, _ = imagined("", "wind", word, "", total)
    assert facts.classes and sum(facts.classes.values()) == len(facts.houses) == facts.buildings == total
    ratio = damage_ratio(facts.classes)
    assert ratio is not None and severity(ratio) == word


def test_what_is_not_said_is_unknown() -> None:
    facts, layout = imagined("", "", "severe", "north", None)
    assert facts.buildings is None and facts.classes is None and not facts.houses
    assert layout.damage == "north" and layout.arrangement == ""
    facts, _ = imagined("", "", "", "", 5)
    assert facts.buildings == 5 and facts.classes is None


def test_an_event_brings_its_place_and_disaster() -> None:
    facts, _ = imagined("palu-tsunami", "", "", "", None)
    assert (facts.event.place, facts.event.disaster_type) == ("Palu, Indonesia", "tsunami")
    assert imagined("palu-tsunami", "wind", "", "", None)[0].event.disaster_type == "wind"


def test_houses_are_spread_like_the_layout_says() -> None:
    facts, layout = imagined("", "", "none", "", 16)
    assert layout_of(facts).buildings == layout.buildings == "throughout"
    assert len({(house.x, house.y) for house in facts.houses}) == 16
    assert len(POSITIONS) == 10
