"""Captions as people and models word them, held against a patch whose labels are known by hand."""

from typing import Any

import pytest

from data.captions.check import FAULTS, Truth, faults, truth_of_row
from data.captions.sides import mirrored_wording

# (x, y, damage value) of houses, shares of the side: 3 destroyed and 2 with minor damage in the north-east, 6 intact in
# the south-west, 1 not assessable in the middle. Mean damage (3 * 3 + 2 * 1) / (3 * 11) = 0.33: moderate.
HOUSES = [(0.7, 0.1, 4), (0.8, 0.2, 4), (0.9, 0.3, 4), (0.75, 0.3, 2), (0.9, 0.1, 2), (0.5, 0.5, 255)]
HOUSES += [(0.1 + 0.1 * i, 0.7 + 0.1 * (i % 3), 1) for i in range(6)]


def house(x: float, y: float, value: int, counted: bool = True) -> dict[str, Any]:
    left, top = 512 * x - 5, 512 * y - 5
    corners = [(left, top), (left + 10, top), (left + 10, top + 10), (left, top + 10), (left, top)]
    wkt = "POLYGON ((" + ", ".join(f"{a} {b}" for a, b in corners) + "))"
    return {"uid": None, "damage": value, "wkt": wkt, "counted": counted}


def truth(houses: list[tuple[float, float, int]], edge: int = 0, **more: Any) -> Truth:
    buildings = [house(*each) for each in houses] + [house(0.01, 0.5, 1, counted=False)] * edge
    row = {"patch_id": "p", "event": "hurricane-michael", "disaster_type": "wind", "labels": "both", "size": 512}
    return truth_of_row(row | {"pixel_size_m": 0.5, "buildings": buildings} | more)


KNOWN = truth(HOUSES, edge=2)  # 12 counted, 14 shown
TRUE_AFTER = [
    "Twelve buildings stand along a curved road, five of them damaged.",
    "The image shows 14 buildings, and trees line the street.",
    "About 15 structures can be made out.",
    "Three buildings in the north-east are destroyed, while the houses in the south-west are intact.",
    "Debris is concentrated in the upper right of the image.",
    "More than ten buildings are visible, most of the buildings are undamaged.",
    "The damage to buildings is moderate, and a road runs from the north to the south.",
    "Moderate damage is seen; two buildings have minor damage and 3 are destroyed.",
    "Two cars and three swimming pools can be seen next to the houses.",
    "At least two homes have been destroyed by the hurricane.",
    "There is no flooding, but strong winds tore at the roofs.",
    "A river winds along the eastern edge of the image.",
    "About half of the houses are damaged, and one roof is covered by a blue tarp.",
    "A few houses lie in the bottom left of the image.",
    "Before the storm all buildings were intact; afterwards 3 of 12 buildings are destroyed.",
    "Severe damage to one of the houses is visible.",
    "the storm damaged five buildings and left the others standing",
    "the storm destroyed two small boats",
    "6 large houses remain undamaged in the lower left corner.",
    "Dense vegetation covers the left side, and 100 metres of the road are under sand.",
    "Well over a dozen trees were uprooted.",
    "There are no buildings in the south-east, and no buildings with major damage.",
    "No buildings remain standing along the shore.",
    "No structures near the river were touched.",
    "Fewer than half of the buildings are damaged, and more than half of the buildings are intact.",
]
FALSE_AFTER = [
    ("Thirty-five buildings stand along a curved road, 35 buildings in total.", "count"),
    ("The image shows 9 buildings.", "count"),
    ("Eight buildings have been destroyed.", "count"),
    ("Dozens of houses are visible.", "count"),
    ("a satellite image after a windstorm: no buildings", "count"),
    ("There are no buildings in this view.", "count"),
    ("No visible structures can be seen, only fields.", "count"),
    ("All of the buildings are destroyed.", "count"),
    ("None of the buildings is damaged.", "count"),
    ("Nearly all buildings are damaged.", "count"),
    ("More than half of the buildings are destroyed.", "count"),
    ("Fewer than half of the buildings are intact.", "count"),
    ("Hundreds of homes have been destroyed by the winds.", "count"),
    ("There is no visible damage.", "severity"),
    ("The damage is severe throughout the view.", "severity"),
    ("Slight damage can be seen.", "severity"),
    ("The destruction is concentrated in the lower left of the image.", "direction"),
    ("Destroyed houses lie mainly in the south-west.", "direction"),
    ("The intact buildings are mostly in the north-east.", "direction"),
    ("The rubble lies in the bottom left corner.", "direction"),
    ("The whole area is flooded.", "disaster"),
    ("A wildfire has passed through the neighbourhood.", "disaster"),
    ("Lava has covered the road.", "disaster"),
    (" . ", "empty"),
    ("I can see several damaged houses.", "first person"),
    ("In this picture we see roofs without tiles.", "first person"),
    ("I'm sorry, but I cannot assist with that.", "refusal"),
    ("As an AI language model, there is no access to images.", "refusal"),
    ("The roof is gone. The roof is gone. The roof is gone.", "loop"),
    ("debris and debris and debris and debris and debris", "loop"),
    ("Das Bild zeigt ein zerstörtes Dorf mit vielen Häusern.", "language"),
    ("图像显示了一个被毁的村庄。", "language"),
]
TRUE_BEFORE = [
    "A suburban street with twelve buildings and green lawns.",
    "An overhead image taken before a hurricane. The view holds 14 buildings.",
    "a fmow satellite image before being affected by a wind natural disaster",
    "Houses lie throughout the view; the trees in the west are tall.",
]
FALSE_BEFORE = [
    ("Several buildings are damaged.", "damage before"),
    ("The area has been devastated by the hurricane.", "damage before"),
    ("Roofs have been blown off.", "damage before"),
    ("A neighbourhood after the flood.", "damage before"),
    ("Twenty buildings line the street.", "count"),
]


@pytest.mark.parametrize("text", TRUE_AFTER)
def test_what_is_true_passes(text: str) -> None:
    assert faults(text, "post", KNOWN) == []


@pytest.mark.parametrize(("text", "kind"), FALSE_AFTER)
def test_what_is_false_is_named_by_its_kind(text: str, kind: str) -> None:
    assert kind in [fault.kind for fault in faults(text, "post", KNOWN)]


@pytest.mark.parametrize("text", TRUE_BEFORE)
def test_what_is_true_of_a_pre_image_passes(text: str) -> None:
    assert faults(text, "pre", KNOWN) == []


@pytest.mark.parametrize(("text", "kind"), FALSE_BEFORE)
def test_what_a_pre_image_cannot_show(text: str, kind: str) -> None:
    assert kind in [fault.kind for fault in faults(text, "pre", KNOWN)]


def test_a_caption_of_the_mirrored_view_is_held_against_the_mirrored_view() -> None:
    text = "The destroyed houses lie in the north-west."
    assert [fault.kind for fault in faults(text, "post", KNOWN)] == ["direction"]
    assert faults(text, "post", KNOWN.mirrored()) == []


def test_without_labels_only_the_text_is_looked_at() -> None:
    unknown = truth([], labels="none")
    assert faults("Ninety buildings, 90 buildings in all, are destroyed in the north.", "post", unknown) == []
    assert [fault.kind for fault in faults("I see a flood.", "post", unknown)] == ["first person", "disaster"]


def test_the_thresholds_of_the_build_count() -> None:
    row_of = truth(HOUSES)
    assert faults("The damage to buildings is severe.", "post", row_of)
    buildings = [house(*each) for each in HOUSES]
    row = {"patch_id": "p", "event": "e", "disaster_type": "wind", "labels": "both", "size": 512, "pixel_size_m": 0.5}
    assert not faults(
        "The damage to buildings is severe.", "post", truth_of_row(row | {"buildings": buildings}, 0.1, 0.3)
    )


def test_every_kind_is_explained() -> None:
    assert {kind for _, kind in (*FALSE_AFTER, *FALSE_BEFORE)} == set(FAULTS)


@pytest.mark.parametrize(
    ("text", "mirrored"),
    [
        ("Debris lies in the north-east.", "Debris lies in the north-west."),
        ("The southwestern part and the left side are wet.", "The southeastern part and the right side are wet."),
        ("Rubble fills the upper left of the image.", "Rubble fills the upper right of the image."),
        ("East of the road lies sand.", "West of the road lies sand."),
        ("Nothing tells a side.", "Nothing tells a side."),
        ("Only two houses are left.", None),  # a side, or what remains
        ("A town in West Virginia.", None),
        ("The road turns clockwise.", None),
        ("Das Haus links ist zerstört.", None),
    ],
)
def test_wording_for_the_mirrored_view(text: str, mirrored: str | None) -> None:
    assert mirrored_wording(text) == mirrored
