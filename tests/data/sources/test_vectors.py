"""Footprints and damage from vector files: the same scene as from label files in pixels."""

import contextlib
import json
import shutil
import socket
import sqlite3
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from data.errors import DataError
from data.imagery.geo import window_affine
from data.sources.release import SceneFiles, VectorFile
from data.sources.vector_label import read_vectors
from tests.damage import byte_damage, hostile
from tests.data.rasters import NORTH_UP, UTM, noise, write_tif
from tests.data.sources.test_pairs import PAIR, built, folder, image
from tests.data.vectors import DRIVERS, ENDINGS, on_ground, square, write_vectors

__all__ = ["folder"]
HOUSES = [square(4, 4, 8), square(30, 10, 12), square(10, 40, 6), square(50, 50, 20)]
WORDS = ["no-damage", "Major Damage", "destroyed", "minor_damage"]


@pytest.mark.parametrize("crs", ["EPSG:32615", "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("ending", ENDINGS)
def test_damage_lies_where_it_was_drawn(folder: Path, ending: str, crs: str) -> None:
    """In any format and CRS, the mask is that of the polygons in pixels."""
    write_vectors(folder / f"b{ending}", on_ground(HOUSES, crs), crs, damage=WORDS, other=[1, 2, 3, 4])
    rows, described = built(folder, PAIR | {"labels": f"b{ending}", "post_date": "2021-08-31"})
    row = rows["1"]
    expected = np.zeros((64, 64), np.uint8)
    for (left, top, right, bottom), value in zip((house.bounds for house in HOUSES), (1, 3, 4, 2), strict=True):
        expected[int(top) : int(bottom), int(left) : int(right)] = value
    assert np.array_equal(image(row, "damage_mask"), expected)
    assert row["counts"] == {"no_damage": 1, "minor_damage": 1, "major_damage": 1, "destroyed": 1, "un_classified": 0}
    assert row["labels"] == "post" and row["location_source"] == "raster"
    found = sorted((shapely.from_wkt(building["wkt"]) for building in row["buildings"]), key=lambda one: one.bounds)
    for house, polygon in zip(sorted(HOUSES, key=lambda one: one.bounds), found, strict=True):
        assert polygon.symmetric_difference(house.intersection(shapely.box(0, 0, 64, 64))).area < 0.2
    assert described["labels"]["post"] == 1


def test_footprints_say_no_damage(folder: Path) -> None:
    """They are the buildings of a pre label: no mask, no counts; only what reaches into the image is read."""
    far = square(500, 500, 9)
    write_vectors(folder / "b.gpkg", on_ground([*HOUSES[:2], square(64, 64, 5), far]), damage=["destroyed"] * 4)
    row = built(folder, PAIR | {"footprints": "b.gpkg", "pre_date": "2021-03-01"})[0]["1"]
    assert (row["labels"], row["damage_mask"], row["counts"]) == ("pre", None, dict.fromkeys(row["counts"]))
    assert [(one["uid"], one["damage"], one["counted"]) for one in row["buildings"]] == [
        ("b:1", None, True),
        ("b:2", None, True),
    ]
    assert any("2 buildings" in caption["text"] for caption in row["captions"] if caption["target"] == "pre")


def test_parts_of_a_large_raster_share_buildings_on_their_border(tmp_path: Path) -> None:
    """Each building counts once over all parts, and the masks together are those of the whole image."""
    write_tif(tmp_path / "a" / "1.tif", noise(1024, 2304, seed=1))
    write_tif(tmp_path / "b" / "1.tif", noise(1024, 2304, seed=2))
    houses = [square(1000, 300, 60), square(10, 10, 20), square(2040, 500, 30), square(1500, 900, 40)]
    write_vectors(tmp_path / "b.fgb", on_ground(houses, "EPSG:4326"), "EPSG:4326", damage=[4, 3, 2, 1])
    rows, _ = built(tmp_path, PAIR | {"labels": "b.fgb"}, size=256)
    whole = np.zeros((1024, 2304), np.uint8)
    for row in rows_of(tmp_path):
        col = int(row["scene_id"].rsplit("_c", 1)[1]) + row["col"]
        whole[row["row"] : row["row"] + 256, col : col + 256] = image(row, "damage_mask")
    expected = np.zeros_like(whole)
    for house, value in zip(houses, (4, 3, 2, 1), strict=True):
        left, top, right, bottom = (int(edge) for edge in house.bounds)
        expected[top:bottom, left:right] = value
    assert np.array_equal(whole, expected)
    counted = [one["uid"] for row in rows_of(tmp_path) for one in row["buildings"] if one["counted"]]
    assert len(counted) == len(set(counted)) == 4
    assert len(rows) > 1


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [row for file in sorted((folder / "d/data").iterdir()) for row in pq.read_table(file).to_pylist()]


def test_words_of_other_agencies(folder: Path) -> None:
    """Their meaning stands in the manifest; an empty cell is a building that nobody assessed."""
    words = ["Collapsed", "possibly damaged", None, "1"]
    write_vectors(folder / "b.gpkg", on_ground(HOUSES), grade=words)
    line = PAIR | {"labels": "b.gpkg", "damage_column": "grade"}
    meanings = {"collapsed": "destroyed", "Possibly damaged": "minor-damage"}
    row = built(folder, line | {"damage_values": meanings})[0]["1"]
    mask = image(row, "damage_mask")
    assert [mask[int(house.bounds[1]) + 1, int(house.bounds[0]) + 1] for house in HOUSES] == [4, 2, 255, 1]


def reason(folder: Path, **fields: Any) -> str:
    """Why the scene cannot be used."""
    with pytest.raises(DataError) as error:
        built(folder, PAIR | fields)
    assert str(error.value).startswith("none of 1 ")
    return str(error.value)


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_mistake_is_one_message(folder: Path, ending: str) -> None:
    """No such column, another place, points, no CRS, a word without a meaning."""
    name = f"b{ending}"
    write_vectors(folder / name, on_ground(HOUSES), damage=["no-damage", "rather bad", "destroyed", "destroyed"])
    assert "has no column 'state'. It has: damage" in reason(folder, labels=name, damage_column="state")
    text = reason(folder, labels=name)
    assert "damage of feature" in text and "'rather bad'" in text and '"damage_values": {"rather bad":' in text
    write_vectors(folder / name, on_ground([square(90_000, 4, 8)]), damage=["destroyed"])
    assert "does not overlap 1.tif" in reason(folder, labels=name)
    write_vectors(folder / name, on_ground([shapely.Point(9, 9)]), kind="Point")
    assert "holds points or lines here" in reason(folder, footprints=name)
    if ending != ".geojson":  # which is in degrees unless it says otherwise
        write_vectors(folder / name, on_ground(HOUSES), None)
        assert "has no CRS. Write the one it is in" in reason(folder, footprints=name)


def test_files_that_are_not_what_they_say(folder: Path) -> None:
    (folder / "b.shp").write_bytes(b"\0" * 100)
    assert "expected a name that ends in .geojson" in reason(folder, footprints="b.shp")
    (folder / "b.gpkg").write_text("{}")
    assert "is not the .gpkg file that its name says" in reason(folder, footprints="b.gpkg")
    pq.write_table(pa.table({"a": [1]}), folder / "b.parquet")
    assert "is Parquet without geometries" in reason(folder, footprints="b.parquet")
    write_vectors(folder / "two.gpkg", on_ground(HOUSES))
    wkb = np.array([shapely.to_wkb(HOUSES[0])], object)
    pyogrio.raw.write(folder / "two.gpkg", wkb, [], [], driver="GPKG", layer="more", crs=UTM, geometry_type="Polygon")
    assert "holds the layers two, more, expected one" in reason(folder, footprints="two.gpkg")


def test_an_image_without_coordinates_takes_no_outlines(folder: Path) -> None:
    write_tif(folder / "a" / "1.tif", noise(64, 64), crs=None)
    write_tif(folder / "b" / "1.tif", noise(64, 64, seed=3), crs=None)
    write_vectors(folder / "b.gpkg", on_ground(HOUSES))
    assert "cannot be placed, because" in reason(folder, footprints="b.gpkg")


@pytest.mark.parametrize("ending", ENDINGS)
def test_broken_geometries_are_repaired_or_left_out(folder: Path, ending: str) -> None:
    """A bow tie counts its area; nothing, and a polygon without any area, are counted as dropped or not read."""
    tie = shapely.Polygon([(10, 10), (20, 20), (20, 10), (10, 20)])
    flat = shapely.Polygon([(30, 30), (40, 40), (30, 30)])
    nothing = [] if ending == ".fgb" else [None]  # which its index cannot hold
    shapes = [*on_ground([tie, flat, HOUSES[3]]), *nothing]
    write_vectors(folder / f"b{ending}", shapes, damage=["destroyed"] * len(shapes))
    rows, described = built(folder, PAIR | {"labels": f"b{ending}"})
    assert rows["1"]["counts"]["destroyed"] == 2
    assert np.count_nonzero(image(rows["1"], "damage_mask")[10:20, 10:20]) == pytest.approx(50, abs=10)
    assert described["polygons"]["repaired"] == 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"labels": "b.gpkg", "mask": "mask.tif"}, "give it or mask, not both"),
        ({"labels": "b.gpkg", "footprints": "b.gpkg"}, "give it or labels, not both"),
        ({"footprints": "b.gpkg", "damage_column": "x"}, "there is no labels"),
        ({"labels": "b.gpkg", "damage_values": ["x"]}, "expected an object such as"),
        ({"labels": "b.gpkg", "damage_values": {"a": "gone"}}, "expected one of no-damage"),
        ({"labels": "absent.gpkg"}, "does not exist"),
    ],
)
def test_fields_that_contradict(folder: Path, fields: dict[str, Any], message: str) -> None:
    write_vectors(folder / "b.gpkg", on_ground(HOUSES))
    assert message in reason(folder, **fields)


def test_nothing_is_fetched_or_written(folder: Path) -> None:
    """A GeoJSON that names its CRS by a link stays unread; a GeoPackage leaves no journal beside it."""
    write_vectors(folder / "b.geojson", on_ground(HOUSES))
    content = json.loads((folder / "b.geojson").read_text())
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.0)
        link = {"href": f"http://127.0.0.1:{server.getsockname()[1]}/crs", "type": "proj4"}
        for crs in ({"type": "link", "properties": link}, {"type": "url", "properties": {"url": link["href"]}}):
            (folder / "b.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": [], "crs": crs}))
            assert "nothing is fetched" in reason(folder, footprints="b.geojson")
        (folder / "b.geojson").write_text(json.dumps(content | {"crs": {"type": "link", "properties": link}}))
        assert "nothing is fetched" in reason(folder, footprints="b.geojson")
        hidden = {"type": "l\\u0069nk", "properties": {"hr\\u0065f": link["href"]}}  # escaped once more below
        text = json.dumps(content | {"crs": hidden}).replace("\\\\", "\\")
        (folder / "b.geojson").write_text(text)
        with contextlib.suppress(DataError):
            built(folder, PAIR | {"footprints": "b.geojson"})
        with pytest.raises(BlockingIOError):
            server.accept()
    shutil.rmtree(folder / "d", ignore_errors=True)
    path = write_vectors(folder / "b.gpkg", on_ground(HOUSES))
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA journal_mode=WAL")
    before = {file.name for file in folder.iterdir()} - {"b.gpkg-wal", "b.gpkg-shm"}
    built(folder, PAIR | {"footprints": "b.gpkg"})
    assert {file.name for file in folder.iterdir()} - {"d", "pairs.jsonl"} == before - {"pairs.jsonl"}


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".gpkg", ".fgb", ".parquet"])
def test_a_million_buildings_are_read_by_window(tmp_path: Path, ending: str) -> None:
    """A file of a country: the scene gets its own, and no more of the file is held than a part."""
    left, top = (part.ravel() * 10.0 for part in np.meshgrid(np.arange(1000), np.arange(1000)))
    east, north = NORTH_UP.a * left + NORTH_UP.c, NORTH_UP.e * top + NORTH_UP.f
    wkb = shapely.to_wkb(shapely.box(east, north - 3, east + 3, north))  # of 6 px
    if ending == ".parquet":
        edges = dict(zip(("xmin", "ymin", "xmax", "ymax"), (east, north - 3, east + 3, north), strict=True))
        bbox = pa.StructArray.from_arrays([pa.array(edge) for edge in edges.values()], list(edges))
        covering = {"bbox": {name: ["bbox", name] for name in edges}}
        column = {"encoding": "WKB", "covering": covering, "crs": CRS.from_string(UTM).to_dict(projjson=True)}
        geo = json.dumps({"version": "1.1.0", "primary_column": "outline", "columns": {"outline": column}})
        table = pa.table({"outline": pa.array(wkb), "bbox": bbox}).replace_schema_metadata({b"geo": geo.encode()})
        pq.write_table(table, tmp_path / "b.parquet", row_group_size=50_000)
    else:
        about: dict[str, Any] = {"driver": DRIVERS[ending], "crs": UTM, "geometry_type": "Polygon"}
        pyogrio.raw.write(tmp_path / f"b{ending}", wkb, [], [], **about)
    affine = window_affine(NORTH_UP, 7001, 5003)  # rows and columns 500 to 520 and 700 to 720
    write_tif(tmp_path / "1.tif", noise(200, 200), affine)
    scene = SceneFiles("1", "x", "", tmp_path / "1.tif", tmp_path / "1.tif", None, None, None)
    tracemalloc.start()
    found = read_vectors(scene, VectorFile(tmp_path / f"b{ending}", None))["pre"].buildings
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # of a file that has 90 MB
    assert len(found) == 21 * 21
    bounds = np.array(sorted(house.polygon.bounds for house in found))
    expected = [(10.0 * x - 3, 10.0 * y - 1, 10.0 * x + 3, 10.0 * y + 5) for x in range(21) for y in range(21)]
    assert bounds == pytest.approx(np.array(sorted(expected)), abs=1e-3)


@given(data=st.data())
@hostile
def test_damaged_files_are_one_message_or_the_right_result(tmp_path: Path, data: st.DataObject) -> None:
    ending = data.draw(st.sampled_from(ENDINGS))
    whole = write_vectors(tmp_path / f"w{ending}", on_ground(HOUSES), damage=WORDS).read_bytes()
    path = tmp_path / f"b{ending}"
    path.write_bytes(data.draw(byte_damage(whole)))
    write_tif(tmp_path / "1.tif", noise(64, 64))
    scene = SceneFiles("1", "x", "", tmp_path / "1.tif", tmp_path / "1.tif", None, None, None)
    with contextlib.suppress(DataError):
        labels = read_vectors(scene, VectorFile(path, "damage"))
        assert all(house.polygon.is_valid for house in labels["post"].buildings)
