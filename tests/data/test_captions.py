"""Captions, word by word."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.captions import CaptionFacts, captions, damage_ratio, diffusionsat_caption, severity
from data.captions import short_post_caption as post
from data.captions import short_pre_caption as pre
from data.events import EVENTS, describe_event
from data.schema import DAMAGE_VALUES

MICHAEL = describe_event("hurricane-michael", "wind")
AFTER = "a satellite image of the Florida Panhandle after hurricane winds"
BEFORE = "a satellite image of the Florida Panhandle before a hurricane"


def facts(intact: int = 0, minor: int = 0, major: int = 0, destroyed: int = 0, unknown: int = 0) -> CaptionFacts:
    classes = dict(zip(DAMAGE_VALUES, (intact, minor, major, destroyed, unknown), strict=True))
    return CaptionFacts(MICHAEL, sum(classes.values()), classes, only_cut=False)


@pytest.mark.parametrize("disaster_type", ["fire", "flooding", "wind", "earthquake", "tsunami", "volcano"])
def test_diffusionsat_grammar(disaster_type: str) -> None:
    """Equal to parity/captions/captions.json, rows of fn xbd, drop0: odd articles are part of it."""
    end = f"being affected by a {disaster_type} natural disaster"
    assert diffusionsat_caption(disaster_type, "post") == f"a fmow satellite image after {end}"
    assert diffusionsat_caption(disaster_type, "pre") == f"a fmow satellite image before {end}"


def test_diffusionsat_without_a_type_is_its_own_shorter_form() -> None:
    assert diffusionsat_caption("", "post") == "a fmow satellite image"


@pytest.mark.parametrize(
    ("patch", "end"),
    [
        (
            facts(16, 3, 9, 12),
            ": severe damage, 12 of 40 buildings destroyed, 9 with major damage, 3 with minor damage",
        ),
        (facts(30, 6, 4), ": moderate damage, 4 of 40 buildings with major damage, 6 with minor damage"),
        (facts(39, 1), ": slight damage, 1 of 40 buildings with minor damage"),
        (facts(40), ": no damage to any of 40 buildings"),
        (facts(2), ": no damage to any of 2 buildings"),
        (facts(1), ": no damage to the only building"),
        (facts(38, unknown=2), ": no damage to 38 of 40 buildings, 2 of unknown damage"),
        (facts(destroyed=7), ": severe damage, all 7 buildings destroyed"),
        (facts(destroyed=2), ": severe damage, both buildings destroyed"),
        (facts(destroyed=1), ": severe damage, the only building destroyed"),
        (facts(major=1, unknown=1), ": severe damage, 1 of 2 buildings with major damage, 1 of unknown damage"),
        (facts(unknown=1), ": one building of unknown damage"),
        (facts(unknown=84), ": 84 buildings of unknown damage"),
        (facts(), ": no buildings"),
        (replace(facts(), only_cut=True), ""),
        (replace(facts(), classes=None), ""),
    ],
)
def test_short_post(patch: CaptionFacts, end: str) -> None:
    assert post(patch) == AFTER + end


@pytest.mark.parametrize(
    ("patch", "end"),
    [
        (facts(16, 3, 9, 12), ", 40 buildings"),
        (facts(destroyed=1), ", one building"),
        (facts(), ", no buildings"),
        (replace(facts(), only_cut=True), ""),
        (replace(facts(), buildings=None), ""),
    ],
)
def test_short_pre(patch: CaptionFacts, end: str) -> None:
    assert pre(patch) == BEFORE + end


def test_severity_thresholds() -> None:
    assert [severity(ratio) for ratio in (0, 0.01, 0.0999, 0.1, 0.3999, 0.4, 1)] == [
        "none", "slight", "slight", "moderate", "moderate", "severe", "severe",
    ]  # fmt: skip


def test_damage_ratio_is_the_mean_of_assessable_buildings() -> None:
    assert damage_ratio(facts(1, 0, 0, 1, unknown=8).classes or {}) == 0.5
    assert damage_ratio(facts(unknown=3).classes or {}) is None


def test_all_four_captions() -> None:
    assert [(caption["style"], caption["target"]) for caption in captions(facts(40))] == [
        ("diffusionsat", "post"), ("diffusionsat", "pre"), ("short", "post"), ("short", "pre"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("disaster_type", "cause"),
    [("wind", "a windstorm"), ("landslide", "a landslide"), ("explosion", "an explosion"), ("", "a disaster")],
)
def test_unknown_events_speak_of_their_type_and_no_place(disaster_type: str, cause: str) -> None:
    event = describe_event("my-event", disaster_type)
    assert post(CaptionFacts(event, None, None, False)) == f"a satellite image after {cause}"


def test_the_table_has_all_events_of_xbd() -> None:
    assert len(EVENTS) == 19
    assert {event.disaster_type for event in EVENTS.values()} == {
        "wind", "flooding", "fire", "earthquake", "tsunami", "volcano",
    }  # fmt: skip


COMPASS = re.compile(r"\b(north|south|east|west|left|right|top|bottom|upper|lower)(ern)?\b")
HARM = re.compile(r"damage|destroy|ruin|wind|burn|severe")
number = st.integers(0, 2000)


@given(number, number, number, number, number, st.sampled_from(sorted(EVENTS)))
def test_every_caption_fits_and_mirrors(i: int, m: int, j: int, d: int, u: int, event: str) -> None:
    patch = replace(facts(i, m, j, d, u), event=EVENTS[event])
    for caption in captions(patch):
        assert len(caption["text"].split()) <= 60
        assert not COMPASS.search(caption["text"].replace("Lower Puna", "").lower())
        if caption["target"] == "pre" and caption["style"] == "short":
            assert not HARM.search(caption["text"])
