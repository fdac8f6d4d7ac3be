"""Reading label files."""

import json
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from data.errors import DataError
from data.schema import DAMAGE_VALUES
from data.sources.labels import parse_label
from tests.data.tiny_release import MICHAEL_0, ORIGIN, STEP, TESTVILLE_0, label, square

PATH = Path("x_00000000_post_disaster.json")


def as_bytes(document: object) -> bytes:
    return json.dumps(document).encode()


def test_buildings_sensor_and_date() -> None:
    parsed = parse_label(as_bytes(label(MICHAEL_0, "post")), PATH, "post")
    assert [(b.uid, b.subtype) for b in parsed.buildings] == [
        ("a", "destroyed"),
        ("b", "no-damage"),
        ("c", "un-classified"),
        ("d", "minor-damage"),
    ]
    assert parsed.buildings[0].polygon.bounds == (2, 2, 6, 6)
    assert parsed.capture_date == date(2018, 10, 13)
    assert parsed.disaster_type == "wind"
    assert parsed.sensor["gsd"] == 2.0 and parsed.sensor["sensor"] == "GEOEYE01"
    assert parsed.control_points[0].tolist() == [2, 2, 10 + 1e-5, 50 - 8e-6]
    assert (parsed.repaired, parsed.dropped) == (0, 0)


def test_a_pre_label_has_no_damage() -> None:
    parsed = parse_label(as_bytes(label(MICHAEL_0, "pre")), PATH, "pre")
    assert {building.subtype for building in parsed.buildings} == {None}


def test_a_bow_tie_becomes_two_triangles() -> None:
    parsed = parse_label(as_bytes(label(TESTVILLE_0, "post")), PATH, "post")
    assert parsed.repaired == 1
    assert isinstance(parsed.buildings[0].polygon, shapely.MultiPolygon)
    assert parsed.buildings[0].polygon.area == 50  # two triangles over a 10 x 10 square
    assert len(parsed.control_points) == 10  # the fit uses the corners of the file


def test_a_polygon_without_area_is_dropped_and_counted() -> None:
    line = ("line", "no-damage", [(1.0, 1.0), (5.0, 5.0), (3.0, 3.0)])
    parsed = parse_label(as_bytes(label([line], "post")), PATH, "post")
    assert (parsed.buildings, parsed.repaired, parsed.dropped) == ((), 1, 1)


def test_matching_is_by_uid_not_by_position() -> None:
    document = label(MICHAEL_0, "post")
    document["features"]["lng_lat"].reverse()
    assert parse_label(as_bytes(document), PATH, "post").control_points[0].tolist() == [2, 2, 10 + 1e-5, 50 - 8e-6]


def test_lng_lat_may_be_missing() -> None:
    document = label(MICHAEL_0, "post")
    del document["features"]["lng_lat"]
    assert parse_label(as_bytes(document), PATH, "post").control_points.shape == (0, 4)


def test_what_is_no_building_is_left_out_and_counted() -> None:
    document = label(MICHAEL_0, "post")
    road = {"feature_type": "road", "uid": "r"}
    for system in ("xy", "lng_lat"):
        document["features"][system].insert(1, document["features"][system][0] | {"properties": road})
        document["features"][system][2]["properties"]["feature_type"] = None
    parsed = parse_label(as_bytes(document), PATH, "post")
    assert [building.uid for building in parsed.buildings] == ["a", "b", "c", "d"]
    assert (parsed.other, parsed.dropped) == (1, 0)


def test_two_polygons_of_one_uid_are_two_buildings_in_their_own_places() -> None:
    document = label([square("a", "destroyed", 2, 2, 6, 6), square("a", "no-damage", 40, 40, 50, 60)], "post")
    parsed = parse_label(as_bytes(document), PATH, "post")
    assert [(building.subtype, building.polygon.area) for building in parsed.buildings] == [
        ("destroyed", 16), ("no-damage", 200)
    ]  # fmt: skip
    expected = parsed.control_points[:, :2] * STEP + ORIGIN
    assert np.allclose(parsed.control_points[:, 2:], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("system", ["xy", "lng_lat"])
def test_null_is_an_empty_list(system: str) -> None:
    document = label([square("a", "destroyed", 2, 2, 6, 6)], "post")
    document["features"][system] = None
    parsed = parse_label(as_bytes(document), PATH, "post")
    assert len(parsed.buildings) == (system == "lng_lat") and len(parsed.control_points) == 0


def _set(document: Any, path: list[Any], value: object) -> None:
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def _drop(*path: Any) -> Callable[[Any], None]:
    def edit(document: Any) -> None:
        for key in path[:-1]:
            document = document[key]
        del document[path[-1]]

    return edit


FIRST = ["features", "xy", 0]
BAD: list[tuple[Callable[[Any], None], str]] = [
    (_drop("features"), r"lacks features; found \['metadata'\]"),
    (_drop("features", "xy"), r"lacks features\.xy; found \['lng_lat'\]"),
    (_drop("metadata"), r"lacks metadata"),
    (lambda d: _set(d, ["features", "xy"], {}), r"features\.xy is \{\}, expected a list"),
    (lambda d: _set(d, ["features", "lng_lat"], 3), r"features\.lng_lat is 3, expected a list"),
    (lambda d: _set(d, FIRST, "house"), r"features\.xy\[0\]\.properties is None, expected an object"),
    (lambda d: _set(d, [*FIRST, "properties", "uid"], 7), r"features\.xy\[0\]\.properties\.uid is 7, expected"),
    (_drop(*FIRST, "properties", "subtype"), r"features\.xy\[0\]\.properties has no subtype. Is this a pre label"),
    (lambda d: _set(d, [*FIRST, "properties", "subtype"], "ruined"), r"subtype is 'ruined', expected one of"),
    (
        lambda d: _set(d, [*FIRST, "wkt"], "POLYGON ((1 2, 3"),
        r"features\.xy\[0\]\.wkt is 'POLYGON \(\(1 2, 3'.*Expected",
    ),
    (lambda d: _set(d, [*FIRST, "wkt"], None), r"features\.xy\[0\]\.wkt is None"),
    (lambda d: _set(d, [*FIRST, "wkt"], "POINT (1 2)"), r"wkt is 'POINT \(1 2\)', expected a POLYGON"),
    (lambda d: _set(d, [*FIRST, "wkt"], "POLYGON EMPTY"), r"wkt is 'POLYGON EMPTY', expected a POLYGON"),
    (lambda d: _set(d, [*FIRST, "wkt"], "POLYGON ((0 0, nan 1, 1 1, 0 0))"), r"coordinate is not a finite number"),
    (lambda d: _set(d, ["metadata", "capture_date"], "13 Oct"), r"metadata\.capture_date is '13 Oct', expected 2018"),
    (lambda d: _set(d, ["metadata", "gsd"], "2 m"), r"metadata\.gsd is '2 m', expected a finite number"),
    (lambda d: _set(d, ["metadata", "sensor"], 5), r"metadata\.sensor is 5, expected a text"),
]


@pytest.mark.parametrize(("edit", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_bad_labels_name_file_field_and_value(edit: Callable[[Any], None], message: str) -> None:
    document = json.loads(as_bytes(label(MICHAEL_0, "post")))
    edit(document)
    with pytest.raises(DataError, match=f"{PATH}: .*{message}"):
        parse_label(as_bytes(document), PATH, "post")


@pytest.mark.parametrize("content", [b"", b'{"features": {', b"\xff\xfe\x00"])
def test_cut_files(content: bytes) -> None:
    with pytest.raises(DataError, match=f"{PATH}: not valid JSON .*Fetch the file again"):
        parse_label(content, PATH, "post")


def test_a_list_is_no_label() -> None:
    with pytest.raises(DataError, match="holds a list, expected an object"):
        parse_label(b"[]", PATH, "post")


corner = st.tuples(*[st.integers(0, 1000).map(float)] * 2)
shapes = st.lists(
    st.tuples(st.sampled_from(sorted(DAMAGE_VALUES)), st.lists(corner, min_size=3, max_size=7)), max_size=6
)


@given(shapes)
def test_whatever_was_drawn_every_polygon_is_kept_valid_or_counted(drawn: list[tuple[str, Any]]) -> None:
    listed = [(str(i), subtype, corners) for i, (subtype, corners) in enumerate(drawn)]
    parsed = parse_label(as_bytes(label(listed, "post")), PATH, "post")
    assert len(parsed.buildings) + parsed.dropped == len(drawn)
    assert all(building.polygon.is_valid and building.polygon.area > 0 for building in parsed.buildings)
    assert all(building.subtype == drawn[int(building.uid)][0] for building in parsed.buildings)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda c: st.lists(c) | st.dictionaries(st.text(), c)))
def test_any_json_is_parsed_or_a_data_error(junk: object) -> None:
    for document in (junk, {"features": junk, "metadata": {}}, {"features": {"xy": [junk]}, "metadata": junk}):
        try:
            parse_label(as_bytes(document), PATH, "post")
        except DataError:
            pass


def test_square_helper_closes_its_ring() -> None:
    parsed = parse_label(as_bytes(label([square("a", "no-damage", 0, 0, 2, 3)], "post")), PATH, "post")
    assert parsed.buildings[0].polygon.area == 6
