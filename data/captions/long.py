"""The `long` caption of a patch: everything the labels support, as sentences with a rank each.

Rank 0 stays; the larger its rank, the sooner a sentence is dropped from a caption that is too long. A fact that the
labels do not have gets no sentence: the caption of a patch without buildings or labels is short, and is not padded.
"""

import statistics
from datetime import date

from data.captions.damage import damage_sentences
from data.captions.facts import CaptionFacts, CaptionOptions, Capture
from data.captions.layout import Layout
from data.captions.length import most_important
from data.captions.short import place_phrase
from data.captions.words import Phrasing, amount, counted, day_in_words, degrees, measured, season, sentence, spelled
from data.sources.labels import Phase

Ranked = list[tuple[int, str]]

# Thresholds of the words for buildings and light, in the units of their names.
SPARSE_BELOW_PER_HA, DENSE_FROM_PER_HA = 2, 10
HOUSE_FROM_M2, HOUSE_BELOW_M2, LARGE_FROM_M2 = 50, 300, 1000
VERTICAL_BELOW_DEG, SLANTED_FROM_DEG = 10, 25  # off nadir
LOW_SUN_BELOW_DEG, HIGH_SUN_FROM_DEG = 30, 60
SENSORS = {  # label -> the satellite's name
    "GEOEYE01": "GeoEye-1",
    "QUICKBIRD02": "QuickBird",
    "WORLDVIEW01": "WorldView-1",
    "WORLDVIEW02": "WorldView-2",
    "WORLDVIEW03": "WorldView-3",
    "WORLDVIEW03_VNIR": "WorldView-3",
    "WORLDVIEW04": "WorldView-4",
}


def long_sentences(
    facts: CaptionFacts, layout: Layout, target: Phase, options: CaptionOptions, phrasing: Phrasing
) -> list[str]:
    """The sentences of a `long` caption, in reading order, at most LONG_TOKENS together."""
    sentences = [(0, _opening(facts, target, phrasing)), *_scale(facts, phrasing)]
    if facts.buildings is not None:
        sentences += _buildings(facts, layout, target, phrasing)
    if target == "post" and facts.buildings and facts.classes is not None:
        sentences += damage_sentences(facts.classes, layout, options, phrasing)
    if target in facts.captures:
        capture = facts.captures[target]
        sentences += [*_taken(capture, facts.latitude, phrasing), *_look(capture, phrasing)]
    return most_important(sentences)


def _opening(facts: CaptionFacts, target: Phase, phrasing: Phrasing) -> str:
    event = facts.event
    when = f"before {event.cause}" if target == "pre" else f"after {event.effect}"
    if not event.place:
        texts = [f"a satellite image taken {when}", f"an overhead image taken {when}"]
    else:
        has_country = event.country in event.place or "United States" in event.place
        place = event.place if has_country else f"{event.place}, {event.country}"
        texts = [
            f"a satellite image of {place}, taken {when}",
            f"this overhead image shows {place}{',' * (',' in place)} {when}",
            f"{place}, seen by a satellite {when}",
        ]
    return sentence(phrasing.choose("opening", texts))


def _scale(facts: CaptionFacts, phrasing: Phrasing) -> Ranked:
    if not facts.pixel_size_m > 0 or not facts.size_px:
        return []
    side, pixel = measured(facts.size_px * facts.pixel_size_m, "metre"), measured(facts.pixel_size_m, "metre")
    texts = [
        f"the view is about {side} wide, and a pixel covers {pixel}",
        f"it covers a square with sides of about {side}, at {pixel} per pixel",
    ]
    return [(4, sentence(phrasing.choose("scale", texts)))]


def _buildings(facts: CaptionFacts, layout: Layout, target: Phase, phrasing: Phrasing) -> Ranked:
    number = facts.buildings or 0
    if not number:
        return [(0, sentence(_no_building(facts, phrasing)))]
    return [
        (0, sentence(_number(number, phrasing))),
        *_arrangement(number, layout, phrasing),
        *_density(facts, number, target, phrasing),
        *_footprints(facts, phrasing),
    ]


def _no_building(facts: CaptionFacts, phrasing: Phrasing) -> str:
    if facts.reaching_in:
        one, whose = facts.reaching_in == 1, counted(facts.reaching_in, "building")
        parts = f"part of {whose} reaches" if one else f"parts of {whose} reach"
        return f"{parts} into the view from its edge, but no building has its centre here"
    return phrasing.choose("buildings", ["there are no buildings in this view", "the view holds no buildings"])


def _number(number: int, phrasing: Phrasing) -> str:
    if number == 1:
        return phrasing.choose("buildings", ["there is a single building in this view", "the view holds one building"])
    words = f"{amount(number)}, {spelled(number)} in all" if number > 2 else counted(number, "building")
    return phrasing.choose("buildings", [f"in this view there are {words}", f"the view holds {words}"])


def _arrangement(number: int, layout: Layout, phrasing: Phrasing) -> Ranked:
    where = place_phrase(layout.buildings, number == 1)
    if number == 1:
        return [(1, sentence(f"it lies{where}"))] if where else []
    how = {
        "clustered": ["clustered", "clustered close together"],
        "scattered": ["scattered", "scattered without a clear pattern"],
        "evenly spaced": ["evenly spaced", "spaced at even distances"],
    }[layout.arrangement]
    word = phrasing.choose("arrangement", how)
    if layout.buildings == "throughout":
        where = " throughout the view"
    return [(1, sentence(f"they are {word} and lie{where}" if where else f"they are {word}"))]


def _density(facts: CaptionFacts, number: int, target: Phase, phrasing: Phrasing) -> Ranked:
    hectares = (facts.size_px * facts.pixel_size_m) ** 2 / 10_000
    if not hectares > 0 or number < 2:
        return []
    per_hectare = number / hectares
    word = "fairly densely" if per_hectare >= SPARSE_BELOW_PER_HA else "sparsely"
    word = "densely" if per_hectare >= DENSE_FROM_PER_HA else word
    percent = round(100 * facts.built_share)
    share = f"about {percent} percent" if percent else "less than one percent"
    rate = measured(per_hectare, "building")
    gone = target == "post" and facts.classes is not None and facts.classes["destroyed"]
    verb = "was" if gone else "is"
    texts = [
        f"the area {verb} {word} built, with about {rate} per hectare, and footprints take up {share} of the ground",
        f"with about {rate} per hectare and {share} of the ground under footprints, it {verb} {word} built",
    ]
    return [(3, sentence(phrasing.choose("density", texts)))]


def _footprints(facts: CaptionFacts, phrasing: Phrasing) -> Ranked:
    areas = sorted(house.area_px * facts.pixel_size_m**2 for house in facts.houses)
    if not areas or not areas[0] > 0:
        return []
    middle, large = statistics.median(areas), sum(area >= LARGE_FROM_M2 for area in areas)
    size = _size_word(middle)
    if len(areas) == 1:
        return [(3, sentence(f"its footprint measures about {measured(middle, 'square metre')}, {size}"))]
    texts = ["a typical footprint measures", "the median footprint measures"]
    first = f"{phrasing.choose('footprint', texts)} about {measured(middle, 'square metre')}, {size}"
    found = [(3, sentence(first))]
    if large and middle < LARGE_FROM_M2:
        is_large = "one of them is large" if large == 1 else f"{spelled(large)} of them are large"
        found.append((5, sentence(f"{is_large}, with over {LARGE_FROM_M2:,} square metres" + " each" * (large > 1))))
    return found


def _size_word(square_metres: float) -> str:
    if square_metres < HOUSE_FROM_M2:
        return "smaller than most houses"
    if square_metres < HOUSE_BELOW_M2:
        return "the size of a house"
    return "larger than most houses"


def _taken(capture: Capture, latitude: float, phrasing: Phrasing) -> Ranked:
    by = f" by {SENSORS[capture.sensor]}" if capture.sensor in SENSORS else ""
    on = f" on {_day(capture.day, latitude)}" if capture.day else ""
    if not by and not on:
        return []
    image = phrasing.choose("taken", ["the image was taken", "it was recorded"])
    return [(2, sentence(f"{image}{by}{on}"))]


def _day(day: date, latitude: float) -> str:
    time = season(day, latitude)
    return f"{day_in_words(day)}, in {time}" if time else day_in_words(day)


def _look(capture: Capture, phrasing: Phrasing) -> Ranked:
    parts = []
    if (angle := capture.off_nadir_deg) is not None:
        word = "at a moderate slant" if round(angle) >= VERTICAL_BELOW_DEG else "almost straight down"
        word = "at a strong slant" if round(angle) >= SLANTED_FROM_DEG else word
        parts.append(f"the satellite looked {word}, {degrees(angle)} off nadir")
    if (sun := capture.sun_elevation_deg) is not None and sun > 0:
        word = "high" if round(sun) >= HIGH_SUN_FROM_DEG else "at a middle height"
        word = "low" if round(sun) < LOW_SUN_BELOW_DEG else word
        effect = {"low": ", which makes long shadows", "high": ", which makes short shadows"}.get(word, "")
        where = f"{word}, {degrees(sun)} above the horizon{effect}"
        parts.append(phrasing.choose("sun", [f"the sun stood {where}", f"the sun was {where}"]))
    return [(4, sentence(", and ".join(parts)))] if parts else []
