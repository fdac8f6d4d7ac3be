"""The maps and the polygons of the report."""

import re
from pathlib import Path
from typing import Any

import pytest

from data.report.map import SPLIT_COLOURS, maps


def patch(scene: str, event: str, lon: float, lat: float, split: str = "train") -> dict[str, Any]:
    """512 px of half a metre: 256 m."""
    row = {"scene_id": scene, "event": event, "centre_lon": lon, "centre_lat": lat, "pixel_size_m": 0.5, "size": 512}
    return row | {"transform": [1.0] * 6, "split": split}


def rectangles(html: str) -> list[tuple[float, ...]]:
    pattern = r'<rect x="([-\d.]+)" y="([-\d.]+)" width="([\d.]+)" height="([\d.]+)"'
    return [tuple(float(number) for number in found) for found in re.findall(pattern, html)]


def test_the_world_shows_a_dot_per_event() -> None:
    html = maps([patch("a", "one", -90, 30), patch("b", "two", 120, -15)])
    assert re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', html) == [("90.00", "45.00"), ("300.00", "90.00")]
    assert "1 one" in html and "1 scene around 15.00° S, 120.00° E" in html


def test_scenes_lie_true_to_scale() -> None:
    """At the equator a degree of longitude is 111,320 m: two scenes of 256 m, 1,024 m apart from west to east."""
    step = 1024 / 111_320
    html = maps([patch("a", "e", 0, 0), patch("b", "e", step, 0, "test"), patch("c", "e", step, -step)])
    a, b, c = rectangles(html)
    side = a[2]
    assert a[3] == pytest.approx(side, abs=0.02) and b[0] - a[0] == pytest.approx(4 * side, rel=0.01)
    assert b[1] == pytest.approx(a[1], abs=0.02) and c[1] - b[1] == pytest.approx(4 * side, rel=0.01)  # south is down
    assert html.count(f"fill:{SPLIT_COLOURS['train']}") == 2 and html.count(f"fill:{SPLIT_COLOURS['test']}") == 1
    # 1,280 m are 160 units high: the scale bar of 1 km is 125.
    assert ">1 km<" in html and re.search(r'x2="12[45]\.\d+" y2="194" class="bar-line"', html)


def test_patches_of_a_scene_are_one_box() -> None:
    step = 256 / 111_320
    ((_, _, width, height),) = rectangles(maps([patch("a", "e", 0, 0), patch("a", "e", step, 0)]))
    assert width / height == pytest.approx(2, rel=0.01)


@pytest.mark.parametrize(("lon", "lat"), [(34.2, -118.9), (0.0, 90.0), (500.0, 500.0), (float("nan"), 0.0)])
def test_places_that_are_nowhere_are_not_drawn(lon: float, lat: float) -> None:
    assert "No scene has a place" in maps([patch("a", "e", lon, lat)])
    assert "No scene has a place" in maps([patch("a", "e", 0, 0) | {"pixel_size_m": 0.0}])
    assert len(rectangles(maps([patch("a", "e", lon, lat), patch("b", "e", 0, 0, "a split of theirs")]))) == 1


def test_without_any_place() -> None:
    assert "No scene has a place" in maps([patch("a", "e", 0, 0) | {"transform": []}])


def test_polygons_are_drawn_where_they_are_labelled(tiny_dataset: Path) -> None:
    text = (tiny_dataset / "report.html").read_text()
    # The destroyed house of the first patch, 2 to 6 px each way, in a picture of 32 px; the intact one beside it.
    house = re.search(r'<svg viewBox="0 0 32 32"><path d="M([^"]+)Z" fill="#c9302c".*?<title>destroyed</title>', text)
    assert house and {tuple(point.split()) for point in house[1].split("L")} == {
        ("2", "2"), ("6", "2"), ("6", "6"), ("2", "6")
    }  # fmt: skip
    assert 'fill="#5fa777"' in text
