"""Captions, word by word."""

import re
import statistics
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest

from data.captions.facts import CaptionFacts, CaptionOptions, House
from data.captions.severity import damage_ratio, severity
from data.captions.short import short_post_caption as post
from data.captions.short import short_pre_caption as pre
from data.captions.styles import captions, diffusionsat_caption
from data.schema import DAMAGE_VALUES
from data.sources.events import EVENTS, describe_event
from tests.data.caption_patches import grid_of, patch_with

MICHAEL = describe_event("hurricane-michael", "wind")
AFTER = "a satellite image of the Florida Panhandle after hurricane winds"
BEFORE = "a satellite image of the Florida Panhandle before a hurricane"


DAMAGED = patch_with(grid_of((16, 3, 9, 12, 0)), "hurricane-michael")  # 40 buildings, damage ratio 0.475


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


def test_all_captions_in_their_order() -> None:
    assert [(caption["style"], caption["target"]) for caption in captions(DAMAGED, CaptionOptions())] == [
        ("diffusionsat", "post"), ("diffusionsat", "pre"),
        ("short", "post"), ("placed", "post"), ("short", "pre"), ("placed", "pre"),
        ("long", "post"), ("long", "post"), ("long", "pre"), ("long", "pre"),
        ("chunks", "post"), ("chunks", "post"), ("chunks", "pre"), ("chunks", "pre"),
    ]  # fmt: skip


def test_the_short_caption_is_the_one_the_tiny_base_was_trained_on() -> None:
    """Whatever the seed; its texts are pinned by test_short_post and test_short_pre."""
    for seed in range(4):
        found = [entry for entry in captions(DAMAGED, CaptionOptions(seed)) if entry["style"] == "short"]
        first = {entry["target"]: entry for entry in found}
        assert len(found) == 2
        assert first["pre"]["text"] == first["pre"]["mirrored"] == f"{BEFORE}, 40 buildings"
        assert (
            first["post"]["text"]
            == first["post"]["mirrored"]
            == (f"{AFTER}: severe damage, 12 of 40 buildings destroyed, 9 with major damage, 3 with minor damage")
        )


def test_thresholds_of_severity_are_options() -> None:
    options = CaptionOptions(moderate_from=0.5, severe_from=0.9)
    assert ": slight damage, 12 of 40" in post(DAMAGED, options)
    texts = [entry["text"] for entry in captions(DAMAGED, options) if entry["target"] == "post"]
    assert not [text for text in texts if "severe" in text or "moderate damage" in text]


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


MIXES = list(product(range(7), repeat=4))


def test_severity_at_exactly_the_threshold() -> None:
    """Every mix of up to six buildings a class, against fractions."""
    weights = (Fraction(0), Fraction(1, 3), Fraction(2, 3), Fraction(1))
    at_threshold = 0
    for mix in MIXES[1:]:
        ratio = sum(number * weight for number, weight in zip(mix, weights, strict=True)) / sum(mix)
        word = "severe" if ratio >= Fraction(2, 5) else "moderate" if ratio >= Fraction(1, 10) else "slight"
        found = damage_ratio(dict(zip(DAMAGE_VALUES, (*mix, 1), strict=True)))
        assert found is not None and severity(found) == (word if ratio else "none"), mix
        at_threshold += ratio in (Fraction(2, 5), Fraction(1, 10))
    assert at_threshold > 30


@pytest.mark.parametrize("areas", [[20, 24, 60, 64], [3, 1, 2], [10, 20]])
def test_the_median_footprint_is_the_median(areas: list[int]) -> None:
    houses = tuple(House(0.5, 0.5, 100.0 * area, "no-damage") for area in areas)
    for variant in range(4):
        patch = replace(DAMAGED, houses=houses, patch_id=str(variant), pixel_size_m=1.0)
        for text in (entry["text"] for entry in captions(patch, CaptionOptions()) if entry["style"] == "long"):
            measured = re.search(r"footprint measures about ([\d,]+) square", text)
            assert measured and int(measured[1].replace(",", "")) == 100 * statistics.median(areas)
