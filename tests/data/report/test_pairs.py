"""Numbers of pairs that a reader can check by hand."""

import json
import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from data.report.map import COASTLINES, maps
from data.report.page import MOST_ROWS, capped
from data.report.pairs import MUCH, badness, days_between, event_table, off_nadir, warnings, worst_pairs
from tests.browser import assert_fits_every_screen, needs_browser
from tests.data.report.test_map import patch

NOT_KNOWN = [math.nan] * 4


def pair(name: str, event: str = "e", **other: Any) -> dict[str, Any]:
    """A good pair of 2017-01-30 and 2017-03-01, a leap year it is not."""
    row: dict[str, Any] = {
        "patch_id": name, "scene_id": f"s{name}", "event": event, "pixel_size_m": 0.5, "shift_px": [0.0, 0.0],
        "cloud_pre": 0.0, "cloud_post": 0.0, "nodata_fraction": 0.0, "radiometric_gap": 3.0,
        "metadata_pre": [*NOT_KNOWN, 2017, 1, 30], "metadata_post": [*NOT_KNOWN, 2017, 3, 1],
        "sensor_pre": {"off_nadir_angle": 10.0}, "sensor_post": {"off_nadir_angle": None},
        "counts": {"no_damage": 1}, "ratio": 0.0, "total": 1, "split": "train",
    }  # fmt: skip
    return row | other


def test_days_and_views() -> None:
    assert days_between(pair("a")) == 30
    assert days_between(pair("a", metadata_pre=[*NOT_KNOWN, 2016, 2, 29])) == 366
    for unknown in ([math.nan] * 7, [*NOT_KNOWN, 2017, 2, 30], [*NOT_KNOWN, 1e30, 1, 1]):
        assert math.isnan(days_between(pair("a", metadata_pre=unknown)))
    assert off_nadir(pair("a"), "pre") == 10 and math.isnan(off_nadir(pair("a"), "post"))
    assert math.isnan(off_nadir(pair("a", sensor_pre=None), "pre"))


def test_an_event_in_one_line() -> None:
    rows = [pair("a"), pair("b", pixel_size_m=0.7, total=0, ratio=None), pair("c", pixel_size_m=math.nan)]
    html = event_table([*rows, pair("d", event="<x>", counts={"no_damage": None}, ratio=None)])
    assert "<th>e</th><td>0.60</td><td>30</td><td>10.0</td><td>-</td><td>1 of 3</td>" in html
    assert "<th>&lt;x&gt;</th><td>0.50</td><td>30</td><td>10.0</td><td>-</td><td>-</td>" in html


def test_the_worst_pairs_come_first_and_once_a_scene() -> None:
    rows = [
        pair("good"),
        pair("far", shift_px=[0.0, 2 * MUCH["shift, px"]]),
        pair("cloudy", cloud_post=0.75, cloud_pre=math.nan),
        pair("black", nodata_fraction=0.9),
        pair("black2", scene_id="sblack", nodata_fraction=0.8),
        pair("unknown", shift_px=[math.nan, math.nan], cloud_pre=math.nan, cloud_post=math.nan),
    ]
    assert [row["patch_id"] for row in worst_pairs(rows)] == ["far", "black", "cloudy"]
    assert badness(rows[1]) == (2.0, "shift, px 16") and badness(rows[2]) == (1.5, "cloud 0.75")


def test_warnings_say_what_is_missing() -> None:
    part = {"patches": 2, "labelled_patches": 2}
    manifest = {
        "build": {"split_by": "scene"},
        "splits": {"train": part, "test": part},
        "events": {"a": {"splits": {"test": part | {"labelled_patches": 0}}}, "b": {"splits": {"test": part}}},
        "quarantine": [{}],
    }
    found = warnings(
        manifest, [pair("a", nodata_fraction=0.5), pair("b", metadata_post=[*NOT_KNOWN, 2016, 1, 1])], ["a"]
    )
    assert found == [
        "There is no validation split: nothing shows whether a training learns; so few scenes leave it to chance: "
        "build with another --seed, or with --split-by event.",
        "In test, a has no label: numbers inside the change leave it out.",
        "1 patch is more than 25% black (no data).",
        "1 patch is almost black in pre or post, a for one: night, deep shadow or a failed exposure.",
        "1 patch is of a post image that is older than the pre image.",
        "1 scene could not be used; the reasons are below.",
    ]
    whole = {
        "build": {"split_by": "event"},
        "splits": dict.fromkeys(("train", "validation", "test"), part),
        "events": {},
        "quarantine": [],
    }
    assert warnings(whole, [pair("a")], dark=[]) == []


def test_long_tables_are_cut_and_say_so() -> None:
    html = capped(["a"], [[str(number)] for number in range(MOST_ROWS + 7)])
    assert html.count("<tr>") == 1 + MOST_ROWS and "7 more in dataset.json" in html
    assert "more in" not in capped(["a"], [["1"]] * MOST_ROWS)


@pytest.mark.parametrize(("lon", "lat", "land"), [(13.4, 42.8, True), (-40.0, 30.0, False), (133.0, -25.0, True)])
def test_land_is_where_it_is(lon: float, lat: float, land: bool) -> None:
    """Italy, the Atlantic, Australia: counted by the crossings of a ray to the east."""
    crossings, coasts = 0, json.loads(COASTLINES.read_text())
    assert all(abs(x1 - x2) < 180 or y1 < -80 for coast in coasts for (x1, y1), (x2, _) in pairwise(coast))
    for coast in coasts:
        for (x1, y1), (x2, y2) in pairwise(coast):
            if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
                crossings += 1
    assert (crossings % 2 == 1) == land
    assert COASTLINES.stat().st_size < 100_000 and '<path class="land"' in maps([patch("a", "e", lon, lat)])


@needs_browser
def test_the_report_fits_every_screen(tiny_dataset: Path, tmp_path: Path) -> None:
    assert_fits_every_screen(tiny_dataset / "report.html", tmp_path)
