"""Invented damage: every class about as often, neighbours alike, captions that agree."""

from typing import Any

import numpy as np

from data.captions.facts import CaptionOptions
from data.captions.styles import captions
from data.examples.invented_damage import CLASSES, invent_classes, invented_damage


def test_classes_are_about_as_frequent() -> None:
    """Over many patches each class takes a fifth to a third of the buildings."""
    places = np.random.default_rng(0)
    names = [
        name
        for seed in range(400)
        for name in invent_classes(places.uniform(0, 256, (8, 2)), 256, np.random.default_rng(seed))
    ]
    for name in CLASSES:
        assert 0.2 < names.count(name) / len(names) < 0.34


def test_neighbours_fare_alike() -> None:
    """Buildings 5 px apart differ less than buildings at opposite ends."""
    near = far = 0
    for seed in range(300):
        centres = np.array([[10.0, 128.0], [15.0, 128.0], [245.0, 128.0]])
        ranks = [CLASSES.index(name) for name in invent_classes(centres, 256, np.random.default_rng(seed))]
        near, far = near + abs(ranks[0] - ranks[1]), far + abs(ranks[0] - ranks[2])
    assert near < 0.5 * far


def row(**replaced: Any) -> dict[str, Any]:
    """A patch with a building inside and one whose centroid lies elsewhere."""
    squares = ["POLYGON ((2 2, 6 2, 6 6, 2 6, 2 2))", "POLYGON ((14 0, 16 0, 16 4, 14 4, 14 0))"]
    buildings = [
        {"uid": str(i), "damage": None, "wkt": wkt, "counted": not i} for i, wkt in enumerate(squares)
    ]  # fmt: skip
    return {"buildings": buildings, "size": 16, "event": "larkmere-flooding", "disaster_type": "flooding",
            "patch_id": "p", "pixel_size_m": 0.5} | replaced  # fmt: skip


def test_mask_and_caption() -> None:
    """Footprints and nothing else; the caption counts the one building that counts here."""
    found = invented_damage(row(), np.random.default_rng(0))
    assert found
    mask, facts = found
    short, placed = (
        next(
            one["text"] for one in captions(facts, CaptionOptions()) if (one["style"], one["target"]) == (style, "post")
        )
        for style in ("short", "placed")
    )
    expected = np.zeros((16, 16), bool)
    expected[2:6, 2:6], expected[0:4, 14:16] = True, True
    assert np.array_equal(mask > 0, expected)
    assert "the only building" in short and "flooding" in short
    assert "a single building" in placed and facts.houses[0].damage == CLASSES[mask[3, 3] - 1]
    assert (facts.houses[0].x, facts.houses[0].y) == (0.25, 0.25)


def test_without_footprints_there_is_nothing_to_damage() -> None:
    """None, not an empty mask: such a patch is left out."""
    assert invented_damage(row(buildings=[]), np.random.default_rng(0)) is None
