"""The controls write what the builder would."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from app.captions import caption_of
from app.models import Models


@pytest.mark.parametrize(
    ("controls", "text"),
    [
        (("", "flooding", "severe", "", 6),
         "a satellite image after flooding: severe damage, all 6 buildings destroyed"),
        (("hurricane-michael", "", "none", "", 2),
         "a satellite image of the Florida Panhandle after hurricane winds: no damage to any of 2 buildings"),
        (("", "fire", "slight", "", 12.0),
         "a satellite image after a wildfire: slight damage, 2 of 12 buildings with minor damage"),
        (("", "", "severe", "north", None), "a satellite image after a disaster"),
    ],
)  # fmt: skip
def test_in_the_style_of_the_training(models: Models, runs: Path, controls: tuple[Any, ...], text: str) -> None:
    assert caption_of(models.open(str(runs / "plain")), *controls) == text


def test_other_styles_and_directions(models: Models, runs: Path) -> None:
    """A style of the user's own is unknown here: `short`."""
    model = models.open(str(runs / "plain"))
    controls = ("", "flooding", "severe", "north-west", 6)

    def said(**changed: Any) -> str:
        return caption_of(replace(model, trained=replace(model.trained, **changed)), *controls)

    placed = said(caption_style="placed")
    assert "severe damage mainly in the north-west" in placed and placed.endswith("all 6 destroyed")
    assert said(caption_style="my-own") == said(caption_style="short")
    assert said(direction="past") == "a satellite image before flooding, 6 buildings"
