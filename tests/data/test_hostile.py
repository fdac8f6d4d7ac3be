"""Datasets, labels and lists of others: whatever the damage, one message or the right content."""

import io
import json
import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from data.captions.file import CaptionFile
from data.dataset.manifest_schema import DESCRIBED
from data.dataset.open import described, open_dataset, read_manifest
from data.errors import DataError
from data.report.inspect import inspect
from data.report.page import page
from data.report.pairs import warnings
from data.row_schema import Picture, check_rows, opened, polygons_of
from data.schema import FEATURES
from data.sources.history import read_history
from data.sources.labels import parse_label
from data.sources.pairs import find_pairs
from tests.damage import byte_damage, hostile, json_damage
from tests.data.tiny_release import MICHAEL_0, label


@pytest.fixture
def copy(tiny_dataset: Path, tmp_path: Path) -> Path:
    """A dataset that may be damaged."""
    return Path(shutil.copytree(tiny_dataset, tmp_path / "copy"))


@hostile
@given(data=st.data())
def test_dataset_json(tiny_dataset: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = data.draw(json_damage(json.loads((tiny_dataset / "dataset.json").read_text())))
    (tmp_path / "dataset.json").write_bytes(content)
    try:
        found = read_manifest(tmp_path)
        shown = described(tmp_path, DESCRIBED)
    except DataError as error:
        assert str(tmp_path) in str(error) and "\n" not in str(error)
    else:
        assert all((tmp_path / shard["file"]).resolve().is_relative_to(tmp_path.resolve()) for shard in found["shards"])
        assert page(shown, warnings(shown, [], []), "", [], "", "", "").startswith("<!DOCTYPE html>")


@hostile
@given(data=st.data())
def test_a_shard(tiny_dataset: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = next((tiny_dataset / "data").glob("test-*")).read_bytes()
    path = tmp_path / "shard.parquet"
    path.write_bytes(data.draw(byte_damage(whole)))
    try:
        with opened(path) as shard:
            table = shard.read()
        check_rows(table, str(path))
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        assert table.to_pylist()


@settings(parent=hostile, max_examples=8)
@given(data=st.data())
def test_a_split(tiny_dataset: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """As every command opens it."""
    copy = Path(shutil.copytree(tiny_dataset, tmp_path_factory.mktemp("split") / "copy"))
    shard = next((copy / "data").glob("test-*"))
    shard.write_bytes(data.draw(byte_damage(shard.read_bytes())))
    try:
        rows = open_dataset(copy, "test")
        pictures = [row["pre"].size for row in rows]
    except DataError as error:
        assert str(copy) in str(error)
    else:
        assert pictures == [(32, 32)] * len(rows)


@pytest.mark.parametrize("name", FEATURES)
def test_a_column_that_is_missing_or_of_another_type(tiny_dataset: Path, name: str) -> None:
    table = pq.read_table(next((tiny_dataset / "data").glob("test-*")))
    check_rows(table, "d")
    other = pa.array([b"x"] * len(table))
    with pytest.raises(DataError, match=f"column {name} is of type binary"):
        check_rows(table.set_column(table.schema.get_field_index(name), name, other), "d")
    if name in ("cover_mask", "post_again"):  # not every version has written them
        check_rows(table.drop_columns([name]), "d")
    else:
        with pytest.raises(DataError, match=f"column {name} is missing"):
            check_rows(table.drop_columns([name]), "d")


def test_what_may_be_null(tiny_dataset: Path) -> None:
    table = pq.read_table(next((tiny_dataset / "data").glob("test-*")))
    nulls = {field.name: pa.nulls(len(table), field.type) for field in table.schema if field.name in FEATURES}
    refused = set()
    for name, empty in nulls.items():
        try:
            check_rows(table.set_column(table.schema.get_field_index(name), name, empty), "d")
        except DataError:
            refused.add(name)
    assert set(nulls) - refused == {"damage_mask", "change_mask", "cover_mask", "post_again"}


@pytest.mark.parametrize("elsewhere", ["/etc/hostname", "https://example.com/a.png", None])
def test_a_picture_that_is_not_in_the_file(copy: Path, elsewhere: str | None) -> None:
    """Neither read from the disk nor downloaded."""
    shard = next((copy / "data").glob("test-*"))
    table = pq.read_table(shard)
    place = table.schema.get_field_index("pre")
    pictures = pa.array([{"bytes": None, "path": elsewhere}] * len(table), table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), pictures), shard)
    with pytest.raises(DataError, match="column pre refers to pictures outside the file, or has none"):
        open_dataset(copy, "test")


def bomb(width: int, height: int) -> bytes:
    """A PNG of 100 bytes that claims to be large."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 9)), (b"IEND", b"")]
    parts = (
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("size", [(60_000, 60_000), (12_000, 12_000), (2**31 - 1, 1)])
def test_a_picture_too_large_for_any_memory(copy: Path, size: tuple[int, int]) -> None:
    shard = next((copy / "data").glob("test-*"))
    table = pq.read_table(shard)
    place = table.schema.get_field_index("post")
    pictures = pa.array([{"bytes": bomb(*size), "path": None}] * len(table), table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), pictures), shard)
    rows = open_dataset(copy, "test")
    with pytest.raises(DataError, match="column post: a picture cannot be read"):
        rows[0]
    with pytest.raises(DataError, match="a picture or polygon of patch"):
        inspect(dataset=copy)


@hostile
@given(data=st.data())
def test_pictures(data: st.DataObject) -> None:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((16, 16)).convert("RGB").save(file, "PNG")
    content = data.draw(byte_damage(file.getvalue()))
    try:
        found = Picture(mode="RGB", where="d").decode_example({"bytes": content, "path": None})
    except DataError as error:
        assert str(error).startswith("d: a picture cannot be read")
    else:
        assert (found.mode, found.width * found.height > 0) == ("RGB", True)


@pytest.mark.parametrize("wkt", ["", "x", "POINT (1 1)", "LINESTRING (0 0, 1 1)", "POLYGON ((0 0, 1e999 0, 1 1, 0 0))"])
def test_outlines_that_are_none(wkt: str) -> None:
    row = {"patch_id": "a_0", "buildings": [{"wkt": wkt, "damage": 1}]}
    with pytest.raises(DataError, match="patch a_0: buildings"):
        polygons_of(row)
    with pytest.raises(DataError, match="damage 9 is not a class"):
        polygons_of(row | {"buildings": [{"wkt": "POLYGON EMPTY", "damage": 9}]})


@hostile
@given(data=st.data())
def test_labels(data: st.DataObject) -> None:
    content = data.draw(json_damage(label(MICHAEL_0[:2], "post")))
    try:
        found = parse_label(content, Path("a_post_disaster.json"), "post")
    except DataError as error:
        assert str(error).startswith("a_post_disaster.json")
    else:
        assert len(found.buildings) <= 2


LINES = {
    "captions": {"scene_id": "a_1", "target": "post", "style": "mine", "text": "a town", "mirrored": "a town"},
    "pairs": {"pre": "a.png", "post": "b.png", "event": "e", "disaster_type": "fire"},
    "history": [{"image": "a.png", "date": "2016-08-31", "cloud_cover": 0.2}],
}
READERS: dict[str, Any] = {"captions": CaptionFile, "pairs": find_pairs, "history": read_history}


@pytest.mark.parametrize("kind", LINES)
@hostile
@given(data=st.data())
def test_lists_of_the_user(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    for name in ("a.png", "b.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    path = tmp_path / "list.jsonl"
    path.write_bytes(data.draw(json_damage(LINES[kind])) + b"\n")
    try:
        found = READERS[kind](path)
    except DataError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
    else:
        assert found is not None
