"""Captions of all real patches: lengths by the real tokenizer, positions by an independent computation."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import shapely

pytestmark = pytest.mark.real
COLUMNS = ["patch_id", "scene_id", "row", "col", "size", "captions", "buildings", "counts"]
POSITION = re.compile(r"damage (?:mainly )?in the ([a-z-]+)")
WEIGHTS = {2: 1 / 3, 3: 2 / 3, 4: 1.0}


@pytest.fixture(scope="module")
def rows(real_dataset: Path) -> list[dict[str, Any]]:
    files = sorted((real_dataset / "data").iterdir())
    return [row for file in files for row in pq.read_table(file, columns=COLUMNS).to_pylist()]


def texts(row: dict[str, Any], style: str, target: str = "post") -> list[str]:
    return [entry["text"] for entry in row["captions"] if (entry["style"], entry["target"]) == (style, target)]


def test_lengths(rows: list[dict[str, Any]], clip_tokens: Callable[[str], int]) -> None:
    for row in rows:
        for target in ("pre", "post"):
            for text in [text for style in ("short", "placed", "diffusionsat") for text in texts(row, style, target)]:
                assert clip_tokens(text) <= 77, text
            for text in texts(row, "chunks", target):
                assert all(clip_tokens(part) <= 77 and part.endswith(".") for part in text.split("\n")), text
            assert [text.replace("\n", " ") for text in texts(row, "chunks", target)] == texts(row, "long", target)
            assert all(clip_tokens(text) <= 300 for text in texts(row, "long", target))


def test_patches_with_buildings_have_long_post_captions(
    rows: list[dict[str, Any]], clip_tokens: Callable[[str], int]
) -> None:
    full = [row for row in rows if sum(number or 0 for number in row["counts"].values()) > 2]
    assert len(full) > 70
    assert all(150 <= clip_tokens(text) <= 300 for row in full for text in texts(row, "long"))


def test_positions_equal_an_independent_computation(rows: list[dict[str, Any]]) -> None:
    """From the clipped polygons of the row, without numpy; a house cut by the edge may move the centroid a little."""
    checked = 0
    for row in rows:
        total, sum_x, sum_y, cut = 0.0, 0.0, 0.0, False
        for building in row["buildings"]:
            weight = WEIGHTS.get(building["damage"], 0.0) if building["counted"] else 0.0
            shape = shapely.from_wkt(building["wkt"])
            left, top, right, bottom = shape.bounds
            cut |= bool(weight) and (min(left, top) <= 0 or max(right, bottom) >= row["size"])
            total += weight
            sum_x += weight * shape.centroid.x / row["size"]
            sum_y += weight * shape.centroid.y / row["size"]
        found = POSITION.search(texts(row, "placed")[0])
        if not total or cut:
            assert total or not found
            continue
        east, north = sum_x / total - 0.5, 0.5 - sum_y / total
        if math.hypot(east, north) < 1 / 6:
            assert not found or found[1] == "centre"
            continue
        word = "north" * (north > 0) + "south" * (north < 0)
        steep = abs(north) / (abs(east) or 1e-12)
        if steep < math.tan(math.pi / 8):
            word = "east" if east > 0 else "west"
        elif steep < math.tan(3 * math.pi / 8):
            word += "-east" if east > 0 else "-west"
        assert not found or found[1] == word, row["patch_id"]
        checked += bool(found)
    assert checked >= 10
