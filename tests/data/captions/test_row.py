"""Facts read back from a built row give the captions that the builder wrote."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import shapely

from data.captions.facts import CaptionOptions, layout_of
from data.captions.row import facts_of_row
from data.captions.styles import captions
from data.dataset.open import open_dataset, read_manifest
from tests.data.caption_patches import grid_of, patch_with

STYLES = ("short", "placed")


def said(entries: list[Any]) -> list[dict[str, str]]:
    """The captions that the row's facts suffice for."""
    return [entry for entry in entries if entry["style"] in STYLES]


def whole(row: dict[str, Any]) -> bool:
    """Whether no building is cut by the edge of the patch."""
    bounds = [shapely.bounds(shapely.from_wkt(building["wkt"])) for building in row["buildings"]]
    return all(low.min() > 0 and high.max() < row["size"] for low, high in ((b[:2], b[2:]) for b in bounds))


def test_the_same_captions_as_the_builder(tiny_dataset: Path) -> None:
    """Word for word, pre and post, plain and mirrored, wherever no building is cut."""
    compared = []
    for split in read_manifest(tiny_dataset)["splits"]:
        for row in open_dataset(tiny_dataset, split):
            if whole(row):
                assert said(captions(facts_of_row(row), CaptionOptions())) == said(row["captions"])
                compared.append(row["labels"])
    assert {"both", "none"} <= set(compared)


def test_a_layout_may_be_given() -> None:
    """The caption then says that, whatever the houses say."""
    facts = patch_with(grid_of((4, 0, 0, 5, 0)))
    layout = replace(layout_of(facts), damage="north-east")
    (placed,) = (
        entry
        for entry in captions(facts, CaptionOptions(), layout)
        if (entry["style"], entry["target"]) == ("placed", "post")
    )
    assert "severe damage mainly in the north-east," in placed["text"]
    assert "severe damage mainly in the north-west," in placed["mirrored"]
